# SPDX-License-Identifier: GPL-2.0-or-later
# For tests that run programs: test points in TAP, and a directory that goes with the test. Sets n, status and work.
# shellcheck shell=bash
n=0 status=0
work=$(mktemp -d) || exit 99
trap 'rm -rf "$work"' EXIT

# check NAME COMMAND...: a test point; what the command said explains a failure, and its line "figure: ..." goes with the name.
check() {
	local name=$1
	shift
	n=$((n + 1))
	if "$@" >"$work/said" 2>&1; then
		echo "ok $n - $name$(sed -n 's/^figure: /: /p' "$work/said")"
	else
		status=1
		sed 's/^/# /' "$work/said"
		echo "not ok $n - $name"
	fi
}

# The last line of the test.
finish() {
	echo "1..$n"
	exit "$status"
}
