#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Persistent bitmaps, with qemu-img and qemu-io as the judges: the same actions
# leave the same bitmaps, decoded by tests/bitmaps (which is neither's); each
# reads and goes on with what the other one wrote.

# shellcheck source=tests/lib.sh
. "${BASH_SOURCE%/*}/../tests/lib.sh"
# shellcheck source=tests/matrix.sh
. "$top/tests/matrix.sh"
requires "qemu-img --version"
requires "python3 --version"

bitmaps() {
	"$top/tests/bitmaps" "$1"
}

# like WANTED FILE: the same bitmaps, and FILE is sound.
like() {
	"$top/tests/bitmaps" "$1" "$2" >&2 || fail "other bitmaps"
	sound "$2"
}

# both ARGS...: "bitmap ARGS" by qemu-img on q and by gild on g; the same
# outcome, and the same bitmaps afterwards.
both() {
	local wanted=0
	qemu-img bitmap -f qcow2 "${@/@/q}" >"$work/.said" 2>&1 || wanted=1
	run gild bitmap -f qcow2 "${@/@/g}"
	[ $status = $wanted ] || { show; cat "$work/.said" >&2
		fail "bitmap $*: qemu-img ends with $wanted"; }
	like q g
}

# Each writes to both files: qemu-io q and g; what gild wrote is the same.
writes() {
	put qcow2 q "$@"
	put qcow2 g "$@"
	like q g
}

# --- actions, and who writes after whom -----------------------------------------

actions() {
	rm -f q g ext ext.g
	qcow2 q 3000k -o "$1"
	cp q g
	both --add @ a
	both --add -g 512 @ fine
	both --add -g 2M --disable @ off
	both --add @ a
	writes 'write 0 1' 'write 100k 99k' 'write -z 1M 200k' 'discard 2M 300k'
	both --merge fine @ off
	both --disable @ fine
	both --enable @ off
	writes 'write 2999k 1k' 'write 1500k 100'
	both --merge off @ fine
	both --add --disable --merge a @ copy
	both --clear @ a
	both --merge fine @ a
	both --remove @ off
	both --remove @ off
	both --enable @ copy
	writes 'write 500k 1' 'write 500k 1M'
	both --merge copy @ copy
	both --remove --add -g 4k @ a
	both --enable @ nosuch
	both --clear @ nosuch
	both --merge nosuch @ a
	both --remove @ fine
	both --remove @ copy
	both --remove @ a
	[ "$(bitmaps g)" = "" ] || fail "bitmaps are left"
}

kinds=(cluster_size=512 extended_l2=on lazy_refcounts=on cluster_size=64k
	cluster_size=2M refcount_bits=1 cluster_size=4k refcount_bits=64)
case $level in
fast) kinds=("${kinds[@]:0:1}") ;;
normal) kinds=("${kinds[@]:0:3}") ;;
esac
for options in "${kinds[@]}"; do
	about "$options"
	actions "$options"
done

# --- what is refused -----------------------------------------------------------

about refusals
rm -f q g
qcow2 q 1M
cp q g
both --add -g 100 @ x
both --add -g 256 @ x
both --add -g 3k @ x
both --add -g 4G @ x
both --add @ ''
both --add @ "$(printf 'n%.0s' {1..1024})"
both --add @ "$(printf 'n%.0s' {1..1023})"
both @ x
both --enable -g 64k @ x
both --enable -b raw @ x
both --enable -F qcow2 @ x
both --enable @
qcow2 old 1M -o compat=0.10
run gild bitmap --add -f qcow2 old x
expect_error 'version 2'
truncate -s 1M raw
run gild bitmap --add -f raw raw x
expect_error 'raw has no bitmaps'
for granularity in 128k 256k; do
	qcow2 q 1P -o cluster_size=2M
	cp q g
	both --add -g $granularity @ x
done
rm q g

# --- merging from another image ---------------------------------------------------

about merge
qcow2 q 3M
cp q g
qcow2 other.qcow2 3M -o cluster_size=512
qemu-img bitmap --add -g 1k other.qcow2 s
put qcow2 other.qcow2 'write 12345 1' 'write 2M 100k' 'write 3145727 1'
qcow2 longer.qcow2 4M
qemu-img bitmap --add longer.qcow2 s
both --add @ t
both --merge s -b other.qcow2 -F qcow2 @ t
both --merge s -b other.qcow2 @ t
both --merge s -b longer.qcow2 -F qcow2 @ t
both --merge nosuch -b other.qcow2 -F qcow2 @ t
both --merge s -b raw -F raw @ t
both --merge t -b @ -F qcow2 @ t

# --- encrypted images -------------------------------------------------------------

# Nothing here needs the passphrase; what QEMU writes with it is marked.
about encrypted
secret=secret,id=s,data=abc
rm -f q g
gild create -q -f qcow2 --object $secret -o encrypt.format=luks \
	-o encrypt.key-secret=s,encrypt.iter-time=10 q 1M
gild bitmap --add -g 512 -f qcow2 q a
cp q g
for name in q g; do
	quietly qemu-io --object $secret -c 'write 100k 700' --image-opts \
		driver=qcow2,encrypt.key-secret=s,file.filename=$name
done
for action in --add '--merge a' --disable; do
	# shellcheck disable=SC2086 # words
	qemu-img bitmap $action --object $secret --image-opts \
		driver=qcow2,encrypt.key-secret=s,file.filename=q b
	# shellcheck disable=SC2086 # words
	gild bitmap $action -f qcow2 g b
done
"$top/tests/bitmaps" q g >&2 || fail "other bitmaps"
quietly gild check -f qcow2 g
gild convert --bitmaps --object $secret -f qcow2 -O qcow2 g plain.qcow2
like q plain.qcow2

# --- inconsistent ones ------------------------------------------------------------

about "in use"
rm -f q g
qcow2 q 1M
qemu-img bitmap --add q on
qemu-img bitmap --add --disable q off
(qemu-io -f qcow2 -c 'write 0 64k' -c 'flush' -c 'abort' q || :) >"$work/.io" 2>&1
cp q g
bitmaps g | grep -q '^on 3 ' || fail "qemu-io stored its bitmaps"
gild info g | sed -n '/bitmaps:/,/refcount bits/p' >got
qemu-img info g | sed -n '/bitmaps:/,/refcount bits/p' >wanted
same_text wanted got
both --add @ new
for action in --add --clear --enable --disable '--merge new' '--merge on'; do
	# shellcheck disable=SC2086 # words
	both $action @ on
done
both --merge on @ new
run gild resize -q -f qcow2 g 2M
expect_error inconsistent
run gild convert --bitmaps -f qcow2 -O qcow2 g x
expect_error inconsistent
[ ! -e x ] || fail "a target of what was refused"
run gild convert --bitmaps --skip-broken-bitmaps -f qcow2 -O qcow2 g x
expect 0
expect_err '"on" is inconsistent'
qemu-img convert --bitmaps --skip-broken-bitmaps -f qcow2 -O qcow2 g y 2>"$work/.said"
like y x
writes 'write 100k 1'
both --remove @ on
both --remove @ off
both --remove @ new
rm -f x y

# Killed in the middle: those that are enabled say so, the other does not.
qcow2 killed.qcow2 64G
gild bitmap --add killed.qcow2 on
gild bitmap --add --disable killed.qcow2 off
mkfifo pipe
"$GILD" convert -n -f raw -O qcow2 - killed.qcow2 <pipe &
pid=$!
exec 7>pipe
head -c 4M /dev/urandom >&7
for _ in {1..100}; do
	! bitmaps killed.qcow2 | grep -q '^on 3 ' || break
	sleep 0.1
done
kill -9 $pid
wait $pid 2>"$work/.said" || :
exec 7>&-
bitmaps killed.qcow2 >got
grep -q '^on 3 ' got || fail "written to, and not in use"
grep -q '^off 0 ' got || fail "not written to, and in use"

# An operation on bitmaps alone marks nothing "in use".
gild bitmap --remove killed.qcow2 on
gild bitmap --add killed.qcow2 on

# --- writes by whole jobs -----------------------------------------------------------

about jobs
disk x.raw
truncate -s 10M y.raw
put raw y.raw 'write -P 7 1M 1M' 'write -P 8 9M 100k'
rm -f q g
qcow2 q 10M
put qcow2 q 'write 0 2M'
qemu-img bitmap --add q on
qemu-img bitmap --add --disable q off
cp q g
qemu-img convert -n -f raw -O qcow2 x.raw q
gild convert -n -f raw -O qcow2 x.raw g
like q g
both --clear @ on
# Compressed, onto what is there already, which qemu-img does not do.
gild convert -n -c -f raw -O qcow2 x.raw g
bitmaps g | grep -q '^on 2 65536: 0-10485760$' || fail "convert -n -c"
sound g
gild bitmap --clear -f qcow2 g on
qemu-img convert -n --target-is-zero -f raw -O qcow2 y.raw q
gild convert -n --target-is-zero -f raw -O qcow2 y.raw g
like q g
gild compare -f qcow2 -F qcow2 q g >"$work/.said"

# A source that ends in the middle of a cluster marks no more than it has.
truncate -s 1001k short.raw
put raw short.raw 'write -P 7 0 1001k'
rm -f q g
qcow2 q 10M -o cluster_size=2M
qemu-img bitmap --add -g 512 q on
cp q g
qemu-img convert -n -f raw -O qcow2 short.raw q
gild convert -n -f raw -O qcow2 short.raw g
like q g

rm -f q g qtop gtop
qcow2 q 10M
put qcow2 q 'write 0 1M'
qemu-img bitmap --add q base
cp q g
for name in q g; do
	qemu-img create -q -f qcow2 -b $name -F qcow2 ${name}top 10M
	qemu-img bitmap --add ${name}top before
	put qcow2 ${name}top 'write 64k 128k' 'write 3M 64k'
	qemu-img bitmap --add ${name}top after
done
qemu-img commit -q -f qcow2 qtop
gild commit -q -f qcow2 gtop
like q g
like qtop gtop
for name in q g; do
	put qcow2 $name 'write 5M 64k'
done
qemu-img rebase -f qcow2 -b '' qtop
gild rebase -f qcow2 -b '' gtop
like qtop gtop

# --- resizing, snapshots --------------------------------------------------------------

about "resize, snapshots"
rm -f q g
qcow2 q 1M -o cluster_size=512
qemu-img bitmap --add -g 512 q fine
qemu-img bitmap --add q on
put qcow2 q 'write 0 1M'
qemu-img bitmap --disable q fine
cp q g
for size in 3M 1000k 70M 512k 1M; do
	qemu-img resize -q --shrink -f qcow2 q $size
	gild resize -q --shrink -f qcow2 g $size
	like q g
	writes "write $(numfmt --from=iec ${size^^} | awk '{print $1 - 5}') 5"
done
for how in metadata falloc full; do
	qemu-img resize -q --preallocation=$how -f qcow2 q +100k
	gild resize -q --preallocation=$how -f qcow2 g +100k
	like q g
done
qemu-img snapshot -c s q
gild snapshot -f qcow2 -c s g
like q g
both --clear @ on
run gild snapshot -f qcow2 -a s g
expect_error 'has bitmaps'
qemu-img snapshot -d s q
gild snapshot -f qcow2 -d s g
like q g

# --- convert --bitmaps ------------------------------------------------------------------

about "convert --bitmaps"
rm -f q g
qcow2 s.qcow2 10M
gild bitmap --add s.qcow2 on
gild bitmap --add -g 4k s.qcow2 fine
put qcow2 s.qcow2 'write -P 3 1M 1M' 'write 5000000 1'
gild bitmap --disable s.qcow2 fine
gild bitmap --add s.qcow2 empty
put qcow2 s.qcow2 'write -P 9 0 1'
for options in cluster_size=512 cluster_size=64k cluster_size=2M \
	extended_l2=on; do
	rm -f q g
	qemu-img convert --bitmaps -f qcow2 -O qcow2 -o $options s.qcow2 q
	gild convert --bitmaps -O qcow2 -o $options s.qcow2 g
	like q g
	equal qcow2 s.qcow2 qcow2 g
	gild convert --bitmaps -c -O qcow2 -o $options s.qcow2 g
	like q g
	gild convert --bitmaps -O qcow2 -o $options s.qcow2 - >g
	like q g
	equal qcow2 s.qcow2 qcow2 g
done
gild create -q -f qcow2 g 10M
gild convert --bitmaps -n -O qcow2 s.qcow2 g
like q g
run gild convert --bitmaps -n -O qcow2 s.qcow2 g
expect_error 'there is a bitmap "on" already'
like q g
gild create -q -f qcow2 g 11M
run gild convert --bitmaps -n -O qcow2 s.qcow2 g
expect_error "not of the source's size"
# Of a snapshot, too: they are those of the image.
qemu-img snapshot -c snap s.qcow2
put qcow2 s.qcow2 'write -P 4 7M 1'
rm -f q g
qemu-img convert --bitmaps -l snapshot.name=snap -O qcow2 s.qcow2 q
gild convert --bitmaps -l snap -O qcow2 s.qcow2 g
like q g
qemu-img snapshot -d snap s.qcow2
for refused in 'raw x' 'qcow2 -o compat=0.10 x' 'qcow2 s.qcow2 x' \
	'qcow2 -f raw x'; do
	# shellcheck disable=SC2086 # words
	run gild convert --bitmaps s.qcow2 -O $refused
	expect_error bitmaps
	[ ! -e x ] || fail "$refused: a target of what was refused"
done
run gild convert --skip-broken-bitmaps -O qcow2 s.qcow2 x
expect_error 'requires --bitmaps'
rm -f "$work/.about"

# All of them at once, inconsistent ones too. Alone that takes no name.
qcow2 all 1M
for name in one two three; do
	qemu-img bitmap --add all $name
done
run gild bitmap --remove-all all one
expect_error 'the name of an image alone'
(qemu-io -f qcow2 -c 'write 0 64k' -c abort all || :) >"$work/.io" 2>&1
rm -f "$work/.io"
run qemu-img info all
expect_out 'in-use'
run gild bitmap -f qcow2 --remove-all all
expect 0
run qemu-img info all
! grep -q 'name: ' "$out" || { show; fail "bitmaps are left"; }
qemu-img check -r leaks all >"$work/.check" && rm "$work/.check"
run gild bitmap -f qcow2 --remove-all all
expect 0
sound all
qemu-img bitmap --add all three
run gild bitmap -f qcow2 --remove-all --add all four
expect 0
run qemu-img info all
expect_out 'name: four'
! grep -q 'name: three' "$out" || { show; fail "a bitmap is left"; }
run gild bitmap -f qcow2 --remove-all --add all
expect 1
