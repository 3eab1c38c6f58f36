#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# A filesystem that is full: an error that says so, the old file as it was, no
# debris.

# shellcheck source=tests/lib.sh
. "${BASH_SOURCE%/*}/../tests/lib.sh"
requires "qemu-img --version"

[ "$(id -u)" = 0 ] || skip "needs root, to mount a small filesystem"
mkdir small
mount -t tmpfs -o size=4M none small 2>"$work/.ignored" ||
	skip "cannot mount a tmpfs here"
at_end "umount '$PWD/small'"

head -c 16M /dev/urandom >x.raw
qcow2 base.qcow2 1M
echo 'the old content' >small/old.img
cp small/old.img copy.img

full() {
	(cd small && list) >before
	run gild "$@"
	expect_error 'No space left on device'
	expect_err 'make room'
	expect_no_out
	(cd small && list) >after
	same_text before after
	same copy.img small/old.img
}
for target in small/new.img small/old.img; do
	full convert x.raw $target
	full convert -O qcow2 x.raw $target
	full convert -c -O qcow2 x.raw $target
	full create -f raw -o preallocation=full $target 16M
	full create -f qcow2 -o preallocation=falloc $target 16M
done
names=()
for ((i = 0; i < 2000; i++)); do
	names+=("small/$i.qcow2")
done
full clone "$PWD/base.qcow2" "${names[@]}"
