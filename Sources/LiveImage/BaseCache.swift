// SPDX-License-Identifier: GPL-3.0-or-later

import Commands
import Crypto
import FoundationEssentials
import SystemPackage

/// Base layers made before, by what went into them.
///
/// The state of the mirror is no part of the key, so a layer is only used again for a day.
package struct BaseCache: Sendable {
  let folder: FilePath

  /// How long a layer is used again.
  static let lifetime: TimeInterval = 24 * 3600

  /// The user's cache folder (XDG Base Directory Specification).
  static var standard: BaseCache {
    let environment = ProcessInfo.processInfo.environment
    let base = environment["XDG_CACHE_HOME"] ?? environment["HOME"].map { "\($0)/.cache" } ?? "/var/cache"
    return BaseCache(folder: FilePath(base).appending("slipway/base"))
  }

  /// - Throws: ``BuildError/cannotRead(path:cause:)`` for a build hook that is gone.
  package static func key(of bootstrap: Bootstrap, level: Int, blockSize: Int) throws -> String {
    // Bump the number when the same settings come to make another layer.
    var hash = SHA256()
    for part in ["slipway base 1", "\(level)", "\(blockSize)", "\(bootstrap.modificationTime)"]
      + bootstrap.arguments(mode: .root)
    {
      hash.update(data: Data(part.utf8))
      hash.update(data: [0])
    }
    for hook in bootstrap.buildHooks {
      do {
        hash.update(data: try Data(contentsOf: URL(fileURLWithPath: hook.string)))
      } catch {
        throw BuildError.cannotRead(path: hook, cause: "\(error)")
      }
    }
    return hexadecimal(hash.finalize().prefix(12))
  }

  func path(for key: String) -> FilePath { folder.appending(key) }

  /// A layer that is there and fresh, and its age.
  func layer(for key: String) -> (layer: BaseLayer, age: Duration)? {
    let path = path(for: key)
    guard let made = try? FileManager.default.attributesOfItem(atPath: path.string)[.modificationDate] as? Date else {
      return nil
    }
    let age = Date().timeIntervalSince(made)
    guard age < Self.lifetime else { return nil }
    return (BaseLayer(folder: path), .seconds(max(0, age)))
  }

  /// Removes layers that are too old to be used again.
  func removeStale() {
    for name in (try? FileManager.default.contentsOfDirectory(atPath: folder.string)) ?? [] {
      let path = folder.appending(name).string
      guard let made = try? FileManager.default.attributesOfItem(atPath: path)[.modificationDate] as? Date,
        Date().timeIntervalSince(made) >= Self.lifetime
      else { continue }
      try? FileManager.default.removeItem(atPath: path)
    }
  }
}
