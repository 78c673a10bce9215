// SPDX-License-Identifier: GPL-3.0-or-later

import FoundationEssentials

/// One job, as `/etc/slipway/jobs/NAME.json` has it; the members are explained in `docs/job-file.md`.
public struct Job: Sendable, Equatable {
  public enum Action: String, Sendable, CaseIterable, Decodable {
    case save, restore, verify, command, shell, clonezilla
  }

  public struct FailureAction: Sendable, Equatable {
    public var action: FinalAction
    /// How many more times the job is tried, 0 to 100.
    public var retries: Int

    public init(action: FinalAction = .poweroff, retries: Int = 0) {
      self.action = action
      self.retries = retries
    }
  }

  public var name: String
  public var title: String
  public var action: Action
  public var image: String?
  public var repository: String?
  public var source = "only"
  public var target = "only"
  public var parts: [Int]?
  public var compression = "zstd"
  public var compressionLevel: Int?
  public var splitBytes: UInt64?
  public var grow = "none"
  public var verify = true
  public var efiEntry = true
  public var command: String?
  public var onSuccess = FinalAction.poweroff
  public var onFailure = FailureAction()
  public var allowPreload = false
  public var network = false

  public init(name: String, title: String, action: Action) {
    self.name = name
    self.title = title
    self.action = action
  }

  /// Says in a line what is wrong with a file.
  struct DecodingFault: Error {
    let text: String

    init(text: String) { self.text = text }

    init(_ error: DecodingError) {
      switch error {
      case .keyNotFound(let key, _): text = "the member `\(key.stringValue)` is missing"
      case .typeMismatch(_, let context), .valueNotFound(_, let context), .dataCorrupted(let context):
        let path = context.codingPath.map(\.stringValue).joined(separator: ".")
        text = path.isEmpty ? context.debugDescription : "\(path): \(context.debugDescription)"
      @unknown default: text = "\(error)"
      }
    }
  }

  /// The arguments of `reimage` that do this job.
  ///
  /// - Parameters:
  ///   - image: the name with its placeholders filled in.
  ///   - repository: the folder where the repository is mounted.
  func reimageArguments(image: String, repository: String) -> [String]? {
    var arguments: [String]
    switch action {
    case .save:
      arguments = ["save", source, image, "--repository", repository, "--compression", compression]
      if let compressionLevel { arguments += ["--level", "\(compressionLevel)"] }
      if let splitBytes { arguments += ["--split", "\(splitBytes)"] }
    case .restore:
      arguments = ["restore", image, target, "--repository", repository]
      if grow == "last" { arguments += ["--grow", "last"] }
      arguments.append(efiEntry ? "--efi-entry" : "--no-efi-entry")
    case .verify: return ["verify", image, "--repository", repository]
    case .command, .shell, .clonezilla: return nil
    }
    if let parts { arguments += ["--parts", parts.map(String.init).joined(separator: ",")] }
    arguments.append(verify ? "--verify" : "--no-verify")
    return arguments
  }
}

extension Job {
  /// Refuses a job that could not run, before anything is done.
  /// - Throws: ``JobError/badJob(name:member:found:expected:)``.
  func validate() throws(JobError) {
    func require(_ condition: Bool, _ member: String, _ found: String?, _ expected: String) throws(JobError) {
      guard condition else {
        throw .badJob(name: name, member: member, found: found ?? "missing", expected: expected)
      }
    }
    switch action {
    case .save, .restore, .verify:
      try require(image?.isEmpty == false, "image", image, "the name of an image")
      try require(repository != nil, "repository", repository, "where images live")
    case .command, .clonezilla:
      try require(command?.isEmpty == false, "command", command, "what to run")
    case .shell: break
    }
    if let parts {
      try require(
        !parts.isEmpty && parts.allSatisfy { $0 > 0 }, "parts", "\(parts)", "numbers of partitions, from 1")
    }
    let levels = compression == "zstd" ? 1...22 : 1...9
    try require(
      ["zstd", "gzip", "lz4", "xz", "none"].contains(compression), "compression", compression,
      "zstd, gzip, lz4, xz or none")
    if let compressionLevel {
      try require(
        compression != "none" && levels.contains(compressionLevel), "compressionLevel", "\(compressionLevel)",
        compression == "none" ? "none without compression" : "\(levels.lowerBound) to \(levels.upperBound)")
    }
    try require(splitBytes != 0, "splitBytes", "0", "at least one byte")
    try require(["last", "none"].contains(grow), "grow", grow, "last or none")
    try require((0...100).contains(onFailure.retries), "retries", "\(onFailure.retries)", "0 to 100")
    try require(onFailure.action != .none, "onFailure", "none", "poweroff, reboot or shell")
  }
}

extension Job: Decodable {
  private enum Member: String, CodingKey, CaseIterable {
    case name, title, action, image, repository, source, target, parts, compression, compressionLevel, splitBytes, grow
    case verify, efiEntry, command, onSuccess, onFailure, allowPreload, network
  }

  public init(from decoder: any Decoder) throws {
    try decoder.refuseUnknownMembers(known: Member.allCases.map(\.rawValue))
    let members = try decoder.container(keyedBy: Member.self)
    self.init(
      name: try members.decode(String.self, forKey: .name), title: try members.decode(String.self, forKey: .title),
      action: try members.decode(Action.self, forKey: .action))
    image = try members.decodeIfPresent(String.self, forKey: .image)
    repository = try members.decodeIfPresent(String.self, forKey: .repository)
    source = try members.decodeIfPresent(String.self, forKey: .source) ?? source
    target = try members.decodeIfPresent(String.self, forKey: .target) ?? target
    parts = try members.decodeIfPresent([Int].self, forKey: .parts)
    compression = try members.decodeIfPresent(String.self, forKey: .compression) ?? compression
    compressionLevel = try members.decodeIfPresent(Int.self, forKey: .compressionLevel)
    splitBytes = try members.decodeIfPresent(UInt64.self, forKey: .splitBytes)
    grow = try members.decodeIfPresent(String.self, forKey: .grow) ?? grow
    verify = try members.decodeIfPresent(Bool.self, forKey: .verify) ?? verify
    efiEntry = try members.decodeIfPresent(Bool.self, forKey: .efiEntry) ?? efiEntry
    command = try members.decodeIfPresent(String.self, forKey: .command)
    onSuccess = try members.decodeIfPresent(FinalAction.self, forKey: .onSuccess) ?? onSuccess
    onFailure = try members.decodeIfPresent(FailureAction.self, forKey: .onFailure) ?? onFailure
    allowPreload = try members.decodeIfPresent(Bool.self, forKey: .allowPreload) ?? allowPreload
    network = try members.decodeIfPresent(Bool.self, forKey: .network) ?? network
  }
}

extension Job.FailureAction: Decodable {
  private enum Member: String, CodingKey, CaseIterable { case action, retries }

  public init(from decoder: any Decoder) throws {
    try decoder.refuseUnknownMembers(known: Member.allCases.map(\.rawValue))
    let members = try decoder.container(keyedBy: Member.self)
    action = try members.decodeIfPresent(FinalAction.self, forKey: .action) ?? .poweroff
    retries = try members.decodeIfPresent(Int.self, forKey: .retries) ?? 0
  }
}

extension FinalAction: Decodable {
  public init(from decoder: any Decoder) throws {
    let value = try decoder.singleValueContainer()
    let name = try value.decode(String.self)
    guard let action = FinalAction(jobFile: name) else {
      throw DecodingError.dataCorruptedError(
        in: value, debugDescription: "`\(name)` is none of poweroff, reboot, shell, none")
    }
    self = action
  }
}

/// What the live system as a whole allows: `/etc/slipway/policy.json`.
struct Policy: Decodable, Sendable, Equatable {
  var allowPreload = false

  private enum Member: String, CodingKey, CaseIterable { case allowPreload }

  init() {}

  init(from decoder: any Decoder) throws {
    try decoder.refuseUnknownMembers(known: Member.allCases.map(\.rawValue))
    let members = try decoder.container(keyedBy: Member.self)
    allowPreload = try members.decodeIfPresent(Bool.self, forKey: .allowPreload) ?? false
  }
}

private struct AnyMember: CodingKey {
  let stringValue: String
  let intValue: Int? = nil
  init(stringValue: String) { self.stringValue = stringValue }
  init?(intValue: Int) { nil }
}

extension Decoder {
  fileprivate func refuseUnknownMembers(known: [String]) throws {
    let members = try container(keyedBy: AnyMember.self)
    guard let unknown = members.allKeys.first(where: { !known.contains($0.stringValue) }) else { return }
    throw DecodingError.dataCorruptedError(
      forKey: unknown, in: members, debugDescription: "this member is not known")
  }
}

/// Reads one of our JSON files.
func decodeJSON<Value: Decodable>(_ type: Value.Type, from text: String) throws(Job.DecodingFault) -> Value {
  do {
    return try JSONDecoder().decode(type, from: Data(text.utf8))
  } catch let error as DecodingError {
    throw Job.DecodingFault(error)
  } catch {
    throw Job.DecodingFault(text: "\(error)")
  }
}
