// SPDX-License-Identifier: GPL-3.0-or-later

import Foundation
import Squashfs
import SystemPackage
import TarStream
import TestSupport

/// A whole tar as a squashfs, without any decision about its entries.
@discardableResult
func convert(
  tar: FilePath, to path: FilePath, _ options: SquashfsOptions = SquashfsOptions(level: 3)
) throws -> SquashfsStatistics {
  let descriptor = try FileDescriptor.open(tar, .readOnly)
  defer { try? descriptor.close() }
  let reader = try TarReader(descriptor)
  let writer = try SquashfsWriter(path: path, options: options)
  var buffer = [UInt8](repeating: 0, count: 100_000)
  while let entry = try reader.next() {
    let metadata = Metadata(
      permissions: entry.permissions, owner: entry.owner, group: entry.group, modificationTime: entry.modificationTime,
      extendedAttributes: entry.extendedAttributes.map { .init(name: $0.name, value: $0.value) })
    switch entry.kind {
    case .file:
      try writer.beginFile(entry.path, metadata)
      while true {
        var span = buffer.mutableSpan
        var bytes = span.mutableBytes
        let count = try reader.read(into: &bytes)
        if count == 0 { break }
        try writer.append(buffer.span.bytes.extracting(first: count))
      }
      try writer.endFile()
    case .directory: try writer.add(.directory, at: entry.path, metadata)
    case .symbolicLink(let target): try writer.add(.symbolicLink(target: target), at: entry.path, metadata)
    case .hardLink(let target): try writer.addHardLink(entry.path, to: target)
    case .characterDevice(let major, let minor):
      try writer.add(.characterDevice(major: major, minor: minor), at: entry.path, metadata)
    case .blockDevice(let major, let minor):
      try writer.add(.blockDevice(major: major, minor: minor), at: entry.path, metadata)
    case .fifo: try writer.add(.fifo, at: entry.path, metadata)
    }
  }
  return try writer.finish()
}

/// What is in a tree, one line an entry, as tools we did not write tell it: path, type, mode, uid, gid, time, then a
/// target, a device number, or size and SHA-256, and last all names of the same inode.
enum TreeListing {
  /// By `unsquashfs`, in the form of its pseudo files, which needs no root.
  static func squashfs(_ path: FilePath) async throws -> [String] { try await python(reader, path, "squashfs") }
  /// By Python's `tarfile`.
  static func tar(_ path: FilePath) async throws -> [String] { try await python(reader, path, "tar") }

  private static func python(_ script: String, _ path: FilePath, _ kind: String) async throws -> [String] {
    try await tool("python3", "-c", script, path.string, kind).split(separator: "\n").map(String.init)
  }

  private static let reader = #"""
    import hashlib, os, subprocess, sys, tarfile, tempfile
    path, kind = sys.argv[1:]
    lines, groups = {}, {}

    def digest(data): return hashlib.sha256(data).hexdigest()

    def of_tar():
      with tarfile.open(path, 'r:') as tar:
        members = {os.path.normpath(m.name).lstrip('/'): m for m in tar.getmembers()}
        for name, m in members.items():
          target = m
          while target.islnk(): target = members[os.path.normpath(target.linkname).lstrip('/')]
          groups.setdefault(id(target), []).append(name)
          kind, rest = '?', ''
          if target.isreg(): kind, rest = 'file', '%d %s' % (target.size, digest(tar.extractfile(target).read()))
          elif target.isdir(): kind = 'dir'
          elif target.issym(): kind, rest = 'link', target.linkname
          elif target.ischr(): kind, rest = 'char', '%d:%d' % (target.devmajor, target.devminor)
          elif target.isblk(): kind, rest = 'block', '%d:%d' % (target.devmajor, target.devminor)
          elif target.isfifo(): kind = 'fifo'
          mode = 0o777 if kind == 'link' else target.mode
          lines[name] = (kind, '%o' % mode, target.uid, target.gid, int(target.mtime), rest)

    def of_squashfs():
      with tempfile.TemporaryDirectory() as work:
        pseudo = work + '/pseudo'
        subprocess.run(['unsquashfs', '-pf', pseudo, path], check=True, stdout=subprocess.DEVNULL)
        data = open(pseudo, 'rb').read()
        head, _, body = data.partition(b'#\n# START OF DATA - DO NOT MODIFY\n#\n')
        links = []
        for line in head.decode('utf-8', 'surrogateescape').split('\n'):
          if not line or line.startswith('#'): continue
          name, line = split(line)
          name = name.strip('/') or '.'
          if line[0] == 'L':
            links.append((name, line[2:].strip('/')))
            continue
          kind, time, mode, uid, gid, *rest = line.split(' ', 5)
          rest = rest[0] if rest else ''
          if kind == 'R':
            size, offset = map(int, rest.split()[:2])
            kind, rest = 'file', '%d %s' % (size, digest(body[offset:offset + size]))
          elif kind in 'CB': rest = rest.replace(' ', ':')
          elif kind == 'I': kind = 'fifo' if rest == 'f' else 'socket'; rest = ''
          kind = {'D': 'dir', 'S': 'link', 'C': 'char', 'B': 'block', 'P': 'fifo'}.get(kind, kind)
          lines[name] = (kind, mode, int(uid), int(gid), int(time), rest)
          groups[name] = [name]
        for name, target in links:
          lines[name] = lines[target]
          groups[target].append(name)

    def split(line):
      out, i = '', 0
      while line[i] != ' ':
        if line[i] == '\\': i += 1
        out += line[i]; i += 1
      return out, line[i + 1:]

    {'tar': of_tar, 'squashfs': of_squashfs}[kind]()
    links = {name: sorted(names) for names in groups.values() for name in names}
    for name in sorted(lines):
      print(ascii(name), *lines[name], 'names', [ascii(n) for n in links[name]])
    """#
}
