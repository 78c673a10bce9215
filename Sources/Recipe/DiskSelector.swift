// SPDX-License-Identifier: GPL-3.0-or-later

import Reporting

/// Which disk a job means, said so that it fits many machines.
public enum DiskSelector: Sendable, Equatable {
  /// The one disk of the machine that is not the medium.
  case only
  /// The kernel's name without `/dev/`.
  case name(String)
  /// A path below `/dev/`.
  case path(String)
  case serial(String)
  /// In bytes.
  case sizeAtLeast(UInt64)
  /// In bytes.
  case sizeAtMost(UInt64)

  static let names = "((sd|hd|vd|xvd|dasd)[a-z]{1,3}|nvme[0-9]+n[0-9]+|(mmcblk|md|nbd|loop|pmem)[0-9]+)"
  /// What ``init(_:)`` takes, as far as a regular expression can say it.
  static let pattern =
    "^(only|\(names)|path:/dev/[!-~]+|serial:[!-~]([ -~]*[!-~])?|size(>=|<=) ?\(ByteSize.body))$"
  static let allowed = "only, a kernel name such as sda, path:/dev/..., serial:..., size>=10GB or size<=2TiB"

  /// Reads a recipe's or a job file's text; nil when it is none.
  public init?(_ text: String) {
    guard matches(text, Self.pattern) else { return nil }
    if text == "only" {
      self = .only
    } else if text.hasPrefix("path:") {
      let path = text.dropFirst("path:".count)
      guard !path.split(separator: "/").contains("..") else { return nil }
      self = .path(String(path))
    } else if text.hasPrefix("serial:") {
      self = .serial(String(text.dropFirst("serial:".count)))
    } else if text.hasPrefix("size") {
      guard let size = ByteSize.parse(text.dropFirst("size>=".count)) else { return nil }
      self = text.hasPrefix("size>=") ? .sizeAtLeast(size) : .sizeAtMost(size)
    } else {
      self = .name(text)
    }
  }

  /// The text that ``init(_:)`` takes, sizes in bytes.
  public var description: String {
    switch self {
    case .only: "only"
    case .name(let name): name
    case .path(let path): "path:\(path)"
    case .serial(let serial): "serial:\(serial)"
    case .sizeAtLeast(let size): "size>=\(size)"
    case .sizeAtMost(let size): "size<=\(size)"
    }
  }

  /// What was likely meant by a text that is no selector.
  static func guess(_ text: String) -> String? {
    guard text.hasPrefix("/dev/") else { return Suggestion.nearest(to: text, among: ["only"]) }
    let name = String(text.dropFirst("/dev/".count))
    return matches(name, "^\(names)$") ? name : "path:\(text)"
  }
}

extension DiskSelector: CustomStringConvertible {}

extension DiskSelector: Codable {
  public init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    guard let selector = try DiskSelector(container.decode(String.self)) else {
      throw DecodingError.dataCorruptedError(in: container, debugDescription: "not a disk: \(Self.allowed)")
    }
    self = selector
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(description)
  }
}
