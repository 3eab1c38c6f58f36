#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Each verb that changes or looks at an image, on images of each kind, in both
# directions: what qemu-img made gild changes, what gild made qemu-img changes.
# Afterwards both find it sound and hold it for the disk that a raw model of it
# says.
#
#     kinds    what an image is made of, one a line
#     verb_*   a verb on a kind; $maker makes, $doer does
#
# Level fast takes one cell of many, normal two of five (of LUKS, which takes its
# time to open, one of eleven), long all. GILD_MATRIX="KIND VERB MAKER", a pattern,
# runs what matches only.

# shellcheck source=tests/lib.sh
. "${BASH_SOURCE%/*}/../tests/lib.sh"
# shellcheck source=tests/matrix.sh
. "$top/tests/matrix.sh"
requires "qemu-img --version" "qemu-io --version"

# NAME DRIVER OPTIONS; a data file is "ext" in place of FILE.
kinds() {
	cat <<-'END'
		v2 qcow2 compat=0.10
		v2-512 qcow2 compat=0.10,cluster_size=512
		512 qcow2 cluster_size=512
		64k qcow2 lazy_refcounts=on
		2M qcow2 cluster_size=2M
		sub qcow2 extended_l2=on
		zstd qcow2 compression_type=zstd
		narrow qcow2 refcount_bits=8,cluster_size=4k
		data qcow2 data_file=FILE.ext
		raw-data qcow2 data_file=FILE.ext,data_file_raw=on
		in-luks qcow2 encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10
		in-luks-512 qcow2 cluster_size=512,encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10,encrypt.cipher-alg=aes-128
		aes qcow2 encrypt.format=aes,encrypt.key-secret=s
		luks luks key-secret=s,iter-time=10,cipher-mode=cbc,ivgen-alg=essiv,ivgen-hash-alg=sha256
	END
}
verbs="snapshot resize rebase commit amend bitmap dd measure convert"
secrets=(--object "secret,id=s,data=abc" --object "secret,id=t,data=other")

# ------------------------------------------------------------------ words --

# spec FILE: how to open it, for --image-opts; plain files by their name's end.
spec() {
	case $1 in
	*.raw) echo "driver=raw,file.filename=$1" ;;
	*.plain) echo "driver=qcow2,file.filename=$1" ;;
	*)
		case $name in
		luks) echo "driver=luks,file.filename=$1,key-secret=$key" ;;
		in-luks* | aes)
			echo "driver=qcow2,file.filename=$1,encrypt.key-secret=$key" ;;
		*) echo "driver=qcow2,file.filename=$1" ;;
		esac ;;
	esac
}

# options FILE: for -o, of an image of this kind and that name.
options() {
	echo "${kind_options//FILE/$1}"
}

# by TOOL VERB ARGS...: gild or qemu-img, with the secrets where there are some.
by() {
	local tool=$1 verb=$2
	shift 2
	case $name in
	*luks* | aes) quietly "$tool" "$verb" "${secrets[@]}" "$@" ;;
	*) quietly "$tool" "$verb" "$@" ;;
	esac
}

# both_say VERB ARGS...: the same, but for warnings.
both_say() {
	by qemu-img "$@"
	mv "$work/.said" wanted
	by gild "$@"
	grep -v '^gild: warning: ' "$work/.said" >got || :
	same_text wanted got
}

# change FILE COMMAND...: by qemu-io.
change() {
	local file=$1 command args=()
	shift
	for command; do
		args+=(-c "$command")
	done
	case $name in
	*luks* | aes) args+=("${secrets[@]}") ;;
	esac
	quietly qemu-io -t unsafe "${args[@]}" --image-opts "$(spec "$file")"
	! grep -q 'failed\|error' "$work/.said" || fail "qemu-io: $(cat "$work/.said")"
}

# is_disk RAW FILE: for both tools, and sound.
is_disk() {
	by qemu-img compare --image-opts "$(spec "$1")" "$(spec "$2")"
	by gild compare --image-opts "$(spec "$1")" "$(spec "$2")"
	case $driver:$2 in
	*.raw) return ;;
	luks:*.plain | qcow2:*) ;;
	*) return ;;
	esac
	by qemu-img check --image-opts "$(spec "$2")"
	by gild check --image-opts "$(spec "$2")"
}

# packs: -c where this kind can have compressed clusters.
packs() {
	case $name in
	*data | *luks* | aes) ;;
	*) echo -c ;;
	esac
}

# fresh FILE: an image of this kind with x.raw's disk, by $maker.
fresh() {
	rm -f "$1" "$1.ext"
	# shellcheck disable=SC2046 # one word or none
	by "$maker" convert $(packs) -f raw -O "$driver" -o "$(options "$1")" \
		x.raw "$1"
	is_disk x.raw "$1"
}

# over FILE BASE: an overlay of this kind, by $maker, and what a guest wrote,
# which then is model.raw, too.
over() {
	rm -f "$1" "$1.ext"
	by "$maker" create -f qcow2 -b "$2" -F "${3:-qcow2}" \
		-o "$(options "$1")" "$1" $size
	cp x.raw model.raw
	for file in "$1" model.raw; do
		change "$file" 'write -P 41 100k 70k' 'write -z 1M 200k' \
			'write -P 42 2600k 512' 'write -P 43 3M 4k'
	done
	is_disk model.raw "$1"
}

# Others of this kind cannot.
cannot() {
	skipped=$((skipped + 1))
}

# ------------------------------------------------------------------ verbs --

verb_snapshot() {
	case $name in
	*data | luks) cannot; return ;;
	esac
	fresh img
	cp x.raw model.raw
	by "$doer" snapshot -c one --image-opts "$(spec img)"
	for file in img model.raw; do
		change "$file" 'write -P 31 500k 700k' 'write -z 2M 64k' \
			'write -P 32 3M 1k'
	done
	is_disk model.raw img
	by "$doer" snapshot -c two --image-opts "$(spec img)"
	change img 'write -P 33 0 1M'
	by "$doer" snapshot -a one --image-opts "$(spec img)"
	is_disk x.raw img
	change img 'write -P 34 1M 512k'
	by "$doer" snapshot -a two --image-opts "$(spec img)"
	is_disk model.raw img
	by "$maker" convert --image-opts -l snapshot.name=one -O raw \
		"$(spec img)" got.raw
	same x.raw got.raw
	both_say snapshot -l --image-opts "$(spec img)"
	by "$doer" snapshot -d one --image-opts "$(spec img)"
	is_disk model.raw img
	by "$maker" snapshot -d two --image-opts "$(spec img)"
	is_disk model.raw img
}

verb_resize() {
	local new
	fresh img
	# What a plain LUKS file gains is whatever its holes decrypt to.
	if [ "$name" = luks ]; then
		by "$doer" resize --image-opts "$(spec img)" 6M
		by "$doer" resize --shrink --image-opts "$(spec img)" $size
		is_disk x.raw img
		return
	fi
	cp x.raw model.raw
	for new in 6M 6294016 +1M 2M 5M; do
		[[ $new != 2M || $doer != qemu-img || $name != raw-data ]] ||
			continue
		by "$doer" resize --shrink --image-opts "$(spec img)" $new
		quietly qemu-img resize --shrink -f raw model.raw $new
		is_disk model.raw img
	done
	for file in img model.raw; do
		change "$file" 'write -P 51 1M 300k' 'write -P 52 4M 1k'
	done
	is_disk model.raw img
}

verb_rebase() {
	case $name in
	raw-data | luks) cannot; return ;;
	esac
	over img "$PWD/x.raw" raw
	by "$doer" rebase --image-opts -b "$PWD/other.raw" -F raw "$(spec img)"
	is_disk model.raw img
	by "$doer" rebase --image-opts -b "$PWD/other.plain" -F qcow2 \
		"$(spec img)"
	is_disk model.raw img
	by "$doer" rebase --image-opts -u -b "$PWD/same.raw" -F raw \
		"$(spec img)"
	by "$doer" rebase --image-opts -u -b "$PWD/other.plain" -F qcow2 \
		"$(spec img)"
	is_disk model.raw img
	by "$doer" rebase --image-opts -b '' "$(spec img)"
	is_disk model.raw img
	mv other.raw away
	is_disk model.raw img
	mv away other.raw
}

verb_commit() {
	case $name in
	raw-data | luks) cannot; return ;;
	esac
	# From an image of this kind into a raw one.
	cp x.raw base.raw
	over img "$PWD/base.raw" raw
	by "$doer" commit --image-opts "$(spec img)"
	is_disk model.raw base.raw
	is_disk model.raw img
	# Into an image of this kind, from a plain one.
	case $name in
	in-luks* | aes) return ;;
	esac
	fresh base
	rm -f top.plain
	quietly "$maker" create -f qcow2 -b base -F qcow2 top.plain $size
	change top.plain 'write -P 61 0 1M' 'write -z 2M 128k' 'write -P 62 3M 5k'
	quietly qemu-img convert -f qcow2 -O raw top.plain model.raw
	by "$doer" commit -f qcow2 -d top.plain
	is_disk model.raw base
}

verb_amend() {
	fresh img
	case $name in
	in-luks*) amend_keys encrypt. ;;
	luks) amend_keys '' ;;
	aes | *data) cannot ;;
	v2*)
		by "$doer" amend -o compat=1.1,lazy_refcounts=on \
			--image-opts "$(spec img)"
		is_disk x.raw img
		by "$doer" amend -o compat=0.10 --image-opts "$(spec img)"
		is_disk x.raw img
		;;
	*)
		cp x.raw model.raw
		for file in img model.raw; do
			change "$file" 'write -z 100k 1M'
		done
		by "$doer" amend -o lazy_refcounts=on --image-opts "$(spec img)"
		is_disk model.raw img
		by "$doer" amend -o lazy_refcounts=off --image-opts "$(spec img)"
		[[ $name != sub && $name != zstd && $name != narrow ]] || return 0
		by "$doer" amend -o compat=0.10 --image-opts "$(spec img)"
		is_disk model.raw img
		quietly "$maker" info -f qcow2 img
		grep -q 'compat: 0.10' "$work/.said" || fail "is not version 2"
		;;
	esac
}

# A second passphrase, then the first one goes.
amend_keys() {
	by "$doer" amend --image-opts "$(spec img)" \
		-o "$1state=active,$1new-secret=t,$1iter-time=10"
	is_disk x.raw img
	key=t
	is_disk x.raw img
	by "$doer" amend --image-opts "$(spec img)" \
		-o "$1state=inactive,$1old-secret=s"
	is_disk x.raw img
	key=s
	run "$maker" compare "${secrets[@]}" --image-opts "$(spec x.raw)" \
		"$(spec img)"
	expect 2
	key=t
	change img 'read -v 0 512'
}

verb_bitmap() {
	local i
	case $name in
	v2* | luks) cannot; return ;;
	esac
	# The same by each tool, on images that are the same otherwise.
	for i in "$doer" "$maker"; do
		fresh "img.$i"
		by "$i" bitmap --add -g 64k --image-opts "$(spec "img.$i")" a
		by "$i" bitmap --add --disable --image-opts "$(spec "img.$i")" b
		change "img.$i" 'write -P 71 200k 100k' 'write -z 1M 300k'
		by "$i" bitmap --merge a --enable --image-opts \
			"$(spec "img.$i")" b
		by "$i" bitmap --clear --image-opts "$(spec "img.$i")" a
		change "img.$i" 'write -P 72 3M 1k' 'discard 2M 128k'
		by "$i" bitmap --disable --image-opts "$(spec "img.$i")" a
		by "$i" bitmap --add --image-opts "$(spec "img.$i")" c
		by "$i" bitmap --remove --image-opts "$(spec "img.$i")" c
	done
	is_disk "img.$maker" "img.$doer"
	"$top/tests/bitmaps" "img.$doer" "img.$maker" || fail "the bitmaps differ"
	"$top/tests/bitmaps" "img.$doer" >wanted
	[ "$(wc -l <wanted)" = 2 ] || fail "not two bitmaps"
	# Carried over by the one, from what the other made.
	case $name in
	*luks* | aes) return ;;
	esac
	by "$doer" convert --bitmaps -f qcow2 -O qcow2 "img.$maker" copy.plain
	"$top/tests/bitmaps" copy.plain >got
	same_text wanted got
	rm -f img.gild img.qemu-img ./*.ext
}

# (With both skip and count qemu-img counts from the start: test-dd.sh.)
verb_dd() {
	fresh img
	by "$doer" dd --image-opts -O raw bs=3k count=333 "if=$(spec img)" \
		of=got.raw
	dd if=x.raw bs=3k count=333 status=none of=model.raw
	same model.raw got.raw
	by "$doer" dd --image-opts -O qcow2 bs=64k skip=3 "if=$(spec img)" \
		of=copy.plain
	dd if=x.raw bs=64k skip=3 status=none of=model.raw
	is_disk model.raw copy.plain
}

# Which parts of a raw data file are holes is not asked by qemu-img for each of
# its own.
verb_measure() {
	local target
	fresh img
	for target in raw qcow2 'qcow2 -o cluster_size=512' \
		'qcow2 -o extended_l2=on' 'qcow2 -o preallocation=full'; do
		[ "$name" != raw-data ] || [ "$maker" = gild ] || break
		# shellcheck disable=SC2086 # words
		both_say measure --image-opts -O $target "$(spec img)"
	done
	# qemu-img forgets the reference counts of the LUKS header's clusters.
	case $name in
	luks | in-luks-512) return ;;
	esac
	both_say measure --size 5M -O qcow2 -o "$(options img)"
}

# To raw and back into an image that is there.
verb_convert() {
	fresh img
	by "$doer" convert --image-opts -O raw "$(spec img)" got.raw
	same x.raw got.raw
	by "$doer" convert -n --image-opts --target-image-opts \
		"$(spec other.raw)" "$(spec img)"
	is_disk other.raw img
}

# ------------------------------------------------------------------- runs --

size=$((4 * 1048576 + 1024))
truncate -s $size x.raw other.raw
seq 1 60000 | dd of=x.raw bs=64k seek=7 conv=notrunc status=none
put raw x.raw 'write -P 1 0 100k' 'write -P 2 2500k 200k' \
	"write -P 3 $((size - 512)) 512"
cp x.raw same.raw
put raw other.raw 'write -P 11 50k 1M' 'write -P 12 2M 300k' \
	"write -P 13 $((size - 2048)) 1k"
qemu-img convert -f raw -O qcow2 other.raw other.plain

number=0 skipped=0
# The steps share no factor with the cells of a kind: each cell is met by some.
chosen_cell() {
	number=$((number + 1))
	# shellcheck disable=SC2053 # a pattern
	[ -z "${GILD_MATRIX:-}" ] || { [[ $* = $GILD_MATRIX ]]; return; }
	case $level:$1 in
	fast:*) [ $((number % 13)) = 0 ] ;;
	normal:*luks*) [ $((number % 11)) = 0 ] ;;
	normal:*) [ $((number % 5 % 3)) = 0 ] ;;
	esac
}

while read -r name driver kind_options; do
	for verb in $verbs; do
		for maker in gild qemu-img; do
			doer=qemu-img
			[ $maker = gild ] || doer=gild
			chosen_cell "$name" "$verb" $maker || continue
			key=s
			about "$name $verb $maker"
			"verb_$verb"
			combinations=$((combinations + 1))
		done
	done
done < <(kinds)
echo "$((combinations - skipped)) combinations"
