#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# gild bench announces, writes and refuses what qemu-img bench does.

# shellcheck source=tests/lib.sh
. "${BASH_SOURCE%/*}/../tests/lib.sh"
requires "qemu-img --version"

# Which time it took does not matter.
normal() {
	sed 's/completed in [0-9.]*/completed in T/'
}

# like_qemu ARGS...: the same text, and the same disk afterwards.
like_qemu() {
	local code=0
	cp before.qcow2 theirs.qcow2
	cp before.qcow2 ours.qcow2
	timeout 60 qemu-img bench -f qcow2 "$@" theirs.qcow2 >said \
		2>"$work/.ignored" || code=$?
	run gild bench -f qcow2 "$@" ours.qcow2
	expect $code
	[ $code != 0 ] || expect_no_err
	[ $code = 0 ] || expect_error ''
	normal <said >wanted
	normal <"$out" >got
	same_text wanted got
	equal qcow2 theirs.qcow2 qcow2 ours.qcow2
	sound ours.qcow2
}

qcow2 before.qcow2 2M
put qcow2 before.qcow2 'write -P 1 512k 512k'

like_qemu -c 500
like_qemu -c 1 -d 1
like_qemu -c 100 -d 300
like_qemu -c 1000 -s 64k -d 4
like_qemu -c 50 -s 1 -S 3 -o 4097
like_qemu -c 5 -S 1M -o 1M -s 512
like_qemu -c 300 -t none -i native
for flags in '' --no-drain '--flush-interval=7' \
	'--flush-interval=7 --no-drain' '--flush-interval=40'; do
	# shellcheck disable=SC2086 # words
	like_qemu -w -c 40 -d 5 -s 4k -o 64k --pattern=7 $flags
done
like_qemu -w -c 20 -s 64k -S 100k
like_qemu -w -c 10 -s 3000 -S 5000 --pattern=255 -d 1
# Beyond the end of the disk.
like_qemu -c 3 -o 2M
expect_error 'beyond the end of the disk'
like_qemu -c 10 -d 1 -s 3M
like_qemu -w -c 10 -d 1 -s 3M

for wrong in '-c x' '-c -1' '-s 0' '-s 2G' '-S 2G' '-o x' '-i foo' '-d x' \
	'-w --pattern=256' '-w --flush-interval=3 -d 4' '--flush-interval=99' \
	'-w -U' '-w --flush-interval=x' '-t nosuch'; do
	# qemu-img 7.2 takes buffers of no bytes.
	[ "$wrong" = '-s 0' ] || {
		# shellcheck disable=SC2086 # words
		like_qemu $wrong
	}
	# shellcheck disable=SC2086 # words
	run gild bench -f qcow2 $wrong ours.qcow2
	expect_error ''
	expect_no_out
done
run gild bench -d 0 ours.qcow2
expect_error 'depth'
run gild bench
expect_error 'the name of one image'
run gild bench ours.qcow2 theirs.qcow2
expect_error 'the name of one image'
run gild bench nosuch.qcow2
expect_error 'nosuch.qcow2'

run gild bench --count=30 --depth=2 --buffer-size=8k --step-size=16k \
	--offset=4k ours.qcow2
expect 0
expect_out '30 read requests, 8192 bytes each, 2 in parallel (starting at offset 4096, step size 16384)'
run gild bench -q -c 10 ours.qcow2
expect 0
expect_no_out
run gild bench --output=json -c 10 -s 8k ours.qcow2
expect 0
expect_out '"requests": 10'
expect_out '"buffer-size": 8192'
grep -qE '"nanoseconds": [1-9][0-9]*' "$out"

# All of the disk is written, the same by many threads as by one.
gild bench -q -w -c 512 -d 1 --pattern=3 ours.qcow2
gild bench -q -w -c 512 -d 50 --pattern=3 theirs.qcow2
equal qcow2 ours.qcow2 qcow2 theirs.qcow2
qcow2 want.qcow2 2M
put qcow2 want.qcow2 'write -P 3 0 2M'
equal qcow2 want.qcow2 qcow2 ours.qcow2
