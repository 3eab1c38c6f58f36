#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# gild dd copies the bytes that qemu-img dd copies, and complains where it does.

# shellcheck source=tests/lib.sh
. "${BASH_SOURCE%/*}/../tests/lib.sh"
requires "qemu-img --version"

# like_qemu FORMAT ARGS...: both into a new file, of that format.
like_qemu() {
	local format=$1 code=0
	shift
	rm -f wanted got
	qemu-img dd -O "$format" "$@" of=wanted 2>said || code=$?
	run gild dd -O "$format" "$@" of=got
	expect $code
	expect_no_out
	[ -s said ] || expect_no_err
	[ ! -s said ] || [ -s "$err" ] || fail "no complaint: $*"
	if [ -e wanted ]; then
		[ "$(virtual_size "$format" wanted)" = \
			"$(virtual_size "$format" got)" ] || fail "size: $*"
		equal "$format" wanted "$format" got
	else
		[ ! -e got ] || fail "made a file: $*"
	fi
}

virtual_size() {
	qemu-img info --output=json -f "$1" "$2" |
		sed -n 's/^ *"virtual-size": \([0-9]*\),*/\1/p' | head -n 1
}

# A disk whose size is no multiple of a cluster, a file that is no multiple of
# a sector.
seq 1 200000 >in.raw
truncate -s 200100 in.raw
qcow2 base.qcow2 3M
put qcow2 base.qcow2 'write -P 1 0 300k' 'write -P 2 1M 1M'
qcow2 in.qcow2 3000320 -b base.qcow2 -F qcow2
put qcow2 in.qcow2 'write -P 3 100k 20k' 'write -z 1536k 64k'

parts=('' count=3 skip=3 'skip=2 count=5' 'skip=5 count=5' 'skip=6 count=5'
	'count=0' 'skip=1' count=1k 'skip=0 count=7' 'count=2 count=3')
for size in 3 512 1000 64k 200000 1M; do
	for part in "${parts[@]}"; do
		# Such small blocks take qemu-img long.
		[ $size != 3 ] || [[ $part == *count=[0-9] ]] || continue
		# shellcheck disable=SC2086 # words
		like_qemu raw -f raw bs=$size $part if=in.raw
	done
done
for part in "${parts[@]}"; do
	# shellcheck disable=SC2086 # words
	like_qemu qcow2 -f qcow2 bs=65000 $part if=in.qcow2
	sound got
done
like_qemu raw -f raw if=in.raw
like_qemu raw -f qcow2 bs=100k skip=1 if=in.qcow2
like_qemu qcow2 -f raw if=in.raw
like_qemu raw -f raw bs=2147483647 if=in.raw
like_qemu raw -f raw skip=9223372036854775807 if=in.raw
like_qemu raw -f raw count=9223372036854775807 if=in.raw
like_qemu raw -f raw bs=1.5k skip=2 if=in.raw
like_qemu raw if=in.raw

# What makes no sense.
for wrong in bs=0 bs=2147483648 bs=x bs= count=-1 count=x skip=-1 count=9E \
	conv=notrunc foo bs; do
	like_qemu raw -f raw if=in.raw $wrong
	expect_error ''
done
like_qemu nosuch -f raw if=in.raw
like_qemu raw -f raw if=nosuch
run gild dd -f raw of=got
expect_error 'both if= and of='
run gild dd -f raw if=in.raw
expect_error 'both if= and of='
[ ! -e got ]
run gild dd -f raw if=in.raw of=in.raw
expect_error 'is the source itself'
run gild dd -f raw if=in.raw of=got.qcow2
expect_error '-O qcow2'

# What is zero takes no space; what is replaced keeps its mode.
truncate -s 100M large.raw
put raw large.raw 'write -P 1 50M 64k'
echo old >got
chmod 600 got
gild dd -f raw bs=1M skip=1 count=60 if=large.raw of=got
[ "$(stat -c %a:%s got)" = 600:$((59 << 20)) ]
[ "$(stat -c %b got)" -lt 2048 ] || fail "holes were filled"

# To a pipe.
gild dd -f qcow2 bs=64k skip=1 count=3 if=in.qcow2 of=/dev/stdout | cat >piped
qemu-img dd -f qcow2 -O raw bs=64k skip=1 count=3 if=in.qcow2 of=wanted
same wanted piped

# A snapshot.
qemu-img snapshot -c s in.qcow2
qemu-img dd -f qcow2 -O raw bs=1M count=2 if=in.qcow2 of=wanted
put qcow2 in.qcow2 'write -P 9 0 2M'
gild dd -f qcow2 -l s bs=1M count=2 if=in.qcow2 of=got
same wanted got
