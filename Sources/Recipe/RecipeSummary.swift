// SPDX-License-Identifier: GPL-3.0-or-later

import SystemPackage

extension Recipe {
  /// The whole recipe, defaults filled in, as lines of text for people.
  public var summary: String {
    var lines = [
      "\(name): Debian \(debian.suite.rawValue) (\(debian.components.map(\.rawValue).joined(separator: ", "))), "
        + "kernel \(debian.kernel)",
      "  mirror: \(debian.mirror ?? "mmdebstrap's own choice")",
    ]
    if !debian.packages.isEmpty { lines.append("  packages: \(debian.packages.joined(separator: ", "))") }
    let keyboard = [system.keyboard.layout, system.keyboard.variant].compactMap(\.self).joined(separator: " ")
    lines.append("  system: \(system.hostname), \(system.locale), keyboard \(keyboard), \(system.timezone)")
    for overlay in overlays { lines.append("  overlay: \(overlay.path)") }
    let hookLists = [
      ("build", hooks.build), ("prerun", hooks.prerun), ("postrun", hooks.postrun), ("failure", hooks.failure),
    ]
    for (point, list) in hookLists {
      for hook in list { lines.append("  \(point) hook: \(hook.path)") }
    }
    let consoles = (console.video ? ["video"] : []) + console.serial.map { "\($0.port) at \($0.speed)" }
    lines.append("  console: \(consoles.joined(separator: ", "))")
    let start = menu.timeout.map { $0 == 0 ? "at once" : "after \($0) s" } ?? "only by hand"
    lines.append("  menu: \(menu.title); starts \(menu.defaultJob) \(start)")
    if !menu.arguments.isEmpty { lines.append("  kernel: \(menu.arguments.joined(separator: " "))") }
    if allowPreload { lines.append("  ocs_preload: may run code from the network") }
    for job in jobs { lines += job.summary }
    for image in images { lines.append("  image \(image.name): \(image.path.path)") }
    lines.append(
      "  outputs: \(outputs.map(\.rawValue).joined(separator: ", ")), packed with \(compression.algorithm.rawValue) "
        + "level \(compression.level), blocks of \(ByteSize.text(UInt64(compression.blockSize)))")
    return lines.joined(separator: "\n") + "\n"
  }
}

extension Recipe.Job {
  fileprivate var summary: [String] {
    var lines = ["  job \(name): \(title)", "    \(what)"]
    var details: [String] = []
    if let parts { details.append("partitions \(parts.map(String.init).joined(separator: ", "))") }
    if let compression {
      details.append(compressionLevel.map { "\(compression.rawValue) level \($0)" } ?? "uncompressed")
    }
    if let splitBytes { details.append("split at \(ByteSize.text(splitBytes))") }
    if let grow { details.append(grow == .last ? "last partition grows" : "nothing grows") }
    if let verify { details.append(verify ? "verified" : "not verified") }
    if let efiEntry { details.append(efiEntry ? "EFI boot entry" : "no EFI boot entry") }
    if network { details.append("needs the network") }
    if !details.isEmpty { lines.append("    \(details.joined(separator: ", "))") }
    let tries = onFailure.retries > 0 ? "\(onFailure.retries) retries, then " : ""
    lines.append("    on success \(onSuccess.rawValue), on failure \(tries)\(onFailure.action.rawValue)")
    lines.append("    kernel: \(kernelArguments.joined(separator: " "))")
    return lines
  }

  private var what: String {
    let place = repository.map { " (repository \($0.displayText))" } ?? ""
    switch action {
    case .save: return "save disk \(source?.description ?? "") as \(image ?? "")\(place)"
    case .restore: return "restore \(image ?? "") to disk \(target?.description ?? "")\(place)"
    case .verify: return "verify \(image ?? "")\(place)"
    case .command, .clonezilla: return "run \(command ?? arguments.joined(separator: " "))\(place)"
    case .shell: return "give a shell\(place)"
    }
  }
}
