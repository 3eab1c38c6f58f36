#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Chains in both directions: overlays by qemu-img that gild reads, overlays by
# gild (create, clone, convert -B, convert -n) that qemu-img reads and qemu-io
# writes on. Bases are raw or qcow2, as long as the overlay, shorter or longer,
# named relatively or absolutely.

# shellcheck source=tests/lib.sh
. "${BASH_SOURCE%/*}/../tests/lib.sh"
# shellcheck source=tests/matrix.sh
. "$top/tests/matrix.sh"
requires "qemu-img --version"

size=$((6 * 1048576 + 1536))
mkdir deep

# base_of FORMAT SIZE OPTIONS: deep/base, and what a disk of $size sees of it,
# raw.
base_of() {
	rm -f deep/base raw
	truncate -s $size raw
	truncate -s "$2" deep/base.raw
	seq 1 200000 | head -c "$2" | dd of=deep/base.raw conv=notrunc status=none
	put raw deep/base.raw 'write -P 90 2M 300k' 'write -P 91 2800k 5120'
	head -c $size deep/base.raw | dd of=raw conv=notrunc status=none
	case $1 in
	raw) mv deep/base.raw deep/base ;;
	*)
		quietly qemu-img convert -f raw -O qcow2 -o "$3" deep/base.raw \
			deep/base
		rm deep/base.raw
		;;
	esac
}

# Beyond the end of every base, within it, and across.
changes() {
	put "$1" "$2" 'write -P 31 100k 70000' 'write -z 2100k 64k' \
		'write -P 32 4090k 40k' 'write -P 0 3M 2k' 'write -z 1M 512k' \
		"write -P 33 $((size - 512)) 512" 'write -P 34 5M 1536'
}

# overlay_is RAW: sound, and that disk, for both tools.
overlay_is() {
	quietly gild convert -q -f qcow2 -O raw "$overlay" got.raw
	same "$1" got.raw
	sound "$overlay"
	equal raw "$1" qcow2 "$overlay"
	gild_equal raw "$1" qcow2 "$overlay"
	same_verdict "$overlay"
}

# By qemu-img, in two layers, the upper one beside the test's folder's files.
of_qemu() {
	overlay=top
	rm -f top deep/mid
	quietly qemu-img create -f qcow2 -b "$name" -F "$format" -o "$options" \
		deep/mid $size
	overlay=deep/mid
	overlay_is raw
	cp raw model
	changes raw model
	changes qcow2 deep/mid
	overlay_is model
	quietly qemu-img create -f qcow2 -b deep/mid -F qcow2 \
		-o "$options" top $size
	put qcow2 top 'write -P 41 300k 300k' 'discard 2M 128k' 'write -z 4M 1M'
	quietly qemu-img convert -f qcow2 -O raw top model
	overlay=top
	overlay_is model
}

# By gild: empty, a clone of it, then filled by qemu-io.
of_gild() {
	local in_base
	rm -f top deep/mid deep/clone
	quietly gild create -f qcow2 -b "$name" -F "$format" -o "$options" \
		deep/mid $size
	overlay=deep/mid
	overlay_is raw
	quietly gild clone -f qcow2 --relative -o "$options" deep/mid deep/clone
	changes qcow2 deep/clone
	cp raw model
	changes raw model
	overlay=deep/clone
	overlay_is model
	overlay=deep/mid
	overlay_is raw

	# What differs, and nothing else, is stored over the same base.
	in_base=$name
	[ "${name:0:1}" = / ] || in_base=deep/$name
	quietly gild convert -f raw -O qcow2 -o "$options" -B "$in_base" \
		-F "$format" model top
	overlay=top
	overlay_is model
	stored raw model

	# Into an overlay with content: what shines through must not.
	quietly gild convert -n -f raw -O qcow2 raw deep/clone
	overlay=deep/clone
	overlay_is raw
	quietly gild convert -n -f qcow2 -O qcow2 top deep/clone
	overlay_is model
}

# stored OLD NEW: the overlay holds data where these differ, and nowhere else.
# (Differences are looked for by 4 KiB.)
stored() {
	local differ stored bytes
	bytes=$(numfmt --from=iec "${cluster^^}")
	[ "$bytes" -ge 4096 ] || bytes=4096
	differ=$({ cmp -l "$1" "$2" || :; } | awk -v c="$bytes" '
		{at = int(($1 - 1) / c)} at != last || NR == 1 {n++; last = at}
		END {print n * c}')
	stored=$(qemu-img map --output=json -f qcow2 "$overlay" |
		sed -n 's/.*"length": \([0-9]*\), "depth": 0,.*"data": true.*/\1/p' |
		awk '{n += $1} END {print n + 0}')
	[ "$stored" -le "$differ" ] ||
		fail "$stored bytes stored, $differ differ"
}

# Every seventh at level fast, every third at normal.
n=0
skip_some() {
	n=$((n + 1))
	case $level in
	fast) [ $((n % 7)) != 0 ] ;;
	normal) [ $((n % 3)) != 0 ] ;;
	*) false ;;
	esac
}

# The source's backing file is another one than the target's, the same under
# another name, or one of several sources'; nothing may be taken for granted.
about "-B with another base"
for options in cluster_size=64k cluster_size=4k,compat=0.10; do
	base_of raw 3000320 none
	cp deep/base first.raw
	cp deep/base second.raw
	ln -s first.raw third.raw
	put raw second.raw 'write -P 50 0 1M'
	rm -f top
	quietly qemu-img create -f qcow2 -b first.raw -F raw top $size
	changes qcow2 top
	quietly qemu-img convert -f qcow2 -O raw top model
	for base in first second third; do
		for more in "-S 4k" "-S 0" -c "-c -S 0"; do
			# shellcheck disable=SC2086 # words
			quietly gild convert -f qcow2 -O qcow2 -B $base.raw -F raw \
				-o $options $more top over
			overlay=over
			overlay_is model
			combinations=$((combinations + 1))
		done
	done
	quietly gild convert -f qcow2 -O qcow2 -B second.raw -F raw \
		-o $options top top over
	cat model model >joined
	overlay_is joined
	rm -f third.raw
done
truncate -s 1T huge.raw
quietly timeout 20 "$GILD" convert -f raw -O qcow2 -B first.raw -F raw huge.raw over
sound over

for format in raw qcow2; do
for base_size in 3000320 6293504 8388608; do
for naming in relative absolute; do
for cluster in 512 4k 64k 2M; do
for more in compat=0.10 compat=1.1 extended_l2=on; do
	case $more,$cluster in
	extended*,512 | extended*,4k) continue ;;
	esac
	! skip_some || continue
	options=cluster_size=$cluster,$more
	about "$format" $base_size $naming "$options"
	base_of $format $base_size cluster_size=64k
	name=base
	[ $naming = relative ] || name=$PWD/deep/base
	of_qemu
	of_gild
	combinations=$((combinations + 1))
done
done
done
done
done
echo "$combinations combinations"
