// SPDX-License-Identifier: GPL-3.0-or-later

import Reporting

/// Where images live: a URI in the form of Clonezilla's `ocs_repository`, or the medium.
public struct Repository: Sendable, Equatable {
  public enum Scheme: String, Sendable, CaseIterable {
    /// The medium the live system was started from.
    case medium
    /// A partition of the machine.
    case dev
    case nfs, nfs4, smb, ssh, http, https

    public var isNetwork: Bool {
      switch self {
      case .medium, .dev: false
      case .nfs, .nfs4, .smb, .ssh, .http, .https: true
      }
    }

    /// Whether images can be saved there.
    public var isWritable: Bool {
      switch self {
      case .medium, .http, .https: false
      case .dev, .nfs, .nfs4, .smb, .ssh: true
      }
    }
  }

  public let scheme: Scheme
  /// `medium`, or the whole URI.
  public let uri: String

  /// The URI for people: with `***` instead of a password.
  public var displayText: String {
    guard let start = uri.firstRange(of: "://")?.upperBound else { return uri }
    let authority = uri[start...].prefix { $0 != "/" }
    guard let at = authority.lastIndex(of: "@"), let colon = authority[..<at].firstIndex(of: ":") else { return uri }
    return "\(uri[...colon])***\(uri[at...])"
  }

  static let medium = Repository(scheme: .medium, uri: "medium")

  static let pattern =
    "^(medium|(label|uuid|partlabel|partuuid)=.+|dev:///.+|(nfs4?|smb|ssh|https?)://.+)$"
  static let allowed =
    "medium, label=NAME, uuid=ID, dev:///..., nfs://host/path, nfs4://host/path, smb://host/share, "
    + "ssh://user@host/path, http://host/path, https://host/path"

  /// Reads a recipe's or a job file's text.
  /// - Returns: the repository, or what is wrong with the text.
  static func parse(_ text: String) -> Parsed<Repository> {
    if text == "medium" { return .value(.medium) }
    for kind in ["label", "uuid", "partlabel", "partuuid"] where text.hasPrefix("\(kind)=") {
      let value = text.dropFirst(kind.count + 1)
      guard !value.isEmpty, !value.contains(where: \.isNewline) else { return .wrong("names no partition") }
      return .value(Repository(scheme: .dev, uri: "dev:///\(kind.uppercased())=\(escape(value))"))
    }
    guard let separator = text.firstRange(of: "://") else {
      return .wrong(
        "\"\(text)\" is no repository", suggestion: Suggestion.nearest(to: text, among: ["medium"]))
    }
    let name = String(text[..<separator.lowerBound])
    guard let scheme = Scheme(rawValue: name), scheme != .medium else {
      let nearest = Suggestion.nearest(to: name, among: Scheme.allCases.map(\.rawValue).filter { $0 != "medium" })
      return .wrong("unknown kind of repository \"\(name)\"", suggestion: nearest.map { "\($0)://" })
    }
    let rest = text[separator.upperBound...]
    guard rest.utf8.allSatisfy({ (0x21...0x7E).contains($0) }) else {
      return .wrong("has a character that a URI must write as %XX (a space is %20)")
    }
    guard hasSoundEscapes(rest) else { return .wrong("has a % that is not followed by two hexadecimal digits") }
    if let complaint = scheme == .dev ? deviceComplaint(rest) : hostComplaint(rest, scheme: scheme) {
      return .wrong(complaint)
    }
    let trimmed = scheme == .dev || !rest.hasSuffix("/") ? rest : rest.dropLast()
    return .value(Repository(scheme: scheme, uri: "\(name)://\(trimmed)"))
  }

  /// The kind of repository that Clonezilla's kernel parameter `ocs_repository` names; nil for any other parameter.
  static func scheme(ofParameter parameter: String) -> Scheme? {
    let text = parameter.filter { $0 != "\"" }
    guard text.hasPrefix("ocs_repository="), let end = text.firstRange(of: "://") else { return nil }
    return Scheme(rawValue: String(text[..<end.lowerBound].dropFirst("ocs_repository=".count)))
  }

  private static func deviceComplaint(_ rest: Substring) -> String? {
    let known = matches(String(rest), "^/((LABEL|UUID|PARTLABEL|PARTUUID)=.+|dev/[^/].*)$")
    guard known, !rest.split(separator: "/").contains("..") else {
      return "names no partition: expected dev:///LABEL=..., dev:///UUID=..., dev:///PARTLABEL=..., "
        + "dev:///PARTUUID=... or dev:///dev/..."
    }
    return nil
  }

  private static func hostComplaint(_ rest: Substring, scheme: Scheme) -> String? {
    let authority = rest.prefix { $0 != "/" }
    let path = rest.dropFirst(authority.count)
    let user = authority.lastIndex(of: "@").map { authority[..<$0] }
    let host = user == nil ? authority : authority[authority.index(after: user?.endIndex ?? authority.startIndex)...]
    if matches(String(host), "^([A-Za-z0-9._-]+|\\[[0-9A-Fa-f:.]+\\])(:[0-9]{1,5})?$") == false {
      return "names no host"
    }
    let port = host.lastIndex(of: ":").map { host[host.index(after: $0)...] } ?? ""
    if !host.hasSuffix("]"), !port.isEmpty, !(1...65535).contains(Int(port) ?? 0) { return "has no such port" }
    if path.split(separator: "/").contains("..") { return "has .. in its path" }
    switch scheme {
    case .smb:
      if path.split(separator: "/").isEmpty { return "names no share: expected smb://host/share" }
    case .ssh:
      guard let user, !user.isEmpty else { return "names no user: expected ssh://user@host/path" }
      if user.contains(":") { return "has a password in it, which ssh doesn't take: put a key into an overlay" }
      if path.count < 2 { return "names no folder: expected ssh://user@host/path" }
    case .nfs, .nfs4:
      if user != nil { return "has a user in it, which nfs doesn't know" }
      if path.count < 2 { return "names no export: expected nfs://host/path" }
    case .http, .https:
      if user != nil { return "has a user in it, which is not supported for \(scheme.rawValue)" }
    case .medium, .dev: break
    }
    return nil
  }

  private static func hasSoundEscapes(_ text: Substring) -> Bool {
    text.split(separator: "%", omittingEmptySubsequences: false).dropFirst().allSatisfy { part in
      part.utf8.count >= 2 && part.prefix(2).allSatisfy { $0.isASCII && $0.isHexDigit }
    }
  }

  /// `text` with all that may not stand in a URI's path written as `%XX`.
  private static func escape(_ text: Substring) -> String {
    text.utf8.reduce(into: "") { result, byte in
      let character = Character(UnicodeScalar(byte))
      if character.isASCII, character.isLetter || character.isNumber || "-._~/".contains(character) {
        result.append(character)
      } else {
        let digits = String(byte, radix: 16, uppercase: true)
        result += "%" + (digits.count == 1 ? "0" : "") + digits
      }
    }
  }
}

/// The outcome of reading one value's text.
enum Parsed<Value> {
  case value(Value)
  case wrong(String, suggestion: String? = nil)
}

extension Repository: Codable {
  public init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    switch try Repository.parse(container.decode(String.self)) {
    case .value(let repository): self = repository
    case .wrong(let complaint, _):
      throw DecodingError.dataCorruptedError(in: container, debugDescription: complaint)
    }
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(uri)
  }
}
