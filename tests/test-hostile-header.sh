#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Headers with absurd values: each field of the qcow2 header, one at a time, at
# its extremes. Nothing crashes, hangs or takes memory by what a header says;
# where qemu-img reads such an image, gild reads the same or refuses.

# shellcheck source=tests/lib.sh
. "${BASH_SOURCE%/*}/../tests/lib.sh"
# shellcheck source=tests/hostile.sh
. "$top/tests/hostile.sh"
requires "qemu-img --version"

truncate -s 1M x.raw
put raw x.raw 'write -P 1 0 100k' 'write -P 2 500k 200k'
qemu-img create -q -f qcow2 base.qcow2 1M
qemu-img convert -f raw -O qcow2 x.raw new.qcow2
qemu-img convert -f raw -O qcow2 -o compat=0.10 x.raw old.qcow2
qemu-img convert -c -f raw -O qcow2 -o compression_type=zstd x.raw zstd.qcow2
qemu-img convert -f raw -O qcow2 -o extended_l2=on x.raw sub.qcow2
qemu-img convert -f raw -O qcow2 -o data_file=ext.data x.raw ext.qcow2
qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 over.qcow2 1M
qemu-img convert -n -f raw -O qcow2 x.raw over.qcow2

# OFFSET BYTES FIELD: version 2 has what comes before the line.
fields='
0 4 magic
4 4 version
8 8 backing-offset
16 4 backing-length
20 4 cluster-bits
24 8 size
32 4 encryption
36 4 l1-size
40 8 l1-offset
48 8 refcount-table-offset
56 4 refcount-table-clusters
60 4 snapshot-count
64 8 snapshot-offset
72 8 incompatible
80 8 compatible
88 8 autoclear
96 4 refcount-order
100 4 header-length
104 1 compression-type
105 7 padding
112 4 extension-type
116 4 extension-length
'

# Extremes of a field of so many bytes; the last ones by what it is.
values() {
	case $1 in
	1) echo 00 01 02 7f 80 ff ;;
	4) echo 00000000 00000001 00000002 00000003 00000008 00000009 \
		00000010 00000015 00000016 00000020 00000040 00000068 \
		00010000 00400000 01000000 7fffffff 80000000 ffff0000 \
		fffffff8 ffffffff ;;
	8) echo 0000000000000000 0000000000000001 0000000000000200 \
		0000000000010000 0000000000020000 0000000000030000 \
		0000000000100000 0000000100000000 0000010000000000 \
		0020000000000000 003fffffffffffff 00fffffffffffe00 \
		7fffffffffff0000 7fffffffffffffff 8000000000000000 \
		8000000000050000 ffffffffffff0000 fffffffffffffe00 \
		ffffffffffffffff 0000000000000010 0000000000000004 ;;
	*) echo 00000000000000 ffffffffffffff ;;
	esac
}

# Disks that are too large to be copied within the time are looked at only.
is_small() {
	[ "$field" != size ] || [ "$((16#$value >> 31))" = 0 ]
}

# The same bytes as qemu-img reads, where both read.
copies() {
	rm -f ours.raw theirs.raw
	either bad.qcow2 convert -O raw bad.qcow2 ours.raw
	[ "$status" = 0 ] || return 0
	qemu-img convert -f qcow2 -O raw bad.qcow2 theirs.raw \
		2>"$work/.ignored" || return 0
	# Of a disk that does not end with a sector, qemu-img forgets the rest.
	if [ "$(stat -c %s ours.raw)" = $(($(stat -c %s theirs.raw) + 512)) ]; then
		truncate -s -512 ours.raw
	fi
	same theirs.raw ours.raw
}

# What failed to be written is what it was; but one that is marked dirty is
# repaired first: then it reads as it did.
unharmed() {
	cmp -s bad.qcow2 target.qcow2 && return
	[ "$field" = incompatible ] || fail "changed by a write that failed"
	[ -e ours.raw ] || return 0
	bounded convert -O raw target.qcow2 after.raw
	[ "$status" = 0 ] || { show; fail "cannot be read any more"; }
	same ours.raw after.raw
	rm after.raw
}

# The disk after the write: what was written, and around it what was there.
arrived() {
	[ -e ours.raw ] || return 0
	dd if=base.raw of=ours.raw bs=64k conv=notrunc status=none
	qemu-img convert -f qcow2 -O raw target.qcow2 after.raw
	truncate -s "$(stat -c %s after.raw)" ours.raw # as above
	same ours.raw after.raw
	rm after.raw
}

# Written to, or refused: but a write must not hurt what qemu-img finds sound.
writes() {
	cp bad.qcow2 target.qcow2
	either target.qcow2 convert -n -f raw -O qcow2 base.raw target.qcow2
	[ "$status" = 0 ] || { unharmed; return 0; }
	if qemu-img check -q -f qcow2 bad.qcow2 2>"$work/.ignored"; then
		qemu-img check -q -f qcow2 target.qcow2 ||
			fail "damaged by writing"
		arrived
	fi
}

try() {
	either bad.qcow2 info bad.qcow2
	either bad.qcow2 info --output=json bad.qcow2
	is_small bad.qcow2 || return 0
	either bad.qcow2 map bad.qcow2
	either bad.qcow2 measure -O qcow2 bad.qcow2
	copies
	bounded compare bad.qcow2 x.raw
	[ "$status" -le 4 ]
	rm -f clone.qcow2
	either bad.qcow2 clone bad.qcow2 clone.qcow2
	checks bad.qcow2 bad.qcow2
	writes
	cp bad.qcow2 fixed.qcow2
	checks fixed.qcow2 -r all fixed.qcow2
	rm -f clone.qcow2 ours.raw theirs.raw target.qcow2 fixed.qcow2
}

truncate -s 512k base.raw
put raw base.raw 'write -P 9 0 512k'
n=0
for image in new old zstd sub ext over; do
	while read -r offset bytes field; do
		[ -n "$offset" ] || continue
		[ $image != old ] || [ "$offset" -lt 72 ] || continue
		for value in $(values "$bytes"); do
			n=$((n + 1))
			[ "$level" != fast ] || [ $((n % 31)) = 0 ] || continue
			[ "$level" != normal ] || [ $((n % 6)) = 0 ] || continue
			about="$image.qcow2, $field = 0x$value"
			cp $image.qcow2 bad.qcow2
			poke bad.qcow2 "$offset" "$value"
			try
		done
	done <<<"$fields"
done
echo "$cases cases"
