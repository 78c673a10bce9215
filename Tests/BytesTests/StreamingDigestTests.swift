// SPDX-License-Identifier: GPL-3.0-or-later

import Bytes
import Testing

@Suite struct StreamingDigestTests {
  private func hexadecimal(_ bytes: [UInt8]) -> String {
    bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
  }

  /// RFC 1321, A.5.
  @Test(arguments: [
    ("", "d41d8cd98f00b204e9800998ecf8427e"), ("a", "0cc175b9c0f1b6a831c399e269772661"),
    ("abc", "900150983cd24fb0d6963f7d28e17f72"), ("message digest", "f96b697d7cb7938d525a2f31aaf161d0"),
    ("abcdefghijklmnopqrstuvwxyz", "c3fcd3d76192e4007dfb496cca67e13b"),
    ("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", "d174ab98d277d9f5a5611c2c9f419d9f"),
    (
      "12345678901234567890123456789012345678901234567890123456789012345678901234567890",
      "57edf4a22be3c955ac49da2e2107b67a"
    ),
  ])
  func md5(text: String, digest: String) {
    #expect(hexadecimal(MD5.digest(of: Array(text.utf8))) == digest)
  }

  /// RFC 3174, 7.3.
  @Test(arguments: [
    ("abc", 1, "a9993e364706816aba3e25717850c26c9cd0d89d"),
    ("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 1, "84983e441c3bd26ebaae4aa1f95129e5e54670f1"),
    ("a", 1_000_000, "34aa973cd4c4daa4f61eeb2bdbad27316534016f"),
    (
      "0123456701234567012345670123456701234567012345670123456701234567", 10, "dea356a2cddd90c7a7ecedc5ebb563934f460452"
    ),
  ])
  func sha1(text: String, times: Int, digest: String) {
    #expect(hexadecimal(SHA1.digest(of: Array(String(repeating: text, count: times).utf8))) == digest)
  }

  /// RFC 7693, appendix A.
  @Test func blake2b() {
    #expect(
      hexadecimal(BLAKE2b.digest(of: Array("abc".utf8)))
        == "ba80a53f981c4d0d6a2797b69f12f6e94c212f14685ac4b74b12bb6fdbffa2d1"
        + "7d87c5392aab792dc252d5de4533cc9518d38aa8dbf1925ab92386edd4009923")
  }

  /// The test vectors published with BLAKE3: byte i of the input is i mod 251.
  @Test(arguments: [
    (0, "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"),
    (1, "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213"),
    (1023, "10108970eeda3eb932baac1428c7a2163b0e924c9a9e25b35bba72b28f70bd11"),
    (1024, "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7"),
    (1025, "d00278ae47eb27b34faecf67b4fe263f82d5412916c1ffd97c8cb7fb814b8444"),
    (2048, "e776b6028c7cd22a4d0ba182a8bf62205d2ef576467e838ed6f2529b85fba24a"),
  ])
  func blake3(count: Int, digest: String) {
    #expect(hexadecimal(BLAKE3.digest(of: (0..<count).map { UInt8($0 % 251) })) == digest)
  }

  /// In parts of any length the digest is that of the whole.
  @Test(arguments: [0, 1, 55, 56, 63, 64, 65, 127, 128, 129, 255, 256, 1023, 1024, 1025, 3071, 3072, 3073, 20_000])
  func parts(count: Int) {
    var random = SystemRandomNumberGenerator()
    let bytes = (0..<count).map { _ in UInt8.random(in: 0...255, using: &random) }
    func check<Digest: StreamingDigest>(_ type: Digest.Type) {
      for part in [1, 3, 64, 100, 128, 1024, 4099] where count < 5000 || part > 1 {
        var digest = Digest()
        for start in stride(from: 0, to: count, by: part) {
          digest.update(bytes.span.bytes.extracting(start..<min(start + part, count)))
          if start % 5 == 0 { _ = digest.digest() }
        }
        #expect(digest.digest() == Digest.digest(of: bytes), "\(type) of \(count) bytes in parts of \(part)")
      }
    }
    check(MD5.self)
    check(SHA1.self)
    check(BLAKE2b.self)
    check(BLAKE3.self)
  }
}
