#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# gild check judges as qemu-img does, with its lines, JSON and exit status;
# what it repaired, qemu-img finds sound.

# shellcheck source=tests/lib.sh
. "${BASH_SOURCE%/*}/../tests/lib.sh"
requires "qemu-img --version"

# like_qemu FILE: the same summary and status.
like_qemu() {
	local wanted=0
	qemu-img check "$1" >wanted 2>"$work/.ignored" || wanted=$?
	run gild check "$1"
	expect $wanted
	same_text wanted "$out"
	qemu-img check --output=json "$1" 2>"$work/.ignored" |
		tr -d ' ,' | sort >wanted || :
	run gild check --output=json "$1"
	expect $wanted
	tr -d ' ,' <"$out" | sort >got
	same_text wanted got
	run gild check -q "$1"
	expect $wanted
	expect_no_out
}

# poke FILE OFFSET BYTES: as printf knows them.
poke() {
	# shellcheck disable=SC2059 # the format is the data
	printf "$3" | dd of="$1" bs=1 seek=$(($2)) conv=notrunc status=none
}

disk x.raw
qcow2 empty.qcow2 0
qcow2 new.qcow2 1G
qemu-img convert -O qcow2 x.raw plain.qcow2
qemu-img convert -c -O qcow2 x.raw packed.qcow2
qemu-img convert -O qcow2 -o compat=0.10,cluster_size=4k x.raw old.qcow2
qcow2 base.qcow2 10M
qcow2 top.qcow2 10M -b base.qcow2 -F qcow2
put qcow2 top.qcow2 'write -P 1 1M 300k'
for image in empty new plain packed old base top; do
	like_qemu $image.qcow2
done

# One entry of the refcount block is 2 bytes at 0x20000.
cluster=$((0x20000 + 2 * 5))
leak=$((0x20000 + 2 * ($(stat -c %s plain.qcow2) / 65536)))

cp plain.qcow2 leaked.qcow2
truncate -s +64k leaked.qcow2
poke leaked.qcow2 $leak '\0\1'
like_qemu leaked.qcow2
run gild check leaked.qcow2
expect 3
expect_out '1 leaked clusters were found on the image.'
[ -s "$err" ] || fail "the leak is not told"

cp leaked.qcow2 fixed.qcow2
run gild check -r leaks fixed.qcow2
expect 0
expect_out 'The following inconsistencies were found and repaired:'
expect_out '    1 leaked clusters'
expect_out '    0 corruptions'
expect_out 'Double checking the fixed image now...'
expect_out 'No errors were found on the image.'
sound fixed.qcow2
equal raw x.raw qcow2 fixed.qcow2
run gild check -r all fixed.qcow2
expect 0
! grep -q 'Double checking' "$out" || fail "repaired a sound image"

cp leaked.qcow2 broken.qcow2
poke broken.qcow2 $cluster '\0\0'
wanted=0
qemu-img check broken.qcow2 >"$work/.ignored" 2>&1 || wanted=$?
run gild check broken.qcow2
expect 2
[ "$wanted" = 2 ] || fail "qemu-img thinks otherwise: $wanted"
expect_out 'errors were found on the image.'
expect_out 'Data may be corrupted, or further writes to the image may corrupt it.'
run gild check --output=json broken.qcow2
expect 2
expect_out '"corruptions": '

# Repairing leaks alone leaves the errors.
cp broken.qcow2 half.qcow2
run gild check -r leaks half.qcow2
[ "$status" != 0 ] || fail "errors are gone with -r leaks"

cp broken.qcow2 fixed.qcow2
run gild check -r all fixed.qcow2
expect 0
expect_out 'No errors were found on the image.'
sound fixed.qcow2
equal raw x.raw qcow2 fixed.qcow2
cp broken.qcow2 fixed.qcow2
run gild check --output=json -r all fixed.qcow2
expect 0
expect_out '"corruptions-fixed": '

# A table that lies outside of the file is not repaired by losing it silently.
cp plain.qcow2 outside.qcow2
poke outside.qcow2 0x30000 '\x80\0\0\x7f\0\0\0\0'
run gild check outside.qcow2
[ "$status" = 1 ] || [ "$status" = 2 ] || { show; fail "status $status"; }

# A missing backing file does not matter to the check of an overlay.
mv base.qcow2 away.qcow2
run gild check top.qcow2
expect 0

# What has no check, is not there, is in use.
run gild check -f raw x.raw
expect_error 'x.raw' 63
expect_no_out
run gild check x.raw
expect 63
run gild check nosuch.qcow2
expect_error 'nosuch.qcow2'
run gild check -r all -U plain.qcow2
expect_error '-r and -U exclude each other'
