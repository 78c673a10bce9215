// SPDX-License-Identifier: GPL-3.0-or-later

import ImageStore
import SystemPackage
import TestSupport
import Testing

@Suite struct HostileNameTests {
  /// Such names would lead out of the image, or end a path early.
  @Test(arguments: ["../sda1", ".sda1", "x/../../sda1", "sda1\u{0}", "\u{0}"]) func namesThatAreNoDevice(name: String)
    async throws
  {
    try await withTemporaryDirectory { folder in
      try folder.appending("disk").write("sda\n".utf8)
      try folder.appending("parts").write("\(name)\n".utf8)
      let error = #expect(throws: ImageError.self) { try StoredImage(opening: folder) }
      guard case .malformed = error else {
        Issue.record("\(String(describing: error))")
        return
      }
    }
  }
}
