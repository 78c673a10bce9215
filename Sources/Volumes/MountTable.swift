// SPDX-License-Identifier: GPL-3.0-or-later

/// What the kernel has mounted, from `/proc/self/mountinfo` (proc(5)).
struct MountTable {
  struct Mount: Equatable {
    /// `major:minor` of the device; that of btrfs is no real device.
    var device: String
    var mountPoint: String
    var fileSystem: String
    /// Path of the device, or whatever the file system calls its source.
    var source: String
  }

  var mounts: [Mount]

  init(mountInfo: String) {
    mounts = mountInfo.split(whereSeparator: \.isNewline).compactMap { line in
      let fields = line.split(separator: " ")
      guard let dash = fields.firstIndex(of: "-"), dash >= 6, fields.count > dash + 2 else { return nil }
      return Mount(
        device: String(fields[2]), mountPoint: Self.unescaped(fields[4]), fileSystem: String(fields[dash + 1]),
        source: Self.unescaped(fields[dash + 2]))
    }
  }

  /// Device paths of `/proc/swaps`.
  static func swaps(_ text: String) -> [String] {
    text.split(whereSeparator: \.isNewline).dropFirst().compactMap { line in
      line.split(whereSeparator: { $0 == " " || $0 == "\t" }).first.map { unescaped($0) }
    }
  }

  /// The mount a path lies on: the one with the longest matching mount point, the last one mounted winning.
  func mount(of path: String) -> Mount? {
    mounts.filter { mount in
      mount.mountPoint == "/" || path == mount.mountPoint || path.hasPrefix(mount.mountPoint + "/")
    }.enumerated().max {
      ($0.element.mountPoint.utf8.count, $0.offset) < ($1.element.mountPoint.utf8.count, $1.offset)
    }?
    .element
  }

  /// The kernel writes blank, tab, newline and backslash as `\040` and the like.
  static func unescaped(_ text: Substring) -> String {
    guard text.contains("\\") else { return String(text) }
    let bytes = Array(text.utf8)
    var result: [UInt8] = []
    var index = 0
    while index < bytes.count {
      if bytes[index] == UInt8(ascii: "\\"), index + 4 <= bytes.count,
        let byte = UInt8(String(decoding: bytes[(index + 1)..<(index + 4)], as: UTF8.self), radix: 8)
      {
        result.append(byte)
        index += 4
      } else {
        result.append(bytes[index])
        index += 1
      }
    }
    return String(decoding: result, as: UTF8.self)
  }
}
