#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Under the name qemu-img a file without a magic is raw, and is written. What its
# warning says holds: not so that it would be taken for another format next time,
# since a guest that owns the disk could name files there. Beside qemu-img, which
# decides what that is.

# shellcheck source=tests/lib.sh
. "${BASH_SOURCE%/*}/../tests/lib.sh"
requires "qemu-img --version"
requires "python3 --version"
in_memory

mkdir ours theirs
ln -s "$GILD" ours/qemu-img
ln -s "$(type -P qemu-img)" theirs/qemu-img

# head HEX [OFFSET]: a first sector in the file "head", in 64 KiB of zeros.
head() {
	truncate -s 0 head
	truncate -s 64k head
	# shellcheck disable=SC2059,SC2001 # the format is the data
	printf "$(sed 's/../\\x&/g' <<<"$1")" |
		dd of=head bs=1 seek="${2:-0}" conv=notrunc status=none
}
text() {
	head "$(printf '%b' "$1" | od -An -tx1 -v | tr -d ' \n')"
}

# An overlay of disk.img that says "head" and does not say what disk.img is.
overlay() {
	truncate -s 0 disk.img
	truncate -s 64k disk.img
	rm -f over.qcow2
	qemu-img create -q -f qcow2 -b disk.img -F raw over.qcow2
	put qcow2 over.qcow2 'write -s head 0 64k'
	python3 - <<'EOF'
data = bytearray(open("over.qcow2", "rb").read())
at = data.index(bytes.fromhex("e2792aca")) # extension: backing format
data[at:at + 4] = b"\x11\x11\x11\x11"
open("over.qcow2", "wb").write(data)
EOF
}

# as NAME: converts and commits to a guess; leaves what came of it.
as() {
	local who=$1
	truncate -s 0 disk.img
	truncate -s 64k disk.img
	status=0
	"$who/qemu-img" convert -n -f raw --target-image-opts head \
		file.filename=disk.img >"$who.out" 2>"$who.err" || status=$?
	echo "status $status; $(cksum <disk.img)" >>"$who.err"
	overlay
	status=0
	"$who/qemu-img" commit over.qcow2 >>"$who.out" 2>>"$who.err" || status=$?
	echo "status $status; $(cksum <disk.img)" >>"$who.err"
}

alike() {
	as ours
	as theirs
	same_text theirs.err ours.err
	same_text theirs.out ours.out
	grep -q "^status $1" ours.err || { cat ours.err; fail "not status $1"; }
}

# Formats, with a version each.
for magic in 514649fb00000003 514649fb00000002 514649fb00000001 51454400 \
	4c554b53babe0001 4b444d56 434f5744 7668647866696c65 636f6e6563746978 \
	576974686f757446726565537061636502000000 \
	576974686f75467265537061634578740200000000; do
	head $magic
	alike 1
done
head 7f10dabe 64
alike 1
# shellcheck disable=SC2016 # what the file says
for line in 'version=1\n' '# Disk DescriptorFile\nversion=1\n' \
	'#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0 && mount -r -t iso9660 /dev/cloop $1\n'; do
	text "$line"
	alike 1
done
# What is none.
for none in 00 eb3c90 514649 514649fa00000003 00514649fb00000003; do
	head $none
	alike 0
done
head 55aa 510
alike 0
text '# a comment\nversion 1\n'
alike 0
text '#!/bin/sh\n'
alike 0

# Behind the first sector everything may stand.
head 514649fb00000003 512
alike 0

# Who says raw means it.
head 514649fb00000003
overlay
ours/qemu-img convert -n -f raw -O raw head disk.img
same head disk.img
truncate -s 0 disk.img
truncate -s 64k disk.img
ours/qemu-img convert -n -f raw --target-image-opts head \
	driver=raw,file.filename=disk.img
same head disk.img
overlay
qemu-img rebase -u -f qcow2 -b disk.img -F raw over.qcow2
ours/qemu-img commit -q over.qcow2
same head disk.img
