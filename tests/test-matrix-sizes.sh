#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Disks whose end is no multiple of anything, empty ones, several joined, and
# zeros of all lengths: through files and streams, in both formats.

# shellcheck source=tests/lib.sh
. "${BASH_SOURCE%/*}/../tests/lib.sh"
# shellcheck source=tests/matrix.sh
. "$top/tests/matrix.sh"
requires "qemu-img --version"

# sectors FILE: the size of the disk in that raw file.
sectors() {
	echo $((($(stat -c %s "$1") + 511) / 512 * 512))
}

# holds_all NAME: the qcow2 image NAME is x.raw, byte by byte, and ends there.
holds_all() {
	sound "$1"
	equal raw x.raw qcow2 "$1"
	gild_equal raw x.raw qcow2 "$1"
	same_verdict "$1"
	[ "$(qemu-img info --output=json "$1" |
		grep -c "\"virtual-size\": $(sectors x.raw),")" = 1 ] ||
		fail "$1 is not of $(sectors x.raw) bytes"
	quietly gild convert -q -f qcow2 -O raw "$1" back.raw
	cp x.raw whole.raw
	truncate -s "$(sectors x.raw)" whole.raw
	same whole.raw back.raw
}

# The same image, whether a file is written or a stream, and read from a file,
# a pipe or a file that is the standard input.
each_way() {
	rm -f direct
	quietly gild convert -f raw -O qcow2 -o "$1" x.raw direct
	holds_all direct
	[ "$(stat -c %s direct)" -le $((size + size / 16 +
		7 * $(numfmt --from=iec "${cluster^^}"))) ] ||
		fail "$(stat -c %s direct) bytes for a disk of $size"
	gild convert -f raw -O qcow2 -o "$1" x.raw - | cat >streamed
	same direct streamed
	gild convert -f qcow2 -O qcow2 -o "$1" direct - >streamed
	same direct streamed
	gild convert -f raw -O qcow2 -o "$1" - streamed <x.raw
	same direct streamed
	gild convert -O qcow2 -o "$1" - streamed < <(cat x.raw)
	holds_all streamed
	gild convert -f qcow2 direct - | cmp - whole.raw
	quietly gild convert -c -f raw -O qcow2 -o "$1" x.raw packed
	holds_all packed
	combinations=$((combinations + 1))
}

seq 1 1000000 >numbers
n=0

# With data up to the last byte, and with an end of zeros.
for size in 0 1 511 512 513 4095 4097 65535 65536 65537 1048577 2096640 \
	2097153 3146241 5000000; do
	n=$((n + 1))
	for tail in data zeros; do
		head -c $size numbers >x.raw
		[ $tail = data ] || { [ $size -gt 9000 ] || continue
			dd if=/dev/zero of=x.raw bs=1 count=5001 conv=notrunc \
				seek=$((size - 5001)) status=none; }
		for cluster in 512 4k 64k 2M; do
			n=$((n + 1))
			[ "$level" != fast ] || [ $cluster = 64k ] || continue
			[ "$level" != normal ] || [ $((n % 2)) = 0 ] || continue
			about "size $size, $tail, cluster $cluster"
			each_way cluster_size=$cluster
			[ $cluster != 64k ] || each_way extended_l2=on
			[ $cluster != 2M ] || each_way cluster_size=2M,compat=0.10
		done
	done
done

# Joined: each source ends at a sector, the next one begins there.
about "joined"
joined=
for size in 0 513 65536 1536 70000 2097152 100; do
	head -c $size numbers >"part$size"
	cp "part$size" "padded$size"
	truncate -s "$(sectors "part$size")" "padded$size"
	quietly qemu-img convert -f raw -O qcow2 -o cluster_size=4k "part$size" \
		"part$size.qcow2"
	joined+=" padded$size"
done
for cluster in 512 64k 2M; do
	for more in "" -c; do
		# shellcheck disable=SC2086 # words
		cat $joined >x.raw
		# shellcheck disable=SC2046,SC2086
		quietly gild convert $more -O qcow2 -o cluster_size=$cluster -f raw \
			${joined//padded/part} out
		holds_all out
		# shellcheck disable=SC2046,SC2086
		quietly gild convert $more -O qcow2 -f qcow2 -o cluster_size=$cluster \
			$(printf '%s.qcow2 ' ${joined//padded/part}) out
		holds_all out
		# shellcheck disable=SC2046,SC2086
		gild convert -f raw ${joined//padded/part} - | cmp - x.raw
		combinations=$((combinations + 3))
	done
done

# Runs of zeros and of data, of 512 bytes to 1 MiB: -S is about space, never
# about content; a larger one never takes less.
truncate -s 8M x.raw
offset=0
for run in 512 1024 4096 4608 8192 65536 131072 1048576; do
	head -c $run numbers |
		dd of=x.raw bs=512 seek=$((offset / 512)) conv=notrunc status=none
	offset=$((offset + 2 * run))
	printf '\1' | dd of=x.raw bs=1 seek=$((offset + 100)) conv=notrunc status=none
	offset=$((offset + 512))
done
for cluster in 512 4k 64k; do
	last=0
	for sparse in 512 4k 64k 1M 0; do
		about "-S $sparse, cluster $cluster"
		quietly gild convert -S $sparse -f raw -O qcow2 \
			-o cluster_size=$cluster x.raw out
		holds_all out
		data=$(stat -c %s out)
		[ "$data" -ge "$last" ] || fail "$data bytes, $last before"
		last=$data
		quietly gild convert -S $sparse -f raw -O raw x.raw out.raw
		same x.raw out.raw
		combinations=$((combinations + 2))
	done
	[ "$(stat -c %s out)" -ge 8388608 ] || fail "-S 0 left something out"
done
echo "$combinations combinations"
