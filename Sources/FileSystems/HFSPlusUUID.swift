// SPDX-License-Identifier: GPL-3.0-or-later

import Bytes

/// The UUID of an HFS Plus volume, which is made of eight bytes in its Finder information.
///
/// It is a name-based UUID (RFC 4122, section 4.3, version 3) in a name space of Apple's own; macOS and `blkid` make
/// the same of it.
enum HFSPlusUUID {
  private static let nameSpace: [UInt8] = [
    0xB3, 0xE2, 0x0F, 0x39, 0xF2, 0x92, 0x11, 0xD6, 0x97, 0xA4, 0x00, 0x30, 0x65, 0x43, 0xEC, 0xAC,
  ]

  /// - Parameter identifier: the last eight bytes of the Finder information.
  /// - Returns: nil for zeros, which stand for none.
  static func text(ofFinderInfo identifier: ArraySlice<UInt8>) throws(OutOfBounds) -> String? {
    guard identifier.contains(where: { $0 != 0 }) else { return nil }
    var uuid = try md5(nameSpace + identifier)
    uuid[6] = uuid[6] & 0x0F | 0x30
    uuid[8] = uuid[8] & 0x3F | 0x80
    return UUIDText.text(of: uuid[...])
  }

  /// MD5 (RFC 1321) of at most 55 bytes, which fill one block with their padding.
  private static func md5(_ message: [UInt8]) throws(OutOfBounds) -> [UInt8] {
    precondition(message.count <= 55, "more than one block")
    var block = message
    block.append(0x80)
    block.append(contentsOf: [UInt8](repeating: 0, count: 55 - message.count))
    block.append(littleEndian: UInt64(message.count * 8))
    let start: [UInt32] = [0x6745_2301, 0xEFCD_AB89, 0x98BA_DCFE, 0x1032_5476]
    var (a, b, c, d) = (start[0], start[1], start[2], start[3])
    for step in 0..<64 {
      let mixed: UInt32
      let word: Int
      switch step / 16 {
      case 0:
        mixed = b & c | ~b & d
        word = step
      case 1:
        mixed = d & b | ~d & c
        word = (5 * step + 1) % 16
      case 2:
        mixed = b ^ c ^ d
        word = (3 * step + 5) % 16
      default:
        mixed = c ^ (b | ~d)
        word = 7 * step % 16
      }
      let addend = try block.littleEndian(UInt32.self, at: word * 4)
      let sum = a &+ mixed &+ sines[step] &+ addend
      let shift = shifts[step / 16][step % 4]
      let rotated = sum << shift | sum >> (32 - shift)
      (a, d, c, b) = (d, c, b, b &+ rotated)
    }
    var digest: [UInt8] = []
    for (initial, final) in zip(start, [a, b, c, d]) { digest.append(littleEndian: initial &+ final) }
    return digest
  }

  private static let shifts: [[UInt32]] = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]]

  /// Entry i is the whole part of 2³² · |sin(i + 1)|.
  private static let sines: [UInt32] = [
    0xD76A_A478, 0xE8C7_B756, 0x2420_70DB, 0xC1BD_CEEE, 0xF57C_0FAF, 0x4787_C62A, 0xA830_4613, 0xFD46_9501,
    0x6980_98D8, 0x8B44_F7AF, 0xFFFF_5BB1, 0x895C_D7BE, 0x6B90_1122, 0xFD98_7193, 0xA679_438E, 0x49B4_0821,
    0xF61E_2562, 0xC040_B340, 0x265E_5A51, 0xE9B6_C7AA, 0xD62F_105D, 0x0244_1453, 0xD8A1_E681, 0xE7D3_FBC8,
    0x21E1_CDE6, 0xC337_07D6, 0xF4D5_0D87, 0x455A_14ED, 0xA9E3_E905, 0xFCEF_A3F8, 0x676F_02D9, 0x8D2A_4C8A,
    0xFFFA_3942, 0x8771_F681, 0x6D9D_6122, 0xFDE5_380C, 0xA4BE_EA44, 0x4BDE_CFA9, 0xF6BB_4B60, 0xBEBF_BC70,
    0x289B_7EC6, 0xEAA1_27FA, 0xD4EF_3085, 0x0488_1D05, 0xD9D4_D039, 0xE6DB_99E5, 0x1FA2_7CF8, 0xC4AC_5665,
    0xF429_2244, 0x432A_FF97, 0xAB94_23A7, 0xFC93_A039, 0x655B_59C3, 0x8F0C_CC92, 0xFFEF_F47D, 0x8584_5DD1,
    0x6FA8_7E4F, 0xFE2C_E6E0, 0xA301_4314, 0x4E08_11A1, 0xF753_7E82, 0xBD3A_F235, 0x2AD7_D2BB, 0xEB86_D391,
  ]
}
