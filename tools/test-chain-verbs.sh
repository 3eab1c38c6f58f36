#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# gild commit, rebase and resize keep every byte that they should, and leave
# images that qemu-img finds sound.

# shellcheck source=tests/lib.sh
. "${BASH_SOURCE%/*}/../tests/lib.sh"
requires "qemu-img --version"

# A chain of three, the middle one shorter; top.raw is what its top shows.
chain() {
	rm -f base.qcow2 mid.qcow2 top.qcow2
	qemu-img create -q -f qcow2 base.qcow2 6M
	put qcow2 base.qcow2 'write -P 1 0 5M' 'write -P 9 5900k 100k'
	qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 ${1:+-o "$1"} \
		mid.qcow2 4M
	put qcow2 mid.qcow2 'write -P 2 1M 700k' 'write -z 2M 130k'
	qemu-img create -q -f qcow2 -b mid.qcow2 -F qcow2 ${1:+-o "$1"} \
		top.qcow2 8M
	put qcow2 top.qcow2 'write -P 3 1500k 10k' 'write -P 4 3M 64k' \
		'write -z 0 200k' 'write -P 5 7M 1M'
	qemu-img convert -O raw top.qcow2 top.raw
}

for options in '' cluster_size=512 extended_l2=on compat=0.10 cluster_size=2M
do
	chain "$options"
	run gild commit top.qcow2
	expect 0
	expect_out 'Image committed.'
	sound top.qcow2
	sound mid.qcow2
	equal raw top.raw qcow2 top.qcow2
	equal raw top.raw qcow2 mid.qcow2

	chain "$options"
	gild commit -q -b base.qcow2 top.qcow2
	sound base.qcow2
	equal raw top.raw qcow2 top.qcow2
	equal raw top.raw qcow2 base.qcow2

	# To the base's base, back, to none, each time the same disk.
	chain "$options"
	gild rebase -b base.qcow2 -F qcow2 top.qcow2
	sound top.qcow2
	equal raw top.raw qcow2 top.qcow2
	run qemu-img info top.qcow2
	expect_out 'backing file: base.qcow2'
	gild rebase -b mid.qcow2 -F qcow2 top.qcow2
	equal raw top.raw qcow2 top.qcow2
	gild rebase -b '' top.qcow2
	sound top.qcow2
	rm base.qcow2 mid.qcow2
	equal raw top.raw qcow2 top.qcow2

	gild resize -q --shrink top.qcow2 3333k
	sound top.qcow2
	truncate -s 3333k top.raw
	truncate -s 3413504 top.raw	# whole sectors
	equal raw top.raw qcow2 top.qcow2
	gild resize -q top.qcow2 +5M
	sound top.qcow2
	truncate -s $((3413504 + 5 * 1048576)) top.raw
	equal raw top.raw qcow2 top.qcow2

	# From no backing file to one that holds something.
	qcow2 alone.qcow2 8M ${options:+-o "$options"}
	put qcow2 alone.qcow2 'write -P 6 64k 64k'
	qemu-img convert -O raw alone.qcow2 alone.raw
	qcow2 full.qcow2 8M
	put qcow2 full.qcow2 'write -P 8 0 6M'
	gild rebase -b full.qcow2 -F qcow2 alone.qcow2
	sound alone.qcow2
	equal raw alone.raw qcow2 alone.qcow2
done

# What an overlay gains is zeros, though its backing file goes on.
chain
gild resize --force mid.qcow2 6M
qemu-img convert -O raw mid.qcow2 mid.raw
cmp -n 2097152 -i 4194304:0 mid.raw /dev/zero
sound mid.qcow2

# -u changes the name alone; a raw base; compressed copies.
chain
run gild rebase -u -b nowhere.img -F raw top.qcow2
expect 0
run qemu-img info top.qcow2
expect_out 'backing file: nowhere.img'
chain
gild rebase -c -b '' top.qcow2
sound top.qcow2
equal raw top.raw qcow2 top.qcow2
qemu-img create -q -f raw flat.img 6M
qemu-img create -q -f qcow2 -b flat.img -F raw over.qcow2 7M
put qcow2 over.qcow2 'write -P 7 1M 2M' 'write -P 8 6500k 100k'
qemu-img convert -O raw over.qcow2 over.raw
gild commit -q over.qcow2
equal raw over.raw raw flat.img

# Clusters larger than what is read at a time; what is below them changes within
# one, and at the disk's end.
truncate -s 8064k old.raw
dd if=/dev/urandom of=old.raw bs=512k seek=3 count=4 conv=notrunc status=none
printf 'x%.0s' {1..6144} | dd of=old.raw bs=1k seek=8058 conv=notrunc status=none
cp old.raw same.raw
printf x | dd of=old.raw bs=1 seek=3000000 conv=notrunc status=none
truncate -s 8064k zero.raw
for new in same.raw zero.raw; do
	for args in -o -c; do
		qemu-img create -q -f qcow2 -o cluster_size=2M -b old.raw \
			-F raw large.qcow2
		run timeout 60 "$GILD" rebase ${args#-o} -b $new -F raw \
			large.qcow2
		expect 0
		sound large.qcow2
		equal raw old.raw qcow2 large.qcow2
	done
done
qemu-img create -q -f qcow2 -b old.raw -F raw small.qcow2
run gild rebase -c -b zero.raw -F raw small.qcow2
expect 0
sound small.qcow2
equal raw old.raw qcow2 small.qcow2

# A base that is larger keeps what is behind the top's end.
for format in qcow2 raw; do
	qemu-img create -q -f $format large.$format 1M
	put $format large.$format 'write -P 5 0 1M'
	qemu-img convert -f $format -O raw large.$format expected.raw
	qemu-img create -q -f qcow2 -b large.$format -F $format short.qcow2 \
		100352
	put qcow2 short.qcow2 'write -P 6 98304 2048'
	put raw expected.raw 'write -P 6 98304 2048'
	gild commit -q short.qcow2
	equal raw expected.raw $format large.$format
done

# Snapshots stay what they were.
qemu-img create -q -f qcow2 snap.qcow2 4M
put qcow2 snap.qcow2 'write -P 1 0 4M'
qemu-img convert -O raw snap.qcow2 snap.raw
gild snapshot -c full snap.qcow2
gild resize -q --shrink snap.qcow2 1M
sound snap.qcow2
gild snapshot -a full snap.qcow2
sound snap.qcow2
equal raw snap.raw qcow2 snap.qcow2

# Refusals.
chain
run gild resize top.qcow2 1M
expect 1
expect_err 'add --shrink'
run gild resize top.qcow2
expect 1
run gild resize top.qcow2 -9G --shrink
expect 1
run gild resize top.qcow2 1E
expect 1
expect_err 'too large'
equal raw top.raw qcow2 top.qcow2
run gild rebase -b base.qcow2 top.qcow2
expect 1
expect_err 'needs its format named'
run gild rebase -b top.qcow2 -F qcow2 mid.qcow2
expect 1
run gild commit base.qcow2
expect 1
expect_err 'has no backing file'
run gild commit -b flat.img top.qcow2
expect 1
expect_err 'not in the backing chain'
equal raw top.raw qcow2 top.qcow2

# Data files: what lies there has no counts in the image; and both files of a
# layer that becomes writable are.
rm -f ./*.qcow2
truncate -s 6M base.raw
put raw base.raw 'write -P 1 0 5M'
qcow2 mid.qcow2 6M -b base.raw -F raw -o data_file=mid.data
put qcow2 mid.qcow2 'write -P 2 1M 4M'
qcow2 top.qcow2 6M -b mid.qcow2 -F qcow2
put qcow2 top.qcow2 'write -P 3 2M 1M' 'write -z 4M 1M'
qemu-img convert -O raw top.qcow2 top.raw
gild commit -q -d top.qcow2
sound mid.qcow2
equal raw top.raw qcow2 mid.qcow2
gild commit -q mid.qcow2
sound mid.qcow2
run gild check -q mid.qcow2
expect 0
equal raw top.raw raw base.raw
equal raw top.raw qcow2 mid.qcow2
