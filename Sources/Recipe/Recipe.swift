// Recipe: the YAML file that says what to build, decoded strictly into a plain value.
// SPDX-License-Identifier: GPL-3.0-or-later

public import SystemPackage

/// What `slipway build` makes, as one recipe file says it.
///
/// Every value is resolved: defaults are filled in, and paths lead from the working directory to what the recipe names
/// beside itself. `docs/recipe.md` describes the keys.
public struct Recipe: Sendable, Equatable {
  /// The recipe's own file.
  public let file: FilePath
  /// Stem of the output's file name: 1 to 32 of `a-z 0-9 . _ -`.
  public let name: String
  public let debian: Debian
  public let system: System
  /// Folders copied over the root of the live system, in this order.
  public let overlays: [InputPath]
  public let hooks: Hooks
  public let console: Console
  public let menu: Menu
  /// Whether jobs may run code that `ocs_preload` fetches from the network.
  public let allowPreload: Bool
  /// At least one, in the menu's order; names are unique.
  public let jobs: [Job]
  /// Image directories carried on the medium as `images/NAME`; names are unique.
  public let images: [EmbeddedImage]
  public let outputs: [Output]
  public let compression: Compression

  /// The ISO's volume id (ECMA-119, 8.4.7; at most 32 bytes).
  public var volumeID: String { name.uppercased() }

  /// The job that the menu starts by itself.
  public var defaultJob: Job? { jobs.first { $0.name == menu.defaultJob } }

  /// All the kinds of repository that the jobs use.
  public var repositorySchemes: Set<Repository.Scheme> {
    Set(
      jobs.compactMap { $0.repository?.scheme } + jobs.flatMap(\.arguments).compactMap(Repository.scheme(ofParameter:)))
  }

  /// A file or folder that the recipe names, and where it names it.
  public struct InputPath: Sendable, Equatable {
    /// Relative paths of the recipe have its folder in front.
    public let path: FilePath
    let place: Place
  }

  /// Debian releases that can be built.
  public enum Suite: String, Sendable, CaseIterable {
    case bookworm, trixie
  }

  /// Parts of Debian's archive.
  public enum Component: String, Sendable, CaseIterable {
    case main, contrib
    case nonFree = "non-free"
    case nonFreeFirmware = "non-free-firmware"
  }

  /// What comes from Debian.
  public struct Debian: Sendable, Equatable {
    public let suite: Suite
    /// A `http`, `https` or `file` URL; none: mmdebstrap's own choice.
    public let mirror: String?
    public let components: [Component]
    /// Packages wanted besides those that Slipway itself needs; `name` or `name=version`.
    public let packages: [String]
    /// The kernel's package.
    public let kernel: String
  }

  /// Language, place and name of the live system.
  public struct System: Sendable, Equatable {
    public let locale: String
    public let keyboard: Keyboard
    /// A name of the tz database.
    public let timezone: String
    public let hostname: String
  }

  /// A keyboard, by the names of `xkeyboard-config(7)`.
  public struct Keyboard: Sendable, Equatable {
    public let layout: String
    public let variant: String?
  }

  /// Executables run at fixed points, each list in the order they run.
  public struct Hooks: Sendable, Equatable {
    /// In the new root, at build time.
    public let build: [InputPath]
    /// In the booted system, before the job.
    public let prerun: [InputPath]
    /// In the booted system, after a job that succeeded.
    public let postrun: [InputPath]
    /// In the booted system, after a job that failed.
    public let failure: [InputPath]
  }

  /// Where menu, kernel and job can be seen; there is at least one place.
  public struct Console: Sendable, Equatable {
    public let video: Bool
    public let serial: [SerialPort]
  }

  public struct SerialPort: Sendable, Equatable {
    /// The kernel's name without `/dev/`: `ttyS0`.
    public let port: String
    /// Bits a second; always eight data bits, no parity.
    public let speed: Int

    /// The number of the port as boot loaders count: 0 for `ttyS0`; none for ports that are not `ttyS…`.
    public var unit: Int? { port.hasPrefix("ttyS") ? Int(port.dropFirst(4)) : nil }
  }

  /// The boot menu.
  public struct Menu: Sendable, Equatable {
    public let title: String
    /// Seconds until the default job starts; 0 at once; none: the menu waits for ever.
    public let timeout: Int?
    /// Name of the job that starts by itself.
    public let defaultJob: String
    /// Kernel parameters for every job.
    public let arguments: [String]
  }

  /// An image directory that the medium carries.
  public struct EmbeddedImage: Sendable, Equatable {
    public let name: String
    public let path: InputPath
  }

  public enum Output: String, Sendable, CaseIterable {
    case iso
  }

  /// How the live file systems are packed.
  public struct Compression: Sendable, Equatable {
    public enum Algorithm: String, Sendable, CaseIterable {
      case zstd
    }

    public let algorithm: Algorithm
    /// 1 to 22.
    public let level: Int
    /// Size of a squashfs block in bytes, a power of two.
    public let blockSize: Int
  }
}
