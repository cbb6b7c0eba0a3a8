# SPDX-License-Identifier: GPL-2.0-or-later
# What the lint tests share: the list of the project's files, and TAP.
# shellcheck shell=sh disable=SC2034

top=${MERLON_TOP_SRCDIR:-$(cd "$(dirname "$0")/../.." && pwd)}

# Every file that is the project's own, relative to the top: what git would keep, or what an unpacked release holds.
project_files() {
	if [ -e "$1/.git" ] && git -C "$1" rev-parse >/dev/null 2>&1; then
		(cd "$1" && git ls-files --cached --others --exclude-standard | while read -r f; do
			[ ! -f "$f" ] || echo "$f"
		done)
	else
		(cd "$1" && find . \( -name .git -o -name build-aux -o -name autom4te.cache -o -name '_*' -o -name 'build*' -type d \) -prune -o \
			-type f ! -name configure ! -name aclocal.m4 ! -name Makefile.in ! -name config.h.in ! -name '*~' \
			! -name .tarball-version -print | sed 's|^\./||' | sort)
	fi
}

# The project's shell scripts, by their first line.
project_scripts() {
	project_files "$1" | while read -r f; do
		case $(head -c 64 "$1/$f" | head -n 1 | tr -d '\0') in
		'#!'*sh | '#!'*'sh '*) echo "$f" ;;
		*) case $f in tools/lib/*.sh | tests/*/lib*.sh) echo "$f" ;; esac ;;
		esac
	done
}

skip_all() {
	echo "1..0 # SKIP $*"
	exit 0
}
[ -e "$top/.git" ] || skip_all "lints are about the repository, not about a release"

# verdict NUMBER NAME FINDINGS: passes if there are no findings, else shows them.
verdict() {
	if [ -z "$3" ]; then
		echo "ok $1 - $2"
	else
		echo "not ok $1 - $2"
		printf '%s\n' "$3" | sed 's/^/# /'
	fi
}

# found NUMBER NAME FINDINGS: the other way round, for the checks of the checks.
found() {
	if [ -n "$3" ]; then echo "ok $1 - $2"; else echo "not ok $1 - $2"; fi
}
