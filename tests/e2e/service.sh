#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The life of the service: apply, counters beside nf_tables', reload with open connections, restart, kill, interfaces that
# come and go, audit, stop.
set -u
# shellcheck source=tests/lib/service.sh
. "${MERLON_TOP_SRCDIR:?}/tests/lib/service.sh"

cd "$dir" || exit 99
make_network
cat >policy.nft <<'END'
table inet t {
	chain in {
		type filter hook input priority filter; policy drop;
		iifname "lo" counter accept
		ct state established counter accept
		ip protocol icmp counter accept
		icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, echo-request } counter accept
		tcp dport 7000 ct state new counter accept
		udp dport 7001 counter accept
		udp dport 7002 counter reject
		tcp dport 7003 counter log prefix "seen: " level notice drop
	}
}
END
# The same policy, and one rule more that stops the connection in the middle.
sed 's/ct state established counter accept/tcp dport 7000 counter drop\n&/' policy.nft >cut.nft

# echo_server: answers each line on TCP 7000; UDP 7001 is read.
cat >server.py <<'END'
import socket, threading
def serve(s):
    while True:
        c, _ = s.accept()
        threading.Thread(target=lambda c=c: [c.sendall(d) for d in iter(lambda: c.recv(1000), b'')], daemon=True).start()
t = socket.create_server(('10.77.0.1', 7000)); threading.Thread(target=serve, args=(t,), daemon=True).start()
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(('10.77.0.1', 7001))
print('ready', flush=True)
while True: u.recv(1000)
END
(exec nsenter --net="/run/netns/$host" python3 server.py >server.out 2>&1) &
# event FILTER: some event is so.
event() { jq -es "any(.[]; $1)" "$dir/events" >/dev/null || { tail -n 3 "$dir/events"; return 1; }; }
counted() { # pattern in the rule: packets
	"$merlon" stats --json | jq --arg p "$1" '[.counters[] | select(.rule | contains($p)) | .packets] | add'
}

for _ in $(seq 300); do [ -s server.out ] && break; sleep 0.1; done
start_daemon --events "$dir/events" || { echo "Bail out! merlond does not start: $(cat log)"; exit 1; }
ok "nothing is enforced before the first apply" status_is .mode idle
ok "... and no interface is attached" status_is '.interfaces | length' 0
# nf_tables behind merlon with the same counters sees what merlon lets in: the counts must agree.
in_host nft -f policy.nft
ok "apply" "$merlon" apply policy.nft
ok "both interfaces are attached" status_is '.interfaces | sort | join(" ")' 'lo up0'
ok "status has the contract's keys" sh -c "'$merlon' status --json | jq -e 'has(\"pid\") and .generation == 1 and .mode == \"enforce\" and .rules == 8'"

ok "ping" in_client ping -c 3 -i 0.05 -W 1 -q 10.77.0.1
ok "ping over IPv6" in_client ping -c 2 -i 0.05 -W 1 -q fd77::1
open_client
ok "an allowed connection" [ $? = 0 ]
ok "... answers" asks answer
send_udp 7001 100
ok "a denied port" not connects 7003
ok "loopback" in_host ping -c 2 -i 0.05 -q 127.0.0.1
send_udp 7002 3
sleep 0.3
same_counts() {
	local m k
	# The rules are the same and in the same order; what merlon denies never gets to nf_tables. ICMPv6 is left out: groups
	# that the host did not join are discarded between TC and INPUT.
	m=$("$merlon" stats --json | jq -c '[.counters[] | [.packets, .bytes]] | [.[0, 1, 2, 4, 5]]')
	k=$(in_host nft -j list ruleset |
		jq -c '[.nftables[].rule? | select(. != null) | .expr[].counter? | select(. != null) | [.packets, .bytes]] | [.[0, 1, 2, 4, 5]]')
	echo "merlon $m"
	echo "nft    $k"
	[ "$m" = "$k" ]
}
ok "counters are nf_tables'" same_counts
ok "rejected packets are counted" [ "$(counted 'dport 7002')" = 3 ]
ok "events: a log with its prefix" event '.MERLON_PREFIX == "seen: "'
ok "events: the drop with its rule" event '.MERLON_VERDICT == "drop" and .MERLON_DPORT == "7003" and .MERLON_HOOK == "input" and .MERLON_IIF == "up0"'
session() { "$merlon" sessions --json | jq -e '.[] | select(.proto == "tcp" and .dport == 7000)'; }
ok "sessions has the connection with the contract's keys" sh -c "'$merlon' sessions --json | jq -e '.[] | select(.proto == \"tcp\" and .dport == 7000) | .src == \"10.77.0.2\" and .dst == \"10.77.0.1\" and .state == \"established\" and .direction == \"in\" and .packets > 3 and .bytes > 100 and .age_s >= 0 and .expires_s > 400000 and .verdict == \"accept\" and (.rule | contains(\"ct state new\")) and has(\"sport\")'"
ok "stats has the contract's keys" sh -c "'$merlon' stats --json | jq -e '.packets > 0 and .bytes > 0 and .session_hits > 0 and .session_misses > 0 and .hit_rate > 0 and .new_sessions > 0 and .drops > 0 and .events_lost == 0'"
in_host nft flush ruleset

ok "reload" "$merlon" apply policy.nft
ok "... is generation 2" status_is .generation 2
ok "... the open connection goes on" asks answer
ok "... its session is the same" session
ok "... counters start anew" [ "$(counted 'dport 7001')" = 0 ]
ok "a policy that denies an open connection" "$merlon" apply cut.nft
ok "... stops it at its next packet" asks silence
ok "a policy from standard input" sh -c "'$merlon' apply - <policy.nft"
ok "audit" "$merlon" apply --audit policy.nft
ok "... says so" status_is .mode audit
audited() { # refused by the host itself: nobody listens
	in_client timeout 2 bash -c 'exec 3<>/dev/tcp/10.77.0.1/7003' 2>&1 | grep -q refused
}
ok "... the host itself answers on a denied port" audited
ok "... stats call that what would be dropped" sh -c "'$merlon' stats | grep -q '^would be dropped ' && ! '$merlon' stats | grep -q '^dropped '"
ok "... and in JSON" sh -c "'$merlon' stats --json | jq -e .audit"
ok "... and reports what it would drop" event '.MERLON_MODE == "audit" and .MERLON_DPORT == "7003"'
ok "enforced again" "$merlon" apply policy.nft
generation=$("$merlon" status --json | jq .generation)
close_client
open_client

stop_daemon TERM
ok "without the daemon: denied is denied" not connects 7003
ok "... allowed is allowed" connects 7000
ok "... the open connection goes on" asks answer
start_daemon || { echo "Bail out! merlond does not start again: $(cat log)"; exit 1; }
ok "a new daemon takes the policy up" status_is .policy_known true
ok "... as the same generation" status_is .generation "$generation"
ok "... with its sessions" session
ok "... and its counters" [ "$(counted 'dport 7000')" -ge 1 ]
ok "... from the same file" sh -c "'$merlon' status --json | jq -r '.sources[0]' | grep -q 'policy.nft'"
stop_daemon KILL
ok "killed: denied is denied" not connects 7003
start_daemon || { echo "Bail out! merlond does not start after SIGKILL: $(cat log)"; exit 1; }
ok "... and taken up" status_is .generation "$generation"

# Where a policy counts an earlier one has counted, from the third on: they have so many counters that room is used again, and
# two on a packet's way are counted as one path.
{
	printf 'table inet t {\n\tchain in {\n\t\ttype filter hook input priority filter; policy accept;\n'
	printf '\t\tudp dport %s counter\n' {10001..13000} 7000-7001
	printf '\t\tudp dport 7001 counter accept\n\t}\n}\n'
} >counts.nft
counts() { # N: of packets to UDP 7001
	[ "$(counted 'dport 7001 ') $(counted 'dport 7000-7001')" = "$1 $1" ] || { "$merlon" stats; return 1; }
}
begin_anew() {
	for _ in 1 2; do
		"$merlon" apply counts.nft && counts 0 || return 1
		send_udp 7001 10
		sleep 0.2
		counts 10 || return 1
	done
}
ok "counters of the first policies of a size begin with 0" begin_anew
ok "... and those of the next" begin_anew
stop_daemon TERM
start_daemon || { echo "Bail out! merlond does not start again: $(cat log)"; exit 1; }
ok "... also with a daemon that has found the data plane" begin_anew
"$merlon" apply policy.nft >/dev/null

# Interfaces.
has_interface() {
	for _ in $(seq 300); do status_is "[.interfaces[] | select(. == \"$1\")] | length" "$2" >/dev/null && return 0; sleep 0.1; done
	status_is "[.interfaces[] | select(. == \"$1\")] | length" "$2"
}
in_host ip link add new0 type veth peer name new1
ok "a new interface is attached" has_interface new0 1
in_host ip link set new0 name wan7
ok "a renamed one stays attached" has_interface wan7 1
if in_host ip link add br0 type bridge 2>/dev/null; then
	ok "a bridge is attached" has_interface br0 1
	in_host ip link set wan7 master br0
	ok "... its port is left to it" has_interface wan7 0
	in_host ip link set wan7 nomaster
	ok "... and comes back" has_interface wan7 1
	in_host ip link del br0
fi
in_host ip link del wan7
ok "a deleted one is forgotten" has_interface wan7 0
# TCX links are pinned, two an interface; before Linux 6.6 there are filters and no links.
links=4
[ "$("$merlon" status --json | jq -r .attach)" = tcx ] || links=0
ok "... with its pins" [ "$(find "$dir/bpf/merlon/links" -type f | wc -l)" = "$links" ]

# A larger policy needs larger maps: programs are loaded for them, sessions stay.
python3 - <<'END' >large.nft
print('table inet t {\n\tchain in {\n\t\ttype filter hook input priority filter; policy accept;')
for i in range(12000):
    print(f'\t\tip saddr 10.{i >> 8 & 255}.{i & 255}.0/24 tcp dport {20000 + i} counter drop')
print('\t\ttcp dport 7003 drop\n\t}\n}')
END
ok "12,000 rules" "$merlon" apply large.nft
ok "... are in force" not connects 7003
ok "... the open connection goes on" asks answer
ok "back to the small policy" "$merlon" apply policy.nft
ok "... the open connection goes on" asks answer
stop_daemon TERM
start_daemon --interfaces 'nosuch*' || { echo "Bail out! merlond does not start: $(cat log)"; exit 1; }
warned='nothing is filtered: no interface of this network namespace matches "nosuch\*"'
ok "no interface matches: apply warns" fails 0 "$warned" "$merlon" apply policy.nft
ok "... status warns" sh -c "'$merlon' status | grep '$warned'"
ok "... its JSON" sh -c "'$merlon' status --json | jq -e '.interfaces == [] and (.messages[0].text | test(\"nothing is filtered\"))'"
ok "... the journal or log" grep -q "$warned" "$dir/log"
in_host ip link add nosuch0 type veth peer name nosuch1
ok "... until one appears" has_interface nosuch0 1
ok "... which is all right then" status_is '.messages | length' 0
in_host ip link del nosuch0
stop_daemon TERM
start_daemon --interfaces 'up*' || { echo "Bail out! merlond does not start: $(cat log)"; exit 1; }
ok "only the interfaces that were chosen" status_is '.interfaces | join(" ")' up0

# Tables keep the sizes that they were made with.
printf '[Sessions]\nMax=1000\n' >sizes.conf
printf '[Sessions]\nMax=262140\n' >same.conf
in_force() { status_is '"\(.max_sessions) \(.configured.max_sessions)"' "$1"; }
stop_daemon TERM
start_daemon --config sizes.conf
ok "other sizes at a restart: in force are those before" in_force "262144 1000"
ok "... the log says so, and the cure" sh -c "grep -A1 'Max=1000 is not in force: the data plane was made with 262144' '$dir/log' | grep -q 'merlon stop'"
ok "... status, too, with file and line" sh -c "'$merlon' status | grep -q '^sizes.conf:2: warning: .*Max=1000 is not in force: the data plane was made with 262144'"
ok "... which says for how many there is room" sh -c "'$merlon' status | grep -q 'room for 262,144'"
stop_daemon TERM
start_daemon --config same.conf
ok "... sizes that come to the same are in force" status_is '.messages | length' 0

ok "no event was lost" status_is .events_lost 0
ok "stop" "$merlon" stop
wait "$daemon"
daemon=''
ok "... nothing is filtered" not sh -c "nsenter --net=/run/netns/$client timeout 2 bash -c 'exec 3<>/dev/tcp/10.77.0.1/7003' 2>&1 | grep -qv refused"
ok "... no pins are left" [ -z "$(find "$dir/bpf" -mindepth 1 ! -name '*.debug')" ]
ok "... no socket either" [ ! -e "$MERLON_SOCKET" ]
ok "... no state either" [ -z "$(find "$dir/state" -type f)" ]
start_daemon --config sizes.conf
ok "... other sizes are in force from now on" in_force "1024 1000"
ok "... and nothing is to be warned of" status_is '.messages | length' 0
"$merlon" stop
wait "$daemon"
daemon=''
ok "... the programs are off the interfaces" [ -z "$(in_host bpftool net show dev up0 2>/dev/null | grep -E 'tcx|clsact')$(in_host tc qdisc show | grep clsact)" ]
close_client

# A directory that the daemon made goes with it, unless it keeps a policy there.
made() { in_host timeout 60 "$merlond" --foreground --socket "$dir/made/socket" --state-dir "$dir/made" --pin-dir "$dir/bpf/made"; }
begun() {
	for _ in $(seq 100); do
		[ -S "$dir/made/socket" ] && "$merlon" status --socket "$dir/made/socket" >/dev/null 2>&1 && return 0
		sleep 0.1
	done
	return 1
}
begin() { made & begun || { echo "Bail out! merlond does not start in $dir/made"; exit 1; }; }
end() { ip netns pids "$host" | xargs kill -TERM; wait; }
begin
ok "the daemon's own directory is there" [ -d "$dir/made" ]
"$merlon" apply --socket "$dir/made/socket" policy.nft >/dev/null
end
ok "... and stays with what it keeps of the policy" [ -n "$(find "$dir/made" -name 'policy-*')" ]
begin
"$merlon" stop --socket "$dir/made/socket"
wait
ok "... found, it stays" [ -d "$dir/made" ]
rmdir "$dir/made"
begin
end
ok "... made, it goes" [ ! -e "$dir/made" ]
mkdir "$dir/made"
begin
end
ok "... that of another stays" [ -d "$dir/made" ]
finish
