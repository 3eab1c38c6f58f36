#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Writing through a mount: random operations against a model, by several
# descriptors and names at once; the programs that want a raw disk; a server that
# is killed, a disk that is full.

# shellcheck source=tests/lib.sh
. "${BASH_SOURCE%/*}/../tests/lib.sh"
# shellcheck source=fuse/mount-lib.sh
. "$here/mount-lib.sh"
requires "sfdisk --version" "mke2fs -V"

killed() { # the process that serves the mount
	kill -9 "$(python3 -c 'import json
print(json.load(open("m/info.json"))["mount-process"])')"
	local i
	for ((i = 0; i < 300; i++)); do
		ls m >"$out" 2>&1 || break
		sleep 0.1
	done
	gild unmount m
}

# --- random operations ---------------------------------------------------------
cat >work.py <<'END'
import ctypes, errno, mmap, os, random, subprocess, sys

libc = ctypes.CDLL(None, use_errno=True)
libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
KEEP, PUNCH, ZERO = 1, 2, 16
START, LENGTH = 1 << 20, 2 << 20   # of the one partition
seed, steps, resizable = int(sys.argv[1]), int(sys.argv[2]), len(sys.argv) > 3
random.seed(seed)
print("seed", seed)

disk = [os.open("m/disk", os.O_RDWR) for _ in range(2)]
part = os.open("m/partitions/1", os.O_RDWR)
model = bytearray(os.pread(disk[0], 1 << 30, 0))

def place(size):
    unit = random.choice([1, 512, 4096, 65536])
    start = random.randrange(size) // unit * unit
    length = random.choice([1, 511, 4096, 65536, 200000])
    return start, min(random.randint(1, length), size - start)

def falloc(fd, mode, start, length):
    if libc.fallocate(fd, mode, start, length):
        raise OSError(ctypes.get_errno(), "fallocate")

def step():
    global model
    through_part = random.random() < 0.3
    fd = part if through_part else random.choice(disk)
    base, size = (START, LENGTH) if through_part else (0, len(model))
    start, length = place(size)
    what = random.choice("wwwwrrrzpcmft")
    at = slice(base + start, base + start + length)
    if what == "w":
        data = random.randbytes(length)
        assert os.pwrite(fd, data, start) == length
        model[at] = data
    elif what == "r":
        assert os.pread(fd, length, start) == model[at], (start, length)
    elif what == "z":
        falloc(fd, ZERO | KEEP, start, length)
        model[at] = bytes(length)
    elif what == "p":
        falloc(fd, PUNCH | KEEP, start, length)
        model[at] = bytes(length)
        # A hole is found where whole clusters are.
    elif what == "c":
        to, room = place(len(model))
        length = min(length, room)
        if base + start < to + length and to < base + start + length:
            return
        done = os.copy_file_range(fd, disk[0], length, start, to)
        model[to:to + done] = model[base + start:base + start + done]
    elif what == "m":
        page = start // 4096 * 4096
        with mmap.mmap(fd, min(8192, size - page), flags=mmap.MAP_PRIVATE,
                       prot=mmap.PROT_READ, offset=page) as view:
            assert view[:] == model[base + page:base + page + len(view)], page
    elif what == "f":
        os.fsync(fd)
    elif what == "t" and resizable and random.random() < 0.3:
        size = random.randrange(START + LENGTH, 12 << 20)
        size -= size % 512
        os.truncate("m/disk", size)
        model = model[:size] + bytes(max(0, size - len(model)))
        assert os.fstat(disk[0]).st_size == size

for i in range(steps):
    step()
assert os.pread(disk[1], len(model) + 1, 0) == model
# Beyond its end nothing is written, and the disk stays as long as it is.
try:
    os.pwrite(disk[0], b"x", len(model))
    raise AssertionError("written beyond the end")
except OSError as e:
    assert e.errno == errno.ENOSPC, e
try:
    os.pwrite(part, b"xx", LENGTH - 1)
    raise AssertionError("written beyond the partition")
except OSError as e:
    assert e.errno == errno.ENOSPC, e
open("model.raw", "wb").write(model)
END

truncate -s 8M start.raw
sfdisk -q --no-reread --no-tell-kernel start.raw <<<'start=1M, size=2M'
steps=400
[ "${GILD_TEST_LEVEL:-normal}" != fast ] || steps=150
seed=${GILD_RANDOM_SEED:-$RANDOM}
for options in '-f raw' '-f qcow2' '-f qcow2 -o cluster_size=512' \
	'-f qcow2 -o extended_l2=on,cluster_size=128k' '-f qcow2 -o compat=0.10' \
	'-f qcow2 chain'; do
	format=${options#-f }
	format=${format%% *}
	rm -f disk.img
	case $options in
	*chain)
		qemu-img convert -f raw -O qcow2 -c start.raw base.qcow2
		qcow2 disk.img 8M -b base.qcow2 -F qcow2
		;;
	*)
		# shellcheck disable=SC2086 # words
		qemu-img convert -f raw -O $format ${options#-f "$format"} start.raw disk.img
		;;
	esac
	more=
	[[ $options == '-f raw' ]] || more=resizable
	mounted disk.img -f "$format" --rw ${more:+--resizable}
	python3 work.py "$seed" $steps $more >"$out" 2>"$err" ||
		{ show; fail "$options, GILD_RANDOM_SEED=$seed"; }
	unmounted
	[ "$format" = raw ] || sound disk.img
	qemu-img compare -f raw -F "$format" model.raw disk.img >"$out" ||
		{ show; fail "$options, GILD_RANDOM_SEED=$seed"; }
done

# --- the size --------------------------------------------------------------------
qcow2 disk.qcow2 8M
put qcow2 disk.qcow2 'write -P 1 0 8M'
mounted disk.qcow2 --rw
for command in 'echo >m/disk' ': >m/partitions/1' 'truncate -s 1M m/disk' \
	'cp start.raw m/disk' 'dd if=start.raw of=m/disk status=none'; do
	run bash -c "$command"
	[ "$status" != 0 ] || fail "the disk was cut off: $command"
done
truncate -s 9M m/disk
[ "$(stat -c %s m/disk)" = 9437184 ]
unmounted
sound disk.qcow2
qemu-img info disk.qcow2 >"$out"
expect_out '9 MiB'
qemu-io -f qcow2 -c 'read -P 1 0 8M' -c 'read -P 0 8M 1M' disk.qcow2 >"$out"
! grep -q failed "$out" || { show; fail "content"; }

# --- those who want a raw disk ------------------------------------------------------
qcow2 disk.qcow2 64M
mounted disk.qcow2 --rw
sfdisk -q --no-reread --no-tell-kernel m/disk <<<'start=1M, size=60M'
unmounted
mounted disk.qcow2 --rw
run gild mount --rw disk.qcow2 m
expect_error 'in use'
mke2fs -q -t ext4 m/partitions/1
echo 'some text' >text
debugfs -w -R 'write text hello' m/partitions/1 >"$out" 2>&1
e2fsck -fn m/partitions/1 >"$out" 2>&1 || { show; fail "e2fsck"; }
debugfs -R 'cat hello' m/partitions/1 2>"$err" >got
same_text text got
qemu-io -f raw -c 'write -P 5 63M 64k' -c 'read -P 5 63M 64k' m/disk >"$out"
! grep -q failed "$out" || { show; fail "qemu-io"; }
if [ "$(id -u)" = 0 ] && device=$(losetup -f --show m/partitions/1 2>/dev/null); then
	mkdir fs
	if mount "$device" fs 2>/dev/null; then
		cp -r "$top/tools" fs/
		umount fs
	fi
	losetup -d "$device"
	for ((i = 0; i < 50; i++)); do
		losetup "$device" >/dev/null 2>&1 || break
		sleep 0.1
	done
	e2fsck -fn m/partitions/1 >"$out" 2>&1 || { show; fail "losetup"; }
fi
unmounted
sound disk.qcow2

# --- a crash, under load ---------------------------------------------------------------
for format in qcow2 raw; do
	rm -f disk.img
	qemu-img create -q -f $format disk.img 64M
	mounted disk.img -f $format --rw
	writers=()
	for job in 1 2 3; do
		python3 - $job <<-'END' 2>/dev/null &
		import os, random, sys
		random.seed(int(sys.argv[1]))
		fd = os.open("m/disk", os.O_RDWR)
		while True:
		    os.pwrite(fd, random.randbytes(random.randrange(1, 90000)),
		              random.randrange(60 << 20))
		END
		writers+=($!)
	done
	sleep 0.5
	killed
	for job in "${writers[@]}"; do
		kill -9 "$job" 2>/dev/null || :
		wait "$job" 2>/dev/null || :
	done
	if [ $format = qcow2 ]; then
		run qemu-img check disk.img
		[ "$status" = 0 ] || [ "$status" = 3 ] || { show; fail "a crash"; }
	fi
done

# What was synced is there after a crash.
qcow2 disk.qcow2 16M
mounted disk.qcow2 --rw
python3 - <<'END'
import os
fd = os.open("m/disk", os.O_RDWR)
os.pwrite(fd, b"kept" * 1024, 5 << 20)
os.fsync(fd)
END
killed
[ "$(dd if=<(qemu-img dd -f qcow2 -O raw if=disk.qcow2 of=o.raw bs=1M count=6 &&
	cat o.raw) bs=4 skip=$((5 << 18)) count=1 status=none)" = kept ] ||
	fail "what was synced is lost"

# --- a full disk ---------------------------------------------------------------------------
if [ "$(id -u)" = 0 ] && mkdir full && mount -t tmpfs -o size=3M none full 2>/dev/null; then
	# shellcheck disable=SC2016 # expanded at the end
	at_end 'umount "$work/full" 2>/dev/null'
	qcow2 full/disk.qcow2 64M
	mounted full/disk.qcow2 --rw
	run dd if=/dev/urandom of=m/disk bs=1M count=10 conv=notrunc status=none
	[ "$status" != 0 ] || fail "written to a full disk"
	expect_err 'No space left'
	head -c 1M m/disk >"$out"
	gild unmount m || gild unmount m || fusermount3 -u m
	run qemu-img check full/disk.qcow2
	[ "$status" = 0 ] || [ "$status" = 3 ] || { show; fail "a full disk"; }
fi
