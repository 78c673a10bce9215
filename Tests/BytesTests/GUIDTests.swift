// SPDX-License-Identifier: GPL-3.0-or-later

import Bytes
import Testing

@Suite struct GUIDTests {
  /// The EFI system partition's type as it stands in a GPT (UEFI Specification, table 5.7 and appendix A).
  private let espText = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
  private let espBytes: [UInt8] = [
    0x28, 0x73, 0x2A, 0xC1, 0x1F, 0xF8, 0xD2, 0x11, 0xBA, 0x4B, 0x00, 0xA0, 0xC9, 0x3E, 0xC9, 0x3B,
  ]

  @Test func theFirstThreeFieldsAreLittleEndian() throws {
    let guid = try #require(GUID(espText))
    #expect(guid.bytes == espBytes)
    #expect(guid.description == espText)
    #expect(GUID(bytes: espBytes) == guid)
    #expect(GUID(espText.lowercased()) == guid)
  }

  @Test(arguments: [
    "", "-", "C12A7328F81F11D2BA4B00A0C93EC93B", "C12A7328-F81F-11D2-BA4B-00A0C93EC93",
    "{C12A7328-F81F-11D2-BA4B-00A0C93EC93B}",
    "C12A7328-F81F-11D2-BA4B-00A0C93EC93B-", "C12A7328-F81F-11D2-BA4B-00A0C93EC93G",
    "C12A7328-F81F-11D2-BA4-B00A0C93EC93B",
    " C12A7328-F81F-11D2-BA4B-00A0C93EC93B", "C12A7328-F81F-11D2-BA4B-00A0C93ECé3",
    "+12A7328-F81F-11D2-BA4B-00A0C93EC93B",
  ])
  func otherTextIsRefused(text: String) { #expect(GUID(text) == nil) }

  @Test(arguments: [0, 15, 17]) func otherSizesAreRefused(count: Int) {
    #expect(GUID(bytes: [UInt8](repeating: 1, count: count)) == nil)
  }

  @Test func zeroIsAllZeros() {
    #expect(GUID.zero.description == "00000000-0000-0000-0000-000000000000")
    #expect(GUID.zero.bytes == [UInt8](repeating: 0, count: 16))
  }

  @Test func randomOnesAreOfVersion4AndDiffer() throws {
    let guids = (0..<1000).map { _ in GUID.random() }
    #expect(Set(guids).count == 1000)
    for guid in guids {
      let text = Array(guid.description)
      #expect(text[14] == "4")
      #expect("89AB".contains(text[19]))
      #expect(GUID(guid.description) == guid)
    }
  }
}
