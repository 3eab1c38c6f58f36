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

"${CC:-gcc}" -O1 -o "$work/limits" "$top/tests/hostile/limits.c"

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

# Bounds of the release build: 10 seconds, 200 MiB.
seconds=10 memory=204800
case ${GILD_VARIANT:-release} in
release) ;;
*) seconds=100 memory=4000000 ;;
esac

# bounded ARGS...: gild, within its bounds; leaves $status, $out, $err.
bounded() {
	local used
	status=0
	"$work/limits" $seconds "$work/.memory" "$GILD" "$@" \
		>"$out" 2>"$err" </dev/null || status=$?
	used=$(cat "$work/.memory")
	[ "$status" != 124 ] || fail "gild $*: takes longer than $seconds s"
	[ "$status" -lt 124 ] || { show; fail "gild $*: died ($status)"; }
	[ "$used" -lt $memory ] || fail "gild $*: took $used KiB of memory"
	! grep -q 'Sanitizer\|runtime error' "$err" || { show; fail "gild $*"; }
	cases=$((cases + 1))
}

# One line of error, with or without a hint, that names NAME. (Warnings may
# precede it.)
clear_error() {
	grep -q '^gild: ' "$err" || { show; fail "no error"; }
	! grep -qv '^gild: ' "$err" || { show; fail "a line without 'gild: '"; }
	[ "$(grep -cv '^gild: warning: ' "$err")" -le 2 ] || { show; fail "an error of many lines"; }
	grep -qF -e "$1" "$err" || { show; fail "the error does not name $1"; }
	! grep -qi 'assert\|errno [0-9]\|(null)\|%[lsdu]' "$err" ||
		{ show; fail "not a message"; }
}

# refuses STATUS NAME ARGS...: this fails so, clearly, and leaves no debris.
refuses() {
	local wanted=$1 name=$2
	shift 2
	list >"$work/.before"
	bounded "$@"
	[ "$status" = "$wanted" ] ||
		{ show; fail "gild $*: status $status, not $wanted"; }
	clear_error "$name"
	list >"$work/.after"
	same_text "$work/.before" "$work/.after"
}

# either NAME ARGS...: this works, or fails clearly and leaves no debris.
either() {
	local name=$1
	shift
	list >"$work/.before"
	bounded "$@"
	[ "$status" != 0 ] || return 0
	clear_error "$name"
	list >"$work/.after"
	same_text "$work/.before" "$work/.after"
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
