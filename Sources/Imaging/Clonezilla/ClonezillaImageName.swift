// SPDX-License-Identifier: GPL-3.0-or-later

/// The image of an `ocs-sr` line: a name, or a word that stands for one when an image is saved.
public enum ClonezillaImageName: Sendable, Equatable {
  case named(String)
  /// `autoname`: date, time and the address of the first network card.
  case automatic
  /// `autohostname`.
  case hostName
  /// `autoproductname`: what the firmware calls the machine.
  case productName

  /// What is known of the machine.
  public struct Facts: Sendable, Equatable {
    /// `2025-06-30` and `1423`, local time.
    public var date: String
    public var time: String
    /// Of the first network card, as Linux writes it; nil without a card.
    public var mac: String?
    public var hostName: String
    /// `/sys/class/dmi/id/product_name`; nil when the firmware says nothing.
    public var productName: String?

    public init(date: String, time: String, mac: String?, hostName: String, productName: String?) {
      self.date = date
      self.time = time
      self.mac = mac
      self.hostName = hostName
      self.productName = productName
    }
  }

  /// - Parameter isNew: whether an image is made; otherwise only a name makes sense.
  init(_ word: String, isNew: Bool) throws(ClonezillaOptionError) {
    switch word {
    case "ask_user": throw .badImage(word, cause: "nobody is asked")
    case "autoname", "autohostname", "autoproductname":
      guard isNew else { throw .badImage(word, cause: "it only names images that are saved") }
      self = word == "autoname" ? .automatic : word == "autohostname" ? .hostName : .productName
    default:
      guard !word.hasPrefix("autoname-") else {
        throw .badImage(word, cause: "names composed by autoname-… are not known here")
      }
      self = .named(word)
    }
  }

  /// The name itself; what a name can't hold becomes `-`.
  /// - Throws: ``ClonezillaOptionError/badImage(_:cause:)`` when the machine does not tell what the word asks for.
  public func resolved(_ facts: Facts) throws(ClonezillaOptionError) -> String {
    switch self {
    case .named(let name): return name
    case .automatic:
      return Self.name([facts.date, facts.time] + (facts.mac.map { [$0.filter { $0 != ":" }] } ?? []))
    case .hostName:
      guard !facts.hostName.isEmpty else { throw .badImage("autohostname", cause: "this machine has no host name") }
      return Self.name([facts.hostName])
    case .productName:
      guard let name = facts.productName?.split(whereSeparator: \.isWhitespace).joined(separator: "-"), !name.isEmpty
      else { throw .badImage("autoproductname", cause: "the firmware does not say what machine this is") }
      return Self.name([name])
    }
  }

  private static func name(_ parts: [String]) -> String {
    let name = String(
      parts.joined(separator: "-").map { $0.isASCII && ($0.isLetter || $0.isNumber || "._-".contains($0)) ? $0 : "-" })
    // Neither hidden nor taken for an option.
    return name.first == "." || name.first == "-" ? "image\(name)" : name
  }
}
