#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# gild resize --preallocation sets as much space aside as qemu-img does, and
# what is gained reads as zeros.

# shellcheck source=tests/lib.sh
. "${BASH_SOURCE%/*}/../tests/lib.sh"
requires "qemu-img --version"
requires "python3 --version"

blocks() {
	sync -f .
	stat -c %b "$1"
}

# Bytes of the disk that have a place in the image itself.
placed() {
	qemu-img map --output=json -f "$1" "$2" | python3 -c '
import json, sys
print(sum(e["length"] for e in json.load(sys.stdin)
          if e["depth"] == 0 and "offset" in e))'
}

# like_qemu FORMAT MODE SIZE: both resize a copy of before.
like_qemu() {
	local code=0 theirs ours
	rm -f theirs ours
	cp --sparse=always before theirs
	cp --sparse=always before ours
	qemu-img resize -q -f "$1" --preallocation="$2" theirs "$3" \
		2>"$work/.ignored" || code=$?
	run gild resize -f "$1" --preallocation="$2" ours "$3"
	expect $code
	if [ $code != 0 ]; then
		same before ours
		return
	fi
	expect_no_err
	equal "$1" theirs "$1" ours
	[ "$1" != qcow2 ] || sound ours
	# The last cluster of the old disk is left to the next write.
	theirs=$(placed "$1" theirs) ours=$(placed "$1" ours)
	[[ $((theirs - ours)) -le 65536 && $((ours - theirs)) -le 65536 ]] ||
		fail "$1, $2: $ours bytes have a place, and not $theirs"
	# qemu-img fills a large cluster that the old disk ended in.
	[[ $options != *2M* ]] || return 0
	theirs=$(blocks theirs) ours=$(blocks ours)
	[[ $((theirs - ours)) -le 1000 && $((ours - theirs)) -le 1000 ]] ||
		fail "$1, $2: $ours blocks, and not $theirs"
}

options=
truncate -s 1M before
put raw before 'write -P 1 0 100k'
for mode in off falloc full metadata nosuch; do
	like_qemu raw $mode 3M
	like_qemu raw $mode 1M
	like_qemu raw $mode 512k
done

qcow2 base.qcow2 20M
put qcow2 base.qcow2 'write -P 7 0 20M'
for options in compat=0.10 cluster_size=4k extended_l2=on \
	'cluster_size=2M -b base.qcow2 -F qcow2'; do
	rm -f before
	# shellcheck disable=SC2086 # words
	qcow2 before 1000k ${options:+-o $options}
	put qcow2 before 'write -P 1 0 100k'
	for mode in metadata falloc full; do
		like_qemu qcow2 $mode 12M
	done
done

like_qemu qcow2 falloc 512k
like_qemu qcow2 nosuch 12M
like_qemu qcow2 off 12M
options=

# With snapshots, where the version has room for their size.
rm -f before
qcow2 before 1M
put qcow2 before 'write -P 1 0 100k'
qemu-img snapshot -c s before
like_qemu qcow2 off +2M
like_qemu qcow2 metadata +2M
qemu-img snapshot -a s ours
[ "$(qemu-img info ours | sed -n 's/.*(\([0-9]*\) bytes).*/\1/p')" = 1048576 ]
rm -f before
qcow2 before 1M -o compat=0.10
qemu-img snapshot -c s before
like_qemu qcow2 off 2M
expect_error 'version 2'
like_qemu qcow2 metadata 2M

# An external data file.
for mode in metadata falloc full; do
	rm -f d.*
	qcow2 d.qcow2 1M -o data_file=d.data
	gild resize -q --preallocation=$mode d.qcow2 3M
	sound d.qcow2
	[ "$(stat -c %s d.data)" = 3145728 ] || fail "the data file's length"
	[ $mode = metadata ] || [ "$(blocks d.data)" -ge 4096 ] ||
		fail "$mode: nothing was set aside"
	[ "$(placed qcow2 d.qcow2)" -ge 2097152 ]
	qemu-io -f qcow2 -r -c 'read -P 0 0 3M' d.qcow2 >"$out"
	! grep -q failed "$out" || fail "what is gained is not zeros"
done

# Encrypted: zeros are written.
printf abc >secret
secret=(--object "secret,id=s,file=secret")
gild create -q -f qcow2 "${secret[@]}" \
	-o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10 e.qcow2 1M
gild resize -q "${secret[@]}" --preallocation=metadata e.qcow2 3M
opened=driver=qcow2,file.filename=e.qcow2,encrypt.format=luks,encrypt.key-secret=s
qemu-io "${secret[@]}" -c 'read -P 0 0 3M' --image-opts $opened >"$out"
! grep -q failed "$out" || fail "what is gained is not zeros"
qemu-img check -q "${secret[@]}" --image-opts $opened

run gild resize --preallocation=nosuch base.qcow2 30M
expect_error 'off, metadata, falloc or full'
