#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# gild snapshot: what it takes, applies and deletes is qemu-img's, and the other
# way round.

# shellcheck source=tests/lib.sh
. "${BASH_SOURCE%/*}/../tests/lib.sh"
requires "qemu-img --version"

# shows FILE SNAPSHOT RAW: the snapshot holds the raw file's disk.
shows() {
	qemu-img convert -q -l "snapshot.name=$2" -O raw "$1" shown.raw
	same shown.raw "$3"
	gild convert -q -l "$2" -O raw "$1" shown.raw
	same shown.raw "$3"
	gild compare -q --snapshot "$2" "$1" -F raw "$3"
}

for options in '' cluster_size=512 extended_l2=on compat=0.10 \
	refcount_bits=8 refcount_bits=64,cluster_size=4k lazy_refcounts=on; do
	rm -f x.qcow2
	qemu-img create -q -f qcow2 ${options:+-o "$options"} x.qcow2 8M
	put qcow2 x.qcow2 'write -P 1 0 1M' 'write -P 2 3M 100k'
	qemu-img convert -O raw x.qcow2 one.raw
	gild snapshot -c one x.qcow2
	sound x.qcow2
	put qcow2 x.qcow2 'write -P 3 512k 1M' 'write -z 3M 64k' 'discard 0 64k'
	qemu-img convert -O raw x.qcow2 two.raw
	gild snapshot -c two x.qcow2
	sound x.qcow2
	put qcow2 x.qcow2 'write -P 4 0 8M'
	qemu-img convert -O raw x.qcow2 three.raw
	shows x.qcow2 one one.raw
	shows x.qcow2 two two.raw

	# Back to the first; what is written then leaves the snapshots alone.
	gild snapshot -a one x.qcow2
	sound x.qcow2
	equal raw one.raw qcow2 x.qcow2
	put qcow2 x.qcow2 'write -P 5 0 200k'
	shows x.qcow2 one one.raw
	shows x.qcow2 two two.raw
	qemu-img snapshot -a two x.qcow2
	equal raw two.raw qcow2 x.qcow2

	gild snapshot -d one x.qcow2
	sound x.qcow2
	shows x.qcow2 two two.raw
	gild snapshot -d 2 x.qcow2	# by its id
	sound x.qcow2
	equal raw two.raw qcow2 x.qcow2
	run gild snapshot -l x.qcow2
	expect 0
	expect_no_out
done

# Those of qemu-img, listed in its words.
qemu-img snapshot -c 'a name' x.qcow2
qemu-img snapshot -c other x.qcow2
gild snapshot x.qcow2 >ours
qemu-img snapshot -l x.qcow2 >theirs
same ours theirs
gild snapshot -d 'a name' x.qcow2
run gild snapshot --output=json x.qcow2
expect 0
expect_out '"name": "other"'
sound x.qcow2

# A name that is not there, wherever one is read.
run gild convert -l nothing -O raw x.qcow2 nothing.raw
expect 1
expect_err 'there is no snapshot "nothing"'
expect_err 'snapshot -l lists'
[ ! -e nothing.raw ] || fail "a target without a source"
run gild map --snapshot other x.qcow2
expect 0

# Refusals leave the image as it was.
cp x.qcow2 before.qcow2
run gild snapshot -a nothing x.qcow2
expect 1
expect_err 'there is no snapshot "nothing"'
run gild snapshot -d nothing x.qcow2
expect 1
equal qcow2 before.qcow2 qcow2 x.qcow2
sound x.qcow2
truncate -s 1M x.raw
run gild snapshot -c one x.raw
expect 1
expect_err 'has no snapshots'
run gild snapshot -c one -d two x.qcow2
expect 1
expect_err 'exclude each other'

# One bit has no room for a second reference.
qemu-img create -q -f qcow2 -o refcount_bits=1 bit.qcow2 1M
put qcow2 bit.qcow2 'write -P 1 0 1M'
cp bit.qcow2 before.qcow2
run gild snapshot -c one bit.qcow2
expect 1
expect_err 'reference counts of 1 bits have no room'
same before.qcow2 bit.qcow2

# A host cluster in which two compressed clusters lie is counted twice, and
# would be four times.
head -c 20k /dev/urandom >part
{ cat part; head -c 44k /dev/zero; cat part; head -c 44k /dev/zero; } >packed.raw
gild convert -c -O qcow2 -o refcount_bits=2 packed.raw packed.qcow2
cp packed.qcow2 before.qcow2
run gild snapshot -c one packed.qcow2
expect 1
expect_err 'reference counts of 2 bits have no room'
same before.qcow2 packed.qcow2
gild convert -c -O qcow2 -o refcount_bits=4 packed.raw packed.qcow2
gild snapshot -c one packed.qcow2
sound packed.qcow2

# A snapshot becomes an image of its own.
qcow2 many.qcow2 8M
put qcow2 many.qcow2 'write -P 1 0 1M' 'write -P 2 3M 100k'
qemu-img convert -O raw many.qcow2 one.raw
qemu-img snapshot -c one many.qcow2
put qcow2 many.qcow2 'write -P 3 512k 5M'
qemu-img snapshot -c two many.qcow2
for options in '-O raw' '-O qcow2' '-O qcow2 --compress' \
	'-O qcow2 --compress -o compression_type=zstd,cluster_size=4k' ''; do
	rm -f out
	# shellcheck disable=SC2086 # words
	run gild snapshot --export one $options many.qcow2 out
	expect 0
	expect_no_out
	expect_no_err
	case $options in
	*qcow2*)
		sound out
		equal raw one.raw qcow2 out ;;
	*) same one.raw out ;;
	esac
done
run gild snapshot --export 2 -O raw -p many.qcow2 out
expect 0
expect_out '(100.00/100%)'
qemu-img convert -l two -O raw many.qcow2 two.raw
same two.raw out
rm out
refused() {
	local text=$1
	shift
	list >before
	run gild snapshot "$@"
	expect_error "$text"
	list >after
	same_text before after
}
list >after
list >before
refused 'there is no snapshot "three"' --export three many.qcow2 out
refused 'an image and of a target' --export one many.qcow2
refused 'exclude each other' --export one -l many.qcow2 out
refused 'the default (raw) contradicts the name' --export one many.qcow2 out.qcow2
refused 'with --export only' -O qcow2 many.qcow2
refused 'with --export only' --compress many.qcow2
refused 'has no compressed clusters' --export one --compress many.qcow2 out
refused 'needs the name of a file' --export one many.qcow2 -
refused 'the source itself' --export one -O qcow2 many.qcow2 many.qcow2
run gild snapshot --export one -O qcow2 -o help many.qcow2 out
expect 0
expect_out 'cluster_size'

# A disk of no bytes has an L1 table without a place.
for maker in gild qemu-img; do
	rm -f empty.qcow2
	$maker create -q -f qcow2 empty.qcow2 0
	gild snapshot -c nothing empty.qcow2
	sound empty.qcow2
	gild resize -q empty.qcow2 1M
	put qcow2 empty.qcow2 'write -P 7 0 1M'
	gild snapshot -c something empty.qcow2
	gild snapshot -a nothing empty.qcow2
	sound empty.qcow2
	gild snapshot -a something empty.qcow2
	gild snapshot -d nothing empty.qcow2
	sound empty.qcow2
	put qcow2 empty.qcow2 'read -P 7 0 1M'
done

# A snapshot whose L1 table is shorter than its disk: the rest is not allocated.
qcow2 short.qcow2 300k -o cluster_size=512
put qcow2 short.qcow2 'write -P 1 0 300k'
qemu-img snapshot -c s short.qcow2
table=$(dd if=short.qcow2 bs=1 skip=64 count=8 status=none | od -An -tu8 \
	--endian=big)
printf '\0\0\0\1' | dd of=short.qcow2 bs=1 seek=$((table + 8)) conv=notrunc \
	status=none
gild snapshot -a s short.qcow2
run gild check -f qcow2 short.qcow2
expect 3
put qcow2 short.qcow2 'read -P 1 0 32k' 'read -P 0 32k 268k' \
	'write -P 2 200k 10k'

# Which one: an id, else a name; what is spelled out is exactly that.
qcow2 ids.qcow2 64k
number=0
for name in one two 1; do
	put qcow2 ids.qcow2 "write -P $((number += 1)) 0 64k"
	qemu-img snapshot -c $name ids.qcow2
done
for pair in one:1 1:1 3:3 snapshot.id=1:1 snapshot.name=1:3 \
	snapshot.name=two:2 snapshot.id=3,snapshot.name=1:3; do
	gild convert -O raw -l "${pair%:*}" ids.qcow2 one.raw
	put raw one.raw "read -P ${pair##*:} 0 64k"
	gild map -f qcow2 --output=json --snapshot "${pair%:*}" ids.qcow2 >/dev/null ||
		fail "map --snapshot ${pair%:*}"
done
for name in snapshot.id=one snapshot.name=3 snapshot.id=2,snapshot.name=1; do
	run gild convert -O raw -l $name ids.qcow2 x
	expect_error 'ids.qcow2: there is no snapshot "'
done
for name in snapshot.nosuch=1 snapshot. snapshot.id=1,x=2; do
	run gild convert -O raw -l $name ids.qcow2 x
	expect_error "-l takes snapshot.id=ID and snapshot.name=NAME, not '$name'"
done
run gild convert -O raw -l snapshot.id=1 nosuch.qcow2 x
expect_error 'nosuch.qcow2: cannot be opened'
