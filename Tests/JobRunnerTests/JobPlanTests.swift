// SPDX-License-Identifier: GPL-3.0-or-later

import Foundation
import JobRunner
import SystemPackage
import TestSupport
import Testing

@Suite struct JobPlanTests {
  private func plan(_ line: String, on machine: FakeMachine) throws -> JobPlan {
    try JobPlan(commandLine: KernelCommandLine(line), places: machine.places)
  }

  private static let restore = #""action":"restore","image":"demo","repository":"medium""#

  @Test func readsAJobFileWithItsDefaults() async throws {
    try await withMachine { machine in
      try machine.job("demo", Self.restore)
      let plan = try plan("quiet slipway.job=demo", on: machine)
      var expected = Job(name: "demo", title: "A job", action: .restore)
      expected.image = "demo"
      expected.repository = "medium"
      #expect(plan.job == expected)
      #expect(expected.target == "only" && expected.onSuccess == .poweroff && expected.onFailure.retries == 0)
      #expect(plan.repository == .medium(folder: "images"))
      #expect(plan.work == .reimage && plan.hasJob && !plan.needsNetwork && !plan.allowsPreload)
    }
  }

  @Test func readsEveryMember() async throws {
    try await withMachine { machine in
      try machine.job(
        "s",
        #""action":"save","image":"{hostname}-{date}","repository":"nfs://h/x","source":"sda","parts":[1,3],"#
          + #""compression":"gzip","compressionLevel":9,"splitBytes":4000000000,"verify":false,"onSuccess":"reboot","#
          + #""onFailure":{"action":"shell","retries":2},"allowPreload":true,"network":true,"efiEntry":false,"grow":"none""#
      )
      let plan = try plan("slipway.job=s", on: machine)
      #expect(plan.job.onFailure == Job.FailureAction(action: .shell, retries: 2))
      #expect(plan.job.onSuccess == .reboot)
      #expect(plan.needsNetwork && plan.allowsPreload)
      #expect(
        plan.explanation(places: machine.places).contains { line in
          line.contains(
            "reimage save sda '{hostname}-{date}' --repository \(machine.places.repository) --compression gzip --level 9 "
              + "--split 4000000000 --parts 1,3 --no-verify`, up to 3 times")
        })
    }
  }

  @Test func theCommandLineCountsOverTheJobFile() async throws {
    try await withMachine { machine in
      try machine.job("demo", Self.restore)
      let job = try plan(
        "slipway.job=demo slipway.target=serial:A-B slipway.image=other slipway.repository=nfs://h/x slipway.grow=last "
          + "slipway.parts=2,4 slipway.verify=no slipway.efientry=0 slipway.onsuccess=none slipway.onfailure=shell "
          + "slipway.retries=7 slipway.network=yes slipway.source=sdz slipway.compression=gzip slipway.level=5 "
          + "slipway.split=4G slipway.command=x", on: machine
      ).job
      #expect(
        job.target == "serial:A-B" && job.image == "other" && job.repository == "nfs://h/x" && job.grow == "last")
      #expect(job.parts == [2, 4] && !job.verify && !job.efiEntry && job.onSuccess == .none && job.network)
      #expect(job.onFailure == Job.FailureAction(action: .shell, retries: 7))
      #expect(job.source == "sdz" && job.compression == "gzip" && job.compressionLevel == 5)
      #expect(job.splitBytes == 4 << 30 && job.command == "x")
    }
  }

  @Test func aJobNeedsNoFile() async throws {
    try await withMachine { machine in
      let plan = try plan(
        #"slipway.action=restore slipway.image=a "slipway.repository=dev:///LABEL=My%20Disk""#, on: machine)
      #expect(plan.job.name == "command-line" && plan.work == .reimage)
      #expect(plan.repository == .device("LABEL=My Disk"))
    }
  }

  @Test(arguments: [
    ("slipway.job=absent", "there is no job `absent`"),
    ("slipway.job=../x", "there is no job `../x`"),
    ("slipway.job=demo slipway.taget=sda", "did you mean `slipway.target`?"),
    ("slipway.job=demo slipway.nonsensical=1", "`slipway.nonsensical` is not known"),
    ("slipway.job=demo slipway.retries=-1", "expected 0 to 100"),
    ("slipway.job=demo slipway.retries=many", "expected 0 to 100"),
    ("slipway.job=demo slipway.onfailure=none", "expected poweroff, reboot or shell"),
    ("slipway.job=demo slipway.onfailure=explode", "expected poweroff, reboot or shell"),
    ("slipway.job=demo slipway.verify=maybe", "expected yes or no"),
    ("slipway.job=demo slipway.parts=1,,2", "such as 1,3"),
    ("slipway.job=demo slipway.parts=0", "from 1"),
    ("slipway.job=demo slipway.split=99999999999T", "such as 4294967296 or 4G"),
    ("slipway.job=demo slipway.split=0", "at least one byte"),
    ("slipway.job=demo slipway.target=", "expected a disk"),
    ("slipway.job=demo slipway.compression=lzma", "zstd, gzip, lz4, xz or none"),
    ("slipway.job=demo slipway.level=23", "1 to 22"),
    ("slipway.job=demo slipway.compression=gzip slipway.level=10", "1 to 9"),
    ("slipway.job=demo slipway.image=a/b", "not the name of a folder"),
    ("slipway.job=demo slipway.image={user}", "{user} is not one of"),
    ("slipway.job=demo slipway.repository=ftp://x", "ftp:// is not known"),
    ("slipway.job=demo slipway.action=save", "both `slipway.job` and `slipway.action`"),
    ("slipway.job=demo ocs_live_run=\"ocs-sr x\"", "both `ocs_live_run` and `slipway.job`"),
    ("slipway.job=demo ocs_repository=nfs://h/a slipway.repository=nfs://h/b", "both `ocs_repository`"),
    ("slipway.job=demo ocs_use_subdir=../x", "a folder inside the repository"),
    ("slipway.action=explode", "expected save, restore"),
    ("slipway.action=restore", "image is `missing`"),
    ("slipway.action=save slipway.image=a", "repository is `missing`"),
    ("slipway.image=a", "no slipway.job or slipway.action"),
    ("slipway.action=command", "expected what to run"),
    ("slipway.action=clonezilla slipway.command=\"ocs-sr x; rm\"", "without ; | &"),
    ("slipway.action=clonezilla slipway.command=reboot", "expected ocs-sr"),
    ("slipway.job=broken", "the job file"),
    ("slipway.job=extra", "colour: this member is not known"),
    ("slipway.job=partial", "`action` is missing"),
    ("slipway.job=wrong", "explode"),
    ("slipway.job=inner", "delay"),
  ])
  func refusesWithAReason(line: String, expected: String) async throws {
    try await withMachine { machine in
      try machine.job("demo", Self.restore)
      try machine.write("etc/slipway/jobs/broken.json", "{")
      try machine.job("extra", Self.restore + #","colour":1"#)
      try machine.write("etc/slipway/jobs/partial.json", #"{"name":"a","title":"b"}"#)
      try machine.job("wrong", Self.restore + #","onSuccess":"explode""#)
      try machine.job("inner", Self.restore + #","onFailure":{"action":"shell","delay":3}"#)
      let error = #expect(throws: JobError.self) { try plan(line, on: machine) }
      let reason = try #require(error?.reason)
      #expect(reason.contains(expected), "\(reason)")
    }
  }

  @Test func brokenJobFilesNeverTrap() async throws {
    try await withMachine { machine in
      let whole =
        #"{"name":"x","title":"t","#
        + #""action":"save","image":"a","repository":"medium","parts":[1],"onFailure":{"retries":1}}"#
      var generator = SeededGenerator(state: 3)
      var accepted = 0
      for round in 0..<600 {
        var bytes = Array(whole.utf8)
        if round < bytes.count {
          bytes.removeSubrange(round...)
        } else {
          for _ in 0..<Int.random(in: 1...4, using: &generator) {
            bytes[Int.random(in: 0..<bytes.count, using: &generator)] = UInt8.random(in: 0...255, using: &generator)
          }
        }
        try machine.places.commandLine.removingLastComponent().removingLastComponent()
          .appending("etc/slipway/jobs/x.json").write(bytes)
        do {
          _ = try plan("slipway.job=x", on: machine)
          accepted += 1
        } catch {
          #expect(error is JobError)
        }
      }
      #expect(accepted < 400)
    }
  }

  // MARK: Clonezilla's lines

  @Test func readsAnUnattendedClonezillaLine() async throws {
    try await withMachine { machine in
      let plan = try plan(
        #"boot=live ocs_live_run="ocs-sr -batch -q2 -j2 -z9p -i 0 -sfsck -scs -p poweroff savedisk autoname sda" "#
          + #"ocs_live_batch="yes" ocs_repository="nfs://10.0.0.1/srv" ocs_prerun="dhclient eth0" ocs_prerun2="sleep 5" "#
          + #"ocs_postrun=sync ocs_daemonon="ssh cron" ocs_dmesg_n=3 echo_ocs_repository=no ocs_use_subdir=lab"#,
        on: machine)
      #expect(plan.hasJob && plan.needsNetwork)
      #expect(
        plan.work
          == .line("ocs-sr -batch -q2 -j2 -z9p -i 0 -sfsck -scs -p poweroff savedisk autoname sda", shell: "/bin/bash"))
      #expect(plan.job.onSuccess == .poweroff && plan.job.onFailure.action == .poweroff)
      #expect(plan.clonezilla.prerun.commands.map(\.value) == ["dhclient eth0", "sleep 5"])
      #expect(plan.clonezilla.daemonsOn == ["ssh", "cron"] && plan.clonezilla.kernelMessages == 3)
      #expect(plan.clonezilla.subdirectory == "lab" && !plan.clonezilla.isRepositoryShown)
      #expect(!plan.explanation(places: machine.places).joined().contains("10.0.0.1"))
    }
  }

  @Test(
    arguments: [
      // ocs-sr's -p counts over ocs_final_action.
      (
        #"ocs_live_run="ocs-sr -b -p reboot restoredisk a sda" ocs_final_action=poweroff"#, FinalAction.reboot,
        FinalAction.poweroff
      ),
      (#"ocs_live_run="ocs-sr -b restoredisk a sda" ocs_final_action=poweroff"#, .poweroff, .poweroff),
      (#"ocs_live_run="ocs-sr -batch -p true restoredisk a sda""#, .none, .poweroff),
      (#"ocs_live_run="ocs-sr -p choose restoredisk a sda""#, .shell, .shell),
      (#"ocs_live_run="ocs-sr -p poweroff restoredisk a sda""#, .poweroff, .shell),
      (#"ocs_live_run="ocs-sr -b -p 'touch /x; reboot' restoredisk a sda""#, .command("touch /x; reboot"), .poweroff),
      (
        #"ocs_live_run="ocs-sr -b -p reboot savedisk a sda" ocs_overwrite_postaction=poweroff-on-savedisk"#, .poweroff,
        .poweroff
      ),
      (
        #"ocs_live_run="ocs-sr -b -p reboot savedisk a sda" ocs_overwrite_postaction=poweroff-on-clone"#, .reboot,
        .poweroff
      ),
      (#"ocs_live_run="mount /x; ocs-sr -batch -p reboot restoreparts a sda1 | tee y""#, .reboot, .poweroff),
      (#"ocs_live_run=/root/job.sh ocs_live_batch=yes"#, .shell, .poweroff),
      (#"ocs_live_run=/root/job.sh slipway.onfailure=reboot slipway.onsuccess=poweroff"#, .poweroff, .reboot),
      (#"ocs_live_run=ocs-live-restore ocs_live_extra_param="-b -p poweroff restoredisk a sda""#, .poweroff, .poweroff),
    ] as [(String, FinalAction, FinalAction)])
  func takesClonezillasFinalAction(line: String, success: FinalAction, failure: FinalAction) async throws {
    try await withMachine { machine in
      let job = try plan(line, on: machine).job
      #expect(job.onSuccess == success)
      #expect(job.onFailure.action == failure)
    }
  }

  @Test(arguments: [
    "quiet", "ocs_live_run=ocs-live-general", "ocs_live_run=bash ocs_prerun=true", "ocs_final_action=poweroff",
  ])
  func withoutAJobItIsARescueSystem(line: String) async throws {
    try await withMachine { machine in
      let plan = try plan(line, on: machine)
      #expect(plan.work == .shell && plan.job.onSuccess == .shell && plan.job.onFailure.action == .shell)
    }
  }

  @Test func liveRestoreTakesItsOptionsAndTheMedium() async throws {
    try await withMachine { machine in
      let line = #"ocs_live_run="ocs-live-restore" ocs_live_extra_param="-batch restoredisk a sda""#
      let plan = try plan(line, on: machine)
      #expect(plan.work == .line("ocs-sr -batch restoredisk a sda", shell: "/bin/bash"))
      #expect(plan.repository == .medium(folder: "home/partimag"))
      #expect(try self.plan(line + " ocs_repository=medium", on: machine).repository == .medium(folder: "images"))
    }
  }

  @Test func aClonezillaJobFileRunsWordsAndKeepsItsAction() async throws {
    try await withMachine { machine in
      try machine.job(
        "a", #""action":"clonezilla","command":"ocs-sr -b -p true savedisk 'my img' sda","onSuccess":"reboot""#)
      try machine.job(
        "b", #""action":"clonezilla","command":"ocs-sr -b -p poweroff savedisk x sda","onSuccess":"reboot""#)
      let first = try plan("slipway.job=a", on: machine)
      #expect(first.work == .ocsSr(["ocs-sr", "-b", "-p", "true", "savedisk", "my img", "sda"]))
      #expect(first.job.onSuccess == .reboot)
      #expect(try plan("slipway.job=b", on: machine).job.onSuccess == .poweroff)
    }
  }

  @Test func thePolicyAllowsPreloadsForAllJobs() async throws {
    try await withMachine { machine in
      try machine.job("demo", Self.restore)
      #expect(try !plan("slipway.job=demo", on: machine).allowsPreload)
      try machine.write("etc/slipway/policy.json", #"{"allowPreload":true}"#)
      #expect(try plan("slipway.job=demo", on: machine).allowsPreload)
      try machine.write("etc/slipway/policy.json", #"{"allowPreload":true,"x":1}"#)
      #expect(try !plan("slipway.job=demo", on: machine).allowsPreload)
    }
  }

  @Test func everyParameterIsDocumented() throws {
    let page = FilePath(#filePath).removingLastComponent().removingLastComponent().removingLastComponent()
      .appending("docs/boot-parameters.md")
    let text = String(decoding: try page.contents(), as: UTF8.self)
    for name in JobParameters.names { #expect(text.contains("| `\(name)` |"), "\(name)") }
  }

  // MARK: Names

  private static let facts = ImageName.Facts(
    hostname: "pc 7", mac: "525400123456", serial: "A/B:é", date: "2025-06-30", time: "142359")

  @Test(arguments: [
    ("demo", "demo"), ("{hostname}-{date}", "pc-7-2025-06-30"), ("{mac}_{time}", "525400123456_142359"),
    ("x{serial}", "xA-B--"), ("{date}{date}", "2025-06-302025-06-30"),
  ])
  func fillsInPlaceholders(template: String, name: String) throws {
    #expect(try ImageName(template).expanded(Self.facts) == name)
  }

  @Test(arguments: ["", "..", ".x", "-x", "a/b", "{date", "{}", "{user}", "{{date}}", "a\nb"])
  func refusesNames(template: String) {
    #expect(throws: JobError.self) { try ImageName(template).expanded(Self.facts) }
  }

  @Test func aPlaceholderWithoutAValueIsAnError() {
    var facts = Self.facts
    facts.serial = nil
    let error = #expect(throws: JobError.self) { try ImageName("{serial}").expanded(facts) }
    #expect(error?.reason.contains("this machine has no {serial}") == true)
  }

  @Test func readsTheMachine() async throws {
    try await withMachine { machine in
      let root = machine.places.commandLine.removingLastComponent().removingLastComponent()
      for (card, type, index, mac) in [
        ("lo", "772", "1", "00:00:00:00:00:00"), ("eth1", "1", "3", "52:54:00:AA:BB:02"),
        ("eth0", "1", "2", "52:54:00:AA:BB:01"),
      ] {
        let folder = root.appending("sys/class/net/\(card)")
        try FileManager.default.createDirectory(
          atPath: folder.appending("device").string, withIntermediateDirectories: true)
        try machine.write("sys/class/net/\(card)/type", type + "\n")
        try machine.write("sys/class/net/\(card)/ifindex", index + "\n")
        try machine.write("sys/class/net/\(card)/address", mac + "\n")
      }
      try FileManager.default.createDirectory(
        atPath: root.appending("sys/class/dmi/id").string, withIntermediateDirectories: true)
      try machine.write("sys/class/dmi/id/product_serial", "To Be Filled By O.E.M.\n")
      try machine.write("sys/class/tty/console/active", "tty0 ttyS0\n")
      let facts = machine.places.facts(at: 1_751_293_439)
      #expect(facts.mac == "525400aabb01" && facts.serial == nil && facts.hostname == "live")
      // date -u -d @1751293439
      #expect(facts.date == "2025-06-30" && facts.time == "142359")
      try machine.write("sys/class/dmi/id/product_serial", "ABC 123\n")
      #expect(machine.places.facts(at: 0).serial == "ABC-123")
      #expect(machine.places.consoles().map { $0.lastComponent?.string } == ["tty1", "ttyS0"])
    }
  }
}
