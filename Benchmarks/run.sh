#!/bin/bash
# All the benchmarks, ours and the peer's in turn; run by `make bench` on a machine that does nothing else.
# usage: Benchmarks/run.sh [RUNS]     (root, for mmdebstrap)
# SPDX-License-Identifier: GPL-3.0-or-later
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${1:-5}
mkdir -p out/bench
tar=out/bench/base.tar
echo "machine: $(nproc) cores, $(free -g | awk '/^Mem/ {print $2}') GiB of memory, load $(cut -d' ' -f1 /proc/loadavg)"

if [ ! -e $tar ]; then
  echo "making a Debian tar to pack"
  mmdebstrap --quiet --format=tar --variant=minbase --include=linux-image-amd64,live-boot,systemd-sysv trixie $tar.partial
  mv $tar.partial $tar
fi
echo; echo "== squashfs stage: tar to squashfs"
Benchmarks/squashfs.sh $tar 3 131072 "$runs"
Benchmarks/squashfs.sh $tar 15 131072 "$runs"
echo; echo "== ISO stage"
RUNS=$runs Benchmarks/iso.sh
echo; echo "== save and restore of one ext4 volume"
Benchmarks/imaging.sh "$runs"
