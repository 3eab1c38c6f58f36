# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
#
# Samples: the commands of a row take turns, each after its own preparation,
# and what each took is a line of the log and of $work/samples:
#
#   ROW WHO RUN WALL USER SYSTEM RSS OTHERS STATUS
#
# WHO is qemu (default flags), best (its best flags), newer (a second peer),
# gild or limit. Run 0 warms up, and is not counted.

# shellcheck disable=SC2154 # variables of run

tell() {
	echo "bench: $*" >&2
}

die() {
	tell "$*"
	exit 1
}

# --- The measuring tools ----------------------------------------------------

# One small program: build_tool NAME LIBRARY...
build_tool() {
	local name=$1 source
	shift
	source="bench/$name.c"
	[ "$name" = sample ] || source+=' bench/limit.c'
	# shellcheck disable=SC2086 # words
	${CC:-gcc} -std=c11 -O2 -Wall -Wextra -D_GNU_SOURCE \
		-D_FILE_OFFSET_BITS=64 -I. -pthread -o "$tools/$name" $source "$@"
}

build_tools() {
	tools=$work/tools
	mkdir "$tools"
	build_tool sample
	build_tool make-tables
	build_tool limit-io
	build_tool limit-clones
	# shellcheck disable=SC2046 # words
	build_tool limit-codec $(pkg-config --cflags --libs zlib libzstd \
		libdeflate libisal)
}

# --- A quiet machine --------------------------------------------------------

load() {
	cut -d ' ' -f 1 /proc/loadavg
}

is_quiet() {
	awk '{exit $1 > 0.5}' /proc/loadavg
}

# Figures from a busy machine are noise. A build just before counts, too, so
# there is some time for the load to fall.
want_quiet() {
	local end=$((SECONDS + ${BENCH_WAIT:-180}))
	busy=
	if is_quiet || [ -n "$realtime" ]; then
		return
	fi
	[ -n "$force" ] || tell "load $(load): waiting until it is below 0.5"
	until is_quiet || [ -n "$force" ] || [ $SECONDS -ge $end ]; do
		sleep 5
	done
	is_quiet && return
	[ -n "$force" ] ||
		die "the machine is busy (load $(load)): nothing measured now" \
			"would be worth quoting (--force goes on nevertheless," \
			"--realtime with priority over the others)"
	busy=1
}

# --- The log ----------------------------------------------------------------

# json_string TEXT
json_string() {
	local text=${1//\\/\\\\}
	printf '"%s"' "${text//\"/\\\"}"
}

begin_log() {
	log=$1
	: >"$work/samples"
	: >"$work/sizes"
	printf '{"gild": %s, "qemu": %s, "kernel": %s, "cpu": %s, "cpus": %d, "load": %s, "realtime": %s, "runs": %d}\n' \
		"$(json_string "$("$gild" --version | head -n 1)")" \
		"$(json_string "$("$qemu" --version | head -n 1)")" \
		"$(json_string "$(uname -r)")" \
		"$(json_string "$(sed -n 's/^model name.*: //p' /proc/cpuinfo |
			head -n 1)")" "$(nproc)" "$(load)" \
		"$([ -z "$realtime" ] && echo false || echo true)" "$runs" \
		>"$log"
}

# log_sample WHO RUN WALL USER SYSTEM RSS OTHERS STATUS
log_sample() {
	echo "$row $*" >>"$work/samples"
	printf '{"row": "%s", "who": "%s", "run": %d, "wall": %s, "user": %s, "system": %s, "rss_kib": %d, "others": %s, "status": %d, "load": %s}\n' \
		"$row" "$@" "$(load)" >>"$log"
}

# --- A row ------------------------------------------------------------------

# row NAME TITLE [AIM [AIM2]]: the ratios that are asked for, against qemu's
# default and best flags.
row() {
	row=$1
	titles[$row]=$2
	aims[$row]=${3-}
	aims2[$row]=${4-}
	shown+=("$row")
	order=()
	turns=$runs
	place=$work
	verify=()
	setup=
	keep=
}

# before COMMAND...: not timed, once the place for the output is empty.
before() {
	setup=$(printf '%q ' "$@")
}

# who NAME COMMAND...: takes part in the row.
who() {
	order+=("$1")
	commands[$1]=$(printf '%q ' "${@:2}")
}

# both COMMAND...: qemu-img, with default flags, and gild do this.
both() {
	who qemu "$qemu" "$@"
	[ -z "$newer" ] || who newer "$newer" "$@"
	who gild "$gild" "$@"
}

# all_convert ARGS...: with qemu-img's best flags as well.
all_convert() {
	who qemu "$qemu" convert "$@"
	who best "$qemu" convert -W -m 16 "$@"
	[ -z "$newer" ] || who newer "$newer" convert -W -m 16 "$@"
	who gild "$gild" convert "$@"
}

# limit WORDS TOOL ARGS...
limit() {
	limits[$row]=$1
	order+=(limit)
	commands[limit]=$(printf '%q ' "$tools/$2" "${@:3}")
}

# limit_command WORDS COMMAND...: a limit that is a command of the system.
limit_command() {
	limits[$row]=$1
	who limit-command "${@:2}"
}

# Room for the output: empty, and nothing left to be written back. A row may
# keep the old output elsewhere until its end.
prepare() {
	if [ -n "$keep" ] && [ -d "$place/out" ]; then
		mkdir -p "$place/old"
		mv "$place/out" "$(mktemp -d "$place/old/XXXXXX")"
	fi
	rm -rf "$place/out"
	mkdir "$place/out"
	[ -z "$setup" ] || eval "$setup" >/dev/null
	sync -f "$place"
	[ "$place" = "$work" ] || sync -f "$work"
}

# What the first run made: how large is it, and is it right?
inspect() {
	local made=("$place"/out/*)
	[ "$1" != limit ] && [ -f "${made[0]}" ] || return 0
	echo "$row $1 $(stat -c %s "${made[0]}")" \
		"$(du --block-size=1 "${made[0]}" | cut -f 1)" >>"$work/sizes"
	[ "$1" = gild ] && [ ${#verify[@]} -gt 0 ] || return 0
	"${verify[@]}" >&2 || die "$row: what gild made is not right"
}

# one WHO RUN
one() {
	local result status
	prepare
	case $1 in
	limit) result=$(eval "$realtime ${commands[limit]}") ;;
	*) result=$(eval "$realtime $tools/sample ${commands[$1]}") ;;
	esac
	status=${result##* }
	[ "$status" = 0 ] || die "$row: $1 ended with status $status"
	# shellcheck disable=SC2086 # words
	log_sample "${1%-command}" "$2" $result
	[ "$2" != 0 ] || inspect "$1"
}

# All take their turn in each run.
measure() {
	local run name
	tell "${titles[$row]}"
	for ((run = 0; run <= turns; run++)); do
		for name in "${order[@]}"; do
			one "$name" "$run"
		done
	done
	rm -rf "$place/out" "$place/old"
}

declare -A titles aims aims2 limits commands
shown=()
