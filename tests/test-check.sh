#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# qemu-img as the judge of gild check, over images of all kinds, sound and
# broken in each of many ways: the same numbers and exit status before a repair,
# the same verdict after it, from either tool, and the guest's disk unchanged.

# shellcheck source=tests/lib.sh
. "${BASH_SOURCE%/*}/lib.sh"
requires "qemu-img --version"
in_memory

# --- numbers in images ------------------------------------------------------

# be FILE OFFSET BYTES: prints an unsigned number, as bash can compute with it.
be() {
	echo $((16#$(od -An -v -tx1 -j $(($2)) -N "$3" "$1" | tr -d ' \n')))
}

# poke FILE OFFSET VALUE [BYTES]
poke() {
	local hex
	printf -v hex "%0$((2 * ${4:-8}))x" $(($3))
	# shellcheck disable=SC2001 # no pattern of bash's can say "each two"
	hex=$(sed 's/../\\x&/g' <<<"$hex")
	# shellcheck disable=SC2059 # the format is the data
	printf "$hex" | dd of="$1" bs=1 seek=$(($2)) conv=notrunc status=none
}

mask=$((0x00fffffffffffe00)) copied=$((1 << 63))

# survey FILE: where things are, for those who harm it.
survey() {
	cs=$((1 << $(be "$1" 20 4)))
	end=$(($(stat -c %s "$1") / cs * cs))
	l1=$(be "$1" 40 8) table=$(be "$1" 48 8)
	l2=$(($(be "$1" "$l1" 8) & mask))
	block=$(be "$1" "$table" 8)
	wide=8 extended=
	if [ "$(be "$1" 4 4)" = 3 ]; then
		[ $(($(be "$1" 72 8) & 16)) = 0 ] || extended=1
	fi
	[ -z "$extended" ] || wide=16
}

# --- ways to harm the image $f ----------------------------------------------

# entry I: where the Ith L2 entry is; get I, set I VALUE
entry() { echo $((l2 + $1 * wide)); }
get() { be "$f" "$(entry "$1")" 8; }
set_entry() { poke "$f" "$(entry "$1")" "$2"; }
flip() { poke "$f" "$1" $(($(be "$f" "$1" 8) ^ $2)); }

# subclusters I BITMAP, where entries have one
subclusters() { [ -z "$extended" ] || poke "$f" $(($(entry "$1") + 8)) $(($2)); }

leak() { set_entry 2 0; subclusters 2 0; }
shared() { set_entry 2 "$(get 3)"; }
wrong_copied() { flip "$(entry 1)" $copied; }
wrong_copied_l1() { flip "$l1" $copied; }
reserved() { flip "$(entry 1)" $((1 << 57)); }
reserved_l1() { flip "$l1" $((1 << 57)); }
outside() { set_entry 2 $((end + 77 * cs)); }
just_outside() { set_entry 2 $((end + cs)); }
over_l1() { set_entry 2 $((l1 | copied)); }
over_table() { set_entry 2 $((table | copied)); }
over_l2() { set_entry 2 $((l2 | copied)); }
over_block() { set_entry 2 $((block | copied)); }
over_header_compressed() { set_entry 2 $((1 << 62)); subclusters 2 0; }
compressed_outside() {
	set_entry 2 $((1 << 62 | end + 5 * cs))
	subclusters 2 0
}
block_gone() { poke "$f" "$table" 0; }
block_reserved() { flip "$table" 1; }
block_twice() { poke "$f" $((table + 8)) "$block"; }
block_over_data() { poke "$f" $((table + 8)) $(($(get 1) & mask)); }
counts_zero() { dd if=/dev/zero of="$f" bs=1 seek="$block" count=64 \
	conv=notrunc status=none; }
cut() { truncate -s $((end - 2 * cs)) "$f"; }
longer() { truncate -s $((end + 5 * cs + 100)) "$f"; }
dirty() { poke "$f" 72 $(($(be "$f" 72 8) | 1)); counts_zero; }
off_grid() { flip "$(entry 1)" 512; }
zero_off_grid() { flip "$(entry 1)" 513; subclusters 1 '0xff << 32'; }
zero_and_allocated() { subclusters 1 0x100000001; }
unallocated() { poke "$f" "$(entry 2)" 0; }

# Those that every image can suffer, then those that need more.
harms="leak shared wrong_copied wrong_copied_l1 reserved reserved_l1 outside
just_outside over_l1 over_table over_l2 over_block over_header_compressed
compressed_outside block_gone block_reserved block_twice block_over_data
counts_zero cut longer"
harms_v3="dirty"
harms_grid="off_grid zero_off_grid"	# clusters larger than 512 bytes, v3
harms_extended="zero_and_allocated unallocated"

# --- the judge ----------------------------------------------------------------

# Both write $1.json: numbers, one a line; and leave $status.
numbers() {
	tr -d ' ,' <"$out" | sed '/filename\|format\|[{}]/d' | sort >"$1.json"
}
by_qemu() {
	run qemu-img check -f qcow2 --output=json "${@:2}"
	numbers "$1"
}
by_gild() {
	run gild check -f qcow2 --output=json "${@:2}"
	numbers "$1"
}

# same_verdict FILE: qemu-img and gild say the same of it.
same_verdict() {
	local wanted
	by_qemu wanted "$1"
	wanted=$status
	by_gild got "$1"
	[ "$status" = "$wanted" ] || { show; fail "$what: status $status, not $wanted"; }
	cmp -s wanted.json got.json ||
		{ diff wanted.json got.json >&2 || :; fail "$what: other numbers"; }
}

# What is left, without what was done and where the file ends.
left() {
	grep -v 'fixed\|image-end' "$1.json" >"$1.left" || :
}

# repaired leaks|all: both tools repair; then qemu-img judges both results.
repaired() {
	local by_gild by_qemu
	cp --sparse=always "$f" g.qcow2
	cp --sparse=always "$f" q.qcow2
	by_gild repair -r "$1" g.qcow2
	by_gild=$status
	left repair
	by_qemu theirs -r "$1" q.qcow2
	by_qemu=$status
	# What gild says is left is what qemu-img then finds.
	by_qemu after g.qcow2
	left after
	[ "$status" = "$by_gild" ] ||
		{ show; fail "$what -r $1: gild says $by_gild"; }
	cmp -s after.left repair.left ||
		{ diff after.left repair.left >&2 || :
		  fail "$what -r $1: gild says otherwise (>)"; }
	# And it is what qemu-img would have left, where it can repair at all.
	if [ "$by_qemu" != 1 ]; then
		left theirs
		cmp -s theirs.left repair.left ||
			{ diff theirs.left repair.left >&2 || :
			  fail "$what -r $1: gild leaves other things (>)"; }
	fi
	[ -n "$torn" ] || equal qcow2 "$f" qcow2 g.qcow2
}

# harmed HARM: judge $f, and its repairs.
harmed() {
	what="$kind, $1" torn=
	cp --sparse=always sound.qcow2 "$f"
	"$1"
	same_verdict "$f"
	# Where metadata is a guest's data, repairing one changes the other;
	# what cannot be read cannot be compared.
	case $1 in
	over_*|block_over_data) torn=1 ;;
	esac
	qemu-img convert -f qcow2 -O raw "$f" /dev/null 2>"$work/.ignored" ||
		torn=1
	repaired leaks
	repaired all
}

# --- images --------------------------------------------------------------------

# As put, without waiting for the disk.
fill() {
	local command args=()
	for command; do
		args+=(-c "$command")
	done
	qemu-io -t unsafe -f qcow2 "${args[@]}" sound.qcow2 >/dev/null
}

# image KIND OPTIONS [SIZE]: sound.qcow2, with a bit of everything
image() {
	kind=$1
	rm -f sound.qcow2 sound.data
	qcow2 sound.qcow2 "${3:-2M}" ${2:+-o "$2"}
	fill 'write -P 1 0 600k' 'write -P 2 1M 10k' \
		'write -z 1200k 64k' 'write -P 3 1400k 200k' \
		'discard 1500k 50k'
	case $kind in
	*snapshots*)
		qemu-img snapshot -c one sound.qcow2
		fill 'write -P 4 100k 100k'
		qemu-img snapshot -c two sound.qcow2
		fill 'write -P 5 150k 300k' ;;
	esac
	case $kind in
	*bitmaps*)
		qemu-img bitmap --add sound.qcow2 one
		qemu-img bitmap --add -g 512 sound.qcow2 two
		fill 'write -P 6 30k 100k' ;;
	esac
	what=$kind
	same_verdict sound.qcow2
	expect 0
}

# harm_all [HARM...]: all that the last image can suffer, and these.
f=harmed.qcow2
harm_all() {
	local harm
	survey sound.qcow2
	for harm in $harms "$@"; do
		harmed "$harm"
	done
}

# Sound images of all kinds.
for cluster in 512 1k 4k 16k 64k 256k 2M; do
	image "v2 $cluster" "compat=0.10,cluster_size=$cluster"
	for bits in 1 4 16 64; do
		image "v3 $cluster, $bits bits" \
			"cluster_size=$cluster,refcount_bits=$bits"
	done
	image "v3 $cluster with snapshots" "cluster_size=$cluster"
	image "v3 $cluster with bitmaps" "cluster_size=$cluster"
	image "v3 $cluster with a data file" \
		"cluster_size=$cluster,data_file=sound.data"
done
image "extended 16k" extended_l2=on,cluster_size=16k
image "extended 64k with snapshots" extended_l2=on
image "lazy" lazy_refcounts=on
image "preallocated" preallocation=metadata 20M

# shellcheck disable=SC2086 # lists of words
{
	image "v3 64k" ""
	harm_all $harms_v3 $harms_grid
	image "v2 4k" compat=0.10,cluster_size=4k
	harm_all off_grid
	image "v3 4k, 2 bits, with snapshots" cluster_size=4k,refcount_bits=2
	harm_all $harms_v3 $harms_grid
}
if [ "${GILD_TEST_LEVEL:-normal}" != fast ]; then
	# shellcheck disable=SC2086 # lists of words
	{
		image "v3 512, 1 bit" cluster_size=512,refcount_bits=1
		harm_all $harms_v3
		image "v3 2M, 64 bits" cluster_size=2M,refcount_bits=64 32M
		fill 'write -P 7 2M 20M'
		harm_all $harms_grid
		image "extended 64k with snapshots" extended_l2=on
		harm_all $harms_v3 $harms_grid $harms_extended
		image "v3 64k with bitmaps" ""
		harm_all $harms_v3 $harms_grid
	}
fi

# Compressed clusters: several in one host cluster.
disk x.raw
for type in zlib zstd; do
	qemu-img convert -c -O qcow2 -o compression_type=$type x.raw sound.qcow2
	what="compressed, $type" kind=$what
	same_verdict sound.qcow2
	survey sound.qcow2
	harmed counts_zero
	harmed cut
done

# An overlay needs no backing file to be checked.
qemu-img create -q -f qcow2 -b gone.qcow2 -F qcow2 -u top.qcow2 1M
run gild check -f qcow2 top.qcow2
expect 0

# --- where gild does not do as qemu-img does -----------------------------------

# What hangs below a broken L1 entry seems leaked, and may be all that there is
# of the guest's data: it is kept, and the report says so.
image "v3 64k" ""
survey sound.qcow2
cp sound.qcow2 kept.qcow2
poke kept.qcow2 "$l1" $((l2 + 512))
run gild check -f qcow2 -r all kept.qcow2
expect 2
expect_err 'Leaked clusters are kept'
poke kept.qcow2 "$l1" $((l2 | copied))	# put right by hand
sound kept.qcow2
equal qcow2 sound.qcow2 qcow2 kept.qcow2

# A refcount table that is not there is made anew.
cp sound.qcow2 lost.qcow2
poke lost.qcow2 48 $((end + 100 * cs))
run gild check -f qcow2 -r all lost.qcow2
expect 0
sound lost.qcow2
equal qcow2 sound.qcow2 qcow2 lost.qcow2
