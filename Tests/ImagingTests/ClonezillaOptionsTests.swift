// SPDX-License-Identifier: GPL-3.0-or-later

import Compression
import Foundation
import Imaging
import SystemPackage
import TestSupport
import Testing

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

  // MARK: Lines people use

  @Test func anUnattendedSave() throws {
    let options = try words("-batch -q2 -j2 -z1p -i 4096 -sfsck -scs -p poweroff savedisk autoname sda")
    #expect(options.work == .saveDisk)
    #expect(options.image == .automatic)
    #expect(options.devices == ["sda"])
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
    #expect(options.devices == ["sda", "sdb"])
    #expect(options.growsFileSystems)
    #expect(!options.checksBeforeRestoring)
    #expect(!options.keepsTable)
    #expect(options.restoresBootCode)
    #expect(options.makesBootEntries)
    #expect(options.finalAction == .nothing)
    #expect(options.notes.count == 7)
    #expect(options.notes.contains { $0.hasPrefix("-g is ignored: ") })
  }

  @Test func partitions() throws {
    let options = try words("-batch -e1 auto -e2 -t -iefi -r -k -f sda2 restoreparts img sdb5")
    #expect(options.work == .restoreParts)
    #expect(options.keepsTable)
    #expect(!options.restoresBootCode)
    #expect(!options.makesBootEntries)
    #expect(options.sourcePartition == "sda2")
    #expect(options.devices == ["sdb5"])
    #expect(try parse("saveparts", "img", "sda1 sda2  nvme0n1p3").devices == ["sda1", "sda2", "nvme0n1p3"])
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
    let line = try words("restoredisk img /dev/disk/by-id/ata-X_1 SERIALNO=S5Y1_77")
    #expect(line.devices == ["/dev/disk/by-id/ata-X_1", "serial:S5Y1_77"])
    for word in [
      "ask_user", "all", "all-but-usb", "unmounted_disk", "1st-disk", "PTUUID=12", "PARTUUID=12", "UUID=12",
      "SERIALNO=",
      "ocs-1d1", "../sda", "sd*", "size>=1G", "only=",
    ] {
      #expect(error("restoredisk img \(word)") == .badDevice(word))
    }
  }

  // MARK: Slips

  @Test func unknownOptions() {
    #expect(error("-z9q savedisk a sda") == .unknownOption("-z9q", nearest: "-z9p"))
    #expect(error("--btach savedisk a sda") == .unknownOption("--btach", nearest: "--batch"))
    #expect(error("--frobnicate savedisk a sda") == .unknownOption("--frobnicate", nearest: nil))
    #expect(error("savedisk a sda -frob") != nil)
    #expect(error("restordisk a sda") == .badType("restordisk", nearest: "restoredisk"))
    #expect(error("multicast_restoredisk a sda") == .badType("multicast_restoredisk", nearest: nil))
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

  @Test(arguments: ["-z2", "-z5p", "-z8", "-k1", "-k2", "-enc", "-cm", "-x"])
  func whatIsRefusedSaysWhy(_ option: String) throws {
    guard case .refused(option, let reason)? = error("\(option) savedisk a sda") else {
      Issue.record("\(option)")
      return
    }
    #expect(reason.count > 10)
  }

  // MARK: Names

  private let machine = ClonezillaImageName.Facts(
    date: "2025-06-30", time: "1423", mac: "52:54:00:12:34:56", hostName: "büro 1", productName: " Standard PC (Q35) ")

  @Test func names() throws {
    #expect(try words("savedisk autoname sda").image.resolved(machine) == "2025-06-30-1423-525400123456")
    #expect(try words("savedisk autohostname sda").image.resolved(machine) == "b-ro-1")
    #expect(try words("savedisk autoproductname sda").image.resolved(machine) == "Standard-PC--Q35-")
    #expect(try words("savedisk my.image sda").image.resolved(machine) == "my.image")
    #expect(throws: ClonezillaOptionError.self) { try words("savedisk ask_user sda") }
    #expect(throws: ClonezillaOptionError.self) { try words("savedisk autoname-date-mac sda") }
    #expect(throws: ClonezillaOptionError.self) { try words("restoredisk autoname sda") }
    let unknown = ClonezillaImageName.Facts(date: "d", time: "t", mac: nil, hostName: "", productName: nil)
    #expect(try words("savedisk autoname sda").image.resolved(unknown) == "d-t")
    for word in ["autohostname", "autoproductname"] {
      #expect(throws: ClonezillaOptionError.self) { try words("savedisk \(word) sda").image.resolved(unknown) }
    }
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
          #expect(options.devices == ["sda"])
        } catch {
          #expect(error == .refused(option: spelling, reason: option.text))
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
