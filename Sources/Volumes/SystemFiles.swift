// SPDX-License-Identifier: GPL-3.0-or-later

import Glibc
import SystemPackage

/// Reads the small files in which the kernel describes itself, below a root that tests may set.
struct SystemFiles {
  /// `/` except in tests.
  let root: FilePath

  private func path(_ path: String) -> String { root.appending(String(path.drop { $0 == "/" })).string }

  /// A file's bytes, or nil when it can't be read: attributes come and go with the hardware.
  func bytes(_ name: String) -> [UInt8]? {
    guard let descriptor = try? FileDescriptor.open(path(name), .readOnly) else { return nil }
    let content = try? descriptor.closeAfter {
      var content: [UInt8] = []
      var part = [UInt8](repeating: 0, count: 1 << 14)
      while content.count < 1 << 22 {
        let count = try part.withUnsafeMutableBytes { try descriptor.read(into: $0) }
        if count == 0 { break }
        content += part[..<count]
      }
      return content
    }
    return content
  }

  func text(_ name: String) -> String? { bytes(name).map { String(decoding: $0, as: UTF8.self) } }

  /// A one-line attribute without the blanks around it; nil when absent or empty.
  func attribute(_ name: String) -> String? {
    guard let text = text(name) else { return nil }
    let trimmed = text.drop(while: \.isWhitespace).reversed().drop { $0.isWhitespace || $0 == "\0" }.reversed()
    return trimmed.isEmpty ? nil : String(trimmed)
  }

  func number(_ name: String) -> UInt64? { attribute(name).flatMap { UInt64($0) } }

  /// Names in a folder, sorted; none when there is no such folder.
  func names(in folder: String) -> [String] {
    guard let stream = opendir(path(folder)) else { return [] }
    defer { closedir(stream) }
    var names: [String] = []
    while let entry = readdir(stream) {
      let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
        String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
      }
      if name != ".", name != ".." { names.append(name) }
    }
    return names.sorted()
  }

  func exists(_ name: String) -> Bool { access(path(name), F_OK) == 0 }

  /// Where a symbolic link leads, as it is written in it.
  func link(_ name: String) -> String? {
    var target = [UInt8](repeating: 0, count: 4096)
    let count = target.withUnsafeMutableBytes { bytes in
      bytes.withMemoryRebound(to: CChar.self) { characters in
        characters.baseAddress.map { readlink(path(name), $0, characters.count) } ?? -1
      }
    }
    return count > 0 ? String(decoding: target[..<count], as: UTF8.self) : nil
  }

  /// The last component of what a chain of links such as `/dev/disk/by-id/…` leads to: the kernel's name of a device.
  func deviceName(of devicePath: String) -> String {
    var current = devicePath
    for _ in 0..<8 {
      guard let target = link(current) else { break }
      current =
        target.hasPrefix("/")
        ? target : FilePath(current).removingLastComponent().appending(target).lexicallyNormalized().string
    }
    return current.split(separator: "/").last.map(String.init) ?? current
  }
}
