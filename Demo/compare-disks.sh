#!/bin/bash
# Compares a restored disk with its source: partition table, boot code, swap, and every file with its contents,
# owner, mode, times, links and extended attributes. Ends non-zero and shows the differences when there are any.
# usage: compare-disks.sh SOURCE RESTORED     (root)
# SPDX-License-Identifier: GPL-3.0-or-later
set -euo pipefail
export LC_ALL=C PATH=$PATH:/usr/sbin:/sbin

work=$(mktemp -d)
loops=()
clean() {
  for side in source restored; do mountpoint -q "$work/$side.mnt" && umount "$work/$side.mnt"; done
  for loop in "${loops[@]}"; do losetup -d "$loop"; done
  rm -rf "$work"
}
trap clean EXIT
fail() { echo "differs: $*" >&2; exit 1; }

for side in source restored; do
  file=$1; [ $side = source ] || file=$2
  # A larger target has more usable sectors and a larger last partition; all else must be the same.
  sfdisk -d "$file" 2> /dev/null | sed -e "s|$file||" -e '/^device:/d' -e '/^last-lba:/d' > "$work/$side.table"
  dd if="$file" bs=440 count=1 status=none of="$work/$side.code"
  : > "$work/$side.list"
  mkdir "$work/$side.mnt"
  number=0
  while read -r start size; do
    number=$((number + 1))
    device=$(losetup --find --show --read-only --offset $((start * 512)) --sizelimit $((size * 512)) "$file")
    loops+=("$device")
    kind=$(blkid -p -o value -s TYPE "$device" || true)
    echo "== $number $(blkid -p -o export "$device" | grep -e ^TYPE -e ^UUID -e ^LABEL | sort | tr '\n' ' ')" >> "$work/$side.list"
    case $kind in
      ext*|xfs|btrfs)
        options=ro; [ "${kind#ext}" = "$kind" ] || options=ro,noload; [ "$kind" != xfs ] || options=ro,norecovery,nouuid
        mount -o $options "$device" "$work/$side.mnt"
        (cd "$work/$side.mnt"
          find . -xdev -printf '%P|%y|%m|%U|%G|%n|%T@|%l|%s\n' | sed 's/|d|\(.*\)|[0-9]*$/|d|\1/' | sort
          find . -xdev -type f -print0 | sort -z | xargs -0 -r sha256sum
          getfattr -R -h -d -m - -e hex . 2>/dev/null || true) >> "$work/$side.list"
        umount "$work/$side.mnt" ;;
      vfat)
        rm -rf "$work/$side.fat"; mkdir "$work/$side.fat"
        mcopy -s -p -m -i "$file@@$((start * 512))" ::/ "$work/$side.fat/"
        (cd "$work/$side.fat" && find . -type f -print0 | sort -z | xargs -0 -r sha256sum) >> "$work/$side.list" ;;
      swap) ;;
      *) # Boot partitions and unknown contents must be equal to the last byte.
        sha256sum < "$device" >> "$work/$side.list" ;;
    esac
  done < <(sfdisk -d "$file" 2> /dev/null | sed -n 's/.*start= *\([0-9]*\), size= *\([0-9]*\),.*/\1 \2/p')
done

last() { tail -n 1 "$work/$1.table" | sed 's/size= *[0-9]*, //'; }
diff "$work/source.code" "$work/restored.code" > /dev/null || fail "boot code"
diff <(head -n -1 "$work/source.table") <(head -n -1 "$work/restored.table") || fail "partition table"
[ "$(last source)" = "$(last restored)" ] || fail "last partition: $(last source) -> $(last restored)"
diff "$work/source.list" "$work/restored.list" > "$work/difference" || { head -n 40 "$work/difference"; fail "contents"; }
echo "equal: $(grep -c '^== ' "$work/source.list") partitions, $(grep -c '|f|' "$work/source.list") files," \
  "$(grep -cE '^[0-9a-f]{64}  ' "$work/source.list") checksums, partition table and boot code"
