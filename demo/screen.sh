# shellcheck shell=bash
#
# screen.sh
#	The moving table of demo/run.  To be sourced.
#
# On a terminal the table is drawn over itself; elsewhere each sample is a
# line.  A sample is a line of fields separated by tabs, as sample.sql gives
# them, or empty while the server does not answer.

SCREEN_TTY='' SCREEN_ROWS=0 SCREEN_TOTAL=0 SCREEN_SAMPLES=0
SCREEN_STORY=()
SCREEN_FIELDS=(starting 0 0 0 0 0 0 '')
SCREEN_THEN=0 SCREEN_RATE_IN=0 SCREEN_RATE_OUT=0

# screen_begin SECONDS
screen_begin()
{
	SCREEN_TOTAL=$1
	[ -t 1 ] && [ "${TERM:-dumb}" != dumb ] && SCREEN_TTY=yes
	say
	if [ -n "$SCREEN_TTY" ]; then
		printf '\e[?25l\e[?7l'
	else
		printf '%5s  %-10s %5s %9s %9s %9s %8s %8s %6s\n' time state lanes \
			inserted forwarded 'in flight' pending rows/s 'lag s'
	fi
}

screen_end()
{
	[ -n "$SCREEN_TTY" ] && printf '\e[?25h\e[?7h'
	[ "$SCREEN_TOTAL" -gt 0 ] && say
	SCREEN_TTY='' SCREEN_TOTAL=0
	return 0
}

screen_wait()
{
	if [ -n "$SCREEN_TTY" ]; then sleep 0.4; else sleep 0.9; fi
}

# screen_tell TEXT: something happens.
screen_tell()
{
	SCREEN_STORY+=("$(printf '%4ss' "$((SECONDS - START))")  $1")
	[ -n "$SCREEN_TTY" ] || say "       $1"
}

# screen_show SECOND SAMPLE
screen_show()
{
	take_sample "$2"
	if [ -n "$SCREEN_TTY" ]; then draw "$1"; else print_line "$1"; fi
}

# Rates are over the time since the sample before.
take_sample()
{
	local fields=() now elapsed

	now=$((${EPOCHREALTIME/[.,]/} / 1000))
	elapsed=$((now - SCREEN_THEN))
	IFS=$'\t' read -r -a fields <<<"$1"
	SCREEN_RATE_IN=0 SCREEN_RATE_OUT=0
	if [ ${#fields[@]} -lt 7 ]; then
		SCREEN_FIELDS[0]=restarting
		SCREEN_FIELDS[1]=0
		return
	fi
	if [ $SCREEN_SAMPLES -gt 0 ] && [ $elapsed -gt 0 ]; then
		SCREEN_RATE_IN=$(((fields[2] - SCREEN_FIELDS[2]) * 1000 / elapsed))
		SCREEN_RATE_OUT=$(((fields[3] - SCREEN_FIELDS[3]) * 1000 / elapsed))
	fi
	SCREEN_FIELDS=("${fields[@]}")
	SCREEN_THEN=$now
	SCREEN_SAMPLES=$((SCREEN_SAMPLES + 1))
}

print_line()
{
	local f=("${SCREEN_FIELDS[@]}")

	printf '%4ss  %-10s %5s %9s %9s %9s %8s %8s %6s\n' "$1" "${f[0]}" \
		"${f[1]}" "${f[2]}" "${f[3]}" "${f[4]}" "${f[5]}" "$SCREEN_RATE_OUT" \
		"${f[6]}"
}

draw()
{
	local text

	text=$(table "$1")
	[ $SCREEN_ROWS -gt 0 ] && printf '\e[%dA\e[J' $SCREEN_ROWS
	SCREEN_ROWS=$(wc -l <<<"$text")
	printf '%s\n' "$text"
}

table()
{
	local f=("${SCREEN_FIELDS[@]}") line rule

	rule=$(printf '%64s' '' | tr ' ' -)
	say "app --> warehouse (postgresql)             second $1 of $SCREEN_TOTAL"
	say "$rule"
	printf '%-12s %10s   %s\n' state "${f[0]}" "${f[1]} lanes"
	printf '%-12s %10s   %6s rows/s  %s\n' inserted "${f[2]}" \
		"$SCREEN_RATE_IN" "$(bar "$SCREEN_RATE_IN" "$RATE")"
	printf '%-12s %10s   %6s rows/s  %s\n' forwarded "${f[3]}" \
		"$SCREEN_RATE_OUT" "$(bar "$SCREEN_RATE_OUT" "$RATE")"
	printf '%-12s %10s\n' 'in flight' "${f[4]}"
	printf '%-12s %10s   %13s  %s\n' pending "${f[5]}" '' \
		"$(bar "${f[5]}" "$RATE")"
	printf '%-12s %9ss\n' lag "${f[6]}"
	printf '%-12s %s\n' error "${f[7]:-none}"
	say "$rule"
	for line in ${SCREEN_STORY[@]+"${SCREEN_STORY[@]}"}; do
		say "$line"
	done
}

# bar VALUE UNIT: ten characters for UNIT, thirty at most.
bar()
{
	local length=$(($1 * 10 / $2))

	[ $length -gt 30 ] && length=30
	[ $length -gt 0 ] && printf '%*s' $length '' | tr ' ' '#'
}

# show_totals LEDGER STORE [CLICKHOUSE]: the files side by side, joined by their
# first fields, with what only one of them has.
show_totals()
{
	awk -F '\t' '
		FNR == 1 { side++ }
		!($1 in known) { known[$1] = 1; key[n++] = $1 }
		{ row[side, $1] = $0 }
		function put(text,	v) {
			if (text == "") text = "\t0\t0\t0"
			split(text, v, "\t")
			printf " %7s %10s %12s", v[2], v[3], v[4]
		}
		END {
			title[1] = "app (the ledger)"
			title[2] = "store"
			title[3] = "ClickHouse"
			printf "%-14s", ""
			for (s = 1; s <= side; s++)
				printf "| %-31s ", title[s]
			printf "\n%-14s", "model"
			for (s = 1; s <= side; s++)
				printf "| %7s %10s %12s", "calls", "tokens", "cost"
			print ""
			for (i = 0; i < n; i++) {
				differs = ""
				printf "%-14s", key[i]
				for (s = 1; s <= side; s++) {
					printf "|"
					put(row[s, key[i]])
					if (row[s, key[i]] != row[1, key[i]])
						differs = "  <-- differs"
				}
				print differs
			}
			print ""
		}' "$@"
}
