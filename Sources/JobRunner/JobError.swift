// SPDX-License-Identifier: GPL-3.0-or-later

public import Reporting
public import SystemPackage

/// Why the job could not be prepared or did not succeed.
public enum JobError: Failure {
  case unreadable(path: FilePath, cause: String)
  case badJobFile(path: FilePath, cause: String)
  case unknownJob(name: String, folder: FilePath, known: [String])
  case badJob(name: String, member: String, found: String, expected: String)
  case unknownParameter(name: String, nearest: String?)
  case badParameter(name: String, found: String, expected: String)
  case conflict(String, String)
  case badRepository(uri: String, cause: String)
  case badImageName(String, cause: String)
  case preloadNotAllowed(parameters: [String])
  case preloadFailed(parameter: String, cause: String)
  case repositoryNotMounted(location: String, attempts: Int, cause: String)
  case networkNotReady(cause: String)
  case hookFailed(FilePath, status: Int32)
  case jobFailed(command: String, status: Int32, complaint: String)

  public var reason: String {
    switch self {
    case .unreadable(let path, let cause): "cannot read \(path): \(cause)"
    case .badJobFile(let path, let cause): "the job file \(path) is not valid: \(cause)"
    case .unknownJob(let name, let folder, let known):
      "there is no job `\(name)` in \(folder); found: \(known.isEmpty ? "none" : known.joined(separator: ", "))"
    case .badJob(let name, let member, let found, let expected):
      "job `\(name)`: \(member) is `\(found)`; expected \(expected)"
    case .unknownParameter(let name, let nearest):
      "the kernel parameter `\(name)` is not known" + (nearest.map { "; did you mean `\($0)`?" } ?? "")
    case .badParameter(let name, let found, let expected):
      "the kernel parameter `\(name)` is `\(found)`; expected \(expected)"
    case .conflict(let one, let other): "the kernel command line has both `\(one)` and `\(other)`"
    case .badRepository(let uri, let cause): "the repository `\(uri)` is not valid: \(cause)"
    case .badImageName(let name, let cause): "the image name `\(name)` cannot be used: \(cause)"
    case .preloadNotAllowed(let parameters):
      "\(parameters.joined(separator: ", ")) would run code from outside the medium, which this system doesn't allow"
    case .preloadFailed(let parameter, let cause): "\(parameter) could not be loaded: \(cause)"
    case .repositoryNotMounted(let location, let attempts, let cause):
      "the repository \(location) could not be mounted in \(attempts) \(attempts == 1 ? "attempt" : "attempts"): \(cause)"
    case .networkNotReady(let cause): "the network did not come up: \(cause)"
    case .hookFailed(let path, let status): "the hook \(path) ended with status \(status)"
    case .jobFailed(let command, let status, let complaint): "`\(command)` ended with status \(status): \(complaint)"
    }
  }

  public var remedy: String? {
    switch self {
    case .unreadable, .hookFailed, .jobFailed: nil
    case .badJobFile, .badJob: "correct the job in the recipe and build again"
    case .unknownJob: "boot with slipway.job= and one of the names found"
    case .unknownParameter, .badParameter: "correct it in the boot menu; the parameters are in docs/boot-parameters.md"
    case .conflict: "remove one of them"
    case .badRepository: "the forms are in docs/boot-parameters.md"
    case .badImageName: "use letters, digits and . _ - and the placeholders of docs/job-file.md"
    case .preloadNotAllowed: "set allowPreload in the recipe's job, or remove the parameter"
    case .preloadFailed: "check the address and that the server answers"
    case .repositoryNotMounted: "check the name, the server, the path and the rights"
    case .networkNotReady: "check the cable and the DHCP server, or give an address with ip="
    }
  }

  public var exitCode: ExitCode {
    switch self {
    case .unreadable, .unknownJob: .noInput
    case .badJobFile, .badJob, .badImageName: .invalidData
    case .unknownParameter, .badParameter, .conflict, .badRepository: .usage
    case .preloadNotAllowed: .refused
    case .preloadFailed, .repositoryNotMounted, .networkNotReady: .unavailable
    case .hookFailed, .jobFailed: .jobFailed
    }
  }
}
