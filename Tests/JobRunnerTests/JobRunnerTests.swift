// SPDX-License-Identifier: GPL-3.0-or-later

import Foundation
import JobRunner
import SystemPackage
import TestSupport
import Testing

@Suite struct JobRunnerTests {
  private static let restore = #""action":"restore","image":"demo","repository":"medium""#

  /// The line on the port, read with a form of its own.
  private struct Line: Decodable, Equatable {
    let verdict: String
    let job: String
    let exitCode: Int
    let message: String
    let seconds: Double
  }

  private func verdict(_ machine: FakeMachine) throws -> Line {
    let port = machine.places.commandLine.removingLastComponent().removingLastComponent()
      .appending("dev/virtio-ports/org.slipway.job")
    let line = String(decoding: try port.contents(), as: UTF8.self)
    #expect(line.hasSuffix("}\n") && line.filter { $0 == "\n" }.count == 1)
    return try JSONDecoder().decode(Line.self, from: Data(line.utf8))
  }

  @Test func doesAllInOrder() async throws {
    try await withMachine { machine in
      try machine.job("demo", Self.restore)
      try machine.write("dev/virtio-ports/org.slipway.job", "")
      for name in ["20-b", "10-a", "30-not~", ".hidden"] { try machine.hook("prerun", name) }
      try machine.hook("prerun", "15-text", executable: false)
      try machine.hook("postrun", "p")
      try machine.hook("failure", "f")
      let outcome = try await machine.boot(
        #"slipway.job=demo ocs_daemonon=ssh ocs_daemonoff="cron atd" ocs_prerun10=ten ocs_prerun="one 1" ocs_postrun=post"#
      )
      #expect(outcome.succeeded && outcome.status == 0 && outcome.finalAction == .poweroff)
      let mark = "/bin/sh -c 'mkdir -p \"${0%/*}\" && : > \"$0\"' /var/lib/clonezilla/"
      #expect(
        machine.events == [
          "systemctl start ssh", "systemctl stop cron", "systemctl stop atd",
          "/etc/slipway/hooks/prerun.d/10-a", "/etc/slipway/hooks/prerun.d/20-b",
          "/bin/bash -c 'one 1'", mark + "ocs_prerun", "/bin/bash -c ten", mark + "ocs_prerun10",
          "mkdir -p /home/partimag", "mount --bind /run/live/medium/images /home/partimag",
          "reimage restore demo only --repository /home/partimag --efi-entry --verify",
          "/etc/slipway/hooks/postrun.d/p", "/bin/bash -c post", mark + "ocs_postrun",
          "install -D -m 644 /run/slipway/job.log /home/partimag/slipway-logs/live-2025-06-30-142359.log",
          "umount /home/partimag", "systemctl --no-block poweroff",
        ])
      #expect(
        try verdict(machine)
          == Line(verdict: "success", job: "demo", exitCode: 0, message: "the job succeeded", seconds: 0))
    }
  }

  @Test func moreOptionsOfClonezillaReachTheProgram() async throws {
    try await withMachine { machine in
      try await machine.boot(
        #"ocs_live_run="ocs-sr -b -p poweroff savedisk a sda" ocs_sr_save_extra_opt="-gm -gs" quiet"#)
      let environment = try #require(machine.environment(of: "/bin/bash -c 'ocs-sr"))
      #expect(environment["ocs_sr_save_extra_opt"] == "-gm -gs")
      #expect(environment["ocs_sr_restore_extra_opt"] == nil)
      #expect(environment["SLIPWAY_ACTION"] == "save")
    }
  }

  @Test func hooksLearnTheJob() async throws {
    try await withMachine { machine in
      try machine.job(
        "s",
        #""action":"save","image":"{hostname}-{date}","repository":"medium","source":"sda","onFailure":{"retries":1}"#)
      try machine.hook("prerun", "a")
      try machine.hook("failure", "f")
      machine.next("reimage", status: 75)
      machine.next(
        "reimage", status: 74, "saving", "error: the disk is gone; seen:", "  | vda", "  | vdb", "  look at the cable")
      let outcome = try await machine.boot("slipway.job=s")
      let before = try #require(machine.environment(of: "/etc/slipway/hooks/prerun.d/a"))
      var expected = [
        "SLIPWAY_JOB": "s", "SLIPWAY_ACTION": "save", "SLIPWAY_IMAGE": "live-2025-06-30", "SLIPWAY_SOURCE": "sda",
        "SLIPWAY_TARGET": "", "SLIPWAY_REPOSITORY": machine.places.repository.string,
        "SLIPWAY_LOG": machine.places.log.string, "SLIPWAY_ATTEMPT": "0",
      ]
      #expect(before.filter { $0.key != "PATH" } == expected)
      expected["SLIPWAY_ATTEMPT"] = "2"
      expected["SLIPWAY_OUTCOME"] = "failure"
      expected["SLIPWAY_EXIT_CODE"] = "74"
      let after = try #require(machine.environment(of: "/etc/slipway/hooks/failure.d/f"))
      #expect(after.filter { $0.key != "PATH" } == expected)
      #expect(outcome.status == 74)
      #expect(outcome.message.hasSuffix("ended with status 74: error: the disk is gone; seen: vda; vdb"))
    }
  }

  @Test func hooksLearnWhatAnOcsSrLineDoes() async throws {
    try await withMachine { machine in
      try machine.hook("postrun", "p")
      try await machine.boot(#"ocs_live_run="ocs-sr -batch -g auto -p reboot restoredisk IMG sda sdb""#)
      let environment = try #require(machine.environment(of: "/etc/slipway/hooks/postrun.d/p"))
      #expect(environment["SLIPWAY_ACTION"] == "restore" && environment["SLIPWAY_TARGET"] == "sda sdb")
      #expect(environment["SLIPWAY_IMAGE"] == "IMG" && environment["SLIPWAY_OUTCOME"] == "success")
      #expect(machine.events.last == "systemctl --no-block reboot")
      #expect(machine.events.contains("/bin/bash -c 'ocs-sr -batch -g auto -p reboot restoredisk IMG sda sdb'"))
    }
  }

  @Test func aFailingPrerunParameterDoesNotStopTheJob() async throws {
    try await withMachine { machine in
      try machine.job("demo", Self.restore)
      machine.next("/bin/bash -c one", status: 3)
      let outcome = try await machine.boot("slipway.job=demo ocs_prerun=one ocs_prerun1=two echo_ocs_prerun=no")
      #expect(outcome.succeeded)
      #expect(machine.events.contains("/bin/bash -c two"))
      #expect(!machine.events.contains { $0.hasSuffix("/var/lib/clonezilla/ocs_prerun") })
      #expect(machine.text.contains("warning: ocs_prerun ended with status 3"))
      #expect(!machine.text.contains("ocs_prerun: one") && !machine.text.contains("two"))
    }
  }

  @Test func aParameterThatSucceededIsNotRunAgain() async throws {
    try await withMachine { machine in
      try machine.job("demo", Self.restore)
      try machine.write("var/lib/clonezilla/ocs_prerun1", "")
      try await machine.boot("slipway.job=demo ocs_prerun=one ocs_prerun1=two")
      #expect(machine.events.contains("/bin/bash -c one") && !machine.events.contains("/bin/bash -c two"))
    }
  }

  @Test func aFailingPrerunHookStopsTheJob() async throws {
    try await withMachine { machine in
      try machine.job("demo", Self.restore)
      try machine.write("dev/virtio-ports/org.slipway.job", "")
      try machine.hook("prerun", "a")
      try machine.hook("prerun", "b")
      try machine.hook("postrun", "p")
      try machine.hook("failure", "f")
      machine.next("/etc/slipway/hooks/prerun.d/a", status: 1)
      let outcome = try await machine.boot("slipway.job=demo ocs_postrun=post")
      #expect(!outcome.succeeded && outcome.status == 10)
      #expect(
        machine.events.filter { !$0.hasPrefix("/bin/sh") } == [
          "/etc/slipway/hooks/prerun.d/a", "/etc/slipway/hooks/failure.d/f", "/bin/bash -c post",
          "install -D -m 644 /run/slipway/job.log /run/live/medium/slipway-logs/live-2025-06-30-142359.log",
          "sleep 10", "systemctl --no-block poweroff",
        ])
      #expect(try verdict(machine).verdict == "failure")
    }
  }

  @Test func aFailingPostrunHookIsAFailure() async throws {
    try await withMachine { machine in
      try machine.job("demo", Self.restore + #","onFailure":{"action":"reboot"}"#)
      try machine.hook("postrun", "p")
      try machine.hook("failure", "f")
      machine.next("/etc/slipway/hooks/postrun.d/p", status: 4)
      machine.next("/etc/slipway/hooks/failure.d/f", status: 5)
      let outcome = try await machine.boot("slipway.job=demo")
      #expect(!outcome.succeeded && outcome.finalAction == .reboot)
      #expect(outcome.message.contains("postrun.d/p ended with status 4"))
      #expect(machine.text.contains("warning: the hook") && machine.events.last == "systemctl --no-block reboot")
    }
  }

  @Test func retriesMountAndJob() async throws {
    try await withMachine { machine in
      try machine.job("demo", Self.restore + #","onFailure":{"action":"shell","retries":2}"#)
      machine.next("reimage", status: 1)
      machine.next("reimage", status: 1)
      let outcome = try await machine.boot("slipway.job=demo")
      #expect(outcome.succeeded)
      let mount = "mount --bind /run/live/medium/images /home/partimag"
      let job = "reimage restore demo only --repository /home/partimag --efi-entry --verify"
      let attempt = [mount, job, "umount /home/partimag"]
      #expect(
        machine.events.filter { !$0.hasPrefix("mkdir") && !$0.hasPrefix("install") } == attempt + ["sleep 10"] + attempt
          + ["sleep 20"] + attempt + ["systemctl --no-block poweroff"])
      #expect(machine.environment(of: "reimage")?["SLIPWAY_ATTEMPT"] == "3")
    }
  }

  @Test func theLastFailureCountsAndTheShellKeepsTheRepository() async throws {
    try await withMachine { machine in
      try machine.job("demo", Self.restore + #","onFailure":{"action":"shell","retries":1}"#)
      machine.next("reimage", status: 66)
      machine.next("reimage", status: 65)
      // The log: the repository and the medium are read-only at first.
      machine.next("install -D -m 644 /run/slipway/job.log /home", status: 1)
      machine.next("install -D -m 644 /run/slipway/job.log /run/live", status: 1)
      machine.next("mount -o remount,rw /run/live/medium", status: 32)
      let outcome = try await machine.boot("slipway.job=demo")
      #expect(outcome.status == 65 && outcome.finalAction == .shell)
      let copy = "install -D -m 644 /run/slipway/job.log"
      let log = "slipway-logs/live-2025-06-30-142359.log"
      #expect(
        Array(machine.events.suffix(6)) == [
          "\(copy) /home/partimag/\(log)", "mount -o remount,rw /home/partimag", "\(copy) /home/partimag/\(log)",
          "\(copy) /run/live/medium/\(log)", "mount -o remount,rw /run/live/medium",
          "systemctl --no-block start slipway-shell.service",
        ])
      #expect(machine.text.contains("log: \(machine.places.repository)/\(log)"))
    }
  }

  @Test func waitsForARepositoryButNotForEver() async throws {
    try await withMachine { machine in
      try machine.job("n", #""action":"verify","image":"a","repository":"nfs4://server/srv""#)
      for _ in 0..<100 { machine.next("mount -t nfs", status: 32, "mount.nfs: Connection refused") }
      let outcome = try await machine.boot("slipway.job=n")
      #expect(!outcome.succeeded && outcome.status == 69)
      #expect(outcome.message.contains("nfs4://server/srv") && outcome.message.contains("Connection refused"))
      let pauses = machine.events.compactMap { $0.hasPrefix("sleep ") ? Int($0.dropFirst(6)) : nil }.dropLast()
      #expect(pauses.prefix(6) == [1, 2, 4, 8, 16, 30])
      #expect(pauses.reduce(0, +) < 300 && pauses.reduce(0, +) > 240)
      #expect(!machine.events.contains { $0.hasPrefix("reimage") })
    }
  }

  @Test func bringsUpTheNetworkOnlyWhenItIsNeeded() async throws {
    try await withMachine { machine in
      try machine.write("proc/net/route", "Iface\tDestination\n")
      try machine.job("n", #""action":"verify","image":"a","repository":"nfs://server/srv""#)
      try machine.job("l", #""action":"verify","image":"a","repository":"http://127.0.0.1:8080/x""#)
      try machine.job("m", Self.restore)
      machine.next("/usr/lib/systemd/systemd-networkd-wait-online", status: 1, "Timeout occurred")
      try await machine.boot("slipway.job=m")
      try await machine.boot("slipway.job=l")
      #expect(!machine.events.contains { $0.contains("networkd") })
      let outcome = try await machine.boot("slipway.job=n")
      #expect(outcome.succeeded)
      #expect(machine.text.contains("the network did not come up: Timeout occurred; again in 1.0 s"))
      #expect(machine.events.filter { $0 == "systemctl start systemd-networkd.service" }.count == 2)
    }
  }

  @Test func usesASubfolderAndUnmountsBoth() async throws {
    try await withMachine { machine in
      try await machine.boot(
        #"ocs_live_run="ocs-sr -b -p poweroff savedisk a sda" ocs_repository=dev:///LABEL=X ocs_use_subdir=lab/one"#)
      let events = machine.events.filter { $0.contains("mount") }
      #expect(
        events == [
          "mount -o noatime LABEL=X /home/partimag", "mount --bind /home/partimag/lab/one /home/partimag",
          "umount /home/partimag", "umount /home/partimag",
        ])
    }
  }

  @Test func refusesToPreloadUnlessAllowed() async throws {
    try await withMachine { machine in
      let line = #"ocs_live_run="ocs-sr -b savedisk a sda" ocs_preload=http://server/x.tar.gz ocs_prerun=one"#
      let outcome = try await machine.boot(line)
      #expect(outcome.status == 75 && outcome.message.contains("ocs_preload would run code"))
      #expect(!machine.events.contains { $0.contains("curl") || $0.contains("ocs-sr") })

      try machine.write("etc/slipway/policy.json", #"{"allowPreload":true}"#)
      #expect(try await machine.boot(line).succeeded)
      let fetched = machine.events.first { $0.hasPrefix("curl ") }
      #expect(fetched?.hasSuffix("--output /opt/x.tar.gz -- http://server/x.tar.gz") == true)
      #expect(machine.events.contains("tar -x -f /opt/x.tar.gz -C /opt"))
    }
  }

  @Test func aLoadedLineReplacesTheJob() async throws {
    try await withMachine { machine in
      try machine.write("etc/slipway/policy.json", #"{"allowPreload":true}"#)
      try machine.write(
        "opt/overwrite-part-boot-param", #"ocs_live_run="ocs-sr -b -p reboot restoredisk NEW sda""# + "\n")
      let outcome = try await machine.boot(
        #"ocs_live_run="ocs-sr -b savedisk OLD sda" ocs_preload=file:///media/x.zip ocs_prerun=one"#)
      #expect(outcome.finalAction == .reboot)
      #expect(machine.events.contains("unzip -o /opt/x.zip -d /opt"))
      #expect(machine.events.contains("mount --bind -o ro /run/slipway/cmdline /proc/cmdline"))
      #expect(machine.events.contains("/bin/bash -c 'ocs-sr -b -p reboot restoredisk NEW sda'"))
      #expect(machine.events.filter { $0 == "/bin/bash -c one" }.count == 1)
    }
  }

  @Test(arguments: [
    "ftp.example/x.tar", "http://h/x.exe", "http://h/", "mount -t cifs //h/x", "mount -t nfs h:/x /mnt; reboot",
  ])
  func refusesPreloadsItDoesNotKnow(value: String) throws {
    let parameter = KernelCommandLine("\"ocs_preload=\(value)\"").parameters[0]
    #expect(throws: JobError.self) { try Preload(places: Places()).commands(for: parameter) }
  }

  @Test func preloadsAShareByCopying() throws {
    let parameter = KernelCommandLine(#"ocs_preload="mount -t nfs -o ro h:/x /mnt/p""#).parameters[0]
    let commands = try Preload(places: Places()).commands(for: parameter).map { "\($0)" }
    #expect(
      commands == [
        "mkdir -p /mnt/p /opt", "timeout --kill-after=10 90 mount -t nfs -o ro h:/x /mnt/p", "cp -r /mnt/p/. /opt",
        "umount /mnt/p",
      ])
  }

  @Test func aRescueSystemOpensShellsAndGivesNoVerdict() async throws {
    try await withMachine { machine in
      try machine.write("dev/virtio-ports/org.slipway.job", "")
      let outcome = try await machine.boot("quiet")
      #expect(!outcome.hadJob && outcome.succeeded)
      #expect(machine.events == ["systemctl --no-block start slipway-shell.service"])
      let port = machine.places.commandLine.removingLastComponent().removingLastComponent()
        .appending("dev/virtio-ports/org.slipway.job")
      #expect(try port.contents().isEmpty)
    }
  }

  @Test func aJobThatCannotStartStillGivesAVerdict() async throws {
    try await withMachine { machine in
      try machine.write("dev/virtio-ports/org.slipway.job", "")
      let outcome = try await machine.boot("slipway.job=gone slipway.onfailure=reboot")
      #expect(outcome.status == 66 && machine.events.last == "systemctl --no-block reboot")
      #expect(try verdict(machine).job == "gone")
      #expect(try verdict(machine).message == outcome.message)
      #expect(try await machine.boot("slipway.tarjet=sda").finalAction == .poweroff)
    }
  }

  @Test func runsACommandAsFinalAction() async throws {
    try await withMachine { machine in
      try await machine.boot(#"ocs_live_run=/root/x ocs_live_batch=yes ocs_final_action="echo done; sync""#)
      #expect(machine.events.last == "/bin/bash -c 'echo done; sync'")
    }
  }

  @Test func aPortThatNobodyReadsDoesNotHoldTheMachine() async throws {
    try await withMachine { machine in
      try machine.job("demo", Self.restore)
      let port = machine.places.commandLine.removingLastComponent().removingLastComponent()
        .appending("dev/virtio-ports/org.slipway.job")
      try await tool("mkfifo", port.string)
      // Held open and full: writing would block.
      let end = try FileDescriptor.open(port, .readWrite, options: .nonBlocking)
      defer { try? end.close() }
      let filling = [UInt8](repeating: 0, count: 4096)
      while (try? end.writeAll(filling)) != nil {}
      let outcome = try await machine.boot("slipway.job=demo")
      #expect(outcome.succeeded && machine.events.last == "systemctl --no-block poweroff")
      let waited = machine.events.filter { $0 == "sleep 0" }.count
      #expect(waited == 50)
    }
  }
}
