#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# -o nocow and -o extent_size_hint: what the file system is told of a new file
# is what qemu-img tells it, for every format, by every verb that makes one. On
# others both are accepted, and mean nothing.

# shellcheck source=tests/lib.sh
. "${BASH_SOURCE%/*}/../tests/lib.sh"
PATH=$PATH:/sbin:/usr/sbin
requires "qemu-img --version"

# Without effect, but not without being read.
for format in raw qcow2 luks; do
	options=nocow=on,extent_size_hint=1M
	secret=()
	if [ $format = luks ]; then
		secret=(--object "secret,id=s,data=x")
		options+=,key-secret=s,iter-time=10
	fi
	run gild create -f $format "${secret[@]}" -o "$options" a.$format 1M
	expect 0
	expect_out 'nocow=on'
	expect_out 'extent_size_hint=1048576'
	run gild measure -O $format --size 1M -o "$options" \
		"${secret[@]}"
	expect 0
	run gild create -f $format "${secret[@]}" -o nocow=perhaps b 1M
	expect_error 'option "nocow" is on or off'
	run gild create -f $format "${secret[@]}" -o extent_size_hint=4G b 1M
	expect_error 'option "extent_size_hint" is too large'
	[ ! -e b ] || fail "there is a file"
done

[ "$(id -u)" = 0 ] || skip "needs root, to mount a filesystem"

# new_filesystem NAME COMMAND...: made and mounted on NAME.
new_filesystem() {
	local name=$1
	shift
	truncate -s 320M "fs.$name"
	"$@" "fs.$name" >"$work/.made" 2>&1 || skip "cannot make $name"
	mkdir "$name"
	mount -o loop "fs.$name" "$name" 2>"$work/.ignored" ||
		skip "cannot mount $name here"
	at_end "cd / && umount '$PWD/$name'"
}

# all_kinds OPTIONS: into theirs and ours, by qemu-img and by gild.
all_kinds() {
	local options=$1 who program
	rm -rf theirs ours
	mkdir theirs ours
	for who in theirs ours; do
		program=qemu-img
		[ $who = theirs ] || program=gild
		$program create -q -f raw -o "$options" $who/a.raw 1M
		$program create -q -f qcow2 -o "$options" $who/a.qcow2 1M
		$program create -q -f qcow2 -o "$options,data_file=d.data" \
			$who/d.qcow2 1M
		$program create -q -f luks --object secret,id=s,data=x \
			-o "$options,key-secret=s,iter-time=10" $who/a.luks 1M
		$program convert -f raw -O raw -o "$options" ../some.raw $who/b.raw
		$program convert -f raw -O qcow2 -o "$options" ../some.raw \
			$who/b.qcow2
		# What stands there is replaced.
		cp ../some.raw $who/c.raw
		$program create -q -f raw -o "$options" $who/c.raw 1M
	done
	gild clone -f qcow2 -o "$options" ours/a.qcow2 e.qcow2
	mv e.qcow2 ours
	ln theirs/a.qcow2 theirs/e.qcow2
}

head -c 3M /dev/urandom >some.raw

requires "command -v mkfs.btrfs lsattr"
new_filesystem btrfs mkfs.btrfs -q
cd btrfs
for options in nocow=on nocow=off; do
	all_kinds $options
	for who in theirs ours; do
		(cd $who && lsattr -- * | awk '{print $2, $1 ~ /C/}') |
			grep -v d.data >$who.told
	done
	same_text theirs.told ours.told
	want=0
	[ $options = nocow=off ] || want=8
	[ "$(grep -c ' 1$' ours.told)" = $want ] ||
		fail "$options: $(cat ours.told)"
	# The data file is meant first of all, which qemu-img leaves alone.
	run lsattr ours/d.data
	grep -q C "$out" || [ $options = nocow=off ] || fail "d.data"
done
# Extents cannot be shared between the two kinds of files.
cp ../some.raw some.raw
gild convert -f raw -O raw -o nocow=on some.raw copy.raw
same some.raw copy.raw
cd ..

requires "command -v mkfs.xfs xfs_io"
new_filesystem xfs mkfs.xfs -q
cd xfs
xfs_io -c 'extsize 256k' .
for options in extent_size_hint=1M extent_size_hint=64k extent_size_hint=0; do
	all_kinds $options
	for who in theirs ours; do
		(cd $who && for file in *; do
			echo "$file $(xfs_io -r -c extsize "$file" | cut -d' ' -f1)"
		done) | grep -v d.data >$who.told
	done
	same_text theirs.told ours.told
done
grep -qF 'a.raw [0]' ours.told || fail "$(cat ours.told)"
