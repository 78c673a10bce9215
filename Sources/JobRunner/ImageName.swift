// SPDX-License-Identifier: GPL-3.0-or-later

/// The name of an image with placeholders such as `{hostname}-{date}`.
package struct ImageName: Sendable, Equatable {
  /// What is known of the machine when the job starts.
  package struct Facts: Sendable, Equatable {
    package var hostname: String
    /// Of the first network card, twelve lower-case hexadecimal digits; nil without a card.
    package var mac: String?
    /// The machine's serial number from the firmware; nil when it gives none.
    package var serial: String?
    /// UTC, `2025-06-30`.
    package var date: String
    /// UTC, `142359`.
    package var time: String

    package init(hostname: String, mac: String?, serial: String?, date: String, time: String) {
      self.hostname = hostname
      self.mac = mac
      self.serial = serial
      self.date = date
      self.time = time
    }
  }

  package let template: String

  package init(_ template: String) { self.template = template }

  /// Fills in the placeholders; each character of a value that a name can't hold becomes `-`.
  /// - Throws: ``JobError/badImageName(_:cause:)``: an unknown or unknowable placeholder, or a name that would leave
  ///   the repository.
  package func expanded(_ facts: Facts) throws(JobError) -> String {
    try expanded { (placeholder) throws(JobError) in
      let value: String? =
        switch placeholder {
        case "hostname": facts.hostname
        case "date": facts.date
        case "time": facts.time
        case "mac": facts.mac
        default: facts.serial
        }
      guard let value, !value.isEmpty else {
        throw .badImageName(template, cause: "this machine has no {\(placeholder)}")
      }
      return String(value.map { Self.isAllowed($0) ? $0 : "-" })
    }
  }

  /// Checks the form alone.
  func check() throws(JobError) {
    _ = try expanded { (_) throws(JobError) in "x" }
  }

  private static let placeholders: Set = ["hostname", "date", "time", "mac", "serial"]

  private func expanded(_ value: (String) throws(JobError) -> String) throws(JobError) -> String {
    var name = ""
    var rest = Substring(template)
    while let open = rest.firstIndex(of: "{") {
      name += rest[..<open]
      guard let close = rest[open...].firstIndex(of: "}") else {
        throw .badImageName(template, cause: "a { is not closed")
      }
      let placeholder = String(rest[rest.index(after: open)..<close])
      guard Self.placeholders.contains(placeholder) else {
        throw .badImageName(
          template,
          cause: "{\(placeholder)} is not one of \(Self.placeholders.sorted().map { "{\($0)}" }.joined(separator: " "))"
        )
      }
      name += try value(placeholder)
      rest = rest[rest.index(after: close)...]
    }
    name += rest
    guard !name.isEmpty, !name.contains("/"), name.first != ".", name.first != "-", name.utf8.count <= 255,
      name.utf8.allSatisfy({ $0 >= 32 && $0 != 127 })
    else { throw .badImageName(template, cause: "`\(name)` is not the name of a folder") }
    return name
  }

  private static func isAllowed(_ character: Character) -> Bool {
    character.isASCII && (character.isLetter || character.isNumber || "._-".contains(character))
  }
}
