// SPDX-License-Identifier: GPL-3.0-or-later

/// A section of LVM's configuration language, in which its metadata is written: named values and sections, in order.
///
/// Everything is kept, also what nothing here knows, so that metadata written again loses nothing but its comments.
public struct LVMSection: Sendable, Equatable {
  public indirect enum Value: Sendable, Equatable {
    case integer(Int64)
    /// A number with a point, as it was written.
    case decimal(String)
    case text(String)
    case list([Value])
    case section(LVMSection)
  }

  public struct Entry: Sendable, Equatable {
    public let key: String
    public let value: Value

    public init(_ key: String, _ value: Value) {
      self.key = key
      self.value = value
    }
  }

  public internal(set) var entries: [Entry]

  public init(_ entries: [Entry] = []) { self.entries = entries }

  public subscript(key: String) -> Value? { entries.first { $0.key == key }?.value }

  /// The sections in this one, in order.
  public var sections: [(key: String, section: LVMSection)] {
    entries.compactMap { entry in
      if case .section(let section) = entry.value { (entry.key, section) } else { nil }
    }
  }

  func section(_ key: String) -> LVMSection? { if case .section(let section)? = self[key] { section } else { nil } }

  func text(_ key: String) -> String? { if case .text(let text)? = self[key] { text } else { nil } }

  func integer(_ key: String) -> Int64? { if case .integer(let number)? = self[key] { number } else { nil } }

  /// The strings of a list; of a single string too, as LVM takes it.
  func texts(_ key: String) -> [String] {
    switch self[key] {
    case .list(let values): values.compactMap { if case .text(let text) = $0 { text } else { nil } }
    case .text(let text): [text]
    default: []
    }
  }

  // MARK: Writing

  /// The entries as `vgcfgbackup` lays them out.
  public var description: String {
    var lines: [String] = []
    write(to: &lines, indentation: "")
    return lines.map { $0 + "\n" }.joined()
  }

  private func write(to lines: inout [String], indentation: String) {
    for entry in entries {
      if case .section(let section) = entry.value {
        if !(lines.last?.isEmpty ?? true), !(lines.last?.hasSuffix("{") ?? false) { lines.append("") }
        lines.append("\(indentation)\(entry.key) {")
        section.write(to: &lines, indentation: indentation + "\t")
        lines.append("\(indentation)}")
      } else {
        lines.append("\(indentation)\(entry.key) = \(entry.value.description)")
      }
    }
  }
}

extension LVMSection.Value {
  fileprivate var description: String {
    switch self {
    case .integer(let number): "\(number)"
    case .decimal(let text): text
    case .text(let text):
      "\"" + text.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"") + "\""
    case .list(let values): "[" + values.map(\.description).joined(separator: ", ") + "]"
    case .section(let section): section.description
    }
  }
}
