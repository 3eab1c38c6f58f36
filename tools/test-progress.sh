#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# -p prints what scripts know from qemu-img, --progress=json one object a line,
# and on a terminal there is a bar that fits it.

# shellcheck source=tests/lib.sh
. "${BASH_SOURCE%/*}/../tests/lib.sh"
requires "qemu-img --version"
requires "python3 --version"

disk x.raw
qemu-img convert -O qcow2 x.raw x.qcow2

# The lines of qemu-img begin, end and look alike.
check_plain() {
	tr '\r' '\n' <"$1" >lines
	! grep -qvE '^(    \([0-9]+\.[0-9]{2}/100%\))?$' lines ||
		{ cat lines; fail "not a line of qemu-img"; }
	[ "$(head -n 1 lines)" = '    (0.00/100%)' ] || fail "how it begins"
	grep -qx '    (100.00/100%)' lines || fail "how it ends"
	[ "$(tail -c 1 "$1" | od -An -c | tr -d ' ')" = '\n' ] || fail "the end"
}
qemu-img convert -p -c -O qcow2 x.raw q.qcow2 >wanted
check_plain wanted
run gild convert -p -c -O qcow2 x.raw y.qcow2
expect 0
expect_no_err
check_plain "$out"
run gild convert -p -q -c -O qcow2 x.raw y.qcow2
expect_no_out
expect_no_err

# Before the verdict of compare and check.
run gild compare -p x.raw x.qcow2
expect 0
tail -n 1 "$out" | grep -qx 'Images are identical.' || fail "the verdict"
run gild check -p x.qcow2
expect 0
expect_out 'No errors were found on the image.'

# Objects, each complete and none smaller than the one before.
check_json() {
	python3 - "$1" "$2" <<'END'
import json, sys

lines = [json.loads(line) for line in open(sys.argv[1])]
assert lines, "no lines"
done = -1
for line in lines:
    assert set(line) == {"transferred", "size", "elapsed", "rate",
                         "description"}, line
    assert line["transferred"] >= done
    done = line["transferred"]
    assert line["elapsed"] >= 0
last = lines[-1]
assert last["description"] == sys.argv[2], last
if last["description"] == "finished":
    assert last["transferred"] == last["size"], last
END
}
run gild convert --progress=json -c -O qcow2 x.raw y.qcow2
expect 0
expect_no_out
check_json "$err" finished
run gild compare --progress=json --output=json x.raw x.qcow2
expect 0
check_json "$err" finished
python3 -m json.tool <"$out" >/dev/null
cp x.qcow2 bad.qcow2
printf '\x80\0\0\x7f\0\0\0\0' |
	dd of=bad.qcow2 bs=1 seek=$((0x30000)) conv=notrunc status=none
run gild convert --progress=json bad.qcow2 y.raw
expect 1
grep '^{' "$err" >lines
check_json lines failed
grep -q '^gild: ' "$err" || fail "no error"

# On a terminal of 60 columns.
requires "script --version"
script -qec "stty cols 60; '$GILD' convert -p -c -O qcow2 x.raw y.qcow2" \
	/dev/null </dev/null >typed
tr '\r' '\n' <typed | sed 's/\x1b\[K//g' >lines
grep -q '^converting 100.0 %' lines || { cat lines; fail "no bar"; }
awk 'length > 59 {exit 1}' lines || { cat lines; fail "wider than the terminal"; }

# A job that counts no bytes shows none.
script -qec "'$GILD' check -p x.qcow2" /dev/null </dev/null >typed
tr '\r' '\n' <typed | sed 's/\x1b\[K//g' >lines
grep -q '^checking 100.0 % .*0:0' lines || { cat lines; fail "no bar"; }
! grep -q ' B ' lines || { cat lines; fail "bytes that nobody counted"; }
