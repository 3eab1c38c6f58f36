#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Where a filesystem can share extents, gild convert does, unless told not to;
# the disk is the same in any case.

# shellcheck source=tests/lib.sh
. "${BASH_SOURCE%/*}/../tests/lib.sh"
requires "qemu-img --version"
requires "command -v mkfs.xfs || test -x /sbin/mkfs.xfs"
PATH=$PATH:/sbin:/usr/sbin

[ "$(id -u)" = 0 ] || skip "needs root, to mount a filesystem"
truncate -s 320M fs
mkfs.xfs -q -m reflink=1 fs || skip "mkfs.xfs cannot"
mkdir xfs
mount -o loop fs xfs 2>"$work/.ignored" || skip "cannot mount XFS here"
at_end "cd / && umount '$PWD/xfs'"
cd xfs

head -c 64M /dev/urandom >x.raw
truncate -s 80M x.raw

# Bytes that the filesystem has taken, all files together.
taken() {
	sync -f .
	df --output=used -B1 . | tail -n 1
}

# costs LIMIT ARGS...: a conversion takes at most (+) or at least (-) LIMIT MiB.
costs() {
	local limit=$1 before cost
	shift
	before=$(taken)
	run gild convert "$@"
	expect 0
	cost=$((($(taken) - before) >> 20))
	case $limit in
	+*) [ $cost -le "${limit#+}" ] || fail "gild convert $* took $cost MiB" ;;
	-*) [ $cost -ge "${limit#-}" ] || fail "gild convert $* took $cost MiB" ;;
	esac
}
costs +8 -O qcow2 x.raw shared.qcow2
sound shared.qcow2
equal raw x.raw qcow2 shared.qcow2
costs +8 shared.qcow2 back.raw
same x.raw back.raw
costs -60 --no-reflink -O qcow2 x.raw copied.qcow2
equal raw x.raw qcow2 copied.qcow2

# What is shared is not written together: a write to one leaves the other.
cp --reflink=never x.raw kept.raw
put qcow2 shared.qcow2 'write -P 1 1M 1M'
same kept.raw x.raw
same kept.raw back.raw

# A part of a disk, which begins at a block of the filesystem, or does not.
rm -f copied.qcow2 shared.qcow2
before=$(taken)
gild dd -f raw bs=4k skip=1 if=x.raw of=part.raw
[ $((($(taken) - before) >> 20)) -le 8 ] || fail "the part was not shared"
tail -c +4097 kept.raw | cmp - part.raw
gild dd -f raw bs=1000 skip=65001 if=x.raw of=part.raw
tail -c +65001001 kept.raw >want.raw
truncate -s %512 want.raw
same want.raw part.raw
