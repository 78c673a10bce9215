// SPDX-License-Identifier: GPL-3.0-or-later

public import Reporting

/// The menu a machine shows when it starts from an image: one description, written for ISOLINUX (BIOS) and GRUB (UEFI).
///
/// Both menus are plain text, so that they look and work alike on a screen and on a serial line. The default entry
/// starts by itself after the time-out. GRUB's menu uses only what Debian's signed `gcdx64.efi` has built in, because
/// under Secure Boot it loads no modules; it has no place for the title, which only ISOLINUX shows.
public struct BootMenu: Sendable {
  /// One line of the menu.
  public struct Entry: Sendable {
    /// Its name in the configuration: letters, digits, `.`, `_` and `-`.
    public var id: String
    /// What a person reads. ISOLINUX shows `?` for what isn't ASCII, and no `^`.
    public var title: String
    /// Kernel arguments besides the common ones, separated by spaces; `key="two words"` keeps words together.
    ///
    /// In `/proc/cmdline` such an argument arrives as written from ISOLINUX and as `"key=two words"` from GRUB; the
    /// kernel, systemd and `livejob` take both for the same. GRUB can't hand on `'` and `\`, so they are refused.
    public var kernelArguments: String

    public init(id: String, title: String, kernelArguments: String = "") {
      self.id = id
      self.title = title
      self.kernelArguments = kernelArguments
    }
  }

  /// A serial line of a PC, eight data bits, no parity, one stop bit.
  public struct SerialPort: Sendable {
    /// 0 for COM1 (`ttyS0`) to 3.
    public var port: Int
    /// Bits a second: 9600, 19200, 38400, 57600 or 115200.
    public var speed: Int

    public init(port: Int = 0, speed: Int = 115200) {
      self.port = port
      self.speed = speed
    }
  }

  /// What ISOLINUX needs beside `isolinux.bin` in its folder (Debian: `syslinux-common`, `modules/bios`).
  public static let isolinuxModules = ["ldlinux.c32", "libcom32.c32", "libutil.c32", "menu.c32"]

  private let title: String
  private let timeout: Int?
  private let entries: [(entry: Entry, arguments: KernelArguments)]
  private let defaultID: String
  private let serial: SerialPort?
  private let video: Bool
  private let kernel: String
  private let initrd: String

  /// - Parameters:
  ///   - timeout: seconds until the default entry starts, at most 3599; 0 starts it at once, nil waits for ever.
  ///   - defaultID: the entry that starts by itself; nil for the first.
  ///   - serial: also shows the menu, and the kernel's messages, on this line.
  ///   - video: shows them on the screen.
  ///   - kernel: absolute path in the image.
  ///   - initrd: absolute path in the image.
  ///   - commonArguments: kernel arguments of every entry, before its own; `console=` is added by the menu.
  /// - Throws: ``BootMenuError``.
  public init(
    title: String, timeout: Int?, entries: [Entry], defaultID: String? = nil, serial: SerialPort? = SerialPort(),
    video: Bool = true, kernel: String = "/live/vmlinuz", initrd: String = "/live/initrd.img",
    commonArguments: String
  ) throws(BootMenuError) {
    guard let first = entries.first else { throw .noEntries }
    if let timeout, !(0...3599).contains(timeout) { throw .invalidTimeout(timeout) }
    if let serial {
      guard (0...3).contains(serial.port) else { throw .invalidSerialPort(serial.port) }
      guard [9600, 19200, 38400, 57600, 115200].contains(serial.speed) else { throw .invalidSpeed(serial.speed) }
    }
    guard video || serial != nil else { throw .noConsole }
    for path in [kernel, initrd] where !path.hasPrefix("/") || !path.utf8.allSatisfy(isPlain) {
      throw .invalidText(path, problem: "must be an absolute path of letters, digits and /._-")
    }
    try Self.checkTitle(title)
    var seen: Set<String> = []
    var checked: [(Entry, KernelArguments)] = []
    let console = Self.consoleArguments(serial: serial, video: video)
    for entry in entries {
      guard !entry.id.isEmpty, entry.id.utf8.allSatisfy({ isPlain($0) && $0 != UInt8(ascii: "/") }) else {
        throw .invalidText(entry.id, problem: "must be letters, digits and ._- to name a menu entry")
      }
      // ISOLINUX takes labels without regard to case.
      guard seen.insert(entry.id.lowercased()).inserted else { throw .duplicateEntry(entry.id) }
      try Self.checkTitle(entry.title)
      let arguments = try KernelArguments("\(commonArguments) \(entry.kernelArguments) \(console)")
      // What the loaders add of their own; the kernel takes 2047 bytes and cuts the rest off without a word.
      let length = "BOOT_IMAGE=\(kernel) initrd=\(initrd) \(arguments.isolinux)".utf8.count
      guard length <= 2047 else { throw .argumentsTooLong(entry: entry.id, bytes: length) }
      checked.append((entry, arguments))
    }
    let chosen = defaultID ?? first.id
    guard entries.contains(where: { $0.id == chosen }) else {
      throw .unknownDefault(chosen, known: entries.map(\.id))
    }
    self.title = title
    self.timeout = timeout
    self.entries = checked
    self.defaultID = chosen
    self.serial = serial
    self.video = video
    self.kernel = kernel
    self.initrd = initrd
  }

  /// `console=tty0 console=ttyS0,115200n8`: the kernel writes to each, and the last is `/dev/console`.
  public static func consoleArguments(serial: SerialPort?, video: Bool) -> String {
    var arguments: [String] = []
    if video { arguments.append("console=tty0") }
    if let serial { arguments.append("console=ttyS\(serial.port),\(serial.speed)n8") }
    return arguments.joined(separator: " ")
  }

  /// The text of `/isolinux/isolinux.cfg`.
  public var isolinuxConfiguration: String {
    var lines: [String] = []
    // Must come first to catch what follows.
    if let serial { lines.append("SERIAL \(serial.port) \(serial.speed)") }
    if !video { lines.append("CONSOLE 0") }
    lines += ["UI menu.c32", "PROMPT 0", "MENU TITLE \(Self.isolinuxText(title))"]
    // In tenths of a second; 0 waits for ever.
    lines.append("TIMEOUT \(timeout.map { max(1, $0 * 10) } ?? 0)")
    for (entry, arguments) in entries {
      lines += ["", "LABEL \(entry.id)", "  MENU LABEL \(Self.isolinuxText(entry.title))"]
      if entry.id == defaultID { lines.append("  MENU DEFAULT") }
      lines += ["  LINUX \(kernel)", "  INITRD \(initrd)", "  APPEND \(arguments.isolinux)"]
    }
    return lines.joined(separator: "\n") + "\n"
  }

  /// The text of `/boot/grub/grub.cfg`.
  public var grubConfiguration: String {
    var lines = ["set default=\(defaultID)", "set timeout=\(timeout ?? -1)"]
    if let serial { lines += Self.grubTerminals(serial, video: video) }
    for (entry, arguments) in entries {
      lines += [
        "", "menuentry \(quotedForGRUB(entry.title)) --id \(entry.id) {", "  linux \(kernel) \(arguments.grub)",
        "  initrd \(initrd)", "}",
      ]
    }
    return lines.joined(separator: "\n") + "\n"
  }

  /// Firmware often copies its text screen to the serial line, where GRUB's own serial menu would be drawn over it; so
  /// the screen is driven in graphics where it can be, with the font in the signed GRUB's memory disk.
  private static func grubTerminals(_ serial: SerialPort, video: Bool) -> [String] {
    // A machine may have no such port: then the screen has to do.
    var lines = ["if serial --unit=\(serial.port) --speed=\(serial.speed); then"]
    if video {
      lines += [
        "  terminal_input console serial",
        "  terminal_output console serial",
        "  if loadfont unicode; then",
        "    terminal_output gfxterm serial",
        "  fi",
      ]
    } else {
      lines += ["  terminal_input serial", "  terminal_output serial"]
    }
    return lines + ["fi"]
  }

  private static func checkTitle(_ text: String) throws(BootMenuError) {
    guard text.contains(where: { $0 != " " }) else { throw .invalidText(text, problem: "is empty") }
    try checkCharacters(of: text)
  }

  /// `^` would mark a hot key.
  private static func isolinuxText(_ text: String) -> String {
    String(text.filter { $0 != "^" }.map { $0.isASCII ? $0 : "?" })
  }
}

/// Why a boot menu can't be.
public enum BootMenuError: Failure, Equatable {
  case noEntries
  case noConsole
  case invalidTimeout(Int)
  case invalidSerialPort(Int)
  case invalidSpeed(Int)
  case invalidText(String, problem: String)
  case duplicateEntry(String)
  case unknownDefault(String, known: [String])
  case argumentsTooLong(entry: String, bytes: Int)

  public var reason: String {
    switch self {
    case .noEntries: "boot menu: it has no entries"
    case .noConsole: "boot menu: neither a screen nor a serial line to show it on"
    case .invalidTimeout(let seconds): "boot menu: the time-out of \(seconds) s is not within 0 to 3599"
    case .invalidSerialPort(let port): "boot menu: the serial port \(port) is not within 0 to 3"
    case .invalidSpeed(let speed):
      "boot menu: the serial speed \(speed) is none of 9600, 19200, 38400, 57600 and 115200"
    case .invalidText(let text, let problem): "boot menu: \"\(text)\" \(problem)"
    case .duplicateEntry(let id): "boot menu: two entries are called \"\(id)\""
    case .unknownDefault(let id, let known):
      "boot menu: there is no entry \"\(id)\" to start by default, only \(known.joined(separator: ", "))"
    case .argumentsTooLong(let id, let bytes):
      "boot menu: the kernel command line of \"\(id)\" has \(bytes) bytes; the kernel takes 2047"
    }
  }

  public var exitCode: ExitCode { .invalidData }
}

/// Kernel arguments taken apart the way the kernel does it: spaces separate, double quotes keep together.
private struct KernelArguments {
  private let words: [String]

  init(_ text: String) throws(BootMenuError) {
    try checkCharacters(of: text)
    guard !text.contains(where: { $0 == "'" || $0 == "\\" }) else {
      throw .invalidText(text, problem: "has a ' or \\, which GRUB can't hand on to the kernel")
    }
    var words: [String] = []
    var word: String?
    var isQuoted = false
    for character in text {
      if character == "\"" {
        isQuoted.toggle()
        word = word ?? ""
      } else if character == " ", !isQuoted {
        if let word { words.append(word) }
        word = nil
      } else {
        word = (word ?? "") + String(character)
      }
    }
    guard !isQuoted else { throw .invalidText(text, problem: "has a quotation mark without its other half") }
    if let word { words.append(word) }
    self.words = words
  }

  /// `key="two words"`; everything else as it is, for ISOLINUX takes the line as it stands.
  var isolinux: String {
    words.map { word in
      guard word.contains(" ") else { return word }
      guard let equals = word.firstIndex(of: "=") else { return "\"\(word)\"" }
      return "\(word[...equals])\"\(word[word.index(after: equals)...])\""
    }.joined(separator: " ")
  }

  /// Each word quoted against GRUB's script language where it needs it.
  var grub: String {
    words.map { word in
      let isSafe = word.utf8.allSatisfy { isPlain($0) || "=,:+@%".utf8.contains($0) }
      return isSafe && !word.isEmpty ? word : quotedForGRUB(word)
    }.joined(separator: " ")
  }
}

/// A word in single quotes, inside which GRUB's script language takes everything as it is.
private func quotedForGRUB(_ text: String) -> String {
  "'" + text.split(separator: "'", omittingEmptySubsequences: false).joined(separator: "'\\''") + "'"
}

private func checkCharacters(of text: String) throws(BootMenuError) {
  guard text.unicodeScalars.allSatisfy({ $0.properties.generalCategory != .control }) else {
    throw .invalidText(text.filter { !$0.isNewline }, problem: "has a line break or another control character")
  }
}

/// Letters, digits, `/`, `.`, `_` and `-`: nothing that either loader's syntax gives a meaning.
private func isPlain(_ byte: UInt8) -> Bool {
  switch byte {
  case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
    UInt8(ascii: "0")...UInt8(ascii: "9"):
    true
  default: "/._-".utf8.contains(byte)
  }
}
