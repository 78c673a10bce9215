// SPDX-License-Identifier: GPL-3.0-or-later

import Glibc
public import SystemPackage

/// Where the live system keeps what a job needs. Everything lies below ``root``, so that a test can give its own.
public struct Places: Sendable {
  public let root: FilePath

  public init(root: FilePath = "/") { self.root = root }

  public var commandLine: FilePath { root.appending("proc/cmdline") }
  /// Where the repository is mounted; Clonezilla's scripts expect images there.
  public var repository: FilePath { root.appending("home/partimag") }
  /// A full transcript of the job.
  public var log: FilePath { run.appending("job.log") }
  /// Files of this boot.
  var run: FilePath { root.appending("run/slipway") }
  /// The medium, as live-boot mounts it.
  var medium: FilePath { root.appending("run/live/medium") }
  var jobs: FilePath { root.appending("etc/slipway/jobs") }
  /// `id_*`, `known_hosts` and `password` for `ssh://`.
  var ssh: FilePath { root.appending("etc/slipway/ssh") }
  /// In the form of mount.cifs, for an `smb://` address without a user.
  var smbCredentials: FilePath { root.appending("etc/slipway/smb-credentials") }
  /// Clonezilla's marks of numbered parameters that succeeded.
  var done: FilePath { root.appending("var/lib/clonezilla") }
  /// Where `ocs_preload` puts files.
  var preloaded: FilePath { root.appending("opt") }
  var verdictPort: FilePath { root.appending("dev/virtio-ports/org.slipway.job") }

  private var policyFile: FilePath { root.appending("etc/slipway/policy.json") }

  package enum HookKind: String { case prerun, postrun, failure }

  /// The executables of a hook folder in the order of their bytes; `*~`, `*,` and hidden files are left out, as
  /// Clonezilla does.
  package func hooks(_ kind: HookKind) -> [FilePath] {
    let folder = root.appending("etc/slipway/hooks/\(kind.rawValue).d")
    return Self.names(in: folder).filter { !$0.hasPrefix(".") && !$0.hasSuffix("~") && !$0.hasSuffix(",") }
      .map { folder.appending($0) }.filter(\.isExecutableFile)
  }

  /// The terminals the kernel writes to, as device paths; the screen is always the first virtual terminal, so that
  /// switching to another one leaves that alone.
  public func consoles() -> [FilePath] {
    let active = (try? Self.text(of: root.appending("sys/class/tty/console/active"))) ?? ""
    var names: [String] = []
    for word in active.split(whereSeparator: \.isWhitespace) {
      let name = word == "tty0" ? "tty1" : String(word)
      if !names.contains(name) { names.append(name) }
    }
    return names.map { root.appending("dev").appending($0) }
  }

  /// - Throws: ``JobError``.
  func job(named name: String) throws(JobError) -> Job {
    let known = Self.names(in: jobs).compactMap { $0.hasSuffix(".json") ? String($0.dropLast(5)) : nil }
    guard known.contains(name) else { throw .unknownJob(name: name, folder: jobs, known: known) }
    let path = jobs.appending("\(name).json")
    let text: String
    do { text = try Self.text(of: path) } catch { throw .unreadable(path: path, cause: "\(error)") }
    do {
      return try decodeJSON(Job.self, from: text)
    } catch {
      throw .badJobFile(path: path, cause: error.text)
    }
  }

  /// Nothing is allowed when there is no policy or it can't be read.
  func policy() -> Policy {
    guard let text = try? Self.text(of: policyFile) else { return Policy() }
    return (try? decodeJSON(Policy.self, from: text)) ?? Policy()
  }

  /// Whether the kernel has a default route for IPv4.
  var hasDefaultRoute: Bool {
    let routes = (try? Self.text(of: root.appending("proc/net/route"))) ?? ""
    return routes.split(separator: "\n").dropFirst().contains { line in
      let fields = line.split(whereSeparator: \.isWhitespace)
      return fields.count > 2 && fields[1] == "00000000"
    }
  }

  /// Address of the first Ethernet card (lowest interface index) that is a device, twelve hexadecimal digits.
  func macAddress() -> String? {
    let cards = root.appending("sys/class/net")
    func value(_ card: String, _ attribute: String) -> Substring? {
      (try? Self.text(of: cards.appending(card).appending(attribute)))?.split(whereSeparator: \.isWhitespace).first
    }
    let first = Self.names(in: cards)
      .filter { value($0, "type") == "1" && access(cards.appending($0).appending("device").string, F_OK) == 0 }
      .min { (value($0, "ifindex").flatMap { Int($0) } ?? .max) < (value($1, "ifindex").flatMap { Int($0) } ?? .max) }
    return first.flatMap { value($0, "address") }.map { $0.filter { $0 != ":" }.lowercased() }
  }

  /// The serial number the firmware gives; nil for the fillers that vendors leave in it.
  func serialNumber() -> String? {
    guard let text = try? Self.text(of: root.appending("sys/class/dmi/id/product_serial")) else { return nil }
    let serial = text.split(whereSeparator: \.isWhitespace).joined(separator: "-")
    let fillers: Set = [
      "", "none", "0", "not-specified", "to-be-filled-by-o.e.m.", "system-serial-number", "default-string",
    ]
    return fillers.contains(serial.lowercased()) ? nil : serial
  }

  /// What placeholders stand for at a moment, in seconds since 1970.
  package func facts(at seconds: Int) -> ImageName.Facts {
    var moment = seconds
    var parts = tm()
    gmtime_r(&moment, &parts)
    func padded(_ value: Int32, _ digits: Int = 2) -> String {
      let text = "\(value)"
      return String(repeating: "0", count: max(0, digits - text.count)) + text
    }
    return ImageName.Facts(
      hostname: hostName(), mac: macAddress(), serial: serialNumber(),
      date: "\(padded(parts.tm_year + 1900, 4))-\(padded(parts.tm_mon + 1))-\(padded(parts.tm_mday))",
      time: padded(parts.tm_hour) + padded(parts.tm_min) + padded(parts.tm_sec))
  }

  private func hostName() -> String {
    let text = (try? Self.text(of: root.appending("proc/sys/kernel/hostname"))) ?? ""
    return text.split(whereSeparator: \.isWhitespace).first.map(String.init) ?? "unknown"
  }

  /// - Throws: ``JobError/unreadable(path:cause:)``.
  public static func commandLine(at path: FilePath) throws(JobError) -> String {
    do { return try text(of: path) } catch { throw .unreadable(path: path, cause: "\(error)") }
  }

  // MARK: Files

  /// The names in a folder in the order of their bytes, without `.` and `..`; none when it can't be read.
  static func names(in folder: FilePath) -> [String] {
    guard let directory = opendir(folder.string) else { return [] }
    defer { closedir(directory) }
    var names: [String] = []
    while let entry = readdir(directory) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
        pointer.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if name != ".", name != ".." { names.append(name) }
    }
    return names.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
  }

  /// A small text file: at most its first MiB.
  static func text(of path: FilePath) throws(Errno) -> String {
    do {
      let descriptor = try FileDescriptor.open(path, .readOnly)
      return try descriptor.closeAfter {
        var bytes: [UInt8] = []
        var part = [UInt8](repeating: 0, count: 1 << 16)
        while bytes.count < 1 << 20 {
          let count = try part.withUnsafeMutableBytes { try descriptor.read(into: $0) }
          if count == 0 { break }
          bytes += part[..<count]
        }
        return String(decoding: bytes, as: UTF8.self)
      }
    } catch {
      throw (error as? Errno) ?? .ioError
    }
  }

  /// Writes a file that only root may read, and the folder it lies in.
  static func writeSecret(_ text: String, to path: FilePath) throws {
    mkdir(path.removingLastComponent().string, 0o755)
    unlink(path.string)
    let descriptor = try FileDescriptor.open(
      path, .writeOnly, options: [.create, .exclusiveCreate], permissions: .ownerReadWrite)
    _ = try descriptor.closeAfter { try descriptor.writeAll(text.utf8) }
  }
}

extension FilePath {
  var exists: Bool { access(string, F_OK) == 0 }

  fileprivate var isExecutableFile: Bool {
    (try? stat())?.type == .regular && access(string, X_OK) == 0
  }
}
