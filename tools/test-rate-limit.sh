#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# -r of convert and commit: not faster than was said (how much slower a busy
# machine is tells nothing), holes are free, and the wait can be interrupted.

# shellcheck source=tests/lib.sh
. "${BASH_SOURCE%/*}/../tests/lib.sh"
requires "qemu-img --version"

head -c 4M /dev/urandom >x.raw

# at_least MILLISECONDS COMMAND...
at_least() {
	local start end least=$1
	shift
	start=$(date +%s%N)
	run "$@"
	end=$(date +%s%N)
	expect 0
	[ $(((end - start) / 1000000)) -ge "$least" ] ||
		fail "$* took $(((end - start) / 1000000)) ms, not $least"
}

# The last of four chunks begins after what the first three take.
for workers in 1 4; do
	at_least 750 gild convert -r 4M -m $workers --no-reflink x.raw y.raw
	same x.raw y.raw
	at_least 750 gild convert -r 4M -m $workers -c -O qcow2 x.raw y.qcow2
	equal raw x.raw qcow2 y.qcow2
	at_least 750 gild convert -r 4M -m $workers - y.raw < <(cat x.raw)
	same x.raw y.raw
done

qcow2 base.qcow2 4M
qcow2 top.qcow2 4M -b base.qcow2 -F qcow2
gild convert -n -O qcow2 x.raw top.qcow2
at_least 750 gild commit -r 4M top.qcow2
equal raw x.raw qcow2 base.qcow2

# A day for what holds no data would be noticed.
truncate -s 100G holes.raw
timeout 60 "$GILD" convert -r 1M -O qcow2 holes.raw y.qcow2 || fail "holes count"

# Asked to stop while it waits for an hour. (The function gild would be a shell
# that is asked in its place.)
rm y.raw
"$GILD" convert -r 1k --no-reflink x.raw y.raw 2>"$err" &
sleep 0.3
kill -TERM $!
status=0
wait $! || status=$?
expect $((128 + 15))
[ ! -e y.raw ] || fail "a target was made"
