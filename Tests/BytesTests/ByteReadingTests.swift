// SPDX-License-Identifier: GPL-3.0-or-later

import Bytes
import Testing

@Suite struct ByteReadingTests {
  private let bytes: [UInt8] = [0x01, 0x23, 0x45, 0x67, 0x89, 0xAB, 0xCD, 0xEF, 0x10]

  @Test func integersInBothByteOrders() throws {
    #expect(try bytes.littleEndian(UInt8.self, at: 1) == 0x23)
    #expect(try bytes.littleEndian(UInt16.self, at: 0) == 0x2301)
    #expect(try bytes.bigEndian(UInt16.self, at: 0) == 0x0123)
    #expect(try bytes.littleEndian(UInt32.self, at: 1) == 0x8967_4523)
    #expect(try bytes.bigEndian(UInt32.self, at: 1) == 0x2345_6789)
    #expect(try bytes.littleEndian(UInt64.self, at: 1) == 0x10EF_CDAB_8967_4523)
    #expect(try bytes.bigEndian(UInt64.self, at: 0) == 0x0123_4567_89AB_CDEF)
    #expect(try bytes.littleEndian(Int16.self, at: 6) == -0x1033)
    #expect(try bytes.span.bytes.byte(at: 8) == 0x10)
  }

  @Test(arguments: [-1, 2, 8, 9, 10, Int.max, Int.min]) func readsOutsideAreRefused(offset: Int) {
    #expect(throws: OutOfBounds(offset: offset, count: 8, available: 9)) {
      try bytes.littleEndian(UInt64.self, at: offset)
    }
    #expect(throws: OutOfBounds.self) { try bytes.bigEndian(UInt64.self, at: offset) }
  }

  @Test func theLastPlaceThatFitsIsRead() throws {
    #expect(try bytes.littleEndian(UInt8.self, at: 8) == 0x10)
    #expect(try bytes.littleEndian(UInt64.self, at: 1) == 0x10EF_CDAB_8967_4523)
    #expect(throws: OutOfBounds.self) { try [UInt8]().littleEndian(UInt8.self, at: 0) }
  }

  @Test(arguments: [(-1, 1), (0, 10), (9, 1), (10, 0), (0, -1), (Int.max, 1), (1, Int.max), (Int.max, Int.max)])
  func slicesOutsideAreRefused(offset: Int, count: Int) {
    #expect(throws: OutOfBounds(offset: offset, count: count, available: 9)) {
      _ = try bytes.span.bytes.slice(offset, count).byteCount
    }
    #expect(throws: OutOfBounds.self) { try bytes.span.bytes.array(at: offset, count: count) }
    #expect(throws: OutOfBounds.self) { try bytes.text(at: offset, count: count) }
  }

  @Test func slicesInsideHoldTheirBytes() throws {
    #expect(try bytes.span.bytes.array(at: 2, count: 3) == [0x45, 0x67, 0x89])
    #expect(try bytes.span.bytes.array(at: 0, count: 9) == bytes)
    #expect(try bytes.span.bytes.array(at: 9, count: 0).isEmpty)
    let slice = try bytes.span.bytes.slice(2, 3)
    #expect(try slice.byte(at: 2) == 0x89)
    #expect(throws: OutOfBounds(offset: 3, count: 1, available: 3)) { try slice.byte(at: 3) }
  }

  @Test func textEndsAtTheFirstNULOrTheFieldsEnd() throws {
    let field = Array("root".utf8) + [0, 0x78] + Array("Größe".utf8) + [0xFF]
    #expect(try field.text(at: 0, count: 6) == "root")
    #expect(try field.text(at: 0, count: 3) == "roo")
    #expect(try field.text(at: 4, count: 2) == "")
    #expect(try field.text(at: 6, count: 7) == "Größe")
    #expect(try field.text(at: 6, count: 8) == "Größe\u{FFFD}")
  }

  @Test func whatIsStoredIsReadBack() throws {
    var block = [UInt8](repeating: 0xEE, count: 20)
    block.store(UInt32(0x0102_0304), at: 1)
    block.storeBigEndian(UInt64(0x1112_1314_1516_1718), at: 6)
    block.store(bytes: [9, 8, 7], at: 17)
    #expect(
      block == [
        0xEE, 4, 3, 2, 1, 0xEE, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0xEE, 0xEE, 0xEE, 9, 8, 7,
      ])
    #expect(try block.littleEndian(UInt32.self, at: 1) == 0x0102_0304)
    #expect(try block.bigEndian(UInt64.self, at: 6) == 0x1112_1314_1516_1718)
    var growing: [UInt8] = []
    growing.append(littleEndian: UInt16(0xABCD))
    growing.append(littleEndian: Int32(-2))
    #expect(growing == [0xCD, 0xAB, 0xFE, 0xFF, 0xFF, 0xFF])
  }

  @Test func theErrorSaysWhatWasWantedAndWhatIsThere() {
    let error = OutOfBounds(offset: 12, count: 4, available: 14)
    #expect(error.reason.contains("4 bytes at offset 12"))
    #expect(error.reason.contains("14 bytes"))
  }
}
