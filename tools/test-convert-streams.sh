#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# gild convert from standard input and to standard output, where nothing but
# the disk may be printed.

# shellcheck source=tests/lib.sh
. "${BASH_SOURCE%/*}/../tests/lib.sh"
requires "qemu-img --version"

disk x.raw
qemu-img convert -c -O qcow2 x.raw z.qcow2

# A pipe in: the size is known at the end only.
gild convert -q -O qcow2 - in.qcow2 < <(cat x.raw)
sound in.qcow2
equal raw x.raw qcow2 in.qcow2
gild convert -c -O qcow2 - in.qcow2 < <(cat x.raw)
sound in.qcow2
equal raw x.raw qcow2 in.qcow2
gild convert - in.raw < <(cat x.raw)
same x.raw in.raw
[ "$(stat -c %b in.raw)" -lt 10000 ] || fail "no holes were made"
: | gild convert -O qcow2 - empty.qcow2
sound empty.qcow2
[ "$(gild info --output=json empty.qcow2 | grep -c '"virtual-size": 0')" = 1 ]

# Sizes around a sector and a cluster; the rest of a sector reads as zeros.
for size in 1 511 512 513 65535 65536 65537; do
	head -c $size /dev/urandom >bytes.raw
	gild convert -O qcow2 - s.qcow2 < <(cat bytes.raw)
	sound s.qcow2
	gild convert s.qcow2 s.raw
	cmp -n $size bytes.raw s.raw
done

# Into what is there already, which is as large as it is.
for format in raw qcow2; do
	head -c 100001 /dev/urandom >bytes.raw
	qemu-img create -q -f $format there.$format 1M
	put $format there.$format 'write -P 5 0 1M'
	qemu-img convert -f $format -O raw there.$format expected.raw
	dd if=bytes.raw of=expected.raw conv=notrunc status=none
	gild convert -n -O $format - there.$format < <(cat bytes.raw)
	equal raw expected.raw $format there.$format
	run gild convert -n -O $format - there.$format < <(cat x.raw || :)
	expect_error 'is smaller (1048576 bytes) than the source'
done
run gild convert -O qcow2 -o preallocation=full - no.qcow2 < <(cat x.raw || :)
expect_error 'no space can be set aside for a stream'
[ ! -e no.qcow2 ] || fail "a target was made"

# A file in is used like a named one, in its format.
gild convert -f qcow2 - file.raw <z.qcow2
same x.raw file.raw
gild convert - file.raw <x.raw
same x.raw file.raw
run gild convert -f qcow2 - no.raw < <(cat z.qcow2 || :)
expect_error 'standard input'
[ ! -e no.raw ] || fail "a target was made"

# What precedes the file's position is not ours.
{ head -c 1M >/dev/null; gild convert - rest.raw; } <x.raw
cmp <(tail -c +1048577 x.raw) rest.raw

# Out, to a pipe and to a file.
for target in pipe file; do
	if [ $target = pipe ]; then
		gild convert z.qcow2 - | cat >out.raw
		gild convert -O qcow2 z.qcow2 - | cat >out.qcow2
	else
		gild convert z.qcow2 - >out.raw
		gild convert -O qcow2 z.qcow2 - >out.qcow2
	fi
	same x.raw out.raw
	sound out.qcow2
	equal raw x.raw qcow2 out.qcow2
done
gild convert - - < <(cat x.raw) | cmp - x.raw

# Named pipes at both ends, and what the shell makes of <(...).
gild convert <(cat x.raw) from.raw
same x.raw from.raw
mkfifo in.pipe out.pipe
cat x.raw >in.pipe &
gild convert in.pipe out.pipe &
cat <out.pipe >through.raw
wait
same x.raw through.raw
run gild convert -f qcow2 <(cat z.qcow2 || :) no.raw
expect_error 'must be raw'

# Progress goes elsewhere then.
run gild convert -p z.qcow2 -
expect 0
same x.raw "$out"
expect_err '(100.00/100%)'
run gild convert --progress=json z.qcow2 -
same x.raw "$out"
expect_err '"description": "finished"'

# Pipes that somebody else has made ones that do not block.
run python3 - "$GILD" <<'END'
import os, subprocess, sys, threading, time
def pipe():
    ends = os.pipe()
    for end in ends:
        os.set_blocking(end, False)
    return ends
def feed(end):
    left = open("x.raw", "rb").read()
    while left:
        try:
            left = left[os.write(end, left):]
        except BlockingIOError:
            time.sleep(0.01)
        except BrokenPipeError:
            break
    os.close(end)
source, sink = pipe(), pipe()
gild = subprocess.Popen([sys.argv[1], "convert", "-", "-"],
                        stdin=source[0], stdout=sink[1])
os.close(source[0])
os.close(sink[1])
threading.Thread(target=feed, args=(source[1],)).start()
os.set_blocking(sink[0], True)
with open("through.raw", "wb") as to:
    while part := os.read(sink[0], 5000):
        to.write(part)
sys.exit(gild.wait())
END
expect 0
same x.raw through.raw

# A reader that goes away, a disk that is full: errors, not a quiet end.
status=0
{ gild convert x.raw - 2>"$err" || echo $? >code; } | head -c 1 >/dev/null
[ "$(cat code)" = 1 ] || fail "status $(cat code 2>&1) as the reader left"
grep -q '^gild: ' "$err" || fail "no error as the reader left"
if [ -w /dev/full ]; then
	run bash -c '"$GILD" convert x.raw - >/dev/full'
	expect_error 'No space left on device'
fi

run gild convert -c -O qcow2 x.raw -
expect 1
[ -s "$err" ] || fail "-c to standard output"
run gild convert -n x.raw -
expect_error '-n needs a target'
mkfifo pipe.raw
run gild convert -n x.raw pipe.raw
expect_error '-n needs a target'
run gild convert x.raw - y.raw < <(cat x.raw || :)
expect_error 'cannot be joined'

# What begins like an image is most likely meant as one.
run gild convert -O qcow2 - no.qcow2 < <(cat z.qcow2 || :)
expect_error 'begins like qcow2'
expect_err '-f raw'
run gild convert -O qcow2 <(cat z.qcow2 || :) no.qcow2
expect_error 'begins like qcow2'
run gild convert -O qcow2 - no.qcow2 <z.qcow2
expect_error 'begins like qcow2'
expect_err '-f qcow2 or -f raw'
[ ! -e no.qcow2 ] || fail "a target was made"
for input in pipe file; do
	if [ $input = pipe ]; then
		gild convert -f raw - nested.raw < <(cat z.qcow2)
	else
		gild convert -f raw - nested.raw <z.qcow2
	fi
	cmp -n "$(stat -c %s z.qcow2)" z.qcow2 nested.raw
done

# A disk is neither typed nor shown.
if script --version >/dev/null 2>&1; then
	for names in '- no.raw' 'x.raw -'; do
		script -qec "'$GILD' convert $names" /dev/null >typed </dev/null ||
			:
		grep -q 'is a terminal' typed || fail "$names: $(cat typed)"
	done
	[ ! -e no.raw ] || fail "a target was made"
fi
