// SPDX-License-Identifier: GPL-3.0-or-later

extension MutableRawSpan {
  /// Part of the span, to be written while the span itself rests.
  @_lifetime(&self)
  public mutating func part(_ range: Range<Int>) -> MutableRawSpan { _mutatingExtracting(range) }
}
