#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Bad input as its user meets it, one kind after the other: the error is one
# line that names the file, and the place where there is one; the next line is
# the way out; the exit status is qemu-img's; and no file is changed, made or
# lost. tests/test-hostile-*.sh have the many variants of each kind,
# tools/test-doors.sh the guessed formats, tools/test-full-disk.sh and
# tools/test-convert-files.sh full disks and what happens to an old file.

# shellcheck source=tests/lib.sh
. "${BASH_SOURCE%/*}/../tests/lib.sh"
requires "qemu-img --version"

mkdir files
cd files

# What is here, with its content.
state() {
	find . -mindepth 1 | sort
	find . -type f -print0 | sort -z | xargs -0 cksum
}

# theirs ARGS...: the exit status of qemu-img in the same place; nothing where it
# takes no notice, or never comes to an end.
peer=yes
theirs() {
	local status=0
	[ $peer = yes ] || return 0
	rm -rf ../twin
	cp -a . ../twin
	(cd ../twin && timeout 100 qemu-img "$@") >/dev/null 2>&1 </dev/null ||
		status=$?
	rm -rf ../twin
	case $1$status in
	*0 | compare1) ;;
	*) echo $status ;;
	esac
}

# bad STATUS TEXT HINT ARGS...: gild fails so.
bad() {
	local wanted=$1 text=$2 hint=$3 also
	shift 3
	state >../before
	run gild "$@"
	expect_error "$text" "$wanted"
	[ -z "$hint" ] || tail -n +2 "$err" | grep -qF -e "$hint" ||
		{ show; fail "gild $*: the way out is not \"$hint\""; }
	[ "$1" = map ] || expect_no_out	# it has begun to print
	state >../after
	same_text ../before ../after
	also=$(theirs "$@")
	[ -z "$also" ] || [ "$also" = "$wanted" ] ||
		fail "gild $*: status $wanted, but $also of qemu-img"
}

# poke FILE OFFSET HEX
poke() {
	# shellcheck disable=SC2059,SC2001 # the format is the data
	printf "$(sed 's/../\\x&/g' <<<"$3")" |
		dd of="$1" bs=1 seek=$(($2)) conv=notrunc status=none
}

# 1 MiB of data: L1 table at 0x30000, L2 table at 0x40000, data from 0x50000.
head -c 1M /dev/urandom >x.raw
qemu-img convert -f raw -O qcow2 x.raw good.qcow2
cp x.raw copy.raw

# -------------------------------------------------------------- cut short --

head -c 720896 good.qcow2 >bad.qcow2
for verb in "convert -O raw bad.qcow2 y.raw" "map bad.qcow2" \
	"measure -O qcow2 bad.qcow2" "compare -s bad.qcow2 good.qcow2"; do
	status=1
	[ "${verb%% *}" != compare ] || status=3
	# shellcheck disable=SC2086 # words
	bad $status 'bad.qcow2: ' '--salvage' $verb
	expect_err 'cut short'
	expect_err '(guest offset 0x60000, host 0xb0000)'
done
head -c 20 good.qcow2 >bad.qcow2
bad 1 'bad.qcow2: the file ends inside the qcow2 header, at 20' 'cut short' \
	info bad.qcow2
head -c 70000 good.qcow2 >bad.qcow2
bad 1 'bad.qcow2: the L1 table at 0x30000' 'cut short' info bad.qcow2
head -c 200000 good.qcow2 >bad.qcow2
bad 1 'bad.qcow2: an L2 table lies beyond the end of the file' 'gild check' \
	convert -O raw bad.qcow2 y.raw
expect_err 'host 0x40000'

# ------------------------------------------------------------ absurd sizes --

# OFFSET HEX TEXT: fields of the header.
while read -r offset value text; do
	cp good.qcow2 bad.qcow2
	poke bad.qcow2 "$offset" "$value"
	bad 1 "bad.qcow2: " "" info bad.qcow2
	expect_err "$text"
	bad 1 "bad.qcow2: " "" convert -O raw bad.qcow2 y.raw
	bad 2 "bad.qcow2: " "" compare bad.qcow2 x.raw
done <<-'END'
	20 0000003f cluster size 2^63 is not supported
	24 7ffffffffffffe00 is larger than qcow2 can hold
	24 00ffffffffff0000 is too small for a disk of
	36 7fffffff is larger than 32 MiB
	56 00ffffff is larger than 8 MiB
	60 7fffffff internal snapshots are more than
	100 ffffff00 length, 4294967040 bytes, is impossible
	8 00000000000002000000ffff backing
END

# -------------------------------------------- tables outside, over others --

cp good.qcow2 bad.qcow2
poke bad.qcow2 40 00000000007f0000
bad 1 'bad.qcow2: the L1 table at 0x7f0000' 'cut short' info bad.qcow2
cp good.qcow2 bad.qcow2
poke bad.qcow2 48 00000000007f0000
bad 1 'bad.qcow2: the refcount table at 0x7f0000' '' info bad.qcow2
cp good.qcow2 bad.qcow2
poke bad.qcow2 0x30000 80000000007f0000
bad 1 'bad.qcow2: an L2 table lies beyond' 'gild check' \
	convert -O raw bad.qcow2 y.raw
expect_err '(guest offset 0, host 0x7f0000)'

# Two L2 entries that lead astray: beyond the file, over an L2 table.
cp good.qcow2 bad.qcow2
poke bad.qcow2 0x40008 80000000007f0000
bad 1 'bad.qcow2: ' '--salvage' convert -O raw bad.qcow2 y.raw
expect_err 'guest offset 0x10000, host 0x7f0000'
cp good.qcow2 bad.qcow2
poke bad.qcow2 0x40000 8000000000040000
bad 1 'bad.qcow2: a data cluster lies over metadata (host 0x40000)' \
	'gild check' convert -n -O qcow2 x.raw bad.qcow2

# Tables that change each other when they are changed: not even begun.
for table in 0000 1000 2000 3000; do
	[ $table != 0000 ] || continue	# stands for none
	cp good.qcow2 bad.qcow2
	poke bad.qcow2 0x30000 800000000000${table}
	poke bad.qcow2 0x30000 8000000000"0${table%000}0000"
	bad 1 'bad.qcow2: ' 'gild check' convert -n -O qcow2 x.raw bad.qcow2
	expect_err "metadata lies over other metadata (host 0x${table%000}0000)"
	bad 1 'bad.qcow2: ' 'gild check' resize bad.qcow2 2M
	bad 1 'bad.qcow2: ' 'gild check' snapshot -c s bad.qcow2
done

# ------------------------------------------------------------------ chains --

# over NAME BACKING: an overlay, whatever is below.
over() {
	qemu-img create -q -f qcow2 -u -b "$2" -F qcow2 "$1" 1M
}

# every TEXT HINT IMAGE: whatever needs what is below IMAGE fails so.
every() {
	local text=$1 hint=$2 image=$3
	bad 1 "$text" "$hint" info --backing-chain "$image"
	bad 1 "$text" "$hint" convert -O raw "$image" y.raw
	bad 1 "$text" "$hint" convert -c -O qcow2 "$image" y.qcow2
	bad 1 "$text" "$hint" map "$image"
	bad 2 "$text" "$hint" compare "$image" x.raw
	bad 2 "$text" "$hint" compare x.raw "$image"
	bad 1 "$text" "$hint" measure -O qcow2 "$image"
	bad 1 "$text" "$hint" commit "$image"
	bad 1 "$text" "$hint" rebase -b x.raw -F raw "$image"
	bad 1 "$text" "$hint" resize "$image" 2M
	bad 1 "$text" "$hint" create -f qcow2 -b "$image" -F qcow2 n.qcow2
	bad 1 "$text" "$hint" clone "$image" n1.qcow2 n2.qcow2
	# What needs the image alone works.
	run gild info "$image"
	expect 0
	run gild check "$image"
	expect 0
}

# Round and round goes qemu-img.
peer=no
over a.qcow2 b.qcow2
over b.qcow2 c.qcow2
over c.qcow2 a.qcow2
every 'c.qcow2: its backing file a.qcow2 leads back to a.qcow2' \
	'rebase -u -b NEW -F FMT' a.qcow2
# From outside, into the ring.
over tail.qcow2 b.qcow2
bad 1 'a.qcow2: its backing file b.qcow2 leads back to b.qcow2' 'rebase -u' \
	convert -O raw tail.qcow2 y.raw
over self.qcow2 b.qcow2
qemu-img rebase -u -b self.qcow2 -F qcow2 self.qcow2
every 'self.qcow2: its backing file self.qcow2 leads back to self.qcow2' \
	'rebase -u -b NEW -F FMT' self.qcow2
rm ./?.qcow2 tail.qcow2 self.qcow2

# Through links: of the file, of its folder, a second name.
over x.qcow2 link.qcow2
ln -s x.qcow2 link.qcow2
every 'x.qcow2: its backing file link.qcow2 leads back to x.qcow2' \
	'rebase -u -b NEW -F FMT' x.qcow2
rm x.qcow2 link.qcow2
ln -s . here
over x.qcow2 here/here/x.qcow2
every 'leads back to x.qcow2' 'rebase -u -b NEW -F FMT' x.qcow2
rm x.qcow2 here
over x.qcow2 second.qcow2
ln x.qcow2 second.qcow2
every 'x.qcow2: its backing file second.qcow2 leads back to x.qcow2' \
	'rebase -u -b NEW -F FMT' x.qcow2
rm x.qcow2 second.qcow2
ln -s round.qcow2 round.qcow2
bad 1 'round.qcow2: ' '' info round.qcow2
rm round.qcow2

peer=yes

# A backing file that is missing, right below and further down.
over mid.qcow2 gone.qcow2
every 'mid.qcow2: its backing file: gone.qcow2: cannot be opened: No such file' \
	"" mid.qcow2
over top.qcow2 mid.qcow2
every 'mid.qcow2: its backing file: gone.qcow2: cannot be opened: No such file' \
	"" top.qcow2
bad 1 'mid.qcow2' "rebase -u -b NEW -F FMT 'mid.qcow2'" map top.qcow2
bad 1 'gone.qcow2' '-u' create -f qcow2 -b gone.qcow2 -F qcow2 n.qcow2
bad 1 'gone.qcow2' '' convert -O qcow2 -B gone.qcow2 -F qcow2 x.raw n.qcow2
bad 1 'gone.qcow2' '' rebase -b gone.qcow2 -F qcow2 good.qcow2
# The way out leads out.
bad 1 'mid.qcow2: an image beside it builds on it: top.qcow2' --force \
	rebase -u -b good.qcow2 -F qcow2 mid.qcow2
gild rebase --force -u -b good.qcow2 -F qcow2 mid.qcow2
equal raw x.raw qcow2 top.qcow2

# A missing data file.
qemu-img create -q -f qcow2 -o data_file=gone.data ext.qcow2 1M
rm gone.data
bad 1 'ext.qcow2: ' '' convert -O raw ext.qcow2 y.raw
expect_err 'gone.data'
rm ext.qcow2

# --------------------------- a target that is in the source's own chain --

ln -s good.qcow2 link.qcow2
ln good.qcow2 second.qcow2
own='is the source itself, or in its backing chain'
for target in top.qcow2 mid.qcow2 good.qcow2 link.qcow2 second.qcow2; do
	for options in "-O raw" "-O qcow2" "-c -O qcow2" "-n -O qcow2"; do
		# shellcheck disable=SC2086 # words
		bad 1 "$target: $own" 'another name' \
			convert $options top.qcow2 $target
	done
	[ $target = top.qcow2 ] ||
		bad 1 "$target: would be in its own backing chain" \
			'name another file' \
			create -f qcow2 -b top.qcow2 -F qcow2 $target
	[ $target = top.qcow2 ] ||
		bad 1 "$target: would be in its own backing chain" \
			'name another file' \
			convert -O qcow2 -B top.qcow2 -F qcow2 x.raw $target
done
bad 1 'good.qcow2: would be in its own backing chain' 'name another file' \
	create -f qcow2 -b good.qcow2 -F qcow2 good.qcow2
bad 1 'good.qcow2: would be in its own backing chain' 'name another file' \
	create -u -f qcow2 -b good.qcow2 -F qcow2 good.qcow2 1M
bad 1 'mid.qcow2: would be in its own backing chain' 'name another file' \
	rebase --force -b top.qcow2 -F qcow2 mid.qcow2
bad 1 'good.qcow2' '' clone top.qcow2 n.qcow2 good.qcow2
qemu-img create -q -f qcow2 -o data_file=ext.data ext.qcow2 1M
put qcow2 ext.qcow2 'write -P 7 0 64k'
for options in "-O raw" "-n -O raw"; do
	# shellcheck disable=SC2086 # words
	bad 1 "ext.data: $own" 'another name' convert $options ext.qcow2 ext.data
done

# -------------------------------------------------- in use by somebody else --

mkfifo ../fifo
qemu-io -f qcow2 good.qcow2 <../fifo >/dev/null 2>&1 &
exec 9>../fifo
for ((i = 0; i < 600; i++)); do
	! grep -q ":$(stat -c %i good.qcow2) " /proc/locks || break
	sleep 0.05
done
for args in "convert -O raw good.qcow2 y.raw" "map good.qcow2" \
	"compare good.qcow2 x.raw" "convert -O qcow2 x.raw good.qcow2" \
	"convert -n -O qcow2 x.raw good.qcow2" "check -r all good.qcow2" \
	"resize good.qcow2 2M" "snapshot -c s good.qcow2" \
	"convert -O raw top.qcow2 y.raw" "commit top.qcow2" \
	"rebase -b x.raw -F raw good.qcow2"; do
	status=1
	[ "${args%% *}" != compare ] || status=2
	# shellcheck disable=SC2086 # words
	bad $status 'good.qcow2: is ' '' $args
	expect_err 'qemu-io'
done
exec 9>&-
wait

# -------------------------------------------- a read error in the middle --

# (A sanitizer wants to be the first library.)
[ "${GILD_VARIANT:-release}" = release ] || exit 0
"${CC:-gcc}" -D_GNU_SOURCE -O1 -shared -fPIC -o ../failing-reads.so \
	"$top/tests/hostile/failing-reads.c" -ldl
LD_PRELOAD=$PWD/../failing-reads.so "$GILD" --version >../said 2>&1 &&
	[ "$(wc -l <../said)" = "$("$GILD" --version | wc -l)" ] || exit 0

# unreadable FILE OFFSET STATUS TEXT HINT ARGS...
unreadable() {
	export FAILING_FILE=$PWD/$1 FAILING_AT=$2
	shift 2
	# shellcheck disable=SC2317 # bad calls it
	gild() { LD_PRELOAD=$work/failing-reads.so "$GILD" "$@"; }
	bad "$@"
	gild() { "$GILD" "$@"; }
	unset FAILING_FILE FAILING_AT
}

put qcow2 top.qcow2 'write -P 9 0 64k'
eio='Input/output error'
for options in "-O raw" "-O qcow2" "-c -O qcow2" "-m 1 -O raw"; do
	# shellcheck disable=SC2086 # words
	unreadable x.raw 700000 1 "x.raw: reading the disk at " --salvage \
		convert $options x.raw y.img
	expect_err "at offset 700000: $eio"
	# shellcheck disable=SC2086 # words
	unreadable good.qcow2 0x90000 1 "good.qcow2: reading the disk at " \
		--salvage convert $options top.qcow2 y.img
	expect_err "at offset 589824: $eio"
done
unreadable x.raw 700000 4 'x.raw: reading the disk at ' --salvage \
	compare x.raw copy.raw
unreadable x.raw 700000 4 'x.raw: reading the disk at ' --salvage \
	compare copy.raw x.raw
unreadable good.qcow2 0x40000 1 "good.qcow2: cannot read 4096 bytes" '' \
	map good.qcow2
expect_err "at offset 262144: $eio"
unreadable good.qcow2 0 1 "good.qcow2: cannot read 4096 bytes" '' \
	info good.qcow2
# An old file is what it was.
cp copy.raw old.img
unreadable x.raw 700000 1 'x.raw: ' --salvage convert x.raw old.img
unreadable x.raw 700000 1 'x.raw: ' --salvage convert -O qcow2 x.raw old.img
# These write where they read: what was there can still be read afterwards.
same_disk() {
	qemu-img convert -O raw "$1" ../y.raw
	same "$2" ../y.raw
}
qemu-img convert -O raw top.qcow2 top.raw
for args in "rebase -b '' top.qcow2" "commit -b mid.qcow2 top.qcow2"; do
	export FAILING_FILE=$PWD/good.qcow2 FAILING_AT=0x90000
	[ "${args%% *}" = rebase ] || export FAILING_FILE=$PWD/top.qcow2 \
		FAILING_AT=0x50000
	eval "run env LD_PRELOAD='$work/failing-reads.so' '$GILD' $args"
	unset FAILING_FILE FAILING_AT
	expect_error "$eio"
	same_disk top.qcow2 top.raw
	sound top.qcow2
	sound mid.qcow2
done
