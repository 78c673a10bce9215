// fuzz: libFuzzer's program. FUZZ_TARGET names the parser; the arguments are libFuzzer's.
// SPDX-License-Identifier: GPL-3.0-or-later

import FuzzTargets
import Glibc

/// libFuzzer's own main function (compiler-rt, FuzzerDriver.cpp), for programs that have one already.
@_silgen_name("LLVMFuzzerRunDriver")
func runDriver(
  _ count: UnsafeMutablePointer<CInt>,
  _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>>,
  _ test: @convention(c) (UnsafePointer<UInt8>?, Int) -> CInt
) -> CInt

let target: FuzzTarget = {
  guard let name = getenv("FUZZ_TARGET"), let target = FuzzTarget(rawValue: String(cString: name)) else {
    print("FUZZ_TARGET must be one of: \(FuzzTarget.allCases.map(\.rawValue).joined(separator: ", "))")
    exit(64)
  }
  return target
}()

@main struct Fuzz {
  static func main() {
    _ = target
    var count = CommandLine.argc
    var arguments = CommandLine.unsafeArgv
    exit(
      runDriver(&count, &arguments) { start, count in
        _ = target.run(Array(UnsafeBufferPointer(start: start, count: count)))
        return 0
      })
  }
}
