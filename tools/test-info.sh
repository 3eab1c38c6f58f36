#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# gild info says what qemu-img says, in text and JSON; it works beside a
# process that writes the image, and opens nothing else unless asked.

# shellcheck source=tests/lib.sh
. "${BASH_SOURCE%/*}/../tests/lib.sh"
requires "qemu-img --version"
requires "python3 --version"

# The JSON of both without what is ours alone, in one order of keys.
cat >normal.py <<'END'
import json, sys

def strip(info):
    info.pop("children", None)
    return info

for name in sys.argv[1:]:
    data = json.load(open(name))
    data = [strip(i) for i in data] if isinstance(data, list) else strip(data)
    with open(name + ".txt", "w") as out:
        json.dump(data, out, indent=1, sort_keys=True)
        print(file=out)
END

# like_qemu ARGS...
like_qemu() {
	# Until blocks are given to a file, how many it has varies.
	find . -type f ! -name '.*' -exec sync -d {} +
	qemu-img info "$@" >wanted
	run gild info "$@"
	expect 0
	expect_no_err
	same_text wanted "$out"
	qemu-img info --output=json "$@" >wanted
	run gild info --output=json "$@"
	expect 0
	expect_no_err
	cp "$out" got
	python3 normal.py wanted got
	same_text wanted.txt got.txt
}

# Sizes, at which the unit changes and rounding matters.
for size in 0 512 999936 1023488 1024000 1047552 1048576 1234944 10737418240 \
	1098974756864 1099511627776; do
	truncate -s $size x.raw
	like_qemu -f raw x.raw
done
disk x.raw
like_qemu -f raw x.raw
rm x.raw

n=0
for options in compat=0.10 compat=1.1 cluster_size=512 cluster_size=2M \
	extended_l2=on refcount_bits=1 refcount_bits=64 lazy_refcounts=on \
	compression_type=zstd data_file=data data_file=data,data_file_raw=on \
	preallocation=metadata; do
	n=$((n + 1))
	qcow2 "$n.qcow2" 20M -o "$options"
	like_qemu "$n.qcow2"
done

# Chains, by relative and absolute names.
mkdir sub
qcow2 base.qcow2 20M
qcow2 sub/mid.qcow2 20M -b ../base.qcow2 -F qcow2
qcow2 'top 1.qcow2' 30M -b sub/mid.qcow2 -F qcow2
qcow2 top2.qcow2 30M -b "$PWD/sub/mid.qcow2" -F qcow2
for top in sub/mid.qcow2 'top 1.qcow2' top2.qcow2; do
	like_qemu "$top"
	like_qemu --backing-chain "$top"
	like_qemu --backing-chain -f qcow2 "$PWD/$top"
done

# Names that are not UTF-8, or have line breaks.
qcow2 $'\xff.qcow2' 1M
qcow2 $'a\nb.qcow2' 1M -b $'\xff.qcow2' -F qcow2
like_qemu --backing-chain $'a\nb.qcow2'

# Snapshots, bitmaps.
qcow2 s.qcow2 20M
qemu-img snapshot -c one s.qcow2
qemu-img snapshot -c 'a longer name than the column' s.qcow2
like_qemu s.qcow2
qcow2 b.qcow2 20M
qemu-img bitmap --add b.qcow2 first
qemu-img bitmap --add --disable -g 128k b.qcow2 second
like_qemu b.qcow2 2>"$work/.ignored" || fail "bitmaps"

# Of a chain whose end is missing, the image itself can still be described.
rm base.qcow2
run gild info sub/mid.qcow2
expect 0
expect_out 'backing file: ../base.qcow2 (actual path: sub/../base.qcow2)'
run gild info --backing-chain sub/mid.qcow2
expect_error 'base.qcow2'
expect_no_out
qcow2 base.qcow2 20M

# The chain is not followed where that is forbidden; a loop is an error.
run gild info --backing-chain --untrusted sub/mid.qcow2
expect_error 'base.qcow2'
expect_no_out
run gild info --backing-chain --allow-backing=sub sub/mid.qcow2
expect_error 'base.qcow2'
run gild info --backing-chain --allow-backing=. sub/mid.qcow2
expect 0
run gild info --untrusted sub/mid.qcow2
expect 0
qcow2 loop.qcow2 1M
qemu-img rebase -u -b loop.qcow2 -F qcow2 loop.qcow2
run gild info loop.qcow2
expect 0
run gild info --backing-chain loop.qcow2
expect_error 'loop.qcow2'

# Beside a process that has the image open: no error, a line and a key.
in_use() {
	local flag=$1 image=$2 fifo=$work/.fifo pid
	mkfifo "$fifo"
	# shellcheck disable=SC2086 # nothing or -r
	qemu-io $flag -f qcow2 "$image" <"$fifo" >/dev/null 2>&1 &
	pid=$!
	exec 9>"$fifo"
	echo 'read 0 512' >&9
	for ((i = 0; i < 200; i++)); do
		grep -q ":$(stat -c %i "$image") " /proc/locks && break
		sleep 0.05
	done
	run gild info "$image"
	run_status=$status
	cp "$out" text
	run gild info --output=json "$image"
	exec 9>&-
	wait $pid
	rm -f "$fifo"
	[ "$run_status" = 0 ] || fail "info beside qemu-io: $run_status"
	expect 0
}
qcow2 live.qcow2 1M
in_use '' live.qcow2
grep -qx 'in use: yes, being written by another process' text ||
	{ cat text; fail "not said to be written"; }
expect_out '"in-use": true'
expect_out '"being-written": true'
in_use -r live.qcow2
grep -qx 'in use: yes, by another process' text || { cat text; fail "in use"; }
expect_out '"in-use": true'
! grep -q being-written "$out" || fail "said to be written"
run gild info --output=json live.qcow2
! grep -q in-use "$out" || fail "in use by nobody"

# Errors.
run gild info nosuch.qcow2
expect_error 'nosuch.qcow2'
expect_no_out
mkdir folder
run gild info folder
expect_error 'folder'
echo 'no image' >text.qcow2
run gild info text.qcow2
expect_error 'text.qcow2'
run gild info -f nosuch base.qcow2
expect_error 'nosuch'
run gild info a b
expect_error 'one image'
