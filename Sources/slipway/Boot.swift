// SPDX-License-Identifier: GPL-3.0-or-later

public import ArgumentParser
import Reporting
import SystemPackage
public import VirtualMachine

extension Firmware: ExpressibleByArgument {}
extension Attachment: ExpressibleByArgument {}

struct Boot: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Boot an ISO or a disk in QEMU and end with the verdict of its job.",
    discussion: """
      The serial console goes to standard output. The exit code is 0 only when the job in the guest reported success \
      through the port made for it; 10 when it reported failure, 11 when the time was up, 12 when the guest's kernel \
      panicked, 13 when the guest ended without a verdict. KVM is used where it really executes the guest.
      """)

  @Argument(help: "The ISO or disk to boot.", completion: .file())
  var file: String

  @Option(help: "The machine's firmware: bios, uefi, or secure (UEFI with Secure Boot on).")
  var firmware = Firmware.bios

  @Option(help: ArgumentHelp("A further disk of the machine; may be repeated.", valueName: "file"), completion: .file())
  var disk: [String] = []

  @Option(help: "How the machine sees FILE: cd (default for .iso), usb or disk.")
  var attach: Attachment?

  @Option(help: ArgumentHelp("The longest time to wait for a verdict.", valueName: "seconds"))
  var timeout = 900

  @Option(help: ArgumentHelp("The machine's memory.", valueName: "MiB"))
  var memory = 2048

  @Flag(help: "Give the machine a network card; the host's loopback is 10.0.2.2 there.")
  var network = false

  @Flag(help: "Show the machine's screen in a window.")
  var window = false

  @OptionGroup var reporting: ReportingOptions

  func validate() throws {
    guard timeout > 0 else { throw ValidationError("--timeout takes a number of seconds above 0") }
    guard (256...1_048_576).contains(memory) else { throw ValidationError("--memory takes 256 to 1048576 MiB") }
  }

  func run() async throws {
    let guest = Guest(
      medium: FilePath(file), attachment: attach, firmware: firmware, disks: disk.map { FilePath($0) },
      memoryMiB: memory, hasNetwork: network, hasWindow: window)
    let machine = VirtualMachine(runner: reporting.runner) { bytes in
      // The console is for people; that nobody reads it any more must not end the guest.
      _ = try? FileDescriptor.standardOutput.writeAll(bytes)
    }
    let timeout = Duration.seconds(timeout)
    try await reporting.perform { reporter in
      let outcome = try await machine.boot(guest, timeout: timeout)
      reporter.note(Self.text(outcome))
      return outcome.exitCode
    }
  }

  private static func text(_ outcome: Outcome) -> String {
    let time = "after \(Quantity.duration(outcome.elapsed)) (\(outcome.accelerator.rawValue))"
    let end =
      switch outcome.ending {
      case .poweredOff: "the machine powered off"
      case .stayedOn: "the machine stayed on and was ended"
      case .panicked: "the machine's kernel panicked"
      case .timedOut: "the time was up"
      }
    guard let verdict = outcome.verdict else { return "no verdict: \(end) \(time)" }
    let job = verdict.job.map { "job \($0): " } ?? ""
    let message = verdict.message.map { ", \($0)" } ?? ""
    return "\(job)\(verdict.verdict.rawValue)\(message); \(end) \(time)"
  }
}
