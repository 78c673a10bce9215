// SPDX-License-Identifier: GPL-3.0-or-later

/// Sizes as recipes write them: a number of bytes, or one with a decimal (`GB`) or binary (`GiB`) unit.
enum ByteSize {
  /// A size as a regular expression, without anchors.
  static let body = "[0-9]{1,20} ?(B|[kKMGT]B|[KMGT]iB)?"
  static let allowed = "a size such as 4GB or 512MiB"

  /// The number of bytes; nil when `text` is no size or too large to count.
  static func parse(_ text: some StringProtocol) -> UInt64? {
    let trimmed = text.drop { $0 == " " }
    guard matches(String(trimmed), "^\(body)$") else { return nil }
    let digits = trimmed.prefix { $0.isASCII && $0.isNumber }
    let unit = trimmed.dropFirst(digits.count).drop { $0 == " " }
    guard let number = UInt64(digits) else { return nil }
    let base: UInt64 = unit.hasSuffix("iB") ? 1024 : 1000
    let exponent =
      switch unit.first {
      case "k", "K": 1
      case "M": 2
      case "G": 3
      case "T": 4
      default: 0
      }
    var result = number
    for _ in 0..<exponent {
      let (product, overflow) = result.multipliedReportingOverflow(by: base)
      guard !overflow else { return nil }
      result = product
    }
    return result
  }

  /// The shortest exact form: `128KiB`, `4GB`, `1000001`.
  static func text(_ bytes: UInt64) -> String {
    let units: [(String, UInt64)] = [
      ("TiB", 1 << 40), ("TB", 1_000_000_000_000), ("GiB", 1 << 30), ("GB", 1_000_000_000), ("MiB", 1 << 20),
      ("MB", 1_000_000), ("KiB", 1 << 10), ("kB", 1000),
    ]
    for (unit, size) in units where bytes >= size && bytes.isMultiple(of: size) { return "\(bytes / size)\(unit)" }
    return "\(bytes)"
  }
}

/// Whether all of `text` matches a regular expression of the subset that Swift and JSON Schema share.
func matches(_ text: String, _ pattern: String) -> Bool {
  // A recipe's single values are short; this bounds what backtracking can cost.
  guard text.utf8.count <= 4096, let regex = try? Regex(pattern) else { return false }
  return (try? regex.wholeMatch(in: text)) != nil
}
