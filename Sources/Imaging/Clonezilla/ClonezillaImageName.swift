// SPDX-License-Identifier: GPL-3.0-or-later

/// The image of an `ocs-sr` line: a name, or a word that stands for one.
///
/// Source: `parse_target_dir_with_reserved_name_saving_mode` and `get_vendor_product_name` of Clonezilla's
/// ocs-functions.
public enum ClonezillaImageName: Sendable, Equatable {
  case named(String)
  /// `autoname`: the address of the first network card, date and time.
  case automatic
  /// `autohostname`.
  case hostName
  /// `autoproductname`: what the firmware calls the machine.
  case productName
  /// `autoname-KEY-KEY…`: the words between the dashes.
  case composed([String])

  /// What is known of the machine.
  public struct Facts: Sendable {
    /// The local time in a format of strftime(3).
    public var time: @Sendable (_ format: String) -> String
    /// Of the first network card, as Linux writes it; nil without a card.
    public var mac: String?
    public var hostName: String
    /// `sys_vendor`, `product_name` and `product_uuid` of `/sys/class/dmi/id`; nil when the firmware says nothing.
    public var vendorName: String?
    public var productName: String?
    public var uuid: String?

    public init(
      time: @escaping @Sendable (String) -> String, mac: String?, hostName: String, vendorName: String?,
      productName: String?, uuid: String?
    ) {
      self.time = time
      self.mac = mac
      self.hostName = hostName
      self.vendorName = vendorName
      self.productName = productName
      self.uuid = uuid
    }

    fileprivate var plainMAC: String? { mac.map { $0.filter { $0 != ":" } } }

    /// `Vendor_Product` without brackets and punctuation.
    fileprivate var product: String {
      func part(_ name: String?, _ unknown: String) -> String {
        let words = name?.split(whereSeparator: \.isWhitespace).joined(separator: "_") ?? ""
        guard !words.isEmpty, words != "To_Be_Filled_By_O.E.M." else { return unknown }
        return words.filter { !":,.(){}[]".contains($0) }
      }
      return "\(part(vendorName, "unknown_vendor"))_\(part(productName, "unknown_product"))"
    }
  }

  /// - Parameter isNew: whether an image is made; one to restore has a name, or that of the machine's make.
  init(_ word: String, isNew: Bool) throws(ClonezillaOptionError) {
    switch word {
    case "ask_user": throw .badImage(word, cause: "nobody is asked")
    case "autoproductname": self = .productName
    case "autoname", "autohostname":
      guard isNew else { throw .badImage(word, cause: "it only names images that are saved") }
      self = word == "autoname" ? .automatic : .hostName
    default:
      guard word.hasPrefix("autoname-") else {
        self = .named(word)
        return
      }
      let keys = word.split(separator: "-").dropFirst().map(String.init)
      guard isNew else { throw .badImage(word, cause: "it only names images that are saved") }
      guard !keys.isEmpty else { throw .badImage(word, cause: "nothing follows the dash") }
      self = .composed(keys)
    }
  }

  private static let moment = "%Y-%m%d-%H%M"

  /// The name itself; what a name can't hold becomes `-`.
  /// - Throws: ``ClonezillaOptionError/badImage(_:cause:)`` when the machine does not tell what the word asks for.
  public func resolved(_ facts: Facts) throws(ClonezillaOptionError) -> String {
    switch self {
    case .named(let name): return name
    case .automatic:
      guard let unique = facts.plainMAC ?? facts.uuid else {
        throw .badImage("autoname", cause: "this machine has neither a network card nor a UUID")
      }
      return Self.name("\(unique)-\(facts.time(Self.moment))-img")
    case .hostName:
      guard !facts.hostName.isEmpty else { throw .badImage("autohostname", cause: "this machine has no host name") }
      return Self.name("\(facts.hostName)-\(facts.time(Self.moment))-img")
    case .productName: return Self.name("\(facts.product)-img")
    case .composed(let keys):
      var (before, parts, after) = ("", [String](), "")
      for key in keys {
        if key.hasPrefix("wpfx=") {
          before = String(key.dropFirst(5))
        } else if key.hasPrefix("wsfx=") {
          after = String(key.dropFirst(5))
        } else {
          parts.append(try Self.part(key, facts))
        }
      }
      return Self.name(before + parts.joined(separator: "-") + after)
    }
  }

  private static func part(_ key: String, _ facts: Facts) throws(ClonezillaOptionError) -> String {
    let format: String
    // Clonezilla takes the words in small or in capital letters, not in both at once.
    switch key == key.uppercased() ? key.lowercased() : key {
    case "year": format = "%Y"
    case "date": format = "%m%d"
    case "time": format = "%H%M"
    case "month": format = "%m"
    case "day": format = "%d"
    case "hour": format = "%H"
    case "minute": format = "%M"
    case "productname": return facts.product
    case "mac":
      guard let mac = facts.plainMAC else { throw .badImage("autoname-\(key)", cause: "it has no network card") }
      return mac
    case "uuid":
      guard let uuid = facts.uuid else { throw .badImage("autoname-\(key)", cause: "the firmware gives no UUID") }
      return uuid
    case "hostname", "fqdn":
      guard !facts.hostName.isEmpty else {
        throw .badImage("autoname-\(key)", cause: "this machine has no host name")
      }
      return facts.hostName
    default:
      guard key.hasPrefix("datefmt_") else { return key }
      format = String(key.dropFirst("datefmt_".count))
    }
    return String(facts.time(format).map { $0 == " " ? "_" : $0 })
  }

  private static func name(_ text: String) -> String {
    let name = String(
      text.map { $0.isASCII && ($0.isLetter || $0.isNumber || "._-+=@%".contains($0)) ? $0 : "-" })
    // Neither hidden nor taken for an option.
    return name.first == "." || name.first == "-" || name.isEmpty ? "image\(name)" : name
  }
}
