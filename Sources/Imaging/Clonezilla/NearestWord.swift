// SPDX-License-Identifier: GPL-3.0-or-later

/// Finds the word that was likely meant.
enum NearestWord {
  /// The candidate with the fewest letters to insert, delete or replace, when that is one for each three letters or less.
  static func find(_ word: String, among candidates: [String]) -> String? {
    guard word.count <= 64 else { return nil }
    let nearest = candidates.map { ($0, distance(Array(word), Array($0))) }.min { $0.1 < $1.1 }
    return nearest.flatMap { $0.1 <= max(1, word.count / 3) ? $0.0 : nil }
  }

  private static func distance(_ left: [Character], _ right: [Character]) -> Int {
    var last = Array(0...right.count)
    for (row, character) in left.enumerated() {
      var current = [row + 1]
      for (column, other) in right.enumerated() {
        current.append(min(last[column] + (character == other ? 0 : 1), last[column + 1] + 1, current[column] + 1))
      }
      last = current
    }
    return last[right.count]
  }
}
