#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# What all verbs share: help, version, wrong command lines, and an output that
# cannot be written.

# shellcheck source=tests/lib.sh
. "${BASH_SOURCE%/*}/../tests/lib.sh"

version=$(sed -n 's/^#define GILD_VERSION "\(.*\)"/\1/p' "$top/include/gild.h")
verbs=$(gild --list-options | grep -v '^-')

run gild --version
expect 0
expect_no_err
[ "$(cat "$out")" = "gild $version" ] || fail "version: $(cat "$out")"

for option in -h --help; do
	run gild $option
	expect 0
	expect_no_err
	for verb in $verbs; do
		expect_out "  $verb "
	done
done

for verb in $verbs; do
	run gild "$verb" --help
	expect 0
	expect_no_err
	expect_out "Usage: gild $verb"
	expect_out "Example:"
	cp "$out" long
	run gild "$verb" -h
	expect 0
	same long "$out"

	# One line and where to look; nothing on standard output.
	for wrong in -Z --no-such-option --quiet=5 --untrusted=1; do
		run gild "$verb" $wrong x y
		expect 1
		expect_no_out
		expect_err "${wrong%%=*}"
		expect_err "Try 'gild $verb --help' for more information."
		[ "$(wc -l <"$err")" = 2 ] || fail "$verb $wrong: $(cat "$err")"
	done
	run gild "$verb"
	expect 1
	expect_no_out
	expect_err "Try 'gild $verb --help' for more information."
done

# Options without the argument that they need, or with a wrong one.
wrong() {
	local text=$1
	shift
	run gild "$@"
	expect 1
	expect_no_out
	expect_err "$text"
	expect_err "Try 'gild"
}
wrong "option '-f' needs an argument" info -f
wrong "option '--format' needs an argument" info --format
wrong "--output takes human or json, not 'xml'" info --output=xml x
wrong "-m takes a number from 1 to 256, not '0'" convert -m 0 a b
wrong "-m takes a number from 1 to 256, not '3x'" compare -m 3x a b
wrong "-t takes none, writeback, writethrough" convert -t fast a b
wrong "-T takes none, writeback, writethrough" check -T fast a
wrong "--progress takes json or nothing, not 'xml'" convert --progress=xml a b
wrong "-S" convert -S many a b
wrong "--size" measure --size ten
wrong "-r takes leaks or all, not 'some'" check -r some a
wrong "a name is missing" create -f qcow2 -o =3 a 1M
wrong "-o needs name=value" create -f qcow2 -o '' a 1M
wrong "unknown verb 'frobnicate'" frobnicate
wrong "unknown option '--frob'" --frob
wrong "a verb is missing"

run gild creat a 1M
expect 1
expect_err "did you mean 'create'?"
run gild frobnicate
[ "$(wc -l <"$err")" = 2 ] || fail "a suggestion for anything: $(cat "$err")"

# Long options may be shortened, may follow names, and end at "--".
truncate -s 1M x.raw ./-f.raw
run gild info x.raw --outp json
expect 0
expect_out '"virtual-size": 1048576'
run gild info -- -f.raw
expect 0
expect_out 'image: -f.raw'

# What cannot be written is an error, wherever it is noticed.
if [ -w /dev/full ]; then
	for args in --help --version "info --help" "info x.raw" \
		"info --output=json x.raw" "map x.raw" \
		"map --output=json x.raw" "measure x.raw" "create y.raw 1M"; do
		status=0
		# shellcheck disable=SC2086 # words
		gild $args >/dev/full 2>"$err" || status=$?
		expect_error "standard output"
	done
fi
status=0
gild --help >&- 2>"$err" || status=$?
expect_error "standard output"
status=0
{ gild --help 2>"$err"; echo $? >status; } | : || :
status=$(cat status)
case $status in
0) ;; # it was faster
*) expect_error "standard output" ;;
esac

# An image is never opened as standard output or error: what is printed there
# would go into it.
cp x.raw z.raw
gild info z.raw >&- 2>&- <&- || :
gild create -q w.raw 1M >&- 2>&- <&- || :
gild nonsense >&- 2>&- <&- || :
same x.raw z.raw
same x.raw w.raw

# SIGUSR1 ends nothing, also where there is no progress to print: it is blocked
# by the time an image is opened. A pipe holds one up for us.
mkfifo base.raw
"$GILD" create -q -f qcow2 base.raw 1M 2>"$err" &
pid=$!
sleep 0.3
kill -USR1 $pid
sleep 0.1
kill -TERM $pid 2>/dev/null || :
status=0
wait $pid || status=$?
[ $status = $((128 + 15)) ] || fail "SIGUSR1 ended it: $status, $(cat "$err")"

# A name cannot drive the terminal, and an error stays one line.
run gild info $'no\nsuch\e[31mfile'
expect 1
expect_err 'no\nsuch\033[31mfile'

# The way out, where the reason alone tells it.
run gild create -f raw no/such/folder.raw 1M
expect_error 'no/such/folder.raw: cannot be created: No such file or directory'
expect_err 'the folder'
gild create -q -f qcow2 base.qcow2 1M
gild clone -q base.qcow2 clone.qcow2
run gild clone base.qcow2 clone.qcow2
expect_error 'clone.qcow2: cannot be created: File exists'
expect_err 'another name'
run gild convert -c base.qcow2 new.raw
expect_error 'no compressed clusters'
expect_err '-O qcow2'

# No other protocols: such a name is that of a file.
run gild info ssh://localhost/disk
expect_error 'ssh://localhost/disk: cannot be opened'
expect_err 'only files, block devices and nbd'
gild create -q -f qcow2 ssh:disk 1M
run gild info ssh:disk
expect 0
