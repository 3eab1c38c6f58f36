#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# An image on which others in its folder build is changed only with --force, and
# they are named; not so under the name qemu-img.

# shellcheck source=tests/lib.sh
. "${BASH_SOURCE%/*}/../tests/lib.sh"
requires "qemu-img --version"

in_memory
mkdir bin pool elsewhere many
ln -s "$GILD" bin/qemu-img
cd pool
qcow2 old.qcow2 4M
qcow2 base.qcow2 4M -b "$PWD/old.qcow2" -F qcow2
put qcow2 base.qcow2 'write -P 1 0 1M'

# over NAME BACKING [FMT]: an overlay; nothing is looked at.
over() {
	qemu-img create -q -u -f qcow2 -b "$2" -F "${3:-qcow2}" "$1" 4M
}

# What may stand beside it without being a clone, or without being readable.
echo text >text.qcow2
: >empty.qcow2
truncate -s 1M zeros.qcow2
printf 'QFI\373' >short.qcow2
cp base.qcow2 twin.qcow2
mkfifo pipe.qcow2 pipe
mkdir folder.qcow2
ln -s nowhere dangling.qcow2
ln -s pipe linked-pipe.qcow2
ln -s base.qcow2 link.qcow2
ln base.qcow2 second.qcow2
over gone.qcow2 nowhere.qcow2
over nbd.qcow2 nbd://localhost/base.qcow2 raw
over nbd2.qcow2 nbd:unix:base.qcow2 raw
over json.qcow2 'json:{"driver":"qcow2","file.filename":"old.qcow2"}'
over json2.qcow2 'json:{"file":{"filename":"nowhere","x":{"base.qcow2":1}}}'
over json3.qcow2 'json:{"driver":"qcow2","file.filename":"base.qcow2"'
over json4.qcow2 'json:{"filename":null,"file.filename.x":"base.qcow2"}'
over pipes.qcow2 pipe raw
over itself.qcow2 nowhere.qcow2
qemu-img rebase -u -b itself.qcow2 -F qcow2 itself.qcow2
over ../elsewhere/far.qcow2 ../pool/base.qcow2
over ../elsewhere/base.qcow2 base.qcow2
# A guest wrote this into its disk.
over guest.raw base.qcow2
# Headers that are wrong: the name's place, its length, a zero byte in it; one
# more feature; the version; clusters of 2^63 bytes.
poke() {
	# shellcheck disable=SC2059 # the format is the data
	printf "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}
i=0
for place in '8 \377\377\377\377' '12 \377\377' '16 \377\377\377\377' \
	'16 \0\0\0\0' '72 \200' '4 \0\0\0\7' '20 \0\0\0\77'; do
	over bad$((++i)).qcow2 base.qcow2
	poke bad$i.qcow2 "${place%% *}" "${place#* }"
done

unchanged() {
	sha256sum base.qcow2 >../now
	same_text ../then ../now
}
sha256sum base.qcow2 >../then

# Nobody builds on it: no question.
cp base.qcow2 ../kept.qcow2
timeout 60 "$GILD" resize -q base.qcow2 5M
timeout 60 "$GILD" resize -q --shrink base.qcow2 4M
timeout 60 "$GILD" rebase -u -b old.qcow2 -F qcow2 base.qcow2
sound base.qcow2
cp ../kept.qcow2 base.qcow2

# One, by whatever name its backing file goes, under whatever name itself.
refused() {
	run timeout 60 "$GILD" resize "$@" 5M
	expect_error 'an image beside it builds on it: clone'
	expect_err '--force'
}
for name in base.qcow2 "$PWD/base.qcow2" ./base.qcow2 link.qcow2 second.qcow2 \
	../pool/base.qcow2 ../pool/link.qcow2 file:base.qcow2 "file:$PWD/base.qcow2" \
	"file:../pool/base.qcow2" \
	'json:{"driver":"qcow2","file.filename":"base.qcow2"}' \
	'json:{"file":{"driver":"file","filename":"'"$PWD"'/base.qcow2"}}' \
	'json:{"driver":"file","filename":"base.qcow2"}' \
	'json:{"file.filename":"far","backing.file.filename":"file:base.qcow2"}'; do
	rm -f clone
	over clone "$name"
	refused base.qcow2
	# From another folder, too.
	cd ..
	refused pool/base.qcow2
	cd pool
	unchanged
done
# One that wants repair: of its refcounts nothing is left; and one that a
# running machine holds.
rm -f clone
over clone base.qcow2
poke clone 48 '\377\377\377\377\377\377'
refused base.qcow2
rm -f clone
over clone base.qcow2
mkfifo ../in
qemu-io -f qcow2 clone <../in >/dev/null 2>&1 &
exec 9>../in
for ((i = 0; i < 600; i++)); do
	! grep -q ":$(stat -c %i clone) " /proc/locks || break
	sleep 0.1
done
run gild resize base.qcow2 5M
expect_error 'base.qcow2: is in use' # which --force does not help
run gild resize --force base.qcow2 5M
expect_error 'base.qcow2: is in use'
exec 9>&-
wait

# By whatever name it goes itself.
refused ./base.qcow2
refused second.qcow2
refused "$PWD/base.qcow2"
refused link.qcow2
refused -f qcow2 base.qcow2
refused --image-opts driver=qcow2,file.filename=base.qcow2
refused 'json:{"driver":"qcow2","file":{"driver":"file","filename":"base.qcow2"}}'
rm ../elsewhere/*
ln -s ../pool/base.qcow2 ../elsewhere/alias.qcow2
refused ../elsewhere/alias.qcow2
cd ../elsewhere
refused alias.qcow2
mv ../pool/clone clone
# Beside the link, then.
over clone alias.qcow2
refused alias.qcow2
mv clone ../pool/clone
cd ../pool
over clone base.qcow2
unchanged
run gild resize --shrink base.qcow2 3M
expect_error 'builds on it: clone'
run gild rebase -b '' base.qcow2
expect_error 'builds on it: clone'
run gild rebase -u -b '' base.qcow2
expect_error 'builds on it: clone'
run gild amend -o size=5M base.qcow2
expect_error 'builds on it: clone'
unchanged
# The clone itself is nobody's business, nor what does not change the disk.
timeout 60 "$GILD" resize -q -f qcow2 clone 5M
timeout 60 "$GILD" rebase -f qcow2 -b old.qcow2 -F qcow2 clone
timeout 60 "$GILD" rebase -f qcow2 -u -b base.qcow2 -F qcow2 clone
timeout 60 "$GILD" snapshot -c s -f qcow2 clone
timeout 60 "$GILD" amend -q -o lazy_refcounts=on base.qcow2
cp ../kept.qcow2 base.qcow2

# Committing asks for the others than the one that is committed.
qcow2 top.qcow2 4M -b base.qcow2 -F qcow2
put qcow2 top.qcow2 'write -P 2 2M 1M'
run gild commit top.qcow2
expect_error 'base.qcow2: an image beside it builds on it: clone'
run gild commit -b base.qcow2 top.qcow2
expect_error 'builds on it: clone'
unchanged
# With -b for each layer that is passed: what an overlay of base.qcow2 shows
# changes with old.qcow2.
run gild commit -b old.qcow2 top.qcow2
expect_error 'base.qcow2: an image beside it builds on it: clone'
unchanged
rm clone twin.qcow2 json.qcow2	# which build on old.qcow2
over clone old.qcow2
run gild commit -b old.qcow2 top.qcow2
expect_error 'old.qcow2: an image beside it builds on it: clone'
rm clone
# Who builds on the overlay sees what it saw.
over clone top.qcow2
run gild commit -b old.qcow2 top.qcow2
expect 0
rm clone
run gild commit -b gone.qcow2 top.qcow2
expect_error 'is not in the backing chain'
run gild commit -b nowhere.qcow2 top.qcow2
expect_error 'nowhere.qcow2: cannot be opened'
cp ../kept.qcow2 base.qcow2

# A raw base.
truncate -s 4M disk.img
over clone disk.img raw
run gild resize -f raw disk.img 5M
expect_error 'disk.img: an image beside it builds on it: clone'
run gild resize --image-opts driver=raw,file.filename=disk.img 5M
expect_error 'disk.img: an image beside it builds on it: clone'
over clone2.qcow2 disk.img raw
run gild commit -f qcow2 clone
expect_error 'disk.img: an image beside it builds on it: clone2.qcow2'
run gild commit --force clone2.qcow2
expect 0
rm clone clone2.qcow2
run gild resize -f raw disk.img 5M
expect 0

# Several are counted, and three of them named.
gild clone -q base.qcow2 a.qcow2 b.qcow2 c.qcow2 d.qcow2
run gild resize base.qcow2 5M
expect_error '5 images beside it build on it: '
expect_err ' ...'
[ "$(grep -oE '([a-d]|top)\.qcow2' "$err" | sort -u | wc -l)" = 3 ] ||
	{ show; fail "not three names"; }
unchanged

run gild resize --force base.qcow2 5M
expect 0
run gild rebase -u --force -b '' base.qcow2
expect 0
run gild commit --force top.qcow2
expect 0
run gild amend -o size=6M --force base.qcow2
expect 0

# qemu-img asks nobody.
cp ../kept.qcow2 base.qcow2
run ../bin/qemu-img resize base.qcow2 5M
expect 0
run ../bin/qemu-img rebase -u -b '' base.qcow2
expect 0
run ../bin/qemu-img commit a.qcow2
expect 0
rm ./?.qcow2 top.qcow2
cp ../kept.qcow2 base.qcow2

# A folder with too many files to look at all of them.
cd ../many
qcow2 base.qcow2 4M
seq -f n%.0f 100001 | xargs touch
run timeout 100 "$GILD" resize base.qcow2 5M
expect 0
expect_err 'gild: warning: base.qcow2: whether other images build on it'
run gild resize --force base.qcow2 6M
expect 0
expect_no_err
