#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Disks that an NBD server has, wherever a file's name is taken: nbdkit and
# qemu-nbd serve, and qemu-img says what is there.

# shellcheck source=tests/lib.sh
. "${BASH_SOURCE%/*}/../tests/lib.sh"
requires "qemu-img --version" "qemu-nbd --version" "nbdkit --version" \
	"nbdinfo --version"

server=
# shellcheck disable=SC2016 # expanded at the end
at_end '[ -z "$server" ] || kill "$server" 2>/dev/null || :'
uri="nbd+unix:///?socket=$work/socket"

# serve COMMAND...: until stop; wait for the socket.
serve() {
	local i
	rm -f "$work/socket"
	"$@" >server.log 2>&1 &
	server=$!
	for ((i = 0; i < 300; i++)); do
		! nbdinfo --size "$uri" >"$out" 2>&1 || return 0
		kill -0 $server 2>/dev/null || break
		sleep 0.1
	done
	cat server.log
	fail "no server: $*"
}
stop() {
	kill "$server" 2>/dev/null || :
	wait "$server" || :
	server=
}
raw_server() { # of a file, by nbdkit's own plugin
	serve nbdkit -f -U "$work/socket" "${@:2}" file "$1"
}
qemu_server() {
	serve qemu-nbd -t -e 8 -k "$work/socket" "$@"
}

head -c 3M /dev/urandom >disk.raw
truncate -s 8M disk.raw
printf 'end' | dd of=disk.raw bs=1 seek=$((8 * 1024 * 1024 - 3)) conv=notrunc status=none
printf 'x' | dd of=disk.raw bs=1M seek=5 conv=notrunc status=none

# --- as a source ----------------------------------------------------------------
sources() {
	gild convert -f raw -O raw "$1" copy.raw
	same disk.raw copy.raw
	gild convert -f raw -O qcow2 -c "$1" copy.qcow2
	sound copy.qcow2
	qemu-img compare -f raw -F qcow2 disk.raw copy.qcow2 >"$out"
	gild compare -f raw -F raw "$1" disk.raw >"$out"
	gild info "$1" >"$out"
	expect_out 'virtual size: 8 MiB'
	gild measure -f raw -O qcow2 "$1" >theirs
	gild measure -f raw -O qcow2 disk.raw >ours
	[ -n "${2-}" ] || same_text theirs ours # else without block status
	gild dd -f raw -O raw bs=1M skip=2 if="$1" of=part.raw
	cmp -i 2097152:0 disk.raw part.raw
}
raw_server disk.raw -r
sources "$uri"
sources "nbd:unix:$work/socket"
run gild convert -f raw -O raw disk.raw "$uri"
expect_error 'read only'
run gild resize -f raw "$uri" 9M
[ "$status" != 0 ]
stop
qemu_server -r -f raw disk.raw
sources "$uri"
# What the server knows of holes saves reading: the same as of the file.
gild map --output=json -f raw "$uri" >theirs
python3 - <<'END' || fail "block status"
import json
runs = [(e["start"], e["length"], e["zero"]) for e in json.load(open("theirs"))]
assert runs[0][2] is False and any(zero for _, _, zero in runs), runs
assert sum(length for _, length, _ in runs) == 8 << 20
END
stop
uri="nbd+unix:///name?socket=$work/socket" qemu_server -r -x name -f raw disk.raw
sources "nbd+unix:///name?socket=$work/socket"
sources "nbd:unix:$work/socket:exportname=name"
run gild info "nbd:unix:$work/socket:exportname=other"
[ "$status" != 0 ]
expect_err other
stop
for ((port = 21000 + RANDOM % 20000; ; port++)); do
	! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || continue
	uri=nbd://127.0.0.1:$port serve nbdkit -r -f -i 127.0.0.1 -p $port file disk.raw
	break
done
sources "nbd://127.0.0.1:$port"
sources "nbd://127.0.0.1:$port/"
sources "nbd:127.0.0.1:$port"
# Servers that know less: no status, one connection, large blocks.
stop
raw_server disk.raw -r --filter=noextents --filter=noparallel
sources "$uri" blind
stop
serve nbdkit -r -f -U "$work/socket" --filter=blocksize-policy file disk.raw \
	blocksize-minimum=4096 blocksize-error-policy=error
sources "$uri"
stop
serve nbdkit -r -f -U "$work/socket" --filter=error file disk.raw \
	error-pread-rate=100%
run gild convert -f raw -O raw "$uri" x.raw
expect_error 'nput/output error'
[ ! -e x.raw ]
stop

# --- as a target -----------------------------------------------------------------
truncate -s 12M target.raw
for kind in raw qemu; do
	if [ $kind = raw ]; then
		raw_server target.raw
	else
		qemu_server -f raw target.raw
	fi
	for options in '' -n '-n --target-is-zero'; do
		[[ $options != *zero ]] || { truncate -s 0 target.raw; truncate -s 12M target.raw; }
		# shellcheck disable=SC2086 # words
		gild convert -f raw -O raw $options disk.raw "$uri"
		cmp -n 8388608 disk.raw target.raw
	done
	gild convert -f raw -O qcow2 disk.raw "$uri"
	qemu-img check -U -q -f qcow2 target.raw
	qemu-img compare -U -f raw -F qcow2 disk.raw target.raw >"$out"
	gild compare -f raw -F qcow2 disk.raw "$uri" >"$out"
	gild snapshot -f qcow2 -c one "$uri"
	gild bench -q -f qcow2 -w -c 5 "$uri"
	gild check -q -f qcow2 "$uri"
	gild create -q -f qcow2 "$uri" 5M
	qemu-img info -U target.raw >"$out"
	expect_out 'virtual size: 5 MiB'
	run gild convert -f raw -O qcow2 disk.raw "$uri"
	expect 0
	head -c 20M /dev/urandom >large.raw
	run gild convert -f raw -O raw large.raw "$uri"
	[ "$status" != 0 ] || fail "more was written than there is room for"
	rm large.raw
	stop
done

# --- in a chain -------------------------------------------------------------------
raw_server disk.raw -r
# Who names a base may mean a server; what an image says is another matter.
gild create -q -f qcow2 -b "$uri" -F raw over.qcow2
qemu-img info over.qcow2 >"$out"
expect_out "backing file: $uri"
expect_out 'virtual size: 8 MiB'
run gild compare over.qcow2 -F raw disk.raw
[ "$status" = 2 ] || { show; fail "followed"; }
expect_err 'allow-stored-names'
gild compare --allow-stored-names over.qcow2 -F raw disk.raw >"$out"
GILD_ALLOW_STORED_NAMES=1 gild convert over.qcow2 -O raw x.raw
same disk.raw x.raw
run gild convert --allow-stored-names --allow-backing=. over.qcow2 -O raw x.raw
[ "$status" != 0 ] || fail "followed out of the folder"
run gild convert --allow-stored-names --untrusted over.qcow2 -O raw x.raw
[ "$status" != 0 ] || fail "followed what is not trusted"
gild clone -q -f raw "$uri" clone1.qcow2 clone2.qcow2
for clone in clone1.qcow2 clone2.qcow2; do
	gild compare --allow-stored-names $clone -F raw disk.raw >"$out"
done
run gild clone -f raw --relative "$uri" clone3.qcow2
expect_error 'no relative name'
run gild clone clone1.qcow2 "$uri"
[ "$status" != 0 ] || fail "cloned over a server's disk"
gild convert -f raw -O qcow2 disk.raw local.qcow2
gild rebase -b "$uri" -F raw local.qcow2
GILD_ALLOW_STORED_NAMES=1 gild rebase -b '' local.qcow2
qemu-img compare -f raw -F qcow2 disk.raw local.qcow2 >"$out"
stop
run gild compare --allow-stored-names over.qcow2 -F raw disk.raw
[ "$status" = 2 ] || { show; fail "no server, no error"; }

# --- under the name qemu-img --------------------------------------------------------
ln -s "$GILD" qemu-img
raw_server disk.raw -r
run ./qemu-img convert -f raw -O raw "$uri" x.raw
expect 0
same disk.raw x.raw
run ./qemu-img compare -f raw -F raw "nbd:unix:$work/socket" disk.raw
expect 0
stop
