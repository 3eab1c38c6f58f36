# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
#
# The tables, from $work/samples: medians, ratios of medians.

# shellcheck disable=SC2154 # variables of run

# median ROW WHO COLUMN [COLUMN]: of the counted samples, columns added up;
# nothing when there are none. Columns as samples.sh lists them.
median() {
	awk -v row="$1" -v who="$2" -v a="$3" -v b="${4:-0}" \
		'$1 == row && $2 == who && $3 > 0 {print $a + (b ? $b : 0)}' \
		"$work/samples" | sort -g | awk '{v[NR] = $1} END {
			if (NR % 2) print v[(NR + 1) / 2]
			else if (NR) print (v[NR / 2] + v[NR / 2 + 1]) / 2}'
}

# seconds VALUE: three digits that count; - when there is none.
seconds() {
	awk -v v="$1" 'BEGIN {
		if (v == "") print "-"
		else if (v >= 1) printf "%.2f\n", v
		else if (v >= 0.1) printf "%.3f\n", v
		else printf "%.4f\n", v}'
}

# ratio PEER GILD
ratio() {
	awk -v a="$1" -v b="$2" 'BEGIN {
		if (a == "" || b == "" || b <= 0) print "-"
		else printf(a / b < 10 ? "%.2fx\n" : "%.1fx\n", a / b)}'
}

# mark RATIO AIM: does the ratio fall short?
mark() {
	[ -n "$busy" ] || awk -v r="${1%x}" -v aim="$2" 'BEGIN {
		if (r != "-" && aim != "" && r + 0 < aim + 0) print " <"}'
}

# One line of a table of times; the columns to add up are arguments.
time_line() {
	local row=$1 q b n g l first second aim='' note
	shift
	q=$(median "$row" qemu "$@") b=$(median "$row" best "$@")
	n=$(median "$row" newer "$@") g=$(median "$row" gild "$@")
	l=$(median "$row" limit "$@")
	first=$(ratio "$q" "$g") second=$(ratio "$b" "$g")
	if [ "$*" = 4 ]; then
		aim=${aims[$row]}${aims2[$row]:+ / ${aims2[$row]}}
		note=$(mark "$first" "${aims[$row]}")
		[ -n "$note" ] || note=$(mark "$second" "${aims2[$row]}")
	fi
	printf '%-32s %8s %8s %8s %8s  %7s %7s  %-11s %8s %s\n' \
		"${titles[$row]}" "$(seconds "$q")" "$(seconds "$b")" \
		"$(seconds "$n")" "$(seconds "$g")" "$first" "$second" \
		"$aim${note-}" "$(seconds "$l")" "${limits[$row]-}"
}

# time_table TITLE COLUMN...
time_table() {
	local row title=$1
	shift
	printf '\n%-32s %8s %8s %8s %8s  %7s %7s  %-11s %8s\n' "$title" \
		qemu-img '-W -m16' newer gild ratio ratio \
		"$([ "$*" != 4 ] || echo 'at least')" limit
	for row in "${shown[@]}"; do
		time_line "$row" "$@"
	done
}

size_of() {
	awk -v row="$1" -v who="$2" '$1 == row && $2 == who {print $3}' \
		"$work/sizes"
}

size_table() {
	local row q g
	printf '\n%-32s %14s %14s  %7s\n' 'Size of the result, bytes' \
		qemu-img gild ratio
	for row in "${shown[@]}"; do
		[[ $row == pack_* || $row == clone ]] || continue
		q=$(size_of "$row" qemu) g=$(size_of "$row" gild)
		printf '%-32s %14s %14s  %7s\n' "${titles[$row]}" "$q" "$g" \
			"$(awk -v a="$g" -v b="$q" 'BEGIN {printf "%.4f", a / b}')"
	done
}

# The largest of all samples of a row, KiB.
peak() {
	awk -v row="$1" -v who="$2" '$1 == row && $2 == who && $7 > m {m = $7}
		END {if (m) printf "%.1f\n", m / 1024; else print "-"}' \
		"$work/samples"
}

memory_table() {
	local row limit=$((64 * $(nproc)))
	printf '\n%-32s %8s %8s %8s   (at most 64 MiB a core: %d)\n' \
		'Peak memory, MiB' qemu-img '-W -m16' gild $limit
	for row in "${shown[@]}" "${memory_rows[@]}"; do
		case $row in
		pack_* | unpack_* | copy_* | back_* | memory_*)
			printf '%-32s %8s %8s %8s\n' "${titles[$row]}" \
				"$(peak "$row" qemu)" "$(peak "$row" best)" \
				"$(peak "$row" gild)"
			;;
		esac
	done
}

# How much of the machine was somebody else's during the samples, percent.
others() {
	awk -v cpus="$(nproc)" '$3 > 0 {o += $8; w += $4}
		END {if (w) printf "%.0f", 100 * o / (w * cpus)}' "$work/samples"
}

print_tables() {
	printf '\n%s beside %s, %d processors, medians of %d\n' \
		"$("$gild" --version | head -n 1)" \
		"$("$qemu" --version | head -n 1)" "$(nproc)" "$runs"
	[ -z "$newer" ] || "$newer" --version | sed -n '1s/^/newer: /p'
	printf 'input: %s, %d bytes of data\n' "$(basename "$raw")" \
		"$(du --block-size=1 "$raw" | cut -f 1)"
	time_table 'Seconds' 4
	time_table 'Processor seconds' 5 6
	size_table
	memory_table
	printf '\nOther processes and write-back took %s %% of the processors.\n' \
		"$(others)"
	[ -z "$realtime" ] || echo 'The samples had real-time priority.'
	[ -z "$busy" ] ||
		echo 'The machine was busy from the start: do not quote these figures.'
	echo "All samples: $log"
}
