#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# gild partitions tells of tables what libfdisk (sfdisk) does, and of what the
# partitions hold what blkid does; where root may have loop devices, it counts
# as the kernel does.

# shellcheck source=tests/lib.sh
. "${BASH_SOURCE%/*}/../tests/lib.sh"
PATH=$PATH:/usr/sbin:/sbin
requires "sfdisk --version" "blkid --version" "mke2fs -V" "python3 --version"

cat >normal.py <<'END'
import json, re, subprocess, sys

def run(*command):
    return subprocess.run(command, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL).stdout.decode()

def content(path, start, length):
    """What blkid finds in a part of a file."""
    size = ["-S", str(length)] if length else []
    out = run("blkid", "-p", "-u", "filesystem,raid,crypto,other", "-O",
              str(start), *size, "-o", "udev", path)
    found = dict(line.split("=", 1) for line in out.splitlines())
    def plain(text):
        return re.sub(rb"\\x(..)", lambda m: bytes([int(m[1], 16)]),
                      text.encode()).decode()
    keys = {"type": "ID_FS_TYPE", "label": "ID_FS_LABEL_ENC",
            "uuid": "ID_FS_UUID_ENC"}
    return {k: plain(found[v]) for k, v in keys.items() if v in found}

def theirs(path, mine):
    table = json.loads(run("sfdisk", "-J", path) or "{}").get("partitiontable")
    # sfdisk takes the first sector of FAT for an empty table.
    if not table or not table.get("partitions") and content(path, 0, 0):
        return None, []
    unit = table.get("sectorsize", 512)
    rows = []
    for p in table.get("partitions", []):
        kind = p["type"].lower()
        kind = "0x" + kind if len(kind) <= 2 else kind
        row = {"number": int(p["node"][len(path):].lstrip("p")),
               "start": p["start"] * unit, "length": p["size"] * unit,
               "type": kind, "extended": kind in ("0x5", "0xf", "0x85")}
        for key in ("uuid", "name"):
            if key in p:
                row[key] = p[key].lower() if key == "uuid" else p[key]
        if not row["extended"]:
            row["content"] = content(path, row["start"], row["length"])
        rows.append(row)
    return table, rows

def check(path, mine):
    table, rows = theirs(path, mine)
    for p in mine["partitions"]:
        if not p["extended"]:
            p.setdefault("content", {})
        if table["label"] == "dos":
            p.pop("uuid", None)
    if table:
        assert mine["table"] == table["label"], (mine["table"], table["label"])
        assert table["id"].lower().removeprefix("0x") == mine["uuid"], table
    else:
        assert mine.get("content", {}) == content(path, 0, 0), \
            (mine.get("content"), content(path, 0, 0))
    rows.sort(key=lambda row: row["number"])
    assert mine["partitions"] == rows, "\n%s\n%s" % (mine["partitions"], rows)

mine = json.load(open(sys.argv[2]))
check(sys.argv[1], mine)
print(mine.get("table", "none"), *[
    p.get("content", {}).get("type", "-") for p in mine["partitions"]] or
    [mine.get("content", {}).get("type", "-")])
END

# agree FILE WORDS: what the others say, which is (as a check of this test)
# these types.
agree() {
	gild partitions -f raw --output=json "$1" >mine
	python3 normal.py "$1" mine >told || { cat mine; fail "$1"; }
	[ "$(cat told)" = "$2" ] || fail "$1: $(cat told), not $2"
	gild partitions -f raw "$1" >"$out"
	kernel "$1"
}

# What the kernel makes of it.
kernel() {
	local device
	[ "$(id -u)" = 0 ] || return 0
	device=$(losetup -f --show -P -r "$1" 2>/dev/null) || return 0
	at_end "losetup -d $device 2>/dev/null || :"
	python3 - mine "$device" <<-'END' >"$work/kernel" || { cat "$work/kernel"; fail "kernel, $1"; }
	import glob, json, os, sys
	name = os.path.basename(sys.argv[2])
	mine = json.load(open(sys.argv[1]))
	def number(path, key):
	    return int(open(path + "/" + key).read())
	rows = sorted((number(p, "partition"), number(p, "start") * 512,
	               number(p, "size") * 512)
	              for p in glob.glob("/sys/block/%s/%sp*" % (name, name)))
	told = [(p["number"], p["start"],
	         min(p["length"], 1024) if p["extended"] else p["length"])
	        for p in mine["partitions"]]
	# Devices may be restricted here: then there are no nodes at all.
	print(rows, told)
	sys.exit(bool(rows) and rows != told and not mine["from-backup"])
	END
	losetup -d "$device"
}

# table FILE SIZE, the lines of sfdisk's script on standard input
table() {
	rm -f "$1"
	truncate -s "$2" "$1"
	sfdisk -q --no-reread --no-tell-kernel "$1" >/dev/null
}

# fill FILE NUMBER IMAGE: put it where that partition is.
fill() {
	local start
	start=$(sfdisk -J "$1" | python3 -c "
import json, sys
for p in json.load(sys.stdin)['partitiontable']['partitions']:
    if p['node'] == '$1$2':
        print(p['start'])")
	dd if="$3" of="$1" bs=512 seek="$start" conv=notrunc,sparse status=none
}

# --- what filesystems there are ---------------------------------------------
truncate -s 8M ext2 ext3 ext4 swap fat12 plain
mke2fs -q -t ext2 -L 'a label' ext2
mke2fs -q -t ext3 ext3
mke2fs -q -t ext4 -L ../up ext4
mkswap -q -L swappy swap
agree ext2 "none ext2"
agree ext3 "none ext3"
agree ext4 "none ext4"
agree swap "none swap"
agree plain "none -"
: >empty
agree empty "none -"

# make TYPE COMMAND...: a filesystem in a file, if the program is here.
make() {
	local type=$1 file=fs.$1
	shift
	command -v "$1" >/dev/null || return 0
	rm -f "$file"
	truncate -s "${size:-64M}" "$file"
	"$@" "$file" >"$out" 2>"$err" || { show; fail "$1"; }
	agree "$file" "none $type"
}
size=300M make xfs mkfs.xfs -q -L xlabel
size=128M make btrfs mkfs.btrfs -q -L btr
make vfat mkfs.vfat -F 12 -n TWELVE
make vfat mkfs.vfat -F 16 -n SIXTEEN
make vfat mkfs.vfat -F 32 -n 'THIRTY TWO'
make vfat mkfs.vfat -F 32
make ntfs mkfs.ntfs -q -f -F -L "wîndows"
make exfat mkfs.exfat -L exlabel
make f2fs mkfs.f2fs -q -l eff2
# shellcheck disable=SC2016 # sh expands it
make crypto_LUKS sh -c 'echo secret | cryptsetup luksFormat -q --type luks1 \
	--pbkdf-force-iterations 1000 "$1"' make
# shellcheck disable=SC2016 # sh expands it
make crypto_LUKS sh -c 'echo secret | cryptsetup luksFormat -q --type luks2 \
	--label crypt --pbkdf pbkdf2 --pbkdf-force-iterations 1000 "$1"' make
if command -v genisoimage >/dev/null; then
	genisoimage -quiet -V 'CD LABEL' -o fs.iso9660 normal.py
	agree fs.iso9660 "none iso9660"
fi

# Volumes of others, as their documentation has them.
python3 - <<'END'
import struct, zlib
def lvm(sector):
    label = bytearray(512)
    label[:8] = b"LABELONE"
    struct.pack_into("<Q", label, 8, sector)
    struct.pack_into("<I", label, 20, 32)
    label[24:32] = b"LVM2 001"
    label[32:64] = b"abcdef0123456789ABCDEFGHIJKLMNOP"
    crc = zlib.crc32(bytes(label[20:]), 0xf597a6cf ^ 0xffffffff) ^ 0xffffffff
    struct.pack_into("<I", label, 16, crc)
    return bytes(sector * 512) + bytes(label) + bytes(4 << 20)
open("lvm", "wb").write(lvm(1))
block = bytearray(4096)
struct.pack_into("<II", block, 0, 0xa92b4efc, 1)
block[16:32] = bytes(range(1, 17))
block[32:39] = b"host:md"
struct.pack_into("<Q", block, 144, 8)
open("raid", "wb").write(bytes(4096) + bytes(block) + bytes(4 << 20))
END
agree lvm "none LVM2_member"
agree raid "none linux_raid_member"

# --- GPT ----------------------------------------------------------------------
table gpt 64M <<'END'
label: gpt
size=8M, type=uefi, name="EFI system/..\\"
size=9M, name="röt"
start=40M, size=8M, name="𐍈 end"
END
agree gpt "gpt - - -"
fill gpt 1 ext2
fill gpt 2 ext4
fill gpt 3 swap
agree gpt "gpt ext2 ext4 swap"

# The copy: the first header is damaged, or its entries; both.
cp gpt bad
printf 'x' | dd of=bad bs=1 seek=520 conv=notrunc status=none
gild partitions -f raw --output=json bad >"$out" 2>"$err"
expect_out '"from-backup": true'
expect_err 'damaged'
sed 's/true/false/; s/"bad"/"gpt"/' "$out" >one
gild partitions -f raw --output=json gpt >two
sed 's/true/false/' two >three
sed 's/true/false/' one >four
same_text three four
cp gpt bad
printf 'x' | dd of=bad bs=1 seek=1030 conv=notrunc status=none
gild partitions -f raw --output=json bad >"$out" 2>"$err"
expect_out '"from-backup": true'
printf 'x' | dd of=bad bs=1 seek=$((64 * 1024 * 1024 - 500)) conv=notrunc status=none
run gild partitions -f raw bad
expect 0
expect_out PMBR
# The disk was cut off: its table speaks of what is not there.
truncate -s 40M bad
run gild partitions -f raw bad
expect 0
expect_out PMBR

# Sectors of 4096 bytes: the same table, as such a disk has it.
python3 - <<'END'
import struct, uuid, zlib
sector, sectors = 4096, 4096
entry = uuid.UUID("0fc63daf-8483-4772-8e79-3d69d8477de4").bytes_le + \
    bytes(range(16)) + struct.pack("<QQQ", 256, 511, 0) + \
    "big".encode("utf-16-le").ljust(72, b"\0")
array = entry.ljust(128 * 128, b"\0")
def header(at, other, entries):
    h = bytearray(struct.pack("<8sIIIIQQQQ16sQIII", b"EFI PART", 0x10000, 92, 0,
        0, at, other, 6, sectors - 6, bytes(range(16)), entries, 128, 128,
        zlib.crc32(array)))
    struct.pack_into("<I", h, 16, zlib.crc32(bytes(h)))
    return bytes(h).ljust(sector, b"\0")
disk = bytearray(sector * sectors)
disk[446:462] = struct.pack("<BBBBBBBBII", 0, 0, 2, 0, 0xee, 255, 255, 255, 1,
                            sectors - 1)
disk[510:512] = b"\x55\xaa"
disk[4096:8192] = header(1, sectors - 1, 2)
disk[8192:8192 + len(array)] = array
disk[-4096:] = header(sectors - 1, 1, sectors - 5)
disk[-5 * 4096:-4096] = array
open("big", "wb").write(disk)
END
gild partitions -f raw --output=json big >"$out"
expect_out '"sector-size": 4096'
expect_out '"start": 1048576'
expect_out '"length": 1048576'
expect_out '"name": "big"'

# --- MBR ----------------------------------------------------------------------
table mbr 64M <<'END'
label: dos
label-id: 0x1234abcd
size=8M, type=83, bootable
size=4M, type=82
size=40M, type=5
size=1M, type=c
size=8M, type=83
size=9M, type=83
size=10M, type=83
END
fill mbr 1 ext4
fill mbr 5 ext2
fill mbr 7 swap
agree mbr "dos ext4 - - - ext2 - swap"
gild partitions -f raw --output=json mbr >"$out"
expect_out '"uuid": "1234abcd-05"'
table none 8M <<'END'
label: dos
END
agree none "dos -"

# Damage: a ring of logical partitions, a partition beyond the disk.
python3 - <<'END'
import struct
def entry(kind, start, length):
    return struct.pack("<BBBBBBBBII", 0, 0, 0, 0, kind, 0, 0, 0, start, length)
def disk(*entries):
    return bytes(446) + b"".join(entries).ljust(64, b"\0") + b"\x55\xaa"
ring = bytearray(1 << 20)
ring[:512] = disk(entry(5, 100, 1000), entry(0x83, 5000, 10),
                  entry(0x83, 2000, 1 << 30), entry(0x83, 1500, 100))
ring[51200:51712] = disk(entry(0x83, 1, 1), entry(5, 10, 10))
ring[56320:56832] = disk(entry(0x83, 1, 1), entry(5, 0, 10))
open("ring", "wb").write(ring)
empty = bytearray(1 << 20)
empty[:512] = disk(entry(5, 100, 1000))
empty[51200:51712] = disk(entry(0, 0, 0), entry(5, 0, 10))
open("nothing", "wb").write(empty)
END
gild partitions -f raw --output=json ring >mine
python3 - <<'END' || fail "a ring"
import json
t = json.load(open("mine"))["partitions"]
assert [p["number"] for p in t[:4]] == [1, 3, 4, 5], t[:4]
assert len(t) < 256 and t[-1]["number"] == 255, len(t)
assert all(p["start"] + p["length"] <= 1 << 20 for p in t)
END
gild partitions -f raw --output=json nothing >"$out"
expect_out '"number": 1'

# --- images -------------------------------------------------------------------
gild convert -f raw -O qcow2 -c gpt gpt.qcow2
gild partitions --output=json gpt.qcow2 | sed 's/gpt.qcow2/gpt/' >two
gild partitions -f raw --output=json gpt >one
same_text one two
qemu-img snapshot -c before gpt.qcow2
put qcow2 gpt.qcow2 'write -P 0 0 1M'
run gild partitions gpt.qcow2
expect_out 'no partition table'
gild partitions --snapshot before --output=json gpt.qcow2 | sed 's/gpt.qcow2/gpt/' >two
same_text one two
run gild partitions gpt.qcow2 more
expect 1
run gild partitions no-such
expect 1
