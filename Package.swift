// swift-tools-version: 6.2
// Slipway: Debian-based live systems that save and restore disks unattended.
// SPDX-License-Identifier: GPL-3.0-or-later

import PackageDescription

/// Set by Fuzz/run.sh: all of our code tells libFuzzer which way it went.
let isFuzzing = Context.environment["SLIPWAY_FUZZ"] != nil

let swiftSettings: [SwiftSetting] =
  [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableExperimentalFeature("Lifetimes"),
  ] + (isFuzzing ? [.unsafeFlags(["-sanitize=fuzzer", "-parse-as-library"])] : [])

let system: Target.Dependency = .product(name: "SystemPackage", package: "swift-system")
let logging: Target.Dependency = .product(name: "Logging", package: "swift-log")
let arguments: Target.Dependency = .product(name: "ArgumentParser", package: "swift-argument-parser")
let subprocess: Target.Dependency = .product(name: "Subprocess", package: "swift-subprocess")
let yams: Target.Dependency = .product(name: "Yams", package: "Yams")
let crypto: Target.Dependency = .product(name: "Crypto", package: "swift-crypto")

/// One of our own libraries; its tests live in `Tests/<name>Tests`.
func module(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
  .target(name: name, dependencies: dependencies, swiftSettings: swiftSettings)
}

/// A program for the builder's machine.
func program(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
  .executableTarget(name: name, dependencies: dependencies, swiftSettings: swiftSettings)
}

/// A program that also runs in the live system, which has no Swift runtime: it is linked in. The compiler's link hints
/// are those of the shared runtime, so the two static libraries below Foundation have to be named.
func liveProgram(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
  .executableTarget(
    name: name, dependencies: dependencies, swiftSettings: swiftSettings,
    linkerSettings: [
      .unsafeFlags(["-static-stdlib", "-use-ld=lld"]), .linkedLibrary("_FoundationCollections"),
      .linkedLibrary("_FoundationCShims"),
    ])
}

func benchmark(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
  .executableTarget(
    name: name, dependencies: dependencies, path: "Benchmarks/Sources/\(name)", swiftSettings: swiftSettings)
}

func tests(_ name: String, _ dependencies: [Target.Dependency], resources: [Resource] = []) -> Target {
  .testTarget(
    name: name, dependencies: dependencies, resources: resources, swiftSettings: swiftSettings)
}

/// A C library of the system, taken from Debian's -dev package.
func library(_ name: String, pkgConfig: String?, debian: String) -> Target {
  .systemLibrary(
    name: name, path: "Sources/CLibraries/\(name)", pkgConfig: pkgConfig, providers: [.apt([debian])])
}

let package = Package(
  name: "slipway",
  products: [
    .executable(name: "slipway", targets: ["slipway"]),
    .executable(name: "reimage", targets: ["reimage"]),
    .executable(name: "livejob", targets: ["livejob"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.6.0"),
    .package(url: "https://github.com/apple/swift-log", from: "1.6.0"),
    .package(url: "https://github.com/apple/swift-system", from: "1.6.0"),
    .package(url: "https://github.com/apple/swift-crypto", from: "4.0.0"),
    .package(url: "https://github.com/swiftlang/swift-subprocess", from: "1.0.0", traits: []),
    .package(url: "https://github.com/jpsim/Yams", from: "6.0.0"),
  ],
  targets: [
    // Programs.
    program("slipway", ["LiveImage", "Recipe", "VirtualMachine", "Commands", "Reporting", arguments, system, logging]),
    liveProgram(
      "reimage",
      ["Imaging", "ImageStore", "Volumes", "Compression", "Reporting", "Commands", arguments, system, logging]),
    liveProgram("livejob", ["JobRunner", "Reporting", "Commands", arguments, system, logging]),

    // The build pipeline.
    module(
      "LiveImage",
      ["Pipelines", "Recipe", "ISOImage", "Squashfs", "TarStream", "Commands", "Reporting", "Bytes", crypto, system]),
    module("Recipe", ["Reporting", yams, system]),
    module("ISOImage", ["CIsofs", "Bytes", "Reporting", system]),
    module("Squashfs", ["CSquashfs", "Reporting", system]),
    module("TarStream", ["CArchive", "Reporting", system]),
    module("VirtualMachine", ["Commands", "Pipelines", "Reporting", system, logging]),

    // The live system.
    module("JobRunner", ["Commands", "Reporting", system, logging]),

    // Imaging.
    module(
      "Imaging",
      [
        "Pipelines", "ImageStore", "PartcloneStream", "Volumes", "FileSystems", "Compression", "BlockIO", "Bytes",
        "Commands", "Reporting", system, logging,
      ]),
    module("ImageStore", ["Pipelines", "PartcloneStream", "Volumes", "Compression", "Bytes", "Reporting", system]),
    module("PartcloneStream", ["CXxhash", "Bytes", "Reporting"]),
    module("Volumes", ["BlockIO", "Bytes", "Reporting", system]),
    module("FileSystems", ["BlockIO", "Bytes", "Reporting"]),
    module(
      "Compression",
      ["Pipelines", "CZstd", "CZlib", "CDeflate", "CLzma", "CBzip2", "CLz4", "CLzo", "Bytes", "Reporting"]),
    module("BlockIO", ["CLinux", "Bytes", "Reporting", system]),

    // Foundations.
    module("Commands", ["Reporting", subprocess, system, logging]),
    module("Pipelines", []),
    module("Bytes", ["CDeflate", "Reporting"]),
    module("Reporting", [logging, system]),

    // C libraries: one thin module each, used by one Swift module only.
    .target(name: "CLinux", path: "Sources/CLibraries/CLinux"),
    .target(name: "CXxhash", path: "Sources/CLibraries/CXxhash"),
    .target(name: "CIsofs", dependencies: ["CIsofsLibrary"], path: "Sources/CLibraries/CIsofs"),
    .target(name: "CSquashfs", dependencies: ["CSquashfsLibrary"], path: "Sources/CLibraries/CSquashfs"),
    library("CIsofsLibrary", pkgConfig: "libisofs-1", debian: "libisofs-dev"),
    library("CSquashfsLibrary", pkgConfig: "libsquashfs1", debian: "libsquashfs-dev"),
    library("CArchive", pkgConfig: "libarchive", debian: "libarchive-dev"),
    library("CZstd", pkgConfig: "libzstd", debian: "libzstd-dev"),
    library("CZlib", pkgConfig: "zlib", debian: "zlib1g-dev"),
    library("CDeflate", pkgConfig: "libdeflate", debian: "libdeflate-dev"),
    library("CLzma", pkgConfig: "liblzma", debian: "liblzma-dev"),
    library("CBzip2", pkgConfig: nil, debian: "libbz2-dev"),
    library("CLz4", pkgConfig: "liblz4", debian: "liblz4-dev"),
    library("CLzo", pkgConfig: "lzo2", debian: "liblzo2-dev"),

    // Unit tests: seconds, no root.
    tests("BytesTests", ["Bytes"]),
    tests("ReportingTests", ["Reporting"]),
    tests("PipelinesTests", ["Pipelines"]),
    tests("CommandsTests", ["Commands", "Reporting", system, logging]),
    tests("CompressionTests", ["Compression", "Bytes", "TestSupport", system]),
    tests("FileSystemsTests", ["FileSystems", "BlockIO", "Bytes", "TestSupport", system]),
    tests("VolumesTests", ["Volumes", "BlockIO", "Bytes", "Reporting", "TestSupport", system]),
    tests("PartcloneStreamTests", ["PartcloneStream", "Bytes", "TestSupport", system]),
    tests("ImageStoreTests", ["ImageStore", "Volumes", "TestSupport", system]),
    tests(
      "ImagingTests",
      [
        "Imaging", "ImageStore", "PartcloneStream", "Volumes", "FileSystems", "Compression", "BlockIO", "Bytes",
        "Commands", "Reporting", "TestSupport", system, logging,
      ]),
    tests("RecipeTests", ["Recipe", "Reporting", "TestSupport", system]),
    tests("SquashfsTests", ["Squashfs", "TarStream", "TestSupport", system]),
    tests("ISOImageTests", ["ISOImage", "Bytes", "Reporting", "TestSupport", system]),
    tests(
      "LiveImageTests",
      ["LiveImage", "Recipe", "Squashfs", "TarStream", "Commands", "Reporting", "TestSupport", system, logging]),
    tests("JobRunnerTests", ["JobRunner", "Commands", "Reporting", "TestSupport", system, logging]),
    tests("VirtualMachineTests", ["VirtualMachine", "Reporting", "TestSupport", system]),
    // Real mkfs tools, loop devices, the real partclone: root.
    tests(
      "DeviceTests",
      [
        "Imaging", "ImageStore", "PartcloneStream", "Volumes", "FileSystems", "Compression", "BlockIO", "Bytes",
        "JobRunner", "Commands", "Reporting", "TestSupport", system, logging,
      ]),
    // Boots what we built in QEMU.
    tests("GuestTests", ["VirtualMachine", "Commands", "TestSupport", system]),
    // What the benchmarks run on our side of a comparison.
    benchmark("bench-squashfs", ["LiveImage", "Squashfs", "TarStream", system]),
    benchmark("bench-iso", ["ISOImage", system]),
    // What fuzzers feed; the corpus of broken inputs runs through it, too.
    .target(
      name: "FuzzTargets",
      dependencies: ["Recipe", "Compression", "PartcloneStream", "Volumes", "FileSystems", "BlockIO", "Bytes", system],
      path: "Fuzz/Sources/FuzzTargets", swiftSettings: swiftSettings),
    .executableTarget(
      name: "fuzz-seed", dependencies: ["FuzzTargets", "Volumes", "FileSystems", "BlockIO", system],
      path: "Fuzz/Sources/fuzz-seed", swiftSettings: swiftSettings),
    tests("FuzzTests", ["FuzzTargets", "BlockIO", "TestSupport", system]),
    benchmark("bench-imaging", ["Imaging", "FileSystems", "Compression", "BlockIO", "Bytes", system]),
    .target(
      name: "TestSupport", dependencies: ["Commands", "BlockIO", "Bytes", "Reporting", system],
      path: "Tests/TestSupport", swiftSettings: swiftSettings),
  ]
)

if isFuzzing {
  package.targets += [
    .executableTarget(
      name: "fuzz", dependencies: ["FuzzTargets"], path: "Fuzz/Sources/fuzz", swiftSettings: swiftSettings,
      linkerSettings: [.unsafeFlags(["-sanitize=fuzzer", "-use-ld=lld"])])
  ]
}
