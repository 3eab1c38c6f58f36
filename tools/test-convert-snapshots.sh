#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# gild convert --keep-snapshots: every snapshot is there, by qemu-img's
# judgement, what they share is stored once, and all that a target can be it
# can be with snapshots. VM state: tools/test-convert-vm-state.sh.

# shellcheck source=tests/lib.sh
. "${BASH_SOURCE%/*}/../tests/lib.sh"
requires "qemu-img --version" "qemu-io --version" "python3 --version"

in_memory
printf hello >pass
secret=(--object "secret,id=s,data=hello")
key=encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=1

# history NAME: what happened to the image so far. 1 and 4 differ little and what
# is between them much, 2 and 3 do not differ, 7 is as 1. Sizes differ or not.
size=(- 8M 8M 8M 8M 12400k 5001k 8M)
history() {
	local x=$1
	put qcow2 "$x" 'write -P 1 0 1M' 'write -P 2 3M 100k' \
		'write -P 9 7000k 20k' 'write -z 5M 64k'
	qemu-img snapshot -c 'the first' "$x"
	put qcow2 "$x" 'write -P 3 512k 1M' 'write -z 3M 64k' 'discard 0 64k' \
		'write -P 4 6M 1M'
	qemu-img snapshot -c two "$x"
	qemu-img snapshot -c three "$x"
	qemu-img snapshot -a 'the first' "$x"
	put qcow2 "$x" 'write -P 5 100k 5k' 'write -P 6 4M 30k'
	qemu-img snapshot -c four "$x"
	[ $sizes = same ] || qemu-img resize -q -f qcow2 "$x" 12400k
	put qcow2 "$x" 'write -P 7 7900k 200k' 'write -P 8 2M 200k'
	[ $sizes = same ] || put qcow2 "$x" 'write -P 8 12000k 400k'
	qemu-img snapshot -c five "$x"
	[ $sizes = same ] || qemu-img resize -q --shrink -f qcow2 "$x" 5001k
	qemu-img snapshot -c small "$x"
	qemu-img snapshot -a 'the first' "$x"
	qemu-img snapshot -c six "$x"
	[ $sizes = same ] || qemu-img resize -q -f qcow2 "$x" 12500k
	put qcow2 "$x" 'write -P 10 40k 100k' 'write -P 0 1M 64k'
}

# What qemu-img knows of the snapshots, in JSON, without what moves.
snapshots_of() {
	qemu-img info --output=json "$1" | python3 -c '
import json, sys
print(json.dumps(json.load(sys.stdin).get("snapshots"), indent=1))'
}

# The raw disks of an image, as NAME.0 (the active one), NAME.1 ... (qemu-img
# reads all snapshots as long as the active disk.)
disks() {
	local id n=0
	rm -f "$2".*
	while read -r id; do
		n=$((n + 1))
		qemu-img convert -q -l "snapshot.id=$id" -O raw "$1" "$2.$n"
		[ $sizes = same ] || truncate -s "${size[n]}" "$2.$n"
	done < <(qemu-img snapshot -l "$1" | awk 'NR > 2 {print $1}')
	qemu-img convert -q -O raw "$1" "$2.0"
}

# The disks of an image are those of the source, whose are want.*, as qemu-img
# sees them and as gild does.
same_disks() {
	local i
	disks "$1" got
	for ((i = 0; i <= count; i++)); do
		same want.$i got.$i
		[ $i = 0 ] || gild convert -q -f qcow2 -l $i -O raw "$1" got.$i
		same want.$i got.$i
	done
	[ ! -e got.$i ] || fail "more snapshots than there were"
}

# keeps SOURCE OPTIONS...: the target "y" has all of it.
keeps() {
	local source=$1
	shift
	rm -f y
	run gild convert --keep-snapshots -f qcow2 -O qcow2 "$@" "$source" y
	expect 0
	expect_no_out
	expect_no_err
	sound y
	run gild check -q -f qcow2 y
	expect 0
	qemu-img snapshot -l "$source" >wanted
	qemu-img snapshot -l y >got
	same_text wanted got
	snapshots_of "$source" >wanted
	snapshots_of y >got
	same_text wanted got
	same_disks y
}

# As many bytes as the source has, or so many more at most.
no_larger() {
	local was is
	was=$(stat -c %s "$1") is=$(stat -c %s y)
	[ "$is" -le $((was + $2)) ] ||
		fail "$is bytes, and the source has $was"
}

make_source() {
	rm -f x
	qemu-img create -q -f qcow2 "${@:2}" ${1:+-o "$1"} x 8M
	history x
	disks x want
	count=$(($(find . -name 'want.*' | wc -l) - 1))
	[ $count = 7 ] || fail "$count snapshots"
}

# ------------------------------------------------------------ every target --

sizes=differ
make_source ''
# The L2 tables that later snapshots shared with the first come anew.
tables=$((count * 65536))
targets=('' cluster_size=4k extended_l2=on)
[ "${GILD_TEST_LEVEL-}" = fast ] || targets+=(cluster_size=512 \
	cluster_size=2M 'extended_l2=on,cluster_size=16k' refcount_bits=4 \
	refcount_bits=64 lazy_refcounts=on 'cluster_size=32k,refcount_bits=8')
for options in "${targets[@]}"; do
	keeps x ${options:+-o "$options"}
	case $options in
	'' | lazy*) no_larger x $tables ;;
	esac
done
for options in '' compression_type=zstd cluster_size=4k,refcount_bits=8 \
	extended_l2=on,compression_type=zstd,cluster_size=32k; do
	keeps x -c ${options:+-o "$options"}
	[ "$(stat -c %s y)" -lt 2000000 ] || fail "not compressed"
done
keeps x -S 0
keeps x --salvage --no-reflink --sync -W -t none
run gild convert --keep-snapshots -p -f qcow2 -O qcow2 x y
expect 0
expect_out '(100.00/100%)'

# The result does not depend on the threads, nor on the run.
for args in '' '-c' '-o cluster_size=4k' '-c -o cluster_size=4k'; do
	for workers in 1 2 3 8; do
		# shellcheck disable=SC2086 # words
		gild convert --keep-snapshots -O qcow2 $args -m $workers x \
			y$workers
		same y1 y$workers
	done
done
rm y?

# A target of a target: as small as the first one.
gild convert --keep-snapshots -O qcow2 x z
keeps z
no_larger z 0
rm z

# An existing file is replaced, and stays what it was until then.
echo old >y
chmod 600 y
gild convert --keep-snapshots -O qcow2 x y
[ "$(stat -c %a y)" = 600 ] || fail "not replaced"
same_disks y

# ------------------------------------------------------------ every source --

sizes=same
for options in '' compat=0.10 cluster_size=4k extended_l2=on cluster_size=2M \
	refcount_bits=4; do
	make_source "$options"
	keeps x
	keeps x -o cluster_size=4k
	keeps x -c
	keeps x -o compat=0.10
	[[ $options = *=* ]] || no_larger x $tables
	qemu-img snapshot -a four y
	equal raw want.4 qcow2 y
	[ "${GILD_TEST_LEVEL-}" != fast ] || break
done

# Compressed to begin with.
sizes=differ
disk disk.raw
truncate -s 8M disk.raw
qemu-img convert -c -f raw -O qcow2 disk.raw x
history x
disks x want
keeps x
keeps x -c
no_larger x $tables
keeps x -c -o cluster_size=4k

# Over a backing file: flattened, or over the same one, or over another.
truncate -s 10M base.raw
put raw base.raw 'write -P 77 0 10M' 'write -P 0 2500k 100k'
qemu-img convert -c -f raw -O qcow2 base.raw base.qcow2
make_source '' -b base.raw -F raw
keeps x
# shellcheck disable=SC2094 # info is the verb, too
qemu-img info y >info
! grep -q backing info || fail "a backing file is left"
keeps x -c
for base in 'base.raw -F raw' 'base.qcow2 -F qcow2'; do
	# shellcheck disable=SC2086 # words
	keeps x -B $base
	# shellcheck disable=SC2094 # info is the verb, too
	qemu-img info y >info
	grep -q backing info || fail "no backing file"
	no_larger x $tables
	# shellcheck disable=SC2086
	keeps x -B $base -o cluster_size=4k
	# shellcheck disable=SC2086
	keeps x -B $base -c -o extended_l2=on
done
keeps x -o backing_file=base.raw,backing_fmt=raw
no_larger x $tables
# What is in the base is not stored in any tree.
qemu-img create -q -f qcow2 x 8M
put qcow2 x 'write -P 77 0 1M'
qemu-img snapshot -c one x
put qcow2 x 'write -P 1 0 1M'
qemu-img snapshot -c two x
put qcow2 x 'write -P 77 0 1M' 'write -P 1 7M 1M'
count=2
disks x want
keeps x -B base.raw -F raw -o compat=0.10
keeps x -B base.raw -F raw
put raw base.raw 'write -P 78 0 64k'
first_byte() {
	qemu-img convert -q "${@:2}" -O raw y got
	[ "$(od -An -tu1 -N1 got | tr -d ' ')" = "$1" ] ||
		fail "$(od -An -tx1 -N16 got)"
}
first_byte 78 -l one
first_byte 1 -l two
first_byte 78

# Without any it is the same as without the option; a raw disk has none.
gild convert --keep-snapshots -O qcow2 base.qcow2 y
gild convert -O qcow2 base.qcow2 z
same y z
gild convert --keep-snapshots -O qcow2 disk.raw y
equal raw disk.raw qcow2 y
rm z

# -------------------------------------------------------------- encryption --

# The disks of an encrypted image, by gild, which tests/test-encryption.sh has
# compared with qemu-img.
same_secret_disks() {
	local i
	for ((i = 1; i <= count; i++)); do
		gild convert -q -f qcow2 -l $i -O raw --secret-file pass "$1" got.$i
		same want.$i got.$i
	done
	gild convert -q -f qcow2 -O raw --secret-file pass "$1" got.0
	same want.0 got.0
	qemu-img convert "${secret[@]}" -l snapshot.id=3 -O raw --image-opts \
		"driver=qcow2,$2encrypt.key-secret=s,file.filename=$1" got.3
	truncate -s "${size[3]}" got.3
	same want.3 got.3
	qemu-img check "${secret[@]}" --image-opts \
		"driver=qcow2,$2encrypt.key-secret=s,file.filename=$1" >checked ||
		{ cat checked >&2; fail "qemu-img check $1"; }
}

make_source ''
for options in $key $key,cluster_size=4k; do
	run gild convert --keep-snapshots -O qcow2 "${secret[@]}" -o "$options" x y
	expect 0
	same_secret_disks y ''
done
gild convert -q --keep-snapshots -O qcow2 "${secret[@]}" \
	-o encrypt.format=aes,encrypt.key-secret=s x z 2>said
same_secret_disks z encrypt.format=aes, 2>>said
# From encrypted ones.
mv x plain
for x in y z; do
	run gild convert --keep-snapshots -f qcow2 -O qcow2 "${secret[@]}" \
		-o $key $x out
	expect 0
	same_secret_disks out ''
	run gild convert --keep-snapshots -q -O qcow2 -f qcow2 --secret-file pass \
		-c $x out
	expect 0
	same_disks out
	sound out
done
run gild convert --keep-snapshots -f qcow2 -O qcow2 y out2
expect_error 'no secret was given'
[ ! -e out2 ] || fail "an image without its key"
mv plain x
rm y z out

# ------------------------------------------------------------------ refused --

list >after
list >before
refused() {
	local text=$1
	shift
	run gild convert --keep-snapshots "$@"
	expect_error "$text"
	expect_no_out
	list >after
	same_text before after
}
refused 'format raw has none' x y
refused 'format luks has none' -O luks "${secret[@]}" x y
refused 'from one image to one other' -O qcow2 x x y
refused 'from one image to one other' -O qcow2 x -
refused 'from one image to one other' -O qcow2 - y </dev/zero
refused 'there already' -n -O qcow2 x base.qcow2
refused 'no others can be kept' -l two -O qcow2 x y
refused 'data file' -o data_file=d -O qcow2 x y
refused 'preallocation and snapshots' -o preallocation=falloc -O qcow2 x y
refused 'of 1 bits have no room for 7 snapshots' -o refcount_bits=1 -O qcow2 x y
refused 'of 2 bits have no room for 7 snapshots' -o refcount_bits=2 -O qcow2 x y
expect_err 'more refcount_bits'
refused 'all snapshots have the disk' -o compat=0.10 -O qcow2 x y
expect_err 'compat=1.1'
refused 'the source itself' -O qcow2 x x
refused 'nosuch.raw' -O qcow2 -B nosuch.raw -F raw x y

# Broken snapshots: an error that names the image, and nothing is left.
poke() {
	printf '%b' "$3" | dd of="$1" bs=1 seek=$(($2)) conv=notrunc status=none
}
table=$((0x$(od -An -v -tx1 -j 64 -N 8 x | tr -d ' \n')))
list >before
for at in 0 8 48; do
	cp x broken
	poke broken $((table + at)) '\xff\xff\xff'
	list >before
	refused 'broken: ' -f qcow2 -O qcow2 broken y
done
l1=$((0x$(od -An -v -tx1 -j $table -N 8 x | tr -d ' \n')))
cp x broken
poke broken $((l1 + 4)) '\x70'
refused 'L2 table' -f qcow2 -O qcow2 broken y
