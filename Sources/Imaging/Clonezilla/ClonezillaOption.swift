// SPDX-License-Identifier: GPL-3.0-or-later

import Compression

/// One option of `ocs-sr` and what becomes of it. The parser and `docs/ocs-sr.md` are made from the table of these.
///
/// Sources: `ocs-sr` and its help (`USAGE_common_save`, `USAGE_common_restore`, `USAGE_common_general`) of Clonezilla 5.
package struct ClonezillaOption: Sendable {
  enum Effect: Sendable {
    /// It changes what is done.
    case obeyed(@Sendable (inout ClonezillaOptions, Given) throws(ClonezillaOptionError) -> Void)
    /// What it asks for is done without it too.
    case byDefault
    /// Nothing comes of it, which is said.
    case ignored
    /// What it asks for cannot be had, and leaving it out would do something else than was asked for.
    case refused

    var word: String {
      switch self {
      case .obeyed: "obeyed"
      case .byDefault: "by default"
      case .ignored: "ignored"
      case .refused: "refused"
      }
    }
  }

  /// An option as it stands on a command line.
  struct Given: Sendable {
    let spelling: String
    /// Empty when the option takes none.
    let argument: String
  }

  package let spellings: [String]
  /// What its argument stands for; nil when it takes none.
  package let argument: String?
  let effect: Effect
  /// What it does here, or why it does nothing, as a half sentence.
  package let text: String

  init(_ spellings: String, takes argument: String? = nil, _ effect: Effect, _ text: String) {
    self.spellings = spellings.split(separator: " ").map(String.init)
    self.argument = argument
    self.effect = effect
    self.text = text
  }

  /// All options, in the order of the document.
  package static let all = general + saving + restoring

  /// The tables of `docs/ocs-sr.md`.
  package static func reference() -> String {
    [("General", general), ("Saving", saving), ("Restoring", restoring)].map { title, options in
      "### \(title)\n\n| option | | what becomes of it |\n|---|---|---|\n"
        + options.map { option in
          let names = option.spellings.map { "`\($0)`" }.joined(separator: ", ")
          return "| \(names)\(option.argument.map { " \($0)" } ?? "") | \(option.effect.word) | \(option.text) |\n"
        }.joined()
    }.joined(separator: "\n")
  }
}

extension ClonezillaOption {
  private static let general: [Self] = [
    .init("-batch -b --batch", .byDefault, "nothing is ever asked"),
    .init("-c --confirm", .ignored, "nothing is ever asked; `reimage plan` shows beforehand what would be done"),
    .init(
      "-p --postaction", takes: "ACTION", .obeyed { $0.finalAction = .init($1.argument) },
      "when all went well: `poweroff`, `reboot`, `true` for nothing, or a line for the shell; `choose` and `command` are "
        + "left to whoever started it. In a job of the live system the job does it, so that its hooks and its log come "
        + "first"),
    .init(
      "-or --ocsroot", takes: "FOLDER", .obeyed { $0.repository = $1.argument },
      "folder of the images, instead of `/home/partimag`"
    ),
    .init("-mp --mount-point", takes: "ADDRESS", .refused, "the repository is mounted by the job: `ocs_repository`"),
    .init("-nogui --nogui", .byDefault, "messages are lines of text"),
    .init("-um --user-mode", takes: "MODE", .ignored, "there are no menus"),
    .init("-bm --beginner-mode -em --expert-mode", .ignored, "there are no menus"),
    .init("-l --language", takes: "LANGUAGE", .ignored, "messages are in English"),
    .init(
      "-v --verbose", .obeyed { options, _ in options.isVerbose = true }, "the programs that are run are shown"),
    .init(
      "-d --debug-mode -d0 --dialog -d1 --Xdialog -d2 --whiptail -d3 --gdialog -d4 --kdialog", .ignored,
      "there are no dialogs"),
    .init("--debug", takes: "LEVEL", .ignored, "the log always says all"),
    .init("-w --wait-time", takes: "SECONDS", .ignored, "nothing is waited for"),
    .init("-ps --play-sound", .ignored, "no sound is made"),
    .init("-m --module", takes: "MODULE", .ignored, "the live system loads what the hardware needs"),
    .init("-a --no-force-dma-on", .ignored, "the kernel drives disks as fast as they go"),
    .init("-edio", .ignored, "data goes through the page cache"),
    .init("-o0 --run-prerun-dir -o1 -o --run-postrun-dir", .ignored, "the job runs its hooks by itself"),
    .init("-plu", .ignored, "the job puts its log on the medium by itself"),
    .init("-uoab", .ignored, "no aliases are made; name a disk, or say `SERIALNO=NUMBER`"),
    .init("-x --interactive --restore-only --save-only", .ignored, "there are no menus; the line has to say all"),
    .init("-u --select-img-in-client", .ignored, "nothing is ever asked; the line names the image"),
    .init(
      "-y -y0 --always-restore --always-restore-default-local -y1 --always-restore-default-clone -y2 "
        + "--always-restore-default-drbl", .ignored, "it belongs to a server that many machines start from"),
    .init("--mcast-port", takes: "PORT", .ignored, "nothing is received by multicast"),
    .init("--max-time-to-wait", takes: "SECONDS", .ignored, "nothing is received by multicast"),
    .init("-s --source-IP", takes: "ADDRESS", .ignored, "nothing is cloned over a network"),
    .init("-os --ocs-server", takes: "ADDRESS", .ignored, "nothing is cloned over a network"),
    .init("-np --net-pipe", takes: "PROGRAM", .ignored, "nothing is cloned over a network"),
    .init("--net-filter", takes: "PROGRAM", .ignored, "nothing is cloned over a network"),
    .init("--data-port", takes: "PORT", .ignored, "nothing is cloned over a network"),
    .init("--use-netcat", .ignored, "nothing is cloned over a network"),
  ]

  private static let saving: [Self] = [
    .init("-q2 --use-partclone", .byDefault, "used blocks are saved as a partclone stream"),
    .init("-q1 --force-to-use-dd", .obeyed { options, _ in options.isMapped = false }, "every sector is saved"),
    .init("-q --use-ntfsclone", .ignored, "NTFS is saved as a partclone stream, like the others"),
    .init(
      "-z9p -z9 --zstdmt-compress --zstd-compress", .obeyed(compression("zst")),
      "zstd on all cores, also without this option"),
    .init(
      "-z1p -z1 --smp-gzip-compress --gzip-compress", .obeyed(compression("gz")), "gzip on all cores"),
    .init("-z0 --no-compress", .obeyed(compression("uncomp")), "no compression"),
    .init("-z2 -z2p --bz2-compress --smp-bzip2-compress", .obeyed(compression("bz2")), "bzip2 is read only: refused"),
    .init("-z3 --lzo-compress", .obeyed(compression("lzo")), "lzop is read only: refused"),
    .init("-z4 --lzma-compress", .obeyed(compression("lzma")), "lzma is read only: refused"),
    .init("-z5 -z5p --xz-compress --smp-xz-compress", .obeyed(compression("xz")), "xz on all cores"),
    .init("-z6 -z6p --lzip-compress --smp-lzip-compress", .obeyed(compression("lzip")), "lzip is read only: refused"),
    .init("-z7 --lrzip-compress", .obeyed(compression("lrz")), "lrzip is read only: refused"),
    .init("-z8 -z8p --lz4-compress --lz4mt-compress", .obeyed(compression("lz4")), "lz4 on all cores"),
    .init("-i --image-size", takes: "MB", .obeyed(volumeSize), "largest data file in 10^6 bytes; 0 for no limit"),
    .init(
      "-sc -scs --skip-check-restorable --skip-check-restorable-s",
      .obeyed { options, _ in options.checksAfterSaving = false }, "the saved image is not read back"),
    .init("-sfsck --skip-fsck-src-part", .byDefault, "file systems are not changed before they are saved"),
    .init(
      "-fsck -fsck-src-part --fsck-src-part -fsck-y -fsck-src-part-y --fsck-src-part-y", .ignored,
      "file systems are not changed before they are saved; one that is not in order is copied sector by sector"),
    .init("-ntfs-ok --ntfs-ok", .ignored, "an NTFS that is not in order is copied sector by sector"),
    .init("-rm-win-swap-hib --rm-win-swap-hib", .ignored, "file systems are not changed before they are saved"),
    .init("-ns --ntfs-progress-in-image-dir", .ignored, "ntfsclone is not used"),
    .init("-rescue --rescue", .ignored, "a sector that cannot be read ends the save, and no image is left"),
    .init("-senc --skip-enc-ocs-img -sgoc", .byDefault, "images are not encrypted"),
    .init("-enc --enc-ocs-img -goc", .refused, "images are not encrypted"),
    .init(
      "-pe --passwd-ecryptfs -pfe --passwd-file-ecryptfs -pg -pfg", takes: "PASSWORD", .ignored,
      "images are not encrypted, and locked ones are refused"),
    .init(
      "-gm --gen-md5sum", .obeyed { options, _ in options.madeChecksums.append(.md5) },
      "the finished image gets a list of checksums, `MD5SUMS`"),
    .init(
      "-gs --gen-sha1sum", .obeyed { options, _ in options.madeChecksums.append(.sha1) }, "the same as `SHA1SUMS`"),
    .init(
      "-gb2 -gb --gen-b2sum", .obeyed { options, _ in options.madeChecksums.append(.blake2b) },
      "the same as `B2SUMS`"),
    .init("-gb3 --gen-b3sum", .obeyed { options, _ in options.madeChecksums.append(.blake3) }, "the same as `B3SUMS`"),
    .init(
      "-gmf --gen-chksum-for-files-in-dev", .ignored,
      "no file system is mounted to list its files; the streams of the data have their own checksums"),
    .init(
      "-noabo --not-only-access-by-owner", .obeyed { options, _ in options.isReadableByAll = true },
      "data files can be read by all, not just by their owner"),
    .init(
      "-luks --enable-luks", takes: "yes\\|no", .ignored, "encrypted volumes are copied sector by sector, as they are"),
    .init("-dblk", takes: "yes\\|no", .ignored, "encrypted volumes are copied sector by sector, as they are"),
    .init("-scpt --skip-check-part-table", .ignored, "a table that contradicts itself is never saved"),
    .init("-sfs --skip-fs-save", .refused, "an image without data cannot be restored"),
    .init("-smtd -smmcb", .refused, "flash chips and the boot areas of eMMC are not saved"),
  ]

  private static let restoring: [Self] = [
    .init(
      "-g --grub-install", takes: "auto\\|DEVICE", .ignored, "the boot code comes back as it was saved, GRUB's included"
    ),
    .init(
      "-e1 --change-geometry", takes: "auto\\|DEVICE", .byDefault,
      "the boot sectors of NTFS and FAT are adapted to where they now are"),
    .init(
      "-e --load-geometry -e2 --load-geometry-from-edd", .ignored,
      "sectors are addressed by number, not by cylinder and head"),
    .init(
      "-r --resize-partition", .obeyed { options, _ in options.growsFileSystems = true },
      "file systems are grown to their partitions"),
    .init("-k0", .byDefault, "the table is made as it was saved"),
    .init(
      "-k --no-fdisk --no-create-partition", .obeyed { options, _ in options.keepsTable = true },
      "the target keeps its table"),
    .init(
      "-k1 --fdisk-proportion", .obeyed { options, _ in options.scalesTable = true },
      "partitions grow in proportion to fill a larger disk, and their file systems with them; those for booting, swap and "
        + "recovery keep their sizes"),
    .init("-k2 --fdisk-manual", .refused, "nothing is ever asked; make the table in a hook and say `-k`"),
    .init(
      "-j --create-part-by-sfdisk -j0 --create-part-by-dd -j1 --dump-mbr-in-the-end", .ignored,
      "the table is written from its description, the boot code beside it"),
    .init(
      "-j2 --clone-hidden-data", .byDefault, "what lies between the MBR and the first partition is saved and restored"),
    .init(
      "-t --no-restore-mbr", .obeyed { options, _ in options.restoresBootCode = false },
      "the target keeps its boot code, in the MBR and behind it"),
    .init("-t1 --restore-raw-mbr", .refused, "no boot code but the saved one is written"),
    .init(
      "-t2 --no-restore-ebr", .obeyed { options, _ in options.restoresExtendedBootCode = false },
      "extended partitions get no boot code"),
    .init(
      "-icds --ignore-chk-dsk-size-pt", .byDefault,
      "a smaller disk is taken when all partitions fit on it; where they do not, it is refused all the same"),
    .init("-icrc --icrc", .ignored, "checksums are always checked"),
    .init("-irhr --irhr -irvd --irvd -ius --ius -iui --iui", .byDefault, "the restored system is not changed"),
    .init(
      "-iefi --ignore-update-efi-nvram", .obeyed { options, _ in options.makesBootEntries = false },
      "no boot entry is made in the firmware"),
    .init("-ssnf --skip-set-netboot-first", .byDefault, "network boot is not put first"),
    .init(
      "-scr --skip-check-restorable-r", .obeyed { options, _ in options.checksBeforeRestoring = false },
      "the image is not read through before anything is written"),
    .init(
      "-cm --check-md5sum", .obeyed { options, _ in options.checkedChecksums.append(.md5) },
      "all files are compared with `MD5SUMS` before anything is written; a list that is missing is only warned of"),
    .init(
      "-cs --check-sha1sum", .obeyed { options, _ in options.checkedChecksums.append(.sha1) },
      "the same with `SHA1SUMS`"),
    .init(
      "-cb2 -cb --check-b2sum", .obeyed { options, _ in options.checkedChecksums.append(.blake2b) },
      "the same with `B2SUMS`"),
    .init(
      "-cb3 --check-b3sum", .obeyed { options, _ in options.checkedChecksums.append(.blake3) },
      "the same with `B3SUMS`"),
    .init(
      "-cmf --chk-chksum-for-files-in-dev", .ignored,
      "restored files are not read one by one; the streams of the data have their own checksums"),
    .init(
      "-f --from-part --from-part-in-img", takes: "PART", .obeyed { $0.sourcePartition = $1.argument },
      "the partition of the image that is restored to a partition of another name"),
    .init("-hn0 -hn1", takes: "PREFIX", .refused, "the restored system is not changed; set its name in a hook"),
    .init("-reluks", .refused, "encrypted volumes are restored as they are"),
    .init(
      "-rmtd -rmmcb", .refused,
      "flash chips and the boot areas of eMMC are not restored"),
    .init("-srel --save-restore-error-log", .ignored, "images are not changed by a restore"),
  ]

  /// - Parameter suffix: of a Clonezilla file name.
  private static func compression(
    _ suffix: String
  ) -> @Sendable (inout ClonezillaOptions, Given) throws(ClonezillaOptionError) -> Void {
    { (options, given) throws(ClonezillaOptionError) in
      guard let codec = try? Codec(suffix: suffix), codec.isWritable else {
        let known = Codec.allCases.filter(\.isWritable).map(\.rawValue).joined(separator: ", ")
        throw .refused(option: given.spelling, reason: "of Clonezilla's compressions this version writes \(known)")
      }
      options.codec = codec
    }
  }

  @Sendable private static func volumeSize(
    _ options: inout ClonezillaOptions, _ given: Given
  ) throws(ClonezillaOptionError) {
    guard given.argument.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }),
      let megabytes = UInt64(given.argument), megabytes <= UInt64(Int64.max) / 1_000_000
    else {
      throw .badArgument(
        option: given.spelling, found: given.argument, expected: "a number of megabytes (10^6 bytes), or 0")
    }
    options.volumeByteCount = megabytes == 0 ? nil : megabytes * 1_000_000
  }
}
