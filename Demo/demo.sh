#!/bin/bash
# The main job, start to end: a Linux disk is saved, its image goes onto an ISO, machines that boot the ISO restore the
# disk by themselves, and the restored disks are compared with the source and booted.
# usage: demo.sh [FOLDER]     (root; run by `make demo`)
# SPDX-License-Identifier: GPL-3.0-or-later
set -euo pipefail
cd "$(dirname "$0")/.."

out=${1:-out/demo}
bin=.build/release
proved=()
steps=()
begun=$SECONDS
mkdir -p "$out"
[ -t 1 ] && bold=$(printf '\033[1m') plain=$(printf '\033[0m') || { bold= plain=; }

step() { # TITLE COMMAND...
  local title=$1 start=$EPOCHREALTIME
  shift
  printf '\n%s== %s%s\n' "$bold" "$title" "$plain"
  "$@" || { status=$?; printf '\n%sfailed: %s (exit code %s)%s\n' "$bold" "$title" "$status" "$plain" >&2; exit "$status"; }
  steps+=("$(awk -v a="$start" -v b="$EPOCHREALTIME" -v t="$title" 'BEGIN { printf "%8.1f s  %s", b - a, t }')")
}
size() { numfmt --to=iec-i --suffix=B "$(du -sB1 "$1" | cut -f1)"; }

recipe=Recipes/demo-restore.yaml
if [ $# -gt 0 ]; then
  # The recipe has the image where it usually is.
  sed 's|path: ../out/demo/demo|path: demo|' "$recipe" > "$out/demo-restore.yaml"
  recipe=$out/demo-restore.yaml
fi

[ -e "$out/source.raw" ] && rm "$out/source.raw"
rm -rf "$out/demo"
step "Make a bootable Debian disk" Demo/make-disk.sh "$out/source.raw"
step "Save it as a Clonezilla image" "$bin/reimage" save "$out/source.raw" demo --repository "$out"
step "Check the image" "$bin/reimage" verify demo --repository "$out"
step "Build the ISO that restores it" "$bin/slipway" build "$recipe" -o "$out"
iso=$out/demo-restore.iso

for firmware in bios uefi; do
  disk=$out/restored-$firmware.raw
  rm -f "$disk"
  truncate -s 2G "$disk"
  # As a CD on BIOS and as a stick on UEFI: the same file does both.
  attach=cd; [ $firmware = bios ] || attach=usb
  step "Boot the ISO on $firmware (as $attach): restore an empty disk, power off" \
    "$bin/slipway" boot "$iso" --firmware $firmware --attach $attach --disk "$disk"
  step "Compare the restored disk with the source ($firmware)" Demo/compare-disks.sh "$out/source.raw" "$disk"
  step "Boot the restored disk itself on $firmware" "$bin/slipway" boot "$disk" --firmware $firmware
  proved+=("on $firmware: the ISO restored a larger, empty disk unattended; every file is the same; the disk boots")
done

printf '\n%s== What was proved%s\n' "$bold" "$plain"
printf '  %s\n' "${proved[@]}"
printf '\n%s== Sizes%s\n' "$bold" "$plain"
printf '  %8s  %s\n' "$(size "$out/source.raw")" "used on the source disk" "$(size "$out/demo")" "its image" "$(size "$iso")" "the ISO"
printf '\n%s== Times%s\n' "$bold" "$plain"
printf '%s\n' "${steps[@]}"
printf '%8.1f s  in all\n' $((SECONDS - begun))
