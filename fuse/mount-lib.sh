# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
#
# What the tests of mounts share: is mounting possible here, and a clean end.

requires "fusermount3 -V" "qemu-img --version" "qemu-io --version" \
	"python3 --version"
PATH=$PATH:/usr/sbin:/sbin
[ -c /dev/fuse ] || skip "no /dev/fuse here: nothing can be mounted"

mkdir -p m
at_end 'cd / && fusermount3 -u -q "$work/m" 2>/dev/null; cd "$work" || :'

truncate -s 1M probe.raw
if ! gild mount probe.raw m 2>"$err"; then
	cat "$err" >&2
	skip "FUSE does not let this user mount"
fi
gild unmount m

# mounted IMAGE [OPTION...]: at m. unmounted: no more.
mounted() {
	gild mount "${@:2}" "$1" m
}
unmounted() {
	gild unmount m
	[ -z "$(ls -A m)" ] || fail "still mounted"
}
