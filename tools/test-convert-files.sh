#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# How a target appears: whole or not at all; what is replaced keeps owner,
# mode and attributes; what goes wrong leaves the old file and no debris.

# shellcheck source=tests/lib.sh
. "${BASH_SOURCE%/*}/../tests/lib.sh"
requires "qemu-img --version"

disk x.raw
qemu-img convert -O qcow2 x.raw good.qcow2

# A source that cannot be read to its end: an L2 table beyond the file.
cp good.qcow2 bad.qcow2
printf '\x80\0\0\x7f\0\0\0\0' |
	dd of=bad.qcow2 bs=1 seek=$((0x30000)) conv=notrunc status=none

# New names.
list >after
list >before
for format in raw qcow2; do
	run gild convert -O $format bad.qcow2 new.img
	expect_error 'bad.qcow2'
	list >after
	same_text before after
done

# Existing names.
echo 'the old content' >old.img
chmod 640 old.img
cp -p old.img copy.img
if [ "$(id -u)" = 0 ]; then
	chown 1234:1235 old.img
fi
owner=$(stat -c %u:%g:%a old.img)
list >before
run gild convert -O qcow2 bad.qcow2 old.img
expect_error 'bad.qcow2'
same copy.img old.img
list >after
same_text before after
run gild convert -O qcow2 good.qcow2 old.img
expect 0
equal raw x.raw qcow2 old.img
[ "$(stat -c %u:%g:%a old.img)" = "$owner" ] || fail "owner or mode changed"

# With a data file: both appear, or neither does.
rm -f new.qcow2
for data in new.data copy.img; do
	cp copy.img kept.img
	list >before
	run gild convert -O qcow2 -o data_file=$data bad.qcow2 new.qcow2
	expect_error 'bad.qcow2'
	list >after
	same_text before after
	same kept.img copy.img
	rm kept.img
done
cp x.raw source.raw
ln source.raw source2.raw
for data in source.raw source2.raw; do
	list >before
	run gild convert -U -O qcow2 -o data_file=$data source.raw new.qcow2
	expect_error "$data"
	same x.raw source.raw
	list >after
	same_text before after
done
run gild convert -O qcow2 -o data_file=source2.data source.raw new.qcow2
expect 0
equal raw x.raw qcow2 new.qcow2
mkdir folder
list >before
run gild create -f qcow2 -o data_file=late.data folder 1M
[ "$status" = 1 ] || fail "a folder became an image"
list >after
same_text before after
rmdir folder
rm new.qcow2 source*

# Through a symbolic link: the file is replaced, the link stays.
cp copy.img linked.img
ln -s linked.img link.img
run gild convert good.qcow2 link.img
expect 0
[ -L link.img ] || fail "the link was replaced"
same x.raw linked.img

# A name among several for one file: written in place.
cp copy.img one.img
ln one.img two.img
run gild convert good.qcow2 one.img
expect 0
same x.raw two.img

# The umask counts for a new file.
(umask 027 && gild convert good.qcow2 mask.raw)
[ "$(stat -c %a mask.raw)" = 640 ] || fail "mode $(stat -c %a mask.raw)"

# In use by another process.
mkfifo fifo
qemu-io -f qcow2 good.qcow2 <fifo >/dev/null 2>&1 &
exec 9>fifo
for ((i = 0; i < 200; i++)); do
	grep -q ":$(stat -c %i good.qcow2) " /proc/locks && break
	sleep 0.05
done
cp good.qcow2 before.qcow2
list >before
run gild convert good.qcow2 y.raw
expect_error 'good.qcow2'
expect_err 'or read beside it (-U)'
# What has no -U does not offer it.
for words in 'convert -O qcow2 x.raw good.qcow2' \
	'clone good.qcow2 new.qcow2' 'resize good.qcow2 9G'; do
	# shellcheck disable=SC2086 # words
	run gild $words
	expect_error 'good.qcow2'
	expect_err 'stop it first'
	! grep -qF -e '-U' "$err" || fail "$words: -U"
done
run gild convert -n -O qcow2 x.raw good.qcow2
expect_error 'good.qcow2'
run gild check -r all good.qcow2
expect_error 'good.qcow2'
same before.qcow2 good.qcow2
list >after
same_text before after
run gild convert -U good.qcow2 y.raw
expect 0
exec 9>&-
wait
same x.raw y.raw
