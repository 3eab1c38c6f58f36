#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# gild convert: what comes out is the same disk and a sound image, by
# qemu-img's judgement, for every format at both ends and for each option.

# shellcheck source=tests/lib.sh
. "${BASH_SOURCE%/*}/../tests/lib.sh"
requires "qemu-img --version"

# converts FORMAT OPTIONS... SOURCE: to a new target, as qemu-img sees it equal
# to the disk.
converts() {
	local format=$1 source=${*: -1} args=("${@:2:$#-2}")
	rm -f target
	run gild convert -O "$format" "${args[@]}" "$source" target
	expect 0
	expect_no_out
	expect_no_err
	[ "$format" = raw ] || sound target
	equal raw x.raw "$format" target
}

disk x.raw
qemu-img convert -O qcow2 x.raw plain.qcow2
qemu-img convert -c -O qcow2 x.raw zlib.qcow2
qemu-img convert -c -O qcow2 -o compression_type=zstd x.raw zstd.qcow2
qemu-img convert -O qcow2 -o compat=0.10,cluster_size=512 x.raw old.qcow2
qemu-img convert -O qcow2 -o extended_l2=on x.raw sub.qcow2
qemu-img convert -O qcow2 -o data_file=data x.raw data.qcow2
truncate -s 8M base.raw
dd if=x.raw of=base.raw bs=1M count=5 conv=notrunc status=none
qcow2 top.qcow2 10M -b base.raw -F raw
cp x.raw x2.raw
qemu-img convert -O qcow2 -B base.raw -F raw x2.raw top.qcow2
for source in x.raw plain.qcow2 zlib.qcow2 zstd.qcow2 old.qcow2 sub.qcow2 \
	data.qcow2 top.qcow2; do
	converts raw $source
	converts qcow2 $source
	converts qcow2 -c $source
	converts qcow2 --no-reflink $source
	converts qcow2 -c -o compression_type=zstd,cluster_size=128k $source
done
for options in compat=0.10 cluster_size=512 cluster_size=2M extended_l2=on \
	refcount_bits=1 refcount_bits=64 lazy_refcounts=on \
	preallocation=metadata preallocation=falloc preallocation=full \
	compression_level=9 data_file=target.data; do
	converts qcow2 -o $options x.raw
done
rm target.data
for level in 1 6 9; do
	converts qcow2 -c -o compression_level=$level x.raw
done
converts qcow2 -c -o compression_type=zstd,compression_level=19 x.raw

# Zeros take no space, unless that is asked for.
converts raw x.raw
small=$(stat -c %b target)
converts raw -S 0 x.raw
[ "$(stat -c %b target)" -ge 20480 ] || fail "-S 0 left holes"
[ "$small" -lt 10000 ] || fail "$small blocks without -S 0"
converts qcow2 -S 64k x.raw
for mode in none writeback unsafe directsync writethrough; do
	converts qcow2 -t $mode -T writeback x.raw
done
converts qcow2 -W -q --sync x.raw

# The result does not depend on the threads, nor on the run.
for args in "" "-c" "-c -o compression_type=zstd"; do
	for workers in 1 2 5; do
		# shellcheck disable=SC2086 # words
		gild convert -O qcow2 --no-reflink $args -m $workers x.raw \
			w$workers.qcow2
	done
	same w1.qcow2 w2.qcow2
	same w1.qcow2 w5.qcow2
done

# Over a backing file only the difference is stored.
run gild convert -O qcow2 -B base.raw -F raw x.raw over.qcow2
expect 0
sound over.qcow2
equal raw x.raw qcow2 over.qcow2
[ "$(stat -c %b over.qcow2)" -lt "$(stat -c %b plain.qcow2)" ] ||
	fail "-B saved nothing"
run gild convert -O qcow2 -b base.raw -F raw x.raw over2.qcow2
expect 0
same over.qcow2 over2.qcow2
run gild convert -O qcow2 -o backing_file=base.raw,backing_fmt=raw x.raw over3.qcow2
expect 0
same over.qcow2 over3.qcow2

# Several sources, joined.
cat x.raw base.raw x.raw >joined.raw
run gild convert -O qcow2 zlib.qcow2 base.raw x.raw joined.qcow2
expect 0
sound joined.qcow2
equal raw joined.raw qcow2 joined.qcow2

# Into what is there already.
qcow2 there.qcow2 10M -o cluster_size=4k
inode=$(stat -c %i there.qcow2)
run gild convert -n -O qcow2 x.raw there.qcow2
expect 0
sound there.qcow2
equal raw x.raw qcow2 there.qcow2
[ "$(stat -c %i there.qcow2)" = "$inode" ] || fail "-n made a new file"
qemu-img info there.qcow2 | grep -qx 'cluster_size: 4096'
truncate -s 10M there.raw
put raw there.raw 'write -P 77 0 10M'
run gild convert -n x.raw there.raw
expect 0
same x.raw there.raw
# What is behind the source's end stays, though a cluster or block goes on there.
for tail in data zero; do
	head -c 700928 x.raw >odd.raw
	[ $tail = data ] || truncate -s 640k odd.raw
	truncate -s 700928 odd.raw
	for args in '' -c '-S 0'; do
		qcow2 there.qcow2 2M -o cluster_size=64k
		put qcow2 there.qcow2 'write -P 77 0 2M'
		qemu-img convert -O raw there.qcow2 there.raw
		cp there.raw expected.raw
		dd if=odd.raw of=expected.raw conv=notrunc status=none
		# shellcheck disable=SC2086 # words
		run gild convert -n $args -O qcow2 odd.raw there.qcow2
		expect 0
		sound there.qcow2
		equal raw expected.raw qcow2 there.qcow2
		[ "$args" != -c ] || continue
		# shellcheck disable=SC2086 # words
		run gild convert -n $args odd.raw there.raw
		expect 0
		same expected.raw there.raw
	done
done
truncate -s 0 zero.raw
truncate -s 10M zero.raw
run gild convert -n --target-is-zero zlib.qcow2 zero.raw
expect 0
same x.raw zero.raw

# Names of all kinds.
for name in 'a b' $'line\nbreak' "quo'te" 'comma,' $'\xff\xfe' -dash; do
	cp zlib.qcow2 "./$name.qcow2"
	run gild convert -- "$name.qcow2" "$name.raw"
	expect 0
	same x.raw "./$name.raw"
done

# What makes no sense, and leaves nothing behind.
list >after
list >before
refused() {
	local text=$1
	shift
	run gild convert "$@"
	expect_error "$text"
	expect_no_out
	list >after
	same_text before after
}
refused 'a source and of a target' x.raw
refused 'nosuch.raw' nosuch.raw y.raw
refused 'nosuchdir' x.raw nosuchdir/y.raw
refused 'nosuch' -O nosuch x.raw y.img
refused 'nosuch' -f nosuch x.raw y.raw
refused 'nosuch' -O qcow2 -o nosuch=1 x.raw y.qcow2
refused 'compress' -c x.raw y.raw
refused 'contradicts the name' x.raw y.qcow2
refused 'add -O qcow2' x.raw y.qcow2
refused 'y.raw' -n x.raw y.raw
refused '-o has no effect with -n' -n -O qcow2 -o cluster_size=4k x.raw there.qcow2
refused '--target-is-zero needs -n' --target-is-zero x.raw y.raw
refused '--target-is-zero and -B' -n --target-is-zero -O qcow2 -B base.raw -F raw x.raw there.qcow2
refused '-C and -c' -C -c -O qcow2 x.raw y.qcow2
refused '-C and -S' -C -S 4k x.raw y.raw
refused "'many' is not a size" -r many x.raw y.raw
refused '-F makes no sense without -B' -F raw x.raw y.raw
refused 'its format is not given' -O qcow2 -B base.raw x.raw y.qcow2
refused '-S takes multiples of 512' -S 100 x.raw y.raw
refused '-S takes multiples of 512' -S 32M x.raw y.raw
refused 'x.raw' x.raw x.raw
refused 'base.raw' top.qcow2 base.raw
ln -s base.raw link.raw
list >before
refused 'link.raw' top.qcow2 link.raw
same x.raw x2.raw
