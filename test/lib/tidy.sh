# shellcheck shell=bash
#
# tidy.sh
#	clang-tidy over every C file of the core and its backends, with the checks
#	of .clang-tidy.  To be sourced by test/run.
#
# What it needs to know about each file is what make would compile it with.

part_tidy()
{
	local list=$WORK/tidy

	provide optional clang-tidy have clang-tidy
	if ! have clang-tidy; then
		skip tidy "no clang-tidy"
		return
	fi
	compile_commands "$WORK/tree" >"$list"
	tidy_files "$list" "$@"
}

# tidy_files LIST [NAME...]: one test for each file of the list, or of the names
# given, such as backends/common/tl_http.
tidy_files()
{
	local list=$1 directory file flags name seen=
	local -a words

	shift
	while IFS=$'\t' read -r directory file flags; do
		[[ "$file" = /* ]] && name=$file || name=$directory/$file
		name=$(realpath -s -m "$name")
		name=${name#"$WORK/tree/"}
		[ $# -eq 0 ] || [[ " $* " = *" ${name%.c} "* ]] || continue
		[[ "$seen" = *" $name "* ]] && continue
		seen+=" $name "
		eval "words=($flags)"
		judge "tidy/${name%.c}" "$WORK/log/tidy" bash -c 'cd "$1" && shift &&
			clang-tidy --quiet "$@"' - "$directory" "$file" -- "${words[@]}"
	done <"$list"
}

# One line for each file that make compiles in TREE: the directory where it does
# so, the file, and the compiler's options that clang-tidy has to know.
# Generated files are not ours.
compile_commands()
{
	make -s -C "$1" -n -B -w 2>/dev/null |
		awk -v directory="$1" '
			/^make(\[[0-9]+\])?: Entering directory / {
				split($0, part, "\x27")
				stack[++depth] = directory = part[2]
			}
			/^make(\[[0-9]+\])?: Leaving directory / { directory = stack[--depth] }
			/ -c / && match($0, /[^ ]+\.c( |$)/) {
				file = substr($0, RSTART, RLENGTH)
				sub(/ $/, "", file)
				sub(directory "/", "", file)
				flags = ""
				for (i = 1; i <= NF; i++)
					if ($i ~ /^-[ID]/ && $i !~ /FORTIFY/)
						flags = flags " " $i
				if (file !~ /\.pb-c\.c$/ && !seen[directory, file]++)
					printf "%s\t%s\t%s\n", directory, file, flags
			}' | sort -u
}
