#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# gild map tells the same of each part of a disk as qemu-img: the text is the
# same, the JSON but for the key "compressed", which qemu-img 7.2 lacks.

# shellcheck source=tests/lib.sh
. "${BASH_SOURCE%/*}/../tests/lib.sh"
requires "qemu-img --version"
requires "python3 --version"

# Joins anew, leaves out what older versions do not print, writes each file's
# extents to FILE.txt; also: is it JSON, one extent a line, without gaps?
cat >normal.py <<'END'
import json, sys

def comparable(text):
    extents = json.loads(text)
    assert text.count("\n") == max(len(extents), 1), "one extent a line"
    at = extents[0]["start"] if extents else 0
    for e in extents:
        assert e["start"] == at, "a gap at %d" % at
        at += e["length"]
        e.pop("compressed", None)
        if not e["present"]:
            # Nobody says anything: who does not, and where, varies.
            e.pop("depth")
            e.pop("offset", None)
    return extents

def continues(a, b):
    return all(a.get(k) == b.get(k)
               for k in ("depth", "present", "zero", "data")) and \
        ("offset" in a) == ("offset" in b) and \
        ("offset" not in a or a["offset"] + a["length"] == b["offset"])

for name in sys.argv[1:]:
    joined = []
    for e in comparable(open(name).read()):
        if joined and continues(joined[-1], e):
            joined[-1]["length"] += e["length"]
        else:
            joined.append(e)
    with open(name + ".txt", "w") as out:
        for e in joined:
            print(e, file=out)
END

# like_qemu ARGS...
like_qemu() {
	qemu-img map --output=json "$@" >wanted
	run gild map --output=json "$@"
	expect 0
	expect_no_err
	cp "$out" got
	python3 normal.py wanted got
	same_text wanted.txt got.txt
	if qemu-img map "$@" >wanted 2>"$work/.ignored"; then
		run gild map "$@"
		expect 0
		expect_no_err
		same_text wanted "$out"
	else
		run gild map "$@"
		expect_error 'compressed'
	fi
}

disk x.raw
like_qemu -f raw x.raw
truncate -s 0 empty.raw
like_qemu -f raw empty.raw
qcow2 empty.qcow2 0
like_qemu empty.qcow2

for options in cluster_size=512 cluster_size=4k cluster_size=64k \
	cluster_size=2M extended_l2=on compat=0.10; do
	rm -f base.qcow2 top.qcow2
	qcow2 base.qcow2 10M -o "$options"
	zero='write -z 3M 64k'
	[ "$options" != compat=0.10 ] || zero='write -P 9 3M 64k'
	put qcow2 base.qcow2 'write -P 1 1M 1M' "$zero" 'write -P 2 9M 100k'
	qcow2 top.qcow2 12M -o "$options" -b base.qcow2 -F qcow2
	zero='write -z 4M 1M'
	[ "$options" != compat=0.10 ] || zero='write -P 9 4M 1M'
	put qcow2 top.qcow2 'write -P 3 1536k 64k' "$zero" 'write -P 4 11M 1k'
	like_qemu base.qcow2
	like_qemu top.qcow2
	like_qemu -s 1M -l 512k top.qcow2
	like_qemu --start-offset=100 --max-length=3000000 top.qcow2
	like_qemu -s 20M top.qcow2
	like_qemu -l 0 top.qcow2
done

# A backing file that is shorter, and raw.
truncate -s 5M b.raw
put raw b.raw 'write -P 1 1M 1M'
qcow2 o.qcow2 20M -b b.raw -F raw
put qcow2 o.qcow2 'write -P 2 6M 1M'
like_qemu o.qcow2

# An external data file.
qcow2 d.qcow2 10M -o data_file=d.data
put qcow2 d.qcow2 'write -P 2 6M 1M'
like_qemu d.qcow2

# Compressed clusters have no place in a file that could be told.
qemu-img convert -c -O qcow2 x.raw c.qcow2
like_qemu c.qcow2
run gild map --output=json c.qcow2
expect_out '"compressed": true}'
run gild map c.qcow2
expect_error 'compressed'
expect_err '--output=json'

# Many extents, more than a buffer full.
qcow2 many.qcow2 1G -o cluster_size=4k
for ((i = 0; i < 4000; i++)); do
	echo "write -P 1 $((i * 8192)) 4k"
done >commands
qemu-io -t unsafe -f qcow2 many.qcow2 <commands >"$work/.ignored"
like_qemu many.qcow2
gild map --output=json many.qcow2 | head -n 3 >first || :
[ "$(wc -l <first)" = 3 ]

run gild map nosuch.raw
expect_error 'nosuch.raw'
expect_no_out
run gild map -s x x.raw
expect_error '-s'
