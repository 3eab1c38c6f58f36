#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# gild convert --keep-snapshots on a disk that fails: whichever call it is, there
# is an error and no target; or all of it, where the failure did no harm.

# shellcheck source=tests/lib.sh
. "${BASH_SOURCE%/*}/../tests/lib.sh"
requires "qemu-img --version"
case ${GILD_VARIANT:-release} in
release | cov) ;;
*) skip "a sanitizer wants to be loaded first" ;;
esac
in_memory
"${CC:-gcc}" -O1 -shared -fPIC -o "$work/fail-call.so" \
	"$top/tests/hostile/fail-call.c" -ldl

mkdir in out
truncate -s 600k in/base.raw
put raw in/base.raw 'write -P 9 0 600k'
x=in/x.qcow2
qemu-img create -q -f qcow2 -o cluster_size=16k -b base.raw -F raw $x 600k
put qcow2 $x 'write -P 1 0 200k'
qemu-img snapshot -c one $x
put qcow2 $x 'write -P 2 100k 40k' 'write -z 0 16k'
qemu-img snapshot -c two $x
qemu-img snapshot -a one $x
put qcow2 $x 'write -P 3 500k 40k'
qemu-img snapshot -c three $x

# The target's folder as it is to be before, and after a failure.
begin() {
	rm -f out/*
	[ "$old" = none ] || echo "$old" >out/y
}

as_begun() {
	if [ "$old" = none ]; then
		[ -z "$(ls -A out)" ] || fail "call $n leaves $(ls -A out)"
	else
		[ "$(ls -A out) $(cat out/y)" = "y $old" ] ||
			fail "call $n: the old file is gone"
	fi
}

# every ARGS...: each call of a conversion fails in its turn, once or from then
# on. A few calls matter to nobody; after the last one nothing fails.
every() {
	local n=0 harmless=0
	gild convert -q --keep-snapshots -O qcow2 -m 1 "$@" $x wanted
	while [ $harmless -lt 20 ]; do
		n=$((n + 1))
		begin
		FAIL_CALL=$n LD_PRELOAD=$work/fail-call.so run gild convert -q \
			--keep-snapshots -O qcow2 -m 1 "$@" $x out/y
		if [ "$status" = 0 ]; then
			same wanted out/y
			harmless=$((harmless + 1))
		else
			harmless=0
			expect_error ': '
			grep -Eq '^gild: (backing file: )?[^ ]*\b(in|out)/' \
				"$err" ||
				{ show; fail "call $n: no file is named"; }
			as_begun
		fi
	done
	[ $n -gt 60 ] || fail "only $n calls"
	echo "$n calls: $*"
}

for old in none 'an old file'; do
	every
	every -c -o cluster_size=4k
	export FAIL_STICKY=1
	every -o compat=0.10
	unset FAIL_STICKY
	[ "${GILD_TEST_LEVEL-}" != fast ] || continue
	every -B "$PWD/in/base.raw" -F raw -o cluster_size=4k
	every -c -o extended_l2=on,refcount_bits=8
done

# A file that may not grow: the same.
old=none
gild convert -q --keep-snapshots -O qcow2 $x wanted
n=0
while :; do
	n=$((n + 64))
	begin
	status=0
	(trap '' XFSZ; ulimit -f $n; gild convert -q --keep-snapshots \
		-O qcow2 $x out/y) >"$out" 2>"$err" || status=$?
	[ "$status" != 0 ] || break
	expect_error 'File too large'
	as_begun
done
same wanted out/y
[ $n -gt 400 ] || fail "enough room in $n KiB"
