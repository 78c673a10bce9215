// SPDX-License-Identifier: GPL-3.0-or-later

package import Commands
import SystemPackage

/// Clonezilla's `ocs_preload`: files from a server or a share, put below `/opt` before the job.
package struct Preload: Sendable {
  let places: Places

  package init(places: Places) { self.places = places }

  /// The commands that load one parameter's value.
  /// - Throws: a ``JobError/preloadFailed(parameter:cause:)`` for a form that isn't known.
  package func commands(for parameter: KernelCommandLine.Parameter) throws(JobError) -> [Command] {
    let value = parameter.value ?? ""
    return value.hasPrefix("mount") ? try share(parameter.name, value) : try archive(parameter.name, value)
  }

  /// `mount -t cifs|nfs … FOLDER`: the share's files are copied.
  private func share(_ name: String, _ line: String) throws(JobError) -> [Command] {
    guard case .words(let words)? = ShellWords(line), words.count > 2, let folder = words.last, folder.hasPrefix("/"),
      !folder.hasPrefix("//")
    else { throw .preloadFailed(parameter: name, cause: "expected a mount command that ends with a folder") }
    return [
      Command("mkdir", ["-p", folder, places.preloaded.string]),
      Command("timeout", ["--kill-after=10", "90"] + words),
      Command("cp", ["-r", "\(folder)/.", places.preloaded.string]),
      Command("umount", [folder]),
    ]
  }

  /// `http(s)://`, `ftp://`, `tftp://`, `file://` of a tar archive, a zip archive or a script.
  private func archive(_ name: String, _ address: String) throws(JobError) -> [Command] {
    let schemes = ["http://", "https://", "ftp://", "tftp://", "file://"]
    guard schemes.contains(where: address.hasPrefix), let file = address.split(separator: "/").last else {
      throw .preloadFailed(
        parameter: name, cause: "expected an address that begins with \(schemes.joined(separator: " "))")
    }
    let folder = places.preloaded.string
    let path = places.preloaded.appending(String(file)).string
    var commands = [
      Command("mkdir", ["-p", folder]),
      Command(
        "curl",
        [
          "--fail", "--location", "--silent", "--show-error", "--retry", "5", "--retry-connrefused",
          "--connect-timeout",
          "20", "--max-time", "600", "--output", path, "--", address,
        ]),
    ]
    let tar = [".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst"]
    if tar.contains(where: file.hasSuffix) {
      commands += [Command("tar", ["-x", "-f", path, "-C", folder]), Command("rm", ["-f", path])]
    } else if file.hasSuffix(".zip") {
      commands += [Command("unzip", ["-o", path, "-d", folder]), Command("rm", ["-f", path])]
    } else if file.hasSuffix(".sh") {
      // Scripts often come from an editor on Windows.
      commands += [Command("sed", ["-i", "s/\\r$//", path]), Command("chmod", ["755", path])]
    } else {
      throw .preloadFailed(parameter: name, cause: "`\(file)` is no tar or zip archive and no script (.sh)")
    }
    return commands
  }

  /// The command line that a loaded file puts in place of the kernel's, whole or in part.
  package func replacement(for line: KernelCommandLine) -> KernelCommandLine? {
    if let text = try? Places.text(of: places.preloaded.appending("overwrite-all-boot-param")) {
      return KernelCommandLine(text)
    }
    guard let text = try? Places.text(of: places.preloaded.appending("overwrite-part-boot-param")) else { return nil }
    return line.replacing(with: KernelCommandLine(text))
  }
}

extension KernelCommandLine {
  /// This line with the parameters that `other` names taken from there.
  package func replacing(with other: KernelCommandLine) -> KernelCommandLine {
    let names = Set(other.parameters.map(\.name))
    let kept = parameters.filter { !names.contains($0.name) }.map { parameter in
      guard let value = parameter.value else { return parameter.name }
      let needsQuotes = value.contains(where: \.isWhitespace) && !value.contains("\"")
      return "\(parameter.name)=\(needsQuotes ? "\"\(value)\"" : value)"
    }
    return KernelCommandLine((kept + [other.text]).joined(separator: " "))
  }
}
