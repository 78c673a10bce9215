# Slipway's tasks. `make demo` does the main job once; `make test` passes the tests.
# SPDX-License-Identifier: GPL-3.0-or-later

SHELL := /bin/bash
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
SWIFT_BUILD := swift build -c release
# Line by line, also where the output is no terminal.
SWIFT_TEST := stdbuf -oL swift test -c release --no-parallel

# What compiling needs.
BUILD_PACKAGES := pkg-config libarchive-dev libsquashfs-dev libisofs-dev libburn-dev libzstd-dev zlib1g-dev libdeflate-dev \
	liblzma-dev libbz2-dev liblz4-dev liblzo2-dev libxxhash-dev
# What `slipway build` and `slipway boot` run.
RUN_PACKAGES := mmdebstrap uidmap debian-archive-keyring qemu-system-x86 ovmf seabios ipxe-qemu
# What reimage runs to grow file systems, and to make boot entries.
IMAGING_PACKAGES := e2fsprogs ntfs-3g xfsprogs btrfs-progs dosfstools fatresize efibootmgr fdisk
# What the demo makes its disk with, and compares it with.
DEMO_PACKAGES := grub-pc-bin grub-efi-amd64-bin grub-common mtools attr udev python3 mount
# Tests only: the real tools that ours are compared with.
TEST_PACKAGES := partclone gdisk parted xorriso squashfs-tools squashfs-tools-ng isolinux syslinux-common shim-signed \
	grub-efi-amd64-signed zstd pigz gzip bzip2 lbzip2 pbzip2 xz-utils pixz lzip plzip \
	lz4 lzop python3-xxhash b3sum lvm2 exfatprogs exfat-fuse \
	jfsutils apfsprogs f2fs-tools nilfs-tools reiserfsprogs reiser4progs makefs sleuthkit qemu-utils busybox-static cpio tar kmod procps bc time \
	unzip python3-jsonschema python3-yaml drbl rclone fuse3 sshfs openssh-server openssh-client nginx-light \
	nfs-ganesha nfs-ganesha-vfs samba

.PHONY: all build demo test test-unit test-device test-guest test-clonezilla fuzz bench format lint clean deps-build deps-demo deps-test

all: build

.NOTPARALLEL:

define install
	@missing=$$(dpkg-query -W -f='$${Package} $${Status}\n' $(1) 2>/dev/null | awk '/ok installed/ {print $$1}' \
	  | sort > .have.$$$$; printf '%s\n' $(1) | sort | comm -23 - .have.$$$$; rm -f .have.$$$$); \
	if [ -n "$$missing" ]; then \
	  echo "installing from Debian:" $$missing; \
	  $(SUDO) apt-get update -qq && $(SUDO) env DEBIAN_FRONTEND=noninteractive \
	    apt-get install -y -qq --no-install-recommends $$missing > /dev/null; \
	fi
endef

deps-build:
	$(call install,$(BUILD_PACKAGES))

deps-demo: deps-build
	$(call install,$(RUN_PACKAGES) $(IMAGING_PACKAGES) $(DEMO_PACKAGES))

deps-test: deps-demo
	$(call install,$(TEST_PACKAGES))

build: deps-build
	$(SWIFT_BUILD)

demo: deps-demo build
	$(SUDO) env PATH="$$PATH" Demo/demo.sh

test: deps-test build test-unit test-device test-guest

# Seconds, no root.
test-unit:
	$(SWIFT_TEST) --skip DeviceTests --skip GuestTests

# Loop devices, the real mkfs tools and partclone; root.
test-device:
	$(SUDO) env PATH="$$PATH" $(SWIFT_TEST) --filter DeviceTests

# Boots what was built in QEMU; root.
test-guest:
	$(SUDO) env PATH="$$PATH" $(SWIFT_TEST) --filter GuestTests --skip theRealClonezilla

# The real ocs-sr of Debian's clonezilla restores what a guest saved: a quarter of an hour, needs ../shared/golden; root.
test-clonezilla: deps-test build
	$(SUDO) env PATH="$$PATH" $(SWIFT_TEST) --filter theRealClonezilla

# libFuzzer on every parser of foreign bytes, ten minutes each.
fuzz: deps-test
	Fuzz/run.sh

bench: deps-test build
	$(SUDO) env PATH="$$PATH" Benchmarks/run.sh

format:
	swift format --in-place --recursive Package.swift Sources Tests Benchmarks Fuzz

lint:
	swift format lint --strict --recursive Package.swift Sources Tests Benchmarks Fuzz

clean:
	rm -rf .build out
