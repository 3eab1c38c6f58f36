#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# The bench runs, on a small disk: every command of these rows succeeds, what
# gild made is right, tables and log are there, nothing else is left. What the
# figures are is not asked.

# shellcheck source=tests/lib.sh
. "${BASH_SOURCE%/*}/../tests/lib.sh"
requires "qemu-img --version"
requires "gcc --version"
requires "python3 --version"

rows=(pack_zlib unpack_zstd copy_ext4 compare_zlib clone snapshot_apply resize
	check_repair rebase commit chain_open chain_read chain_beside_one version)

head -c 3M /dev/urandom >disk.raw
truncate -s 8M disk.raw
mkdir folder
export RUNS=1 CLONES=3 CHAIN=4 BENCH_INPUT=$PWD/disk.raw BENCH_DIR=$PWD/folder
run "$top/bench/run" --force "${rows[@]}"
expect 0
for text in 'raw to -c qcow2, zlib' 'zstd qcow2 to raw' \
	'raw to plain qcow2' 'compare raw with a zlib image' \
	'3 linked clones' 'Peak memory'; do
	expect_out "$text"
done

log=$(sed -n 's/^All samples: //p' "$out")
python3 - "$top/$log" <<'END' ||
import json, sys
lines = [json.loads(line) for line in open(sys.argv[1])]
assert len(lines) > 30 and lines[0]["runs"] == 1
assert all(x["wall"] > 0 and x["status"] == 0 for x in lines[1:])
END
	fail "the log is not what it should be"
rm "$top/$log"
[ -z "$(ls folder)" ] || fail "it leaves something behind: $(ls folder)"

run "$top/bench/run" no_such_row
expect 2
