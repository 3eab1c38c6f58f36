#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# What the shell offers when Tab is pressed, for some command lines.

# shellcheck source=tests/lib.sh
. "${BASH_SOURCE%/*}/../tests/lib.sh"

compopt() { :; }	# there is no line editor here
# shellcheck source=tools/gild.bash-completion
. "$top/tools/gild.bash-completion"

# offers "WORD|WORD|..." WANTED...: all of WANTED is among the completions of
# the last word, where words are what bash makes of the line. "-": nothing is.
offers() {
	local line=$1 wanted
	shift
	IFS='|' read -r -a COMP_WORDS <<<"$line|"
	COMP_WORDS[0]=${GILD:?}
	COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
	COMPREPLY=()
	_gild "${GILD:?}" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}" || :
	if [ "$1" = - ]; then
		[ ${#COMPREPLY[@]} = 0 ] || fail "$line: ${COMPREPLY[*]}"
		return
	fi
	for wanted; do
		[[ " ${COMPREPLY[*]} " == *" $wanted "* ]] ||
			fail "$line: '$wanted' is not among: ${COMPREPLY[*]}"
	done
}

offers 'gild|co' compare convert
offers 'gild|--v' --version
offers 'gild|info|--' --format= --backing-chain --output= --help
offers 'gild|info|--output|=' human json
offers 'gild|info|--output|=|j' json
offers 'gild|info|--output|h' human
offers 'gild|convert|-O|q' qcow2
offers 'gild|convert|-t|w' writeback writethrough
offers 'gild|convert|--progress|=|' json
offers 'gild|convert|--progress|' -
offers 'gild|check|-r|' leaks all
offers 'gild|create|-f|qcow2|-o|clu' cluster_size=
offers 'gild|create|-f|qcow2|-o|cluster_size|=|4k,la' 4k,lazy_refcounts=
offers 'gild|create|--format|=|qcow2|--options|=|ref' refcount_bits=
offers 'gild|create|-f|raw|-o|' preallocation=
offers 'gild|amend|-o|en' encrypt.state= encrypt.keyslot=
offers 'gild|amend|-f|luks|-o|' new-secret=
offers 'gild|convert|-m|' -
offers 'gild|info|dis' -
offers 'gild|nosuch|-' -

# Every option that a verb has is offered.
for verb in $("$GILD" --list-options | grep -v '^-'); do
	mapfile -t options < <("$GILD" "$verb" --list-options)
	offers "gild|$verb|-" "${options[@]}"
done
offers 'gild|dd|' bs= count= if= of= skip=
offers 'gild|dd|bs|=|1|s' skip=
offers 'gild|dd|if|=|x' -
offers 'gild|bench|-i|n' native
offers 'gild|bench|-o|' -
