#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Random lives of images with snapshots (by qemu-img and qemu-io), converted
# with their snapshots into random targets: each disk is what it was when its
# snapshot was taken. GILD_RANDOM_SEED=N runs that seed only.

# shellcheck source=tests/lib.sh
. "${BASH_SOURCE%/*}/lib.sh"
requires "qemu-img --version" "qemu-io --version"
in_memory

# pick VALUE...: one of them, in $picked.
pick() {
	local values=("$@")
	picked=${values[RANDOM % $#]}
}

# A multiple of 512 below $1, rather often of 4096 or 65536, in $picked.
place() {
	pick 512 4096 65536
	picked=$((RANDOM * 32768 + RANDOM)) unit=$picked
	picked=$((picked % $1 / 512 * 512))
	[ $((unit % 3)) != 0 ] || picked=$((picked / 65536 * 65536))
}

# A few changes of the disk, for qemu-io.
changes() {
	local i start length commands=()
	for ((i = RANDOM % 4; i >= 0; i--)); do
		place "$size"
		start=$picked
		place 300000
		length=$((picked + 512))
		((start + length <= size)) || length=$((size - start))
		pick write write 'write -z' 'write -zu' discard
		[ "$picked" != write ] || picked="write -P $((RANDOM % 256))"
		commands+=("$picked $start $length")
	done
	put qcow2 x "${commands[@]}"
}

take() {
	taken=$((taken + 1))
	qemu-img snapshot -c "s$taken" x
	qemu-img convert -f qcow2 -O raw x "truth.$taken"
	there+=("$taken")
}

resize() {
	local old=$size
	pick 2000000 3000320 4194304 5000192 3145728
	size=$((picked / 512 * 512))
	[ $size != "$old" ] || return 0
	qemu-img resize -q --shrink -f qcow2 x $size
}

# One step in the image's life.
step() {
	local i
	case $((RANDOM % 12)) in
	0 | 1 | 2) take ;;
	3)
		[ ${#there[@]} -gt 0 ] || return 0
		pick "${there[@]}"
		qemu-img snapshot -a "s$picked" x
		size=$(stat -c %s "truth.$picked")
		;;
	4)
		[ ${#there[@]} -gt 2 ] || return 0
		i=$((RANDOM % ${#there[@]}))
		qemu-img snapshot -d "s${there[i]}" x
		rm "truth.${there[i]}"
		unset "there[i]"
		there=("${there[@]}")
		;;
	5) [ $resizes = no ] || resize ;;
	*) changes ;;
	esac
}

live() {
	local i options
	pick 4k 4k 64k 64k 16k 1k 512
	options=cluster_size=$picked
	[[ $picked != 16k && $picked != 64k ]] || {
		pick off on
		options+=,extended_l2=$picked
	}
	resizes=yes
	if [ $((RANDOM % 6)) = 0 ]; then
		resizes=no options=compat=0.10,cluster_size=4k
	fi
	backing=()
	if [ $((RANDOM % 2)) = 0 ]; then
		pick 1000448 4000256 8000000
		truncate -s "$picked" base
		put raw base "write -P 250 0 $((picked / 1024 * 1024))" \
			'write -P 0 600k 200k'
		backing=(-b base -F raw)
	fi
	size=3145728 taken=0 there=()
	qemu-img create -q -f qcow2 "${backing[@]}" -o "$options" x $size
	for ((i = 0; i < 30; i++)); do
		step
	done
	take
	about="$options, ${#there[@]} snapshots, ${backing[*]}"
	qemu-img convert -f qcow2 -O raw x truth.0
}

# The options of a conversion, in $args.
any_target() {
	pick 4k 64k 16k 512 2M 64k
	args=(-o cluster_size="$picked")
	[[ $picked != 16k && $picked != 64k ]] || {
		pick off on
		args+=(-o extended_l2="$picked")
	}
	pick '' -c '-o lazy_refcounts=on' '-c -o compression_type=zstd' \
		'-S 0' '-c -o refcount_bits=8' '-o refcount_bits=64'
	# shellcheck disable=SC2206 # words
	args+=($picked)
	[ $resizes = yes ] || args=(-c -o compat=0.10)
	[ -z "${backing[*]}" ] || [ $((RANDOM % 2)) = 0 ] ||
		args+=(-B base -F raw)
	pick 1 2 5
	args+=(-m "$picked")
}

# qemu-img reads no more of a snapshot than the active disk is long; of one of
# them it shows all, in a copy that it goes back to it.
whole_for_qemu() {
	pick "${there[@]}"
	cp y back
	qemu-img snapshot -a "s$picked" back
	sound back
	qemu-img convert -f qcow2 -O raw back got
	same "truth.$picked" got
}

check_target() {
	local i
	sound y
	gild check -q -f qcow2 y || fail "gild check"
	qemu-img snapshot -l x >wanted
	qemu-img snapshot -l y >got
	same_text wanted got
	for i in "${there[@]}"; do
		gild convert -q -f qcow2 -l "s$i" -O raw y got
		same "truth.$i" got
		qemu-img convert -l "s$i" -f qcow2 -O raw y got
		truncate -s "<$(stat -c %s "truth.$i")" got
		cmp -n "$(stat -c %s got)" "truth.$i" got ||
			fail "qemu-img reads another s$i"
	done
	gild convert -q -f qcow2 -O raw y got
	same truth.0 got
	equal raw truth.0 qcow2 y
	whole_for_qemu
}

seeds=$(seq 1 6)
case ${GILD_TEST_LEVEL:-normal} in
fast) seeds=$(seq 1 2) ;;
long) seeds=$(seq 1 100) ;;
esac
for seed in ${GILD_RANDOM_SEED:-$seeds}; do
	RANDOM=$seed
	rm -f ./*
	live
	for ((target = 0; target < 3; target++)); do
		any_target
		echo "seed $seed: $about, to ${args[*]}"
		gild convert -q --keep-snapshots -f qcow2 -O qcow2 "${args[@]}" \
			x y
		check_target
		# Nothing was lost on the way to yet another one.
		mv y z
		gild convert -q --keep-snapshots -f qcow2 -O qcow2 z y
		check_target
	done
done
