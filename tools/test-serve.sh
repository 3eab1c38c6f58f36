#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# gild serve: nbdkit gets what its options say. (What the plugin does is tested
# in nbd/test-plugin.sh.)

# shellcheck source=tests/lib.sh
. "${BASH_SOURCE%/*}/../tests/lib.sh"
[ "${GILD_VARIANT:-release}" = release ] || skip "of the release build only"
requires "qemu-img --version" "qemu-io --version" "nbdkit --version" \
	"nbdcopy --version" "nbdinfo --version"
[ -f "$top/build/nbdkit-gild-plugin.so" ] ||
	skip "built without the plugin (nbdkit-plugin-dev)"

server=
# shellcheck disable=SC2016 # expanded at the end
at_end '[ -z "$server" ] || kill "$server" 2>/dev/null || :'

# serve ARGS...: start a server, and wait until it listens; its URI: $uri
serve() {
	local i
	timeout 120 "$GILD" serve "$@" >uri 2>server.log &
	server=$!
	for ((i = 0; i < 300; i++)); do
		uri=$(cat uri)
		# What TLS the client wants is added by the test.
		[ -z "$uri" ] || ! nbdinfo --size "$uri${query-}" >"$out" 2>&1 || return 0
		kill -0 $server 2>/dev/null || break
		sleep 0.1
	done
	cat server.log "$out"
	fail "no server: $*"
}
stop() {
	kill "$server"
	wait "$server" || :
	server=
}

qcow2 'my disk.qcow2' 4M
put qcow2 'my disk.qcow2' 'write -P 1 0 1M'
qemu-img snapshot -c before 'my disk.qcow2'
put qcow2 'my disk.qcow2' 'write -P 2 1M 1M'
qemu-img convert -O raw 'my disk.qcow2' now.raw
qemu-img convert -l before -O raw 'my disk.qcow2' before.raw

serve --socket "$PWD/s" 'my disk.qcow2'
[ "$uri" = "nbd+unix:///?socket=$PWD/s" ]
nbdcopy "$uri" copy.raw
same now.raw copy.raw
run qemu-io -f raw -c 'write 0 512' "$uri"
[ "$status" != 0 ] || { show; fail "written without --rw"; }
# Another one on that socket is refused; one that was left behind is no obstacle.
run timeout 60 "$GILD" serve --socket "$PWD/s" 'my disk.qcow2'
[ "$status" != 0 ] || fail "two servers on one socket"
nbdinfo --size "$uri" >"$out"
stop
[ -S s ]
serve --socket "$PWD/s" --snapshot before 'my disk.qcow2'
nbdcopy "$uri" copy.raw
same before.raw copy.raw
stop
echo precious >file
run timeout 60 "$GILD" serve --socket "$PWD/file" 'my disk.qcow2'
[ "$status" != 0 ]
[ "$(cat file)" = precious ]

serve --rw --socket "$PWD/s" 'my disk.qcow2' -- --filter=offset offset=1M
nbdinfo --size "$uri" >"$out"
expect_out 3145728
qemu-io -f raw -c 'write -P 9 0 64k' "$uri" >"$out"
stop
qemu-io -f qcow2 -c 'read -P 9 1M 64k' 'my disk.qcow2' >"$out"
! grep -q failed "$out" || { show; fail "what was written is not there"; }
sound 'my disk.qcow2'

# TCP, for this machine only unless more is said; a free port is found by trying.
for ((port = 21000 + RANDOM % 20000; ; port++)); do
	! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || continue
	serve --port $port now.raw
	break
done
[ "$uri" = "nbd://127.0.0.1:$port/" ]
grep -qi "0100007F:$(printf %04X "$port")" /proc/net/tcp || fail "listens elsewhere"
! grep -qi " 00000000:$(printf %04X "$port")" /proc/net/tcp || fail "listens to all"
stop

# Encrypted images: passphrases reach the server, and no command line shows them.
printf 'a secret\n' >key
qemu-img convert --object secret,id=k,data='a secret' -O qcow2 -o \
	encrypt.format=luks,encrypt.key-secret=k,encrypt.iter-time=10 \
	now.raw locked.qcow2
serve --socket "$PWD/s" --secret-file key locked.qcow2
nbdcopy "$uri" copy.raw
same now.raw copy.raw
tr '\0' ' ' <"/proc/$(tr -d " " <"/proc/$server/task/$server/children")/cmdline" >shown
{ grep -q secret-file=/dev/fd shown && ! grep -q 'a secret' shown; } ||
	{ cat shown; fail "a secret is shown"; }
stop
printf 'a secret' >bare
serve --socket "$PWD/s" --object secret,id=k,file=bare locked.qcow2
stop
printf 'two\nlines\n' >two
qemu-img convert --object secret,id=k,file=two -O qcow2 -o \
	encrypt.format=luks,encrypt.key-secret=k,encrypt.iter-time=10 \
	now.raw locked.qcow2
serve --socket "$PWD/s" --object secret,id=k,file=two locked.qcow2
stop

# TLS is nbdkit's.
if command -v openssl >/dev/null && nbdkit --dump-config | grep -q tls=yes; then
	mkdir tls
	openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=ca \
		-keyout tls/ca-key.pem -out tls/ca-cert.pem 2>"$err"
	openssl req -newkey rsa:2048 -nodes -subj /CN=localhost \
		-keyout tls/server-key.pem -out server.csr 2>"$err"
	openssl x509 -req -in server.csr -CA tls/ca-cert.pem -CAkey tls/ca-key.pem \
		-CAcreateserial -days 2 -out tls/server-cert.pem \
		-extfile <(echo subjectAltName=DNS:localhost) 2>"$err"
	query="&tls-certificates=$PWD/tls"
	serve --socket "$PWD/s" --tls-certificates "$PWD/tls" now.raw
	nbdinfo "$uri$query" >"$out"
	run nbdinfo "nbd+unix:///?socket=$PWD/s"
	[ "$status" != 0 ] || { show; fail "served without TLS"; }
	stop
	unset query
fi

# What makes no sense.
run gild serve now.raw
expect_error 'one of --socket and --port'
run gild serve --socket s --port 1 now.raw
expect_error 'one of --socket and --port'
run gild serve --socket s --listen ::1 now.raw
expect_error 'goes with --port'
run gild serve --rw --snapshot before --socket s 'my disk.qcow2'
expect_error 'cannot be written'
run gild serve --rw -U --socket s now.raw
expect_error 'for reading only'
cp now.raw guessed
run gild serve --rw --socket s guessed
expect_error 'only guessed'
run gild serve --socket s
expect_error 'name of an image'
run timeout 60 "$GILD" serve --socket "$PWD/new" nowhere.qcow2
[ "$status" != 0 ]
expect_err 'No such file'
PATH=/nowhere run "$GILD" serve --socket s now.raw
expect_err 'package nbdkit'
