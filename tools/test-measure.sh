#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# gild measure promises what qemu-img promises, and an image that gild makes of
# the same disk keeps to it.

# shellcheck source=tests/lib.sh
. "${BASH_SOURCE%/*}/../tests/lib.sh"
requires "qemu-img --version"

like_qemu() {
	qemu-img measure "$@" >wanted
	run gild measure "$@"
	expect 0
	expect_no_err
	same_text wanted "$out"
	qemu-img measure --output=json "$@" | tr -d ' ,' | sort >wanted
	run gild measure --output=json "$@"
	expect 0
	tr -d ' ,' <"$out" | sort >got
	same_text wanted got
}

for size in 0 1M 1G 3T; do
	like_qemu --size $size
	for options in compat=1.1 compat=0.10 cluster_size=512 \
		cluster_size=2M extended_l2=on refcount_bits=64; do
		# So small clusters do not reach so far.
		[ $size$options = 3Tcluster_size=512 ] ||
			like_qemu -O qcow2 -o $options --size $size
	done
done
disk x.raw
qcow2 base.qcow2 10M
put qcow2 base.qcow2 'write -P 1 1M 1M' 'write -z 3M 1M'
qcow2 top.qcow2 12M -b base.qcow2 -F qcow2
put qcow2 top.qcow2 'write -P 1 5M 100k'
qcow2 bitmaps.qcow2 12M
qemu-img bitmap --add bitmaps.qcow2 b0
qemu-img bitmap --add -g 512 bitmaps.qcow2 another
qcow2 old.qcow2 12M -o compat=0.10
for image in base.qcow2 top.qcow2 bitmaps.qcow2 old.qcow2 x.raw; do
	like_qemu $image
	like_qemu -O qcow2 $image
	like_qemu -O qcow2 -o cluster_size=4k $image
	like_qemu -O qcow2 -o cluster_size=512 $image
	like_qemu -O qcow2 -o compat=0.10 $image
done

# Options that add to the image, or that make it as large as the disk.
printf abc >secret
secret=(--object "secret,id=s,file=secret")
key=encrypt.key-secret=s,encrypt.iter-time=10
for options in preallocation=metadata preallocation=falloc preallocation=full \
	preallocation=full,extended_l2=on data_file=d data_file=d,data_file_raw=on \
	lazy_refcounts=on compression_type=zstd "encrypt.format=luks,$key" \
	"encrypt.format=luks,$key,encrypt.cipher-alg=aes-128,cluster_size=4k" \
	encrypt.format=aes,encrypt.key-secret=s; do
	like_qemu "${secret[@]}" -O qcow2 -o "$options" --size 300M
	# What is to be encrypted takes qemu-img long.
	[[ $options == *luks* ]] ||
		like_qemu "${secret[@]}" -O qcow2 -o "$options" top.qcow2
done
like_qemu "${secret[@]}" -O luks -o key-secret=s,iter-time=10 top.qcow2
like_qemu -O raw -o preallocation=full --size 300M

required() {
	gild measure "$@" | sed -n 's/^required size: //p'
}

# The promise: the file is not longer.
for source in x.raw base.qcow2 top.qcow2; do
	for options in compat=1.1 cluster_size=4k; do
		rm -f made.qcow2
		gild convert -O qcow2 -o $options $source made.qcow2
		length=$(stat -c %s made.qcow2)
		[ "$length" -le "$(required -O qcow2 -o $options $source)" ] ||
			fail "$source, $options: $length bytes, more than promised"
	done
done

# A snapshot's disk, which is larger than what the image holds now.
qcow2 snap.qcow2 4M
put qcow2 snap.qcow2 'write -P 1 0 3M'
qemu-img snapshot -c one snap.qcow2
put qcow2 snap.qcow2 'discard 0 3M'
[ "$(required -O qcow2 -l one snap.qcow2)" -gt "$(required -O qcow2 snap.qcow2)" ]
for name in one 1 snapshot.name=one; do
	[ "$(required -O qcow2 -l $name snap.qcow2)" = "$(qemu-img measure \
		-O qcow2 -l $name snap.qcow2 | sed -n 's/^required size: //p')" ] ||
		fail "snapshot $name"
done
run gild measure -l nosuch snap.qcow2
expect_error 'nosuch'
run gild measure -l one --size 1M
expect_error 'exclude each other'

run gild measure
expect_error 'either --size or the name'
run gild measure --size 1M x.raw
expect_error '--size and the name of an image exclude'
run gild measure x.raw top.qcow2
expect_error 'only one image'
run gild measure -O nosuch --size 1M
expect_error 'nosuch'
run gild measure -O qcow2 nosuch.raw
expect_error 'nosuch.raw'
run gild measure -O qcow2 -o help
expect 0
expect_out 'cluster_size=<size>'
