#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# libguestfs and its tools with gild for qemu-img, virtual machines included:
# guestfish -N and an overlay over it, virt-make-fs, virt-resize.

# shellcheck source=tests/lib.sh
. "${BASH_SOURCE%/*}/lib.sh"
# shellcheck source=tests/clients.sh
. "$top/tests/clients.sh"
requires "$real --version"
requires "guestfish --version"
requires "virt-make-fs --version"
requires "virt-resize --version"
export LIBGUESTFS_BACKEND=direct LIBGUESTFS_BACKEND_SETTINGS=force_tcg
export LIBGUESTFS_CACHEDIR=$work/cache
mkdir cache files
seq 1 50000 >files/numbers

# quietly COMMAND...: its output is shown where it fails.
quietly() {
	"$@" >output 2>&1 </dev/null || { cat output calls >&2; fail "$1"; }
}

# A virtual machine, or there is nothing to test.
guestfish -N disk.img=fs:ext4:40M:gpt -m /dev/sda1 \
	upload files/numbers /numbers >output 2>&1 || {
	cat output
	! grep -qE 'guestfs_launch failed|supermin' output ||
		skip "libguestfs starts no virtual machine here"
	fail "guestfish -N"
}
"$real" convert -O qcow2 disk.img disk.qcow2
step
quietly guestfish --ro -a disk.qcow2 -m /dev/sda1 download /numbers got
called '^info .*disk.qcow2'
called '^create -f qcow2 -o backing_file=.*disk.qcow2,backing_fmt=qcow2 .*overlay'
same files/numbers got

step
quietly virt-make-fs --format=qcow2 --type=ext4 --partition=gpt --size=+8M \
	files made.qcow2
called '^create -f qcow2 .*made.qcow2'
"$real" check -q made.qcow2

step
qemu-img create -q -f qcow2 large.qcow2 60M
quietly virt-resize --expand /dev/sda1 made.qcow2 large.qcow2
called '^create .*large.qcow2'
called '^info .*made.qcow2'
"$real" check -q large.qcow2
rm got
quietly guestfish --ro -a large.qcow2 -m /dev/sda1 download /numbers got
same files/numbers got
