// SPDX-License-Identifier: GPL-3.0-or-later

import Reporting

/// The keys of a recipe, top level first. Those of jobs are in ``JobKeys``.
enum RecipeKeys {
  static let name = Key(
    required: "name",
    .text("1 to 32 of a-z 0-9 . _ -, the first a letter or digit", pattern: "^[a-z0-9][a-z0-9._-]{0,31}$"),
    "Name of what is built: the stem of the output's file name and, in capitals, the ISO's volume id.")
  static let allowPreload = Key(
    "allow-preload", .boolean, default: false,
    "Whether code that the kernel parameter `ocs_preload` names may be fetched from the network and run.")
  static let overlays = Key(
    "overlays", .list(of: path("a folder")), default: [],
    "Folders that are copied over the root of the live system, in this order.")
  static let jobs = Key(
    required: "jobs", .list(of: JobKeys.section, least: 1),
    "What the booted system does: one entry of the boot menu each, in this order.")
  static let images = Key(
    "images", .list(of: Images.section), default: [], text: "none",
    "Clonezilla image directories that the medium carries, for jobs with `repository: medium`.")
  static let outputs = Key("outputs", .list(of: output, unique: true, least: 1), default: [.iso], "What is written.")

  static let debian = Key(
    section: "debian", Debian.section, "What comes from Debian.")
  static let system = Key(
    section: "system", System.section, "Language, place and name of the live system.")
  static let hooks = Key(
    section: "hooks", Hooks.section, "Executables that run at fixed points, each list in the order given.")
  static let console = Key(
    section: "console", Console.section, "Where menu, kernel and job can be seen.")
  static let menu = Key(
    section: "menu", Menu.section, "The boot menu.")
  static let compression = Key(
    section: "compression", Compression.section, "How the live file systems are packed.")

  static let all: [any KeyDescription] = [
    name, debian, system, overlays, hooks, console, menu, allowPreload, jobs, images, outputs, compression,
  ]

  /// The whole path of a key that stands elsewhere: `system.timezone` for `timezone`.
  static func path(of name: String) -> String? {
    for key in all where !key.isList && key.nested.contains(where: { $0.name == name }) { return "\(key.name).\(name)" }
    return all.contains { $0.name == name } ? "\(name) at the top level" : nil
  }

  /// A path as the recipe writes it and where.
  struct PathText: Sendable, Equatable {
    let text: String
    let place: Place

    static func == (left: PathText, right: PathText) -> Bool { left.text == right.text }
  }

  static func path(_ what: String) -> Kind<PathText> {
    let text = Kind<String>.text(
      "\(what), by a path relative to the recipe's folder", pattern: "^[^\\x00-\\x1f\\x7f]+$")
    return Kind(allowed: text.allowed, schema: text.schema, encode: { .string($0.text) }) { node, key, problems in
      text.decode(node, key, &problems).map { PathText(text: $0, place: node.place(key)) }
    }
  }

  /// Kernel parameters: printable ASCII, with spaces only between double quotes, as the kernel reads them.
  static let kernelArgument = Kind<String>.text(
    "one kernel parameter: name or name=value, spaces only inside \"...\"",
    schema: ["type": "string", "pattern": .string(kernelArgumentPattern)], encode: { .string($0) },
    parse: { text in
      if matches(text, "\"?slipway\\.job(=.*)?") { return .wrong("slipway.job is set by the menu entry of each job") }
      return matches(text, kernelArgumentPattern) ? .value(text) : .wrong("\"\(text)\" is not one kernel parameter")
    })
  private static let kernelArgumentPattern = "^([!#-~]|\"[ !#-~]*\")+$"

  /// Text on one line that a boot loader can show.
  static func title(_ allowed: String) -> Kind<String> { .text(allowed, pattern: "^[!-~]([ -~]{0,68}[!-~])?$") }

  static let imageNamePattern = "[A-Za-z0-9_][A-Za-z0-9._-]{0,63}"

  private static let output = Kind<Recipe.Output>.text(
    "iso", schema: ["enum": ["iso"]], encode: { .string($0.rawValue) },
    parse: { text in
      if let output = Recipe.Output(rawValue: text) { return .value(output) }
      if ["usb", "pxe"].contains(text) { return .wrong("\"\(text)\" can't be written yet: this version writes iso") }
      return .wrong("unknown output \"\(text)\"", suggestion: Suggestion.nearest(to: text, among: ["iso"]))
    })
}

extension RecipeKeys {
  enum Debian {
    static let suite = Key("suite", .choice, default: Recipe.Suite.trixie, "Debian's release.")
    static let mirror = Key(
      "mirror",
      .text(
        "a URL: http://, https:// or file:///",
        pattern: "^(https?://[A-Za-z0-9._:\\[\\]-]+(/[!-~]*)?|file:///[!-~]*)$"),
      defaultText: "mmdebstrap's own choice",
      "Where packages come from. The keys are those of the building machine.")
    static let components = Key(
      "components", .list(of: .choice, unique: true, least: 1),
      default: [Recipe.Component.main, .nonFreeFirmware], "Parts of the archive that are used.")
    static let packages = Key(
      "packages",
      .list(
        of: .text(
          "a package: name or name=version",
          pattern: "^[a-z0-9][a-z0-9+.-]*[a-z0-9+](=[A-Za-z0-9][A-Za-z0-9.+~:-]*)?$"), unique: true),
      default: [], "Packages wanted besides those that Slipway itself needs.")
    static let kernel = Key(
      "kernel", .text("a package's name", pattern: "^[a-z0-9][a-z0-9+.-]*[a-z0-9+]$"), default: "linux-image-amd64",
      "The kernel's package.")

    static let section = Kind<Recipe.Debian>.section([suite, mirror, components, packages, kernel]) {
      section, problems in
      let components = try section.value(components)
      if !components.contains(.main) {
        problems.add(
          .impossibleCombination, at: section.place(of: Self.components), "nothing can be built without main")
      }
      return try Recipe.Debian(
        suite: section.value(suite), mirror: section.optional(mirror), components: components,
        packages: section.value(packages), kernel: section.value(kernel))
    }
  }

  enum System {
    static let locale = Key(
      "locale",
      .text(
        "C.UTF-8 or language_COUNTRY.UTF-8", pattern: "^(C|[a-z]{2,3}_[A-Z]{2})\\.UTF-8(@[a-z]+)?$"),
      default: "C.UTF-8", "Language and formats.")
    static let timezone = Key(
      "timezone",
      .text("a name of the tz database", pattern: "^[A-Za-z0-9_+-]{1,40}(/[A-Za-z0-9_+-]{1,40}){0,2}$"),
      default: "Etc/UTC", "Time zone, such as `Europe/Berlin`.")
    static let hostname = Key(
      "hostname",
      .text(
        "letters, digits and -, at most 63", pattern: "^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$"),
      default: "slipway", "Host name of the live system.")
    static let keyboard = Key(
      section: "keyboard", Keyboard.section, "Keyboard, by the names of xkeyboard-config(7).")

    static let section = Kind<Recipe.System>.section([locale, keyboard, timezone, hostname]) { section, _ in
      try Recipe.System(
        locale: section.value(locale), keyboard: section.value(keyboard), timezone: section.value(timezone),
        hostname: section.value(hostname))
    }
  }

  enum Keyboard {
    private static let word = Kind<String>.text("a word of a-z A-Z 0-9 _ -", pattern: "^[A-Za-z0-9_-]{1,32}$")
    static let layout = Key("layout", word, default: "us", "Layout, such as `us` or `de`.")
    static let variant = Key("variant", word, defaultText: "none", "Variant of the layout, such as `nodeadkeys`.")

    static let section = Kind<Recipe.Keyboard>.section([layout, variant]) { section, problems in
      if section.place(of: variant.name) != nil, section.place(of: layout.name) == nil {
        problems.add(
          .impossibleCombination, at: section.place(of: variant), "a variant belongs to a layout: give layout, too")
      }
      return try Recipe.Keyboard(layout: section.value(layout), variant: section.optional(variant))
    }
  }

  enum Hooks {
    static let build = hooks("build", "In the new root, at build time, before it is packed.")
    static let prerun = hooks("prerun", "In the booted system, before the job.")
    static let postrun = hooks("postrun", "In the booted system, after a job that succeeded.")
    static let failure = hooks("failure", "In the booted system, after a job that failed.")

    private static func hooks(_ name: String, _ documentation: String) -> Key<[PathText]> {
      Key(name, .list(of: path("an executable file")), default: [], documentation)
    }

    static let section = Kind<Paths>.section([build, prerun, postrun, failure]) { section, _ in
      try Paths(
        build: section.value(build), prerun: section.value(prerun), postrun: section.value(postrun),
        failure: section.value(failure))
    }

    struct Paths: Sendable {
      let build: [PathText]
      let prerun: [PathText]
      let postrun: [PathText]
      let failure: [PathText]
    }
  }

  enum Console {
    static let video = Key("video", .boolean, default: true, "The screen.")
    static let serial = Key(
      "serial", .list(of: SerialPort.section), default: [SerialPort.standard], text: "`ttyS0` at 115200",
      "Serial ports; `[]` for none. The first is the one that boot loaders use.")

    static let section = Kind<Recipe.Console>.section([video, serial]) { section, problems in
      let console = try Recipe.Console(video: section.value(video), serial: section.value(serial))
      if !console.video, console.serial.isEmpty {
        problems.add(
          .impossibleCombination, at: section.place, "neither video nor serial: nobody could see what happens")
      }
      let ports = console.serial.map(\.port)
      if Set(ports).count < ports.count {
        problems.add(.impossibleCombination, at: section.place(of: serial), "a port is there twice")
      }
      return console
    }
  }

  enum SerialPort {
    static let port = Key(
      "port",
      .text(
        "ttyS0 to ttyS31, ttyAMA0 ..., ttyUSB0 ..., hvc0 ...",
        pattern: "^(ttyS([0-9]|[12][0-9]|3[01])|(ttyAMA|ttyUSB|hvc)[0-9])$"), default: "ttyS0",
      "The kernel's name of the port, without `/dev/`. Boot loaders show their menu on `ttyS` ports only.")
    static let speed = Key("speed", Speed.kind, default: 115200, "Bits a second.")

    static let standard = Recipe.SerialPort(port: "ttyS0", speed: 115200)
    static let section = Kind<Recipe.SerialPort>.section([port, speed]) { section, _ in
      try Recipe.SerialPort(port: section.value(port), speed: section.value(speed))
    }

    enum Speed {
      static let known = [1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200]
      static let kind = Kind<Int>(
        allowed: known.map(String.init).joined(separator: ", "), schema: ["enum": .array(known.map { .integer($0) })],
        encode: { .integer($0) },
        decode: { node, key, problems in
          if case .integer(let value, _) = node.content, known.contains(value) { return value }
          problems.add(
            .badValue, at: node.place(key), "\(node.description) is no speed of a serial port",
            allowed: known.map(String.init).joined(separator: ", "))
          return nil
        })
    }
  }

  enum Menu {
    static let title = Key(
      "title", RecipeKeys.title("printable ASCII, at most 70 characters"), defaultText: "the recipe's name",
      "Title above the menu.")
    static let timeout = Key(
      "timeout", timeoutKind, default: .seconds(10),
      "Seconds until the default job starts by itself: 0 starts it at once, `none` waits for ever.")
    static let defaultJob = Key(
      "default", JobKeys.nameKind, defaultText: "the first job", "Name of the job that starts by itself.")
    static let arguments = Key(
      "arguments", .list(of: kernelArgument), default: [], "Kernel parameters added for every job.")

    enum Timeout: Sendable, Equatable {
      case seconds(Int)
      case none

      var seconds: Int? { if case .seconds(let seconds) = self { seconds } else { nil } }
    }

    struct Values: Sendable {
      let title: String?
      let timeout: Timeout
      let defaultJob: String?
      let defaultPlace: Place
      let arguments: [String]
    }

    private static let timeoutKind = Kind<Timeout>(
      allowed: "0 to 3600, none",
      schema: ["anyOf": [["type": "integer", "minimum": 0, "maximum": 3600], ["const": "none"]]],
      encode: { timeout in timeout.seconds.map { .integer($0) } ?? "none" },
      decode: { node, key, problems in
        switch node.content {
        case .text("none"): return Timeout.none
        case .integer(let value, _) where (0...3600).contains(value): return .seconds(value)
        default:
          problems.add(
            .badValue, at: node.place(key), "expected seconds, but found \(node.description)",
            allowed: "0 to 3600, none")
          return nil
        }
      })

    static let section = Kind<Values>.section([title, timeout, defaultJob, arguments]) { section, _ in
      try Values(
        title: section.optional(title), timeout: section.value(timeout), defaultJob: section.optional(defaultJob),
        defaultPlace: section.place(of: defaultJob), arguments: section.value(arguments))
    }
  }

  enum Images {
    static let path = Key(
      required: "path", RecipeKeys.path("an image directory"),
      "The image directory. It is looked at when the ISO is built.")
    static let name = Key(
      "name",
      .text("1 to 64 of A-Z a-z 0-9 . _ -, the first a letter, digit or _", pattern: "^\(imageNamePattern)$"),
      defaultText: "the last part of `path`", "Name of the image on the medium, by which jobs call it.")

    struct Value: Sendable, Equatable {
      let path: PathText
      let name: String
      let place: Place
    }

    static let section = Kind<Value>.section([path, name]) { section, problems in
      let path = try section.value(path)
      let last = path.text.split(separator: "/").last.map(String.init) ?? ""
      let name = try section.optional(name) ?? last
      if section.place(of: Self.name.name) == nil, !matches(name, "^\(imageNamePattern)$") {
        problems.add(
          .impossibleCombination, at: path.place, "the last part of the path can't be the image's name: give name, too",
          allowed: Self.name.allowed)
      }
      return Value(path: path, name: name, place: section.place(of: Self.name.name) ?? path.place)
    }
  }

  enum Compression {
    static let algorithm = Key("algorithm", .choice, default: Recipe.Compression.Algorithm.zstd, "The compressor.")
    static let level = Key("level", .integer(1...22), default: 15, "How hard it tries.")
    static let blockSize = Key(
      "block-size",
      .size(
        4096...(1 << 20), "a power of two from 4KiB to 1MiB",
        where: { $0.nonzeroBitCount == 1 }), default: 256 << 10,
      "Size of a squashfs block: larger ones pack better, smaller ones are read faster at random.")

    static let section = Kind<Recipe.Compression>.section([algorithm, level, blockSize]) { section, _ in
      try Recipe.Compression(
        algorithm: section.value(algorithm), level: section.value(level), blockSize: Int(section.value(blockSize)))
    }
  }
}
