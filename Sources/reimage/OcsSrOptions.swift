// SPDX-License-Identifier: GPL-3.0-or-later

import Compression
import Imaging
import Reporting
import SystemPackage

/// Why an `ocs-sr` line is refused.
enum OcsSrError: Failure, Equatable {
  case unknownOption(String)
  case valueMissing(option: String)
  case unexpected(word: String, expected: String)
  case notYetSupported(option: String)
  case asks(String)

  var reason: String {
    switch self {
    case .unknownOption(let option): "ocs-sr has no option \(option)"
    case .valueMissing(let option): "the option \(option) needs a value"
    case .unexpected(let word, let expected): "expected \(expected), found \"\(word)\""
    case .notYetSupported(let option): "\(option) is not supported in this version"
    case .asks(let what): "\(what) is ask_user, but nobody is asked here"
    }
  }

  var remedy: String? {
    switch self {
    case .unknownOption, .valueMissing, .unexpected:
      "the form is: ocs-sr [OPTIONS] TYPE IMAGE DEVICE…; see ocs-sr --help"
    case .notYetSupported: "leave it out, or do this job with Clonezilla"
    case .asks: "name it"
    }
  }

  var exitCode: Reporting.ExitCode { .usage }
}

/// An `ocs-sr` line, understood.
struct OcsSrOptions: Sendable {
  enum JobType: String, Sendable {
    case savedisk, saveparts, restoredisk, restoreparts
    case check = "chk-img-restorable"
  }

  private(set) var type = JobType.savedisk
  private(set) var image = ""
  private(set) var devices: [String] = []
  private(set) var repository = FilePath(RepositoryOptions.standard)
  private(set) var save = SaveOptions()
  private(set) var restore = RestoreOptions()
  /// `-k`: the target's own partition table stays.
  private(set) var keepsTable = false
  /// `-f`.
  private(set) var fromPartition: String?
  private(set) var isVerbose = false
  /// What is to be said about options that change nothing here.
  private(set) var notes: [String] = []
  let commandLine: String

  /// - Parameter arguments: without the program's name.
  init(_ arguments: [String]) throws(OcsSrError) {
    commandLine = (["ocs-sr"] + arguments).joined(separator: " ")
    var words: [String] = []
    var rest = arguments[...]
    while let argument = rest.popFirst() {
      if argument.hasPrefix("-"), argument.count > 1 {
        try take(argument, &rest)
      } else {
        // Several disks may come as one quoted word.
        words += words.isEmpty ? [argument] : argument.split(separator: " ").map(String.init)
      }
    }
    guard let first = words.first, let type = JobType(rawValue: first) else {
      throw .unexpected(word: words.first ?? "", expected: "savedisk, saveparts, restoredisk or restoreparts")
    }
    guard words.count >= 2 else { throw .unexpected(word: "", expected: "the name of an image after \(first)") }
    guard words.count >= 3 || type == .check else { throw .unexpected(word: "", expected: "devices after \(words[1])") }
    self.type = type
    image = words[1]
    devices = Array(words.dropFirst(2))
    guard image != "ask_user" else { throw .asks("IMAGE") }
  }

  private mutating func take(_ option: String, _ rest: inout ArraySlice<String>) throws(OcsSrError) {
    func value() throws(OcsSrError) -> String {
      guard let value = rest.popFirst() else { throw .valueMissing(option: option) }
      return value
    }
    if let meaning = Self.ignored[option] {
      notes.append("\(option): \(meaning)")
      return
    }
    if let meaning = Self.ignoredWithValue[option] {
      notes.append("\(option) \(try value()): \(meaning)")
      return
    }
    if Self.refused.contains(option) { throw .notYetSupported(option: option) }
    if Self.silent.contains(option) { return }
    switch option {
    case "-z0", "--no-compress": save.compression = CompressionOptions(codec: .none)
    case "-z1", "-z1p", "--gzip-compress", "--smp-gzip-compress": save.compression = CompressionOptions(codec: .gzip)
    case "-z9", "-z9p", "--zstd-compress", "--smp-zstd-compress": save.compression = CompressionOptions(codec: .zstd)
    case "-i", "--image-size":
      let text = try value()
      guard let megabytes = UInt64(text), megabytes <= 20_000_000 else {
        throw .unexpected(word: text, expected: "a number of MB after -i")
      }
      save.splitByteCount = megabytes == 0 ? nil : megabytes * 1_000_000
    case "-q1", "--force-to-use-dd": save.isMapped = false
    case "-sc", "-scs", "--skip-check-restorable", "--skip-check-restorable-s": save.isVerified = false
    case "-scr", "--skip-check-restorable-r": restore.isVerified = false
    case "-r", "--resize-partition": restore.growth = .fileSystems
    case "-k", "--no-fdisk", "--no-create-partition": keepsTable = true
    case "-t", "--no-restore-mbr":
      restore.restoresBootCode = false
      restore.restoresHiddenData = false
    case "-t2", "--no-restore-ebr": restore.restoresExtendedBootCode = false
    case "-iefi", "--ignore-update-efi-nvram": restore.makesBootEntry = false
    case "-f", "--from-part-in-img", "--from-part": fromPartition = try value()
    case "-or", "--ocsroot": repository = FilePath(try value())
    case "-v", "--verbose": isVerbose = true
    default: throw .unknownOption(option)
    }
  }

  /// What is done here in any case, or means nothing here.
  private static let silent: Set = [
    "-b", "-batch", "--batch", "-q2", "--use-partclone", "-j2", "--clone-hidden-data", "-k0", "-nogui", "--nogui",
    "-edio", "--use-direct-io", "-j", "-j0", "-senc", "-sgoc", "-bm", "-em", "-noabo", "-d0", "-d1", "-d2", "-d3",
    "-d4",
    "-e2", "--load-geometry-from-edd", "-e", "--load-geometry", "-icds", "--ignore-chk-dsk-size-pt", "-ntfs-ok",
    "--ntfs-ok",
    "-sfsck", "--skip-fsck-src-part", "-ns", "--ntfs-progress-in-image-dir", "-ius", "-iui", "-irhr", "-irvd", "-ssnf",
    "-uoab", "-scpt", "-d", "--debug", "-srel",
  ]

  private static let ignored = [
    "-c": "nobody is asked here; ignored", "--confirm": "nobody is asked here; ignored",
    "-ps": "there is no sound; ignored", "--play-sound": "there is no sound; ignored",
    "-q": "NTFS is saved as a partclone image; ignored",
    "--use-ntfsclone": "NTFS is saved as a partclone image; ignored",
    "-fsck": "file systems are not changed before they are saved; ignored",
    "-fsck-y": "file systems are not changed before they are saved; ignored",
    "-rm-win-swap-hib": "files of Windows are not removed; ignored",
    "-rescue": "a sector that can't be read ends the job; ignored",
    "-icrc": "checksums are always checked; ignored", "--ignore-crc": "checksums are always checked; ignored",
    "-t1": "the boot code is that of the image; ignored",
    "--restore-raw-mbr": "the boot code is that of the image; ignored",
    "-j1": "the partition table is made anew; ignored", "-o0": "hooks are run by livejob; ignored",
    "-o1": "hooks are run by livejob; ignored", "-plu": "the log stays in the image; ignored",
    "-gm": "no list of checksums is made; ignored", "-gs": "no list of checksums is made; ignored",
    "-gb2": "no list of checksums is made; ignored", "-gb3": "no list of checksums is made; ignored",
    "-gmf": "no list of checksums is made; ignored", "-x": "nobody is asked here; ignored",
    "-cm": "the checksums inside the image are checked; ignored",
    "-cs": "the checksums inside the image are checked; ignored",
    "-cb2": "the checksums inside the image are checked; ignored",
    "-cb3": "the checksums inside the image are checked; ignored",
  ]

  private static let ignoredWithValue = [
    "-p": "left to the program that started this one", "--postaction": "left to the program that started this one",
    "-g": "the boot loader is restored as it was, not installed anew",
    "--grub-install": "the boot loader is restored as it was, not installed anew",
    "-e1": "a boot sector of NTFS or FAT is put right whenever its partition has moved",
    "--change-geometry": "a boot sector of NTFS or FAT is put right whenever its partition has moved",
    "-l": "messages are in English", "--language": "messages are in English",
    "-um": "there are no menus", "--user-mode": "there are no menus", "-w": "nothing is waited for",
    "-m": "the kernel loads modules by itself", "-luks": "LUKS is saved as it is, encrypted",
    "-dblk": "BitLocker is saved as it is, encrypted", "-hn0": "host names are not changed",
    "-hn1": "host names are not changed",
  ]

  /// These would make another image or another disk than was asked for.
  private static let refused: Set = [
    "-k1", "-k2", "-z2", "-z2p", "-z3", "-z4", "-z5", "-z5p", "-z6", "-z6p", "-z7", "-z8", "-z8p", "-enc", "-goc",
    "-pe",
    "-pfe", "-pg", "-pfg", "-sfs", "-smtd", "-smmcb", "-rmtd", "-rmmcb", "-reluks", "-mp", "-np", "-cmf", "-s", "-os",
  ]

  static let help = """
    usage: ocs-sr [OPTIONS] TYPE IMAGE DEVICE…

    TYPE is savedisk, saveparts, restoredisk, restoreparts or chk-img-restorable. This is reimage under Clonezilla's name;
    nobody is ever asked, and -p is left to livejob. Options that do something:
      -z0 -z1 -z1p -z9 -z9p   compression: none, gzip, zstd (the default)
      -i N                    cut data files into volumes of N × 1000000 bytes; 0: don't
      -q1                     copy every sector
      -sc -scs -scr           don't check the image after saving, before restoring
      -r                      each file system grows to the end of its partition
      -k                      leave the target's partition table as it is
      -t -t2                  don't restore the boot code of the MBR, of extended partitions
      -iefi                   make no boot entry in the firmware
      -f PART                 restore this partition of the image to the one named
      -or DIR                 where images live (/home/partimag)
      -v                      show the programs that are run
    All other options of Clonezilla are accepted where they change nothing, and refused where they would.

    """
}
