// SPDX-License-Identifier: GPL-3.0-or-later

import Compression
import Foundation
import Imaging
import Reporting
import SystemPackage
import TestSupport
import Testing
import Volumes

@Suite struct ClonezillaOptionsTests {
  private func parse(_ line: String...) throws -> ClonezillaOptions { try ClonezillaOptions(line) }

  private func words(_ line: String) throws -> ClonezillaOptions {
    try ClonezillaOptions(line.split(separator: " ").map(String.init))
  }

  private func error(_ line: String) -> ClonezillaOptionError? {
    do {
      _ = try words(line)
      return nil
    } catch { return error as? ClonezillaOptionError }
  }

  private let sda = ClonezillaDevice.chosen(.device("/dev/sda"))

  // MARK: Lines people use

  @Test func anUnattendedSave() throws {
    let options = try words("-batch -q2 -j2 -z1p -i 4096 -sfsck -scs -p poweroff savedisk autoname sda")
    #expect(options.work == .saveDisk)
    #expect(options.image == .automatic)
    #expect(options.devices == [sda])
    #expect(options.codec == .gzip)
    #expect(options.volumeByteCount == 4_096_000_000)
    #expect(options.isMapped)
    #expect(!options.checksAfterSaving)
    #expect(options.finalAction == .poweroff)
    #expect(options.repository == "/home/partimag")
    #expect(options.notes.first == "-batch is what is done anyway: nothing is ever asked")
    #expect(options.notes.count == 4)
  }

  @Test func anUnattendedRestore() throws {
    let options = try words("-g auto -e1 auto -e2 -r -j2 -c -k0 -icds -scr -p true restoredisk my-image sda sdb")
    #expect(options.work == .restoreDisk)
    #expect(options.image == .named("my-image"))
    #expect(options.devices == [sda, .chosen(.device("/dev/sdb"))])
    #expect(options.growsFileSystems)
    #expect(!options.checksBeforeRestoring)
    #expect(!options.keepsTable)
    #expect(options.restoresBootCode)
    #expect(options.makesBootEntries)
    #expect(options.finalAction == .nothing)
    #expect(options.notes.count == 7)
    #expect(options.notes.contains { $0.hasPrefix("-icds is what is done anyway: a smaller disk is taken") })
    #expect(options.notes.contains { $0.hasPrefix("-g is ignored: ") })
  }

  @Test func partitions() throws {
    let options = try words("-batch -e1 auto -e2 -t -iefi -r -k -f sda2 restoreparts img sdb5")
    #expect(options.work == .restoreParts)
    #expect(options.keepsTable)
    #expect(!options.restoresBootCode)
    #expect(!options.makesBootEntries)
    #expect(options.sourcePartition == "sda2")
    #expect(options.devices == [.chosen(.device("/dev/sdb5"))])
    #expect(
      try parse("saveparts", "img", "sda1 sda2  nvme0n1p3").devices.map(\.description)
        == ["/dev/sda1", "/dev/sda2", "/dev/nvme0n1p3"])
  }

  @Test func whatIsLeftOut() throws {
    let options = try words("savedisk img sda")
    #expect(options.codec == .zstd)
    #expect(options.volumeByteCount == nil)
    #expect(options.checksAfterSaving && options.checksBeforeRestoring)
    #expect(options.finalAction == nil)
    #expect(options.notes.isEmpty)
  }

  @Test func savingOptions() throws {
    #expect(try words("-z0 savedisk a sda").codec == Codec.none)
    #expect(try words("-z9p savedisk a sda").codec == .zstd)
    #expect(try words("-z9 savedisk a sda").codec == .zstd)
    #expect(try words("-z1 savedisk a sda").codec == .gzip)
    #expect(try words("-i 0 savedisk a sda").volumeByteCount == nil)
    #expect(try !words("-q1 savedisk a sda").isMapped)
    #expect(try words("-or /mnt/images savedisk a sda").repository == "/mnt/images")
    #expect(try parse("-p", "echo all done", "savedisk", "a", "sda").finalAction == .command("echo all done"))
    #expect(try words("--debug=3 savedisk a sda").notes == ["--debug=3 is ignored: the log always says all"])
  }

  @Test func checking() throws {
    let options = try words("-b chk-img-restorable img")
    #expect(options.work == .checkImage)
    #expect(options.devices.isEmpty)
    #expect(error("chk-img-restorable img sda") == .tooManyWords("sda"))
  }

  @Test func devices() throws {
    let line = try words("restoredisk img /dev/disk/by-id/ata-X_1 SERIALNO=S5Y1_77 ptuuid=03c8b280-47aa")
    #expect(
      line.devices == [
        .chosen(.device("/dev/disk/by-id/ata-X_1")), .chosen(.serial("S5Y1_77")),
        .chosen(.identity(.table, "03c8b280-47aa")),
      ])
    let parts = try words("saveparts img UUID=0b51ce79 PARTUUID=271e1971-01 LABEL=root PARTLABEL=EFI")
    #expect(
      parts.devices == [
        .chosen(.identity(.fileSystem, "0b51ce79")), .chosen(.identity(.partition, "271e1971-01")),
        .chosen(.identity(.label, "root")), .chosen(.identity(.partitionLabel, "EFI")),
      ])
    for word in ["all", "unmounted_disk", "unmounted_parts"] {
      #expect(try words("savedisk a \(word)").devices == [.all])
    }
    #expect(try words("savedisk a all-but-usb").devices == [.allButUSB])
    #expect(try words("restoredisk a 1st-disk").devices == [.first])
    for word in [
      "ask_user", "2nd-disk", "SERIALNO=", "UUID=", "FOO=1", "ocs-1d1", "../sda", "sd*", "size>=1G", "only=", "1", ".",
    ] {
      #expect(error("restoredisk img \(word)") == .badDevice(word))
    }
    #expect(error("savedisk a all sda") != nil)
    #expect(error("1-2-mdisks a all") != nil)
    #expect(error("-f sda1 restoreparts a all") != nil)
  }

  @Test func theTable() throws {
    #expect(try !words("-k0 restoredisk a sda").scalesTable)
    let options = try words("-batch -r -k1 -icds restoredisk a sda")
    #expect(options.scalesTable && options.growsFileSystems && !options.keepsTable)
    #expect(try words("-k restoredisk a sda").keepsTable)
  }

  @Test func checksumLists() throws {
    let save = try words("-gm -gs -gb2 -gb3 -noabo savedisk a sda")
    #expect(save.madeChecksums == [.md5, .sha1, .blake2b, .blake3])
    #expect(save.isReadableByAll)
    #expect(save.notes.isEmpty)
    #expect(try words("-cm -cs -cb2 -cb3 restoredisk a sda").checkedChecksums == [.md5, .sha1, .blake2b, .blake3])
    #expect(try words("--gen-b2sum savedisk a sda").madeChecksums == [.blake2b])
    #expect(try words("-cb restoredisk a sda").checkedChecksums == [.blake2b])
  }

  /// Boot parameters of Clonezilla that add options to any save or restore.
  @Test func moreOptionsFromBootParameters() throws {
    let extra = ClonezillaOptions.Extra(saving: "-gm  -i 100", restoring: "-cm -scr")
    let save = try ClonezillaOptions(["-i", "4", "savedisk", "a", "sda"], extra: extra)
    #expect(save.madeChecksums == [.md5])
    #expect(save.volumeByteCount == 100_000_000)
    #expect(save.checksBeforeRestoring)
    let restore = try ClonezillaOptions(["restoreparts", "a", "sda1"], extra: extra)
    #expect(restore.checkedChecksums == [.md5])
    #expect(!restore.checksBeforeRestoring)
    #expect(try ClonezillaOptions(["chk-img-restorable", "a"], extra: extra).checkedChecksums.isEmpty)
    #expect(throws: ClonezillaOptionError.tooManyWords("poweroff")) {
      try ClonezillaOptions(["savedisk", "a", "sda"], extra: ClonezillaOptions.Extra(saving: "poweroff"))
    }
  }

  /// The help of ocs-sr, Clonezilla's samples (gen-rec-iso, gen-rec-usb, custom-ocs) and its web pages.
  @Test(arguments: [
    "-q2 -j2 -z1p -i 2000 -sc -p true savedisk my-image sda",
    "-q2 -c -j2 -edio -z9p -i 0 -sfsck -sgoc -p choose savedisk my-image sda",
    "-q2 -c -j2 -z1p -i 4096 -sfsck -senc -p choose savedisk 2020-01-02-img sda sdb",
    "-g auto -e1 auto -e2 -r -j2 -c -k0 -scr -p choose restoredisk my-image sda",
    "-g auto -e1 auto -e2 -c -t -r -j2 -k -p true restoreparts my-image sda1",
    "-e1 auto -e2 -t -r -edio -c -k restoreparts my-image sda1 sda5",
    "-l en_US.UTF-8 -g auto -e1 auto -e2 -c -r -j2 -p poweroff restoredisk my-image 1st-disk",
    "-b -q2 -c -j2 -z9p -i 0 -sfsck -scs -senc -p reboot savedisk autoname-wpfx=lab-date-mac all",
    "-batch -nogui -q2 -rescue -luks no -gm -gs -p true savedisk autohostname SERIALNO=2YK8XSYD",
    "-batch -scr -icrc -irhr -ius -icds -iefi -p reboot 1-2-mdisks my-image sda sdb sdc",
    "--batch --skip-check-restorable --use-partclone --image-size 1000 --postaction poweroff savedisk x sda",
    "--debug=1 -d2 -um expert --ocsroot /srv/images chk-img-restorable my-image",
  ])
  func linesOfTheDocumentation(line: String) throws { _ = try words(line) }

  // MARK: Slips

  @Test func unknownOptions() {
    #expect(error("-z9q savedisk a sda") == .unknownOption("-z9q", nearest: "-z9p"))
    #expect(error("--btach savedisk a sda") == .unknownOption("--btach", nearest: "--batch"))
    #expect(error("--frobnicate savedisk a sda") == .unknownOption("--frobnicate", nearest: nil))
    #expect(error("savedisk a sda -frob") != nil)
    #expect(error("restordisk a sda") == .badType("restordisk", nearest: "restoredisk"))
  }

  /// Types of job of the reference that are not built say so, with a code of their own.
  @Test(arguments: [
    "multicast_restoredisk", "multicast_restoreparts", "bt_restoredisk", "bt_restoreparts", "ld2d_restoredisk",
    "ld2d_restoreparts", "nd2d_restoredisk", "nd2d_restoreparts", "recovery-iso-zip", "cvt-img-compression",
    "encrypt-img", "decrypt-img", "p2v-img",
  ])
  func whatIsNotBuiltSaysSo(type: String) {
    guard let error = error("-batch \(type) img sda"), case .notBuilt(type, let instead) = error else {
      Issue.record("\(type)")
      return
    }
    #expect(error.exitCode == .unavailable)
    #expect(error.remedy == instead)
  }

  @Test func whatIsMissing() {
    #expect(error("") == .noType)
    #expect(error("-batch") == .noType)
    #expect(error("savedisk") == .noImage(type: "savedisk"))
    #expect(error("savedisk a") == .noDevices(type: "savedisk"))
    #expect(error("-p") == .missingArgument(option: "-p", expected: "ACTION"))
    #expect(error("-i -batch savedisk a sda") == .missingArgument(option: "-i", expected: "MB"))
    #expect(error("-f sda1 restoreparts a sda1 sda2") != nil)
    #expect(error("-f sda1 restoredisk a sda") != nil)
  }

  @Test(arguments: ["x", "4G", "1.5", "18446744073709", "99999999999999999999", "+4", ""])
  func volumeSizesThatAreNone(_ size: String) throws {
    #expect(throws: ClonezillaOptionError.self) { try parse("-i", size, "savedisk", "a", "sda") }
  }

  @Test(arguments: ["-z7", "-k2", "-enc", "-goc", "-t1", "-hn0 X", "-sfs"])
  func whatIsRefusedSaysWhy(_ option: String) throws {
    guard case .refused(_, let reason)? = error("\(option) savedisk a sda") else {
      Issue.record("\(option)")
      return
    }
    #expect(reason.count > 10)
  }

  // MARK: Names

  private let machine = ClonezillaImageName.Facts(
    time: { format in
      let values = ["%Y": "2025", "%m": "06", "%d": "30", "%H": "14", "%M": "23"]
      return values.reduce(format) { $0.replacing($1.key, with: $1.value) }
    }, mac: "52:54:00:12:34:56", hostName: "büro 1", vendorName: "QEMU, Inc.", productName: " Standard PC (Q35) ",
    uuid: "564d41fc-9d80-20ac-c812-bda6a392d1d5")

  /// As `ocs-functions` makes them.
  @Test(arguments: [
    ("autoname", "525400123456-2025-0630-1423-img"), ("autohostname", "b-ro-1-2025-0630-1423-img"),
    ("autoproductname", "QEMU_Inc_Standard_PC_Q35-img"), ("my.image", "my.image"),
    ("autoname-fox-year-date-time-uuid", "fox-2025-0630-1423-564d41fc-9d80-20ac-c812-bda6a392d1d5"),
    ("autoname-fox-datefmt_%Y%m%d", "fox-20250630"), ("autoname-fox-datefmt_%Y-datefmt_%m%d", "fox-2025-0630"),
    ("autoname-MAC-month-day-hour-minute", "525400123456-06-30-14-23"),
    ("autoname-hostname-productname", "b-ro-1-QEMU_Inc_Standard_PC_Q35"),
    ("autoname-wpfx=lab_-mac-wsfx=.old", "lab_525400123456.old"), ("autoname-datefmt_%m/%d %H", "06-30_14"),
    ("autoname-.hidden", "image.hidden"),
  ])
  func names(word: String, name: String) throws {
    #expect(try parse("savedisk", word, "sda").image.resolved(machine) == name)
  }

  @Test func namesThatCannotBe() throws {
    for line in [
      "savedisk ask_user sda", "restoredisk ask_user sda", "restoredisk autoname sda", "restoredisk autohostname sda",
      "savedisk autoname- sda", "restoreparts autoname-date sda1",
    ] {
      #expect(throws: ClonezillaOptionError.self, "\(line)") { try words(line) }
    }
    #expect(try words("restoredisk autoproductname sda").image.resolved(machine) == "QEMU_Inc_Standard_PC_Q35-img")
    let unknown = ClonezillaImageName.Facts(
      time: { $0 }, mac: nil, hostName: "", vendorName: "To Be Filled By O.E.M.", productName: nil, uuid: nil)
    for word in ["autoname", "autohostname", "autoname-mac", "autoname-uuid", "autoname-hostname"] {
      #expect(throws: ClonezillaOptionError.self) { try words("savedisk \(word) sda").image.resolved(unknown) }
    }
    #expect(
      try words("savedisk autoproductname sda").image.resolved(unknown) == "unknown_vendor_unknown_product-img")
  }

  // MARK: The table

  @Test func noSpellingMeansTwoThings() {
    let spellings = ClonezillaOption.all.flatMap(\.spellings)
    #expect(Set(spellings).count == spellings.count)
    #expect(spellings.allSatisfy { $0.hasPrefix("-") })
  }

  /// Every option can be given: it is taken with its argument, or refused; none is unknown.
  @Test func everyOptionIsKnown() throws {
    for option in ClonezillaOption.all {
      for spelling in option.spellings where spelling != "--debug" {
        let argument = option.argument.map { $0 == "MB" ? ["7"] : ["word"] } ?? []
        do {
          let type = option.spellings.contains("-f") ? "restoreparts" : "savedisk"
          let options = try ClonezillaOptions([spelling] + argument + [type, "img", "sda"])
          #expect(options.devices == [sda])
        } catch {
          guard case .refused(spelling, let reason) = error else {
            Issue.record("\(spelling): \(error)")
            continue
          }
          #expect(reason == option.text || spelling.hasPrefix("-z") || spelling.hasSuffix("-compress"))
        }
      }
    }
  }

  /// The options of Clonezilla's own documentation (reference of this project, clonezilla.md, section 5).
  @Test func noOptionOfClonezillaIsForgotten() {
    let known = Set(ClonezillaOption.all.flatMap(\.spellings))
    let documented = """
      -q2 -q1 -q -z0 -z1 -z1p -z2 -z2p -z3 -z4 -z5 -z5p -z6 -z6p -z7 -z8 -z8p -z9 -z9p -i -j2 -c -sfsck -fsck -fsck-y \
      -ntfs-ok -rm-win-swap-hib -ns -rescue -sc -scs -senc -enc -sgoc -goc -pe -pfe -pg -pfg -gm -gs -gb2 -gb3 -gmf \
      -noabo -luks -dblk -scpt -sfs -smtd -smmcb -plu -g -e1 -e2 -e -r -k -k0 -k1 -k2 -j -j0 -j1 -t -t1 -t2 -icds -icrc \
      -irhr -irvd -ius -iui -iefi -ssnf -scr -cm -cs -cb2 -cb3 -cmf -f -hn0 -hn1 -reluks -rmtd -rmmcb -srel -u \
      --mcast-port --max-time-to-wait -y -y1 -y2 -batch -b -nogui -um -bm -em -p -edio -or -mp -o0 -o1 -ps -l -v -d -w \
      -m -x --debug -d0 -d1 -d2 -d3 -d4 -np --net-filter --use-netcat --data-port -s -os -uoab
      """
    for option in documented.split(separator: " ") { #expect(known.contains(String(option)), "\(option)") }
  }

  /// The long spellings in the help and the parser of `ocs-sr`.
  @Test func noLongSpellingIsForgotten() {
    let known = Set(ClonezillaOption.all.flatMap(\.spellings))
    let documented = """
      --language --grub-install --from-part --no-force-dma-on --no-fdisk --no-create-partition --fdisk-proportion \
      --fdisk-manual --net-pipe --net-filter --not-only-access-by-owner --no-restore-mbr --restore-raw-mbr \
      --no-restore-ebr --select-img-in-client --load-geometry --change-geometry --load-geometry-from-edd \
      --always-restore --always-restore-default-local --always-restore-default-clone --always-restore-default-drbl \
      --confirm --skip-check-restorable --skip-check-restorable-s --skip-check-restorable-r --save-restore-error-log \
      --skip-check-part-table --skip-fs-save --skip-set-netboot-first --wait-time --batch --debug-mode --dialog \
      --Xdialog --whiptail --gdialog --kdialog --enc-ocs-img --skip-enc-ocs-img --passwd-ecryptfs \
      --passwd-file-ecryptfs --module --resize-partition --verbose --no-compress --gzip-compress --smp-gzip-compress \
      --bz2-compress --smp-bzip2-compress --lzo-compress --lzma-compress --xz-compress --smp-xz-compress \
      --lzip-compress --smp-lzip-compress --lrzip-compress --lz4-compress --lz4mt-compress --zstd-compress \
      --zstdmt-compress --nogui --ntfs-ok --rm-win-swap-hib --rescue --skip-fsck-src-part --fsck-src-part \
      --fsck-src-part-y --mount-point --ocsroot --image-size --max-time-to-wait --use-ntfsclone --force-to-use-dd \
      --use-partclone --create-part-by-sfdisk --create-part-by-dd --dump-mbr-in-the-end --clone-hidden-data --icrc \
      --irvd --irhr --ius --run-postrun-dir --run-prerun-dir --ntfs-progress-in-image-dir --gen-md5sum --gen-sha1sum \
      --gen-b2sum --check-md5sum --check-sha1sum --check-b2sum --gen-chksum-for-files-in-dev \
      --chk-chksum-for-files-in-dev --interactive --mcast-port --data-port --postaction --play-sound --restore-only \
      --source-IP --save-only --ocs-server --user-mode --beginner-mode --expert-mode --ignore-chk-dsk-size-pt \
      --ignore-update-efi-nvram --enable-luks --iui
      """
    for option in documented.split(separator: " ") { #expect(known.contains(String(option)), "\(option)") }
  }

  /// With `SLIPWAY_WRITE_DOCS=1` in the environment the document is written anew before it is compared.
  @Test func theDocumentIsMadeFromTheTable() throws {
    let root = FilePath(#filePath).removingLastComponent().removingLastComponent().removingLastComponent()
    let file = root.appending("docs/ocs-sr.md")
    let text = String(decoding: try file.contents(), as: UTF8.self)
    let marker = "## Options\n\nThe tables are made from the code that reads the options.\n\n"
    let start = try #require(text.range(of: marker)).upperBound
    let expected = text[..<start] + ClonezillaOption.reference()
    if ProcessInfo.processInfo.environment["SLIPWAY_WRITE_DOCS"] == "1" { try file.write(expected.utf8) }
    #expect(String(decoding: try file.contents(), as: UTF8.self) == expected)
  }
}
