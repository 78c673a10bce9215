// SPDX-License-Identifier: GPL-3.0-or-later

/// Numbers as people read them.
public enum Quantity {
  /// `bytes` with a binary unit and three significant digits: `1.46 GiB`.
  public static func bytes(_ bytes: UInt64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]
    var value = Double(bytes)
    var unit = 0
    while value >= 1000, unit < units.count - 1 {
      value /= 1024
      unit += 1
    }
    return unit == 0 ? "\(bytes) B" : "\(decimal(value, digits: value < 10 ? 2 : value < 100 ? 1 : 0)) \(units[unit])"
  }

  /// A duration as `9.3 s`, `4 min 12 s` or `2 h 05 min`.
  public static func duration(_ duration: Duration) -> String {
    let seconds = Double(duration.components.seconds) + Double(duration.components.attoseconds) * 1e-18
    if seconds < 60 { return "\(decimal(seconds, digits: seconds < 10 ? 1 : 0)) s" }
    let whole = Int(seconds)
    if whole < 3600 { return "\(whole / 60) min \(padded(whole % 60)) s" }
    return "\(whole / 3600) h \(padded(whole / 60 % 60)) min"
  }

  /// `value` rounded to a fixed number of digits after the point.
  public static func decimal(_ value: Double, digits: Int) -> String {
    var scale = 1.0
    for _ in 0..<digits { scale *= 10 }
    let rounded = (value * scale).rounded()
    guard digits > 0, rounded.magnitude < 1e15 else { return "\(Int64(rounded))" }
    let whole = Int64(rounded)
    let fraction = "\(whole.magnitude % UInt64(scale))"
    let zeros = String(repeating: "0", count: digits - fraction.count)
    return "\(whole < 0 ? "-" : "")\(whole.magnitude / UInt64(scale)).\(zeros)\(fraction)"
  }

  private static func padded(_ number: Int) -> String { number < 10 ? "0\(number)" : "\(number)" }
}
