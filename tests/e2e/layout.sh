#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A daemon whose maps have another layout takes the place of one that enforces, and back: no packet meets a wrong verdict,
# no connection is cut, also where the daemon is killed over it.
set -u
# shellcheck source=tests/lib/service.sh
. "${MERLON_TOP_SRCDIR:?}/tests/lib/service.sh"
# shellcheck source=tests/system/traffic.sh
. "$top/tests/system/traffic.sh"
this=$merlond other=$build/tests/lib/merlond-layout pins=$dir/bpf/merlon

cd "$dir" || exit 99
[ -x "$other" ] || { echo "1..0 # SKIP tests/lib/merlond-layout is not built: make check TESTS="; exit 0; }
make_network
# rules WORD: what is denied to begin from the second policy on, `accept` or `drop`.
rules() {
	cat >policy.nft <<END
table inet t {
	chain in {
		type filter hook input priority filter; policy drop;
		iif lo accept
		ct state established,related counter accept
		ct state invalid counter drop
		icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
		tcp dport { 7000, 7001 } $1
		udp dport 7010 $1
		tcp dport 80 accept
		tcp dport 22 drop
	}
}
END
}
rules accept
start_daemon || { echo "Bail out! merlond does not start: $(cat log)"; exit 1; }
ok "apply" "$merlon" apply policy.nft
(exec nsenter --net="/run/netns/$host" python3 "$top/tests/e2e/lib_flows.py" serve >served 2>&1) &
for _ in $(seq 300); do [ -s served ] && break; sleep 0.05; done
coproc FLOWS { exec nsenter --net="/run/netns/$client" python3 "$top/tests/e2e/lib_flows.py" hold 2>"$dir/flows.log"; }
read -r -t 20 line <&"${FLOWS[0]}" || line=nothing
[ "$line" = open ] || { echo "Bail out! flows: $line $(cat flows.log served)"; exit 1; }
held() { # all flows that were opened answer
	local line
	echo >&"${FLOWS[1]}"
	read -r -t 30 line <&"${FLOWS[0]}"
	[ "$line" = '0 0 0' ] || { echo "of TCP, TCP half closed and UDP do not answer: $line"; return 1; }
}
ok "flows are open" held
rules drop
ok "apply: no more of them may begin" "$merlon" apply policy.nft
ok "... they go on" held
traffic_begins "$host" "$client" "$dir/traffic.log"
ok "traffic has begun" mark
ok "traffic is as the policy says" enforced
layout() { bpftool -j map lookup pinned "$pins/maps/control" key hex 00 00 00 00 | jq -r '.value[0:2] | map(ltrimstr("0x")) | join("")'; }
# The first number in abi.h is that of MERLON_TEST_LAYOUT.
read -r others own < <(awk '/define MERLON_ABI_VERSION/ { printf "%02x%02x ", $3 % 256, $3 / 256 }' "$top/bpf/abi.h"; echo)
layout_is() { [ "$(layout)" = "$1" ] || { echo "layout $(layout)"; return 1; }; }
only_pins() { [ "$(cd "$pins" && echo *)" = 'links maps policy progs' ] || { ls -R "$pins"; return 1; }; }
taken() { grep -q 'sessions of a data plane of layout [0-9]* taken over' log; }

# One long established connection as the data plane knows it.
one_of() {
	"$merlon" sessions --json | jq -c 'map(select(.dport == 7000 and .state == "established" and .dst == "10.77.0.1")) | sort_by(.sport) |
		.[0] | {src, dst, sport, proto, state}'
}
counted() { "$merlon" sessions --json | jq 'map(select(.dport == 7000 or .dport == 7001 or .dport == 7010)) | map(.packets) | add'; }
# change_to MERLOND: its daemon instead of the one that runs. Not within ok, which is another process.
change_to() {
	stop_daemon TERM
	merlond=$1
	: >log
	start_daemon
}
changed() { # what, layout, merlond: changes to it, and what holds then
	local name=$1 number=$2
	change_to "$3" || { echo "Bail out! merlond does not start: $(cat log)"; exit 1; }
	ok "$name: ... with its own layout" layout_is "$number"
	ok "$name: ... and took over the sessions" taken
	ok "$name: ... no packet met a wrong verdict" enforced
	ok "$name: ... its pins are the only ones" only_pins
	ok "$name: ... every flow goes on" held
}
generation=$("$merlon" status --json | jq .generation)
known=$(one_of) packets=$(counted)
changed upgrade "$others" "$other"
ok "the policy is the same, as a new generation" status_is .generation "$((generation + 1))"
same_flow() { [ "$(one_of)" = "$known" ] || { one_of; echo "not $known"; return 1; }; }
ok "a connection is known as it was" same_flow
counts_on() { [ "$(counted)" -gt "$packets" ] || { counted; echo "not more than $packets"; return 1; }; }
ok "... and its packets are counted on" counts_on
changed downgrade "$own" "$this"
ok "a connection is known as it was" same_flow
ok "... and its packets are counted on" counts_on

# Killed over it, between any two steps (src/kernel/takeover.c): what is in force goes on, and the next daemon of that
# version ends it; the other one leaves it alone. Then the way back.
cut_off() { # step
	stop_daemon TERM
	: >log
	MERLON_TEST_CUT=$1 timeout 60 nsenter --net="/run/netns/$host" "$other" --foreground --socket "$MERLON_SOCKET" --pin-dir "$pins" --state-dir "$dir/state" >>log 2>&1
	[ $? = 137 ] || { echo "Bail out! not killed: $(cat log)"; exit 1; }
}
leaves_alone() { fails 1 'about to be taken over by another version' in_host timeout 20 "$this" --foreground --socket "$MERLON_SOCKET" --pin-dir "$pins" --state-dir "$dir/state"; }
for step in 1 2 3 4 5 6; do
	cut_off "$step" 2>/dev/null
	[ "$step" != 4 ] || ok "killed in step $step: another version leaves it alone" leaves_alone
	[ "$step" != 4 ] || ok "... every flow goes on" held
	merlond=$other
	start_daemon || { echo "Bail out! merlond does not start: $(cat log)"; exit 1; }
	ok "killed in step $step: the next daemon takes over" layout_is "$others"
	ok "... its pins are the only ones" only_pins
	ok "... every flow goes on" held
	ok "... no packet met a wrong verdict" enforced
	change_to "$this" || { echo "Bail out! merlond does not start: $(cat log)"; exit 1; }
done
ok "after all that every flow goes on" held
ok "... and no other begins" not connects 7000
ok "... and no packet met a wrong verdict" enforced

eval "exec ${FLOWS[1]}>&-"
traffic_ends

# Without a policy there is nothing to be taken over.
ok "stop" "$merlon" stop
wait "$daemon"
for merlond in "$this" "$other" "$this"; do
	start_daemon || { echo "Bail out! merlond does not start: $(cat log)"; exit 1; }
	stop_daemon TERM
done
merlond=$other
start_daemon || { echo "Bail out! merlond does not start: $(cat log)"; exit 1; }
ok "a daemon of another layout where there was no policy" "$merlon" apply policy.nft
ok "... has it in force" not connects 7000
second() { fails 1 'another merlond' in_host timeout 20 "$this" --foreground --socket "$dir/second" --pin-dir "$pins" --state-dir "$dir/second.d"; }
ok "... and the pins for itself" second
finish
