// SPDX-License-Identifier: GPL-3.0-or-later

import FoundationEssentials
import Reporting
import Synchronization

/// What was done, in order: shown as it happens and kept for the image's `clonezilla-img`.
final class JobLog: Sendable {
  private let reporter: Reporter
  private let lines = Mutex<[String]>([])

  init(reporter: Reporter) { self.reporter = reporter }

  /// Keeps a line that the person sees in another form, as the end of a step.
  func record(_ text: String) { lines.withLock { $0.append(text) } }

  func note(_ text: String) {
    record(text)
    reporter.note(text)
  }

  func warn(_ text: String) {
    record("warning: \(text)")
    reporter.warning(text)
  }

  /// The tag file of an image. Clonezilla looks for its first and its last line.
  func text(created: Date) -> String {
    let stamp = Calendar(identifier: .gregorian)
    var calendar = stamp
    calendar.timeZone = TimeZone(secondsFromGMT: 0) ?? calendar.timeZone
    let parts = calendar.dateComponents([.year, .month, .day, .hour, .minute, .second], from: created)
    func two(_ number: Int?) -> String { let number = number ?? 0; return number < 10 ? "0\(number)" : "\(number)" }
    let day = "\(parts.year ?? 1970)-\(two(parts.month))-\(two(parts.day))"
    let time = "\(two(parts.hour)):\(two(parts.minute)):\(two(parts.second))"
    let short = "\(parts.year ?? 1970)-\(two(parts.month))\(two(parts.day))-\(two(parts.hour))\(two(parts.minute))"
    return """
      This image was saved by Slipway's reimage, in the format of Clonezilla, at \(day) \(time) UTC.
      The log during saving:
      ----------------------------------------------------------
      \(lines.withLock { $0.joined(separator: "\n") })
      ### End of log ###
      ### Image created time: \(short)

      """
  }
}
