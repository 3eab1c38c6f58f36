# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
#
# For the tests of the matrix (tests/test-matrix-*.sh), after lib.sh: the
# combinations of creation options that qcow2 allows, and disks to fill them
# with.
#
# A combination is one line of words, in this order:
#
#     COMPAT CLUSTER REFCOUNT COMPRESSION EXTENDED DATA LAZY PREALLOCATION
#
# Which ones are visited: a stride through all of them, whose step is a prime
# that shares no factor with any dimension, so that each value of a dimension
# meets each value of the others. The level chooses the step.

in_memory

level=${GILD_TEST_LEVEL:-normal}
combinations=0

# Every valid combination, one a line.
every_combination() {
	local cluster refcount compression extended data lazy preallocation
	for cluster in 512 4k 64k 2M; do
		for preallocation in off metadata falloc full; do
			echo "0.10 $cluster 16 none off none off $preallocation"
		done
		echo "0.10 $cluster 16 zlib off none off off"
	done
	for cluster in 512 4k 64k 2M; do
	for refcount in 1 2 4 8 16 32 64; do
	for compression in none zlib zstd; do
	for extended in off on; do
	for data in none data raw; do
	for lazy in off on; do
	for preallocation in off metadata falloc full; do
		echo "1.1 $cluster $refcount $compression $extended $data" \
			"$lazy $preallocation"
	done
	done
	done
	done
	done
	done
	done | grep -Ev ' (512|4k) [0-9]+ [a-z]+ on | z[a-z]+ [a-z]+ (data|raw) | z[a-z]+ [a-z]+ [a-z]+ [a-z]+ (meta|fall|full)'
}

# chosen FAST NORMAL LONG: every FAST-th, ... one of them by level; version 2
# always.
chosen() {
	local step=$2
	case $level in
	fast) step=$1 ;;
	long) step=$3 ;;
	esac
	every_combination | awk -v step="$step" '
		$1 == "0.10" || NR % step == 0'
}

# Sets the dimensions' names from a combination, options (-o of both tools)
# and compress (-c or nothing). DATA is the name of the data file.
dimensions() {
	read -r compat cluster refcount compression extended data lazy \
		preallocation <<<"$1"
	options=compat=$compat,cluster_size=$cluster
	compress=()
	case $compression in
	zlib) compress=(-c) ;;
	zstd) compress=(-c) options+=,compression_type=zstd ;;
	esac
	[ "$refcount" = 16 ] || options+=,refcount_bits=$refcount
	[ "$extended" = off ] || options+=,extended_l2=on
	[ "$lazy" = off ] || options+=,lazy_refcounts=on
	[ "$preallocation" = off ] || options+=,preallocation=$preallocation
	case $data in
	data) options+=,data_file=$2 ;;
	raw) options+=,data_file=$2,data_file_raw=on ;;
	esac
	combinations=$((combinations + 1))
}

# Said where something fails: which combination it was.
about() {
	echo "combination: $*" >"$work/.about"
}

# These two replace those of lib.sh: to look beyond this file, and to name the
# combination.
where() {
	local i
	for ((i = 0; i < ${#BASH_SOURCE[@]}; i++)); do
		[ "${BASH_SOURCE[i]}" != "$0" ] || break
	done
	echo "$0:${BASH_LINENO[i - 1]}"
}

fail() {
	trap - ERR
	[ ! -s "$work/.about" ] || cat "$work/.about" >&2
	echo "$(where): $*" >&2
	exit 1
}
trap 'cat "$work/.about" >&2 2>/dev/null || :
	echo "$0:$LINENO: failed: $BASH_COMMAND" >&2' ERR

# quietly COMMAND...: what it says counts only if it fails.
quietly() {
	"$@" >"$work/.said" 2>&1 || { cat "$work/.said" >&2; fail "failed: $*"; }
}

# same_verdict FILE: gild check and qemu-img check agree, to the letter.
same_verdict() {
	local wanted=0
	qemu-img check -f qcow2 "$1" >"$work/.wanted" 2>"$work/.said" || wanted=$?
	run gild check -f qcow2 "$1"
	expect $wanted
	same_text "$work/.wanted" "$out"
}

# gild_equal FORMAT FILE FORMAT FILE: the same disk, as gild sees it.
gild_equal() {
	run gild compare -f "$1" -F "$3" "$2" "$4"
	expect 0
	expect_out 'Images are identical.'
}
