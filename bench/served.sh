# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
#
# Rows of images that are served: mounted (beside the FUSE export of
# qemu-storage-daemon), and over NBD (beside qemu-nbd). The servers run for the
# time of a row, with the priority of the samples; what is timed is a client that
# reads or writes a fixed amount: fio with its engine psync, or nbdcopy.

# shellcheck disable=SC2154 # variables of run

served_rows=(mount_random4 mount_random1 mount_direct mount_buffered mount_write
	mount_zlib_random4 mount_zlib_direct nbd_plain nbd_zlib mount_first)

daemons=()

# Ends what a row started.
drop_servers() {
	local daemon
	[ ! -d "$work/mnt" ] || "$gild" unmount "$work/mnt" 2>/dev/null || true
	for daemon in "${daemons[@]}"; do
		kill "$daemon" 2>/dev/null || true
		wait "$daemon" 2>/dev/null || true
	done
	daemons=()
	rm -f "$work"/*.sock
}

# The rest of a row is left out without what it needs: want NAME PACKAGE...
want() {
	local missing=
	while [ $# -gt 0 ]; do
		command -v "$1" >/dev/null || missing+=" $2"
		shift 2
	done
	[ -z "$missing" ] && return
	tell "skipped: ${titles[$row]} needs$missing"
	unset "shown[-1]"
	return 1
}

wait_for() {
	local i
	for ((i = 0; i < 100; i++)); do
		"$@" >/dev/null 2>&1 && return
		sleep 0.05
	done
	die "$row: a server did not start"
}

# Both servers' mounts of an image: $work/export and $work/mnt/disk.
mounts() {
	local file=$1 access=${2:-off} option=
	[ $access = off ] || option=--rw
	want fio fio qemu-storage-daemon qemu-system-common fusermount3 fuse3 ||
		return 1
	[ -c /dev/fuse ] || { tell "skipped: no /dev/fuse"; unset "shown[-1]"; return 1; }
	mkdir -p "$work/mnt"
	touch "$work/export"
	$realtime qemu-storage-daemon \
		--blockdev "driver=file,node-name=f,filename=$file.1" \
		--blockdev driver=qcow2,node-name=q,file=f \
		--export "fuse,id=e,node-name=q,mountpoint=$work/export,writable=$access" &
	daemons+=($!)
	wait_for test -s "$work/export"
	# shellcheck disable=SC2086 # one word or none
	$realtime "$gild" mount $option "$file" "$work/mnt"
}

# Each server has a file of its own: locks, and the same caches for both.
two() {
	image "$1" "${@:2}"
	[ -e "$work/$1.1" ] || cp --reflink=never "$work/$1" "$work/$1.1"
	warm "$work/$1" "$work/$1.1"
}

# fio_row OPTIONS...: by both mounts
fio_row() {
	local fio=(fio --minimal --output=/dev/null --name=row --ioengine=psync
		--group_reporting "$@")
	who qemu "${fio[@]}" --filename="$work/export"
	who gild "${fio[@]}" --filename="$work/mnt/disk"
	measure
	drop_servers
}

row_mount_random4() {
	two plain.qcow2
	row mount_random4 'mounted: 4 KiB random, 4 jobs' 1.5
	mounts "$work/plain.qcow2" || return 0
	fio_row --direct=1 --rw=randread --bs=4k --numjobs=4 --size=600m \
		--number_ios=30000
}

row_mount_random1() {
	two plain.qcow2
	row mount_random1 'mounted: 4 KiB random, 1 job' 1.8
	mounts "$work/plain.qcow2" || return 0
	fio_row --direct=1 --rw=randread --bs=4k --size=600m --number_ios=30000
}

row_mount_direct() {
	two plain.qcow2
	row mount_direct 'mounted: 1 MiB sequential, direct' 2.5
	mounts "$work/plain.qcow2" || return 0
	fio_row --direct=1 --rw=read --bs=1M --size=600m --loops=4
}

row_mount_buffered() {
	two plain.qcow2
	row mount_buffered 'mounted: 1 MiB sequential, buffered' 1.2
	mounts "$work/plain.qcow2" || return 0
	fio_row --direct=0 --invalidate=1 --rw=read --bs=1M --size=600m --loops=4
}

row_mount_write() {
	two plain.qcow2
	row mount_write 'mounted: 1 MiB sequential write' 1.3
	mounts "$work/plain.qcow2" on || return 0
	fio_row --direct=1 --rw=write --bs=1M --size=600m --loops=2 \
		--overwrite=1 --allow_file_create=0
	rm -f "$work/plain.qcow2" "$work/plain.qcow2.1"
}

row_mount_zlib_random4() {
	two zlib.qcow2 -c
	row mount_zlib_random4 'mounted zlib: 4 KiB random, 4 jobs' 2.5
	mounts "$work/zlib.qcow2" || return 0
	fio_row --direct=1 --rw=randread --bs=4k --numjobs=4 --size=600m \
		--number_ios=20000
}

row_mount_zlib_direct() {
	two zlib.qcow2 -c
	row mount_zlib_direct 'mounted zlib: 1 MiB sequential' 3.5
	mounts "$work/zlib.qcow2" || return 0
	fio_row --direct=1 --rw=read --bs=1M --size=600m --loops=3
}

# --- NBD -----------------------------------------------------------------------

nbd_row() {
	want nbdkit nbdkit nbdcopy libnbd-bin qemu-nbd qemu-utils || return 0
	$realtime qemu-nbd -r -t -e 8 -k "$work/qemu.sock" -f qcow2 "$1.1" &
	daemons+=($!)
	$realtime nbdkit -r -f -U "$work/gild.sock" \
		"$(dirname "$gild")/nbdkit-gild-plugin.so" "$1" &
	daemons+=($!)
	wait_for test -S "$work/qemu.sock"
	wait_for test -S "$work/gild.sock"
	who qemu nbdcopy "nbd+unix:///?socket=$work/qemu.sock" null:
	who gild nbdcopy "nbd+unix:///?socket=$work/gild.sock" null:
	if [ -n "$2" ]; then
		$realtime nbdkit -r -f -U "$work/file.sock" file "$2" &
		daemons+=($!)
		wait_for test -S "$work/file.sock"
		limit_command "nbdkit's file plugin" \
			nbdcopy "nbd+unix:///?socket=$work/file.sock" null:
	fi
	measure
	drop_servers
}

row_nbd_plain() {
	two plain.qcow2
	row nbd_plain 'nbdcopy of a plain image' 1.1
	nbd_row "$work/plain.qcow2" "$raw"
}

row_nbd_zlib() {
	two zlib.qcow2 -c
	row nbd_zlib 'nbdcopy of a zlib image' 2.3
	nbd_row "$work/zlib.qcow2" ''
}

# From nothing to the first byte, and back to nothing.
row_mount_first() {
	two plain.qcow2
	row mount_first 'mount, read a sector, unmount'
	want fusermount3 fuse3 || return 0
	mkdir -p "$work/mnt"
	# shellcheck disable=SC2016 # that shell's variables
	who gild sh -c '"$1" mount "$2" "$3" && head -c 512 "$3/disk" >/dev/null &&
		"$1" unmount "$3"' sh "$gild" "$work/plain.qcow2" "$work/mnt"
	measure
}
