// SPDX-License-Identifier: GPL-3.0-or-later

import BlockIO
import Bytes

/// A volume while it is read as one kind of file system: its bytes, bounds checked, and the errors that name it.
struct Volume: Sendable {
  let device: any BlockDevice
  let kind: FileSystemKind

  /// Reads what the file system's own structures point at.
  /// - Parameter what: names it in the error.
  /// - Throws: ``FileSystemError/damaged(volume:kind:detail:)`` when it would lie outside the volume, `DeviceError`.
  func read(_ what: @autoclosure () -> String, at offset: UInt64, count: Int) throws -> [UInt8] {
    guard contains(offset, UInt64(count)) else {
      throw damaged(
        "\(what()) should be at byte \(offset), but the volume has only \(device.byteCount) bytes")
    }
    return try device.read(at: offset, count: count)
  }

  /// Whether `count` bytes from `offset` on lie inside the volume.
  func contains(_ offset: UInt64, _ count: UInt64) -> Bool {
    count <= device.byteCount && offset <= device.byteCount - count
  }

  /// Runs a parser; a structure that is cut short becomes ``FileSystemError/damaged(volume:kind:detail:)``.
  func parsing<Value>(_ what: @autoclosure () -> String, _ body: () throws -> Value) throws -> Value {
    do {
      return try body()
    } catch let error as OutOfBounds {
      throw damaged("\(what()) is cut short: \(error.reason)")
    }
  }

  func damaged(_ detail: String) -> FileSystemError { .damaged(volume: device.name, kind: kind, detail: detail) }

  func unsupported(_ feature: String) -> FileSystemError {
    .unsupported(volume: device.name, kind: kind, feature: feature)
  }

  func needsRecovery(_ detail: String) -> FileSystemError {
    .needsRecovery(volume: device.name, kind: kind, detail: detail)
  }
}
