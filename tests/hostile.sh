# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
#
# For the tests of bad input (tests/test-hostile-*.sh), after lib.sh: gild with
# its time and memory bounded, and what must hold for whatever it is given.

level=${GILD_TEST_LEVEL:-normal}
cases=0
about=

# The folder that is watched for debris holds nothing of the test's own.
mkdir "$work/files"
cd "$work/files"
in_memory

"${CC:-gcc}" -O1 -static -o "$work/limits" "$top/tests/hostile/limits.c"

# These replace those of lib.sh: to look beyond this file, and to say which case
# it was.
where() {
	local i
	for ((i = 0; i < ${#BASH_SOURCE[@]}; i++)); do
		[ "${BASH_SOURCE[i]}" != "$0" ] || break
	done
	echo "$0:${BASH_LINENO[i - 1]}"
}

fail() {
	trap - ERR
	echo "case: $about" >&2
	echo "$(where): $*" >&2
	exit 1
}
trap 'echo "case: $about" >&2
	echo "$0:$LINENO: failed: $BASH_COMMAND" >&2' ERR

# Against what hangs, and what takes memory by what it reads.
seconds=60 memory=204800
case ${GILD_VARIANT:-release} in
release) ;;
*) seconds=300 memory=4000000 ;;
esac

# bounded ARGS...: gild, within its bounds; leaves $status, $out, $err.
bounded() {
	local used
	status=0
	"$work/limits" $seconds "$work/.memory" "$GILD" "$@" \
		>"$out" 2>"$err" </dev/null || status=$?
	read -r used <"$work/.memory"
	[ "$status" != 124 ] || fail "gild $*: takes longer than $seconds s"
	[ "$status" -lt 124 ] || { show; fail "gild $*: died ($status)"; }
	[ "$used" -lt $memory ] || fail "gild $*: took $used KiB of memory"
	[ ! -s "$err" ] || ! grep -q 'Sanitizer\|runtime error' "$err" ||
		{ show; fail "gild $*"; }
	cases=$((cases + 1))
}

nonsense='assert|errno [0-9]|\(null\)|%[lsdu]'

# One line of error, with or without a hint, that names NAME. (Warnings may
# precede it.)
clear_error() {
	local line lines=0 named=
	while read -r line; do
		[[ $line = 'gild: '* ]] ||
			{ show; fail "a line without 'gild: '"; }
		[[ $line = 'gild: warning: '* ]] || lines=$((lines + 1))
		[[ $line != *"$1"* ]] || named=1
		[[ ! ${line,,} =~ $nonsense ]] ||
			{ show; fail "not a message"; }
	done <"$err"
	[ $lines -gt 0 ] || { show; fail "no error"; }
	[ $lines -le 2 ] || { show; fail "an error of many lines"; }
	[ -n "$named" ] || { show; fail "the error does not name $1"; }
}

# What is here, as $seen.
look() {
	local names
	shopt -s dotglob nullglob
	names=(*)
	shopt -u dotglob nullglob
	seen="${names[*]}"
}

# refuses STATUS NAME ARGS...: this fails so, clearly, and leaves no debris.
refuses() {
	local wanted=$1
	shift
	either "$@"
	[ "$status" = "$wanted" ] ||
		{ show; fail "gild ${*:2}: status $status, not $wanted"; }
}

# either NAME ARGS...: this works, or fails clearly and leaves no debris.
either() {
	local name=$1 seen before
	shift
	look
	before=$seen
	bounded "$@"
	[ "$status" != 0 ] || return 0
	clear_error "$name"
	look
	[ "$seen" = "$before" ] || fail "left: $seen (before: $before)"
}

# checks NAME ARGS...: gild check ends as it may: with what it found, or with an
# error.
checks() {
	local name=$1
	shift
	bounded check "$@"
	case $status in
	0 | 2 | 3) ;;
	1) grep -q 'internal errors have occurred' "$out" || clear_error "$name" ;;
	*) show; fail "check: status $status" ;;
	esac
}

# poke FILE OFFSET HEX: writes these bytes there.
poke() {
	local escaped
	escaped=$(sed 's/../\\x&/g' <<<"$3")
	# shellcheck disable=SC2059 # the format is the data
	printf "$escaped" |
		dd of="$1" bs=1 seek=$(($2)) conv=notrunc status=none
}

# peek FILE OFFSET BYTES: the big-endian number there, in decimal.
peek() {
	echo $((0x$(od -An -v -tx1 -j $(($2)) -N "$3" "$1" | tr -d ' \n')))
}

# number BYTES VALUE: as hex of so many bytes.
number() {
	printf "%0$(($1 * 2))x" "$2"
}
