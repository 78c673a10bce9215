// SPDX-License-Identifier: GPL-3.0-or-later

import Compression

/// One option of `ocs-sr` and what becomes of it. The parser and `docs/ocs-sr.md` are made from the table of these.
package struct ClonezillaOption: Sendable {
  enum Effect: Sendable {
    case understood(@Sendable (inout ClonezillaOptions, _ argument: String) throws(ClonezillaOptionError) -> Void)
    case doneAnyway
    case ignored
    case refused

    var word: String {
      switch self {
      case .understood: "understood"
      case .doneAnyway: "done anyway"
      case .ignored: "ignored"
      case .refused: "refused"
      }
    }
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
    .init("-batch -b --batch", .doneAnyway, "nothing is ever asked"),
    .init("-c --confirm", .ignored, "nothing is ever asked; `reimage plan` shows beforehand what would be done"),
    .init(
      "-p --postaction", takes: "ACTION", .understood { $0.finalAction = .init($1) },
      "when all went well: `poweroff`, `reboot`, `true` for nothing, or a line for the shell; `choose` and `command` are "
        + "left to whoever started it. In a job of the live system the job does it, so that its hooks and its log come "
        + "first"),
    .init(
      "-or --ocsroot", takes: "FOLDER", .understood { $0.repository = $1 },
      "folder of the images, instead of `/home/partimag`"
    ),
    .init("-mp --mount-point", takes: "ADDRESS", .refused, "the repository is mounted by the job: `ocs_repository`"),
    .init("-nogui --nogui", .doneAnyway, "messages are lines of text"),
    .init("-um --user-mode", takes: "MODE", .ignored, "there are no menus"),
    .init("-bm -em", .ignored, "there are no menus"),
    .init("-l --language", takes: "LANGUAGE", .ignored, "messages are in English"),
    .init(
      "-v --verbose", .understood { options, _ in options.isVerbose = true }, "the programs that are run are shown"),
    .init(
      "-d --debug-mode -d0 --dialog -d1 --Xdialog -d2 --whiptail -d3 --gdialog -d4 --kdialog", .ignored,
      "there are no dialogs"),
    .init("--debug", takes: "LEVEL", .ignored, "the log always says all"),
    .init("-w --wait-time", takes: "SECONDS", .ignored, "nothing is waited for"),
    .init("-ps", .ignored, "no sound is made"),
    .init("-m --module", takes: "MODULE", .ignored, "the live system loads what the hardware needs"),
    .init("-a --no-force-dma-on", .ignored, "the kernel drives disks as fast as they go"),
    .init("-edio", .ignored, "data goes through the page cache"),
    .init("-noabo", .ignored, "data files are for their owner only"),
    .init("-o0 --run-prerun-dir -o1 -o --run-postrun-dir", .ignored, "the job runs its hooks by itself"),
    .init("-plu", .ignored, "the job puts its log on the medium by itself"),
    .init(
      "-uoab", .refused,
      "aliases of disks are not known; name the disk, or say SERIALNO=NUMBER"),
    .init("-x --interactive --restore-only --save-only", .refused, "there are no menus"),
    .init("-u --select-img-in-client", .refused, "it belongs to a server for many machines"),
    .init(
      "-y -y0 --always-restore --always-restore-default-local -y1 --always-restore-default-clone -y2 "
        + "--always-restore-default-drbl", .refused, "it belongs to a server for many machines"),
    .init("--mcast-port", takes: "PORT", .refused, "multicast is not known here"),
    .init("--max-time-to-wait", takes: "SECONDS", .refused, "multicast is not known here"),
    .init("-s", takes: "ADDRESS", .refused, "cloning over a network is not known here"),
    .init("-os", takes: "ADDRESS", .refused, "cloning over a network is not known here"),
    .init("-np", takes: "PROGRAM", .refused, "cloning over a network is not known here"),
    .init("--net-filter", takes: "PROGRAM", .refused, "cloning over a network is not known here"),
    .init("--data-port", takes: "PORT", .refused, "cloning over a network is not known here"),
    .init("--use-netcat", .refused, "cloning over a network is not known here"),
  ]

  private static let saving: [Self] = [
    .init("-q2 --use-partclone", .doneAnyway, "used blocks are saved as a partclone stream"),
    .init("-q1 --force-to-use-dd", .understood { options, _ in options.isMapped = false }, "every sector is saved"),
    .init("-q --use-ntfsclone", .ignored, "NTFS is saved as a partclone stream, like the others"),
    .init(
      "-z9p -z9", .understood { options, _ in options.codec = .zstd },
      "zstd on all cores, also without this option"),
    .init(
      "-z1p -z1 --smp-gzip-compress --gzip-compress", .understood { options, _ in options.codec = .gzip },
      "gzip on all cores"),
    .init("-z0 --no-compress", .understood { options, _ in options.codec = .none }, "no compression"),
    .init(
      "-z2 -z2p --bz2-compress --smp-bzip2-compress -z3 --lzo-compress -z4 --lzma-compress -z5 -z5p --xz-compress "
        + "--smp-xz-compress -z6 -z6p --lzip-compress --smp-lzip-compress -z7 --lrzip-compress -z8 -z8p", .refused,
      "this version writes zstd (`-z9p`), gzip (`-z1p`) or uncompressed (`-z0`) images"),
    .init("-i --image-size", takes: "MB", .understood(volumeSize), "largest data file in 10^6 bytes; 0 for no limit"),
    .init(
      "-sc -scs --skip-check-restorable --skip-check-restorable-s",
      .understood { options, _ in options.checksAfterSaving = false }, "the saved image is not read back"),
    .init("-sfsck --skip-fsck-src-part", .doneAnyway, "file systems are not changed before they are saved"),
    .init(
      "-fsck -fsck-src-part --fsck-src-part -fsck-y -fsck-src-part-y --fsck-src-part-y", .ignored,
      "file systems are not changed before they are saved; one that is not in order is copied sector by sector"),
    .init("-ntfs-ok --ntfs-ok", .ignored, "an NTFS that is not in order is copied sector by sector"),
    .init("-rm-win-swap-hib --rm-win-swap-hib", .ignored, "file systems are not changed before they are saved"),
    .init("-ns --ntfs-progress-in-image-dir", .ignored, "ntfsclone is not used"),
    .init("-rescue --rescue", .ignored, "a sector that cannot be read ends the save, and no image is left"),
    .init("-senc --skip-enc-ocs-img -sgoc", .doneAnyway, "images are not encrypted"),
    .init("-enc --enc-ocs-img -goc", .refused, "images are not encrypted"),
    .init("-pe -pfe -pg -pfg", takes: "PASSWORD", .refused, "images are not encrypted"),
    .init(
      "-gm --gen-md5sum -gs --gen-sha1sum -gb2 -gb3", .ignored,
      "lists of checksums are not made; the streams of the data have their own"),
    .init(
      "-gmf --gen-chksum-for-files-in-dev", .ignored,
      "lists of checksums are not made; the streams of the data have their own"),
    .init("-luks", takes: "yes\\|no", .ignored, "encrypted volumes are copied sector by sector, as they are"),
    .init("-dblk", takes: "yes\\|no", .ignored, "encrypted volumes are copied sector by sector, as they are"),
    .init("-scpt", .ignored, "a table that contradicts itself is never saved"),
    .init("-sfs", .refused, "an image without data cannot be restored"),
    .init("-smtd -smmcb", .refused, "flash chips and the boot areas of eMMC are not saved"),
  ]

  private static let restoring: [Self] = [
    .init(
      "-g --grub-install", takes: "auto\\|DEVICE", .ignored, "the boot code comes back as it was saved, GRUB's included"
    ),
    .init(
      "-e1 --change-geometry", takes: "auto\\|DEVICE", .doneAnyway,
      "the boot sectors of NTFS and FAT are adapted to where they now are"),
    .init(
      "-e --load-geometry -e2 --load-geometry-from-edd", .ignored,
      "sectors are addressed by number, not by cylinder and head"),
    .init(
      "-r --resize-partition", .understood { options, _ in options.growsFileSystems = true },
      "file systems are grown to their partitions"),
    .init("-k0", .doneAnyway, "the table is made as it was saved"),
    .init(
      "-k --no-fdisk --no-create-partition", .understood { options, _ in options.keepsTable = true },
      "the target keeps its table"),
    .init(
      "-k1 --fdisk-proportion", .refused,
      "this version does not make tables in proportion; `-k0 -r` restores the saved one"),
    .init("-k2 --fdisk-manual", .refused, "nothing is ever asked; make the table in a hook and say `-k`"),
    .init(
      "-j --create-part-by-sfdisk -j0 --create-part-by-dd -j1 --dump-mbr-in-the-end", .ignored,
      "the table is written from its description, the boot code beside it"),
    .init(
      "-j2 --clone-hidden-data", .doneAnyway, "what lies between the MBR and the first partition is saved and restored"),
    .init(
      "-t --no-restore-mbr", .understood { options, _ in options.restoresBootCode = false },
      "the target keeps its boot code, in the MBR and behind it"),
    .init("-t1 --restore-raw-mbr", .refused, "no boot code but the saved one is written"),
    .init(
      "-t2 --no-restore-ebr", .understood { options, _ in options.restoresExtendedBootCode = false },
      "extended partitions get no boot code"),
    .init("-icds --ignore-chk-dsk-size-pt", .ignored, "a target that is too small is refused all the same"),
    .init("-icrc --icrc", .ignored, "checksums are always checked"),
    .init("-irhr --irhr -irvd --irvd -ius --ius -iui", .doneAnyway, "the restored system is not changed"),
    .init(
      "-iefi --ignore-update-efi-nvram", .understood { options, _ in options.makesBootEntries = false },
      "no boot entry is made in the firmware"),
    .init("-ssnf", .doneAnyway, "network boot is not put first"),
    .init(
      "-scr --skip-check-restorable-r", .understood { options, _ in options.checksBeforeRestoring = false },
      "the image is not read through before anything is written"),
    .init(
      "-cm --check-md5sum -cs --check-sha1sum -cb2 -cb3 -cmf "
        + "--chk-chksum-for-files-in-dev", .refused,
      "lists of checksums are not read; leave it out, and the streams' own checksums are checked, or run md5sum -c in a hook"
    ),
    .init(
      "-f --from-part-in-img", takes: "PART", .understood { $0.sourcePartition = $1 },
      "the partition of the image that is restored to a partition of another name"),
    .init("-hn0 -hn1", takes: "PREFIX", .refused, "the restored system is not changed; set its name in a hook"),
    .init("-reluks", .refused, "encrypted volumes are restored as they are"),
    .init(
      "-rmtd -rmmcb", .refused,
      "flash chips and the boot areas of eMMC are not restored"),
    .init("-srel --save-restore-error-log", .ignored, "images are not changed by a restore"),
  ]

  @Sendable private static func volumeSize(
    _ options: inout ClonezillaOptions, _ argument: String
  ) throws(ClonezillaOptionError) {
    guard argument.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }),
      let megabytes = UInt64(argument), megabytes <= UInt64(Int64.max) / 1_000_000
    else {
      throw .badArgument(option: "-i", found: argument, expected: "a number of megabytes (10^6 bytes), or 0")
    }
    options.volumeByteCount = megabytes == 0 ? nil : megabytes * 1_000_000
  }
}
