#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# gild amend: what it changes qemu-img finds sound, and reads the same disk and
# snapshots; what qemu-img amends gild reads; what cannot be is refused, and
# nothing is changed then.

# shellcheck source=tests/lib.sh
. "${BASH_SOURCE%/*}/../tests/lib.sh"
requires "qemu-img --version"
requires "qemu-io --version"
requires "python3 --version"

level=${GILD_TEST_LEVEL:-normal}
in_memory

# image [-s] [-c] OPTIONS [BACKING]: x.qcow2 with clusters of every sort, -s: a
# snapshot "one", -c: compressed ones, too. now.raw and one.raw are its disks.
image() {
	local snapshot='' compressed=''
	while [[ ${1-} == -* ]]; do
		case $1 in
		-s) snapshot=1 ;;
		-c) compressed=1 ;;
		esac
		shift
	done
	rm -f x.qcow2 one.raw
	if [ -n "$compressed" ]; then
		qemu-img convert -c -O qcow2 ${1:+-o "$1"} packed.raw x.qcow2
		[ -z "${2-}" ] || qemu-img rebase -u -b "$2" -F qcow2 x.qcow2
	else
		qemu-img create -q -f qcow2 ${1:+-o "$1"} \
			${2:+-b "$2" -F qcow2} x.qcow2 8M
	fi
	put qcow2 x.qcow2 'write -P 1 0 1M' 'write -z 1M 300k' \
		'write -z 256k 64k' 'write -P 2 3M 100k' 'write -z 7M 1M'
	if [ -n "$snapshot" ]; then
		qemu-img convert -O raw x.qcow2 one.raw
		qemu-img snapshot -c one x.qcow2
		put qcow2 x.qcow2 'write -P 3 512k 1M' 'write -z 3M 64k' \
			'write -z 0 64k' 'discard 3M 64k'
	fi
	qemu-img convert -O raw x.qcow2 now.raw
	cp x.qcow2 before.qcow2
}

# Sound, and with the disks it had; by both programs.
as_it_was() {
	sound x.qcow2
	gild check -q x.qcow2
	equal raw now.raw qcow2 x.qcow2
	gild compare -q -F raw x.qcow2 now.raw
	[ -e one.raw ] || return 0
	qemu-img convert -q -l snapshot.name=one -O raw x.qcow2 shown.raw
	same shown.raw one.raw
	gild compare -q --snapshot one x.qcow2 -F raw one.raw
}

# amended OPTIONS: gild does it, and the image is as it was.
amended() {
	run gild amend -o "$1" x.qcow2
	expect 0
	expect_no_out
	expect_no_err
	as_it_was
}

# theirs OPTIONS: the same with qemu-img.
theirs() {
	qemu-img amend -f qcow2 -o "$1" x.qcow2
	as_it_was
}

# says LINE: qemu-img info has it among what is specific to the format.
says() {
	# shellcheck disable=SC2094 # info is the verb, too
	qemu-img info x.qcow2 >info
	grep -qxF "    $1" info || { cat info >&2; fail "info does not say: $1"; }
}

# no_zeros: no entry of x.qcow2 or its snapshot has the zero flag.
no_zeros() {
	python3 - <<'END' || fail "an L2 entry says zeros"
import struct, sys
image = open("x.qcow2", "rb").read()
bits, = struct.unpack_from(">I", image, 20)
tables = [struct.unpack_from(">IQ", image, 36)]
count, at = struct.unpack_from(">IQ", image, 60)
for i in range(count):
    offset, entries, ids, names = struct.unpack_from(">QIHH", image, at)
    extra, = struct.unpack_from(">I", image, at + 36)
    tables.append((entries, offset))
    at += (40 + extra + ids + names + 7) & ~7
for entries, offset in tables:
    for i in range(entries):
        l2, = struct.unpack_from(">Q", image, offset + 8 * i)
        l2 &= 0x00fffffffffffe00
        for j in range((1 << bits) // 8 if l2 else 0):
            entry, = struct.unpack_from(">Q", image, l2 + 8 * j)
            if not entry >> 62 & 1 and entry & 1:
                sys.exit(1)
END
}

# refused OPTIONS MESSAGE [ARGS...]: and the image is what it was, to the byte.
refused() {
	cp x.qcow2 before.qcow2
	run gild amend -o "$1" "${@:3}" x.qcow2
	expect_error "$2"
	same before.qcow2 x.qcow2
}

qcow2 base.qcow2 8M
put qcow2 base.qcow2 'write -P 9 0 8M'
truncate -s 8M packed.raw
seq 1 900000 | dd of=packed.raw bs=64k seek=32 conv=notrunc status=none

# --- versions ----------------------------------------------------------------

kinds=(cluster_size=512 lazy_refcounts=on)
[ "$level" = fast ] || kinds+=('' cluster_size=2M preallocation=metadata)
for options in "${kinds[@]}"; do
	for backing in '' base.qcow2; do
		[ "$options$backing" != preallocation=metadatabase.qcow2 ] ||
			continue
		image -s "$options" "$backing"
		amended compat=0.10
		says 'compat: 0.10'
		no_zeros
		amended compat=0.10	# nothing to do
		amended compat=1.1
		says 'compat: 1.1'
		says 'lazy refcounts: false'
		theirs compat=0.10
		amended compat=v3,lazy_refcounts=on
		says 'lazy refcounts: true'
		put qcow2 x.qcow2 'write -P 7 4M 64k'
		put raw now.raw 'write -P 7 4M 64k'
		as_it_was
		theirs compat=v2
		theirs compat=v3
		as_it_was
	done
done
image -c '' base.qcow2
amended compat=0.10
no_zeros

# Nothing is stored for what no backing file would show.
image ''
size=$(stat -c %b x.qcow2)
amended compat=0.10
[ "$(stat -c %b x.qcow2)" -le "$size" ] || fail "zeros take space"

# A place that an entry keeps, and that a snapshot has data in, keeps them.
image -s '' base.qcow2
python3 - <<'END'
import struct
with open("x.qcow2", "r+b") as f:
    image = f.read()
    l1, = struct.unpack_from(">Q", image, 40)
    l2, = struct.unpack_from(">Q", image, l1)
    at = (l2 & 0xfffffffffffe00) + 8
    entry, = struct.unpack_from(">Q", image, at)
    assert entry and not entry >> 62
    f.seek(at)
    f.write(struct.pack(">Q", entry | 1))
END
put raw now.raw 'write -P 0 64k 64k'
as_it_was
amended compat=0.10
no_zeros

# zstd is version 3's: but only clusters that are compressed keep it there.
image compression_type=zstd
amended compat=0.10
says 'compression type: zlib'
image -c compression_type=zstd
refused compat=0.10 'compressed with zstd'
expect_err 'gild convert'

# A snapshot as old programs wrote it, without a word on the disk's size.
image -s compat=0.10
python3 - <<'END'
import struct
with open("x.qcow2", "r+b") as f:
    image = f.read()
    at, = struct.unpack_from(">Q", image, 64)
    ids, names = struct.unpack_from(">HH", image, at + 12)
    extra, = struct.unpack_from(">I", image, at + 36)
    f.seek(at + 36)
    tail = image[at + 40 + extra:at + 40 + extra + ids + names]
    f.write(struct.pack(">I", 0) + tail + bytes(extra))
END
as_it_was
amended compat=1.1
says 'compat: 1.1'
python3 - <<'END' || fail "the snapshot's size is not recorded"
import struct, sys
image = open("x.qcow2", "rb").read()
at, = struct.unpack_from(">Q", image, 64)
extra, = struct.unpack_from(">I", image, at + 36)
sys.exit(extra < 16 or struct.unpack_from(">Q", image, at + 48)[0] != 8 << 20)
END

# Bitmaps go on as they are.
image -s cluster_size=4k
qemu-img bitmap --add x.qcow2 b
qemu-img bitmap --add --disable x.qcow2 c
put qcow2 x.qcow2 'write -P 8 5M 100k'
qemu-img convert -O raw x.qcow2 now.raw
"$top/tests/bitmaps" x.qcow2 >marked
[ -s marked ] || fail "there are no bitmaps"
refused compat=0.10 'cannot have bitmaps'
expect_err 'gild bitmap --remove'
for options in refcount_bits=64 lazy_refcounts=on \
	refcount_bits=8,lazy_refcounts=off; do
	amended $options
	"$top/tests/bitmaps" x.qcow2 >marks
	same_text marked marks
done
qemu-img bitmap --remove x.qcow2 b
qemu-img bitmap --remove x.qcow2 c
amended compat=0.10,refcount_bits=16

# With snapshots the size is fixed, until the version is another.
image -s compat=0.10
refused size=9M 'keeps its size'
run gild amend -o compat=1.1,size=9M x.qcow2
expect 0
sound x.qcow2
gild compare -q --snapshot one x.qcow2 -F raw one.raw

image -s ''
gild resize -q x.qcow2 9M
refused compat=0.10 'snapshot 1 prevents compat=0.10'
image extended_l2=on
refused compat=0.10 'extended L2'
image refcount_bits=8
refused compat=0.10 'needs refcount_bits=16, and the image has 8'
expect_err 'add refcount_bits=16'
amended compat=0.10,refcount_bits=16
refused lazy_refcounts=on '"lazy_refcounts" needs compatibility level 1.1'
refused refcount_bits=8 'refcount_bits other than 16 needs'
refused compat=0.10,lazy_refcounts=on '"lazy_refcounts" needs'
amended compat=1.1,lazy_refcounts=on,refcount_bits=1
says 'refcount bits: 1'
refused compat=v4 'option "compat" is 0.10, 1.1, v2 or v3, not "v4"'

# What version 3 adds to a header has to fit.
name=$(printf './%.0s' {1..200})base.qcow2
qcow2 x.qcow2 8M -b "$name" -F qcow2 -o cluster_size=512,compat=0.10
refused compat=1.1 'the header with its names needs'

# --- the width of reference counts --------------------------------------------

widths='64 1 8 2 32 4 16'
kinds=(cluster_size=512)
[ "$level" = fast ] || kinds+=('' extended_l2=on lazy_refcounts=on)
for options in "${kinds[@]}"; do
	image "$options"
	for bits in $widths; do
		amended "refcount_bits=$bits"
		says "refcount bits: $bits"
		put qcow2 x.qcow2 "write -P $bits ${bits}k 200k"
		put raw now.raw "write -P $bits ${bits}k 200k"
	done
	theirs refcount_bits=32
	theirs refcount_bits=1
	amended refcount_bits=64
done
image -s -c cluster_size=4k,refcount_bits=32 base.qcow2
for bits in 8 64 16; do
	amended "refcount_bits=$bits"
	theirs refcount_bits=$bits
done
# Shared by a snapshot, or packed behind one another: more than one.
refused refcount_bits=1 'which 1 bits cannot hold'
expect_err 'larger refcount_bits'
for bits in 3 0 128 65; do
	refused refcount_bits=$bits 'power of two from 1 to 64'
done
# A table of more than 8 MiB: something is counted far away.
qcow2 x.qcow2 1M -o cluster_size=512,refcount_bits=1
python3 - <<'END'
import struct
with open("x.qcow2", "r+b") as f:
    image = f.read()
    old, = struct.unpack_from(">Q", image, 48)
    end = (len(image) + 511) // 512 * 512
    table = bytearray(512 * 260)
    table[:512] = image[old:old + 512]
    struct.pack_into(">Q", table, 16450 * 8, end + len(table))
    f.seek(end)
    f.write(table + b"\1" + bytes(511))
    f.seek(48)
    f.write(struct.pack(">QI", end, 260))
END
run gild check -q -r all x.qcow2
python3 - <<'END'
import struct
with open("x.qcow2", "r+b") as f:
    image = f.read()
    table, = struct.unpack_from(">Q", image, 48)
    block, = struct.unpack_from(">Q", image, table + 16450 * 8)
    f.seek(block)
    f.write(b"\1")
END
refused refcount_bits=64 'a table of more than 8 MiB'
expect_err 'smaller refcount_bits'

# Back and forth the image does not grow for ever.
image ''
amended refcount_bits=64
amended refcount_bits=16
size=$(stat -c %s x.qcow2)
for ((i = 0; i < 4; i++)); do
	gild amend -o refcount_bits=64 x.qcow2
	gild amend -o refcount_bits=16 x.qcow2
done
as_it_was
[ "$(stat -c %s x.qcow2)" -le $((size + 4 * 65536)) ] ||
	fail "the image grows with each change"

# --- size ------------------------------------------------------------------------

image -s '' base.qcow2
amend_size() {
	truncate -s "$1" now.raw
	run gild amend -o "size=$1" "${@:2}" x.qcow2
	expect 0
	sound x.qcow2
	equal raw now.raw qcow2 x.qcow2
}
amend_size 20M
refused size=6M 'would shrink'
expect_err '--force'
amend_size 6M --force
amend_size 7M
refused size=1000 'multiple of 512' --force
refused size=ten 'size'
refused size=1E 'too large'

# --- backing file, data file -------------------------------------------------------

image '' base.qcow2
amended backing_file=base.qcow2,backing_fmt=qcow2
amended backing_fmt=qcow2
refused backing_file=other.qcow2 'backing file'
expect_err 'gild rebase'
refused backing_fmt=raw 'gild rebase'
refused backing_file= 'gild rebase'
refused data_file=x 'in another file already'
refused data_file_raw=on 'cannot be turned on'
amended data_file_raw=off

image data_file=x.data
refused compat=0.10 'external data file'
refused data_file_raw=on 'cannot be turned on'
refused data_file= 'is empty'
refused data_file=x.qcow2 'its own data file'
refused data_file=nbd:unix:/x 'nbd:'
run gild amend -o data_file=moved.data x.qcow2
expect 0
mv x.data moved.data
as_it_was
says 'data file: moved.data'
amended refcount_bits=8
image data_file=x.data,data_file_raw=on
amended data_file_raw=on
says 'data file raw: true'
amended data_file_raw=off
says 'data file raw: false'

# --- key slots -----------------------------------------------------------------------

secrets=(--object "secret,id=old,data=one" --object "secret,id=new,data=two"
	--object "secret,id=bad,data=three")

# opens KEY: the image opens by it, says qemu-img.
opens() {
	qemu-img convert "${secrets[@]}" -O raw --image-opts "${opts/KEY/$1}" \
		shown.raw 2>said || return 1
	same shown.raw now.raw
}

# slots ACTIVE...: which ones are in use.
slots() {
	# shellcheck disable=SC2094 # info is the verb, too
	qemu-img info --output=json x.luks >info
	python3 - "$@" <<'END' || fail "other slots than $* are in use"
import json, sys
data = json.load(open("info"))["format-specific"]["data"]
slots = data.get("encrypt", data)["slots"]
sys.exit([str(i) for i, s in enumerate(slots) if s["active"]] != sys.argv[1:])
END
}

# keys ARGS...: options without their prefix.
keys() {
	local last=${*: -1}
	run gild amend -f "$format" "${secrets[@]}" "${@:1:$#-1}" \
		-o "$prefix${last//,/,$prefix}" x.luks
}

not_keys() {
	cp x.luks before.luks
	keys "${@:2}"
	expect_error "$1"
	same before.luks x.luks
}

for format in luks qcow2; do
	prefix=encrypt. opts=driver=qcow2,encrypt.key-secret=KEY
	create=encrypt.format=luks,encrypt.key-secret=old,encrypt.iter-time=1
	if [ $format = luks ]; then
		prefix='' opts=driver=luks,key-secret=KEY
		create=key-secret=old,iter-time=1
	fi
	opts+=,file.filename=x.luks
	rm -f x.luks
	disk now.raw
	qemu-img create -q "${secrets[@]}" -f $format -o $create x.luks 10M
	qemu-img convert -n "${secrets[@]}" --image-opts --target-image-opts \
		driver=raw,file.filename=now.raw "${opts/KEY/old}"
	slots 0
	keys iter-time=1,state=active,new-secret=new
	expect 0
	expect_no_err
	slots 0 1
	opens old
	opens new
	! opens bad || fail "anything opens"
	not_keys 'slot 1 is in use' iter-time=1,state=active,new-secret=new,keyslot=1
	keys iter-time=1,state=active,new-secret=new,keyslot=6
	expect 0
	slots 0 1 6
	not_keys 'does not open key slot 0' state=inactive,old-secret=new,keyslot=0
	not_keys 'opens no key slot' state=inactive,old-secret=bad
	not_keys 'not in use' state=inactive,keyslot=3
	keys state=inactive,old-secret=new,keyslot=1
	expect 0
	slots 0 6
	keys state=inactive,keyslot=0
	expect 0
	slots 6
	opens new
	! opens old || fail "an erased key opens"
	not_keys 'is the last one' state=inactive,keyslot=6
	not_keys 'is the last one' state=inactive,old-secret=new
	# Their turn.
	qemu-img amend "${secrets[@]}" --image-opts "${opts/KEY/new}" \
		-o "${prefix}state=active,${prefix}new-secret=old,${prefix}iter-time=1"
	slots 0 6
	run gild amend "${secrets[@]}" --image-opts "${opts/KEY/old}" \
		-o "${prefix}state=inactive,${prefix}old-secret=new"
	expect 0
	slots 0
	# One that is in use, the only one, gets another secret.
	keys --force iter-time=1,state=active,keyslot=0,new-secret=new
	expect 0
	slots 0
	opens new
	! opens old || fail "what was overwritten opens"
	keys --force state=inactive,keyslot=0
	expect 0
	slots
	not_keys 'wrong passphrase' state=active,new-secret=new

	rm -f x.luks
	qemu-img create -q "${secrets[@]}" -f $format -o $create x.luks 10M
	not_keys '"'$prefix'state" is missing' new-secret=new
	not_keys 'is active or inactive, not "on"' state=on,new-secret=new
	not_keys 'new-secret" is missing' state=active
	not_keys 'goes with state=inactive' state=active,new-secret=new,old-secret=old
	not_keys 'goes with state=active' state=inactive,new-secret=new,keyslot=0
	not_keys 'goes with state=active' state=inactive,iter-time=1,keyslot=0
	not_keys 'neither a keyslot nor an old-secret' state=inactive
	not_keys 'is 0 to 7, not 8' state=inactive,keyslot=8
	not_keys 'keyslot' state=inactive,keyslot=-1
	not_keys 'milliseconds, not 0' state=active,new-secret=new,iter-time=0
	not_keys 'no secret with id "who"' state=active,new-secret=who
	cp x.luks before.luks
	run gild amend -f $format -o "${prefix}state=inactive,${prefix}keyslot=0" \
		--force x.luks
	expect_error 'no secret was given'
	printf three >wrong
	run gild amend -f $format -o "${prefix}state=inactive,${prefix}keyslot=0" \
		--force --secret-file wrong x.luks
	expect_error 'wrong passphrase'
	same before.luks x.luks
done
image ''
refused encrypt.state=active,encrypt.new-secret=new 'not encrypted' \
	"${secrets[@]}"
qemu-img create -q "${secrets[@]}" -f qcow2 \
	-o encrypt.format=aes,encrypt.key-secret=old x.qcow2 1M
run gild amend --object secret,id=old,data=one -o \
	encrypt.state=inactive,encrypt.keyslot=0 x.qcow2
expect 1
expect_err 'this one is with aes'

# --- encrypted data --------------------------------------------------------------------

# Clusters of zeros that are encrypted, where a backing file would show.
opts=driver=qcow2,file.filename=x.qcow2,encrypt.key-secret
for method in luks aes; do
	rm -f x.qcow2
	qemu-img create -q "${secrets[@]}" -f qcow2 -b base.qcow2 -F qcow2 -o \
		"encrypt.format=$method,encrypt.key-secret=old${iter=,encrypt.iter-time=1}" \
		x.qcow2 8M
	iter=
	cat >io <<-END
		write -z 1M 300k
		write -P 5 2M 64k
		write -z 2M 64k
		write -P 6 3M 64k
	END
	qemu-io "${secrets[@]}" --image-opts \
		$opts=old,encrypt.format=$method <io >said
	qemu-img convert "${secrets[@]}" -O raw --image-opts \
		$opts=old,encrypt.format=$method now.raw
	# Without the secret there are no zeros to be written, with it there are.
	cp x.qcow2 locked.qcow2
	run gild amend -o compat=0.10 locked.qcow2
	expect_error 'its secret was not given'
	run gild amend -o compat=0.10 --object secret,id=old,data=one x.qcow2
	expect 0
	no_zeros
	run gild amend -o compat=1.1,refcount_bits=64 x.qcow2
	expect 0
	qemu-img convert "${secrets[@]}" -O raw --image-opts \
		$opts=old,encrypt.format=$method shown.raw
	same now.raw shown.raw
	qemu-img check "${secrets[@]}" --image-opts \
		$opts=old,encrypt.format=$method >checked ||
		{ cat checked >&2; fail "qemu-img check, $method"; }
done

# --- the command -------------------------------------------------------------------------

image ''
run gild amend -o help -f qcow2
expect 0
sed -n 's/^  \([a-z_.-]*\)=.*/\1/p' "$out" >got
qemu-img amend -f qcow2 -o help none | sed -n 's/^  \([a-z_.-]*\)=.*/\1/p' >wanted
same_text wanted got
run gild amend -o help x.qcow2
expect 0
expect_out "Amend options for 'qcow2':"
run gild amend -f luks -o help
expect 0
sed -n 's/^  \([a-z_.-]*\)=.*/\1/p' "$out" >got
qemu-img amend -f luks -o help none | sed -n 's/^  \([a-z_.-]*\)=.*/\1/p' >wanted
same_text wanted got
run gild amend -f raw -o help
expect_error 'nothing can be changed'
run gild amend -f vdi -o help
expect_error 'unknown format "vdi"'
run gild amend -o help
expect_error '-o help needs a format'
run gild amend -f raw -o size=1M now.raw
expect_error 'nothing can be changed'
run gild amend x.qcow2
expect_error 'what to change is needed'
run gild amend -o compat=1.1
expect_error 'the name of one image'
refused cluster_size=4k '"cluster_size" is for making an image'
refused nosuch=1 'unknown option "nosuch"'
refused compat=0.10,compat=1.1 'twice'
run gild amend -p -o refcount_bits=64 x.qcow2
expect 0
tr '\r' '\n' <"$out" | grep -q '(100.00/100%)' || fail "no progress"
run gild amend --progress=json -o compat=0.10,refcount_bits=16 x.qcow2
expect 0
expect_err '"description": "amending"'
run gild amend -p -q -o compat=1.1 x.qcow2
expect_no_out
chmod 400 x.qcow2
[ -w x.qcow2 ] || { run gild amend -o compat=0.10 x.qcow2; expect 1; }
chmod 600 x.qcow2
cp x.qcow2 guessed
run gild amend -o compat=0.10 guessed
expect_error '-f qcow2'

# Tables of a damaged image are not changed: an L2 entry leads to a table.
image -s ''
python3 - <<'END'
import struct
with open("x.qcow2", "r+b") as f:
    image = f.read()
    l1, = struct.unpack_from(">Q", image, 40)
    l2, = struct.unpack_from(">Q", image, l1)
    f.seek((l2 & 0xfffffffffffe00) + 8 * 100)
    f.write(struct.pack(">Q", 1 << 63 | l1))
END
refused compat=0.10 'is damaged'
expect_err 'gild check -r all'

# --- killed ---------------------------------------------------------------------------------

# Zeros that are to become clusters: enough to take a while.
rm -f x.qcow2 one.raw
qcow2 x.qcow2 1G -b base.qcow2 -F qcow2 -o cluster_size=4k
put qcow2 x.qcow2 'write -P 1 0 64k' 'write -z 64k 500M'
cp x.qcow2 start.qcow2
# stopped SIGNAL SECONDS: x.qcow2 is amended, and that ended so.
stopped() {
	(trap - ERR && exec "$GILD" amend -o compat=0.10,refcount_bits=16 \
		x.qcow2) >said 2>&1 &
	local pid=$!
	sleep "$2"
	kill -s "$1" $pid || :
	wait $pid || :
} 2>ended # the shell tells of it

times='0.02 0.1 0.3'
[ "$level" = fast ] || times='0.01 0.03 0.05 0.1 0.2 0.3 0.5 0.8'
for seconds in $times; do
	cp start.qcow2 x.qcow2
	stopped KILL "$seconds"
	qemu-img check -f qcow2 x.qcow2 >checked 2>&1 || [ $? = 3 ] ||
		{ cat checked; fail "killed after $seconds s"; }
	gild compare -q x.qcow2 start.qcow2
	cp start.qcow2 x.qcow2
	stopped TERM "$seconds"
	sound x.qcow2
	gild compare -q x.qcow2 start.qcow2
done
