#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# doc/operations.md says what there is: it is what scripts/operations prints now,
# each example of what is said to be there works, or is at least understood, what
# is said not to be there is refused, and whatever the help of a real qemu-img
# (PEER, else the one in PATH) names is in the list.

# shellcheck source=tests/lib.sh
. "${BASH_SOURCE%/*}/../tests/lib.sh"
PEER=${PEER:-$(type -P qemu-img || :)}
mkdir bin
ln -s "$GILD" bin/qemu-img

"$top/scripts/operations" >page || fail "scripts/operations"
same_text "$top/doc/operations.md" page
"$top/scripts/operations" --records >records
[ "$(grep -c ';yes;' records)" -gt 200 ] || fail "few options"
! grep -E ';no;$' records || fail "a no without a reason"

# What misses its reason ends the script, and is named.
sed "s/\['info --limits'\]=.*//; s|^cd .*|cd '$top'|" "$top/scripts/operations" >broken
run bash broken
expect 1
expect_err 'option info --limits: not there, and no reason'

# ------------------------------------------------------------ is it taken? --
# An option alone: what is missed then is an operand, or a file.
understood='Expecting|[Mm]ust specify|Not enough|No such file|Need at least one|only supported with|requires? |needs |exactly one|is only available|--object|cannot be used|Could not open|must be specified'

try_option() {
	local verb=$1 option=$2 value=$3 has=$4 words
	case $option in
	--*) words=("$option${value:+=$value}") ;;
	-*) words=("$option" ${value:+"$value"}) ;;
	*) words=("$option=$value") ;;
	esac
	# Its last word is the size, whatever is before.
	[ "$verb" != resize ] || words+=(nosuch 1M)
	run bin/qemu-img "$verb" "${words[@]}"
	if [ "$has" = no ]; then
		expect 1
		grep -qE "(unrecognized|invalid) option" "$err" ||
			{ show; fail "qemu-img $verb ${words[*]} is taken"; }
		return
	fi
	! grep -qE '(unrecognized|invalid) (option|operand)|an argument|[Ii]nvalid' \
		"$err" || { show; fail "qemu-img $verb ${words[*]}"; }
	[ "$status" = 0 ] || grep -qE "$understood" "$err" ||
		{ show; fail "qemu-img $verb ${words[*]}"; }
}

secrets=(--object 'secret,id=s,data=one' --object 'secret,id=t,data=two')

try_create() {
	local format=$1 options=$2 has=$3 size=(1M)
	rm -f d b new
	[[ $options != *size=1M* ]] || size=()
	truncate -s 1M b
	[ "$format" != luks ] || options+=,key-secret=s,iter-time=10
	run bin/qemu-img create -q -f "$format" "${secrets[@]}" -o "$options" \
		new "${size[@]}"
	if [ "$has" = yes ]; then
		expect 0
		run bin/qemu-img info -f "$format" new
		expect 0
	else
		expect 1
		expect_err 'Invalid parameter'
	fi
}

# What can be amended depends on what is there.
try_amend() {
	local format=$1 options=$2 made=compat=1.1
	rm -f d b new
	truncate -s 1M b
	case $format\ $options in
	luks*) made=key-secret=s,iter-time=10 ;;
	*encrypt.*) made=encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10 ;;
	*\ data_file=*) made=data_file=c ;;
	*\ data_file_raw=*) made=data_file=c,data_file_raw=on ;;
	*backing*) made=backing_file=b,backing_fmt=raw ;;
	esac
	bin/qemu-img create -q -f "$format" "${secrets[@]}" -o $made new 1M
	[[ $options != *state=inactive* ]] ||
		bin/qemu-img amend "${secrets[@]}" \
			-o "$(key_slot_1 "$format")" \
			--image-opts "$(spec_of "$format")"
	if [[ $options == *state=* ]]; then
		run bin/qemu-img amend "${secrets[@]}" -o "$options" \
			--image-opts "$(spec_of "$format")"
	else
		run bin/qemu-img amend -f "$format" "${secrets[@]}" \
			-o "$options" new
	fi
	expect 0
}

key_slot_1() {
	local prefix=encrypt.
	[ "$1" != luks ] || prefix=
	echo "${prefix}state=active,${prefix}keyslot=1,${prefix}new-secret=t,${prefix}iter-time=10"
}

spec_of() {
	if [ "$1" = luks ]; then
		echo driver=luks,key-secret=s,file.filename=new
	else
		echo driver=qcow2,encrypt.key-secret=s,file.filename=new
	fi
}

while IFS=';' read -r kind group names example has _; do
	case $kind in
	option)
		for name in ${names//|/ }; do
			try_option "$group" "$name" "$example" "$has"
		done
		;;
	create) [ -z "$example" ] || try_create "$group" "$example" "$has" ;;
	amend) try_amend "$group" "$example" ;;
	esac
done <records

# --------------------------------------------------- is anything forgotten? --
requires "$PEER --version"

# The options of each verb, "VERB OPTION" a line, as the peer's help has them:
# the help of the verb itself since 10.1, before that a line of the common one.
verbs=$(sed -n 's/^option;\([a-z]*\);.*/\1/p' records | uniq)
"$PEER" --help | sed -n 's/^  \([a-z]*\) \(- \|\[\|(\).*/\1/p' >help
[ "$(wc -l <help)" -ge 15 ] || fail "few verbs are read from the help"
while read -r verb; do
	[[ $'\n'$verbs$'\n' == *$'\n'$verb$'\n'* ]] || fail "not listed: $verb"
done <help
for verb in $verbs; do
	"$PEER" "$verb" --help >help 2>&1 || "$PEER" --help >help
	if grep -q '^Arguments:' help; then
		# "-f, --format FMT"; the help of amend cuts a word short.
		sed -n '/^Arguments:/,$s/^  \(-[^A-Z]*\).*/\1/p; s/^  \([a-z]*=\).*/\1/p' help |
			grep -oE -- '(^| )(--?[A-Za-z-]+|[a-z]+=)' |
			sed 's/--progres$/--progress/'
	else
		sed -n "s/^  $verb //p" help |
			grep -oE -- '(^|[][ (|])(--?[A-Za-z-]+|[a-z]+=)'
	fi | tr -d '[]( |=' | sed "s/^/$verb /"
done | sort -u >asked
[ "$(wc -l <asked)" -gt 110 ] || fail "little is read from the help"

awk -F';' '$1 == "option" {
	n = split($3, names, "|")
	for (i = 1; i <= n; i++)
		print $2, names[i]
}' records | sort -u >listed
[ -z "$(comm -23 asked listed)" ] || fail "not listed: $(comm -23 asked listed)"

# Options of formats, and the formats themselves.
for format in raw qcow2 luks; do
	"$PEER" create -f $format -o help x | sed -n "s/^  \([^=]*\)=.*/create;$format;\1/p"
	{ "$PEER" amend -f $format -o help || :; } 2>/dev/null |
		sed -n "s/^  \([^=]*\)=.*/amend;$format;\1/p"
done | sort -u >asked
"$PEER" --help | sed -n '/^Supported .*formats:/,/^See /{/^See /d; s/^Supported.*formats://; p}' |
	tr -s ' ' '\n' | sed '/^$/d; s/^/format;/' >formats
[ $(($(wc -l <asked) > 40 && $(wc -l <formats) > 20)) = 1 ] ||
	fail "little is read from the help"
awk -F';' '{print $1 ";" $2 ";" $3}' records | sort -u >listed
[ -z "$(comm -23 asked listed)" ] || fail "not listed: $(comm -23 asked listed)"
sed -n 's/;;yes;of gild alone$//p' records | sort >alone
[ -z "$(comm -12 asked alone)" ] || fail "of both: $(comm -12 asked alone)"
sed -n 's/^format;[a-z]*;/format;/p' listed | sort -u >listed.formats
sort -u formats | comm -23 - listed.formats >missing
[ ! -s missing ] || fail "not listed: $(cat missing)"
