#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# gild beside a QEMU that runs: qemu-io, and a virtual machine under TCG. Each
# refuses the other's writes; what only looks reads on, and says that the image
# is in use; what interprets content wants -U; the base of a live overlay is not
# written; and who is in the way is named. Then the other way round.

# shellcheck source=tests/lib.sh
. "${BASH_SOURCE%/*}/../tests/lib.sh"
requires "qemu-img --version"
requires "qemu-io --version"
in_memory

# ------------------------------------------------------------- who holds it --

pid=
# shellcheck disable=SC2016 # expanded at the end
at_end '[ -z "$pid" ] || kill "$pid" 2>/dev/null || :'

# until_true COMMAND: true within two minutes, while the holder lives.
until_true() {
	local i
	for ((i = 0; i < 1200; i++)); do
		! "$@" || return 0
		kill -0 "$pid" 2>/dev/null || break
		sleep 0.1
	done
	"$@" || { cat holder.out >&2; fail "has not come: $*"; }
}

# begin COMMAND...: in the background, with a pipe to its standard input.
begin() {
	rm -f fifo
	mkfifo fifo
	"$@" <fifo >holder.out 2>&1 &
	pid=$!
	exec 9>fifo
}

# answers WORDS TEXT: what is said to it is done when this is printed.
answers() {
	echo "$1" >&9
	until_true grep -qF "$2" holder.out
}

# finish [WORD]: say it, then end of input; wait for the end.
finish() {
	[ $# = 0 ] || echo "$1" >&9
	exec 9>&-
	wait "$pid" || :
	pid=
}

# io ARGS...: a qemu-io that is up.
io() {
	begin qemu-io -f qcow2 "$@" live.qcow2
	answers 'read 0 512' 'read 512/512'
	by="process $pid (qemu-io) holds it"
}

# machine [OPTION]: one that waits to be started, with live.qcow2 as its disk. Its
# monitor answers when all of it is there.
machine() {
	begin qemu-system-x86_64 -accel tcg -m 32 -nodefaults -S -display none \
		-monitor stdio \
		-drive "if=virtio,format=qcow2,file=live.qcow2${1:+,$1}"
	answers 'info status' 'VM status: paused'
	by="process $pid (qemu-system-x86) holds it"
}

has_machine() {
	command -v qemu-system-x86_64 >/dev/null
}

# -------------------------------------------------------------- what is done --

refuse() {
	run timeout 60 "$GILD" "$@"
	expect_error "$by" "${code:-1}"
}

# While somebody writes live.qcow2, which base.qcow2 is under.
no_writing() {
	sha256sum live.qcow2 base.qcow2 raw.img >'then'
	refuse resize live.qcow2 30M
	refuse snapshot -c new live.qcow2
	refuse snapshot -a old live.qcow2
	refuse snapshot -d old live.qcow2
	refuse rebase -u -b '' live.qcow2
	refuse rebase -b '' live.qcow2
	refuse commit live.qcow2
	refuse check -r all live.qcow2
	refuse convert -n -f raw -O qcow2 raw.img live.qcow2
	refuse bench -w -c 1 live.qcow2
	refuse bitmap --add live.qcow2 b
	# Nor what is under it.
	refuse resize --force base.qcow2 30M
	refuse snapshot -c new base.qcow2
	refuse rebase --force -u -b '' base.qcow2
	refuse commit --force beside.qcow2
	refuse bench -w -c 1 base.qcow2
	# A file that takes another's place.
	refuse convert -f raw -O qcow2 raw.img live.qcow2
	refuse create -q -f qcow2 live.qcow2 1M
	refuse dd -f raw -O qcow2 if=raw.img of=live.qcow2
	sha256sum live.qcow2 base.qcow2 raw.img >now
	same_text 'then' now
}

look() {
	run gild info live.qcow2
	expect 0
	expect_no_err
	expect_out "$1"
	run gild info --output=json live.qcow2
	expect 0
	expect_out '"in-use": true'
	run gild snapshot -l live.qcow2
	expect 0
	expect_out ' old '
	expect_err 'live.qcow2: is in use'
	run gild info base.qcow2
	expect 0
	expect_out 'in use: yes, by another process'
}

no_reading() {
	refuse convert -f qcow2 -O raw live.qcow2 out.raw
	code=2 refuse compare live.qcow2 base.qcow2
	code=2 refuse compare base.qcow2 live.qcow2
	refuse map live.qcow2
	refuse check live.qcow2
	refuse measure -O qcow2 live.qcow2
	refuse dd -f qcow2 if=live.qcow2 of=out.raw
	refuse bench -c 1 live.qcow2
	[ ! -e out.raw ]
	expect_err '-U'
}

# With -U, or of the base, which nobody writes.
reading() {
	local of
	for of in "-U live.qcow2" base.qcow2; do
		# shellcheck disable=SC2086 # words
		gild map --output=json $of >"$out"
		# shellcheck disable=SC2086 # words
		gild measure -O qcow2 $of >"$out"
		# shellcheck disable=SC2086 # words
		gild convert -f qcow2 -O raw $of out.raw
		rm out.raw
	done
	gild dd -U -f qcow2 count=8 if=live.qcow2 of=out.raw
	run gild compare -U live.qcow2 base.qcow2
	expect 1
	gild check -q base.qcow2
	gild bench -q -c 1 -U live.qcow2
	rm out.raw
}

# ------------------------------------------------------ under qemu-img's name --

# alike ARGS...: qemu-img and gild complain in the same words, and exit alike.
# (What they print otherwise, tools/test-compat.sh compares.)
alike() {
	local name
	for name in theirs ours; do
		status=0
		"$PWD/bin/$name/qemu-img" "$@" >$name.out 2>$name.err ||
			status=$?
		echo "exit status $status" >>$name.err
		rm -f out.img
	done
	[ "$status" = 0 ] || refusals=$((refusals + 1))
	diff theirs.err ours.err >&2 ||
		fail "qemu-img $* (<) and gild (>) say otherwise"
}

live=driver=qcow2,file.filename=live.qcow2

# What changes nothing: it is refused, or reads.
like_qemu_img() {
	local share refusals=0
	for share in '' -U; do
		# shellcheck disable=SC2086 # nothing, or a word
		{
			alike info $share live.qcow2
			alike info $share --backing-chain live.qcow2
			alike info $share base.qcow2
			alike snapshot -l $share live.qcow2
			alike map $share --output=json -f qcow2 live.qcow2
			alike check $share live.qcow2
			alike measure $share -O qcow2 live.qcow2
			alike compare $share live.qcow2 base.qcow2
			alike compare $share base.qcow2 live.qcow2
			alike convert $share -O raw live.qcow2 out.img
			alike dd $share -f qcow2 -O raw bs=64k count=4 \
				if=live.qcow2 of=out.img
			alike info $share --image-opts $live
			alike map $share --output=json --image-opts $live
			alike info $share --image-opts $live,file.locking=off
			alike map $share --output=json --image-opts \
				$live,file.locking=off
			alike check $share --image-opts $live,file.locking=off
			alike convert $share -O raw --image-opts \
				$live,file.locking=off out.img
			alike snapshot -l $share --image-opts \
				$live,file.locking=off
		}
	done
	sha256sum live.qcow2 base.qcow2 >'then'
	alike resize live.qcow2 30M
	alike resize base.qcow2 30M
	alike resize --image-opts $live 30M
	alike snapshot -c new live.qcow2
	alike snapshot -a old live.qcow2
	alike snapshot -d old live.qcow2
	alike snapshot -c new base.qcow2
	alike rebase -u -b '' live.qcow2
	alike rebase -u -b '' base.qcow2
	alike commit live.qcow2
	alike commit beside.qcow2
	alike commit -b base.qcow2 beside.qcow2
	alike check -r all live.qcow2
	alike amend -o compat=0.10 live.qcow2
	alike bitmap --add -f qcow2 live.qcow2 b
	alike convert -f raw -O qcow2 raw.img live.qcow2
	alike convert -n -f raw -O qcow2 raw.img live.qcow2
	alike create -q -f qcow2 live.qcow2 1M
	alike dd -f raw -O qcow2 if=raw.img of=live.qcow2
	alike bench -w -c 1 -f qcow2 live.qcow2
	sha256sum live.qcow2 base.qcow2 >now
	same_text 'then' now
	[ $refusals -ge 20 ] || fail "only $refusals refusals"
}

# -------------------------------------------------------------- QEMU holds it --

mkdir -p bin/ours bin/theirs
ln -s "$GILD" bin/ours/qemu-img
ln -s "$(type -P qemu-img)" bin/theirs/qemu-img

qcow2 base.qcow2 20M
put qcow2 base.qcow2 'write -P 1 0 2M'
qcow2 live.qcow2 20M -b base.qcow2 -F qcow2
put qcow2 live.qcow2 'write -P 2 1M 2M'
qemu-img snapshot -c old live.qcow2
qcow2 beside.qcow2 20M -b base.qcow2 -F qcow2
put qcow2 beside.qcow2 'write -P 3 1M 1M'
truncate -s 20M raw.img

io
no_writing
look 'in use: yes, being written by another process'
no_reading
reading
like_qemu_img
finish quit

io -r
no_writing
look 'in use: yes, by another process'
gild convert -f qcow2 -O raw live.qcow2 out.raw
gild map live.qcow2 >"$out"
gild check -q live.qcow2
rm out.raw
like_qemu_img
finish quit

if has_machine; then
	machine
	no_writing
	look 'in use: yes, being written by another process'
	no_reading
	reading
	like_qemu_img
	# It runs, and writes.
	answers cont ''
	answers 'info status' 'VM status: running'
	answers 'qemu-io virtio0 "write -P 5 4M 1M"' 'wrote 1048576/1048576'
	no_writing
	look 'in use: yes, being written by another process'
	no_reading
	answers 'qemu-io virtio0 "write -P 6 5M 1M"' 'bytes at offset 5242880'
	finish quit
	put qcow2 live.qcow2 'read -P 5 4M 1M' 'read -P 6 5M 1M'

	machine readonly=on
	no_writing
	look 'in use: yes, by another process'
	gild map live.qcow2 >"$out"
	like_qemu_img
	finish quit
fi

# ------------------------------------------------------------ gild holds it --

# The lock that it takes last is that on the base.
has_taken() {
	grep -qs ":$(stat -c %i "$1") 203 203" "/proc/$pid/fdinfo/"*
}

# holding ARGS...: gild keeps scratch.qcow2 open, until released.
holding() {
	"$GILD" bench -q -c 2147483647 -d 1 -s 512 -S 512 "$@" scratch.qcow2 \
		>holder.out 2>&1 &
	pid=$!
	until_true has_taken scratch.qcow2
	until_true has_taken base.qcow2
	by="process $pid (gild) holds it"
}

released() {
	kill "$pid"
	wait "$pid" 2>/dev/null || :
	pid=
}

# unable WORDS COMMAND...: it fails, and says so.
unable() {
	run "${@:2}" </dev/null
	[ "$status" != 0 ] || { show; fail "was not refused: ${*:2}"; }
	grep -qF "$1" "$out" "$err" || { show; fail "not said: $1"; }
}

start_machine() {
	echo quit | timeout 120 qemu-system-x86_64 -accel tcg -m 32 -nodefaults \
		-S -display none -monitor stdio \
		-drive "if=virtio,format=qcow2,file=$1"
}

# A clone of the base, so that its writer writes nothing that is compared.
qcow2 scratch.qcow2 20M -b base.qcow2 -F qcow2
holding -w
unable 'Failed to get "write" lock' qemu-img resize -f qcow2 scratch.qcow2 30M
unable 'Failed to get shared "write" lock' qemu-img check scratch.qcow2
unable 'Failed to get' qemu-io -f qcow2 -c 'write 0 512' scratch.qcow2
unable 'Failed to get' qemu-io -r -f qcow2 -c 'read 0 512' scratch.qcow2
unable 'Failed to get "write" lock' qemu-img resize -f qcow2 base.qcow2 30M
unable 'Failed to get "write" lock' qemu-io -f qcow2 -c 'write 0 512' base.qcow2
qemu-img check -q base.qcow2
! has_machine || unable 'Failed to get "write" lock' start_machine scratch.qcow2
! has_machine || unable 'Failed to get "write" lock' start_machine base.qcow2
refuse map scratch.qcow2
refuse resize scratch.qcow2 30M
refuse commit --force beside.qcow2
released

holding
unable 'Failed to get "write" lock' qemu-img resize -f qcow2 scratch.qcow2 30M
unable 'Failed to get "write" lock' qemu-io -f qcow2 -c 'write 0 512' scratch.qcow2
qemu-img check -q scratch.qcow2
qemu-io -r -f qcow2 -c 'read 0 512' scratch.qcow2 >"$out"
! has_machine || unable 'Failed to get "write" lock' start_machine scratch.qcow2
refuse resize scratch.qcow2 30M
gild map scratch.qcow2 >"$out"
released

# What was done beside them left no trace.
sound base.qcow2
sound live.qcow2

has_machine ||
	skip "no virtual machine: qemu-system-x86_64 is missing (qemu-system-x86)"
