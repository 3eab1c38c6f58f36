#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# The session in README.md, as it stands there: each command works, and prints
# the lines that are shown below it (others may come, too).

# shellcheck source=tests/lib.sh
# shellcheck source=tests/lib.sh
. "${BASH_SOURCE%/*}/lib.sh"

head -c 3M /dev/urandom >guest.raw
truncate -s 8M guest.raw
mkdir bin
ln -s "$GILD" bin/gild
PATH=$PWD/bin:$PATH

awk '/^## / {on = $0 == "## A session"; next} on && /^    /' \
	"$top/README.md" | sed 's/^    //' >session
[ "$(grep -c '^\$ gild ' session)" -ge 5 ] || fail "the session is gone"

while read -r line; do
	if [[ $line == '$ '* ]]; then
		run bash -c "${line#'$ '}"
		expect 0
	else
		expect_out "$line"
	fi
done <session
same guest.raw back.raw
