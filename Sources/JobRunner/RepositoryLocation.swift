// SPDX-License-Identifier: GPL-3.0-or-later

/// Where images live: the `repository` of a job, `slipway.repository=` and Clonezilla's `ocs_repository=`.
public enum RepositoryLocation: Sendable, Equatable, CustomStringConvertible {
  /// A folder of the medium the system was started from, relative to its root.
  case medium(folder: String)
  /// A block device as mount(8) takes it: `/dev/sdb1`, `LABEL=…`, `UUID=…`, `PARTLABEL=…`, `PARTUUID=…`.
  case device(String)
  /// A folder in memory (Clonezilla's `ram://`).
  case memory
  case nfs(version: NFSVersion, host: Host, path: String)
  /// `share` is the share and the folders below it, without a slash at either end; `dialect` is cifs' `vers=`.
  case smb(dialect: String?, credentials: Credentials?, host: Host, share: String)
  case ssh(user: String, host: Host, path: String)
  /// The whole address, `http` or `https`.
  case web(address: String, host: Host)

  public enum NFSVersion: String, Sendable { case v3 = "3", v4 = "4" }

  /// A name or address with an optional port.
  public struct Host: Sendable, Equatable {
    /// Without the brackets of an IPv6 address.
    public var name: String
    public var port: UInt16?

    public init(name: String, port: UInt16? = nil) {
      self.name = name
      self.port = port
    }

    /// As it stands before a colon: an IPv6 address in brackets.
    var bracketed: String { name.contains(":") ? "[\(name)]" : name }
    var isThisMachine: Bool { name == "localhost" || name == "::1" || name.hasPrefix("127.") }
  }

  public struct Credentials: Sendable, Equatable {
    public var domain: String?
    public var user: String
    public var password: String?

    public init(domain: String?, user: String, password: String?) {
      self.domain = domain
      self.user = user
      self.password = password
    }
  }

  /// Whether the network must be up to reach it.
  var needsNetwork: Bool {
    switch self {
    case .medium, .device, .memory: false
    case .nfs(_, let host, _), .smb(_, _, let host, _), .ssh(_, let host, _), .web(_, let host): !host.isThisMachine
    }
  }

  /// As it was written, without a password.
  public var description: String {
    switch self {
    case .medium(let folder): "medium:/\(folder)"
    case .device(let device): "dev:///\(device.hasPrefix("/") ? String(device.dropFirst()) : device)"
    case .memory: "ram://"
    case .nfs(let version, let host, let path): "nfs\(version == .v4 ? "4" : "")://\(Self.authority(host))\(path)"
    case .smb(_, let credentials, let host, let share):
      "smb://\(credentials.map { "\($0.user)@" } ?? "")\(Self.authority(host))/\(share)"
    case .ssh(let user, let host, let path): "ssh://\(user)@\(Self.authority(host))\(path)"
    case .web(let address, _): address
    }
  }

  private static func authority(_ host: Host) -> String {
    host.bracketed + (host.port.map { ":\($0)" } ?? "")
  }
}

extension RepositoryLocation {
  /// Folder of the medium where a build puts the images.
  static let imageFolder = "images"

  /// Reads the form that `docs/job-file.md` gives, and all of Clonezilla's (ocs-live-repository).
  /// - Throws: ``JobError/badRepository(uri:cause:)``; its text never has a password.
  public init(_ uri: String) throws(JobError) {
    do {
      self = try Self.parse(uri)
    } catch {
      throw .badRepository(uri: Self.withoutPassword(uri), cause: error.text)
    }
  }

  private struct Fault: Error {
    let text: String
    init(_ text: String) { self.text = text }
  }

  private static func parse(_ uri: String) throws(Fault) -> RepositoryLocation {
    if uri == "medium" { return .medium(folder: imageFolder) }
    if uri.hasPrefix("medium:/") {
      return .medium(folder: try folder(decoded(uri.dropFirst("medium:/".count))))
    }
    guard let separator = uri.firstRange(of: "://") else { throw Fault("it has no scheme such as nfs://") }
    let scheme = uri[..<separator.lowerBound]
    let rest = uri[separator.upperBound...]
    switch scheme {
    case "dev": return try device(rest)
    case "ram":
      guard rest.isEmpty || rest == "/" else { throw Fault("nothing may follow ram://") }
      return .memory
    case "nfs", "nfs4":
      let (user, host, path) = try parts(rest)
      guard user == nil else { throw Fault("NFS takes no user name") }
      return .nfs(version: scheme == "nfs4" ? .v4 : .v3, host: host, path: try absolute(path))
    case "ssh":
      let (user, host, path) = try parts(rest)
      guard let user, !user.isEmpty else { throw Fault("it has no user name; expected ssh://user@host/path") }
      guard !user.contains(":") else { throw Fault("a password has no place in it; put a key into the live system") }
      return .ssh(user: try name(decoded(user)), host: host, path: try absolute(path))
    case "http", "https":
      let (user, host, path) = try parts(rest)
      guard user == nil else { throw Fault("a user name or password has no place in it") }
      return .web(address: "\(scheme)://\(authority(host))\(trimmed(path))", host: host)
    case "smb": return try smb(rest, dialect: nil)
    default:
      guard let dialect = dialects[String(scheme)] else { throw Fault("the scheme \(scheme):// is not known") }
      return try smb(rest, dialect: dialect)
    }
  }

  /// Clonezilla's schemes of SMB that fix the version, and what they mean as `vers=` of mount.cifs.
  private static let dialects = [
    "smb1": "1.0", "smb1.0": "1.0", "smb2": "2.0", "smb2.0": "2.0", "smb2.1": "2.1", "smb3": "3.0",
    "smb3.0": "3.0", "smb3.11": "3.1.1", "smb3.1.1": "3.1.1",
  ]

  private static func device(_ rest: Substring) throws(Fault) -> RepositoryLocation {
    guard rest.hasPrefix("/") else { throw Fault("expected dev:///dev/NAME or dev:///LABEL=NAME") }
    let path = try decoded(rest)
    if path == "/OCS_LIVE_USB" { return .medium(folder: "") }
    for tag in ["LABEL=", "UUID=", "PARTLABEL=", "PARTUUID="] where path.hasPrefix("/\(tag)") {
      guard path.utf8.count > tag.utf8.count + 1 else { throw Fault("\(tag) has no value") }
      return .device(String(path.dropFirst()))
    }
    let components = path.split(separator: "/", omittingEmptySubsequences: false).dropFirst()
    guard components.first == "dev", components.count > 1,
      components.allSatisfy({ !$0.isEmpty && $0 != "." && $0 != ".." })
    else { throw Fault("expected a device below /dev, or LABEL=, UUID=, PARTLABEL= or PARTUUID=") }
    return .device(path)
  }

  private static func smb(_ rest: Substring, dialect: String?) throws(Fault) -> RepositoryLocation {
    let (user, host, path) = try parts(rest)
    let share = try folder(decoded(path))
    guard !share.isEmpty else { throw Fault("it names no share; expected smb://host/share") }
    return .smb(dialect: dialect, credentials: try user.map(credentials), host: host, share: share)
  }

  private static func credentials(_ text: Substring) throws(Fault) -> Credentials {
    let password = text.firstIndex(of: ":")
    var account = text[..<(password ?? text.endIndex)]
    var domain: String?
    if let semicolon = account.firstIndex(of: ";") {
      domain = try decoded(account[..<semicolon])
      account = account[account.index(after: semicolon)...]
    }
    let user = try decoded(account)
    guard !user.isEmpty else { throw Fault("the user name is empty") }
    guard user != "ask_user", domain != "ask_user" else { throw Fault("ask_user would wait for someone to answer") }
    return Credentials(
      domain: domain, user: user,
      password: try password.map { (i) throws(Fault) in try decoded(text[text.index(after: i)...]) })
  }

  /// User (with password), host and path of what follows `://`. A password may hold `@`: the last one counts.
  private static func parts(_ rest: Substring) throws(Fault) -> (user: Substring?, host: Host, path: Substring) {
    let slash = rest.firstIndex(of: "/") ?? rest.endIndex
    let authority = rest[..<slash]
    let at = authority.lastIndex(of: "@")
    let host = at.map { authority[authority.index(after: $0)...] } ?? authority
    return (at.map { authority[..<$0] }, try self.host(host), rest[slash...])
  }

  private static func host(_ text: Substring) throws(Fault) -> Host {
    let name: Substring
    let port: Substring
    if text.hasPrefix("[") {
      guard let end = text.firstIndex(of: "]") else { throw Fault("the bracket of the address is not closed") }
      name = text[text.index(after: text.startIndex)..<end]
      port = text[text.index(after: end)...]
      guard name.contains(":"), name.allSatisfy({ $0.isASCII && ($0.isHexDigit || ":.%".contains($0) || $0.isLetter) })
      else { throw Fault("`\(name)` is not an IPv6 address") }
    } else {
      let colon = text.firstIndex(of: ":") ?? text.endIndex
      name = text[..<colon]
      port = text[colon...]
      guard let first = name.first, first != "-", first != ".",
        name.allSatisfy({ $0.isASCII && ($0.isLetter || $0.isNumber || "-._".contains($0)) })
      else { throw Fault(name.isEmpty ? "it names no host" : "`\(name)` is not a host name") }
    }
    if port.isEmpty { return Host(name: String(name), port: nil) }
    guard port.first == ":", port.dropFirst().allSatisfy(\.isNumber), let number = UInt16(port.dropFirst()), number > 0
    else { throw Fault("`\(port.dropFirst())` is not a port; expected 1 to 65535") }
    return Host(name: String(name), port: number)
  }

  private static func absolute(_ path: Substring) throws(Fault) -> String {
    guard path.hasPrefix("/") else { throw Fault("it has no path") }
    let text = try decoded(trimmed(path))
    return text.isEmpty ? "/" : text
  }

  /// A path below some root, which it must not leave.
  private static func folder(_ text: String) throws(Fault) -> String {
    let components = text.split(separator: "/")
    guard !components.contains("..") else { throw Fault("`..` is not allowed") }
    return components.joined(separator: "/")
  }

  private static func name(_ text: String) throws(Fault) -> String {
    guard !text.hasPrefix("-") else { throw Fault("`\(text)` is not a user name") }
    return text
  }

  private static func trimmed(_ path: Substring) -> Substring {
    var path = path
    while path.hasSuffix("/") { path.removeLast() }
    return path
  }

  /// Undoes `%20`; refuses control characters, which would end a line of a credentials file.
  private static func decoded(_ text: Substring) throws(Fault) -> String {
    var bytes: [UInt8] = []
    var rest = text.utf8
    while let byte = rest.popFirst() {
      guard byte == UInt8(ascii: "%") else {
        bytes.append(byte)
        continue
      }
      guard rest.count >= 2, let value = UInt8(String(Substring(rest.prefix(2))), radix: 16),
        rest.first != UInt8(ascii: "+")
      else { throw Fault("% must be followed by two hexadecimal digits; write a % itself as %25") }
      bytes.append(value)
      rest = rest.dropFirst(2)
    }
    guard !bytes.contains(where: { $0 < 32 || $0 == 127 }) else { throw Fault("it holds a control character") }
    guard let result = String(validating: bytes, as: UTF8.self) else { throw Fault("it is not UTF-8") }
    return result
  }

  private static func withoutPassword(_ uri: String) -> String {
    guard let separator = uri.firstRange(of: "://") else { return uri }
    let rest = uri[separator.upperBound...]
    let authority = rest[..<(rest.firstIndex(of: "/") ?? rest.endIndex)]
    guard let at = authority.lastIndex(of: "@"), let colon = authority[..<at].firstIndex(of: ":") else { return uri }
    return "\(uri[..<colon]):***\(uri[at...])"
  }
}
