// SPDX-License-Identifier: GPL-3.0-or-later

import Glibc
import SystemPackage

extension Recipe {
  /// Looks whether the files and folders that the recipe names are there and are what they have to be.
  /// - Throws: ``RecipeError`` with all that are not.
  public func check() throws(RecipeError) {
    var problems = Problems(file: file)
    for overlay in overlays { Self.check(overlay, .folder, &problems) }
    for hook in hooks.build + hooks.prerun + hooks.postrun + hooks.failure { Self.check(hook, .executable, &problems) }
    for image in images { Self.check(image.path, .image, &problems) }
    try problems.check()
  }

  private enum Expected {
    case folder, executable, image
  }

  private static func check(_ input: InputPath, _ expected: Expected, _ problems: inout Problems) {
    let path = input.path.string
    var status = stat()
    guard stat(path, &status) == 0 else {
      problems.add(.missingFile, at: input.place, "\(path): \(Errno(rawValue: errno).description)")
      return
    }
    let kind = status.st_mode & S_IFMT
    let complaint: String? =
      switch expected {
      case .folder: kind == S_IFDIR ? nil : "is not a folder"
      case .executable:
        kind != S_IFREG ? "is not a file" : status.st_mode & 0o111 == 0 ? "is not executable: chmod +x it" : nil
      case .image:
        if kind != S_IFDIR {
          "is not a folder"
        } else if access("\(path)/parts", F_OK) == 0 || access("\(path)/disk", F_OK) == 0 {
          nil
        } else {
          "is not a Clonezilla image directory: it has neither a file disk nor a file parts"
        }
      }
    if let complaint { problems.add(.missingFile, at: input.place, "\(path) \(complaint)") }
  }
}
