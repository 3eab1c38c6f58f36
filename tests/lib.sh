# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
#
# For shell tests. A test begins with
#
#     . "${BASH_SOURCE%/*}/../tests/lib.sh"
#     requires "qemu-img --version"
#
# and is then in an empty folder of its own, which is removed at the end, with
#
#     gild ARGS...            the gild under test (GILD, else the built one)
#     run COMMAND...          runs it; leaves $status, and its output in the
#                             files $out and $err; never ends the test
#     expect STATUS           the last run ended so
#     expect_out/expect_err TEXT       its output has a line that contains TEXT
#     expect_no_out, expect_no_err     it printed nothing there
#     same FILE FILE          two files hold the same bytes
#     in_memory               go to a folder where nothing is ever synced
#     fail MESSAGE            ends the test; skip REASON: as not applicable
#
# and the helpers around qemu-img at the end. A command that fails outside of
# run ends the test and is named (set -e, with a trap).

set -eEu -o pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck disable=SC2034 # for the tests
here=$(cd "$(dirname "$0")" && pwd)
GILD=${GILD:-$top/build/gild}
export GILD LC_ALL=C TZ=UTC
unset GILD_UNTRUSTED

work=$(mktemp -d "${TMPDIR:-/tmp}/gild-test.XXXXXX")
out=$work/.out err=$work/.err status=0
undo=()			# commands for the end, last first

cleanup() {
	local code=$? i
	trap - EXIT ERR
	set +e
	for ((i = ${#undo[@]} - 1; i >= 0; i--)); do
		eval "${undo[i]}"
	done
	cd / && rm -rf "$work"
	exit "$code"
}
trap cleanup EXIT
trap 'exit 143' TERM
trap 'echo "$0:$LINENO: failed: $BASH_COMMAND" >&2' ERR

# at_end 'COMMAND': run it when the test ends, however it does.
at_end() {
	undo+=("$1")
}

# in_memory: go on in a folder in memory, where there is one with room. qemu-img
# syncs whatever it makes; there that costs nothing.
in_memory() {
	local memory room
	room=$(df --output=avail /dev/shm 2>/dev/null | tail -n 1) || return 0
	[ "${room:-0}" -gt 1000000 ] || return 0
	memory=$(mktemp -d /dev/shm/gild-test.XXXXXX 2>/dev/null) || return 0
	at_end "rm -rf '$memory'"
	cd "$memory"
}

# The line of the test itself that is being run.
where() {
	local i
	for ((i = 0; i < ${#BASH_SOURCE[@]}; i++)); do
		[ "${BASH_SOURCE[i]}" = "${BASH_SOURCE[0]}" ] || break
	done
	echo "$0:${BASH_LINENO[i - 1]}"
}

fail() {
	trap - ERR
	echo "$(where): $*" >&2
	exit 1
}

skip() {
	trap - ERR
	echo "$*"
	exit 77
}

# requires 'COMMAND': skips the test where the command fails.
requires() {
	(eval "$1") >/dev/null 2>&1 </dev/null || skip "needs: $1"
}

requires_not() {
	! (eval "$1") >/dev/null 2>&1 </dev/null || skip "needs not: $1"
}

gild() {
	"$GILD" "$@"
}

run() {
	status=0
	"$@" >"$out" 2>"$err" || status=$?
}

# What the last run left, for a message.
show() {
	echo "--- standard output"
	cat "$out"
	echo "--- standard error"
	cat "$err"
} >&2

expect() {
	[ "$status" = "$1" ] || { show; fail "exit status $status, not $1"; }
}

expect_out() {
	grep -qF -e "$1" "$out" || { show; fail "not printed: $1"; }
}

expect_err() {
	grep -qF -e "$1" "$err" || { show; fail "no such error: $1"; }
}

expect_no_out() {
	[ ! -s "$out" ] || { show; fail "printed on standard output"; }
}

expect_no_err() {
	[ ! -s "$err" ] || { show; fail "printed on standard error"; }
}

# An error of one line, with or without the way out on a second one.
expect_error() {
	expect "${2:-1}"
	expect_err "$1"
	grep -q '^gild: ' "$err" || { show; fail "not an error of gild"; }
	[ "$(wc -l <"$err")" -le 3 ] || { show; fail "an error of many lines"; }
	! grep -qE '(: )([^:]+: )\2' "$err" || { show; fail "said twice"; }
}

same() {
	cmp "$1" "$2" || fail "$1 and $2 differ"
}

# same_text WANTED GOT: two files of lines; the difference is shown.
same_text() {
	diff "$1" "$2" >&2 || fail "$1 (<) and $2 (>) differ"
}

# The names in the working folder, one a line.
list() {
	find . -mindepth 1 ! -name .out ! -name .err | sort
}

# ------------------------------------------------------------- qemu-img --

# With LUKS qemu-img measures how fast it is, and gives up where the clock did not
# move meanwhile, as it happens on a busy machine. That is tried again.
qemu-img() {
	local i code
	[[ $* == *secret,* ]] || { command qemu-img "$@"; return; }
	for ((i = 0; i < 50; i++)); do
		code=0
		command qemu-img "$@" >"$work/.theirs" 2>"$work/.theirs-err" ||
			code=$?
		grep -q 'accurate CPU usage' "$work/.theirs-err" || break
	done
	cat "$work/.theirs"
	cat "$work/.theirs-err" >&2
	return $code
}

# qcow2 NAME SIZE [OPTIONS...]: made by qemu-img.
qcow2() {
	local name=$1 size=$2
	shift 2
	qemu-img create -q -f qcow2 "$@" "$name" "$size"
}

# put FORMAT FILE COMMAND...: qemu-io commands, as 'write -P 7 64k 4k'.
put() {
	local format=$1 file=$2 command args=()
	shift 2
	for command; do
		args+=(-c "$command")
	done
	qemu-io -t unsafe -f "$format" "${args[@]}" "$file" >"$work/.io" 2>&1 ||
		{ cat "$work/.io" >&2; fail "qemu-io on $file"; }
	! grep -q 'failed\|error' "$work/.io" ||
		{ cat "$work/.io" >&2; fail "qemu-io on $file"; }
	rm -f "$work/.io"
}

# sound FILE: qemu-img finds nothing to say about it, not even a leak.
sound() {
	qemu-img check -f qcow2 "$1" >"$work/.check" 2>&1 ||
		{ cat "$work/.check" >&2; fail "qemu-img check $1"; }
	rm -f "$work/.check"
}

# equal FORMAT FILE FORMAT FILE: the same disk, as qemu-img sees it.
equal() {
	qemu-img compare -q -f "$1" -F "$3" "$2" "$4" ||
		fail "qemu-img compare: $2 and $4 differ"
}

# disk FILE: a raw disk of 10 MiB with data, zeros that are written and holes.
disk() {
	truncate -s 10M "$1"
	put raw "$1" 'write -P 1 0 300k' 'write -P 0 1M 1M' \
		'write -P 3 3M 64k' 'write -P 4 4100k 1' 'write -P 5 7M 1M'
	seq 1 100000 | dd of="$1" bs=64k seek=40 conv=notrunc status=none
	put raw "$1" 'write -P 6 10485759 1'
}

cd "$work"
