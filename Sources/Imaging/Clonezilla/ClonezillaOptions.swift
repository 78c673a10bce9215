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
    /// One image of a disk to several disks.
    case restoreDisks = "1-2-mdisks"
    case checkImage = "chk-img-restorable"

    public var isSaving: Bool { self == .saveDisk || self == .saveParts }
    public var isOfDisks: Bool { self == .saveDisk || self == .restoreDisk || self == .restoreDisks }
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
  /// Empty when an image is checked.
  public internal(set) var devices: [ClonezillaDevice] = []
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
  /// The lists of checksums the image gets.
  public internal(set) var madeChecksums: [ChecksumKind] = []
  /// Whether data files can be read by others than their owner.
  public internal(set) var isReadableByAll = false

  // MARK: Restoring

  /// Whether the image is checked before anything is written.
  public internal(set) var checksBeforeRestoring = true
  /// The lists of checksums the image is compared with before anything is written.
  public internal(set) var checkedChecksums: [ChecksumKind] = []
  /// Whether the target keeps the partition table it has.
  public internal(set) var keepsTable = false
  /// Whether the partitions grow in proportion to fill a larger disk.
  public internal(set) var scalesTable = false
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

  /// More options for any save or any restore: the boot parameters `ocs_sr_save_extra_opt` and
  /// `ocs_sr_restore_extra_opt`.
  public struct Extra: Sendable {
    public var saving: String
    public var restoring: String

    public init(saving: String = "", restoring: String = "") {
      self.saving = saving
      self.restoring = restoring
    }
  }

  /// - Parameter arguments: without the program's name.
  /// - Throws: ``ClonezillaOptionError``; nothing is left to be found out later.
  public init(_ arguments: [String], extra: Extra = Extra()) throws(ClonezillaOptionError) {
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
    var more = (work.isSaving ? extra.saving : work == .checkImage ? "" : extra.restoring)
      .split(whereSeparator: \.isWhitespace).map(String.init)[...]
    while let word = more.popFirst() {
      guard word.hasPrefix("-") else { throw .tooManyWords(word) }
      try take(word, from: &more)
    }
    // Several devices come as one quoted word or as several.
    let names = operands.flatMap { $0.split(whereSeparator: \.isWhitespace).map(String.init) }
    guard names.isEmpty == (work == .checkImage) else {
      throw names.isEmpty ? .noDevices(type: work.rawValue) : .tooManyWords(names[0])
    }
    for name in names { devices.append(try ClonezillaDevice(name)) }
    if let word = devices.first(where: \.isCollective), devices.count > 1 || work == .restoreDisks {
      throw .conflict("\"\(word)\" stands for all devices there are; name them one by one instead")
    }
    if sourcePartition != nil, work != .restoreParts || devices.count != 1 || devices.contains(where: \.isCollective) {
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
    case .obeyed(let apply): try apply(&self, ClonezillaOption.Given(spelling: word, argument: argument))
    case .byDefault: notes.append("\(word) is what is done anyway: \(option.text)")
    case .ignored: notes.append("\(word) is ignored: \(option.text)")
    case .refused: throw .refused(option: word, reason: option.text)
    }
  }

  private static func work(_ word: String?) throws(ClonezillaOptionError) -> Work {
    guard let word else { throw .noType }
    if let work = Work(rawValue: word) { return work }
    if let (_, instead) = notBuilt.first(where: { $0.names.contains(word) }) {
      throw .notBuilt(type: word, instead: instead)
    }
    throw .badType(word, nearest: Suggestion.nearest(to: word, among: Work.allCases.map(\.rawValue)))
  }

  /// The types of job that Clonezilla knows and this version does not, and what to do instead.
  package static let notBuilt: [(names: [String], instead: String)] = [
    (
      [
        "multicast_restoredisk", "multicast_restoreparts", "bt_restoredisk", "bt_restoreparts", "ld2d_restoredisk",
        "ld2d_restoreparts", "nd2d_restoredisk", "nd2d_restoreparts",
      ], "let every machine restore from a repository they share"
    ),
    (["recovery-iso-zip"], "a recipe that embeds the image makes such a medium: `slipway build`"),
    (["cvt-img-compression"], "restore the image to a file, and save that with another compression"),
    (["encrypt-img", "decrypt-img"], "keep the repository on an encrypted file system"),
    (["p2v-img"], "`reimage restore IMAGE ./disk.raw` makes a virtual disk"),
  ]
}

/// Why an `ocs-sr` command line is not carried out. Nothing was done.
public enum ClonezillaOptionError: Failure, Equatable {
  case unknownOption(String, nearest: String?)
  case missingArgument(option: String, expected: String)
  case badArgument(option: String, found: String, expected: String)
  case refused(option: String, reason: String)
  case noType
  /// A type of job that Clonezilla has.
  case notBuilt(type: String, instead: String)
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
    case .notBuilt(let type, _): "\(type) is a job that this version cannot do"
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
    case .notBuilt(_, let instead): instead
    case .badDevice:
      "say sda, sda1, /dev/disk/by-id/NAME, SERIALNO=, PTUUID=, PARTUUID=, UUID=, LABEL=, all or 1st-disk"
    case .noDevices: "for example sda, or \"sda sdb\""
    case .badImage: "name the image"
    case .missingArgument, .badArgument, .noImage, .tooManyWords, .conflict: nil
    }
  }

  public var exitCode: ExitCode {
    switch self {
    case .notBuilt: .unavailable
    default: .usage
    }
  }
}
