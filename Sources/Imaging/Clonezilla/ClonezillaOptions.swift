// SPDX-License-Identifier: GPL-3.0-or-later

public import Compression
public import Reporting

/// What an `ocs-sr` command line asks for: `ocs-sr [OPTIONS] TYPE IMAGE DEVICE…`.
///
/// Source: `ocs-sr` of Clonezilla 5, its options and its way of telling their arguments apart. `docs/ocs-sr.md` lists
/// what becomes of each option.
public struct ClonezillaOptions: Sendable, Equatable {
  public enum Work: String, Sendable, CaseIterable {
    case saveDisk = "savedisk"
    case saveParts = "saveparts"
    case restoreDisk = "restoredisk"
    case restoreParts = "restoreparts"
    case checkImage = "chk-img-restorable"

    public var isSaving: Bool { self == .saveDisk || self == .saveParts }
  }

  /// `-p`.
  public enum FinalAction: Sendable, Equatable {
    case poweroff, reboot
    /// A menu in Clonezilla.
    case choose
    /// Clonezilla's word for it is `true`.
    case nothing
    /// A line for the shell.
    case command(String)

    init(_ word: String) {
      switch word {
      case "poweroff": self = .poweroff
      case "reboot": self = .reboot
      case "choose", "command": self = .choose
      case "true": self = .nothing
      default: self = .command(word)
      }
    }
  }

  public internal(set) var work: Work
  public internal(set) var image: ClonezillaImageName
  /// As a `TargetSelector` takes them: `sda`, `sda1`, `/dev/sda`, `serial:X`. Empty when an image is checked.
  public internal(set) var devices: [String] = []
  /// Folder of the images.
  public internal(set) var repository = "/home/partimag"

  // MARK: Saving

  public internal(set) var codec = Codec.zstd
  /// Size of a volume of a data file in bytes; nil for files that are not split.
  public internal(set) var volumeByteCount: UInt64?
  /// False to copy every sector.
  public internal(set) var isMapped = true
  /// Whether the image is checked after it was saved.
  public internal(set) var checksAfterSaving = true

  // MARK: Restoring

  /// Whether the image is checked before anything is written.
  public internal(set) var checksBeforeRestoring = true
  /// Whether the target keeps the partition table it has.
  public internal(set) var keepsTable = false
  /// Whether the boot code of the MBR, and what belongs to it behind the MBR, is restored.
  public internal(set) var restoresBootCode = true
  public internal(set) var restoresExtendedBootCode = true
  /// Whether file systems are grown to their partitions.
  public internal(set) var growsFileSystems = false
  public internal(set) var makesBootEntries = true
  /// The partition of the image to restore, when it has another name than the target: `sda1`.
  public internal(set) var sourcePartition: String?

  public internal(set) var finalAction: FinalAction?
  /// Whether the programs that are run are shown.
  public internal(set) var isVerbose = false
  /// What a person should know of options that change nothing here, in their order.
  public internal(set) var notes: [String] = []

  /// - Parameter arguments: without the program's name.
  /// - Throws: ``ClonezillaOptionError``; nothing is left to be found out later.
  public init(_ arguments: [String]) throws(ClonezillaOptionError) {
    work = .checkImage
    image = .named("")
    var words: [String] = []
    var remaining = arguments[...]
    while let word = remaining.popFirst() {
      guard word.hasPrefix("-"), word.count > 1 else {
        words.append(word)
        continue
      }
      try take(word, from: &remaining)
    }
    var operands = words[...]
    work = try Self.work(operands.popFirst())
    guard let name = operands.popFirst(), !name.isEmpty else { throw .noImage(type: work.rawValue) }
    image = try ClonezillaImageName(name, isNew: work.isSaving)
    // Several devices come as one quoted word or as several.
    for word in operands.flatMap({ $0.split(whereSeparator: \.isWhitespace) }) { devices.append(try Self.device(word)) }
    guard devices.isEmpty == (work == .checkImage) else {
      throw devices.isEmpty ? .noDevices(type: work.rawValue) : .tooManyWords(devices[0])
    }
    if sourcePartition != nil, work != .restoreParts || devices.count != 1 {
      throw .conflict("-f PART goes with restoreparts and one device")
    }
  }

  /// Takes an option, and its argument from the words that follow.
  private mutating func take(
    _ word: String, from remaining: inout ArraySlice<String>
  ) throws(ClonezillaOptionError) {
    let parts = word.split(separator: "=", maxSplits: 1)
    let spelling = word.hasPrefix("--debug=") ? "--debug" : word
    guard let option = ClonezillaOption.all.first(where: { $0.spellings.contains(spelling) }) else {
      throw .unknownOption(
        word, nearest: Suggestion.nearest(to: word, among: ClonezillaOption.all.flatMap(\.spellings)))
    }
    var argument = ""
    if let expected = option.argument {
      if spelling == "--debug" {
        argument = String(parts.last ?? "")
      } else if let next = remaining.first, !next.isEmpty, !next.hasPrefix("-") || next == "-" {
        argument = next
        remaining.removeFirst()
      } else {
        throw .missingArgument(option: word, expected: expected)
      }
    }
    switch option.effect {
    case .understood(let apply): try apply(&self, argument)
    case .doneAnyway: notes.append("\(word) is what is done anyway: \(option.text)")
    case .ignored: notes.append("\(word) is ignored: \(option.text)")
    case .refused: throw .refused(option: word, reason: option.text)
    }
  }

  private static func work(_ word: String?) throws(ClonezillaOptionError) -> Work {
    guard let word else { throw .noType }
    if let work = Work(rawValue: word) { return work }
    throw .badType(word, nearest: Suggestion.nearest(to: word, among: Work.allCases.map(\.rawValue)))
  }

  private static func device(_ word: Substring) throws(ClonezillaOptionError) -> String {
    if word.hasPrefix("SERIALNO="), word.count > "SERIALNO=".count {
      return "serial:\(word.dropFirst("SERIALNO=".count))"
    }
    let name = word.hasPrefix("/dev/") ? word.dropFirst("/dev/".count) : word
    let isPlain =
      !name.isEmpty
      && name.utf8.allSatisfy { byte in
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
          UInt8(ascii: "0")...UInt8(ascii: "9"):
          true
        default: false
        }
      }
    // A path says which device is meant; Clonezilla's words that choose one do not.
    guard !chosenByClonezilla.contains(where: { word.hasPrefix($0) }), isPlain || word.hasPrefix("/") else {
      throw .badDevice(String(word))
    }
    return String(word)
  }

  /// Words, and beginnings of words, by which Clonezilla chooses a device itself.
  private static let chosenByClonezilla = [
    "ask_user", "all", "unmounted", "1st", "2nd", "3rd", "PTUUID=", "PARTUUID=", "UUID=", "LABEL=", "PARTLABEL=",
    "SERIALNO=", "ocs-",
  ]
}

/// Why an `ocs-sr` command line is not carried out. Nothing was done.
public enum ClonezillaOptionError: Failure, Equatable {
  case unknownOption(String, nearest: String?)
  case missingArgument(option: String, expected: String)
  case badArgument(option: String, found: String, expected: String)
  case refused(option: String, reason: String)
  case noType
  case badType(String, nearest: String?)
  case noImage(type: String)
  case badImage(String, cause: String)
  case noDevices(type: String)
  case tooManyWords(String)
  case badDevice(String)
  case conflict(String)

  public var reason: String {
    switch self {
    case .unknownOption(let option, let nearest):
      "ocs-sr has no option \(option)" + (nearest.map { "; did you mean \($0)?" } ?? "")
    case .missingArgument(let option, let expected): "\(option) needs \(expected) after it"
    case .badArgument(let option, let found, let expected): "\(option) needs \(expected), not \"\(found)\""
    case .refused(let option, let reason): "\(option) is not carried out here: \(reason)"
    case .noType: "no type of job was given"
    case .badType(let word, let nearest):
      "\"\(word)\" is not a type of job here" + (nearest.map { "; did you mean \($0)?" } ?? "")
    case .noImage(let type): "\(type) needs the name of an image after it"
    case .badImage(let name, let cause): "\"\(name)\" cannot be the image: \(cause)"
    case .noDevices(let type): "\(type) needs a device after the name of the image"
    case .tooManyWords(let word): "there should be nothing after the image, but there is \"\(word)\""
    case .badDevice(let word): "\"\(word)\" does not name a device"
    case .conflict(let text): text
    }
  }

  public var remedy: String? {
    switch self {
    case .unknownOption, .refused: "docs/ocs-sr.md lists the options"
    case .noType, .badType: "say \(ClonezillaOptions.Work.allCases.map(\.rawValue).joined(separator: ", "))"
    case .badDevice: "say sda, sda1, /dev/disk/by-id/NAME or SERIALNO=NUMBER"
    case .noDevices: "for example sda, or \"sda sdb\""
    case .badImage: "name the image"
    case .missingArgument, .badArgument, .noImage, .tooManyWords, .conflict: nil
    }
  }

  public var exitCode: ExitCode { .usage }
}
