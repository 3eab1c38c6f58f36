#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# What a mount shows is what qemu-img finds in the image: the disk, partitions,
# snapshots, the chain, for every kind of image; and who may see it.

# shellcheck source=tests/lib.sh
. "${BASH_SOURCE%/*}/../tests/lib.sh"
# shellcheck source=fuse/mount-lib.sh
. "$here/mount-lib.sh"
requires "sfdisk --version" "mke2fs -V"

# --- a disk with partitions, whose labels want to be somewhere else -----------
truncate -s 24M disk.raw part.img
sfdisk -q --no-reread --no-tell-kernel disk.raw <<'END'
label: gpt
size=8M, type=uefi, name="../../etc"
start=10M, size=8M, name="a/b c"
END
truncate -s 8M part.img
mke2fs -q -t ext4 -L 'x/..' part.img
dd if=part.img of=disk.raw bs=1M seek=10 conv=notrunc,sparse status=none
qemu-img convert -f raw -O qcow2 disk.raw base.qcow2
qemu-img snapshot -c 'golden image' base.qcow2
qcow2 mid.qcow2 24M -b base.qcow2 -F qcow2
put qcow2 mid.qcow2 'write -P 1 20M 1M'
qcow2 'my top.qcow2' 32M -b mid.qcow2 -F qcow2
put qcow2 'my top.qcow2' 'write -P 2 21M 64k' 'write -P 3 30M 64k'
qemu-img snapshot -c a/b 'my top.qcow2'
qemu-img snapshot -c .. 'my top.qcow2'
qemu-img snapshot -c same 'my top.qcow2'
qemu-img snapshot -c same 'my top.qcow2'
put qcow2 'my top.qcow2' 'write -P 4 22M 64k'
for name in base mid 'my top'; do
	qemu-img convert -O raw "$name.qcow2" "$name.img"
done
qemu-img convert -l a/b -O raw 'my top.qcow2' before.img

mounted 'my top.qcow2'
(cd m && find . | sort) >tree
cat >expected <<'END'
.
./chain
./chain/1
./chain/1/disk
./chain/1/partitions
./chain/1/partitions/1
./chain/1/partitions/2
END
grep -E '^\.$|^./chain$|^./chain/1' tree | grep -v /by- >found
same_text expected found
cat >expected <<'END'
./snapshots
./snapshots/#4 same
./snapshots/\x2e.
./snapshots/a\x2fb
./snapshots/same
END
grep -E '^./snapshots(/[^/]*)?$' tree | sort >found
same_text expected found
(cd m/partitions && find by-* -type l -printf '%p %l\n' | grep -v uuid/ | sort) >found
cat >expected <<'END'
by-label/x\x2f.. ../2
by-partlabel/..\x2f..\x2fetc ../1
by-partlabel/a\x2fb\x20c ../2
END
same_text expected found
[ "$(find m/partitions/by-uuid/ -type l | wc -l)" = 1 ]
[ "$(find m/partitions/by-partuuid/ -type l | wc -l)" = 2 ]
same 'my top.img' m/disk
same 'm/snapshots/a\x2fb/disk' before.img
same m/chain/1/disk mid.img
same m/chain/2/disk base.img
cmp part.img m/partitions/2
cmp part.img 'm/snapshots/same/partitions/by-label/x\x2f..'
[ ! -e m/chain/3 ]
[ "$(stat -c %s m/disk)" = 33554432 ] && [ "$(stat -c %s m/partitions/1)" = 8388608 ]
[ "$(stat -c %Y m/disk)" = "$(stat -c %Y 'my top.qcow2')" ]
[ "$(stat -c %U:%G m/disk)" = "$(id -un):$(id -gn)" ]
python3 -c 'import json; i = json.load(open("m/info.json"))
assert i["virtual-size"] == 33554432 and i["mount-process"] > 1, i'
e2fsck -fn m/partitions/2 >"$out" 2>&1 || { show; fail "e2fsck"; }
debugfs -R 'stat /lost+found' m/partitions/2 >"$out" 2>&1
expect_out 'Type: directory'

# Where there is data, and where not, as qemu-img tells it.
python3 - <<'END' || fail "SEEK_DATA, SEEK_HOLE"
import json, os, subprocess
want = [(e["start"], e["length"]) for e in json.loads(subprocess.check_output(
    ["qemu-img", "map", "--output=json", "my top.qcow2"])) if not e["zero"]]
joined = []
for start, length in want:
    if joined and sum(joined[-1]) == start:
        joined[-1] = (joined[-1][0], joined[-1][1] + length)
    else:
        joined.append((start, length))
fd = os.open("m/disk", os.O_RDONLY)
found, at = [], 0
while True:
    try:
        at = os.lseek(fd, at, os.SEEK_DATA)
    except OSError as e:
        assert e.errno == 6, e
        break
    end = os.lseek(fd, at, os.SEEK_HOLE)
    found.append((at, end - at))
    at = end
assert found == joined and len(found) > 3, (found, joined)
END
# Nobody writes it, and the lock says so: others may read, none may write.
for file in m/disk m/partitions/1; do
	run bash -c "echo x >>$file"
	[ "$status" != 0 ] || fail "$file was written"
done
run bash -c 'touch m/new; mkdir m/folder; rm m/disk; mv m/disk m/other'
same 'my top.img' m/disk
qemu-img info 'my top.qcow2' >"$out"
run qemu-io -f qcow2 -c 'write 0 512' 'my top.qcow2'
grep -q 'Failed to get' "$err" || { show; fail "written beside a mount"; }
gild mount --foreground 'my top.qcow2' m2 2>"$err" && fail "on no folder"
mkdir m2
gild mount 'my top.qcow2' m2 # two may read
same 'my top.img' m2/disk
gild unmount m2
unmounted
sound 'my top.qcow2'

# --- each kind of image -----------------------------------------------------------
printf secret >key
convert() {
	rm -f kind
	qemu-img convert -f raw --object secret,id=k,file=key "$@" disk.raw kind
}
luks=encrypt.format=luks,encrypt.key-secret=k,encrypt.iter-time=10
for options in '-O raw' '-O qcow2' '-O qcow2 -c' \
	'-O qcow2 -c -o compression_type=zstd' '-O qcow2 -o cluster_size=512' \
	'-O qcow2 -o extended_l2=on' '-O qcow2 -o compat=0.10' \
	"-O qcow2 -o $luks" '-O luks -o key-secret=k,iter-time=10'; do
	# shellcheck disable=SC2086 # words
	convert $options
	format=${options#-O }
	mounted kind -f "${format%% *}" --secret-file key
	same disk.raw m/disk
	cmp part.img m/partitions/2
	unmounted
done
run gild mount -f luks kind m
expect_error secret
: >empty.raw
mounted empty.raw
[ "$(stat -c %s m/disk)" = 0 ]
[ -z "$(cat m/disk)" ]
unmounted
truncate -s 8E huge.raw 2>/dev/null || truncate -s 1T huge.raw
mounted huge.raw
[ "$(stat -c %s m/disk)" = "$(stat -c %s huge.raw)" ]
unmounted
mounted base.qcow2 --snapshot 'golden image'
same base.img m/disk
unmounted

# --- what makes no sense ---------------------------------------------------------
run gild mount base.qcow2
expect_error 'names of an image and of a folder'
run gild mount base.qcow2 nowhere
expect_error 'cannot be mounted there'
run gild mount nowhere.qcow2 m
expect_error 'No such file'
run gild mount --rw --snapshot 'golden image' base.qcow2 m
expect_error 'cannot be written'
run gild mount --rw -U base.qcow2 m
expect_error 'for reading only'
run gild mount 'json:{"driver":"qcow2","file.filename":"base.qcow2"}' m
expect_error 'json:'
# The image, or one below it, would be hidden by the mount.
mkdir -p under/images under/m
cp base.qcow2 under/images/
qcow2 under/over.qcow2 24M -b images/base.qcow2 -F qcow2
run gild mount under/over.qcow2 under/images
expect_error 'it holds'
run gild mount under/over.qcow2 under
expect_error 'it holds'
gild mount under/over.qcow2 under/m
same base.img under/m/chain/1/disk
gild unmount under/m
# What only looks like a mount of gild.
echo '{ "mount-process": 1 }' >under/info.json
: >under/disk
run gild unmount under
expect_error 'no mount of gild'
run gild mount --resizable base.qcow2 m
expect_error 'goes with --rw'
run gild mount --snapshot nothing base.qcow2 m
expect_error nothing
run gild unmount
expect_error 'name of a folder'
run gild unmount nowhere
expect_error 'No such file'
run gild unmount m2
expect_error 'no mount of gild'
mkfifo fifo
run timeout 20 "$GILD" mount -f raw fifo m
[ "$status" != 0 ] && [ "$status" != 124 ]
chmod 0 before.img
if [ "$(id -u)" != 0 ]; then
	run gild mount -f raw before.img m
	expect_error 'ermission denied'
fi

# --- the end ----------------------------------------------------------------------
# While somebody looks, it stays; then the image is free at once.
mounted base.qcow2
exec 7<m/disk
run gild unmount m
[ "$status" != 0 ] || fail "unmounted under use"
same base.img m/disk
exec 7<&-
unmounted
# In the foreground, a signal ends it.
"$GILD" mount --foreground base.qcow2 m &
server=$!
for ((i = 0; i < 300; i++)); do
	[ ! -e m/disk ] || break
	sleep 0.1
done
same base.img m/disk
kill -TERM "$server"
wait "$server" || { show; fail "a signal is a way to end it"; }
[ -z "$(ls -A m)" ] || fail "a signal did not end it"
# Its process is killed: the next unmount clears that away.
mounted base.qcow2
kill -9 "$(python3 -c 'import json; print(json.load(open("m/info.json"))["mount-process"])')"
for ((i = 0; i < 100; i++)); do
	! ls m >/dev/null 2>&1 || { sleep 0.1; continue; }
	break
done
gild unmount m
[ -z "$(ls -A m)" ]
# The image below is gone: what is open is still read; what is not fails clearly.
cp 'my top.qcow2' top2.qcow2
mounted top2.qcow2
mv base.qcow2 away.qcow2
same 'my top.img' m/disk
run ls m/chain/2
[ "$status" != 0 ]
mv away.qcow2 base.qcow2
ls m/chain/2 >"$out"
unmounted

# --- other users --------------------------------------------------------------------
# fusermount3 looks into that table for who is not root.
if [ ! -e /etc/mtab ]; then
	echo "other users: not without /etc/mtab"
elif [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null; then
	chmod 755 "$work"
	mkdir other
	cp base.qcow2 other/
	chown -R 65534 other
	as_other() {
		setpriv --reuid=65534 --regid=65534 --clear-groups "$@"
	}
	mkdir other/m
	chown 65534 other/m
	# shellcheck disable=SC2016 # expanded at the end
	at_end 'fusermount3 -u -q "$work/other/m" 2>/dev/null || :'
	as_other "$GILD" mount other/base.qcow2 other/m
	as_other cmp base.img other/m/disk
	grep " $work/other/m " /proc/self/mountinfo | grep -q nosuid,nodev ||
		fail "not nosuid, nodev"
	# Not even root looks into it.
	run ls other/m
	[ "$status" != 0 ] || fail "another user sees it"
	as_other "$GILD" unmount other/m
	if ! grep -qs '^user_allow_other' /etc/fuse.conf; then
		run as_other "$GILD" mount --allow-other other/base.qcow2 other/m
		expect_error 'cannot be mounted'
		expect_err user_allow_other
	fi
	# A mount of root, for others: they may what the image's mode lets them.
	chmod 644 base.qcow2
	mounted base.qcow2 --allow-other
	as_other cmp base.img m/disk
	unmounted
	chmod 600 base.qcow2
	mounted base.qcow2 --allow-other
	run as_other cat m/disk
	[ "$status" != 0 ] || fail "others read what they may not"
	unmounted
fi
