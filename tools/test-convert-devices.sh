#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Block devices at both ends of gild convert, by a loop device.

# shellcheck source=tests/lib.sh
. "${BASH_SOURCE%/*}/../tests/lib.sh"
requires "qemu-img --version"

[ "$(id -u)" = 0 ] || skip "needs root, for a loop device"
truncate -s 16M backing
device=$(losetup -f --show "$PWD/backing" 2>"$work/.ignored") ||
	skip "no loop device to be had"
at_end "losetup -d $device"

disk x.raw
qemu-img convert -c -O qcow2 x.raw x.qcow2
tr '\0' '\252' </dev/zero | head -c 16M >"$device" || :

# An empty raw image there does not look like the one that was there before.
for mode in off falloc full; do
	gild create -q -f qcow2 "$device" 1M
	gild create -q -f raw -o preallocation=$mode "$device" 1M
	gild info --output=json "$device" | grep -q '"format": "raw"' ||
		fail "preallocation=$mode: still qcow2"
done
tr '\0' '\252' </dev/zero | head -c 16M >"$device" || :

# As a target it is written in place, zeros too; what is behind is kept.
[ -b "$device" ]
run gild convert x.qcow2 "$device"
expect 0
[ -b "$device" ] || fail "the device was replaced"
sync "$device"
cmp -n 10M x.raw "$device"
[ "$(tail -c 1 "$device" | od -An -tx1 | tr -d ' ')" = aa ] ||
	fail "written beyond the disk"
run gild convert -n "$PWD/x.qcow2" "$device"
expect 0
cmp -n 10M x.raw "$device"

# To the byte.
tr '\0' '\252' </dev/zero | head -c 128k >filled.raw || :
dd if=filled.raw of="$device" conv=notrunc status=none
truncate -s 512 sector.raw
dd if=sector.raw of=filled.raw conv=notrunc status=none
run gild convert sector.raw "$device"
expect 0
sync "$device"
cmp -n 128K filled.raw "$device"

# From a pipe, up to what the device holds.
head -c 100001 /dev/urandom >bytes.raw
dd if=bytes.raw of=filled.raw conv=notrunc status=none
run gild convert - "$device" < <(cat bytes.raw)
expect 0
sync "$device"
cmp -n 128K filled.raw "$device"
run gild convert -O qcow2 - "$device" < <(cat x.raw)
expect 0
equal raw x.raw qcow2 "$device"
truncate -s 17M longer.raw
run gild convert - "$device" < <(cat longer.raw || :)
expect_error 'is smaller (16777216 bytes) than the source'

# As a source it has the size of the device.
run gild convert -f raw -O qcow2 "$device" y.qcow2
expect 0
sound y.qcow2
equal raw backing qcow2 y.qcow2
run gild convert -O qcow2 -f raw - y2.qcow2 <"$device"
expect 0
equal raw backing qcow2 y2.qcow2

# A qcow2 on a device.
run gild convert -O qcow2 x.raw "$device"
expect 0
qemu-img check -f qcow2 "$device" >"$work/.ignored"
equal raw x.raw qcow2 "$device"
run gild info -f qcow2 "$device"
expect 0
expect_out 'virtual size: 10 MiB (10485760 bytes)'

# What does not fit is an error.
truncate -s 20M big.raw
run gild convert big.raw "$device"
expect_error "$device"
