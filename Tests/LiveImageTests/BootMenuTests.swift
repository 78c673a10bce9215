// SPDX-License-Identifier: GPL-3.0-or-later

import LiveImage
import Testing

@Suite struct BootMenuTests {
  private let entries = [
    BootMenu.Entry(id: "restore", title: "Restore \"golden\" to the only disk", kernelArguments: "slipway.job=restore"),
    BootMenu.Entry(id: "rescue", title: "Rescue shell", kernelArguments: "slipway.job=shell quiet"),
  ]

  private func menu(
    title: String = "Slipway demo", timeout: Int? = 5, entries: [BootMenu.Entry]? = nil, defaultID: String? = nil,
    serial: BootMenu.SerialPort? = BootMenu.SerialPort(), video: Bool = true, kernel: String = "/live/vmlinuz",
    commonArguments: String = "boot=live noeject"
  ) throws -> BootMenu {
    try BootMenu(
      title: title, timeout: timeout, entries: entries ?? self.entries, defaultID: defaultID, serial: serial,
      video: video, kernel: kernel, commonArguments: commonArguments)
  }

  @Test func isolinuxConfigurationAsAWhole() throws {
    #expect(
      try menu(defaultID: "rescue").isolinuxConfiguration == """
        SERIAL 0 115200
        UI menu.c32
        PROMPT 0
        MENU TITLE Slipway demo
        TIMEOUT 50

        LABEL restore
          MENU LABEL Restore "golden" to the only disk
          LINUX /live/vmlinuz
          INITRD /live/initrd.img
          APPEND boot=live noeject slipway.job=restore console=tty0 console=ttyS0,115200n8

        LABEL rescue
          MENU LABEL Rescue shell
          MENU DEFAULT
          LINUX /live/vmlinuz
          INITRD /live/initrd.img
          APPEND boot=live noeject slipway.job=shell quiet console=tty0 console=ttyS0,115200n8

        """)
  }

  @Test func grubConfigurationAsAWhole() throws {
    #expect(
      try menu(defaultID: "rescue").grubConfiguration == """
        set default=rescue
        set timeout=5
        if serial --unit=0 --speed=115200; then
          terminal_input console serial
          terminal_output console serial
          if loadfont unicode; then
            terminal_output gfxterm serial
          fi
        fi

        menuentry 'Restore "golden" to the only disk' --id restore {
          linux /live/vmlinuz boot=live noeject slipway.job=restore console=tty0 console=ttyS0,115200n8
          initrd /live/initrd.img
        }

        menuentry 'Rescue shell' --id rescue {
          linux /live/vmlinuz boot=live noeject slipway.job=shell quiet console=tty0 console=ttyS0,115200n8
          initrd /live/initrd.img
        }

        """)
  }

  @Test func firstEntryIsTheDefault() throws {
    #expect(try menu().grubConfiguration.hasPrefix("set default=restore\n"))
    #expect(try menu().isolinuxConfiguration.contains("only disk\n  MENU DEFAULT\n"))
  }

  /// GRUB would start at once with 0, ISOLINUX waits.
  @Test func noTimeOutWaitsForEverInBoth() throws {
    #expect(try menu(timeout: nil).grubConfiguration.contains("\nset timeout=-1\n"))
    #expect(try menu(timeout: nil).isolinuxConfiguration.contains("\nTIMEOUT 0\n"))
  }

  @Test func zeroStartsAtOnceInBoth() throws {
    #expect(try menu(timeout: 0).grubConfiguration.contains("\nset timeout=0\n"))
    #expect(try menu(timeout: 0).isolinuxConfiguration.contains("\nTIMEOUT 1\n"))
  }

  @Test func consoles() throws {
    #expect(
      BootMenu.consoleArguments(serial: BootMenu.SerialPort(), video: true) == "console=tty0 console=ttyS0,115200n8")
    #expect(BootMenu.consoleArguments(serial: nil, video: true) == "console=tty0")
    #expect(
      BootMenu.consoleArguments(serial: BootMenu.SerialPort(port: 1, speed: 9600), video: false)
        == "console=ttyS1,9600n8")

    let screenOnly = try menu(serial: nil)
    #expect(screenOnly.isolinuxConfiguration.hasPrefix("UI menu.c32\n"))
    #expect(!screenOnly.grubConfiguration.contains("serial"))

    let serialOnly = try menu(serial: BootMenu.SerialPort(port: 1, speed: 9600), video: false)
    #expect(serialOnly.isolinuxConfiguration.hasPrefix("SERIAL 1 9600\nCONSOLE 0\n"))
    #expect(serialOnly.grubConfiguration.contains("if serial --unit=1 --speed=9600; then\n"))
    #expect(serialOnly.grubConfiguration.contains("  terminal_output serial\n"))
    #expect(!serialOnly.grubConfiguration.contains("tty0"))
  }

  @Test func hostileTitlesStayTitles() throws {
    let entry = BootMenu.Entry(id: "a", title: "it's; $root `x` } \\ ^Menü", kernelArguments: "")
    let menu = try menu(entries: [entry])
    #expect(menu.grubConfiguration.contains("menuentry 'it'\\''s; $root `x` } \\ ^Menü' --id a {\n"))
    #expect(menu.isolinuxConfiguration.contains("  MENU LABEL it's; $root `x` } \\ Men?\n"))
  }

  @Test func argumentsAreQuotedForEachLoader() throws {
    let entry = BootMenu.Entry(
      id: "a", title: "A",
      kernelArguments: #"ocs_live_run="ocs-sr -x restoredisk img sda"  keep=$x;{y}&#* "a b" empty="" plain="word""#)
    let menu = try menu(entries: [entry], serial: nil)
    #expect(
      menu.isolinuxConfiguration.contains(
        #"noeject ocs_live_run="ocs-sr -x restoredisk img sda" keep=$x;{y}&#* "a b" empty= plain=word console=tty0"#
          + "\n"))
    #expect(
      menu.grubConfiguration.contains(
        #"noeject 'ocs_live_run=ocs-sr -x restoredisk img sda' 'keep=$x;{y}&#*' 'a b' empty= plain=word console=tty0"#
          + "\n"))
  }

  @Test(arguments: ["line\nbreak", "carriage\rreturn", "tab\there", "nul\0", "\u{85}", "escape\u{1B}[2J", "", "  "])
  func impossibleTitlesAreRefused(title: String) {
    #expect(throws: BootMenuError.self) { try menu(title: title) }
    #expect(throws: BootMenuError.self) { try menu(entries: [BootMenu.Entry(id: "a", title: title)]) }
  }

  @Test(arguments: ["line\nbreak", "it's", "back\\slash", "half=\"open", "nul\0", "a\r\nLABEL b"])
  func impossibleArgumentsAreRefused(arguments: String) {
    #expect(throws: BootMenuError.self) { try menu(commonArguments: arguments) }
    #expect(throws: BootMenuError.self) {
      try menu(entries: [BootMenu.Entry(id: "a", title: "A", kernelArguments: arguments)])
    }
  }

  @Test func impossibleMenusAreRefused() {
    #expect(throws: BootMenuError.noEntries) { try menu(entries: []) }
    #expect(throws: BootMenuError.noConsole) { try menu(serial: nil, video: false) }
    for timeout in [-1, 3600] {
      #expect(throws: BootMenuError.invalidTimeout(timeout)) { try menu(timeout: timeout) }
    }
    #expect(throws: BootMenuError.invalidSerialPort(4)) { try menu(serial: BootMenu.SerialPort(port: 4)) }
    #expect(throws: BootMenuError.invalidSpeed(1)) { try menu(serial: BootMenu.SerialPort(speed: 1)) }
    #expect(throws: BootMenuError.unknownDefault("x", known: ["restore", "rescue"])) { try menu(defaultID: "x") }
    for id in ["", "two words", "a/b", "ä", "a'b"] {
      #expect(throws: BootMenuError.self) { try menu(entries: [BootMenu.Entry(id: id, title: "A")]) }
    }
    #expect(throws: BootMenuError.duplicateEntry("A")) {
      try menu(entries: [BootMenu.Entry(id: "a", title: "A"), BootMenu.Entry(id: "A", title: "B")])
    }
    for kernel in ["live/vmlinuz", "/live/vm linuz", "/$x"] {
      #expect(throws: BootMenuError.self) { try menu(kernel: kernel) }
    }
  }

  /// The kernel takes 2047 bytes, with what the loaders add: BOOT_IMAGE=/live/vmlinuz initrd=/live/initrd.img
  @Test func commandLineMustFit() throws {
    let around = "BOOT_IMAGE=/live/vmlinuz initrd=/live/initrd.img  console=tty0".utf8.count
    let longest = String(repeating: "x", count: 2047 - around)
    let entry = [BootMenu.Entry(id: "a", title: "A")]
    _ = try menu(entries: entry, serial: nil, commonArguments: longest)
    #expect(throws: BootMenuError.argumentsTooLong(entry: "a", bytes: 2048)) {
      try menu(entries: entry, serial: nil, commonArguments: longest + "x")
    }
  }
}
