#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# gild create prints what qemu-img prints, makes what it makes, and refuses
# what makes no sense without leaving anything behind.

# shellcheck source=tests/lib.sh
. "${BASH_SOURCE%/*}/../tests/lib.sh"
requires "qemu-img --version"

# What qemu-img says of an image, but for what may differ.
described() {
	qemu-img info -- "$1" | grep -v '^disk size:'
}

# like_qemu NAME ARGS...: the same line, and the same image, from both.
like_qemu() {
	rm -rf q g
	mkdir -p q g
	(cd q && qemu-img create "$@" >../wanted)
	run env -C g "$GILD" create "$@"
	expect 0
	expect_no_err
	same_text wanted "$out"
	# shellcheck disable=SC2154 # name is the caller's
	(cd q && described "$name") >wanted
	(cd g && described "$name") >got
	same_text wanted got
	[ "$format" != qcow2 ] || [ ! -e "q/$backing" ] || (cd g && sound "./$name")
}

name=x.raw format=raw backing=
like_qemu x.raw 1M
like_qemu -f raw x.raw 1.5M
like_qemu -f raw -o preallocation=falloc x.raw 1M
like_qemu -f raw x.raw 0
[ "$(stat -c %b g/x.raw)" = 0 ] || fail "an empty image takes space"

name=x.qcow2 format=qcow2
like_qemu -f qcow2 x.qcow2 1G
like_qemu -f qcow2 x.qcow2 0
like_qemu -f qcow2 -o size=3G x.qcow2
for options in cluster_size=512 cluster_size=2M,extended_l2=off \
	extended_l2=on,cluster_size=128k compat=0.10 compat=v2 compat=v3 \
	compat=1.1,lazy_refcounts=on lazy_refcounts refcount_bits=1 \
	refcount_bits=64 compression_type=zstd preallocation=off \
	preallocation=metadata preallocation=falloc preallocation=full \
	data_file=d,,ata data_file=data,data_file_raw=on; do
	like_qemu -f qcow2 -o "$options" x.qcow2 8M
done
like_qemu -f qcow2 -o cluster_size=4k -o refcount_bits=8 x.qcow2 8M

# Names of all kinds.
for name in 'a b.qcow2' $'line\nbreak.qcow2' "quo'te.qcow2" 'comma,.qcow2' \
	$'\xff\xfe.qcow2' -dash.qcow2; do
	like_qemu -f qcow2 -- "$name" 1M
done

# Over a backing file: its size, its name as given, -b and -o alike.
qcow2 base.qcow2 10M
qcow2 'base,2.qcow2' 11M
name=x.qcow2
like_qemu -f qcow2 -b ../base.qcow2 -F qcow2 x.qcow2
like_qemu -f qcow2 -b ../base.qcow2 -F qcow2 x.qcow2 20M
like_qemu -f qcow2 -b ../base,2.qcow2 -F qcow2 x.qcow2
like_qemu -f qcow2 -b "$PWD/base.qcow2" -F qcow2 x.qcow2
like_qemu -f qcow2 -o backing_file=../base.qcow2,backing_fmt=qcow2 x.qcow2
backing=nowhere.raw
like_qemu -f qcow2 -u -b nowhere.raw -F raw x.qcow2 5M

run gild create -f qcow2 -b base.qcow2 --backing-format=qcow2 y.qcow2
expect 0
[ "$(qemu-img info --output=json y.qcow2 | grep -c '"backing-filename-format": "qcow2"')" = 1 ] ||
	fail "the format was not recorded"
rm y.qcow2

# Quiet, and replacing.
run gild create -q -f qcow2 y.qcow2 1M
expect 0
expect_no_out
chmod 640 y.qcow2
run gild create -f qcow2 y.qcow2 2M
expect 0
[ "$(stat -c %a y.qcow2)" = 640 ] || fail "the mode was lost"
described y.qcow2 | grep -q '2097152 bytes' || fail "not replaced"
rm y.qcow2

run gild create -f qcow2 -o help
expect 0
for option in cluster_size lazy_refcounts refcount_bits extended_l2; do
	expect_out "  $option=<"
done

# A data file that is there already.
head -c 1M /dev/urandom >kept.raw
cp kept.raw before.raw
for options in data_file_raw=on preallocation=metadata \
	preallocation=metadata,extended_l2=on \
	preallocation=metadata,cluster_size=512; do
	gild create -q -f qcow2 -o "data_file=kept.raw,keep_data_file=on,$options" \
		kept.qcow2 1M
	same before.raw kept.raw
	equal qcow2 kept.qcow2 raw before.raw
	sound kept.qcow2
done
# Longer than it was: zeros follow. Shorter: the rest is left alone.
gild create -q -f qcow2 -o data_file=kept.raw,keep_data_file=on,data_file_raw=on \
	kept.qcow2 1100k
cmp -n 1048576 before.raw kept.raw
truncate -s 1100k before.raw
same before.raw kept.raw
equal qcow2 kept.qcow2 raw before.raw
gild create -q -f qcow2 -o data_file=kept.raw,keep_data_file=on,data_file_raw=on \
	kept.qcow2 64k
same before.raw kept.raw
# What is converted into it replaces what it held, also where that is zeros.
truncate -s 1100k zeros.raw
put raw zeros.raw 'write -P 5 100k 100k'
for options in data_file_raw=on preallocation=metadata; do
	cp before.raw kept.raw
	gild convert -f raw -O qcow2 \
		-o "data_file=kept.raw,keep_data_file=on,$options" zeros.raw kept.qcow2
	equal qcow2 kept.qcow2 raw zeros.raw
	[ $options = preallocation=metadata ] || equal raw kept.raw raw zeros.raw
	sound kept.qcow2
done
rm kept.qcow2
kept() {
	run gild create -f qcow2 -o "keep_data_file=on,$1" kept.qcow2 1M
	expect_error "$2"
	[ ! -e kept.qcow2 ] || fail "an image was made"
}
cp before.raw kept.raw
kept data_file=nosuch.raw,data_file_raw=on 'nosuch.raw: cannot be opened: No such'
kept data_file=.,data_file_raw=on 'Is a directory'
kept preallocation=metadata 'keep_data_file needs data_file'
kept data_file=kept.raw 'needs preallocation=metadata or data_file_raw=on'
kept data_file=kept.raw,preallocation=falloc 'would overwrite the file'
kept data_file=kept.raw,preallocation=metadata,extended_l2=on,backing_file=before.raw,backing_fmt=raw \
	'keep_data_file would hide the backing file'
kept data_file=kept.raw,data_file_raw=on,encrypt.format=luks 'exclude each other'
same before.raw kept.raw

# A LUKS file's space is set aside like that of a raw one.
luks() {
	run gild create -f luks --object secret,id=s,data=x \
		-o key-secret=s,iter-time=10,preallocation="$1" l.luks 8M
}
for mode in off falloc full; do
	luks $mode
	expect 0
	want=0
	[ $mode = off ] || want=1
	[ $(($(stat -c %b l.luks) * 512 > 8 * 1048576)) = $want ] ||
		fail "preallocation=$mode: $(stat l.luks)"
	run qemu-img info l.luks
	expect_out 'virtual size: 8 MiB (8388608 bytes)'
done
luks most
expect_error 'preallocation of a luks image is off, falloc or full'

# What is wrong is said, and leaves no file.
refused() {
	local text=$1
	shift
	run gild create "$@"
	expect_error "$text"
	expect_no_out
	list >after
	same_text before after
}
list >after
list >before
refused 'a size is needed' -f qcow2 y.qcow2
refused 'a size is needed' -f qcow2 -u -b base.qcow2 -F qcow2 y.qcow2
refused 'the size is given twice' -f qcow2 -o size=1M y.qcow2 1M
refused "'10X' is not a size" -f qcow2 y.qcow2 10X
refused "unexpected argument '20'" -f qcow2 y.qcow2 10M 20
refused 'its format is not given' -f qcow2 -b base.qcow2 y.qcow2
refused 'add -F qcow2' -f qcow2 -b base.qcow2 y.qcow2
refused '-F makes no sense without -b' -f qcow2 -F qcow2 y.qcow2 1M
refused '-b and -o backing_file contradict' -f qcow2 -b a -F raw \
	-o backing_file=b y.qcow2
refused 'contradicts the name' y.qcow2 1M
refused 'add -f qcow2' y.qcow2 1M
refused 'foo' -f foo y.img 1M
refused 'foo' -f qcow2 -o foo=1 y.qcow2 1M
refused 'nowhere' -f qcow2 -b nowhere -F raw y.qcow2
refused 'backing' -f raw -b base.qcow2 -F qcow2 y.raw
refused 'cluster' -f qcow2 -o cluster_size=100 y.qcow2 1M
refused 'cluster' -f qcow2 -o cluster_size=4M y.qcow2 1M
refused 'refcount' -f qcow2 -o refcount_bits=3 y.qcow2 1M
refused 'No such file or directory' -f raw nosuchdir/y.raw 1M
refused 'y.raw' -f raw base.qcow2/y.raw 1M
