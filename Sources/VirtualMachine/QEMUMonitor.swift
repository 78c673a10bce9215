// SPDX-License-Identifier: GPL-3.0-or-later

import FoundationEssentials
import Glibc
import SystemPackage

/// QEMU's control socket (QMP): what the guest has done so far, as QEMU counts it.
///
/// Source: QEMU Machine Protocol Specification, and `query-blockstats` in QEMU's QAPI schema.
final class QEMUMonitor {
  private let socket: FileDescriptor
  private var received: [UInt8] = []

  /// Connects to QEMU's socket; nil while QEMU has not opened it.
  init?(path: FilePath) {
    let number = Glibc.socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
    guard number >= 0 else { return nil }
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let bytes = Array(path.string.utf8)
    let connected =
      bytes.count < MemoryLayout.size(ofValue: address.sun_path)
      && withUnsafeMutableBytes(of: &address.sun_path) { field -> Bool in
        field.copyBytes(from: bytes)
        return true
      }
      && withUnsafeBytes(of: &address) { raw in
        raw.withMemoryRebound(to: sockaddr.self) { pointer in
          connect(number, pointer.baseAddress, socklen_t(MemoryLayout<sockaddr_un>.size)) == 0
        }
      }
    var patience = timeval(tv_sec: 2, tv_usec: 0)
    guard connected,
      setsockopt(number, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size)) == 0
    else {
      close(number)
      return nil
    }
    socket = FileDescriptor(rawValue: number)
    guard reply(to: #"{"execute":"qmp_capabilities"}"#, as: Empty.self) != nil else { return nil }
  }

  deinit { try? socket.close() }

  /// How many requests the guest's disks have served.
  struct DiskActivity: Equatable {
    var reads: UInt64 = 0
    var writes: UInt64 = 0
  }

  /// - Returns: nil when QEMU gives no answer.
  func diskActivity() -> DiskActivity? {
    guard let blocks = reply(to: #"{"execute":"query-blockstats"}"#, as: [Block].self) else { return nil }
    // The firmware's variable store is a pflash drive without a device; it doesn't tell of a running kernel.
    return blocks.filter { $0.qdev != nil }.reduce(into: DiskActivity()) { sum, block in
      sum.reads &+= block.stats.rd_operations
      sum.writes &+= block.stats.wr_operations
    }
  }

  private struct Empty: Decodable {}

  private struct Block: Decodable {
    struct Statistics: Decodable {
      let rd_operations: UInt64
      let wr_operations: UInt64
    }
    let qdev: String?
    let stats: Statistics
  }

  private struct Answer<Value: Decodable>: Decodable {
    let `return`: Value
  }

  /// Sends a command and reads lines until its answer; greetings and events are passed over.
  private func reply<Value: Decodable>(to command: String, as type: Value.Type) -> Value? {
    guard (try? socket.writeAll((command + "\n").utf8)) != nil else { return nil }
    var part = [UInt8](repeating: 0, count: 4096)
    while received.count < 1 << 20 {
      while let end = received.firstIndex(of: UInt8(ascii: "\n")) {
        let line = Data(received[..<end])
        received.removeFirst(end + 1)
        if let answer = try? JSONDecoder().decode(Answer<Value>.self, from: line) { return answer.return }
      }
      guard let count = try? part.withUnsafeMutableBytes({ try socket.read(into: $0) }), count > 0 else { return nil }
      received += part[..<count]
    }
    return nil
  }
}
