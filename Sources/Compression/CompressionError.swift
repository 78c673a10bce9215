// SPDX-License-Identifier: GPL-3.0-or-later

public import Reporting

/// What can be wrong with a compressed stream. A place names the source and the offset in its compressed bytes.
public enum CompressionError: Failure, Equatable {
  /// A compression this version does not read.
  case unsupported(format: String)
  /// A compression that is only read.
  case notWritten(codec: Codec)
  /// The stream does not start as its name or the caller says.
  case notCompressed(place: String, expected: Codec)
  /// The stream ends before its last frame does.
  case truncated(place: String)
  /// The bytes contradict the format or their own checksum.
  case damaged(place: String, detail: String)
  /// Whole frames, then something that is none.
  case trailingGarbage(place: String)
  /// Decompressing would need more memory than is allowed: the window or dictionary is larger than 2^27
  /// bytes.
  case windowTooLarge(place: String)
  /// The compression library refused to work.
  case library(detail: String)

  public var reason: String {
    switch self {
    case .unsupported(let format): "the compression format \"\(format)\" is not supported"
    case .notWritten(let codec): "\(codec.rawValue) streams can be read, but not written"
    case .notCompressed(let place, let expected): "expected \(expected.rawValue) data in \(place), found something else"
    case .truncated(let place): "the compressed stream is cut short: \(place)"
    case .damaged(let place, let detail): "the compressed stream is damaged: \(place): \(detail)"
    case .trailingGarbage(let place): "bytes that belong to no compressed frame follow the stream: \(place)"
    case .windowTooLarge(let place): "decompressing needs a window of more than 128 MiB: \(place)"
    case .library(let detail): "the compression library failed: \(detail)"
    }
  }

  public var remedy: String? {
    switch self {
    case .unsupported:
      "supported are \(Codec.allCases.map(\.suffix).joined(separator: ", ")): "
        + "convert the image with Clonezilla's ocs-cvtimg-comp"
    case .notWritten: "choose one of \(Codec.allCases.filter(\.isWritable).map(\.rawValue).joined(separator: ", "))"
    case .notCompressed: "check that the file's name tells its compression, and that it is not encrypted"
    case .truncated, .trailingGarbage: "check that all volumes of the image are there, whole and in order"
    case .damaged: "the image can't be trusted: take another copy of it"
    case .windowTooLarge: "compress the image again with a smaller window or dictionary"
    case .library: nil
    }
  }

  public var exitCode: ExitCode {
    switch self {
    case .library: .failure
    case .notWritten: .usage
    default: .invalidData
    }
  }
}
