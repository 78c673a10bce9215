// SPDX-License-Identifier: GPL-3.0-or-later

import SystemPackage
import TestSupport

/// A stream that a program in another language makes with other implementations of the checksums (Python's zlib and
/// xxhash), for the formats that Debian's partclone does not write.
struct GeneratedStream {
  /// "0001" or "0002".
  var version = 2
  var mode = 0x31
  var blocksPerChecksum = 3
  var reseeds = true
  /// 0, 1 or 8.
  var bitmapMode = 1
  /// Whether a byte map of version 2 ends like version 1's.
  var endsMapWithMark = false
  var blocks = 50
  var blockSize = 512
  /// Bytes of garbage after each checksum of version 1.
  var padding = 0
  var hasLastChecksum = true

  /// - Returns: the stream, and the volume with zeros where no block is used.
  func make() async throws -> (stream: [UInt8], volume: [UInt8]) {
    try await withTemporaryDirectory { folder in
      let numbers = [
        version, mode, blocksPerChecksum, reseeds ? 1 : 0, bitmapMode, endsMapWithMark ? 1 : 0, blocks, blockSize,
        padding, hasLastChecksum ? 1 : 0,
      ]
      try await tool("python3", ["-c", Self.program] + numbers.map(String.init) + [folder.string])
      return (try folder.appending("stream").contents(), try folder.appending("volume").contents())
    }
  }

  private static let program = """
    import random, struct, sys, xxhash, zlib
    version, mode, k, reseed, bits, mark, count, size, padding, last = map(int, sys.argv[1:11])
    random.seed(count * 1000 + size)
    used = [not bits or random.random() < 0.6 for _ in range(count)]
    if version == 1 and count <= 4: used = [True] * count
    blocks = [random.randbytes(size) for _ in range(count)]
    crc = lambda data: struct.pack('<I', zlib.crc32(data) ^ 0xFFFFFFFF)
    if version == 1:
        out = b'partclone-image' + b'EXTFS'.ljust(15, b'\\0') + b'0001' + b'\\0\\0'
        out += struct.pack('<IQQQ', size, size * count, count, 12345678901) + bytes(4096)
        mode, k, reseed = 0xFF, 1, 0
    else:
        out = b'partclone-image\\0' + b'0.3.47'.ljust(14, b'\\0') + b'0002' + b'\\xDE\\xC0' + b'EXTFS'.ljust(16, b'\\0')
        out += struct.pack('<QQQQII', size * count, count, 0, sum(used), size, 18)
        out += struct.pack('<HHHHIBB', 2, 64, mode, {0: 0, 0x20: 4, 0x30: 8, 0x31: 16}[mode], k if mode else 0, reseed, bits)
        out += crc(out)
    if bits == 1:
        table = bytearray((count + 7) // 8)
        for i in range(count): table[i // 8] |= used[i] << (i % 8)
        out += table + crc(table)
    elif bits == 8:
        table = bytes(1 if u else random.choice([0, 0, 2, 255]) for u in used)
        out += table + (b'BiTmAgIc' if version == 1 or mark else crc(table))
    class CRC:
        def __init__(self): self.value = 0
        def update(self, data): self.value = zlib.crc32(data, self.value)
        def bytes(self): return struct.pack('<I', self.value ^ 0xFFFFFFFF)
    class FirstByte(CRC):
        def update(self, data): self.value = zlib.crc32(data[:1] * len(data), self.value)
    class XXH64:
        def __init__(self): self.h = xxhash.xxh64(seed=0)
        def update(self, data): self.h.update(data)
        def bytes(self): return struct.pack('<Q', self.h.intdigest())
    class XXH128:
        def __init__(self): self.h = xxhash.xxh3_128(seed=0)
        def update(self, data): self.h.update(data)
        def bytes(self): return struct.pack('<QQ', self.h.intdigest() & (1 << 64) - 1, self.h.intdigest() >> 64)
    make = {0: None, 0x20: CRC, 0x30: XXH64, 0x31: XXH128, 0xFF: FirstByte}[mode]
    state, since = make and make(), 0
    for block, isUsed in zip(blocks, used):
        if not isUsed: continue
        out += block
        if not make: continue
        state.update(block)
        since += 1
        if since == k:
            out += state.bytes() + random.randbytes(padding)
            since = 0
            if reseed: state = make()
    if since and last: out += state.bytes()
    open(sys.argv[11] + '/stream', 'wb').write(out)
    open(sys.argv[11] + '/volume', 'wb').write(b''.join(b if u else bytes(size) for b, u in zip(blocks, used)))
    """
}
