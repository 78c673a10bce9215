// SPDX-License-Identifier: GPL-3.0-or-later

import Foundation
import FuzzTargets
import SystemPackage
import TestSupport
import Testing

/// What broke a parser once, and what nearly did: `Fuzz/Corpus/TARGET/good-*` is taken to its end, `bad-*` is refused,
/// and nothing traps or hangs.
@Suite struct CorpusTests {
  @Test(.timeLimit(.minutes(5)), arguments: FuzzTarget.allCases) func everyInputHasItsEnd(_ target: FuzzTarget) throws {
    let folder = FilePath(#filePath).removingLastComponent().removingLastComponent().removingLastComponent()
      .appending("Fuzz/Corpus/\(target.rawValue)")
    let names = try FileManager.default.contentsOfDirectory(atPath: folder.string).sorted()
    #expect(names.contains { $0.hasPrefix("good-") } && names.contains { $0.hasPrefix("bad-") })
    for name in names {
      let isTaken = target.run(try folder.appending(name).contents())
      #expect(isTaken == name.hasPrefix("good-"), "\(name)")
    }
  }
}
