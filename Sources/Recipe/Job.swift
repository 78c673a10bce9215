// SPDX-License-Identifier: GPL-3.0-or-later

import FoundationEssentials

extension Recipe {
  /// What the booted system does; one entry of the boot menu.
  ///
  /// Its JSON form is described in `docs/job-file.md`.
  public struct Job: Sendable, Equatable {
    public enum Action: String, Sendable, CaseIterable, Codable {
      case save, restore, verify, command, shell, clonezilla
    }

    public enum Compression: String, Sendable, CaseIterable, Codable {
      case zstd, gzip, lz4, xz, none

      /// The levels there are; none when nothing is compressed.
      var levels: ClosedRange<Int>? {
        switch self {
        case .zstd: 1...22
        case .gzip, .xz: 1...9
        case .lz4: 1...12
        case .none: nil
        }
      }

      var defaultLevel: Int? {
        switch self {
        case .zstd: 3
        case .gzip: 6
        case .lz4: 1
        case .xz: 3
        case .none: nil
        }
      }
    }

    public enum Growth: String, Sendable, CaseIterable, Codable {
      case last, none
    }

    public enum SuccessAction: String, Sendable, CaseIterable, Codable {
      case poweroff, reboot, shell, none
    }

    public enum FailureAction: String, Sendable, CaseIterable, Codable {
      case poweroff, reboot, shell
    }

    /// What happens when the job fails.
    public struct FailurePolicy: Sendable, Equatable, Codable {
      /// Taken when the last try failed.
      public var action: FailureAction
      /// How many more times the job is tried.
      public var retries: Int
    }

    public var name: String
    public var title: String
    public var action: Action
    public var image: String?
    public var repository: Repository?
    public var source: DiskSelector?
    public var target: DiskSelector?
    /// Numbers of the partitions meant; none: the whole disk.
    public var parts: [Int]?
    public var compression: Compression?
    public var compressionLevel: Int?
    /// Largest size of one file of the image, in bytes.
    public var splitBytes: UInt64?
    public var grow: Growth?
    public var verify: Bool?
    public var efiEntry: Bool?
    public var command: String?
    public var onSuccess: SuccessAction
    public var onFailure: FailurePolicy
    public var allowPreload: Bool
    /// Whether the network must be up before the job runs.
    public var network: Bool
    /// Kernel parameters of this job's menu entry; not part of the JSON form.
    public var arguments: [String] = []

    /// What the kernel line of this job's menu entry has besides the parameters common to all jobs.
    public var kernelArguments: [String] { isClonezillaKernelLine ? arguments : ["slipway.job=\(name)"] + arguments }

    /// Whether Clonezilla's own kernel parameters say what is done, and no job file does.
    public var isClonezillaKernelLine: Bool {
      arguments.contains { $0.hasPrefix("ocs_live_run=") || $0.hasPrefix("\"ocs_live_run=") }
    }

    /// The job file: one line of UTF-8, without a line feed at its end.
    public func json() throws -> [UInt8] {
      let encoder = JSONEncoder()
      encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
      return try [UInt8](encoder.encode(self))
    }
  }
}

extension Recipe.Job: Codable {
  enum CodingKeys: String, CodingKey, CaseIterable {
    case name, title, action, image, repository, source, target, parts, compression, compressionLevel, splitBytes, grow
    case verify, efiEntry, command, onSuccess, onFailure, allowPreload, network
  }
}
