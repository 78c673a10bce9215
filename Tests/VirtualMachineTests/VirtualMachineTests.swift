// SPDX-License-Identifier: GPL-3.0-or-later

import Reporting
import SystemPackage
import TestSupport
import Testing
import VirtualMachine

@Suite struct VerdictTests {
  @Test func readsTheFirstCompleteLine() {
    let text = #"{"verdict":"success","job":"demo","exitCode":0,"message":"done","seconds":1.5}"# + "\n"
    let verdict = Verdict(lines: Array(text.utf8))
    #expect(verdict?.verdict == .success)
    #expect(verdict?.job == "demo")
    #expect(verdict?.seconds == 1.5)
  }

  @Test(arguments: [
    "", "success", "{\"verdict\":\"success\"}", "{\"verdict\":\"maybe\"}\n", "\u{0}\u{0}\n", "{}\n", "[]\n",
    "{\"verdict\":1}\n",
  ])
  func takesNothingElseForAVerdict(text: String) { #expect(Verdict(lines: Array(text.utf8)) == nil) }

  @Test func garbageBeforeTheVerdictIsPassedOver() {
    let text = "\u{1}noise\n{\"verdict\":\"failure\",\"message\":\"no disk\"}\n{\"verdict\":\"success\"}\n"
    #expect(Verdict(lines: Array(text.utf8))?.verdict == .failure)
  }

  @Test func exitCodesSayWhatHappened() {
    func code(_ verdict: String?, _ ending: Ending) -> ExitCode {
      let parsed = verdict.flatMap { Verdict(lines: Array("{\"verdict\":\"\($0)\"}\n".utf8)) }
      return Outcome(verdict: parsed, ending: ending, elapsed: .zero, accelerator: .tcg).exitCode
    }
    #expect(code("success", .poweredOff) == .success)
    #expect(code("success", .stayedOn) == .success)
    #expect(code("failure", .poweredOff) == .jobFailed)
    #expect(code(nil, .poweredOff) == .noVerdict)
    #expect(code(nil, .panicked) == .kernelPanic)
    #expect(code(nil, .timedOut) == .timedOut)
  }
}

@Suite struct GuestArgumentTests {
  private func arguments(_ guest: Guest) throws -> [String] {
    try guest.arguments(
      accelerator: .tcg, verdictFile: "/tmp/v", monitor: "/tmp/m",
      variables: guest.firmware == .bios ? nil : "/tmp/vars.fd")
  }

  @Test func anISOIsACDAndAnythingElseADisk() throws {
    #expect(Guest(medium: "a.iso").attachment == .cd)
    #expect(Guest(medium: "a.raw").attachment == .disk)
    #expect(Guest(medium: "a.iso", attachment: .usb).attachment == .usb)
  }

  @Test func commasInNamesAreDoubled() throws {
    let line = try arguments(Guest(medium: "a,b.iso", disks: ["c,d.raw"])).joined(separator: " ")
    #expect(line.contains("file=a,,b.iso"))
    #expect(line.contains("file=c,,d.raw"))
  }

  /// A guest could write a qcow2 header into its raw disk and so name any file of the host as its backing file.
  @Test func theFormatOfADiskIsNeverGuessedFromItsContent() throws {
    for name in ["x.raw", "x.img", "x", "x.qcow2"] {
      let line = try arguments(Guest(medium: "m.iso", disks: [FilePath(name)])).joined(separator: " ")
      #expect(line.contains("id=disk0,format=\(name == "x.qcow2" ? "qcow2" : "raw")"))
    }
  }

  @Test func aGuestHasNoNetworkUnlessAsked() throws {
    #expect(try arguments(Guest(medium: "m.iso")).contains("none"))
    #expect(try arguments(Guest(medium: "m.iso", hasNetwork: true)).contains { $0.hasPrefix("user,") })
  }
}
