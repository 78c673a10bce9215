// SPDX-License-Identifier: GPL-3.0-or-later

/// Page-aligned memory that is used again and again and travels between the stages of a pipeline.
///
/// It is not guarded against use by two at once: whoever was handed a buffer has it alone until handing it on.
final class Buffer: @unchecked Sendable {
  private let memory: UnsafeMutableRawBufferPointer
  /// How many bytes from the start are filled; never more than ``capacity``.
  private(set) var count = 0

  var capacity: Int { memory.count }

  init(capacity: Int) {
    memory = .allocate(byteCount: capacity, alignment: 4096)
  }

  deinit { memory.deallocate() }

  /// The filled part.
  var bytes: RawSpan {
    @_lifetime(borrow self)
    get {
      let span = RawSpan(_unsafeBytes: UnsafeRawBufferPointer(rebasing: memory[..<count]))
      return _overrideLifetime(span, borrowing: self)
    }
  }

  /// Lets `body` fill the buffer from its start.
  /// - Parameter limit: how much of the buffer `body` is shown.
  /// - Returns: what `body` returned: how many bytes it filled.
  @discardableResult
  func fill<E: Error>(limit: Int? = nil, _ body: (inout MutableRawSpan) throws(E) -> Int) throws(E) -> Int {
    var span = MutableRawSpan(_unsafeBytes: UnsafeMutableRawBufferPointer(rebasing: memory[..<(limit ?? memory.count)]))
    let filled = try body(&span)
    precondition(filled >= 0 && filled <= memory.count, "more bytes filled than there is room for")
    count = filled
    return filled
  }
}
