// SPDX-License-Identifier: GPL-3.0-or-later

import Foundation
import Recipe
import Reporting
import SystemPackage
import TestSupport
import Testing

let packageRoot = FilePath(#filePath).removingLastComponent().removingLastComponent().removingLastComponent()

func decode(_ text: String, file: FilePath = "r.yaml") throws(RecipeError) -> Recipe {
  try Recipe.decode(Array(text.utf8), file: file)
}

let shippedRecipes = [
  "demo-restore", "restore-from-medium", "save-to-repository", "restore-from-network", "rescue-shell",
]

/// Uses every key with a value that is not its default.
let fullRecipe = """
  name: full.recipe_1
  debian:
    suite: bookworm
    mirror: https://deb.example.net/debian
    components: [main, contrib]
    packages: [htop, libstdc++6, nano=7.2-1]
    kernel: linux-image-rt-amd64
  system:
    locale: de_DE.UTF-8
    keyboard: {layout: de, variant: nodeadkeys}
    timezone: America/Argentina/Buenos_Aires
    hostname: live7
  overlays: [site, ../common, /srv/overlay]
  hooks:
    build: [hooks/b]
    prerun: [hooks/20-b, hooks/10-a]
    postrun: [hooks/c]
    failure: [hooks/d]
  console:
    video: false
    serial:
      - {port: ttyS1, speed: 9600}
      - port: ttyUSB0
  menu:
    title: A title
    timeout: none
    default: save
    arguments: [quiet, 'a="b c"']
  allow-preload: true
  jobs:
    - name: restore
      title: Put it back
      action: restore
      image: golden
      target: size<=2TiB
      grow: last
      verify: false
      efi-entry: false
      on-success: none
      on-failure: shell
      retries: 7
      network: true
      arguments: [nomodeset]
    - name: save
      action: save
      image: "{hostname}-{mac}-{serial}-{date}-{time}"
      repository: label=My Backup
      source: serial:WD 12
      parts: [1, 3]
      compression: {algorithm: gzip, level: 9}
      split: 4GB
    - {name: check, action: verify, image: golden}
    - {name: run, action: command, command: 'echo "a b" | tee x', repository: "smb://d;u:p%40@h/share/x/"}
    - {name: ocs, action: clonezilla, command: ocs-sr -batch restoredisk img sda, repository: "nfs4://h:2049/x"}
    - {name: sh, action: shell}
  images:
    - path: ../images/golden
    - {path: /srv/x y, name: other}
  outputs: [iso]
  compression: {algorithm: zstd, level: 1, block-size: 1MiB}
  """

let smallRecipe = "name: a\njobs:\n  - {name: sh, action: shell}\n"

@Suite struct Decoding {
  @Test func everyKeyIsRead() throws {
    let recipe = try decode(fullRecipe, file: "dir/r.yaml")
    #expect(recipe.name == "full.recipe_1" && recipe.volumeID == "FULL.RECIPE_1")
    #expect(recipe.debian.suite == .bookworm)
    #expect(recipe.debian.mirror == "https://deb.example.net/debian")
    #expect(recipe.debian.components == [.main, .contrib])
    #expect(recipe.debian.packages == ["htop", "libstdc++6", "nano=7.2-1"])
    #expect(recipe.debian.kernel == "linux-image-rt-amd64")
    #expect(recipe.system.locale == "de_DE.UTF-8" && recipe.system.hostname == "live7")
    #expect(recipe.system.keyboard.layout == "de" && recipe.system.keyboard.variant == "nodeadkeys")
    #expect(recipe.system.timezone == "America/Argentina/Buenos_Aires")
    #expect(recipe.overlays.map(\.path) == ["dir/site", "dir/../common", "/srv/overlay"])
    #expect(recipe.hooks.build.map(\.path) == ["dir/hooks/b"])
    #expect(recipe.hooks.prerun.map(\.path) == ["dir/hooks/20-b", "dir/hooks/10-a"])
    #expect(recipe.hooks.postrun.map(\.path) == ["dir/hooks/c"])
    #expect(recipe.hooks.failure.map(\.path) == ["dir/hooks/d"])
    #expect(recipe.console.video == false)
    #expect(recipe.console.serial.map(\.port) == ["ttyS1", "ttyUSB0"])
    #expect(recipe.console.serial.map(\.speed) == [9600, 115200])
    #expect(recipe.console.serial.map(\.unit) == [1, nil])
    #expect(recipe.menu.title == "A title" && recipe.menu.timeout == nil && recipe.menu.defaultJob == "save")
    #expect(recipe.menu.arguments == ["quiet", "a=\"b c\""])
    #expect(recipe.allowPreload && recipe.jobs.allSatisfy(\.allowPreload))
    #expect(recipe.defaultJob?.name == "save")
    #expect(recipe.images.map(\.name) == ["golden", "other"])
    #expect(recipe.images.map(\.path.path) == ["dir/../images/golden", "/srv/x y"])
    #expect(recipe.outputs == [.iso])
    #expect(recipe.compression.level == 1 && recipe.compression.blockSize == 1 << 20)
    #expect(recipe.repositorySchemes == [.medium, .dev, .smb, .nfs4])

    let restore = recipe.jobs[0]
    #expect(restore.title == "Put it back" && restore.image == "golden" && restore.repository?.uri == "medium")
    #expect(restore.target == .sizeAtMost(2 << 40) && restore.source == nil)
    #expect(restore.grow == .last && restore.verify == false && restore.efiEntry == false && restore.network)
    #expect(restore.onSuccess == .none && restore.onFailure.action == .shell && restore.onFailure.retries == 7)
    #expect(restore.kernelArguments == ["slipway.job=restore", "nomodeset"])
    let save = recipe.jobs[1]
    #expect(save.title == "save" && save.repository?.uri == "dev:///LABEL=My%20Backup")
    #expect(save.source == .serial("WD 12") && save.parts == [1, 3])
    #expect(save.compression == .gzip && save.compressionLevel == 9 && save.splitBytes == 4_000_000_000)
    #expect(save.verify == true && save.network == false)
    #expect(recipe.jobs[3].command == "echo \"a b\" | tee x")
    #expect(recipe.jobs[3].repository?.uri == "smb://d;u:p%40@h/share/x" && recipe.jobs[3].network)
    #expect(recipe.jobs.map(\.action) == [.restore, .save, .verify, .command, .clonezilla, .shell])
  }

  /// The entry has Clonezilla's parameters and no job of ours; what they mount is installed.
  @Test func clonezillaKernelParametersStandAsTheyAre() throws {
    let recipe = try decode(
      """
      name: a
      jobs:
        - name: line
          action: clonezilla
          arguments: ['ocs_live_run="ocs-sr -batch restoredisk img sda"', 'ocs_repository="nfs4://10.0.0.1:/images"']
      """)
    #expect(
      recipe.jobs[0].kernelArguments == [
        "ocs_live_run=\"ocs-sr -batch restoredisk img sda\"", "ocs_repository=\"nfs4://10.0.0.1:/images\"",
      ])
    #expect(recipe.repositorySchemes == [.nfs4])
  }

  @Test func defaultsAreFilledIn() throws {
    let recipe = try decode(smallRecipe)
    #expect(recipe.debian.suite == .trixie && recipe.debian.mirror == nil && recipe.debian.packages == [])
    #expect(recipe.debian.components == [.main, .nonFreeFirmware] && recipe.debian.kernel == "linux-image-amd64")
    #expect(recipe.system.locale == "C.UTF-8" && recipe.system.timezone == "Etc/UTC")
    #expect(recipe.system.keyboard.layout == "us" && recipe.system.keyboard.variant == nil)
    #expect(recipe.system.hostname == "slipway")
    #expect(recipe.console.video && recipe.console.serial.map(\.port) == ["ttyS0"])
    #expect(recipe.console.serial.map(\.speed) == [115200])
    #expect(recipe.menu.title == "a" && recipe.menu.timeout == 10 && recipe.menu.defaultJob == "sh")
    #expect(!recipe.allowPreload && recipe.overlays == [] && recipe.images == [] && recipe.outputs == [.iso])
    #expect(recipe.compression.algorithm == .zstd && recipe.compression.level == 15)
    #expect(recipe.compression.blockSize == 256 << 10)
    #expect(recipe.jobs[0].onSuccess == .poweroff && recipe.jobs[0].onFailure.retries == 0)
    #expect(recipe.jobs[0].onFailure.action == .poweroff && recipe.repositorySchemes == [])
  }

  @Test func textOfYAML11StaysText() throws {
    let recipe = try decode(smallRecipe + "system: {keyboard: {layout: no}}\n")
    #expect(recipe.system.keyboard.layout == "no")
  }

  @Test func aliasesAndMergeKeysAreResolved() throws {
    let recipe = try decode(
      """
      name: a
      debian: {packages: &p [vim], kernel: &k linux-image-amd64}
      menu: {arguments: ["a*b", '*p', "*"], title: "* *k *"}
      jobs:
        - &first {name: one, action: save, image: i, repository: "nfs://h/x", retries: 2}
        - <<: *first
          name: two
          arguments: *p
        - <<: [{retries: 9}, *first]
          name: three
      """)
    #expect(recipe.jobs.map(\.name) == ["one", "two", "three"])
    #expect(recipe.jobs.map(\.onFailure.retries) == [2, 2, 9])
    #expect(recipe.jobs[1].arguments == ["vim"] && recipe.jobs[2].repository?.uri == "nfs://h/x")
    #expect(recipe.menu.arguments == ["a*b", "*p", "*"] && recipe.menu.title == "* *k *")
  }

  @Test func summaryTellsAll() throws {
    #expect(
      try decode(fullRecipe, file: "dir/r.yaml").summary == """
        full.recipe_1: Debian bookworm (main, contrib), kernel linux-image-rt-amd64
          mirror: https://deb.example.net/debian
          packages: htop, libstdc++6, nano=7.2-1
          system: live7, de_DE.UTF-8, keyboard de nodeadkeys, America/Argentina/Buenos_Aires
          overlay: dir/site
          overlay: dir/../common
          overlay: /srv/overlay
          build hook: dir/hooks/b
          prerun hook: dir/hooks/20-b
          prerun hook: dir/hooks/10-a
          postrun hook: dir/hooks/c
          failure hook: dir/hooks/d
          console: ttyS1 at 9600, ttyUSB0 at 115200
          menu: A title; starts save only by hand
          kernel: quiet a="b c"
          ocs_preload: may run code from the network
          job restore: Put it back
            restore golden to disk size<=2199023255552 (repository medium)
            last partition grows, not verified, no EFI boot entry, needs the network
            on success none, on failure 7 retries, then shell
            kernel: slipway.job=restore nomodeset
          job save: save
            save disk serial:WD 12 as {hostname}-{mac}-{serial}-{date}-{time} (repository dev:///LABEL=My%20Backup)
            partitions 1, 3, gzip level 9, split at 4GB, verified
            on success poweroff, on failure poweroff
            kernel: slipway.job=save
          job check: check
            verify golden (repository medium)
            on success poweroff, on failure poweroff
            kernel: slipway.job=check
          job run: run
            run echo "a b" | tee x (repository smb://d;u:***@h/share/x)
            needs the network
            on success poweroff, on failure poweroff
            kernel: slipway.job=run
          job ocs: ocs
            run ocs-sr -batch restoredisk img sda (repository nfs4://h:2049/x)
            needs the network
            on success poweroff, on failure poweroff
            kernel: slipway.job=ocs
          job sh: sh
            give a shell
            on success poweroff, on failure poweroff
            kernel: slipway.job=sh
          image golden: dir/../images/golden
          image other: /srv/x y
          outputs: iso, packed with zstd level 1, blocks of 1MiB

        """)
  }
}

@Suite struct JobFiles {
  @Test func formIsStable() throws {
    let jobs = try decode(fullRecipe).jobs
    let texts = try jobs.map { try String(decoding: $0.json(), as: UTF8.self) }
    #expect(
      texts[0] == """
        {"action":"restore","allowPreload":true,"efiEntry":false,"grow":"last","image":"golden","name":"restore",\
        "network":true,"onFailure":{"action":"shell","retries":7},"onSuccess":"none","repository":"medium",\
        "target":"size<=2199023255552","title":"Put it back","verify":false}
        """)
    #expect(
      texts[1] == """
        {"action":"save","allowPreload":true,"compression":"gzip","compressionLevel":9,\
        "image":"{hostname}-{mac}-{serial}-{date}-{time}","name":"save","network":false,\
        "onFailure":{"action":"poweroff","retries":0},"onSuccess":"poweroff","parts":[1,3],\
        "repository":"dev:///LABEL=My%20Backup","source":"serial:WD 12","splitBytes":4000000000,"title":"save",\
        "verify":true}
        """)
    #expect(
      texts[5] == """
        {"action":"shell","allowPreload":true,"name":"sh","network":false,\
        "onFailure":{"action":"poweroff","retries":0},"onSuccess":"poweroff","title":"sh"}
        """)
  }

  @Test func readBackEqual() throws {
    for var job in try decode(fullRecipe).jobs {
      let decoded = try JSONDecoder().decode(Recipe.Job.self, from: Data(job.json()))
      // The kernel line is not part of the file.
      job.arguments = []
      #expect(decoded == job)
    }
  }

  /// The example of the documentation is what the shipped recipe makes.
  @Test func documentedExampleIsReal() throws {
    let document = String(decoding: try packageRoot.appending("docs/job-file.md").contents(), as: UTF8.self)
    let recipe = try Recipe(contentsOf: packageRoot.appending("Recipes/demo-restore.yaml"))
    var job = try #require(recipe.jobs.first)
    job.name = "demo"
    job.title = "Restore the demo disk"
    #expect(try document.contains("```json\n\(String(decoding: job.json(), as: UTF8.self))\n```"))
  }

  @Test(arguments: [
    "only", "sda", "nvme0n1", "mmcblk0", "path:/dev/disk/by-path/pci-0000:00:1f.2-ata-1", "serial:S3 X1", "size>=1",
    "size<=18446744073709551615",
  ])
  func selectorsRoundTrip(_ text: String) throws {
    let selector = try #require(DiskSelector(text))
    #expect(selector.description == text)
  }

  @Test(arguments: [
    "", "onyl", "/dev/sda", "sda1", "path:", "path:/etc/passwd", "path:/dev/../etc", "serial:", "serial: x", "size>=",
    "size>10GB", "size>=99999999TB", "size>=18446744073709551616", "all", "sda\n", "only ",
  ])
  func otherTextIsNoSelector(_ text: String) {
    #expect(DiskSelector(text) == nil)
  }

  @Test func sizesHaveUnits() {
    #expect(DiskSelector("size>=10GB") == .sizeAtLeast(10_000_000_000))
    #expect(DiskSelector("size>= 10 GiB") == .sizeAtLeast(10 << 30))
    #expect(DiskSelector("size<=3kB") == .sizeAtMost(3000))
  }
}

@Suite struct ShippedRecipes {
  @Test func allAreListed() throws {
    let found = try FileManager.default.contentsOfDirectory(atPath: packageRoot.appending("Recipes").string)
      .filter { $0.hasSuffix(".yaml") }
    #expect(Set(found) == Set(shippedRecipes.map { "\($0).yaml" }))
  }

  @Test(arguments: shippedRecipes)
  func decodes(_ name: String) throws {
    let recipe = try Recipe(contentsOf: packageRoot.appending("Recipes/\(name).yaml"))
    #expect(recipe.name == name)
    #expect(recipe.defaultJob == recipe.jobs[0])
  }

  @Test func demoRestoresByItself() throws {
    let recipe = try Recipe(contentsOf: packageRoot.appending("Recipes/demo-restore.yaml"))
    let job = try #require(recipe.defaultJob)
    #expect(job.action == .restore && job.repository?.scheme == .medium && job.image == "demo")
    #expect(job.target == .only && job.onSuccess == .poweroff && job.onFailure.action == .poweroff)
    #expect(recipe.menu.timeout == 2 && recipe.console.serial.map(\.port) == ["ttyS0"])
    #expect(recipe.images.map(\.path.path) == [packageRoot.appending("Recipes").appending("../out/demo/demo")])
  }
}
