#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# What "make install" leaves is enough to build a program with pkg-config, and
# the shared library exports what gild.h declares: all of it, nothing else.

set -eu
[ "${GILD_VARIANT:-release}" = release ] || { echo "release only"; exit 77; }
unset MAKEFLAGS MAKELEVEL MFLAGS
work=${TMPDIR:-$(mktemp -d)}
dest=$work/dest

# Manual pages need pod2man; the rest is installed the same way without.
options=(DESTDIR="$dest" PREFIX=/opt/gild)
command -v pod2man >/dev/null || options+=(PODS=)
make -s install-compat "${options[@]}"

lib=$dest/opt/gild/lib
for file in bin/gild include/gild.h lib/libgild.a lib/libgild.so \
	lib/pkgconfig/gild.pc; do
	[ -e "$dest/opt/gild/$file" ] || { echo "$file is missing"; exit 1; }
done
[ "$(readlink "$lib/libgild.so")" = libgild.so.0 ]
if [ -f build/nbdkit-gild-plugin.so ] && command -v nbdkit >/dev/null; then
	nbdkit --dump-plugin "$lib/nbdkit/plugins/nbdkit-gild-plugin.so" |
		grep -q '^gild_version='
fi
compat=$lib/gild/compat
[ "$(PATH=$compat:$PATH bash -c 'command -v qemu-img')" = "$compat/qemu-img" ]
PATH=$compat:$PATH qemu-img --version | grep -q '^qemu-img version .*(gild '
readelf -d "$lib/libgild.so" | grep -q 'SONAME.*\[libgild.so.0\]'

declared=$(gcc -E -P "$dest/opt/gild/include/gild.h" |
	grep -oE '\bgild_[a-z0-9_]+ *\(' | tr -d ' (' | sort -u)
exported=$(nm -D --defined-only "$lib/libgild.so" |
	awk '$2 ~ /[A-Z]/ && $2 != "A" {sub(/@.*/, "", $3); print $3}' | sort -u)
diff <(echo "$declared") <(echo "$exported") || {
	echo "gild.h (<) and libgild.so (>) differ"
	exit 1
}

cat >"$work/prog.c" <<'END'
#include <gild.h>
#include <stdio.h>
#include <string.h>

int main(void)
{
	puts(gild_version());
	return strcmp(gild_version(), GILD_VERSION) != 0;
}
END
export PKG_CONFIG_PATH=$lib/pkgconfig
pc() {
	pkg-config --define-variable=prefix="$dest/opt/gild" \
		--define-variable=libdir="$lib" \
		--define-variable=includedir="$dest/opt/gild/include" "$@" gild
}
# shellcheck disable=SC2046 # flags are words
gcc -std=c11 -Wall -Werror -o "$work/shared" "$work/prog.c" \
	$(pc --cflags --libs)
LD_LIBRARY_PATH=$lib "$work/shared"
# shellcheck disable=SC2046
gcc -std=c11 -Wall -Werror -o "$work/static" "$work/prog.c" \
	$(pc --cflags) "$lib/libgild.a" \
	$(pc --static --libs-only-l | sed 's/-lgild//')
"$work/static"
