#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# gild convert --salvage: what cannot be read becomes zeros, is named, and all
# else arrives.

# shellcheck source=tests/lib.sh
. "${BASH_SOURCE%/*}/../tests/lib.sh"
requires "qemu-img --version"

# Four clusters of text, compressed; the stream of the second is garbage.
seq 1 100000 >text
head -c 256K text >x.raw
qemu-img convert -c -O qcow2 x.raw x.qcow2
l2=$((0x40000))
entry=$(od -An -tx8 --endian=big -j $((l2 + 8)) -N 8 x.qcow2 | tr -d ' ')
host=$((0x$entry & ((1 << 54) - 1)))
[ $host -gt $((l2)) ] || fail "entry $entry"
head -c 4096 /dev/zero | tr '\0' '\377' |
	dd of=x.qcow2 bs=1 seek=$host conv=notrunc status=none
! qemu-img convert x.qcow2 q.raw 2>"$work/.ignored" || fail "it can be read"
rm -f q.raw

cp x.raw wanted.raw
dd if=/dev/zero of=wanted.raw bs=64k seek=1 count=1 conv=notrunc status=none

run gild convert x.qcow2 y.raw
expect_error 'x.qcow2'
[ ! -e y.raw ] || fail "a target was made"

for format in raw qcow2; do
	run gild convert --salvage -O $format x.qcow2 y.img
	expect 0
	expect_no_out
	expect_err 'gild: warning: '
	expect_err 'x.qcow2'
	equal raw wanted.raw $format y.img
	run gild convert --salvage -q -O $format x.qcow2 y.img
	expect 0
	expect_no_err
	equal raw wanted.raw $format y.img
done
