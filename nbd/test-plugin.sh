#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Images as NBD exports, through nbdkit and gild's plugin: what its clients read
# is what qemu-img reads, and what they write is there afterwards.

# shellcheck source=tests/lib.sh
. "${BASH_SOURCE%/*}/../tests/lib.sh"
[ "${GILD_VARIANT:-release}" = release ] || skip "of the release build only"
requires "qemu-img --version" "qemu-io --version" "nbdkit --version" \
	"nbdcopy --version" "nbdinfo --version"
plugin=$top/build/nbdkit-gild-plugin.so
[ -f "$plugin" ] || skip "built without the plugin (nbdkit-plugin-dev)"

# serve ARGS...: start a server; $uri leads there. stop: end it.
server=
serve() {
	local i
	rm -f pid "$work/socket"
	nbdkit -f -U "$work/socket" -P "$PWD/pid" "${flags[@]}" "$plugin" "$@" \
		2>server.log &
	server=$!
	for ((i = 0; i < 300; i++)); do
		[ ! -s pid ] || break
		kill -0 $server 2>/dev/null || { cat server.log; fail "no server"; }
		sleep 0.1
	done
	[ -s pid ] || { cat server.log; fail "the server does not start"; }
}
stop() {
	kill "$server"
	wait "$server" || { cat server.log; fail "the server ended with $?"; }
	server=
}
# shellcheck disable=SC2016 # expanded at the end
at_end '[ -z "$server" ] || kill "$server" 2>/dev/null || :'
uri="nbd+unix:///?socket=$work/socket"
flags=()

# --- reading: chains, snapshots, compressed, encrypted ------------------------
qcow2 base.qcow2 8M
put qcow2 base.qcow2 'write -P 1 0 3M'
qcow2 'a top.qcow2' 8M -b base.qcow2 -F qcow2
put qcow2 'a top.qcow2' 'write -P 2 1M 1M' 'write -z 2M 512k'
qemu-img snapshot -c before 'a top.qcow2'
put qcow2 'a top.qcow2' 'write -P 3 5M 1M'
qemu-img convert -O raw 'a top.qcow2' now.raw
qemu-img convert -l before -O raw 'a top.qcow2' before.raw

# exported RAW ARGS...: the export has these bytes, by three clients.
exported() {
	local raw=$1
	shift
	serve "$@"
	nbdcopy "$uri" copy.raw
	same "$raw" copy.raw
	qemu-img compare -f raw -F raw "$raw" "$uri" >"$out"
	nbdinfo --json "$uri" >info
	grep -q '"export-size": '"$(stat -c %s "$raw")," info || fail "its size"
	stop
}
flags=(-r)
exported now.raw 'a top.qcow2'
exported now.raw file='a top.qcow2' format=qcow2
exported before.raw 'a top.qcow2' snapshot=before
for options in '-c' '-c -o compression_type=zstd' '-o extended_l2=on'; do
	# shellcheck disable=SC2086 # words
	qemu-img convert -O qcow2 $options 'a top.qcow2' other.qcow2
	exported now.raw other.qcow2
done
exported now.raw now.raw
cp now.raw plain
exported now.raw plain format=raw
printf secret >key
qemu-img convert --object secret,id=k,file=key -O qcow2 -o \
	encrypt.format=luks,encrypt.key-secret=k,encrypt.iter-time=10 \
	'a top.qcow2' locked.qcow2
exported now.raw locked.qcow2 secret-file=key
exported now.raw locked.qcow2 secret=+key
printf 'secret\n' >line
exported now.raw locked.qcow2 secret-file=line

# --- what it refuses, before it serves ----------------------------------------
refuse() {
	rm -f "$work/socket"
	run timeout 60 nbdkit -f -U "$work/socket" "$plugin" "${@:2}"
	[ "$status" != 0 ] || { show; fail "was not refused"; }
	grep -qF "$1" "$err" || { show; fail "not said: $1"; }
}
refuse 'name of an image'
refuse 'No such file' nowhere.qcow2
refuse "unknown parameter 'nonsense'" base.qcow2 nonsense=1
refuse 'cache=wrong' base.qcow2 cache=wrong
refuse 'boolean' base.qcow2 untrusted=perhaps
refuse 'No such file' base.qcow2 secret-file=nowhere
refuse 'secret' locked.qcow2
refuse 'nothing' 'a top.qcow2' snapshot=nothing
qcow2 stored.qcow2 1M -u -b json:{} -F raw
refuse 'json:' stored.qcow2
refuse 'may not be opened' 'a top.qcow2' untrusted=yes

# --- what a client can ask for -------------------------------------------------
qcow2 disk.qcow2 64M
flags=()
serve disk.qcow2
nbdinfo "$uri" >"$out"
for word in can_cache can_df can_fast_zero can_flush can_fua can_multi_conn \
	can_trim can_zero; do
	grep -q "$word: true" "$out" || { cat "$out"; fail "no $word"; }
done
expect_out 'is_read_only: false'
stop

# The same writes, through NBD and directly.
commands=('write -P 7 0 1M' 'write -P 8 100k 3k' 'write -z 64k 64k'
	'write -zu 512k 64k' 'discard 768k 128k' 'write -f -P 9 10M 64k'
	'flush' 'write -P 10 67108352 512' 'read -P 9 10M 64k')
args=()
for command in "${commands[@]}"; do
	args+=(-c "$command")
done
serve disk.qcow2
qemu-io -f raw "${args[@]}" "$uri" >"$out"
stop
sound disk.qcow2
qcow2 directly.qcow2 64M
qemu-io -f qcow2 "${args[@]}" directly.qcow2 >"$out"
qemu-img compare disk.qcow2 directly.qcow2 >"$out"

# Block status is what the disk has.
serve disk.qcow2
qemu-img map --output=json -f raw "$uri" >theirs
stop
python3 - <<'END' || fail "block status"
import json, subprocess
def runs(extents):
    joined = []
    for e in extents:
        if joined and joined[-1][2] == e["zero"]:
            joined[-1][1] += e["length"]
        else:
            joined.append([e["start"], e["length"], e["zero"]])
    return joined
theirs = runs(json.load(open("theirs")))
ours = runs(json.loads(subprocess.check_output(
    ["qemu-img", "map", "--output=json", "disk.qcow2"])))
assert theirs == ours and len(ours) > 3, (theirs, ours)
END

# Several connections write at once, and it is all there.
head -c 64M /dev/urandom >random.raw
serve disk.qcow2
nbdcopy --connections=4 --flush random.raw "$uri"
stop
sound disk.qcow2
qemu-img compare -f raw -F qcow2 random.raw disk.qcow2 >"$out"

# Zeros that must be fast: refused where they would have to be written.
fast_zero() {
	python3 - "$1" <<-'END'
	import socket, struct, sys
	s = socket.socket(socket.AF_UNIX)
	s.connect(sys.argv[1])
	def get(n):
	    data = b""
	    while len(data) < n:
	        data += s.recv(n - len(data))
	    return data
	get(18)
	s.sendall(struct.pack(">I", 3))
	s.sendall(b"IHAVEOPT" + struct.pack(">III", 7, 6, 0) + b"\0\0")
	while True:
	    _, option, kind, length = struct.unpack(">QIII", get(20))
	    get(length)
	    if kind == 1:
	        break
	# NBD_CMD_WRITE_ZEROES with NBD_CMD_FLAG_FAST_ZERO
	s.sendall(struct.pack(">IHHQQI", 0x25609513, 16, 6, 1, 0, 1 << 20))
	_, error, _ = struct.unpack(">IIQ", get(16))
	print(error)
	s.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 2, 2, 0, 0))
	END
}
serve disk.qcow2
[ "$(fast_zero "$work/socket")" = 0 ] || fail "fast zeros are refused"
stop
qemu-img create -q -f qcow2 -o compat=0.10 -b base.qcow2 -F qcow2 old.qcow2
serve old.qcow2
[ "$(fast_zero "$work/socket")" = 95 ] || fail "slow zeros are taken for fast"
stop
qemu-img compare old.qcow2 base.qcow2 >"$out"

# --- locks ---------------------------------------------------------------------
serve disk.qcow2
qemu-io -f qcow2 -c 'write -P 1 0 512' disk.qcow2 >"$out" # nobody is connected
mkfifo hold
qemu-io -f raw "$uri" <hold >client.log 2>&1 &
client=$!
exec 8>hold
for ((i = 0; i < 300; i++)); do
	! grep -q 'qemu-io>' client.log || break
	sleep 0.1
done
run qemu-io -f qcow2 -c 'write 0 512' disk.qcow2
grep -q 'Failed to get' "$err" || { show; fail "written beside a client"; }
exec 8>&-
wait $client || :
stop
sound disk.qcow2

# --- a client that is cut off, a server that is killed --------------------------
serve disk.qcow2
(nbdcopy random.raw "$uri" 2>/dev/null || :) &
sleep 0.2
kill -9 "$server"
wait "$server" 2>/dev/null || :
server=
wait
run qemu-img check -q disk.qcow2
[ "$status" = 0 ] || [ "$status" = 3 ] || { show; fail "not consistent"; }
