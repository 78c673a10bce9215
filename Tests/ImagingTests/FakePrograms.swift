// SPDX-License-Identifier: GPL-3.0-or-later

import Commands
import Logging

/// Stands in for the programs of a machine: notes what is run, and answers as it was told to.
actor FakePrograms {
  struct Reply {
    let prefix: String
    var output = ""
    var status: Int32 = 0
  }

  private(set) var ran: [String] = []
  private let replies: [Reply]

  /// - Parameter replies: the first one whose prefix a command line has counts; without one it succeeds in silence.
  init(_ replies: [Reply] = []) { self.replies = replies }

  func run(_ command: Command) async throws -> CommandOutput {
    ran.append("\(command)")
    let reply = replies.first { "\(command)".hasPrefix($0.prefix) } ?? Reply(prefix: "")
    return try await CommandRunner(logger: Logger(label: "test")).output(
      of: Command("/bin/sh", ["-c", "cat; exit \(reply.status)"]), input: reply.output)
  }
}
