#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Programs that call qemu-img get gild, and do not notice: libvirt's storage
# driver, and of libguestfs what needs no virtual machine. (long-clients.sh has
# the rest.) libvirtd has qemu-img's path compiled in, so it runs in a mount
# namespace of its own, where gild lies over that path, and its folders are new.

# shellcheck source=tests/lib.sh
. "${BASH_SOURCE%/*}/lib.sh"
# shellcheck source=tests/clients.sh
. "$top/tests/clients.sh"
requires "$real --version"
ran=

# sound_disk FILE SIZE: qemu-img finds nothing to say, and that size.
sound_disk() {
	"$real" check -q "$1" || fail "$1 is not sound"
	"$real" info --output=json "$1" | grep -q "\"virtual-size\": $2," ||
		fail "$1: not of $2 bytes"
}

# ---------------------------------------------------------------- libvirt --
cat >libvirtd.conf <<END
auth_unix_rw = "none"
auth_unix_ro = "none"
log_outputs = "3:file:$work/libvirtd.log"
END

# Inside the namespace.
cat >storage.sh <<'END'
set -eu
for folder in /run /var/lib /var/cache /var/log /etc/libvirt; do
	mount -t tmpfs none $folder
done
mount --bind clients/qemu-img "$1"
LIBVIRT_DRIVER_DIR=$PWD/drivers libvirtd -f libvirtd.conf &
pid=$!
trap 'kill $pid; wait $pid || :' EXIT
v() {
	virsh -q -c storage:///system "$@"
}
for ((i = 0; i < 100; i++)); do
	! v uri >/dev/null 2>&1 || break
	sleep 0.1
done
v pool-create-as p dir --target "$PWD/pool"
v vol-create-as p base.qcow2 64M --format qcow2
v vol-create-as p plain.raw 8M --format raw
v vol-create-as p full.qcow2 8M --format qcow2 --prealloc-metadata
v vol-create-as p over.qcow2 64M --format qcow2 \
	--backing-vol base.qcow2 --backing-vol-format qcow2
v vol-upload --pool p plain.raw disk.raw
v vol-clone --pool p base.qcow2 clone.qcow2
v vol-clone --pool p plain.raw clone.raw
cat >volume.xml <<XML
<volume><name>made.qcow2</name><capacity>0</capacity>
<target><format type='qcow2'/></target></volume>
XML
v vol-create-from p volume.xml plain.raw --inputpool p
v vol-resize --pool p clone.qcow2 96M
v vol-info --pool p clone.qcow2 >clone.info
v vol-dumpxml --pool p over.qcow2 >over.xml
v vol-delete --pool p clone.raw
END

libvirt() {
	local enter=(unshare -m)
	[ "$(id -u)" = 0 ] || enter=(unshare -rm)
	if ! { [ -d /etc/libvirt ] && command -v libvirtd &&
		command -v virsh && "${enter[@]}" true; } >/dev/null 2>&1; then
		echo "libvirt: not here, or no namespaces"
		return
	fi
	# Of its drivers only this one: others want users and services.
	mkdir pool drivers
	ln -s /usr/lib/*/libvirt/connection-driver/libvirt_driver_storage.so drivers
	seq 1 200000 >disk.raw
	truncate -s 8M disk.raw
	"${enter[@]}" bash storage.sh "$real" >libvirt.out 2>&1 || {
		cat libvirt.out libvirtd.log calls >&2
		fail "libvirt"
	}
	called '^create -f qcow2 .*base.qcow2'
	called '^create -f qcow2 -b .*base.qcow2 .*over.qcow2'
	called '^create .*preallocation=.*full.qcow2'
	called '^convert -f qcow2 -O qcow2 .*clone.qcow2'
	called '^convert -f raw -O qcow2 .*made.qcow2'
	called '^resize .*clone.qcow2 100663296'
	sound_disk pool/base.qcow2 67108864
	sound_disk pool/over.qcow2 67108864
	sound_disk pool/full.qcow2 8388608
	sound_disk pool/clone.qcow2 100663296
	"$real" compare -q -f qcow2 -F raw pool/made.qcow2 disk.raw ||
		fail "made.qcow2 is not disk.raw"
	grep -q 'Capacity: *96.00 MiB' clone.info || fail "$(cat clone.info)"
	grep -q "<path>$work/pool/base.qcow2</path>" over.xml ||
		fail "$(cat over.xml)"
	ran+=" libvirt"
}
libvirt

# -------------------------------------------------------------- libguestfs --
guestfs() {
	if ! guestfish --version >/dev/null 2>&1; then
		echo "libguestfs: not here"
		return
	fi
	# These reserve more address space than libguestfs allows.
	case ${GILD_VARIANT:-release} in
	asan | tsan)
		echo "libguestfs: not with this sanitizer"
		return
		;;
	esac
	step
	guestfish >guestfs.out 2>&1 <<-END || { cat guestfs.out >&2; fail guestfish; }
		disk-create a.qcow2 qcow2 32M
		disk-create b.qcow2 qcow2 -1 backingfile:a.qcow2 backingformat:qcow2
		disk-create c.qcow2 qcow2 16M preallocation:metadata compat:0.10 clustersize:4096
		disk-format b.qcow2
		disk-has-backing-file b.qcow2
		disk-virtual-size b.qcow2
	END
	printf 'qcow2\ntrue\n33554432\n' >wanted
	same_text wanted guestfs.out
	called '^create -f qcow2 .*a.qcow2 33554432'
	called '^create -f qcow2 -o backing_file=a.qcow2,backing_fmt=qcow2 .*b.qcow2'
	called '^info .*b.qcow2'
	sound_disk a.qcow2 33554432
	sound_disk b.qcow2 33554432
	sound_disk c.qcow2 16777216
	ran+=" libguestfs"
}
guestfs

[ -n "$ran" ] || skip "needs libvirtd or guestfish (make check-clients)"
