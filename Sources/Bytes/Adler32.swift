// SPDX-License-Identifier: GPL-3.0-or-later

private import CDeflate

/// Adler-32 as in RFC 1950 and Reiser4's bitmaps: initial value 1.
public enum Adler32 {
  /// The checksum of `bytes`.
  public static func checksum(_ bytes: RawSpan) -> UInt32 {
    bytes.withUnsafeBytes { libdeflate_adler32(1, $0.baseAddress, $0.count) }
  }
}
