// SPDX-License-Identifier: GPL-3.0-or-later

import Foundation
import ISOImage
import Reporting
import SystemPackage
import TestSupport
import Testing

@Suite struct ISOImageErrorTests {
  private func writer() throws -> ISOImageWriter { try ISOImageWriter(volumeID: "T", modificationTime: buildTime) }

  @Test(arguments: [
    "relative", "", "/", "/a/../b", "/a/./b", "/line\nbreak", "/" + String(repeating: "n", count: 256),
    String(repeating: "/abcdefgh", count: 200),
  ])
  func impossiblePathsAreRefused(path: String) throws {
    var writer = try writer()
    #expect {
      try writer.add(bytes: [], at: path)
    } throws: { error in
      if case .invalidPath = error as? ISOImageError { true } else { false }
    }
  }

  @Test func pathsCollide() throws {
    var writer = try writer()
    try writer.add(bytes: [], at: "/a/file")
    try writer.addDirectory("/a")
    #expect(throws: ISOImageError.self) { try writer.add(bytes: [], at: "/a/file") }
    #expect(throws: ISOImageError.self) { try writer.add(bytes: [], at: "/a") }
    #expect(throws: ISOImageError.self) { try writer.add(bytes: [], at: "/a/file/below") }
    #expect(throws: ISOImageError.self) { try writer.addDirectory("/a/file") }
  }

  @Test func volumeTextsAreChecked() {
    for name in ["", "Größe", "line\nbreak", String(repeating: "x", count: 33)] {
      #expect(throws: ISOImageError.self) { try ISOImageWriter(volumeID: name, modificationTime: buildTime) }
    }
    #expect(throws: ISOImageError.self) { try ISOImageWriter(volumeID: "T", modificationTime: -1) }
    #expect(throws: ISOImageError.self) { try ISOImageWriter(volumeID: "T", modificationTime: .max) }
    #expect(throws: ISOImageError.self) {
      try ISOImageWriter(volumeID: "T", modificationTime: 0, application: String(repeating: "x", count: 129))
    }
  }

  @Test func sourcesMustBeFiles() async throws {
    try await withTemporaryDirectory { folder in
      var writer = try writer()
      #expect {
        try writer.add(file: folder.appending("missing"), at: "/a")
      } throws: { error in
        guard let error = error as? ISOImageError, case .unreadable(let file, ENOENT) = error else { return false }
        return file == folder.appending("missing").string && error.exitCode == .noInput
      }
      for path in [folder, FilePath("/dev/null")] {
        #expect {
          try writer.add(file: path, at: "/b")
        } throws: { error in
          if case .wrongFileType = error as? ISOImageError { true } else { false }
        }
      }
      try await shell("cd '\(folder.string)'; mkdir -p loop/sub pipe; ln -s .. loop/sub/up; mkfifo pipe/p")
      for name in ["loop", "pipe"] {
        #expect {
          try writer.addTree(folder.appending(name), at: "/tree-\(name)")
        } throws: { error in
          if case .wrongFileType = error as? ISOImageError { true } else { false }
        }
      }
      try await shell("cd '\(folder.string)'; mkdir dangling; ln -s nowhere dangling/link")
      #expect(throws: ISOImageError.self) { try writer.addTree(folder.appending("dangling"), at: "/dangling") }
    }
  }

  /// libisofs fills up with zeros what is missing, without a word when the file was open already.
  @Test func aSourceThatShrinksIsAnErrorAndLeavesNothing() async throws {
    try await withTemporaryDirectory { folder in
      let source = folder.appending("source")
      try await shell("truncate -s 64M '\(source.string)'")
      var writer = try writer()
      try writer.add(file: source, at: "/live/big")
      #expect {
        try writer.write(to: folder.appending("test.iso")) { done, _ in
          if done == 0 { truncate(source.string, 1 << 20) }
        }
      } throws: { error in
        (error as? ISOImageError)?.reason.contains(source.string) == true
      }
      #expect(try leftovers(in: folder) == ["source"])
    }
  }

  @Test func aSourceThatGoesAwayIsAnError() async throws {
    try await withTemporaryDirectory { folder in
      try folder.appending("source").write([1])
      var writer = try writer()
      try writer.add(file: folder.appending("source"), at: "/a")
      try FileManager.default.removeItem(atPath: folder.appending("source").string)
      #expect(throws: ISOImageError.self) { try writer.write(to: folder.appending("test.iso")) }
      #expect(try leftovers(in: folder) == [])
    }
  }

  @Test func aSourceWrittenToMeanwhileIsAnError() async throws {
    try await withTemporaryDirectory { folder in
      let source = folder.appending("source")
      try source.write([1, 2, 3])
      var writer = try writer()
      try writer.add(file: source, at: "/a")
      #expect {
        try writer.write(to: folder.appending("test.iso")) { _, _ in try source.write([4, 5, 6]) }
      } throws: { error in
        if case .sourceChanged(source.string) = error as? ISOImageError { true } else { false }
      }
      #expect(try leftovers(in: folder) == ["source"])
    }
  }

  struct Stop: Error {}

  @Test func stoppingKeepsTheOldImageAndLeavesNothing() async throws {
    try await withTemporaryDirectory { folder in
      let image = folder.appending("test.iso")
      try image.write([1, 2, 3])
      var writer = try writer()
      try writer.add(bytes: [UInt8](repeating: 1, count: 20 << 20), at: "/big")
      #expect(throws: Stop.self) {
        try writer.write(to: image) { done, total in
          if done > total / 2 { throw Stop() }
        }
      }
      #expect(try image.contents() == [1, 2, 3])
      #expect(try leftovers(in: folder) == ["test.iso"])

      let ready = writer
      let task = Task {
        try await Task.sleep(for: .seconds(0.01))
        withUnsafeCurrentTask { $0?.cancel() }
        return try ready.write(to: image)
      }
      await #expect(throws: CancellationError.self) { try await task.value }
      #expect(try image.contents() == [1, 2, 3])
      #expect(try leftovers(in: folder) == ["test.iso"])
    }
  }

  @Test func progressCountsUpToTheSize() async throws {
    try await withTemporaryDirectory { folder in
      var writer = try writer()
      try writer.add(bytes: [UInt8](repeating: 1, count: 5 << 20), at: "/big")
      var seen: [UInt64] = []
      let size = try writer.write(to: folder.appending("test.iso")) { done, total in
        seen.append(done)
        #expect(total > 5 << 20)
      }
      #expect(seen == seen.sorted())
      #expect(seen.count > 5)
      #expect(seen.last == size)
    }
  }

  /// More than any disk here: found out before the first byte is written.
  @Test func noRoomIsSaidBeforehandWithTheBytesNeeded() async throws {
    try await withTemporaryDirectory { folder in
      try await shell("truncate -s 4T '\(folder.string)/huge'")
      var writer = try writer()
      try writer.add(file: folder.appending("huge"), at: "/huge")
      let image = folder.appending("test.iso")
      #expect {
        try writer.write(to: image)
      } throws: { error in
        guard let error = error as? ISOImageError, case .outOfSpace(let path, let needed) = error else { return false }
        return path == image.string && needed > 4 << 40 && error.exitCode == .cannotCreate
      }
      #expect(try leftovers(in: folder) == ["huge"])
    }
  }

  @Test func outputMustBeAFileInAFolderThatIsThere() async throws {
    try await withTemporaryDirectory { folder in
      let writer = try writer()
      for path in [folder, FilePath("/dev/null"), folder.appending("missing/test.iso")] {
        #expect(throws: ISOImageError.self) { try writer.write(to: path) }
      }
      #expect(try leftovers(in: folder) == [])
    }
  }

  @Test func aKilledBuildsRestIsTakenOverAndARunningOnesIsNot() async throws {
    try await withTemporaryDirectory { folder in
      let rest = folder.appending(".test.iso.partial")
      try rest.write([UInt8](repeating: 0xFF, count: 10 << 20))
      let writer = try writer()
      let running = try FileDescriptor.open(rest, .readWrite)
      try #require(flock(running.rawValue, LOCK_EX) == 0)
      #expect {
        try writer.write(to: folder.appending("test.iso"))
      } throws: { error in
        if case .busy = error as? ISOImageError { true } else { false }
      }
      try running.close()
      let size = try writer.write(to: folder.appending("test.iso"))
      #expect(try leftovers(in: folder) == ["test.iso"])
      #expect(try folder.appending("test.iso").contents().count == Int(size))
      #expect(try await extracted(folder.appending("test.iso"), into: folder.appending("out")).isEmpty)
    }
  }

  @Test func severalImagesAtOnceDoNotDisturbEachOther() async throws {
    try await withTemporaryDirectory { folder in
      try await withThrowingTaskGroup(of: Void.self) { group in
        for number in 0..<4 {
          group.addTask {
            var writer = try ISOImageWriter(volumeID: "T\(number)", modificationTime: buildTime + Int64(number))
            try writer.add(bytes: seededBytes(1_000_000, seed: UInt64(number)), at: "/data")
            try writer.write(to: folder.appending("\(number).iso"))
          }
        }
        try await group.waitForAll()
      }
      for number in 0..<4 {
        let found = try await extracted(folder.appending("\(number).iso"), into: folder.appending("out\(number)"))
        #expect(differences(found, ["data": seededBytes(1_000_000, seed: UInt64(number))]) == [])
      }
    }
  }
}
