#!/bin/bash
# Turns one tar into a squashfs with Slipway, tar2sqfs and mksquashfs in turn, and compares time, memory and size.
# SPDX-License-Identifier: GPL-3.0-or-later
#
#   Benchmarks/squashfs.sh TAR [LEVEL [BLOCKSIZE [RUNS]]]
#
# All three get the same tar from the page cache, zstd at the same level, the same block size, all cores and no NFS
# export table. Needs: squashfs-tools, squashfs-tools-ng, time.
# BENCH names our program where it is not the one `swift build -c release --product bench-squashfs` makes.
set -euo pipefail

tar=${1:?usage: squashfs.sh TAR [LEVEL [BLOCKSIZE [RUNS]]]}
level=${2:-15}
block=${3:-131072}
runs=${4:-5}
cores=$(nproc)
bench=${BENCH:-$(dirname "$0")/../.build/release/bench-squashfs}
# The output lies in memory: ours is not complete before it is on stable storage, and the others do not wait for that.
work=$(mktemp -d -p /dev/shm)
trap 'rm -rf "$work"' EXIT

run() { # NAME COMMAND...: appends "wall user+sys KiB bytes" to NAME's figures
  local name=$1
  shift
  rm -f "$work/out"
  /usr/bin/time -o "$work/time" -f '%e %U %S %M' "$@" >"$work/log" 2>&1 < "$tar" ||
    { cat "$work/log" >&2; echo "$name failed" >&2; exit 1; }
  read -r wall user system memory < "$work/time"
  local bytes
  bytes=$(stat -c %s "$work/out")
  echo "$wall $(awk "BEGIN { print $user + $system }") $memory $bytes" >> "$work/$name"
  printf '  %-11s %7.2f s wall %8.2f s CPU %8.1f MiB RSS %12d bytes\n' \
    "$name" "$wall" "$(awk "BEGIN { print $user + $system }")" "$(awk "BEGIN { print $memory / 1024 }")" "$bytes"
}

median() { # NAME COLUMN
  awk -v c="$2" '{ print $c }' "$work/$1" | sort -g | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'
}

cat "$tar" > /dev/null
echo "$(basename "$tar"): $(stat -Lc %s "$tar") bytes, zstd -$level, blocks of $block bytes, $cores cores, $runs runs"
for ((i = 0; i < runs; i++)); do
  run slipway "$bench" "$tar" "$work/out" "$level" "$block" "$cores"
  run tar2sqfs tar2sqfs -q -f -c zstd -X level="$level" -b "$block" -j "$cores" "$work/out"
  run mksquashfs mksquashfs - "$work/out" -tar -comp zstd -Xcompression-level "$level" -b "$block" \
    -processors "$cores" -no-exports -noappend -no-progress -quiet
done

echo "medians"
for name in slipway tar2sqfs mksquashfs; do
  printf '  %-11s %7.2f s wall %8.2f s CPU %8.1f MiB RSS %12d bytes\n' "$name" "$(median $name 1)" \
    "$(median $name 2)" "$(awk "BEGIN { print $(median $name 3) / 1024 }")" "$(median $name 4)"
done
for name in tar2sqfs mksquashfs; do
  awk -v n="$name" -v w="$(median slipway 1)" -v W="$(median $name 1)" -v c="$(median slipway 2)" \
    -v C="$(median $name 2)" -v m="$(median slipway 3)" -v M="$(median $name 3)" -v b="$(median slipway 4)" \
    -v B="$(median $name 4)" 'BEGIN {
      printf "slipway / %s: wall %.3f, CPU %.3f, RSS %.3f, size %.4f\n", n, w / W, c / C, m / M, b / B }'
done
