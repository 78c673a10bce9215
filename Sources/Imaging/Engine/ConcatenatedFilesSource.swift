// SPDX-License-Identifier: GPL-3.0-or-later

public import Compression
import Glibc
import Synchronization
public import SystemPackage

/// One file, or the volumes of a split one, read as one stream.
public final class ConcatenatedFilesSource: ByteSource {
  private struct Volume: Sendable {
    let path: FilePath
    let start: UInt64
    let end: UInt64
  }

  public let name: String
  public let isSeekable = true
  private let volumes: [Volume]
  /// The volume read last stays open: a split image may have more volumes than a process may have files.
  private let opened = Mutex<(index: Int, descriptor: FileDescriptor)?>(nil)

  public var byteCount: UInt64? { volumes.last?.end ?? 0 }

  /// - Parameter paths: the volumes in order.
  /// - Throws: ``StreamFileError/cannotOpen(file:errno:)`` when one is missing or no regular file.
  public init(_ paths: [FilePath]) throws(StreamFileError) {
    var volumes: [Volume] = []
    for path in paths {
      var status = stat()
      guard stat(path.string, &status) == 0 else { throw .cannotOpen(file: path.string, errno: errno) }
      guard status.st_mode & S_IFMT == S_IFREG else { throw .cannotOpen(file: path.string, errno: EINVAL) }
      let start = volumes.last?.end ?? 0
      volumes.append(Volume(path: path, start: start, end: start + UInt64(max(0, status.st_size))))
    }
    self.volumes = volumes
    name = paths.first?.string ?? "no file"
  }

  deinit { opened.withLock { try? $0?.descriptor.close() } }

  public func read(at offset: UInt64, into buffer: inout MutableRawSpan) throws -> Int {
    guard let index = index(of: offset) else { return 0 }
    let volume = volumes[index]
    let wanted = Int(min(UInt64(buffer.byteCount), volume.end - offset))
    guard wanted > 0 else { return 0 }
    let got = try opened.withLock { opened throws(StreamFileError) in
      if opened?.index != index {
        try? opened?.descriptor.close()
        opened = nil
        opened = (index, try Self.open(volume.path))
      }
      let number = opened?.descriptor.rawValue ?? -1
      return buffer.withUnsafeMutableBytes { bytes in
        while true {
          let got = pread(number, bytes.baseAddress, wanted, off_t(offset - volume.start))
          if got >= 0 || errno != EINTR { return got }
        }
      }
    }
    guard got >= 0 else { throw StreamFileError.cannotRead(file: volume.path.string, errno: errno) }
    guard got > 0 else { throw StreamFileError.cutShort(file: volume.path.string) }
    return got
  }

  public func place(of offset: UInt64) -> String {
    guard let volume = index(of: offset).map({ volumes[$0] }) ?? volumes.last else { return name }
    return "\(volume.path.string) at offset \(offset - volume.start)"
  }

  /// The volume that holds an offset; nil at the end.
  private func index(of offset: UInt64) -> Int? {
    volumes.firstIndex { offset < $0.end }
  }

  private static func open(_ path: FilePath) throws(StreamFileError) -> FileDescriptor {
    let number = Glibc.open(path.string, O_RDONLY | O_CLOEXEC)
    guard number >= 0 else { throw .cannotOpen(file: path.string, errno: errno) }
    return FileDescriptor(rawValue: number)
  }
}
