#!/bin/bash
# Makes a small bootable Debian disk, the way an installer lays one out: GPT, BIOS boot partition, ESP, swap, ext4;
# GRUB for both firmwares. When it boots it reports through the port org.slipway.job and powers itself off.
# usage: make-disk.sh FILE [SUITE]     (root)
# SPDX-License-Identifier: GPL-3.0-or-later
set -euo pipefail
export LC_ALL=C PATH=$PATH:/usr/sbin:/sbin

disk=$1
suite=${2:-trixie}
part=$disk.partial
work=$(mktemp -d)
root=$work/root
loops=()

clean() {
  ! mountpoint -q "$root" || umount -R "$root"
  for loop in "${loops[@]}"; do losetup -d "$loop"; done
  rm -rf --one-file-system "$work" "$part"
}
trap clean EXIT

mkdir "$root"
rm -f "$part"
truncate -s 1536M "$part"
sfdisk --quiet "$part" <<'TABLE'
label: gpt
size=1MiB, type=21686148-6449-6E6F-744E-656564454649, name="BIOS boot"
size=64MiB, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, name="EFI system"
size=128MiB, type=0657FD6D-A4AB-43C4-84E5-0933C84B4F4F, name="swap"
type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, name="root"
TABLE

# A loop device for each partition: not every kernel finds partitions inside a loop device.
starts=() devices=()
while read -r start size; do
  loop=$(losetup --find --show --offset $((start * 512)) --sizelimit $((size * 512)) "$part")
  loops+=("$loop") starts+=("$start") devices+=("$loop")
done < <(sfdisk -d "$part" 2> /dev/null | sed -n 's/.*start= *\([0-9]*\), size= *\([0-9]*\),.*/\1 \2/p')
boot=${devices[0]} esp=${devices[1]} swap=${devices[2]} linux=${devices[3]}

mkfs.vfat -F 32 -n ESP "$esp" > /dev/null
mkswap --quiet --label swap "$swap"
mkfs.ext4 -q -L root "$linux"
mount "$linux" "$root"

# The packages' own files are the few thousand files of this disk; only what a boot needs is installed.
mmdebstrap --quiet --mode=root --variant=minbase --skip=check/empty \
  --include=linux-image-cloud-amd64,initramfs-tools,systemd-sysv,udev,kmod "$suite" "$root"

uuid() { blkid -p -o value -s UUID "$1"; }
cat > "$root/etc/fstab" <<FSTAB
UUID=$(uuid "$linux") / ext4 defaults 0 1
UUID=$(uuid "$swap") none swap sw 0 0
FSTAB
echo slipway-demo > "$root/etc/hostname"
cat > "$root/usr/local/sbin/report" <<'REPORT'
#!/bin/sh
df -h / > /dev/console
swapon --show > /dev/console
printf '{"verdict":"success","job":"restored system","message":"%s came up"}\n' "$(uname -n)" \
  > /dev/virtio-ports/org.slipway.job
REPORT
chmod 755 "$root/usr/local/sbin/report"
cat > "$root/etc/systemd/system/report.service" <<'UNIT'
[Unit]
Description=Say that this system came up, and power off
After=multi-user.target swap.target

[Service]
Type=oneshot
ExecStart=/usr/local/sbin/report
ExecStartPost=/bin/systemctl --no-block poweroff

[Install]
WantedBy=graphical.target
UNIT
systemctl --root="$root" --quiet enable report.service

kernel=$(cd "$root/boot" && echo vmlinuz-*)
mkdir -p "$root/boot/grub"
cat > "$root/boot/grub/grub.cfg" <<GRUB
serial --unit=0 --speed=115200
terminal_input serial console
terminal_output serial console
linux /boot/$kernel root=UUID=$(uuid "$linux") ro console=tty0 console=ttyS0,115200 quiet panic=10
initrd /boot/initrd.img-${kernel#vmlinuz-}
boot
GRUB
cat > "$work/early.cfg" <<GRUB
search --no-floppy --fs-uuid --set=root $(uuid "$linux")
set prefix=(\$root)/boot/grub
configfile \$prefix/grub.cfg
GRUB
modules="part_gpt ext2 search search_fs_uuid configfile normal linux serial terminal boot echo"
grub-mkimage -O x86_64-efi -c "$work/early.cfg" -p /boot/grub -o "$work/BOOTX64.EFI" $modules efi_gop
mmd -i "$part@@$((starts[1] * 512))" ::/EFI ::/EFI/BOOT
mcopy -i "$part@@$((starts[1] * 512))" "$work/BOOTX64.EFI" ::/EFI/BOOT/BOOTX64.EFI

# What grub-bios-setup does, without a device it could probe: core.img into the BIOS boot partition, its position
# into boot.img (a 64-bit sector at 0x5C) and the rest of it into its own block list (at 0x1F4 of its first sector).
grub-mkimage -O i386-pc -c "$work/early.cfg" -p /boot/grub -o "$work/core.img" $modules biosdisk
number() { python3 -c "import sys; sys.stdout.buffer.write(($1).to_bytes($2, 'little'))"; }
sectors=$((($(stat -c %s "$work/core.img") + 511) / 512))
number "${starts[0]} + 1" 8 | dd of="$work/core.img" bs=1 seek=$((0x1F4)) conv=notrunc status=none
number "$sectors - 1" 2 | dd of="$work/core.img" bs=1 seek=$((0x1FC)) conv=notrunc status=none
dd if="$work/core.img" of="$boot" bs=512 status=none
cp /usr/lib/grub/i386-pc/boot.img "$work/boot.img"
number "${starts[0]}" 8 | dd of="$work/boot.img" bs=1 seek=$((0x5C)) conv=notrunc status=none
dd if="$work/boot.img" of="$part" bs=440 count=1 conv=notrunc status=none

umount "$root"
for loop in "${loops[@]}"; do losetup -d "$loop"; done
loops=()
mv "$part" "$disk"
echo "$disk: $(numfmt --to=iec-i --suffix=B "$(stat -c %s "$disk")"), Debian $suite"
