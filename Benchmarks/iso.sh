#!/bin/bash
# The ISO stage against `xorriso -as mkisofs` on the same tree and layout: in turn, medians, ratio.
# Then a file beyond 4 GiB is written and read back.
# usage: Benchmarks/iso.sh [BENCH-ISO-PROGRAM]   environment: RUNS (5), MIB (1024) of payload, TMPDIR
# SPDX-License-Identifier: GPL-3.0-or-later
set -euo pipefail
program=${1:-$(dirname "$0")/../.build/release/bench-iso}
runs=${RUNS:-5} mib=${MIB:-1024}
folder=$(mktemp -d "${TMPDIR:-/tmp}/bench-iso.XXXXXX")
trap 'rm -rf "$folder"' EXIT
cd "$(dirname "$program")" && program=$PWD/$(basename "$program") && cd "$folder"

# One large file, as a squashfs is, and a few thousand small ones, as in an image directory.
mkdir -p tree/live tree/isolinux tree/home/image
head -c "${mib}M" /dev/urandom > tree/live/filesystem.squashfs
for i in $(seq 2000); do head -c 5000 /dev/zero > "tree/home/image/file-$i"; done
truncate -s 8M esp && mkfs.vfat -i 12345678 --invariant esp > /dev/null
cp -r tree theirs && cp /usr/lib/ISOLINUX/isolinux.bin theirs/isolinux/

# seconds NAME COMMAND...: from a warm cache to the image on the disk (xorriso leaves that to the kernel).
seconds() {
  local name=$1 start
  shift
  rm -f ours.iso theirs.iso && sync
  start=$(date +%s.%N)
  "$@" > log 2>&1 || { cat log >&2; exit 1; }
  sync -f .
  echo "$(date +%s.%N) - $start" | bc >> "$name.times"
}
median() { sort -n "$1.times" | sed -n "$(((runs + 1) / 2))p"; }

cat tree/live/* theirs/live/* > /dev/null
for _ in $(seq "$runs"); do
  seconds ours "$program" tree esp ours.iso
  [ -n "${ours:-}" ] || ours=$(stat -c %s ours.iso)
  seconds theirs xorriso -as mkisofs -o theirs.iso -R -J -joliet-long -iso-level 3 -V BENCH -partition_offset 16 \
    -isohybrid-mbr /usr/lib/ISOLINUX/isohdpfx.bin --mbr-force-bootable \
    -b isolinux/isolinux.bin -c isolinux/boot.cat -no-emul-boot -boot-load-size 4 -boot-info-table \
    -append_partition 2 C12A7328-F81F-11D2-BA4B-00A0C93EC93B esp -appended_part_as_gpt \
    -eltorito-alt-boot -e --interval:appended_partition_2:all:: -no-emul-boot theirs
  theirs=$(stat -c %s theirs.iso)
done
echo "ours:    median $(median ours) s of [$(tr '\n' ' ' < ours.times)], $ours bytes"
echo "xorriso: median $(median theirs) s of [$(tr '\n' ' ' < theirs.times)], $theirs bytes"
echo "ratio:   $(echo "scale=3; $(median ours) / $(median theirs)" | bc) (below 1: ours is faster)"

rm -rf ours.iso theirs.iso theirs tree && mkdir tree
length=$(((4 << 30) + 5000))
truncate -s $((length - 7)) tree/big && printf THE-END >> tree/big && printf BEGIN | dd of=tree/big conv=notrunc status=none
"$program" tree esp big.iso
# Its extents follow each other, so the file lies in one piece.
block=$(xorriso -indev big.iso -find /big -exec report_lba 2> log | awk -F, '/File data lba/ { print $2; exit }')
cmp -n "$length" -i $((block * 2048)):0 big.iso tree/big
echo "a file of $length bytes reads back"
