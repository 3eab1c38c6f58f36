#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Which format a file has, and what it may lead to: the table in doc/design.md,
# "Doors", row by row, seen from the command line.

# shellcheck source=tests/lib.sh
. "${BASH_SOURCE%/*}/../tests/lib.sh"
requires "qemu-img --version"

# A backing file with something to tell, and overlays over it.
truncate -s 1M secret.raw
put raw secret.raw 'write -P 83 0 1M'
qcow2 over.qcow2 1M -b secret.raw -F raw
cp over.qcow2 over.img
cp over.qcow2 over.raw
cp secret.raw plain.img
cp secret.raw wrong.qcow2
qcow2 alone.qcow2 1M
cp alone.qcow2 alone.img

format_of() {
	gild info --output=json "$@" |
		sed -n 's/^    "format": "\(.*\)",$/\1/p'
}
is() {
	local wanted=$1
	shift
	[ "$(format_of "$@")" = "$wanted" ] || fail "$* is not seen as $wanted"
}

# -f says it, whatever the name.
is raw -f raw over.qcow2
is qcow2 -f qcow2 over.img
run gild convert -f qcow2 over.img o.raw
expect 0
same secret.raw o.raw
run gild convert -f raw over.qcow2 o.raw
expect 0
head -c "$(stat -c %s over.qcow2)" o.raw | cmp - over.qcow2

# A name that ends in .qcow2, with and without the magic.
is qcow2 over.qcow2
run gild convert over.qcow2 o.raw
expect 0
same secret.raw o.raw
run gild info wrong.qcow2
expect_error 'wrong.qcow2'

# A name that ends in .raw, whatever it begins with.
is raw over.raw
run gild convert over.raw o.raw
expect 0
head -c "$(stat -c %s over.raw)" o.raw | cmp - over.raw

# Another name with the magic: can be read, leads nowhere, is not written.
is qcow2 alone.img
run gild convert alone.img o.raw
expect 0
run gild convert over.img o2.raw
expect_error 'over.img'
expect_err '-f qcow2'
[ ! -e o2.raw ] || fail "a target was made"
run gild check -r all alone.img
expect_error 'alone.img'
expect_err '-f qcow2'
run gild check -f qcow2 -r all alone.img
expect 0

# Another name without the magic is raw, and not written either.
is raw plain.img
run gild convert -n x plain.img
expect 1
same secret.raw plain.img

# A backing file whose format is not recorded.
qcow2 none.qcow2 1M -b secret.raw -F raw
at=$(LC_ALL=C grep -obUaP '\xe2\x79\x2a\xca' none.qcow2 | cut -d: -f1)
printf 'none' | dd of=none.qcow2 bs=1 seek="$at" conv=notrunc status=none
! qemu-img info none.qcow2 | grep -q 'backing file format' || fail "recorded"
run gild convert none.qcow2 o2.raw
expect_error 'none.qcow2'
expect_err '--backing-format'
run gild convert --backing-format=raw none.qcow2 o.raw
expect 0
same secret.raw o.raw

# Stored names are paths, never protocols.
for name in 'json:{"driver":"file","filename":"secret.raw"}' \
	nbd://localhost/x 'file:secret.raw'; do
	qcow2 proto.qcow2 1M -u -b "$name" -F raw
	run gild convert proto.qcow2 o2.raw
	expect_error 'proto.qcow2'
	run gild info proto.qcow2
	expect 0
done

# --untrusted follows nothing, --allow-backing only below a folder.
for args in --untrusted "--untrusted -f qcow2"; do
	# shellcheck disable=SC2086 # words
	run gild convert $args over.qcow2 o2.raw
	expect_error 'secret.raw'
	run gild map --untrusted over.qcow2
	expect_error 'secret.raw'
done
GILD_UNTRUSTED=1 run gild compare over.qcow2 secret.raw
expect_error 'secret.raw' 2
GILD_UNTRUSTED=0 run gild compare over.qcow2 secret.raw
expect 0
run gild convert --untrusted alone.qcow2 o.raw
expect 0
run gild info --untrusted over.qcow2
expect 0
mkdir -p allowed/deep
cp secret.raw allowed/deep/base.raw
qcow2 in.qcow2 1M -b allowed/deep/base.raw -F raw
ln -s ../secret.raw allowed/link.raw
qcow2 out.qcow2 1M -b allowed/link.raw -F raw
qcow2 up.qcow2 1M -b allowed/../secret.raw -F raw
for more in "" --untrusted; do
	# shellcheck disable=SC2086 # nothing or one word
	run gild convert --allow-backing=allowed $more in.qcow2 o.raw
	expect 0
	same secret.raw o.raw
	for image in over out up; do
		# shellcheck disable=SC2086
		run gild convert --allow-backing=allowed $more $image.qcow2 o2.raw
		expect_error 'is not below "allowed"'
	done
done
[ ! -e o2.raw ] || fail "a target was made"

# An external data file is a door like a backing file.
qcow2 ext.qcow2 1M -o data_file=ext.data
put qcow2 ext.qcow2 'write -P 5 0 64k'
run gild convert --untrusted ext.qcow2 o2.raw
expect_error 'ext'
run gild convert ext.qcow2 o.raw
expect 0
equal qcow2 ext.qcow2 raw o.raw
