// SPDX-License-Identifier: GPL-3.0-or-later

/// Finds the word that was likely meant.
public enum Suggestion {
  /// The candidate nearest to `word`, when it is near enough to be a slip: one edit for each three letters.
  public static func nearest(to word: String, among candidates: some Sequence<String>) -> String? {
    let limit = max(1, word.count / 3)
    guard word.count <= 64 else { return nil }
    var best: (word: String, distance: Int)?
    for candidate in candidates where candidate != word {
      let distance = distance(Array(word.lowercased()), Array(candidate.lowercased()))
      if distance <= limit, distance < best?.distance ?? .max { best = (candidate, distance) }
    }
    return best?.word
  }

  /// Damerau-Levenshtein distance in its optimal string alignment form: insertions, deletions, replacements and swaps
  /// of neighbours count one each.
  private static func distance(_ left: [Character], _ right: [Character]) -> Int {
    var beforeLast: [Int] = []
    var last = Array(0...right.count)
    for row in 0..<left.count {
      var current = [row + 1]
      for column in 0..<right.count {
        let replaced = last[column] + (left[row] == right[column] ? 0 : 1)
        var least = min(replaced, last[column + 1] + 1, current[column] + 1)
        if row > 0, column > 0, left[row] == right[column - 1], left[row - 1] == right[column] {
          least = min(least, beforeLast[column - 1] + 1)
        }
        current.append(least)
      }
      (beforeLast, last) = (last, current)
    }
    return last[right.count]
  }
}
