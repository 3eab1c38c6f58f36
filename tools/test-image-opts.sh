#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Names that say how to open an image: --image-opts, json:{...} on the command
# line and, where that is allowed, stored in an image. qemu-img decides what
# they mean.

# shellcheck source=tests/lib.sh
. "${BASH_SOURCE%/*}/../tests/lib.sh"
requires "qemu-img --version"

disk a.raw
qemu-img convert -O qcow2 a.raw a.qcow2
qcow2 over.qcow2 10M -b a.qcow2 -F qcow2
put qcow2 over.qcow2 'write -P 9 2M 100k'
qcow2 ext.qcow2 10M -o data_file=ext.data
put qcow2 ext.qcow2 'write -P 5 0 64k'

# both VERB ARGS...: gild does with them what qemu-img does.
both() {
	qemu-img "$@" >wanted
	run gild "$@"
	expect 0
	expect_no_err
	sed -i 's/, "compressed": [a-z]*//' "$out"
	same_text wanted "$out"
}

# reads NAME: the same disk by --image-opts, whoever reads it.
reads() {
	qemu-img convert --image-opts -O raw "$1" wanted.raw
	run gild convert --image-opts -O raw "$1" got.raw
	expect 0
	same wanted.raw got.raw
	both map --image-opts --output=json "$1"
	both measure --image-opts -O raw "$1"
}

reads driver=qcow2,file.filename=a.qcow2
reads driver=qcow2,file.driver=file,file.filename=over.qcow2
reads file.filename=a.qcow2
reads driver=raw,file.filename=a.qcow2
reads driver=raw,file.filename=a.raw,offset=1M,size=2M
reads driver=raw,file.filename=a.raw,offset=4096
reads driver=raw,file.driver=raw,file.offset=1M,file.size=5M,offset=512,size=1M,file.file.filename=a.raw
reads driver=qcow2,file.driver=raw,file.offset=0,file.file.filename=a.qcow2
reads driver=qcow2,file.filename=over.qcow2,backing.driver=raw,backing.file.filename=a.raw
reads driver=qcow2,file.filename=over.qcow2,backing.driver=raw,backing.offset=1M,backing.size=1M,backing.file.filename=a.raw
reads driver=qcow2,file.filename=over.qcow2,backing.driver=raw
cp ext.data other.data
reads driver=qcow2,file.filename=ext.qcow2,data-file.driver=file,data-file.filename=other.data
reads driver=qcow2,file.filename=a.qcow2,file.locking=off,cache.direct=on,cache.no-flush=off,l2-cache-size=1M,discard=unmap,node-name=n,read-only=on

# Doubled commas, as ever.
cp a.raw 'odd,name=.raw'
reads driver=raw,file.filename=odd,,name=.raw

# JSON says the same; "backing": null leaves what is below away.
for name in 'json:{"driver":"qcow2","file":{"driver":"file","filename":"over.qcow2"}}' \
	"json:{'driver': 'qcow2', 'file.filename': 'over.qcow2', 'backing': null}" \
	'json:{"driver":"raw","offset":1048576,"size":65536,"file":{"driver":"file","filename":"a.raw"}}'; do
	qemu-img convert -O raw "$name" wanted.raw
	run gild convert -O raw "$name" got.raw
	expect 0
	same wanted.raw got.raw
	both map --output=json "$name"
done

# Snapshots, encryption.
qemu-img snapshot -c one over.qcow2
put qcow2 over.qcow2 'write -P 4 0 10M'
qemu-img convert -O raw -l one over.qcow2 wanted.raw
run gild convert --image-opts driver=qcow2,file.filename=over.qcow2,snapshot.name=one got.raw
expect 0
same wanted.raw got.raw
echo -n secret >key
gild create -q -f qcow2 --object secret,id=s,file=key \
	-o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10 e.qcow2 1M
e=driver=qcow2,file.filename=e.qcow2,encrypt.key-secret=s
run gild convert --object secret,id=s,file=key --image-opts $e got.raw
expect 0
run gild convert --object secret,id=t,file=key --image-opts $e got.raw
expect_error '"s"'
run gild convert --object secret,id=s,file=key --image-opts \
	$e,encrypt.format=aes got.raw
expect_error 'its encryption is luks, not "aes"'

# What writes takes them, too, and as a target.
cp over.qcow2 w.qcow2
w=driver=qcow2,file.filename=w.qcow2
run gild resize --image-opts $w 20M
expect 0
run gild snapshot --image-opts -c two $w
expect 0
run gild check --image-opts $w
expect 0
run gild rebase --image-opts -u -b '' $w
expect 0
run gild compare --image-opts $w $w
expect 0
truncate -s 20M slot.raw
run gild convert -n --target-image-opts a.raw \
	driver=raw,file.filename=slot.raw,offset=5M,size=10M
expect 0
cmp -i 5242880:0 -n 10485760 slot.raw a.raw
cmp -n 5242880 slot.raw /dev/zero
cmp -i 15728640:0 -n 5242880 slot.raw /dev/zero
run gild convert -n -O raw a.raw \
	'json:{"driver":"raw","file.driver":"null-co","file.size":10485760}'
expect 0

# A commit into a backing file that only the command line names.
qcow2 part.qcow2 2M -b a.qcow2 -F qcow2
put qcow2 part.qcow2 'write -P 8 0 64k'
run gild commit --image-opts driver=qcow2,file.filename=part.qcow2,backing.driver=raw,backing.offset=1M,backing.size=2M,backing.file.filename=slot.raw
expect 0
put raw slot.raw 'read -P 8 1M 64k' 'read -P 0 0 1M'

# What is not to be had is refused by name, and nothing is made.
refused() {
	local said=$1
	shift
	run gild convert --image-opts "$@" x.raw
	expect_error "$said"
	[ ! -e x.raw ] || fail "$* was converted"
}
refused 'driver "nbd" is not known here' driver=nbd,host=x
refused 'driver "nbd" is not known here' driver=qcow2,file.driver=nbd,file.host=x
refused 'option "file" is missing' driver=qcow2
refused '"file.filename" is missing' driver=qcow2,file.driver=file
refused '"backing=node0" is not to be had' driver=qcow2,file.filename=a.qcow2,backing=node0
refused 'option "throttle" is not known here' driver=qcow2,file.filename=a.qcow2,throttle=1
refused 'cannot be the file below another format' driver=raw,file.driver=qcow2,file.file.filename=a.qcow2
refused 'lies behind the end of the file' driver=raw,offset=11M,file.filename=a.raw
refused 'reach behind the end of the file' driver=raw,offset=1M,size=11M,file.filename=a.raw
refused 'is a multiple of 512' driver=raw,size=100,file.filename=a.raw
refused '"size": ' driver=raw,size=many,file.filename=a.raw
refused 'is on or off, not "maybe"' driver=raw,cache.direct=maybe,file.filename=a.raw
refused 'no value' a.raw
refused 'given twice' driver=raw,driver=raw,file.filename=a.raw
refused 'mutually exclusive' -f raw driver=raw,file.filename=a.raw
refused 'nope' driver=qcow2,file.filename=ext.qcow2,data-file.filename=nope
run gild convert 'json:{"driver":"raw"' x.raw
expect_error 'not JSON: a comma is missing at byte 16'
run gild convert --target-image-opts a.raw driver=raw,file.filename=x.raw
expect_error 'needs -n'
run gild resize --image-opts driver=qcow2,file.filename=w.qcow2,read-only=on 30M
expect_error 'read-only=on'
run gild resize --image-opts driver=raw,file.filename=a.raw,size=1M 30M
expect_error 'cannot grow'
run gild rebase -b '' 'json:{"driver":"qcow2","file.filename":"over.qcow2","backing":null}'
expect_error 'is not written without its backing file'
run gild convert -U -n --target-image-opts slot.raw driver=raw,file.filename=slot.raw
expect_error 'is the source itself'
run gild convert -U -n slot.raw 'json:{"driver":"raw","file.filename":"slot.raw"}'
expect_error 'is the source itself'

# Locks: locking=off takes none and asks for none.
busy() {
	mkfifo fifo
	qemu-io -f qcow2 w.qcow2 <fifo >/dev/null 2>&1 &
	exec 9>fifo
	echo 'read 0 512' >&9
	for ((i = 0; i < 200; i++)); do
		grep -q ":$(stat -c %i w.qcow2) " /proc/locks && break
		sleep 0.05
	done
	run gild convert --image-opts $w x.raw
	first=$status
	run gild convert --image-opts $w,file.locking=off x.raw
	second=$status
	run gild convert --image-opts $w,force-share=on x.raw
	exec 9>&-
	wait
	rm fifo
	[ "$first $second $status" = "1 0 0" ] ||
		fail "beside a writer: $first, locking=off: $second, force-share: $status"
}
busy

# --------------------------------------------------- stored in an image --
# Refused, whoever made it, unless it is allowed; then it means what it does to
# qemu-img.
for name in 'json:{"driver":"qcow2","file":{"driver":"file","filename":"a.qcow2"}}' \
	'json:{"driver":"raw","offset":1048576,"size":1048576,"file":{"driver":"file","filename":"a.raw"}}' \
	file:a.qcow2; do
	format=qcow2
	[[ $name != *raw* ]] || format=raw
	qcow2 s.qcow2 2M -b "$name" -F $format
	qemu-img convert -O raw s.qcow2 wanted.raw
	for verb in "convert s.qcow2 got.raw" "map s.qcow2" \
		"info --backing-chain s.qcow2" "compare s.qcow2 a.raw"; do
		# shellcheck disable=SC2086 # words
		run gild $verb
		[ "$status" != 0 ] || fail "$verb followed $name"
		expect_err '--allow-stored-names'
		expect_err GILD_ALLOW_STORED_NAMES=1
	done
	run gild info s.qcow2
	expect 0
	run gild convert --allow-stored-names s.qcow2 got.raw
	expect 0
	same wanted.raw got.raw
	GILD_ALLOW_STORED_NAMES=1 run gild convert s.qcow2 got.raw
	expect 0
	same wanted.raw got.raw
	GILD_ALLOW_STORED_NAMES=0 run gild convert s.qcow2 got.raw
	expect 1
	run gild info --allow-stored-names --backing-chain s.qcow2
	expect 0
	expect_out 'image: a.'
	# Allowed names are still below the folder, or not followed at all.
	run gild convert --allow-stored-names --untrusted s.qcow2 got.raw
	expect 1
	mkdir -p empty
	run gild convert --allow-stored-names --allow-backing=empty s.qcow2 got.raw
	expect_error 'is not below'
	run gild convert --allow-stored-names --allow-backing=. s.qcow2 got.raw
	expect 0
	# Made by gild: unchecked as it stands, else where it may be followed.
	run gild create -q -f qcow2 -b "$name" -F $format t.qcow2
	expect_error '--allow-stored-names'
	run gild create -q -u -f qcow2 -b "$name" -F $format t.qcow2 2M
	expect 0
	run gild create -q --allow-stored-names -f qcow2 -b "$name" -F $format t.qcow2
	expect 0
	qemu-img compare -q t.qcow2 "$name" || fail "$name by gild"
	run gild rebase --allow-stored-names -b '' t.qcow2
	expect 0
	run gild rebase --allow-stored-names -b "$name" -F $format t.qcow2
	expect 0
	qemu-img compare -q t.qcow2 "$name" || fail "$name rebased"
done
for name in nbd://localhost/x nbd:unix:/tmp/s:exportname=x; do
	run gild create -q -u -f qcow2 -b $name -F raw n.qcow2 1M
	expect 0
	run qemu-img info n.qcow2
	expect_out "backing file: $name"
	run gild rebase -u -b $name -F raw n.qcow2
	expect 0
	run gild convert --allow-stored-names n.qcow2 x.raw
	expect_error "$name"
done

# An image whose JSON names what gild has not.
qcow2 s.qcow2 1M -u -b 'json:{"driver":"nbd","host":"x"}' -F raw
run gild convert --allow-stored-names s.qcow2 x2.raw
expect_error 'driver "nbd" is not known here'
qcow2 s.qcow2 1M -u -b 'json:{"driver"' -F raw
run gild convert --allow-stored-names s.qcow2 x2.raw
expect_error 'not JSON'
# In a circle.
qcow2 loop.qcow2 1M -u -b 'json:{"driver":"qcow2","file.filename":"loop.qcow2"}' -F qcow2
run gild convert --allow-stored-names loop.qcow2 x2.raw
expect_error 'loop.qcow2'
[ ! -e x2.raw ] || fail "something was made"

# ------------------------------- a data file's name, and names further below --
requires "python3 --version"
# data_file_is NAME IMAGE: what the image calls its data file from now on.
data_file_is() {
	python3 - "$1" "$2" <<-'END'
	import struct, sys
	name = sys.argv[1].encode()
	with open(sys.argv[2], "r+b") as f:
	    head = f.read(4096)
	    at = struct.unpack(">I", head[100:104])[0]
	    kind, length = struct.unpack(">II", head[at:at + 8])
	    assert kind == 0x44415441
	    rest = head[at + 8 + (length + 7) // 8 * 8:][:500]
	    f.seek(at)
	    f.write(struct.pack(">II", kind, len(name)) + name +
	            bytes(-len(name) % 8) + rest)
	END
}
mkdir -p bin
ln -sf "$GILD" bin/qemu-img
qcow2 data.qcow2 1M -o data_file=data.raw
put qcow2 data.qcow2 'write -P 9 64k 64k'
qemu-img convert -O raw data.qcow2 wanted.raw
for name in 'json:{"driver":"file","filename":"data.raw"}' file:data.raw; do
	data_file_is "$name" data.qcow2
	for program in gild bin/qemu-img; do
		run $program convert -f qcow2 data.qcow2 got.raw
		expect 1
		expect_err "names \"$name\""
		expect_err '--allow-stored-names'
		expect_err GILD_ALLOW_STORED_NAMES=1
		run $program convert -f qcow2 --allow-stored-names data.qcow2 got.raw
		expect 0
		same wanted.raw got.raw
		rm got.raw
		GILD_ALLOW_STORED_NAMES=1 run $program convert -f qcow2 data.qcow2 got.raw
		expect 0
		same wanted.raw got.raw
		rm got.raw
		# It is opened for writing, too.
		GILD_ALLOW_STORED_NAMES=1 run $program resize -f qcow2 data.qcow2 1M
		expect 0
	done
	run gild convert --allow-stored-names --untrusted data.qcow2 got.raw
	expect_error 'data.qcow2: names another file'
	run gild convert --allow-stored-names --allow-backing=empty data.qcow2 got.raw
	expect_error 'is not below'
	run gild convert --allow-stored-names --allow-backing=. data.qcow2 got.raw
	expect 0
done
for name in 'json:{"driver":"file"' 'json:{"driver":"file"}' \
	'json:{"driver":"qcow2","file.filename":"a.qcow2"}' \
	'json:{"driver":"file","filename":"nosuch"}'; do
	data_file_is "$name" data.qcow2
	run gild convert --allow-stored-names data.qcow2 x3.raw
	expect_error 'data.qcow2: its data file: '
done

# Of the middle one of three.
truncate -s 1M low.raw
put raw low.raw 'write -P 6 0 64k'
for name in 'json:{"driver":"raw","file.filename":"low.raw"}' file:low.raw; do
	qcow2 middle.qcow2 1M -u -b "$name" -F raw
	qcow2 upper.qcow2 1M -b middle.qcow2 -F qcow2
	for program in gild bin/qemu-img; do
		run $program convert upper.qcow2 got.raw
		expect 1
		expect_err "names \"$name\""
		expect_err '--allow-stored-names'
		run $program convert --allow-stored-names upper.qcow2 got.raw
		expect 0
		same low.raw got.raw
		GILD_ALLOW_STORED_NAMES=1 run $program map upper.qcow2
		expect 0
		expect_out low.raw
		GILD_ALLOW_STORED_NAMES=1 run $program info --backing-chain upper.qcow2
		expect 0
		expect_out 'image: low.raw'
	done
done

# Under the name qemu-img: stored as it stands, without a look; the way to have
# a look is told.
for name in nbd:unix:/nosuch/s:exportname=x 'json:{"driver":"nbd","host":"x"}'; do
	run bin/qemu-img create -f qcow2 -u -b "$name" -F raw n.qcow2 1M
	expect 0
	run qemu-img info n.qcow2
	expect_out "backing file: $name"
	bin/qemu-img create -q -f qcow2 n.qcow2 1M
	run bin/qemu-img rebase -u -b "$name" -F raw n.qcow2
	expect 0
	run qemu-img info n.qcow2
	expect_out "backing file: $name"
	run bin/qemu-img check n.qcow2
	expect 0
done
run bin/qemu-img create -f qcow2 -b 'json:{"driver":"null-co"}' -F raw n.qcow2 1M
expect 1
expect_err '--allow-stored-names'
GILD_ALLOW_STORED_NAMES=1 run bin/qemu-img create -f qcow2 \
	-b 'json:{"driver":"null-co","size":1048576}' -F raw n.qcow2 1M
expect 0
