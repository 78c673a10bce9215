// SPDX-License-Identifier: GPL-3.0-or-later

/// Two lower-case digits for each byte, as `sha256sum` prints a digest.
func hexadecimal(_ bytes: some Sequence<UInt8>) -> String {
  bytes.map { byte in (byte < 16 ? "0" : "") + String(byte, radix: 16) }.joined()
}
