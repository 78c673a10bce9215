// SPDX-License-Identifier: GPL-3.0-or-later

import Foundation
import JobRunner
import SystemPackage
import TestSupport
import Testing

@Suite struct RepositoryLocationTests {
  typealias Host = RepositoryLocation.Host
  typealias Credentials = RepositoryLocation.Credentials

  static let good: [(String, RepositoryLocation)] = [
    ("medium", .medium(folder: "images")),
    ("medium:/home/partimag/", .medium(folder: "home/partimag")),
    ("dev:///dev/sdb1", .device("/dev/sdb1")),
    ("dev:///dev/disk/by-id/usb-X%20Y-part1", .device("/dev/disk/by-id/usb-X Y-part1")),
    ("dev:///LABEL=IMAGES", .device("LABEL=IMAGES")),
    ("dev:///LABEL=My%20Disk", .device("LABEL=My Disk")),
    ("dev:///UUID=1234-ABCD", .device("UUID=1234-ABCD")),
    ("dev:///PARTLABEL=p", .device("PARTLABEL=p")),
    ("dev:///PARTUUID=0b1c", .device("PARTUUID=0b1c")),
    ("dev:///OCS_LIVE_USB", .medium(folder: "")),
    ("ram://", .memory),
    ("nfs://server/srv/images", .nfs(version: .v3, host: Host("server"), path: "/srv/images")),
    ("nfs4://10.0.0.1:2050/a%20b/", .nfs(version: .v4, host: Host("10.0.0.1", 2050), path: "/a b")),
    ("nfs://[fe80::1%eth0]/x", .nfs(version: .v3, host: Host("fe80::1%eth0"), path: "/x")),
    ("nfs4://server/", .nfs(version: .v4, host: Host("server"), path: "/")),
    ("smb://server/share", .smb(dialect: nil, credentials: nil, host: Host("server"), share: "share")),
    (
      "smb3.11://DOM;bob:p%40ss@server:1445/share/sub",
      .smb(
        dialect: "3.1.1", credentials: Credentials(domain: "DOM", user: "bob", password: "p@ss"),
        host: Host("server", 1445), share: "share/sub")
    ),
    (
      "smb1://bob@s/x$",
      .smb(
        dialect: "1.0", credentials: Credentials(domain: nil, user: "bob", password: nil), host: Host("s"), share: "x$")
    ),
    (
      "smb://bob:a@b:c@s/x",
      .smb(
        dialect: nil, credentials: Credentials(domain: nil, user: "bob", password: "a@b:c"), host: Host("s"), share: "x"
      )
    ),
    ("ssh://root@h:2222/images/", .ssh(user: "root", host: Host("h", 2222), path: "/images")),
    ("ssh://u@[::1]/i", .ssh(user: "u", host: Host("::1"), path: "/i")),
    ("http://h/images/", .web(address: "http://h/images", host: Host("h"))),
    ("https://h:8443/a%20b", .web(address: "https://h:8443/a%20b", host: Host("h", 8443))),
  ]

  @Test(arguments: good)
  func reads(uri: String, expected: RepositoryLocation) throws {
    #expect(try RepositoryLocation(uri) == expected)
  }

  @Test(arguments: [
    "", "images", "/images", "ftp://h/x", "s3://bucket", "dev://sdb1", "dev:///", "dev:///sdb1", "dev:///dev/",
    "dev:///dev/../etc/x", "dev:///LABEL=", "dev:///dev//sda", "ram://x", "nfs://", "nfs:///x", "nfs://server",
    "nfs://u@h/x", "nfs://h:0/x", "nfs://h:70000/x", "nfs://h:1x/x", "nfs://-h/x", "nfs://h h/x", "nfs://[::1/x",
    "nfs://[h]/x", "smb://h", "smb://h/", "smb://h/../x", "smb://ask_user@h/x", "smb://:p@h/x", "smb4://h/x",
    "smb://a:b%0Auser=c@h/x", "ssh://h/x", "ssh://u:p@h/x", "ssh://u@h", "ssh://-oProxyCommand=x@h/x",
    "http://u:p@h/x", "http:///x", "nfs://h/%zz", "nfs://h/%2", "nfs://h/%+1", "nfs://h/%ff", "medium:/a/../..",
    "medium:images",
  ])
  func refuses(uri: String) throws {
    let error = #expect(throws: JobError.self) { try RepositoryLocation(uri) }
    guard case .badRepository? = error else {
      Issue.record("another error: \(String(describing: error))")
      return
    }
  }

  @Test func hidesPasswords() throws {
    #expect("\(try RepositoryLocation("smb://bob:secret@h/x"))" == "smb://bob@h/x")
    let error = #expect(throws: JobError.self) { try RepositoryLocation("smb://bob:secret@h") }
    #expect(error?.reason.contains("secret") == false)
    #expect(error?.reason.contains("smb://bob:***@h") == true)
  }

  @Test(arguments: good.filter { !$0.0.contains("%") && !$0.0.contains("OCS") && !$0.0.contains(";") })
  func describesSoThatItCanBeReadAgain(uri: String, location: RepositoryLocation) throws {
    switch location {
    case .smb, .medium: #expect("\(location)".hasPrefix(uri.hasPrefix("medium") ? "medium:/" : "smb://"))
    default: #expect(try RepositoryLocation("\(location)") == location)
    }
  }

  @Test func survivesAnyBytes() {
    var generator = SeededGenerator(state: 11)
    let parts = [
      "nfs", "smb", "ssh", "dev", "http", "://", "/", "@", ":", "[", "]", "%", "%41", "a", "..", ";", " ", "é",
    ]
    for _ in 0..<5000 {
      let uri = (0..<Int.random(in: 0..<12, using: &generator)).map { _ in
        parts.randomElement(using: &generator) ?? ""
      }.joined()
      guard let location = try? RepositoryLocation(uri) else { continue }
      #expect(!"\(location)".isEmpty)
    }
  }
}

extension RepositoryLocation.Host {
  fileprivate init(_ name: String, _ port: UInt16? = nil) { self.init(name: name, port: port) }
}

@Suite struct RepositoryMountTests {
  private func commands(
    _ uri: String, saving: Bool = false, in folder: FilePath
  ) throws -> [String] {
    let mount = RepositoryMount(
      location: try RepositoryLocation(uri), isForSaving: saving, places: Places(root: folder))
    return try mount.steps().map {
      "\($0.command)".replacingOccurrences(of: "timeout --kill-after=10 90 ", with: "")
        .replacingOccurrences(of: folder.string, with: "")
    }
  }

  @Test func mountsWhatTheKernelMounts() async throws {
    try await withTemporaryDirectory { folder in
      try FileManager.default.createDirectory(
        atPath: folder.appending("run").string, withIntermediateDirectories: true)
      #expect(try commands("medium", in: folder) == ["mount --bind /run/live/medium/images /home/partimag"])
      #expect(
        try commands("medium", saving: true, in: folder).first == "mount -o remount,rw /run/live/medium")
      #expect(try commands("dev:///LABEL=A", in: folder) == ["mount -o ro LABEL=A /home/partimag"])
      #expect(
        try commands("dev:///dev/sdb1", saving: true, in: folder) == ["mount -o noatime /dev/sdb1 /home/partimag"])
      #expect(
        try commands("nfs://h:2050/x y".replacingOccurrences(of: " ", with: "%20"), in: folder) == [
          "mount -t nfs -o nfsvers=3,nolock,soft,timeo=300,retrans=3,noatime,port=2050 'h:/x y' /home/partimag"
        ])
      #expect(
        try commands("nfs4://[::1]/x", in: folder) == [
          "mount -t nfs -o nfsvers=4,soft,timeo=300,retrans=3,noatime '[::1]:/x' /home/partimag"
        ])
      #expect(
        try commands("smb://h/s/d", in: folder) == ["mount -t cifs -o soft,guest //h/s/d /home/partimag"])
    }
  }

  @Test func handsSMBPasswordsOnInAFileOfRootOnly() async throws {
    try await withTemporaryDirectory { folder in
      try FileManager.default.createDirectory(
        atPath: folder.appending("run").string, withIntermediateDirectories: true)
      let found = try commands("smb2.1://D;bob:p%2Cw@h:99/s", in: folder)
      #expect(
        found == [
          "mount -t cifs -o soft,credentials=/run/slipway/smb-credentials,vers=2.1,port=99 //h/s /home/partimag"
        ])
      let file = folder.appending("run/slipway/smb-credentials")
      #expect(String(decoding: try file.contents(), as: UTF8.self) == "username=bob\npassword=p,w\ndomain=D\n")
      let mode = try FileManager.default.attributesOfItem(atPath: file.string)[.posixPermissions] as? Int
      #expect(mode == 0o600)
    }
  }

  @Test func sshNeverAsks() async throws {
    try await withTemporaryDirectory { folder in
      let secrets = folder.appending("etc/slipway/ssh")
      for path in [secrets, folder.appending("run")] {
        try FileManager.default.createDirectory(atPath: path.string, withIntermediateDirectories: true)
      }
      let open = try commands("ssh://u@h:22/x", in: folder)[0]
      #expect(open.contains("-o StrictHostKeyChecking=accept-new -o UserKnownHostsFile=/run/slipway/known_hosts"))
      #expect(open.contains("-o BatchMode=yes"))
      #expect(open.contains(" sh /dev/null /run/slipway/ssh.log u@h:/x /home/partimag -p 22 "))

      try secrets.appending("known_hosts").write([])
      try secrets.appending("id_ed25519").write(Array("key".utf8))
      try secrets.appending("id_ed25519.pub").write(Array("pub".utf8))
      let strict = try commands("ssh://u@h/x", in: folder)[0]
      #expect(strict.contains("-o StrictHostKeyChecking=yes -o UserKnownHostsFile=/etc/slipway/ssh/known_hosts"))
      #expect(strict.contains("-o IdentityFile=/run/slipway/ssh-id_ed25519 "))
      #expect(!strict.contains("pub"))
      let mode =
        try FileManager.default.attributesOfItem(atPath: folder.appending("run/slipway/ssh-id_ed25519").string)[
          .posixPermissions] as? Int
      #expect(mode == 0o600)

      try secrets.appending("password").write(Array("s3cret\n".utf8))
      let password = try commands("ssh://u@h/x", in: folder)[0]
      #expect(password.contains("-o password_stdin") && password.contains(" sh /etc/slipway/ssh/password "))
      #expect(!password.contains("s3cret"))
      #expect(!password.contains("BatchMode"))
    }
  }
}
