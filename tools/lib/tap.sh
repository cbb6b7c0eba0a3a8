# SPDX-License-Identifier: GPL-2.0-or-later
# What a suite's log says: test points in TAP, automake's summary, or nothing but an exit status.
# shellcheck shell=bash

# tap_count STATUS <LOG: prints "PASSED FAILED SKIPPED". Of automake's output only the summary counts, which already
# holds every test point; missing points of a plan are failures, and so is a bad status that no point explains.
tap_count() {
	awk -v status="$1" '
		/^# (TOTAL|PASS|SKIP|XFAIL|FAIL|XPASS|ERROR): +[0-9]+$/ { sum[substr($2, 1, length($2) - 1)] = $3; automake = 1 }
		/^1\.\.0/ { all_skipped++ }
		/^1\.\.[1-9]/ { split($1, plan, /\.\./); planned += plan[2] }
		/^(ok|not ok)( |$)/ {
			if (/^not ok - left behind: /) leaks++
			else {
				points++
				if (/# SKIP/) s++
				else if (/^ok/) p++
				else f++
			}
		}
		END {
			if (automake) {
				p = sum["PASS"] + sum["XFAIL"]
				f = sum["FAIL"] + sum["ERROR"] + sum["XPASS"]
				s = sum["SKIP"]
			} else if (points || planned || all_skipped) {
				s += all_skipped
				if (planned > points) f += planned - points
			} else if (status == 0) p = 1
			else if (status == 77) s = 1
			if ((status != 0 && status != 77 || !p && !s) && !f) f = 1
			print p + 0, f + leaks + 0, s + 0
		}'
}

# Why all of a suite was skipped.
tap_reason() {
	awk '/# SKIP/ { sub(/.*# SKIP */, ""); print; found = 1; exit } { last = $0 } END { if (!found) print last }'
}

# tap_failures STATUS LOG: the failed points, then the end of the log.
tap_failures() {
	[ "$1" = 0 ] || echo "exit status $1$([ "$1" != 124 ] || echo ' (timeout)')"
	grep -aE '^(not ok|FAIL:|ERROR:)' "$2" | grep -v '# SKIP' | head -n 30
	echo "the end of $2:"
	tail -n "${MERLON_TAIL:-30}" "$2"
}
