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

# What is written where it is: not lost, not damaged, and complete once there is
# room.
qcow2 small/base.qcow2 16M
put qcow2 small/base.qcow2 'write -P 5 15M 64k'
qcow2 over.qcow2 16M -b small/base.qcow2 -F qcow2
dd if=x.raw of=over.raw bs=1M count=15 status=none
qemu-img convert -n -f raw -O qcow2 over.raw over.qcow2
qemu-img convert -f qcow2 -O raw over.qcow2 over.raw
unharmed() {
	qemu-img check -q -f qcow2 "$1" || [ $? = 3 ] || fail "$1 is damaged"
}
run gild commit over.qcow2
expect_error 'No space left on device'
expect_err 'small/base.qcow2'
unharmed small/base.qcow2
sound over.qcow2
equal raw over.raw qcow2 over.qcow2
run gild convert -n -O qcow2 x.raw small/base.qcow2
expect_error 'No space left on device'
expect_err 'small/base.qcow2'
unharmed small/base.qcow2
run gild rebase -b '' over.qcow2
expect 0
mount -o remount,size=6M small
qemu-img create -q -f qcow2 -b "$PWD/over.qcow2" -F qcow2 small/top.qcow2
run gild rebase -b '' small/top.qcow2
expect_error 'No space left on device'
expect_err 'small/top.qcow2'
unharmed small/top.qcow2
equal qcow2 over.qcow2 qcow2 small/top.qcow2
mount -o remount,size=64M small
run gild rebase -b '' small/top.qcow2
expect 0
equal qcow2 over.qcow2 qcow2 small/top.qcow2
run gild convert -n -O qcow2 x.raw small/base.qcow2
expect 0
equal raw x.raw qcow2 small/base.qcow2
unharmed small/base.qcow2
