#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# The manual pages say what the command does: every option of a verb's table
# has an item, no item lacks an option, the synopsis is that of --help, every
# verb has a page, and each page has its sections.

# shellcheck source=tests/lib.sh
. "${BASH_SOURCE%/*}/../tests/lib.sh"

pages=$top/tools

# The options that a page tells of, as --list-options prints them. Of an item
# "B<-f>, B<--format>=FMT" the argument belongs to both; where the long name
# stands twice, the argument may be left out, and the letter has none.
page_options() {
	section "$1" OPTIONS | sed -n 's/^=item \(B<-\)/\1/p' |
		sed -E 's/, B</ B</g; s/>[ =][^ B]+/>=/g; s/B<([^>]*)>/\1/g' |
		awk '{
			last = $NF
			if (NF == 3)
				takes = ""
			else
				takes = last ~ /=$/ ? "=" : ""
			for (i = 1; i <= NF; i++)
				print $i ($i ~ /^-[^-]$/ ? takes : "")
		}' | sort
}

# What stands under a heading.
section() {
	awk -v want="=head1 $2" '/^=head1 / {on = $0 == want; next} on' "$1"
}

# Words of a synopsis, whatever the line breaks.
words() {
	tr -s ' ' '\n' | sed '/^$/d'
}

verbs=$(gild --list-options | grep -v '^-')
[ "$(wc -w <<<"$verbs")" -ge 8 ] || fail "verbs are missing: $verbs"

for verb in $verbs; do
	page=$pages/gild-$verb.pod
	[ -f "$page" ] || fail "gild $verb has no page"

	gild "$verb" --list-options | sort >options
	page_options "$page" >told
	same_text options told

	gild "$verb" --help >help
	sed -n '/^Options:/,/^$/p' help | grep -oE '^ +(-[A-Za-z])?(, )?(--[a-z-]+)?' |
		grep -oE -e '--?[A-Za-z-]+' | sort -u >shown
	sed 's/=$//' options | sort -u >wanted
	same_text wanted shown

	sed '/^$/,$d; s/^Usage: //' help | words >wanted
	section "$page" SYNOPSIS | words >told
	same_text wanted told

	for name in NAME SYNOPSIS DESCRIPTION EXAMPLES OPTIONS 'EXIT STATUS' \
		'SEE ALSO'; do
		[ -n "$(section "$page" "$name")" ] || fail "$page: no $name"
	done
	section "$page" NAME | grep -q "^gild-$verb - " || fail "$page: NAME"
	grep -qF "L<gild-$verb(1)>" "$pages/gild.pod" ||
		fail "gild.pod does not mention $verb"
	# The example of --help is in the page.
	sed '1,/^Example:/d; s/^ *//' help | while read -r line; do
		grep -qF -e "${line%%|*}" "$page" ||
			fail "$page lacks the example of --help: $line"
	done
	awk 'length > 80 {exit 1}' help || fail "gild $verb --help: a long line"
done

for page in "$pages"/*.pod; do
	verb=$(basename "$page" .pod)
	[ "$verb" = gild ] || grep -qx "${verb#gild-}" <<<"$verbs" ||
		fail "$page: there is no such verb"
done

requires "podchecker --help || command -v podchecker"
podchecker "$pages"/*.pod 2>pod || { cat pod; fail "podchecker"; }
