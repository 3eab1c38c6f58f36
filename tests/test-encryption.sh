#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Encrypted images, in both directions: what qemu-img and cryptsetup made gild
# reads and writes, what gild made they read and write. Keys are derived in few
# iterations (iter-time=1), or this would take minutes.

# shellcheck source=tests/lib.sh
. "${BASH_SOURCE%/*}/lib.sh"
requires "qemu-img --version" "qemu-io --version" "python3 --version"

printf hello >pass
printf 'other\n' >pass2
hello=(--object "secret,id=s,data=hello")
both=("${hello[@]}" --object "secret,id=t,data=other")

# The words of qemu's --image-opts for an encrypted image.
luks=driver=luks,key-secret=s,file.filename
qcow2=driver=qcow2,encrypt.key-secret=s,file.filename
aes=driver=qcow2,encrypt.format=aes,encrypt.key-secret=s,file.filename

# qemu_same OPTS RAW: the encrypted image holds this disk, says qemu-img.
qemu_same() {
	qemu-img compare -q "${hello[@]}" --image-opts "$1" \
		driver=raw,file.filename="$2" || fail "qemu-img compare: $1, $2"
}

# gild_same FORMAT FILE RAW: the same, says gild.
gild_same() {
	run gild compare -f "$1" -F raw --secret-file pass "$2" "$3"
	expect 0
}

# qemu_sound OPTS: qemu-img check finds nothing to say.
qemu_sound() {
	qemu-img check "${hello[@]}" --image-opts "$1" >checked 2>&1 ||
		{ cat checked >&2; fail "qemu-img check $1"; }
}

disk disk.raw
cp disk.raw other.raw
put raw other.raw 'write -P 9 100k 300k' 'write -P 8 2000001 3' \
	'write -z 3M 32k' 'write -P 7 9M 10000'

# --- made by qemu-img --------------------------------------------------------

# FORMAT OPTS CREATE-OPTIONS
theirs() {
	local format=$1 opts=$2
	qemu-img create -q "${hello[@]}" -f "$format" -o "$3" theirs 10M
	qemu-img convert -n "${hello[@]}" --image-opts --target-image-opts \
		driver=raw,file.filename=disk.raw "$opts"=theirs
	gild_same "$format" theirs disk.raw
	run gild convert -f "$format" -O raw --secret-file pass theirs back.raw
	expect 0
	same disk.raw back.raw
	run gild convert -n -f raw -O "$format" --secret-file pass other.raw \
		theirs
	expect 0
	qemu_same "$opts"=theirs other.raw
	[ "$format" = luks ] || qemu_sound "$opts"=theirs
	qemu-img info --output=json theirs >wanted
	gild info -f "$format" --output=json theirs >got
	python3 - <<'EOF'
import json
a, b = (json.load(open(f)) for f in ("wanted", "got"))
assert a["format-specific"] == b["format-specific"], (a, b)
assert a["encrypted"] is True and b["encrypted"] is True
assert a["virtual-size"] == b["virtual-size"]
EOF
}

theirs qcow2 "$qcow2" \
	encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=1
theirs qcow2 "$qcow2" cluster_size=4k,encrypt.format=luks,encrypt.key-secret=s,\
encrypt.iter-time=1,encrypt.cipher-mode=cbc,encrypt.ivgen-alg=essiv,\
encrypt.hash-alg=sha1
theirs qcow2 "$aes" encrypt.format=aes,encrypt.key-secret=s
expect_err 'is weak'
run gild map -f qcow2 --output=json theirs
expect_err 'is weak'
theirs luks "$luks" key-secret=s,iter-time=1,cipher-alg=aes-128,ivgen-alg=plain
if [ "${GILD_TEST_LEVEL-}" != fast ]; then
	theirs luks "$luks" key-secret=s,iter-time=1,hash-alg=ripemd160
	theirs qcow2 "$qcow2" encrypt.format=luks,encrypt.key-secret=s,\
encrypt.iter-time=1,encrypt.hash-alg=sha512,data_file=theirs.data
	theirs qcow2 "$qcow2" encrypt.format=luks,encrypt.key-secret=s,\
encrypt.iter-time=1,extended_l2=on,encrypt.cipher-mode=cbc
fi

# --- made by gild ------------------------------------------------------------

# FORMAT OPTS CREATE-OPTIONS
ours() {
	local format=$1 opts=$2
	rm -f ours ours.data
	run gild create "${hello[@]}" -f "$format" -o "$3" ours 10M
	expect 0
	run gild convert -n -f raw -O "$format" --secret-file pass disk.raw ours
	expect 0
	qemu_same "$opts"=ours disk.raw
	[ "$format" = luks ] || qemu_sound "$opts"=ours
	qemu-img convert -n "${hello[@]}" --image-opts --target-image-opts \
		driver=raw,file.filename=other.raw "$opts"=ours
	gild_same "$format" ours other.raw
	# And in one step.
	rm -f ours
	run gild convert -f raw -O "$format" "${hello[@]}" -o "$3" disk.raw ours
	expect 0
	qemu_same "$opts"=ours disk.raw
	gild_same "$format" ours disk.raw
	qemu-img info --output=json ours >wanted
	gild info -f "$format" --output=json ours >got
	python3 - <<'EOF'
import json
a, b = (json.load(open(f)) for f in ("wanted", "got"))
assert a["format-specific"] == b["format-specific"], (a, b)
EOF
}

key=encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=1
ours qcow2 "$qcow2" $key
ours qcow2 "$qcow2" $key,encrypt.cipher-alg=aes-128,cluster_size=512
ours qcow2 "$qcow2" $key,encrypt.cipher-alg=aes-128,encrypt.cipher-mode=cbc
ours qcow2 "$qcow2" $key,encrypt.cipher-mode=cbc,encrypt.ivgen-alg=essiv,\
encrypt.hash-alg=ripemd160
ours qcow2 "$qcow2" $key,encrypt.ivgen-alg=plain,extended_l2=on
ours qcow2 "$qcow2" $key,data_file=ours.data
ours qcow2 "$qcow2" $key,preallocation=metadata
ours qcow2 "$qcow2" $key,compat=0.10
ours qcow2 "$qcow2" encrypt.format=aes,encrypt.key-secret=s
expect_err 'is weak'
ours luks "$luks" key-secret=s,iter-time=1
ours luks "$luks" key-secret=s,iter-time=1,cipher-mode=cbc,hash-alg=sha512

# No byte of the disk is there as it is.
gild convert -f raw -O qcow2 "${hello[@]}" -o $key disk.raw ours
! grep -qaF '12345
12346' ours || fail "the image holds plain text"

# --- what is printed ---------------------------------------------------------

run gild create "${hello[@]}" -f qcow2 -o encrypt.hash-alg=sha1,$key ours 10M
expect_out "fmt=qcow2 encrypt.format=luks encrypt.key-secret=s \
encrypt.hash-alg=sha1 encrypt.iter-time=1 cluster_size=65536"
run gild create "${hello[@]}" -f luks -o iter-time=1,key-secret=s ours 10M
expect_out "Formatting 'ours', fmt=luks size=10485760 key-secret=s iter-time=1"
# Its holes read as they decrypt, which is no zeros.
qemu-img convert "${hello[@]}" --image-opts "$luks"=ours -O raw wanted.raw
run gild convert -f luks -O raw --secret-file pass ours back.raw
expect 0
same wanted.raw back.raw
gild_same luks ours wanted.raw
run gild create "${hello[@]}" -f qcow2 -o encryption=on ours 10M
expect_err 'weak'
for options in "-O luks" "-O qcow2 -o encrypt.format=luks"; do
	# shellcheck disable=SC2086
	run gild measure $options --size 1G
	expect 0
	[[ $options != *qcow2* ]] || options+=,encrypt.key-secret=s,encrypt.iter-time=1
	[[ $options != *luks ]] || options+=' -o key-secret=s'
	# shellcheck disable=SC2086
	qemu-img measure $options "${hello[@]}" --size 1G >wanted
	same wanted "$out"
done

# --- streams ------------------------------------------------------------------

gild convert -f raw -O qcow2 "${hello[@]}" -o $key disk.raw - >streamed
qemu_same "$qcow2"=streamed disk.raw
qemu_sound "$qcow2"=streamed
gild convert -f raw -O luks --secret-file pass -o iter-time=1 disk.raw - >streamed
qemu_same "$luks"=streamed disk.raw
gild convert -O qcow2 "${hello[@]}" -o $key - streamed <disk.raw
qemu_same "$qcow2"=streamed disk.raw

# --- secrets ------------------------------------------------------------------

gild convert -f raw -O qcow2 "${hello[@]}" -o $key disk.raw ours
run gild convert -f qcow2 -O raw ours back.raw
expect 1
expect_err 'no secret was given'
expect_err '--secret-file FILE'
rm -f back.raw
run gild convert -f qcow2 -O raw --secret-file pass2 ours back.raw
expect 1
expect_err 'ours: wrong passphrase'
[ ! -e back.raw ] || fail "a wrong passphrase leaves a file"
run gild create "${hello[@]}" -f qcow2 -o encrypt.format=luks,encrypt.key-secret=u \
	new 1M
expect 1
expect_err 'no secret with id "u"'
[ ! -e new ] || fail "an unknown secret leaves a file"
# Any of several does.
run gild convert -f qcow2 -O raw --secret-file pass2 --secret-file pass ours \
	back.raw
expect 0
same disk.raw back.raw
run gild convert -f qcow2 -O raw --object secret,id=x,data=aGVsbG8=,format=base64 \
	ours back.raw
expect 0
printf 'aGV\nsbG8=\n' >pass64
run gild compare -F raw -f qcow2 ours disk.raw \
	--object secret,id=x,file=pass64,format=base64
expect 0
# As in qemu-img a file's line break is part of the secret, and here it is not.
printf 'hello\n' >line
run gild map -f qcow2 --secret-file line ours
expect 1 # encrypted: there are no places to be shown
expect_err 'encrypted'
run gild compare -F raw -f qcow2 --secret-file line ours disk.raw
expect 0
run gild compare -F raw -f qcow2 --object secret,id=x,file=line ours disk.raw
expect 2
expect_err 'wrong passphrase'
for wrong in secret data=x secret,data=x secret,id=x secret,id=,data=x \
	secret,id=x,data=x,file=y secret,id=x,data=x,format=hex \
	secret,id=x,data='!',format=base64 secret,id=x,data=abc,format=base64 \
	secret,id=x,data=a===,format=base64 secret,id=x,data==,format=base64 \
	secret,id=x,data=x,keyid=y rng-random,id=x secret,id=x,file=absent \
	secret,id=x,file=/ ; do
	run gild info --object "$wrong" -f qcow2 ours
	expect 1
done
# No part of a secret is shown, not even where a comma cuts it.
for wrong in secret,id=x,data=top,shown=y secret,id=x,data=top,shown \
	secret,id=x,data=top,=shown secret,id=x,shown secret,id=x,shown=,data=y \
	secret,id=x,data=shown,help secret,id=x,data=top,format=shown; do
	run gild info --object "$wrong" -f qcow2 ours
	expect 1
	expect_err 'something else is there'
	! grep -q shown "$err" || fail "a secret is shown: $wrong"
done
expect_err 'format is raw or base64'
run gild info --object secret,id=x,data=1 --object secret,id=x,data=2 ours
expect 1
expect_err 'twice'
run gild info --secret-file absent ours
expect 1
expect_err 'absent'
truncate -s 2M large
run gild info --secret-file large ours
expect 1
expect_err 'too long'

# What has nothing to do with data needs no secret.
for verb in info check "map --output=json" "snapshot -c one" "snapshot -l" \
	"info --backing-chain" "measure -O qcow2"; do
	# shellcheck disable=SC2086
	run gild $verb -f qcow2 ours
	expect 0
done

# --- snapshots ----------------------------------------------------------------

gild convert -n -f raw -O qcow2 --secret-file pass other.raw ours
qemu_sound "$qcow2"=ours
qemu_same "$qcow2"=ours other.raw
qemu-img convert "${hello[@]}" -l one -O raw --image-opts "$qcow2"=ours back.raw
same disk.raw back.raw
gild convert -f qcow2 -l one -O raw --secret-file pass ours back.raw
same disk.raw back.raw
qemu-img snapshot "${hello[@]}" --image-opts -a one "$qcow2"=ours
gild_same qcow2 ours disk.raw

# --- chains -------------------------------------------------------------------

printf other >pass2
gild convert -f raw -O qcow2 "${both[@]}" disk.raw base.qcow2 \
	-o ${key/key-secret=s/key-secret=t}
gild create "${both[@]}" -f qcow2 -o $key -b base.qcow2 -F qcow2 top.qcow2
run gild convert -n -f raw -O qcow2 --secret-file pass --secret-file pass2 \
	other.raw top.qcow2
expect 0
qemu-img compare -q "${both[@]}" --image-opts driver=raw,file.filename=other.raw \
	"$qcow2=top.qcow2,backing.driver=qcow2,backing.encrypt.key-secret=t,\
backing.file.filename=base.qcow2" || fail "the chain, as qemu-img reads it"
run gild compare -F raw --secret-file pass top.qcow2 other.raw
expect 2
expect_err 'base.qcow2: wrong passphrase'
run gild commit --secret-file pass --secret-file pass2 top.qcow2
expect 0
qemu-img compare -q "${both[@]}" --image-opts driver=raw,file.filename=other.raw \
	driver=qcow2,encrypt.key-secret=t,file.filename=base.qcow2 ||
	fail "the base, committed to"
# An overlay without a key of its own.
gild create -f qcow2 -b base.qcow2 -F qcow2 plain.qcow2 --secret-file pass2
gild_plain() {
	run gild compare -F raw --secret-file pass2 plain.qcow2 other.raw
	expect 0
}
gild_plain
gild clone base.qcow2 clone.qcow2
run gild compare -F raw --secret-file pass2 clone.qcow2 other.raw
expect 0
run gild rebase --secret-file pass2 -b '' plain.qcow2
expect 0
gild compare -F raw plain.qcow2 other.raw

# --- refused ------------------------------------------------------------------

rm -f new
for wrong in encrypt.cipher-alg=aes-192 encrypt.cipher-alg=serpent-256 encrypt.cipher-alg=twofish-128 \
	encrypt.cipher-alg=cast5-128 encrypt.cipher-mode=ctr \
	encrypt.hash-alg=md5 encrypt.ivgen-alg=benbi; do
	run gild create "${hello[@]}" -f qcow2 -o $key,$wrong new 1M
	expect 1
	expect_err "\"${wrong#*=}\" is not supported"
	[ ! -e new ] || fail "$wrong leaves a file"
done
run gild convert -c -f raw -O qcow2 "${hello[@]}" -o $key disk.raw new
expect 1
expect_err 'exclude each other'

# --- cryptsetup ---------------------------------------------------------------

if ! command -v cryptsetup >/dev/null; then
	echo "passed; but without cryptsetup (package cryptsetup-bin)"
	exit 0
fi

# opens FILE PASSFILE: yes, says cryptsetup.
opens() {
	cryptsetup open --test-passphrase --type luks1 --key-file "$2" "$1"
}

gild convert -f raw -O luks --secret-file pass -o iter-time=1 disk.raw a.luks
cryptsetup luksDump a.luks >dump
grep -q '^Cipher mode:.*xts-plain64$' dump
grep -q '^Key Slot 0: ENABLED' dump
grep -q '^Key Slot 1: DISABLED' dump
opens a.luks pass
! opens a.luks pass2 2>/dev/null || fail "cryptsetup opens with anything"
cryptsetup luksAddKey --pbkdf-force-iterations 1000 --key-file pass \
	--key-slot 6 a.luks pass2
run gild compare -F raw --secret-file pass2 a.luks disk.raw
expect 0
cryptsetup -q luksKillSlot --key-file pass2 a.luks 0
run gild compare -F raw --secret-file pass a.luks disk.raw
expect 2
expect_err 'wrong passphrase'
run gild compare -F raw --secret-file pass2 a.luks disk.raw
expect 0

# The header within a qcow2 image is one, too.
gild create -f qcow2 "${hello[@]}" -o $key a.qcow2 10M
dd if=a.qcow2 of=header bs=64k skip=4 count=32 status=none
truncate -s 3M header
opens header pass

# FORMAT-OPTIONS: cryptsetup's own header, gild's payload. For some ciphers it
# asks a kernel that may not have them.
formats() {
	truncate -s 14M b.luks
	cryptsetup -q luksFormat --type luks1 --pbkdf-force-iterations 1000 \
		"$@" b.luks pass
}
for cipher in aes-xts-plain64:256 aes-cbc-essiv:sha256:256 aes-cbc-plain:128; do
	formats --cipher "${cipher%:*}" --key-size "${cipher##*:}" --hash sha1 \
		2>/dev/null || continue
	run gild convert -n -f raw -O luks --secret-file pass disk.raw b.luks
	expect 0
	run gild resize --secret-file pass -f luks --shrink b.luks 10M
	expect 0
	qemu_same "$luks"=b.luks disk.raw
done
# Keys that qemu-img does not take.
if formats --cipher aes-cbc-plain64 --key-size 192 --hash sha512 2>/dev/null; then
	gild convert -n -f raw -O luks --secret-file pass disk.raw b.luks
	opens b.luks pass
	gild resize --secret-file pass -f luks --shrink b.luks 10M
	gild_same luks b.luks disk.raw
fi
formats --cipher aes-xts-plain64
printf 'serpent\0' | dd of=b.luks bs=1 seek=8 conv=notrunc status=none
run gild convert -O raw --secret-file pass b.luks back.raw
expect 1
expect_err 'cipher "serpent" is not supported'
truncate -s 20M c.luks
cryptsetup -q luksFormat --type luks2 --pbkdf pbkdf2 \
	--pbkdf-force-iterations 1000 c.luks pass
run gild info c.luks
expect 1
expect_err 'LUKS version 2'
expect_err 'libguestfs'
