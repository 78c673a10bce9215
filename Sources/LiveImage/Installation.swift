// SPDX-License-Identifier: GPL-3.0-or-later

import FoundationEssentials
public import SystemPackage

/// Where Slipway's own programs and files are: in its source folder, or where it was installed.
public struct Installation: Sendable {
  /// The folder of `reimage` and `livejob`.
  public let programs: FilePath
  /// What is copied over the root of every live system.
  public let overlay: FilePath

  /// - Parameter executable: the path of the running `slipway`.
  /// - Throws: ``BuildError/programMissing(name:searched:)`` or ``BuildError/dataMissing(name:searched:)``.
  public init(executable: FilePath) throws(BuildError) {
    let folder = executable.removingLastComponent()
    for program in ["reimage", "livejob"] {
      guard FileManager.default.isExecutableFile(atPath: folder.appending(program).string) else {
        throw .programMissing(name: program, searched: folder)
      }
    }
    programs = folder
    var candidates = [folder.removingLastComponent().appending("share/slipway/Overlay")]
    var above = folder
    while above.removeLastComponent() { candidates.append(above.appending("Overlay")) }
    guard
      let found = candidates.first(where: { FileManager.default.fileExists(atPath: $0.appending("etc/slipway").string) }
      )
    else {
      throw .dataMissing(name: "Overlay", searched: folder)
    }
    overlay = found
  }

  /// The installation that the running program belongs to.
  public static func current() throws -> Installation {
    try Installation(executable: FilePath(FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")))
  }
}
