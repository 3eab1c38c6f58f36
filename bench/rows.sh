# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
#
# The rows of the table: what is done, by whom, and how much faster gild is to
# be. Samples are taken in $place/out, which is empty before each.

# shellcheck disable=SC2154 # variables of run

all_rows=(pack_zlib pack_zstd unpack_zlib unpack_zstd copy_ext4 back_ext4
	copy_xfs back_xfs compare_zlib compare_plain clone check map
	check_scattered map_scattered snapshot_create snapshot_apply
	snapshot_delete resize check_repair amend_compat amend_refcounts rebase
	commit chain_open chain_read chain_beside_one info version
	"${served_rows[@]}" memory)

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

# --- Changing an image ------------------------------------------------------

# in_place NAME TITLE IMAGE VERB ARGS...: a copy of the image is changed. What
# takes milliseconds is done more often.
in_place() {
	row "$1" "$2" 1
	turns=$((runs * 3))
	before cp --sparse=always "$work/$3" "$place/out/a.qcow2"
	both "${@:4}" "$place/out/a.qcow2"
	verify=("$qemu" check -q "$place/out/a.qcow2")
	measure
}

row_snapshot_create() {
	want_large
	in_place snapshot_create 'snapshot -c, 20 of 100 GiB' large.qcow2 \
		snapshot -c s
}

row_snapshot_apply() {
	want_large
	in_place snapshot_apply 'snapshot -a, 20 of 100 GiB' taken.qcow2 \
		snapshot -a s
}

row_snapshot_delete() {
	want_large
	in_place snapshot_delete 'snapshot -d, 20 of 100 GiB' taken.qcow2 \
		snapshot -d s
}

row_check_repair() {
	want_large
	in_place check_repair 'check -r all, 5 GiB leaked' leaking.qcow2 \
		check -r all
}

# amend NAME TITLE OPTION
amend() {
	if ! "$gild" amend --help >/dev/null 2>&1; then
		tell "skipped: this gild has no amend"
		return 0
	fi
	want_large
	in_place "$1" "$2" large.qcow2 amend -f qcow2 -o "$3"
}

row_amend_compat() {
	amend amend_compat 'amend compat=0.10, 20 of 100 GiB' compat=0.10
}

row_amend_refcounts() {
	amend amend_refcounts 'amend refcount_bits=64, 20 of 100 GiB' \
		refcount_bits=64
}

# The size is the last operand.
row_resize() {
	local copy=$work/out/a.qcow2
	want_large
	row resize 'resize, 100 to 400 GiB' 1
	turns=$((runs * 3))
	before cp --sparse=always "$work/large.qcow2" "$copy"
	both resize -q -f qcow2 "$copy" 400G
	verify=("$qemu" check -q "$copy")
	measure
}

# What three layers say goes into the top.
row_rebase() {
	local copy=$work/out/a.qcow2
	want_overlays
	row rebase 'rebase, past three layers' 1
	before cp --sparse=always "$work/over4.qcow2" "$copy"
	both rebase -q -f qcow2 -b "$work/plain.qcow2" -F qcow2 "$copy"
	verify=("$qemu" compare -q "$copy" "$work/over4.qcow2")
	measure
}

row_commit() {
	local out=$work/out
	want_commit
	row commit 'commit 128 MiB' 1
	before cp --sparse=always "$work/commit/base.qcow2" \
		"$work/commit/top.qcow2" "$out"
	both commit -q -f qcow2 "$out/top.qcow2"
	verify=("$qemu" compare -q "$out/base.qcow2" "$work/commit/top.qcow2")
	measure
}

# --- A long chain -----------------------------------------------------------

row_chain_open() {
	want_chain
	row chain_open "opening a chain of $chain" 1
	both bench -f qcow2 -c 1 -d 1 "$work/chain/top.qcow2"
	measure
}

# All of the disk, once.
row_chain_read() {
	want_chain
	row chain_read "reading the top of $chain once" 1
	both bench -f qcow2 -d 1 -s 64k -c "$(requests 65536)" \
		"$work/chain/top.qcow2"
	limit_command 'gild, one image' "$gild" bench -f qcow2 -d 1 -s 64k \
		-c "$(requests 65536)" "$work/flat.qcow2"
	measure
}

# gild alone: the disk in one image takes the place of the peer. Twenty times
# all of the disk, so that the first time does not count for much.
row_chain_beside_one() {
	local args
	want_chain
	row chain_beside_one "one image, and a chain of $chain" 0.77
	args=(-f qcow2 -d 1 -s 4k -c $(($(requests 4096) * 20)))
	who qemu "$gild" bench "${args[@]}" "$work/flat.qcow2"
	who gild "$gild" bench "${args[@]}" "$work/chain/top.qcow2"
	measure
}

# requests SIZE: as many as fit into the disk.
requests() {
	echo $(($(stat -L -c %s "$raw") / $1))
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
