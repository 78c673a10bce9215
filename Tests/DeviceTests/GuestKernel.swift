// SPDX-License-Identifier: GPL-3.0-or-later

import Commands
import Logging
import Reporting
import SystemPackage
import TestSupport

/// Runs a shell script under Debian's kernel in QEMU, for file systems that the kernel of this machine lacks, and for
/// crashes, which nobody wants on this machine.
///
/// The script is run by busybox's `sh -eu`, as root, and has busybox's programs and no others: `mount`, `dd`, `sync FILE`
/// (which is `fsync`), `sha256sum`, `stat` and the like. `/dev`, `/proc`, `/sys`, a writable `/tmp` and an empty folder `/mnt` are there.
/// It must unmount what it mounts. The command `crash` ends the guest as a power cut would: nothing more is written,
/// nothing is unmounted, and the script counts as having succeeded.
///
/// The kernel is taken from Debian's archive once (`apt-get download`, about 70 MB) and kept in `out/guest-kernel`
/// below the package. Only one guest runs at a time, even when several test runs want one; each takes about twenty
/// seconds to boot, on any machine: KVM is not used.
///
/// Needs the Debian packages qemu-system-x86, busybox-static, cpio, kmod and xz-utils.
/// - Parameters:
///   - modules: kernel modules to load in that order, such as `f2fs`; what they depend on is loaded before them.
///   - disks: raw images, which are `/dev/vda`, `/dev/vdb` and so on, writable.
/// - Returns: what the script printed, both outputs in one.
/// - Throws: ``GuestKernelError`` when the script fails, the kernel panics, or it takes more than ten minutes;
///   `CommandError` when a tool is missing.
@discardableResult
func runInGuest(modules: [String], disks: [FilePath], script: String) async throws -> String {
  let kernel = try await GuestKernel.shared.folder()
  return try await withTemporaryDirectory { folder in
    try await makeInitialRAMDisk(kernel: kernel, modules: modules, script: script, in: folder)
    let console = folder.appending("console")
    let output = folder.appending("output")
    try output.write([])
    var arguments = [
      "\(kernel)/running", "timeout", "-k", "5", "600", "qemu-system-x86_64", "-accel", "tcg", "-m", "512",
      "-nodefaults", "-no-reboot", "-display", "none", "-kernel", "\(kernel)/vmlinuz", "-initrd", "\(folder)/initrd",
      "-append", "console=ttyS0 panic=-1 loglevel=4", "-serial", "file:\(console)", "-serial", "file:\(output)",
    ]
    for disk in disks {
      arguments += ["-drive", "file=\(disk),format=raw,if=virtio,cache=unsafe,discard=unmap"]
    }
    let result = try await CommandRunner(logger: Logger(label: "guest")).output(of: Command("flock", arguments))
    let text = String(decoding: try output.contents(), as: UTF8.self)
    guard let mark = text.firstRange(of: "\(endMark)0\n"), result.status == 0, mark.upperBound == text.endIndex else {
      let kernelText = (try? console.contents()).map { String(decoding: $0, as: UTF8.self) } ?? ""
      throw GuestKernelError(
        status: result.status, output: String(text.suffix(2000)), emulator: result.standardError,
        console: String(kernelText.suffix(2000)))
    }
    return String(text[..<mark.lowerBound])
  }
}

/// A guest that did not do what it was told.
struct GuestKernelError: Failure {
  /// QEMU's, 124 when the time was up.
  let status: Int32
  let output: String
  let emulator: String
  let console: String

  var reason: String {
    "the guest failed (\(status)); the script printed:\n\(output)\nQEMU:\n\(emulator)\nthe kernel:\n\(console)"
  }
}

/// What the guest prints last, before the script's exit status.
private let endMark = "the script ended with status "

/// The kernel's folder: `vmlinuz` and the modules file systems need.
private actor GuestKernel {
  static let shared = GuestKernel()
  private var preparation: Task<FilePath, any Error>?

  func folder() async throws -> FilePath {
    let task = preparation ?? Task { try await Self.prepare() }
    preparation = task
    return try await task.value
  }

  private static func prepare() async throws -> FilePath {
    let package = FilePath(#filePath).removingLastComponent().removingLastComponent().removingLastComponent()
    let folder = package.appending("out/guest-kernel")
    // It has its name only when it is complete, and two test runs do not fetch it at once.
    try await shell(
      """
      mkdir -p '\(package)/out'; exec 9> '\(folder).lock'; flock 9
      [ ! -d '\(folder)' ] || exit 0
      part='\(folder).part'; rm -rf "$part"; mkdir "$part"; cd "$part"
      name=$(apt-cache depends linux-image-amd64 | awk '/Depends: linux-image/ && !n { print $2; n = 1 }')
      apt-get -q download "$name" 2>&1
      dpkg-deb --fsys-tarfile ./*.deb | tar -x --wildcards './boot/vmlinuz*' './lib/modules/*/modules.*' \\
        './lib/modules/*/kernel/fs' './lib/modules/*/kernel/lib' './lib/modules/*/kernel/crypto' \\
        './lib/modules/*/kernel/arch' './lib/modules/*/kernel/drivers/block' './lib/modules/*/kernel/drivers/virtio' \\
        './lib/modules/*/kernel/drivers/cdrom'
      rm ./*.deb; mv boot/vmlinuz* vmlinuz
      depmod -b . "$(ls lib/modules)" 2>&1
      : > running; mv "$part" '\(folder)'
      """)
    return folder
  }
}

/// Writes `initrd`: busybox, the modules, the script.
private func makeInitialRAMDisk(
  kernel: FilePath, modules: [String], script: String, in folder: FilePath
) async throws {
  let root = folder.appending("root")
  try await shell(
    """
    mkdir -p '\(root)'/{bin,modules,proc,sys,dev,tmp,mnt}; cp "$(command -v busybox)" '\(root)/bin/'
    version=$(ls '\(kernel)/lib/modules')
    for name in virtio_pci virtio_blk \(modules.joined(separator: " ")); do
      modprobe --show-depends -C /dev/null -d '\(kernel)' -S "$version" "$name" | while read -r verb file rest; do
        [ "$verb" = insmod ] || continue
        short=${file##*/}; short=${short%.xz}
        compgen -G '\(root)/modules/'"*-$short" >/dev/null && continue
        number=$((100 + $(ls '\(root)/modules' | wc -l)))
        case $file in
          *.xz) xz -dc "$file" ;;
          *) cat "$file" ;;
        esac > '\(root)/modules/'"$number-$short"
      done
    done
    """)
  try root.appending("init").write(
    """
    #!/bin/busybox sh
    /bin/busybox --install -s /bin
    export PATH=/bin
    mount -t proc none /proc; mount -t sysfs none /sys; mount -t devtmpfs none /dev; mount -t tmpfs none /tmp
    stty -F /dev/ttyS1 raw
    for module in /modules/*; do insmod $module; done
    sh -eu /script > /dev/ttyS1 2>&1
    echo "\(endMark)$?" > /dev/ttyS1
    poweroff -f

    """.utf8)
  try root.appending("script").write(
    """
    crash() { echo "\(endMark)0"; usleep 300000; echo b > /proc/sysrq-trigger; sleep 60; }
    \(script)

    """.utf8)
  try await shell(
    "cd '\(root)'; chmod 755 init; find . | cpio --quiet -o -H newc > '\(folder)/initrd'")
}
