#!/bin/bash
# Saves and restores one ext4 volume of about 1 GiB of files with our engine and with partclone | zstd, in turn, and
# prints medians, ratios and peak memory. Needs partclone, zstd, e2fsprogs and python3; memory for about 5 GiB.
#
# usage: Benchmarks/imaging.sh [RUNS] [FOLDER_WITH_FILES]
# SPDX-License-Identifier: GPL-3.0-or-later
set -euo pipefail
runs=${1:-5}
files=${2:-/usr}
cd "$(dirname "$0")/.."
ours=$(swift build -c release --show-bin-path)/bench-imaging
work=$(mktemp -d /dev/shm/bench-imaging.XXXXXX)
trap 'rm -rf "$work"' EXIT

python3 - "$files" "$work/files" <<'PY'
import os, shutil, sys
source, target = sys.argv[1:]
room = 1 << 30
for folder, folders, names in os.walk(source):
    folders.sort()
    for name in sorted(names):
        path = os.path.join(folder, name)
        if os.path.islink(path) or not os.path.isfile(path):
            continue
        size = os.path.getsize(path)
        if size > 64 << 20 or size > room:
            continue
        copy = target + path
        os.makedirs(os.path.dirname(copy), exist_ok=True)
        shutil.copyfile(path, copy)
        room -= size
PY
truncate -s 1536M "$work/volume"
mkfs.ext4 -qF -d "$work/files" "$work/volume"
rm -rf "$work/files"
dumpe2fs -h "$work/volume" 2>/dev/null | awk -F: '/^(Block count|Free blocks|Block size)/ {v[$1]=$2}
  END {printf "volume: %.0f MiB used of %.0f MiB\n", (v["Block count"]-v["Free blocks"])*v["Block size"]/1048576, v["Block count"]*v["Block size"]/1048576}'

# measure NAME COMMAND: appends "seconds cpu-seconds peak-KiB" to the file NAME.
measure() {
  /usr/bin/time -f "%e %U %S %M" -o "$work/time" bash -c "$2" 2>/dev/null
  awk '{print $1, $2 + $3, $4}' "$work/time" >> "$work/$1"
}
fresh() { rm -f "$work/target"; truncate -s 1536M "$work/target"; }

cd "$work"
for _ in $(seq "$runs"); do
  rm -f ours.zst theirs.zst
  measure save.ours "exec '$ours' save volume ours.zst"
  measure save.theirs "partclone.extfs -c -s volume -o - -L /dev/null | zstd -q -T0 -3 -o theirs.zst"
  fresh
  measure restore.ours "exec '$ours' restore ours.zst target"
  fresh
  measure restore.theirs "zstd -dcq theirs.zst | partclone.extfs -r -s - -O target -L /dev/null"
  fresh
  measure foreign.ours "exec '$ours' restore theirs.zst target"
done
echo "stored: ours $(stat -c %s ours.zst), theirs $(stat -c %s theirs.zst) bytes"

python3 - <<'PY'
from statistics import median
def read(name):
    rows = [tuple(map(float, line.split())) for line in open(name)]
    return [median(column) for column in zip(*rows)]
def show(title, ours, theirs):
    o, t = read(ours), read(theirs)
    print(f"{title:28} ours {o[0]:6.2f} s (cpu {o[1]:5.2f} s, {o[2] / 1024:4.0f} MiB)   "
          f"partclone|zstd {t[0]:6.2f} s (cpu {t[1]:5.2f} s)   {t[0] / o[0]:.2f} x as fast")
show("save", "save.ours", "save.theirs")
show("restore", "restore.ours", "restore.theirs")
show("restore of a foreign image", "foreign.ours", "restore.theirs")
PY
