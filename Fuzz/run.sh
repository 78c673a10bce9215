#!/bin/bash
# Fuzzes the parsers of foreign bytes with libFuzzer: Fuzz/run.sh [SECONDS [TARGET...]], 600 seconds a target at first.
# Begins with Fuzz/Corpus and with file systems fresh from their mkfs; keeps what it finds in out/fuzz.
# SPDX-License-Identifier: GPL-3.0-or-later
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-600}
shift || true
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(volume partitions tables partclone compressed recipe)
out=out/fuzz

swift build -c release --product fuzz-seed
SLIPWAY_FUZZ=1 swift build -c release --product fuzz --scratch-path .build/fuzz

# One input for each kind of volume and disk.
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
seed() {  # seed TARGET NAME SIZE COMMAND...: the command makes the file it is given last
  local target=$1 name=$2 size=$3
  shift 3
  truncate -s "$size" "$scratch/$name"
  if "$@" "$scratch/$name" > "$scratch/log" 2>&1; then
    .build/release/fuzz-seed "$scratch/$name" "$out/corpus/$target/seed-$name"
  else
    echo "no seed $name: $(tail -1 "$scratch/log")" >&2
  fi
  rm -f "$scratch/$name"
}
for target in "${targets[@]}"; do
  mkdir -p "$out/corpus/$target" "$out/found"
  [ ! -d "Fuzz/Corpus/$target" ] || cp -n Fuzz/Corpus/"$target"/* "$out/corpus/$target/"
  case $target in
    volume)
      seed volume ext2 8M mke2fs -q -t ext2 -d Sources
      seed volume ext4 16M mke2fs -q -t ext4 -d Sources
      seed volume ext4-1k 8M mke2fs -q -t ext4 -b 1024 -O bigalloc,metadata_csum -C 4096
      seed volume xfs 300M mkfs.xfs -q
      seed volume xfs-v4 300M mkfs.xfs -q -m crc=0
      seed volume btrfs 128M mkfs.btrfs -q
      seed volume ntfs 8M mkfs.ntfs -q -F
      seed volume fat12 1M mkfs.fat -F 12
      seed volume fat16 16M mkfs.fat -F 16
      seed volume fat32 64M mkfs.fat -F 32
      seed volume swap 1M mkswap -q
      seed volume exfat 16M mkfs.exfat
      seed volume f2fs 64M mkfs.f2fs -q
      seed volume nilfs2 256M mkfs.nilfs2 -q -B 256
      seed volume apfs 131073K mkapfs
      seed volume jfs 16M mkfs.jfs -q
      seed volume reiserfs 40M mkfs.reiserfs -q -f -f
      seed volume reiser4 16M mkfs.reiser4 -f -y
      seed volume minix 4M mkfs.minix -3
      ;;
    partitions)
      seed partitions gpt 64M sh -c 'printf "label: gpt\n,8M\n,8M,U\n,\n" | sfdisk -q "$0"'
      seed partitions mbr 64M sh -c 'printf "label: dos\n,8M\n,,E\n,8M\n,8M\n,\n" | sfdisk -q "$0"'
      ;;
    tables)
      for kind in gpt dos; do
        truncate -s 64M "$scratch/disk"
        printf 'label: %s\n,8M\n,8M\n,\n' $kind | sfdisk -q "$scratch/disk"
        sfdisk -d "$scratch/disk" > "$out/corpus/tables/seed-sfdisk-$kind"
        parted -s "$scratch/disk" unit s print > "$out/corpus/tables/seed-parted-$kind"
      done
      ;;
    partclone)
      truncate -s 4M "$scratch/v"
      mke2fs -q -b 1024 "$scratch/v"
      for a in 0 1; do
        partclone.extfs -c -q -a$a -s "$scratch/v" -o - 2> /dev/null > "$out/corpus/partclone/seed-a$a" || true
      done
      ;;
    compressed)
      for program in gzip zstd bzip2 xz lzma lzip lz4 lzop; do
        head -c 3000 README.md | $program -c > "$out/corpus/compressed/seed-$program" || true
      done
      ;;
    recipe) cp Recipes/*.yaml "$out/corpus/recipe/" ;;
  esac
  echo "== $target: $seconds s"
  FUZZ_TARGET=$target .build/fuzz/release/fuzz "$out/corpus/$target" -max_total_time="$seconds" -timeout=20 \
    -rss_limit_mb=2048 -malloc_limit_mb=1024 -max_len=1048576 -artifact_prefix="$out/found/$target-" \
    -print_final_stats=1 2>&1 | tail -n 40
done
