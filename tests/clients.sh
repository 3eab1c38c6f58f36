# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash disable=SC2034,SC2154
#
# For tests of programs that call qemu-img: read after tests/lib.sh. What finds
# qemu-img by PATH then gets gild, and each call is a line in the file calls:
#
#     called 'create -f qcow2 .*a.qcow2'   the last step made such a call
#     step                                 forget the calls so far
#
# real is the path of qemu-img itself, the judge.

real=$(type -P qemu-img || :)
mkdir -p "$work/clients"
: >"$work/calls"
cat >"$work/clients/qemu-img" <<END
#!/bin/bash
{ printf '%s ' "\$@"; echo; } >>'$work/calls'
exec -a qemu-img '$GILD' "\$@"
END
chmod +x "$work/clients/qemu-img"
PATH=$work/clients:$PATH

step() {
	: >"$work/calls"
}

called() {
	grep -qE -e "$1" "$work/calls" && return
	cat "$work/calls" >&2
	fail "no such call: $1"
}
