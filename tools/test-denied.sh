#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Files that must not be read or written: an error that names them, and the
# exit status of the verb.

# shellcheck source=tests/lib.sh
. "${BASH_SOURCE%/*}/../tests/lib.sh"
requires "qemu-img --version"

# Root may read everything: as another user then, if there is a way.
as_user=()
if [ "$(id -u)" = 0 ]; then
	requires "setpriv --reuid=65534 --regid=65534 --clear-groups true"
	as_user=(setpriv --reuid=65534 --regid=65534 --clear-groups)
fi

# A folder that the user can reach, whatever TMPDIR is.
open=$(mktemp -d /tmp/gild-denied.XXXXXX)
at_end "rm -rf '$open'"
cd "$open"
chmod 755 .
mkdir mine
[ "$(id -u)" != 0 ] || chown 65534:65534 mine
qcow2 closed.qcow2 1M
qcow2 base.qcow2 1M
qcow2 over.qcow2 1M -b base.qcow2 -F qcow2
qcow2 read.qcow2 1M
truncate -s 1M x.raw
chmod 644 over.qcow2 read.qcow2 x.raw
chmod 000 closed.qcow2 base.qcow2
cp "$GILD" ./gild-here 2>"$work/.ignored" && chmod 755 gild-here
# The way to the test's folder must be open to the user too.
"${as_user[@]}" test -r "$PWD/x.raw" 2>"$work/.ignored" ||
	skip "another user cannot reach $PWD"

denied() {
	local text=$1 code=$2
	shift 2
	run "${as_user[@]}" "$PWD/gild-here" "$@"
	expect_error 'Permission denied' "$code"
	expect_err "$text"
	expect_no_out
}
denied closed.qcow2 1 info closed.qcow2
denied closed.qcow2 1 map closed.qcow2
denied closed.qcow2 1 check closed.qcow2
denied closed.qcow2 1 measure -O qcow2 closed.qcow2
denied closed.qcow2 2 compare x.raw closed.qcow2
denied closed.qcow2 1 convert closed.qcow2 mine/y.raw
denied base.qcow2 1 convert over.qcow2 mine/y.raw
denied base.qcow2 1 map over.qcow2
denied base.qcow2 1 info --backing-chain over.qcow2
denied y.raw 1 convert x.raw y.raw
denied y.qcow2 1 create -f qcow2 y.qcow2 1M
denied y.qcow2 1 clone read.qcow2 mine/n.qcow2 y.qcow2
denied read.qcow2 1 check -r all read.qcow2
denied read.qcow2 1 convert -n -O qcow2 x.raw read.qcow2
[ -z "$(ls mine)" ] || fail "left behind: $(ls mine)"

# What needs less works.
run "${as_user[@]}" "$PWD/gild-here" info over.qcow2
expect 0
run "${as_user[@]}" "$PWD/gild-here" check over.qcow2
expect 0
run "${as_user[@]}" "$PWD/gild-here" convert x.raw mine/y.raw
expect 0

# Who builds on an image: whoever must not be asked is passed over, and that a
# folder cannot be looked through is said.
mkdir pool
qcow2 pool/own.qcow2 1M
qcow2 pool/clone.qcow2 1M -b own.qcow2 -F qcow2
chmod 666 pool/own.qcow2
chmod 755 pool
run "${as_user[@]}" "$PWD/gild-here" resize pool/own.qcow2 2M
expect_error 'an image beside it builds on it: clone.qcow2'
chmod 000 pool/clone.qcow2
run "${as_user[@]}" "$PWD/gild-here" resize pool/own.qcow2 2M
expect 0
expect_no_err
chmod 711 pool
run "${as_user[@]}" "$PWD/gild-here" resize pool/own.qcow2 3M
expect 0
expect_err 'warning: pool/own.qcow2: whether other images build on it is not'
