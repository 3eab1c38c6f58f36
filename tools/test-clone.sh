#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# gild clone makes overlays that qemu-img takes for its own, all or none.

# shellcheck source=tests/lib.sh
. "${BASH_SOURCE%/*}/../tests/lib.sh"
requires "qemu-img --version"

disk x.raw
qemu-img convert -c -O qcow2 x.raw base.qcow2

run gild clone base.qcow2 a.qcow2 b.qcow2 'c d.qcow2'
expect 0
expect_no_err
expect_out "Cloned 'base.qcow2' 3 times"
for clone in a.qcow2 b.qcow2 'c d.qcow2'; do
	sound "$clone"
	equal raw x.raw qcow2 "$clone"
	run qemu-img info "$clone"
	expect_out 'backing file format: qcow2'
	expect_out "backing file: $PWD/base.qcow2"
done

# Each is an image of its own.
put qcow2 a.qcow2 'write -P 9 1M 64k'
equal raw x.raw qcow2 b.qcow2
! qemu-img compare -q a.qcow2 b.qcow2 || fail "one file under two names"

# Names relative to each clone.
mkdir -p sub/sub
run gild clone --relative base.qcow2 r.qcow2 sub/sub/r.qcow2
expect 0
run qemu-img info r.qcow2
expect_out 'backing file: base.qcow2'
run qemu-img info sub/sub/r.qcow2
expect_out 'backing file: ../../base.qcow2 ('
equal raw x.raw qcow2 sub/sub/r.qcow2
(cd sub && gild clone -q --relative ../base.qcow2 sub/r2.qcow2)
equal raw x.raw qcow2 sub/sub/r2.qcow2

# A clone of a clone, a raw base, options.
run gild clone -q a.qcow2 aa.qcow2
expect 0
expect_no_out
equal qcow2 a.qcow2 qcow2 aa.qcow2
run gild clone -f raw x.raw raw.qcow2
expect 0
run qemu-img info raw.qcow2
expect_out 'backing file format: raw'
equal raw x.raw qcow2 raw.qcow2
run gild clone -o cluster_size=4k,lazy_refcounts=on base.qcow2 o.qcow2
expect 0
run qemu-img info o.qcow2
expect_out 'cluster_size: 4096'
expect_out 'lazy refcounts: true'
sound o.qcow2
run gild clone --output=json base.qcow2 j1.qcow2 j2.qcow2
expect 0
expect_out '"base": "base.qcow2"'
expect_out '"j2.qcow2"'
run gild clone --no-sync base.qcow2 n.qcow2
expect 0
sound n.qcow2

# Many.
mkdir many
names=()
for ((i = 0; i < 500; i++)); do
	names+=("many/$i.qcow2")
done
run gild clone base.qcow2 "${names[@]}"
expect 0
[ "$(find many -name '*.qcow2' | wc -l)" = 500 ] || fail "not 500 clones"
equal raw x.raw qcow2 many/499.qcow2

# All or none: whichever fails, none is there, and what was there stays.
echo precious >taken.qcow2
cp taken.qcow2 copy
list >before
none() {
	local text=$1
	shift
	run gild clone "$@"
	expect_error "$text"
	expect_no_out
	list >after
	same_text before after
	same copy taken.qcow2
}
list >after
list >before
none taken.qcow2 base.qcow2 n1.qcow2 n2.qcow2 taken.qcow2
none taken.qcow2 base.qcow2 taken.qcow2 n1.qcow2
none nosuchdir base.qcow2 n1.qcow2 nosuchdir/n2.qcow2 n3.qcow2
none n1.qcow2 base.qcow2 n1.qcow2 n2.qcow2 n1.qcow2
none base.qcow2 base.qcow2 n1.qcow2 base.qcow2
none nosuch.qcow2 nosuch.qcow2 n1.qcow2
none 'names of a base' base.qcow2
none nosuch -o nosuch=1 base.qcow2 n1.qcow2
none nosuch -f nosuch base.qcow2 n1.qcow2

# A guessed format leads nowhere.
cp base.qcow2 guess.img
list >before
none '-f qcow2' guess.img n1.qcow2
run gild clone -f qcow2 guess.img g.qcow2
expect 0
