#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# A signal stops a conversion: nothing is left behind, the old file is as it
# was, and the shell learns of the signal. SIGUSR1 prints the progress.

# shellcheck source=tests/lib.sh
. "${BASH_SOURCE%/*}/../tests/lib.sh"
requires "python3 --version"

# Starts a command with the signals of a terminal's child (a shell ignores
# SIGINT in its background jobs), and waits for its end: python3 -.
cat >start.py <<'END'
import signal, subprocess, sys

for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
    signal.signal(s, signal.SIG_DFL)
if sys.argv[1] == "nohup":
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
p = subprocess.Popen(sys.argv[2:], preexec_fn=None)
print(p.pid, file=open("pid", "w"), flush=True)
signal.signal(signal.SIGINT, signal.SIG_IGN)
print(p.wait(), file=open("code", "w"), flush=True)
END

# A source that ends when the test says so: a pipe that is kept open.
mkfifo source
echo 'the old content' >old.img
cp old.img copy.img

# begin MODE ARGS...: gild in the background, 32 MiB into its work.
begin() {
	local mode=$1
	shift
	rm -f pid code
	python3 start.py "$mode" "$GILD" "$@" <source >"$out" 2>err &
	exec 8>source
	head -c 32M /dev/urandom >&8
	until [ -s pid ]; do sleep 0.01; done
	pid=$(cat pid)
}

# Wait for what was begun: $code is its status, negative for a signal.
ended() {
	wait
	code=$(cat code)
}

touch before after pid code err
list >before
for signal in INT TERM HUP; do
	for target in old.img new.img; do
		begin plain convert -c -O qcow2 - $target
		kill -$signal "$pid"
		ended
		exec 8>&-
		[ "$code" = "-$(kill -l $signal)" ] ||
			{ cat err; fail "SIG$signal: ended with $code"; }
		list >after
		same_text before after
		same copy.img old.img
		[ "$(wc -l <err)" -le 2 ] || { cat err; fail "many lines"; }
	done
done

# A second signal changes nothing.
begin plain convert -c -O qcow2 - new.img
kill -INT "$pid"
kill -INT "$pid" 2>/dev/null || :
kill -TERM "$pid" 2>/dev/null || :
ended
exec 8>&-
[ "$code" = -2 ] || fail "twice: $code"
[ ! -e new.img ] || fail "debris"

# A reader that sleeps holds nothing up.
mkfifo sleepy
exec 7<>sleepy
truncate -s 64M zeros.raw
rm -f pid code
python3 start.py plain "$GILD" convert zeros.raw - >&7 2>err &
until [ -s pid ]; do sleep 0.01; done
sleep 0.2
kill -TERM "$(cat pid)"
ended
exec 7>&-
[ "$code" = -15 ] || fail "beside a reader that sleeps: $code"
rm zeros.raw sleepy

# SIGUSR1 prints a line as qemu-img does, and harms nothing.
begin plain convert -O qcow2 - new.img
for i in 1 2; do
	kill -USR1 "$pid"
	for ((n = 0; n < 200; n++)); do
		[ "$(wc -l <err)" -ge $i ] && break
		sleep 0.02
	done
done
exec 8>&-
ended
[ "$code" = 0 ] || { cat err; fail "after SIGUSR1: $code"; }
[ "$(wc -l <err)" = 2 ] || { cat err; fail "not a line for each SIGUSR1"; }
! grep -qvE '^    \([0-9]+\.[0-9]{2}/100%\)$' err || { cat err; fail "the line"; }
rm new.img

# What nohup made us ignore stays ignored.
begin nohup convert -O qcow2 - new.img
kill -HUP "$pid"
sleep 0.2
exec 8>&-
ended
[ "$code" = 0 ] || fail "SIGHUP under nohup: $code"
[ -e new.img ] || fail "no target"
