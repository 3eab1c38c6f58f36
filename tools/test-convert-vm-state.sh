#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Snapshots of running machines: QEMU saves them, gild convert --keep-snapshots
# moves them into images of other kinds, and QEMU continues them there, with the
# memory that they had.

# shellcheck source=tests/lib.sh
. "${BASH_SOURCE%/*}/../tests/lib.sh"
requires "qemu-img --version" "qemu-io --version"
command -v qemu-system-x86_64 >/dev/null ||
	skip "needs qemu-system-x86_64 (package qemu-system-x86)"
in_memory

# A boot sector that counts, in memory at 0x500, for ever:
#     cli; xor ax, ax; mov ds, ax; again: inc dword [0x500]; jmp again
boot_sector() {
	printf '\xfa\x31\xc0\x8e\xd8\x66\xff\x06\x00\x05\xeb\xf9'
	head -c 498 /dev/zero
	printf '\x55\xaa'
}

# machine IMAGE: runs it as standard input commands, in QEMU's monitor.
machine() {
	timeout 120 qemu-system-x86_64 -machine pc,accel=tcg -m 20 -nodefaults \
		-display none -monitor stdio -S -net none \
		-drive "file=$1,format=qcow2,if=ide,cache=unsafe" \
		>said 2>&1 || { cat said >&2; fail "qemu-system-x86_64 $1"; }
	! grep -qi 'error\|could not\|does not' said ||
		{ cat said >&2; fail "qemu-system-x86_64 $1"; }
}

# counter FILE: what was counted in a dump of the memory's first page.
counter() {
	od -An -v -tu4 -j $((0x500)) -N 4 "$1" | tr -d ' '
}

# runs COUNTER: commands that let the machine run until it has counted to
# something else, and stop it.
runs() {
	local i counted
	rm -f probe
	echo cont
	for ((i = 0; i < 300; i++)); do
		echo 'pmemsave 0 0x1000 probe'
		sleep 0.2
		# It may not be there yet, or not be whole.
		counted=$(trap - ERR; counter probe 2>"$work/.ignored" || :)
		case $counted in
		'' | 0 | "$1") ;;
		*) break ;;
		esac
	done
	echo stop
}

# save_machines SIZE [OPTIONS...]: x.qcow2 with two machines' states; between them its
# disk gets that size, and a snapshot without any is taken.
save_machines() {
	local size=$1
	shift
	rm -f x.qcow2 ./*.memory
	qemu-img create -q -f qcow2 "$@" x.qcow2 8M
	qemu-io -f qcow2 -c 'write -s sector 0 64k' x.qcow2 >said
	{
		runs 0
		printf '%s\n' 'pmemsave 0 0x200000 one.memory' 'savevm one' \
			cont quit
	} | machine x.qcow2
	put qcow2 x.qcow2 'write -P 3 2M 1M'
	qemu-img snapshot -c between x.qcow2
	[ "$size" = 8M ] || qemu-img resize -q -f qcow2 x.qcow2 "$size"
	put qcow2 x.qcow2 'write -P 4 3M 100k' 'write -P 5 8000k 100k'
	{
		runs "$(counter one.memory)"
		printf '%s\n' 'pmemsave 0 0x200000 two.memory' 'savevm two' \
			quit
	} | machine x.qcow2
	[ "$(counter one.memory)" -gt 0 ] || fail "nothing was counted"
	! cmp -s one.memory two.memory || fail "one state"
	qemu-img snapshot -l x.qcow2 >listed
	! awk '$2 == "one" || $2 == "two"' listed | grep ' 0 B' ||
		fail "no VM state was saved"
}

boot_sector >sector
truncate -s 64k sector

# continues IMAGE: both are there, each with its disk, and can go on.
continues() {
	local name
	sound "$1"
	gild check -q -f qcow2 "$1"
	qemu-img snapshot -l "$1" >got
	same_text listed got
	for name in one two; do
		cp "$1" copy.qcow2
		printf '%s\n' "loadvm $name" 'pmemsave 0 0x200000 memory' \
			'info status' quit | machine copy.qcow2
		same $name.memory memory
		{
			echo "loadvm $name"
			runs "$(counter $name.memory)"
			printf '%s\n' 'pmemsave 0 0x200000 memory' quit
		} | machine copy.qcow2
		[ "$(counter $name.memory)" != "$(counter memory)" ] ||
			fail "the machine stands still"
		# As long as the active disk; beyond is what it may be.
		qemu-img convert -q -l $name -O raw x.qcow2 want.raw
		qemu-img convert -q -l $name -O raw "$1" got.raw
		cmp -n 8388608 want.raw got.raw
		# And saved again.
		printf '%s\n' "loadvm $name" 'savevm again' 'delvm one' \
			'loadvm again' quit | machine copy.qcow2
		sound copy.qcow2
	done
	equal qcow2 x.qcow2 qcow2 "$1"
}

save_machines 9000k
continues x.qcow2	# it is a matter of the original, too
options=('' cluster_size=4k '-c')
[ "${GILD_TEST_LEVEL-}" = fast ] || options+=(cluster_size=2M extended_l2=on \
	'-c cluster_size=128k,compression_type=zstd' \
	cluster_size=512)
for option in "${options[@]}"; do
	args=()
	[[ $option != -c* ]] || args=(-c)
	option=${option#-c} option=${option# }
	run gild convert --keep-snapshots -O qcow2 "${args[@]}" \
		${option:+-o "$option"} x.qcow2 y.qcow2
	expect 0
	expect_no_err
	continues y.qcow2
done

# From an image of small clusters back to one of large ones.
gild convert --keep-snapshots -O qcow2 -o cluster_size=512 x.qcow2 y.qcow2
gild convert --keep-snapshots -O qcow2 y.qcow2 z.qcow2
continues z.qcow2

# Over a backing file that reaches to where the VM state is.
truncate -s 600M long.raw
put raw long.raw 'write -P 9 510M 10M'
gild convert --keep-snapshots -O qcow2 -B long.raw -F raw x.qcow2 y.qcow2
continues y.qcow2

# What is encrypted.
key=encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=1
gild convert --keep-snapshots -O qcow2 --object secret,id=s,data=hello -o $key \
	x.qcow2 y.qcow2
printf hello >pass
gild convert --keep-snapshots -O qcow2 --secret-file pass y.qcow2 z.qcow2
continues z.qcow2

# In version 2 disks have one size.
[ "${GILD_TEST_LEVEL-}" != fast ] || exit 0
save_machines 8M -o compat=0.10
for options in compat=0.10 compat=0.10,cluster_size=4k cluster_size=4k; do
	gild convert --keep-snapshots -O qcow2 -o $options x.qcow2 y.qcow2
	continues y.qcow2
done
