# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
#
# The rows of the table: what is done, by whom, and how much faster gild is to
# be. Samples are taken in $place/out, which is empty before each.

# shellcheck disable=SC2154 # variables of run

all_rows=(pack_zlib pack_zstd unpack_zlib unpack_zstd copy_ext4 back_ext4
	copy_xfs back_xfs compare_zlib compare_plain clone check map
	check_scattered map_scattered info version memory)

# What gild made must hold the disk.
verify_disk() {
	verify=("$qemu" compare -q -f raw "$raw" -F "$1" "$place/out/$2")
}

# --- Compressing ------------------------------------------------------------

row_pack_zlib() {
	row pack_zlib 'raw to -c qcow2, zlib' 12 8
	all_convert -f raw -O qcow2 -c "$raw" "$place/out/a.qcow2"
	limit 'ISA-L level 1' limit-codec pack deflate "$raw"
	verify_disk qcow2 a.qcow2
	measure
}

row_pack_zstd() {
	row pack_zstd 'raw to -c qcow2, zstd' 2 1.05
	all_convert -f raw -O qcow2 -c -o compression_type=zstd "$raw" \
		"$place/out/a.qcow2"
	limit 'libzstd level 3' limit-codec pack zstd "$raw"
	verify_disk qcow2 a.qcow2
	measure
}

row_unpack_zlib() {
	image zlib.qcow2 -c
	row unpack_zlib 'zlib qcow2 to raw' 2.8 2.2
	all_convert -f qcow2 -O raw "$work/zlib.qcow2" "$place/out/a.raw"
	limit 'libdeflate, write' limit-codec unpack deflate "$raw" \
		"$place/out/a.raw"
	verify_disk raw a.raw
	measure
}

row_unpack_zstd() {
	image zstd.qcow2 -c -o compression_type=zstd
	row unpack_zstd 'zstd qcow2 to raw' 1.9 1.9
	all_convert -f qcow2 -O raw "$work/zstd.qcow2" "$place/out/a.raw"
	limit 'libzstd, write' limit-codec unpack zstd "$raw" \
		"$place/out/a.raw"
	verify_disk raw a.raw
	measure
}

# --- Copying ----------------------------------------------------------------

# The name of the filesystem that the plain copies are made on.
here() {
	df --output=fstype "$work" | tail -n 1
}

row_copy_ext4() {
	row copy_ext4 "raw to plain qcow2, $(here)" 1.4 1.4
	all_convert -f raw -O qcow2 "$raw" "$place/out/a.qcow2"
	limit 'threads copying' limit-io copy "$raw" "$place/out/a.raw"
	verify_disk qcow2 a.qcow2
	measure
}

row_back_ext4() {
	image plain.qcow2
	row back_ext4 "plain qcow2 to raw, $(here)" 1.4 1.4
	all_convert -f qcow2 -O raw "$work/plain.qcow2" "$place/out/a.raw"
	limit_command 'cp' cp "$work/plain.qcow2" "$place/out/a.qcow2"
	verify_disk raw a.raw
	measure
}

row_copy_xfs() {
	want_xfs || return 0
	row copy_xfs 'raw to plain qcow2, XFS' 15 15
	place=$xfs
	all_convert -f raw -O qcow2 "$xfs/disk.raw" "$place/out/a.qcow2"
	limit_command 'cp --reflink=always' cp --reflink=always \
		"$xfs/disk.raw" "$place/out/a.raw"
	verify_disk qcow2 a.qcow2
	measure
}

row_back_xfs() {
	want_xfs || return 0
	row back_xfs 'plain qcow2 to raw, XFS' 15 15
	place=$xfs
	all_convert -f qcow2 -O raw "$xfs/plain.qcow2" "$place/out/a.raw"
	limit_command 'cp --reflink=always' cp --reflink=always \
		"$xfs/plain.qcow2" "$place/out/a.qcow2"
	verify_disk raw a.raw
	measure
}

# --- Comparing --------------------------------------------------------------

row_compare_zlib() {
	image zlib.qcow2 -c
	row compare_zlib 'compare raw with a zlib image' 5
	both compare -f raw -F qcow2 "$raw" "$work/zlib.qcow2"
	limit 'libdeflate, read' limit-codec compare deflate "$raw"
	measure
}

row_compare_plain() {
	image plain.qcow2
	row compare_plain 'compare raw with a plain image' 1.4
	both compare -f raw -F qcow2 "$raw" "$work/plain.qcow2"
	limit 'reading both' limit-io compare "$raw" "$work/plain.qcow2"
	measure
}

# --- Clones -----------------------------------------------------------------

# A shell makes qemu-img's one by one; they are not durable in the end. ext4
# avoids the inodes of files that were removed lately, and a thousand of them
# would cost more than all the rest: so they are kept until the end of the row.
row_clone() {
	local names=() i one
	image zlib.qcow2 -c
	row clone "$clones linked clones, durable" 30
	keep=1
	for ((i = 0; i < clones; i++)); do
		names+=("$place/out/$i.qcow2")
	done
	# shellcheck disable=SC2016 # that shell's variables
	one='program=$1 base=$2; shift 2; for name; do
		"$program" create -q -f qcow2 -b "$base" -F qcow2 "$name"; done'
	who qemu sh -c "$one" sh "$qemu" "$work/zlib.qcow2" "${names[@]}"
	[ -z "$newer" ] ||
		who newer sh -c "$one" sh "$newer" "$work/zlib.qcow2" "${names[@]}"
	who gild "$gild" clone -q "$work/zlib.qcow2" "${names[@]}"
	limit 'write, rename, syncfs' limit-clones "$place/out" "$clones"
	verify=("$qemu" check -q "${names[$clones - 1]}")
	measure
}

# --- Metadata ---------------------------------------------------------------

row_check() {
	want_full_tables
	row check 'check, 1 TiB of tables' 2
	both check "$work/full.qcow2"
	limit 'reading them' limit-io read "$work/full.qcow2"
	measure
}

row_map() {
	want_full_tables
	row map 'map --output=json, 1 TiB' 2
	both map --output=json "$work/full.qcow2"
	limit 'reading them' limit-io read "$work/full.qcow2"
	measure
}

row_check_scattered() {
	want_scattered_tables
	row check_scattered 'check, 1 Mi extents' 2
	both check "$work/scattered.qcow2"
	limit 'reading them' limit-io read "$work/scattered.qcow2"
	measure
}

row_map_scattered() {
	want_scattered_tables
	row map_scattered 'map --output=json, 1 Mi extents' 2
	both map --output=json "$work/scattered.qcow2"
	limit 'reading them' limit-io read "$work/scattered.qcow2"
	measure
}

# --- Start-up ---------------------------------------------------------------

row_info() {
	image zlib.qcow2 -c
	row info 'info' 1
	turns=$((runs * 8))
	both info "$work/zlib.qcow2"
	measure
}

row_version() {
	row version '--version' 1
	turns=$((runs * 8))
	both --version
	limit_command 'true' true
	measure
}

# --- Memory -----------------------------------------------------------------

# memory NAME TITLE ARGS...: one conversion by gild, for its memory alone.
memory() {
	row "$1" "$2"
	turns=1
	who gild "$gild" convert "${@:3}"
	measure
	shown=("${shown[@]:0:${#shown[@]}-1}")
	memory_rows+=("$1")
}

# What takes most: large clusters, a slow level, a huge disk, many tables.
row_memory() {
	local out=$work/out/a huge=$work/huge.raw some=$work/some.raw
	dd if="$raw" of="$some" bs=1M count=64 skip=256 status=none
	truncate -s 8T "$huge"
	dd if="$some" of="$huge" bs=1M seek=4000000 conv=notrunc status=none
	"$qemu" create -q -f qcow2 -o preallocation=metadata,cluster_size=4k \
		"$work/small.qcow2" 32G
	memory memory_zlib2m '-c, zlib, clusters of 2 MiB' \
		-f raw -O qcow2 -c -o cluster_size=2M "$raw" "$out"
	memory memory_zstd2m '-c, zstd, clusters of 2 MiB' -f raw -O qcow2 \
		-c -o cluster_size=2M,compression_type=zstd "$raw" "$out"
	memory memory_zstd19 '-c, zstd level 19, 2 MiB' -f raw -O qcow2 -c -o \
		cluster_size=2M,compression_type=zstd,compression_level=19 \
		"$some" "$out"
	memory memory_huge '8 TiB raw to plain qcow2' \
		-f raw -O qcow2 "$huge" "$out"
	memory memory_hugec '8 TiB raw to -c qcow2' \
		-f raw -O qcow2 -c "$huge" "$out"
	memory memory_tables '64 MiB of L2 tables to raw' \
		-f qcow2 -O raw "$work/small.qcow2" "$out"
	rm "$huge" "$some" "$work/small.qcow2"
}
memory_rows=()
