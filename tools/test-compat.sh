#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# gild started under the name qemu-img beside qemu-img itself: each command line
# runs with both, each in a folder of its own with the same files, and what they
# print, where, and how they exit must be the same to the byte. What may differ
# is in judge.py below, each thing with its reason.
#
# The peer is the qemu-img in PATH, or PEER; of its versions the newest is
# followed, and what older ones lack or say otherwise is taken out by version.

# shellcheck source=tests/lib.sh
. "${BASH_SOURCE%/*}/../tests/lib.sh"
PEER=${PEER:-$(type -P qemu-img || :)}
requires "$PEER --version"
requires "python3 --version"

version=$("$PEER" --version | sed -n 's/^qemu-img version \([0-9]*\.[0-9]*\).*/\1/p')
mkdir -p bin theirs ours files
ln -s "$GILD" bin/qemu-img

# judge.py VERSION CASES: each folder of CASES holds what one command line gave.
cat >judge.py <<'END'
import difflib, json, os, re, sys

version = tuple(int(n) for n in sys.argv[1].split("."))

def drop_new(data):
    if isinstance(data, list):
        return [drop_new(i) for i in data]
    if not isinstance(data, dict):
        return data
    # 8.0: the file is told of as a child, and by its driver.
    if version < (8, 0):
        data.pop("children", None)
    # 9.1: where a LUKS header is.
    if version < (9, 1):
        data.pop("detached-header", None)
    return {key: drop_new(value) for key, value in data.items()}

def old_snapshots(text):
    """10.1: the list has a wider column for the clock, others are narrower."""
    text = re.sub(r"(?m)^ID +TAG +VM[ _]SIZE.*$", "ID TAG ...", text)
    text = re.sub(r"(?m)^([0-9]+) +(.*) (0+)([0-9]{2}:[0-9:]+\.[0-9]{3}) ",
                  r"\1 \2 \4 ", text)
    return re.sub(r"(?m)^([0-9]+) +(.*?) +([0-9:]+\.[0-9]{3})", r"\1 \2 \3",
                  text)

def older(text, verb):
    """What versions before the newest lack, or say otherwise."""
    if version < (8, 0):
        text = re.sub(r"(?m)^Child node '/file':\n(    .*\n)*", "", text)
        text = re.sub(r"(Detected format of \w+\.)\n?", r"\1\n", text)
    if version < (8, 2) and verb == "map": # compressed extents
        text = re.sub(r', "compressed": (true|false)', "", text)
    if version < (9, 1):
        text = re.sub(r"(?m)^ *detached header: false\n", "", text)
    if version < (11, 1):
        text = text.replace("--remove-all, ", "")
    if version < (10, 1):
        text = old_snapshots(text)
        text = re.sub(r"(?m)^Try 'qemu-img \w+ --help'",
                      "Try 'qemu-img --help'", text)
    return text

def normal(text, verb, failed):
    # The order of an object's keys, and how an empty list is laid out, carry
    # no meaning. (The map has a layout that scripts cut into lines: it stays.)
    if text.startswith(("{", "[")) and verb != "map":
        text = json.dumps(drop_new(json.loads(text)), sort_keys=True, indent=1)
    text = older(text, verb)
    # When a snapshot was taken.
    text = re.sub(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:]{8}", "DATE", text)
    text = re.sub(r'"date-n?sec": [0-9]+', '"date": 0', text)
    # Where an image grows is up to who writes it.
    text = re.sub(r"(?m)^    file length: .*$", "    file length", text)
    # How long it took.
    text = re.sub(r"completed in [0-9.]+ seconds", "completed in T", text)
    # The order in which a check comes across things.
    if verb == "check" and text.startswith(("ERROR", "Leaked")):
        text = "".join(sorted(text.splitlines(True)))
    # It is printed when the image is there, and not before.
    if verb == "create" and failed:
        text = re.sub(r"(?m)^Formatting .*\n", "", text)
    # How often progress is told depends on how long the work takes; the first
    # and the last time are always there.
    text = re.sub(r"(    \([0-9.]+/100%\)\r)+", "PROGRESS\r", text)
    # qemu-img compare ends its line of progress after the answer.
    return re.sub(r"PROGRESS\r(Images are identical\.\n)\n",
                  "PROGRESS\r\n\\1", text)

def names(text):
    """Of the options that are offered, and the words around them."""
    lines = set(re.sub(r"(?m)^  ([^=]+=<[^>]+>) +- .*", r"  \1", text)
                .splitlines())
    # 11.1 has one more; without a file's name those of the file are left out.
    return "\n".join(sorted(lines - ADDED)) + "\n"

ADDED = {"  compression_level=<num>", "  keep_data_file=<bool (on/off)>",
         "  nocow=<bool (on/off)>", "  extent_size_hint=<size>",
         "  preallocation=<str>"}

def read(name):
    with open(name, encoding="utf-8", errors="surrogateescape",
              newline="") as f:
        return f.read()

def compare(case, kind, verb):
    """The lines of a difference; none where the two are alike."""
    lines = []
    failed = read(case + "/theirs.status") != "0\n"
    for stream in ("status", "out", "err"):
        if kind == "fails" and stream == "err":
            continue
        theirs, ours = (read(f"{case}/{who}.{stream}")
                        for who in ("theirs", "ours"))
        if kind == "options" and stream == "out":
            theirs, ours = names(theirs), names(ours)
        if theirs != ours:
            lines += difflib.unified_diff(
                normal(theirs, verb, failed).splitlines(),
                normal(ours, verb, failed).splitlines(),
                "theirs: " + stream, "ours: " + stream, lineterm="")
    if kind == "fails" and "qemu-img" not in read(case + "/ours.err"):
        lines.append("says nothing")
    return lines

bad = 0
for number in sorted(os.listdir(sys.argv[2]), key=int):
    case = os.path.join(sys.argv[2], number)
    kind, line = read(case + "/line").rstrip("\n").split(" ", 1)
    lines = compare(case, kind, line.split(" ")[0])
    if lines:
        print("--- qemu-img " + line, *lines, sep="\n")
        bad += 1
if bad:
    sys.exit(f"{bad} command lines differ")
END

# both KIND ARGS...: runs it twice, and leaves what was printed for the judge.
cases=0
mkdir cases
both() {
	local kind=$1 name case=cases/$((cases += 1))
	shift
	mkdir $case
	echo "$kind $*" >$case/line
	for name in theirs ours; do
		status=0
		(
			exec >$case/$name.out 2>$case/$name.err </dev/null
			cd $name
			[ $name = ours ] || exec "$PEER" "$@"
			exec ../bin/qemu-img "$@"
		) || status=$?
		echo $status >$case/$name.status
	done
}

# The same to the byte.
alike() {
	both alike "$@"
}

# Both fail, with the same status and nothing on standard output, in words of
# their own.
fails_alike() {
	both fails "$@"
}

# is_since VERSION: is the peer as new as that?
is_since() {
	[ "$(printf '%s\n' "$1" "$version" | sort -V | head -n 1)" = "$1" ]
}

# Alike as of VERSION; before, only as far as fails_alike asks.
alike_since() {
	local since=$1
	shift
	if is_since "$since"; then
		alike "$@"
	else
		fails_alike "$@"
	fi
}

# Files made once, by the peer, and copied for both.
fixture() {
	(cd files && "$@" >/dev/null)
}
settle() {
	local name
	for name in theirs ours; do
		cp -a --sparse=always files/. $name/
	done
	sync
}

fixture "$PEER" create -f qcow2 a.qcow2 10M
fixture "$PEER" create -f raw a.raw 10M
put raw files/a.raw 'write -P 3 1M 64k' 'write -P 4 5M 4k'
fixture "$PEER" create -f qcow2 -b a.qcow2 -F qcow2 over.qcow2
put qcow2 files/over.qcow2 'write -P 7 0 128k' 'write -z 1M 1M'
cp files/a.qcow2 files/a.img
cp files/a.qcow2 files/live.qcow2
cp files/a.raw files/r.img
fixture "$PEER" convert -O qcow2 -c a.raw comp.qcow2
fixture "$PEER" create -f qcow2 -o compat=0.10 v2.qcow2 1M
fixture "$PEER" create -f qcow2 -o data_file=ext.data,data_file_raw=on ext.qcow2 1M
fixture "$PEER" create -f qcow2 snap.qcow2 1M
fixture "$PEER" snapshot -c one snap.qcow2
fixture "$PEER" snapshot -c 'a very long name of a snapshot' snap.qcow2
# Names that are ids of others.
fixture "$PEER" create -f qcow2 ids.qcow2 1M
number=0
for name in one two 1 2; do
	put qcow2 files/ids.qcow2 "write -P $((number += 1)) 0 64k"
	fixture "$PEER" snapshot -c $name ids.qcow2
done
head -c 100 files/a.qcow2 >files/cut.qcow2
fixture "$PEER" create -f qcow2 bits.qcow2 1M
fixture "$PEER" bitmap --add bits.qcow2 b0
fixture "$PEER" bitmap --add --disable -g 128k bits.qcow2 b1
cp files/bits.qcow2 files/bits2.qcow2
cp files/bits.qcow2 files/lost.qcow2
fixture "$PEER" bitmap --remove lost.qcow2 b1
(qemu-io -f qcow2 -c 'write 0 64k' -c abort files/lost.qcow2 || :) >lost.out 2>&1
fixture "$PEER" create -f qcow2 -b gone.qcow2 -F qcow2 -u orphan.qcow2 1M
cp files/ext.qcow2 files/dataless.qcow2
printf X | dd of=files/dataless.qcow2 bs=1 conv=notrunc status=none \
	seek="$(grep -obaF ext.data files/dataless.qcow2 | head -n 1 | cut -d: -f1)"
fixture "$PEER" create -f qcow2 -b a.raw -F qcow2 -u wrongfmt.qcow2 1M
fixture "$PEER" create -f qcow2 -b nbd://localhost/x -F raw -u proto.qcow2 1M
fixture "$PEER" create -f qcow2 -b orphan.qcow2 -F qcow2 -u orphan2.qcow2 1M
# By gild: where processors are shared, qemu-img's timing may take for ever.
fixture "$GILD" create -f luks --object secret,id=s,data=abc \
	-o key-secret=s,iter-time=10 l.luks 1M
fixture "$GILD" create -f qcow2 --object secret,id=s,data=abc \
	-o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10 e.qcow2 1M
# A backing file whose format is not recorded.
fixture "$PEER" create -f qcow2 -b a.raw -F raw norec.qcow2
at=$(LC_ALL=C grep -obUaP '\xe2\x79\x2a\xca' files/norec.qcow2 | cut -d: -f1)
printf 'none' | dd of=files/norec.qcow2 bs=1 seek="$at" conv=notrunc status=none
cp files/a.qcow2 files/leak.qcow2
put qcow2 files/leak.qcow2 'write 0 256k'
cp files/leak.qcow2 files/corrupt.qcow2
cp files/leak.qcow2 files/flags.qcow2
truncate -s +65536 files/leak.qcow2
printf '\0\1' | dd of=files/leak.qcow2 bs=1 seek=$((0x20000 + 2 * 9)) conv=notrunc status=none
printf '\0' | dd of=files/flags.qcow2 bs=1 seek=$((0x40000)) conv=notrunc status=none
printf '\0\0' | dd of=files/corrupt.qcow2 bs=1 seek=$((0x20000 + 2 * 5)) conv=notrunc status=none
: >files/empty
mkdir files/dir
settle

# ----------------------------------------------------------------- create --
alike create -f qcow2 n.qcow2 10M
alike create n.raw 10M
alike create -f raw odd.raw 1000
alike create -f qcow2 odd.qcow2 1000
alike create -q -f qcow2 q.qcow2 1M
alike create -f qcow2 -o cluster_size=4k,lazy_refcounts=on,compat=1.1 n1.qcow2 10M
alike create -f qcow2 -o compat=0.10 n2.qcow2 10M
alike create -f qcow2 -o extended_l2=on,compression_type=zstd n3.qcow2 10M
alike create -f qcow2 -o preallocation=metadata,refcount_bits=1 n4.qcow2 10M
alike create -f qcow2 -o data_file=n5.data,data_file_raw=on n5.qcow2 1M
alike create -f qcow2 -o size=5M n6.qcow2
alike create -f qcow2 -o cluster_size=4k -o cluster_size=8k n7.qcow2 6M
alike create -f qcow2 -o lazy_refcounts n8.qcow2 6M
alike create -f raw -o preallocation=falloc n9.raw 1M
alike create -f raw -o preallocation=falloc,extent_size_hint=64k,nocow=on n10.raw 1M
alike create -f qcow2 -o extent_size_hint=64k,nocow=on n11.qcow2 1M
alike create -f raw -o nocow=foo x 1M
alike create -f raw -o extent_size_hint=5G x 1M
if is_since 11.1; then
	for options in data_file=kept.raw,data_file_raw=on \
		data_file=kept.raw,preallocation=metadata \
		data_file=kept.raw,preallocation=metadata,extended_l2=on \
		data_file=kept.raw data_file_raw=on '' \
		data_file=nosuch,data_file_raw=on \
		data_file=kept.raw,data_file_raw=on,preallocation=full; do
		for name in theirs ours; do
			cp files/a.raw $name/kept.raw
		done
		options=${options:+$options,}keep_data_file=on
		for size in 10M 12M 1M; do
			rm -f {theirs,ours}/kept.qcow2
			alike create -f qcow2 -o "$options" kept.qcow2 $size
			same theirs/kept.raw ours/kept.raw
			# There subclusters of what is kept do not show.
			[[ $options == *extended_l2=* ]] ||
				alike compare -f qcow2 -F raw kept.qcow2 kept.raw
		done
		[ -e theirs/kept.qcow2 ] || continue
		alike convert -f raw -O qcow2 -o "$options" r.img kept.qcow2
		alike compare -f qcow2 -F raw kept.qcow2 r.img
	done
fi
alike create -f qcow2 -b a.qcow2 -F qcow2 c1.qcow2
alike create -f qcow2 -b a.raw -F raw c2.qcow2
alike create -f qcow2 -b a.raw -F raw c3.qcow2 20M
alike create -f qcow2 -o backing_file=a.qcow2,backing_fmt=qcow2 c4.qcow2
alike create -f qcow2 -o backing_file=a.qcow2,backing_fmt=qcow2 -b c1.qcow2 c5.qcow2
alike create -f qcow2 -b gone -F raw -u c6.qcow2 1M
alike create -f qcow2 -u -b nbd:unix:/tmp/s:exportname=x -F raw c7.qcow2 1M
alike create -f qcow2 -u -b nbd://localhost/x -F raw c8.qcow2 1M
alike create -f qcow2 -b a.qcow2 x
alike create -f qcow2 -b a.raw x
alike create -f qcow2 -u -b gone x 1M
alike create -f qcow2 -b gone -F raw x
alike create -f qcow2 -b orphan.qcow2 -F qcow2 x 1M
alike create -f qcow2 -b gone -F raw -u x
alike create -f qcow2 -b a.qcow2 -F qcow2 a.qcow2
alike create -f qcow2 -u -b a.qcow2 -F qcow2 a.qcow2 1M
alike create -f qcow2 -b a.qcow2 -F foo x
alike create -f raw -b a.raw -F raw x 1M
alike create -f foo x 1M
alike create x
alike_since 10.1 create x 1Q
alike create -f qcow2 x 100E
alike create -f qcow2 -o foo=1 x 1M
alike create -f qcow2 -o lazy_refcounts=maybe x 1M
alike create -f qcow2 -o size=5M x 6M
for options in compat=2 compression_type=lz4 preallocation=most \
	refcount_bits=3 compat=0.10,lazy_refcounts=on \
	extended_l2=on,cluster_size=4k data_file_raw=on cluster_size=3000 \
	cluster_size=4M encrypt.format=x,encrypt.key-secret=s \
	encrypt.format=luks,encrypt.key-secret=none ','; do
	alike create -f qcow2 -o $options x 1M
done
alike create -f qcow2 -o preallocation=full -b a.qcow2 -F qcow2 x
alike create -f qcow2 -o data_file=d,data_file_raw=on -b a.qcow2 -F qcow2 x
alike create -f qcow2 -b a.raw -F qcow2 x
alike create -f qcow2 dir 1M
alike create -f raw dir 1M
alike create -f qcow2 x 65536T
alike create -f raw x 7E
alike create -f qcow2 +5.qcow2 +5M
for options in help '?' size=1M,help; do
	both options create -f qcow2 -o "$options"
	both options create -f qcow2 -o "$options" x
	both options create -f raw -o "$options" x 1M
	both options convert -O qcow2 -o "$options" a.raw x
	both options amend -f qcow2 -o "$options"
done
alike create
alike create -f qcow2 x 1M 2M
alike_since 10.1 create -Z

# ------------------------------------------------------------------- info --
for image in a.qcow2 a.raw a.img r.img over.qcow2 comp.qcow2 v2.qcow2 ext.qcow2 \
	snap.qcow2 bits.qcow2 orphan.qcow2 proto.qcow2 l.luks e.qcow2 norec.qcow2 \
	empty; do
	alike info $image
	alike info --output=json $image
done
rm theirs/ext.data ours/ext.data
alike info ext.qcow2
alike info --backing-chain over.qcow2
alike info --backing-chain --output=json over.qcow2
alike info -U a.qcow2
alike info -f raw a.qcow2
alike info nosuch
alike info --output=json nosuch
alike info -f qcow2 a.raw
alike info -f foo a.raw
alike info dir
alike info cut.qcow2
alike info null-co://
alike info --object secret,id=s,file=none a.raw
alike info --object secret,data=x a.raw
alike info a.raw a.raw
alike info
alike_since 10.1 info --output=foo a.raw
alike_since 10.1 info --nosuch a.raw
alike_since 10.1 info -f

# -------------------------------------------------------------------- map --
for image in a.qcow2 a.raw over.qcow2 comp.qcow2 norec.qcow2 orphan.qcow2 \
	orphan2.qcow2 dataless.qcow2 wrongfmt.qcow2 empty; do
	[ $image = orphan2.qcow2 ] || alike map $image
	alike map --output=json $image
done
alike map --output=json -s 1M -l 1M a.raw
alike map --start-offset=1M a.raw
alike map --start-offset=11M a.raw
alike_since 10.1 map --max-length=x a.raw
alike_since 10.1 map --max-length=-1 a.raw
alike_since 10.1 map --start-offset=-1 a.raw
alike_since 10.1 map --start-offset=x a.raw
alike map nosuch

# ---------------------------------------------------------------- measure --
alike measure a.raw
alike measure -O qcow2 a.raw
alike measure -O qcow2 --size 1G
alike measure -O qcow2 --size 1G --output=json
alike measure -O qcow2 -o cluster_size=4k --size 1G
alike measure -O foo --size 1G
alike measure -O qcow2 -l three snap.qcow2
alike measure -O qcow2 -l nosuch snap.qcow2
alike measure
alike measure a.raw a.raw
alike measure --size 1M a.raw
alike_since 10.1 measure --size x
alike_since 10.1 measure --size -1

# ------------------------------------------------------------------ check --
alike check a.qcow2
alike check --output=json a.qcow2
alike check -q a.qcow2
alike check a.raw
alike check leak.qcow2
alike check --output=json leak.qcow2
alike check -r leaks leak.qcow2
alike check corrupt.qcow2
alike check --output=json corrupt.qcow2
alike check flags.qcow2
alike check -r all flags.qcow2
alike check --output=json flags.qcow2
alike check nosuch
alike_since 10.1 check -r foo a.qcow2
fails_alike check -U -r all a.qcow2

# ---------------------------------------------------------------- compare --
alike compare a.qcow2 a.raw
alike compare -s a.qcow2 snap.qcow2
alike compare a.qcow2 snap.qcow2
alike compare a.raw norec.qcow2
alike compare -q a.qcow2 a.raw
alike compare -p a.raw a.raw
alike compare a.raw nosuch
alike compare a.raw

# ----------------------------------------------------------------- bitmap --
# What they leave is compared in test-bitmap.sh.
alike bitmap --add bits.qcow2 b2
alike bitmap --add --disable -g 64k -f qcow2 bits.qcow2 b3
alike bitmap --merge b0 -b bits2.qcow2 -F qcow2 bits.qcow2 b2
alike bitmap --add bits.qcow2 b2
alike bitmap --add -g 3k bits.qcow2 b4
alike bitmap --add -g 4G bits.qcow2 b4
alike_since 10.1 bitmap --add -g x bits.qcow2 b4
alike bitmap --add bits.qcow2 ''
alike bitmap --remove bits.qcow2 nosuch
alike bitmap --enable bits.qcow2 nosuch
alike bitmap --merge nosuch bits.qcow2 b0
alike bitmap --merge b0 bits.qcow2 nosuch
alike bitmap --clear lost.qcow2 b0
alike bitmap --disable lost.qcow2 b0
alike bitmap bits.qcow2 b0
alike bitmap --add bits.qcow2
alike bitmap --enable -g 64k bits.qcow2 b0
alike bitmap --enable -b a.raw bits.qcow2 b0
alike bitmap --enable -F raw bits.qcow2 b0
alike bitmap --add nosuch b0
alike_since 11.1 bitmap --remove-all bits.qcow2 b0
alike_since 11.1 bitmap --remove-all --add bits.qcow2
fails_alike bitmap --add v2.qcow2 b0
fails_alike bitmap --add a.raw b0
alike info lost.qcow2
alike measure -O qcow2 bits.qcow2
alike convert --bitmaps -O qcow2 bits.qcow2 bits3.qcow2
alike convert --bitmaps -O raw bits.qcow2 x
alike convert --bitmaps -O qcow2 a.raw x
alike convert --bitmaps -O qcow2 bits.qcow2 bits.qcow2 x
alike convert --skip-broken-bitmaps -O qcow2 bits.qcow2 x
alike convert --bitmaps -O qcow2 lost.qcow2 x
alike convert --bitmaps --skip-broken-bitmaps -O qcow2 lost.qcow2 bits4.qcow2
if is_since 11.1; then
	for image in bits2.qcow2 lost.qcow2 a.raw nosuch; do
		alike bitmap --remove-all $image
	done
fi

# --------------------------------------------------------------- snapshot --
alike snapshot -l snap.qcow2
! is_since 10.1 || alike snapshot snap.qcow2
alike snapshot -c three snap.qcow2
alike snapshot -l snap.qcow2
alike snapshot -a one snap.qcow2
alike snapshot -d one snap.qcow2
alike snapshot -l snap.qcow2
alike snapshot -l a.raw
alike snapshot -a nosuch snap.qcow2
alike snapshot -d nosuch snap.qcow2
alike snapshot -l nosuch
alike_since 8.0 snapshot -c one a.raw
alike snapshot -l -c one snap.qcow2
# An id goes before a name, but for deleting, where it is none.
for snapshot in 1 3 two snapshot.id=1 snapshot.name=1 snapshot.id=two \
	snapshot.name=3 snapshot.id=3,snapshot.name=1 \
	snapshot.name=2,snapshot.id=1; do
	alike convert -l $snapshot ids.qcow2 ids.$snapshot
	alike measure -O qcow2 -l $snapshot ids.qcow2
done
fails_alike convert -l snapshot.nosuch=1 ids.qcow2 x
for snapshot in 3 1 1 2 one; do
	alike snapshot -a $snapshot ids.qcow2
	alike convert ids.qcow2 ids.applied.$snapshot
	alike snapshot -d $snapshot ids.qcow2
	alike snapshot -l ids.qcow2
done

# ---------------------------------------------------------------- convert --
alike convert a.raw b.raw
alike convert -p a.raw b.raw
alike convert -O qcow2 a.raw b.qcow2
alike convert -c -p -O qcow2 -o cluster_size=4k norec.qcow2 b.qcow2
alike convert -O qcow2 -B a.raw -F raw a.raw b.qcow2
alike convert -n a.raw b.raw
alike convert -W -m 4 -t none -T none a.raw b.raw
alike convert a.raw a.raw b.raw
alike convert -C -r 100M a.raw b.raw
alike convert -C -c -O qcow2 a.raw x
alike convert -C -S 4k a.raw x
alike_since 10.1 convert -r foo a.raw x
alike convert -l snapshot.name=three snap.qcow2 b.raw
alike convert -l three snap.qcow2 b.raw
alike convert -O foo a.raw x
alike convert -O qcow2 -o size=20M a.raw sized.qcow2
alike measure sized.qcow2
alike convert a.raw dir
alike convert -n a.raw empty
alike convert -O raw -B a.qcow2 -F qcow2 a.raw x
alike convert nosuch x
alike convert a.raw
alike convert -f qcow2 a.raw x
alike convert -O qcow2 -o foo=1 a.raw x
alike convert -O qcow2 -B a.raw a.raw x
alike convert -n a.raw nosuch
alike convert -c a.raw x
alike convert -l nosuch snap.qcow2 x
alike convert -t foo a.raw x
alike convert -S 1000 a.raw x
alike convert --target-is-zero a.raw x
alike convert -O qcow2 a.raw nodir/x
alike convert a.raw a.raw
alike convert orphan.qcow2 x

# ------------------------------------------------- resize, commit, rebase --
alike resize a.img 20M
alike resize r.img 20M
alike resize -q a.qcow2 +1M
alike resize -f raw r.img +1000
alike resize a.qcow2 -1M
alike resize a.qcow2 -- -1M
alike resize --shrink a.qcow2 -1M
alike resize a.qcow2 0
alike resize --preallocation=most a.qcow2 20M
alike resize --preallocation=full --shrink a.qcow2 1M
alike resize --shrink a.qcow2 -1T
alike_since 10.1 resize a.qcow2 1M 2M
alike resize nosuch 20M
fails_alike resize a.qcow2 x
fails_alike resize a.qcow2
alike commit over.qcow2
alike commit -d -p over.qcow2
alike commit -b a.qcow2 over.qcow2
alike commit -b nosuch over.qcow2
alike commit a.raw
alike commit nosuch
alike commit -b c1.qcow2 c1.qcow2
alike rebase -u -b nbd://localhost/x -F raw c1.qcow2
alike rebase -u c1.qcow2
run "$PEER" info ours/c1.qcow2
! grep -q 'backing file' "$out" || fail "rebase -u left the backing file"
alike rebase -u -b a.qcow2 -F qcow2 c1.qcow2
alike rebase -b a.raw -F qcow2 c1.qcow2
alike rebase -u -b '' c1.qcow2
alike rebase -b a.qcow2 -F qcow2 c1.qcow2
alike rebase -b '' -p c1.qcow2
alike rebase -u -b a.qcow2 c1.qcow2
alike rebase -b nosuch -F raw c1.qcow2
alike rebase -F raw -b a.raw a.raw
alike rebase -u -b x -F foo c1.qcow2
alike rebase c1.qcow2

# ------------------------------------------------- how to open an image --
opts=driver=qcow2,file.filename
alike info --image-opts $opts=live.qcow2
alike info --image-opts file.filename=live.qcow2
alike info --image-opts $opts=live.qcow2,file.locking=off,l2-cache-size=1M,node-name=n
alike info 'json:{"driver":"qcow2","file.filename":"live.qcow2"}'
alike info file:live.qcow2
alike check --image-opts $opts=a.qcow2
alike compare --image-opts $opts=a.qcow2 $opts=a.qcow2
alike map --image-opts --output=json driver=raw,file.filename=a.raw,offset=1M,size=1M
alike map --output=json 'json:{"driver":"qcow2","file":{"driver":"file","filename":"over.qcow2"},"backing":null}'
alike measure --image-opts driver=raw,file.filename=a.raw,offset=1M
alike resize --image-opts $opts=a.qcow2 40M
alike resize --image-opts $opts=a.qcow2,read-only=on 50M
alike resize --image-opts driver=raw,file.filename=a.raw,size=1M 50M
alike snapshot --image-opts -c s $opts=a.qcow2
alike convert --image-opts -n --target-image-opts driver=raw,file.filename=a.raw $opts=b.qcow2
alike convert -n a.raw null-co://
alike convert a.raw file:q.raw
alike create -f qcow2 file:q.qcow2 1M
alike info --image-opts driver=foo,file.filename=a.qcow2
alike info --image-opts $opts=a.qcow2,file.driver=foo
alike info --image-opts $opts=a.qcow2,foo=bar
alike info -f qcow2 --image-opts $opts=a.qcow2
alike compare -f qcow2 --image-opts $opts=a.qcow2 $opts=a.qcow2
alike info foo:bar
alike convert --target-image-opts a.raw driver=raw,file.filename=b.raw
fails_alike info --image-opts driver=qcow2
fails_alike info 'json:{"driver":"qcow2"'
fails_alike info --image-opts $opts=a.qcow2,file.driver=nbd

# What they made holds the same disk.
for name in $(cd theirs && echo ids.*) n3.qcow2 c5.qcow2 sized.qcow2 \
	b.raw b.qcow2 q.raw q.qcow2 a.img r.img a.qcow2 snap.qcow2 \
	c1.qcow2 bits3.qcow2 bits4.qcow2; do
	run "$PEER" compare "theirs/$name" "ours/$name"
	[ "$status" = 0 ] || { show; fail "$name differs"; }
done

# ------------------------------------------------------------------ locks --
# Beside a process that writes it, and one that reads it.
beside() {
	local mode=$1 image=$2 pids=() name
	shift 2
	for name in theirs ours; do
		mkfifo fifo.$name
		qemu-io ${mode:+"$mode"} -f qcow2 "$name/$image" <fifo.$name >io.$name 2>&1 &
		pids+=($!)
	done
	exec 8>fifo.theirs 9>fifo.ours
	echo 'read 0 512' >&8
	echo 'read 0 512' >&9
	for name in theirs ours; do
		for ((i = 0; i < 200; i++)); do
			grep -q ":$(stat -c %i "$name/$image") " /proc/locks && break
			sleep 0.05
		done
	done
	while [ $# -gt 0 ]; do
		# shellcheck disable=SC2086 # words
		alike $1
		shift
	done
	exec 8>&- 9>&-
	wait "${pids[@]}"
	rm fifo.theirs fifo.ours
}
for mode in '' -r; do
	beside "$mode" live.qcow2 "info live.qcow2" "info -U live.qcow2" \
		"check live.qcow2" "resize live.qcow2 30M" \
		"snapshot -l live.qcow2" "snapshot -c x live.qcow2" \
		"snapshot -l -U live.qcow2" "convert live.qcow2 x.raw" \
		"convert -U live.qcow2 x.raw" "map live.qcow2" \
		"compare live.qcow2 live.qcow2" "measure live.qcow2" \
		"convert -O qcow2 a.raw live.qcow2" "commit live.qcow2" \
		"create -f qcow2 live.qcow2 1M" \
		"rebase -b live.qcow2 -F qcow2 over.qcow2" \
		"rebase -U -b live.qcow2 -F qcow2 over.qcow2" \
		"rebase -U -b a.qcow2 -F qcow2 over.qcow2" \
		"rebase -U -u -b a.qcow2 -F qcow2 live.qcow2"
	for name in theirs ours; do
		equal qcow2 theirs/over.qcow2 qcow2 $name/over.qcow2
	done
done

# ------------------------------------------------------------- dd and bench --
settle
for parts in '' 'bs=1000 count=7' 'bs=1M skip=3' 'bs=64k skip=2 count=5' \
	'skip=50 count=20' 'count=0' 'skip=9999999'; do
	# shellcheck disable=SC2086 # words
	alike dd -f raw $parts if=a.raw of=o.raw
	same theirs/o.raw ours/o.raw
done
alike dd -O qcow2 if=a.raw of=o.qcow2 bs=1M
equal qcow2 theirs/o.qcow2 qcow2 ours/o.qcow2
alike dd if=a.raw
alike dd if=a.raw of=x bs=0
alike dd if=a.raw of=x nosuch=1
alike dd if=a.raw of=x bs
alike dd -O nosuch if=a.raw of=x
alike dd -f nosuch if=a.raw of=x
alike dd if=nosuch.raw of=x
alike_since 10.1 dd if=a.raw of=x count=x
alike_since 10.1 dd if=a.raw of=x count=-1
alike_since 10.1 dd if=a.raw of=x bs=
! is_since 10.1 ||
	alike dd --output-format=qcow2 --format=raw if=a.raw of=o.qcow2
alike bench -c 10 -f raw a.raw
alike bench -q -w -c 40 -d 5 -f raw --flush-interval=20 --pattern=3 a.raw
same theirs/a.raw ours/a.raw
alike bench -f raw -c 10 -o 20M a.raw
alike bench -f raw -c 10 --flush-interval=5 a.raw
alike bench -f raw -w -c 10 --flush-interval=5 a.raw
alike bench -f raw -i nosuch a.raw
alike_since 10.1 bench -f raw -s 3G a.raw
alike_since 10.1 bench -f raw -c x a.raw
! is_since 10.1 || alike bench -f raw -c 0 a.raw
alike_since 10.1 bench -f raw -w --pattern=256 a.raw
alike_since 10.1 bench -f raw -w --pattern=x a.raw
alike_since 10.1 bench -f raw -o -1 a.raw
alike bench
fails_alike bench -w -U -f raw a.raw

# -------------------------------------------------------------------- amend --
settle
for options in compat=v4 refcount_bits=3 refcount_bits=128 refcount_bits=0 \
	compat=0.10,lazy_refcounts=on compat=0.10,refcount_bits=8 cluster_size=4k \
	nosuch=1 size=1000 data_file=x data_file_raw=on backing_file=x \
	backing_fmt=raw encrypt.state=active,encrypt.new-secret=n \
	refcount_bits=8 compat=0.10 compat=0.10,refcount_bits=16 \
	lazy_refcounts=on refcount_bits=8 compat=1.1 size=1M size=4M; do
	alike amend -f qcow2 -o $options a.qcow2
done
sync # what the host spends is settled then
alike info a.qcow2
alike amend -q -p -f qcow2 -o lazy_refcounts=on a.qcow2
alike amend -f raw -o size=2M a.raw
alike amend -f raw -o help a.raw
alike amend -f nosuch -o help a.raw
alike amend -f qcow2 -o compat=1.1 nosuch
alike amend -f qcow2 -o '' a.qcow2
fails_alike amend -f qcow2 a.qcow2
fails_alike amend -f qcow2 -o compat=1.1
for options in compat=0.10 data_file_raw=on; do
	for kind in extended_l2=on data_file=amend.data compression_type=zstd; do
		for name in theirs ours; do
			(cd $name && "$PEER" create -q -f qcow2 -o $kind \
				amend.qcow2 1M)
		done
		alike amend -o $options -f qcow2 amend.qcow2
	done
done

# --------------------------------------------------------- the name itself --
alike
alike foo
alike_since 10.1 --foo
for option in --version -V; do
	run bin/qemu-img $option
	expect 0
	expect_no_err
	head -n 1 "$out" | grep -qE '^qemu-img version [0-9]+\.[0-9]+\.[0-9]+ ' ||
		fail "$option: $(cat "$out")"
done
for option in --help -h; do
	run bin/qemu-img $option
	expect 0
	expect_out "convert - "
	expect_out "raw qcow2"
done
run bin/qemu-img -T any --trace=any -Tany info ours/a.raw
expect 0
expect_no_err
run bin/qemu-img clone ours/a.qcow2 ours/z.qcow2
expect 1
expect_err "Command not found: clone"
run bin/qemu-img info --help
expect 0
expect_out "Usage: qemu-img info"

python3 judge.py "$version" cases || fail "beside $PEER"
