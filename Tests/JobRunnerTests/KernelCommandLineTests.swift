// SPDX-License-Identifier: GPL-3.0-or-later

import JobRunner
import SystemPackage
import TestSupport
import Testing

@Suite struct KernelCommandLineTests {
  @Test(
    arguments: [
      (#"quiet slipway.job=demo"#, [("quiet", nil), ("slipway.job", "demo")]),
      (#"a="b c" d"#, [("a", "b c"), ("d", nil)]),
      (#""a=b c" d"#, [("a", "b c"), ("d", nil)]),
      (#"a=b=c"#, [("a", "b=c")]),
      (#"a="" b="#, [("a", ""), ("b", "")]),
      (#"a="open c"#, [("a", "open c")]),
      (#"  a=1   b=2"# + "\n", [("a", "1"), ("b", "2")]),
      (#"a=x"y z"w"#, [("a", #"x"y z"w"#)]),
      ("", []),
      (#"""#, [("", nil)]),
      ("=x", [("=x", nil)]),
    ] as [(String, [(String, String?)])])
  func splitsAsTheKernelDoes(line: String, expected: [(String, String?)]) {
    let found = KernelCommandLine(line).parameters
    #expect(found.map(\.name) == expected.map(\.0))
    #expect(found.map(\.value) == expected.map(\.1))
  }

  /// Lines as boot loaders hand them on, for the comparison with the real parser.
  static let lines = [
    #"ocs_prerun="sleep 5" quiet"#,
    #""ocs_prerun=sleep 5" quiet"#,
    #"ocs_prerun=\"sleep 5\" quiet"#,
    #"ocs_prerun=dhclient quiet"#,
    #"quiet ocs_prerun=dhclient"#,
    #"ocs_prerun="mount -t cifs -o username=user,password=pa$s //127.0.0.1/te$t /home/partimag""#,
    #"ocs_prerun="sed -i -e '/[1-6]:23:/ d' -e '/1:2345:respawn/ d'""#,
    #"ocs_prerun="lsblk|grep ' 1 '|sed 's|..\(sd..\).*|mount /dev/\1 /mnt|;1p;d'|bash""#,
    #"ocs_prerun="ps -efw |grep \"[a-z]\"""#,
    #""ocs_prerun=mount UUID=XXXYYZZ /mnt" x"#,
    #""ocs_prerun=ocs-sr -q2 -p poweroff savedisk autoname-wpfx=fox serialno=xyz" y"#,
    #"ocs_prerun=one ocs_prerun=two"#,
    #"ocs_prerun="one 1" ocs_prerun="two 2""#,
    #"ocs_prerun=bare ocs_prerun="quoted one""#,
    #"ocs_prerun="quoted one" ocs_prerun=bare"#,
    #""ocs_prerun=wrapped one" ocs_prerun=bare"#,
    #"ocs_prerun="" vga=788"#,
    #"ocs_prerun= vga=788"#,
    #"ocs_prerun="not closed"#,
    #"ocs_prerun="glued"x"#,
    #"ocs_prerun='single'"#,
    #"ocs_prerun="a \\ b""#,
    #"ocs_prerun1="other""#,
    #"echo_ocs_prerun=no ocs_prerun="sleep 5""#,
    #"ocs_prerun="sleep 5" echo_ocs_prerun=no"#,
    #"echo_ocs_prerun=no ocs_prerun=dhclient"#,
    #"ocs_prerun=smb://name:passwd@192.168.1.1/images/"#,
    "",
  ]

  @Test(arguments: lines)
  func readsAsClonezillaDoes(line: String) async throws {
    let found = KernelCommandLine(line).clonezilla("ocs_prerun") ?? ""
    #expect(found == (try await Self.drbl("ocs_prerun", in: line)))
  }

  @Test func takesWholeNamesWhereClonezillaDoesNot() async throws {
    let line = "ocs_prerun=dhclient echo_ocs_prerun=no"
    #expect(KernelCommandLine(line).clonezilla("ocs_prerun") == "dhclient")
    #expect(KernelCommandLine(line).clonezilla("echo_ocs_prerun") == "no")
    #expect(try await Self.drbl("ocs_prerun", in: line) == "no")
  }

  /// What the real `parse_cmdline_option` of Debian's package drbl makes of a line.
  private static func drbl(_ name: String, in line: String) async throws -> String {
    try await withTemporaryDirectory { folder in
      let file = folder.appending("cmdline")
      try file.write(Array("\(line)\n".utf8))
      return try await tool(
        "/bin/bash", "-c",
        """
        functions=/usr/share/drbl/sbin/drbl-functions
        [ -r $functions ] || { echo "install the package drbl" >&2; exit 1; }
        eval "$(sed -n '/^parse_cmdline_option()/,/^} # parse_cmdline_option/p' $functions)"
        parse_cmdline_option -c "$1" "$2" 2>/dev/null
        printf %s "${!2}"
        """, "bash", file.string, name)
    }
  }

  @Test func ordersNumbers() async throws {
    let names = ["ocs_prerun10", "ocs_prerun2", "ocs_prerun", "ocs_prerun1", "ocs_prerun01", "ocs_prerun9"]
    let line = names.map { "\($0)=x" }.joined(separator: " ") + " echo_ocs_prerun=no ocs_prerun2=y ocs_prerunx=z"
    let sorted = try await tool("sort", "-V", input: names.joined(separator: "\n") + "\n")
    let found = KernelCommandLine(line).numbered("ocs_prerun")
    #expect(found.map(\.name) == sorted.split(separator: "\n").map(String.init))
    #expect(found.map(\.value) == ["x", "x", "x", "y", "x", "x"])
    #expect(KernelCommandLine("ocs_prerun3=\"\" quiet").numbered("ocs_prerun").isEmpty)
  }

  @Test func replacesWhatALoadedLineNames() {
    let line = KernelCommandLine(#"quiet a="1 2" b=3 ocs_live_run="old one" vga=788"#)
    let changed = line.replacing(with: KernelCommandLine(#"ocs_live_run=new b="4 5""#))
    #expect(changed.text == #"quiet a="1 2" vga=788 ocs_live_run=new b="4 5""#)
    #expect(changed.clonezilla("ocs_live_run") == "new")
  }

  @Test func survivesAnyBytes() {
    var generator = SystemRandomNumberGenerator.seeded(7)
    let alphabet = Array("ocs_prerun=12\"\\' \t$`;é\0")
    for _ in 0..<5000 {
      let line = KernelCommandLine(
        String(
          (0..<Int.random(in: 0..<60, using: &generator)).map { _ in alphabet.randomElement(using: &generator) ?? " " })
      )
      let numbered = line.numbered("ocs_prerun")
      #expect(Set(numbered.map(\.name)).count == numbered.count)
      #expect(numbered.allSatisfy { $0.value?.isEmpty == false })
      #expect(line.parameters.count <= line.text.count)
    }
  }

  @Test(
    arguments: [
      ("a b", ["a", "b"]), ("a 'b c' d", ["a", "b c", "d"]), (#"a "b \" $c" d"#, ["a", #"b " $c"#, "d"]),
      (#"a\ b c"#, ["a b", "c"]), ("''", [""]), ("", []), ("a'b'\"c\"", ["abc"]),
    ] as [(String, [String])])
  func splitsWordsAsTheShell(line: String, words: [String]) {
    #expect(ShellWords(line) == .words(words))
  }

  @Test func shellWordsKnowOperatorsAndBadQuotes() {
    #expect(ShellWords("a; b|c") == .compound(["a", ";", "b", "|", "c"]))
    #expect(ShellWords("'a;b'") == .words(["a;b"]))
    for bad in ["'a", "\"a", "a\\"] { #expect(ShellWords(bad) == nil) }
  }
}

/// A small generator with a fixed seed (xorshift64*).
struct SeededGenerator: RandomNumberGenerator {
  var state: UInt64
  mutating func next() -> UInt64 {
    state ^= state >> 12
    state ^= state << 25
    state ^= state >> 27
    return state &* 2_685_821_657_736_338_717
  }
}

extension SystemRandomNumberGenerator {
  static func seeded(_ seed: UInt64) -> SeededGenerator { SeededGenerator(state: seed) }
}
