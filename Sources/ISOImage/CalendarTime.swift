// SPDX-License-Identifier: GPL-3.0-or-later

import Glibc

/// A time in UTC as ISO 9660 and FAT write it.
struct CalendarTime {
  let year: Int
  let month: Int
  let day: Int
  let hour: Int
  let minute: Int
  let second: Int

  /// The first second of 2156, which a directory record can no longer hold.
  static let endOf2155: Int64 = 5_869_584_000

  /// - Parameter seconds: since 1970, within 0 ..< ``endOf2155``.
  init(seconds: Int64) {
    var time = time_t(seconds)
    var fields = tm()
    gmtime_r(&time, &fields)
    year = Int(fields.tm_year) + 1900
    month = Int(fields.tm_mon) + 1
    day = Int(fields.tm_mday)
    hour = Int(fields.tm_hour)
    minute = Int(fields.tm_min)
    second = Int(fields.tm_sec)
  }

  /// `YYYYMMDDhhmmss00`, as in a volume descriptor.
  var stamp: String {
    func padded(_ number: Int) -> String { number < 10 ? "0\(number)" : "\(number)" }
    return "\(year)" + [month, day, hour, minute, second, 0].map(padded).joined()
  }
}
