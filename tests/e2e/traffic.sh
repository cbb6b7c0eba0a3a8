#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# tools/traffic: each kind passes and merlon saw it, its rules decide, and nothing is left behind, however it ends.
set -u
top=${MERLON_TOP_SRCDIR:?} build=${MERLON_TOP_BUILDDIR:?}
# shellcheck source=tests/lib/points.sh
. "$top/tests/lib/points.sh"
trap 'exit 1' HUP INT TERM
traffic() { python3 -B "$top/tools/lib/traffic.py" --build "$build" "$@"; }
export TMPDIR=$work
# says FILTER ARGUMENT...: what jq says of the lines
says() {
	local filter=$1
	shift
	traffic --json "$@" >"$work/lines" && jq -es "$filter" "$work/lines" >/dev/null || { cat "$work/lines"; return 1; }
}
gone() { ! ip netns | grep merlon-bench && ! pgrep -f "merlond.*merlon-traffic" && ! ls -d "$work"/merlon-traffic.* 2>/dev/null; }

check "all kinds to the host, and merlon sees them" says '
	[.[].kind] == ["ping", "http", "iperf3", "flood", "mix"] and all(.[].merlon; .packets > 100 and .hit_rate_pct > 0)
	and (.[3].merlon | .packets >= 20000 and .new_sessions >= 500) and (.[4].merlon | .drops >= 3 and .new_sessions >= 20)' \
	--merlon --seconds 1 --scale 0.01 --packets 20000 --flows 500 ping http iperf3 flood mix
check "SYNs through it, by hping3 and by the generator" says 'all(.[].merlon; .new_sessions > 900)' \
	--merlon --through --seconds 1 --packets 1000 --flows 1000 --proto syn hping3 flood
printf 'table ip t {\n\tchain c {\n\t\ttype filter hook input priority 0; policy accept;\n\t\tudp dport 7000 drop\n\t}\n}\n' >"$work/rules"
check "live frames at its interface, at a rate, and a ruleset of one's own" says '.[0].merlon.drops == 2000' \
	--ruleset "$work/rules" --live --packets 2000 --pps 2000 flood
printf 'table ip t {\n\tchain c {\n\t\ttype filter hook input priority 0; policy drop;\n\t}\n}\n' >"$work/drop"
denied() { # FILTER
	traffic --json --ruleset "$work/drop" --seconds 1 ping hping3 >"$work/lines" && return 1
	jq -es "$1" "$work/lines" >/dev/null || { cat "$work/lines"; return 1; }
}
check "what is denied is said, with what merlon saw, and the next kind goes on" denied \
	'[.[].well] == [false, true] and all(.[].merlon; .drops > 10)'
wrong() { traffic "$@" >"$work/out" 2>&1 && return 1; cat "$work/out"; gone; }
printf 'table ip t {\n\tchain c {\n\t\ttype nonsense\n\t}\n}\n' >"$work/not"
check "a ruleset that merlon does not take ends it, and leaves nothing" wrong --ruleset "$work/not" ping
check "... and so does a kind that there is not" wrong nonsense
ended() {
	(exec python3 -B "$top/tools/lib/traffic.py" --build "$build" --merlon --seconds 30 ping) >"$work/out" 2>&1 &
	local pid=$! _
	for _ in $(seq 200); do
		! pgrep -f "ping -f -q -w 30" >/dev/null || break
		sleep 0.05
	done
	kill -TERM "$pid"
	wait "$pid"
	[ $? = 143 ] && gone
}
check "a signal ends it, and leaves nothing" ended
finish
