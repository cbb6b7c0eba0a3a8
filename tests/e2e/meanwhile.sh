#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# While a large ruleset is read and compiled the daemon answers, reports, follows interfaces, and keeps what comes in order.
set -u
# shellcheck source=tests/lib/service.sh
. "${MERLON_TOP_SRCDIR:?}/tests/lib/service.sh"

cd "$dir" || exit 99
make_network
large() { # table: 30,000 rules, and pings are dropped
	printf 'table inet %s {\nchain in {\ntype filter hook input priority filter; policy accept;\n' "$1"
	seq 30000 | awk '{ printf "ip saddr 10.%d.%d.%d udp dport %d drop\n", $1 % 250, $1 / 250 % 250, $1 % 7, 1000 + $1 % 30000 }'
	echo 'ip protocol icmp drop'
	echo 'fib daddr type local udp dport 7003 counter drop'
	printf '}\n}\n'
}
large one >one.nft
large two >two.nft
printf 'table inet small {\nchain in {\ntype filter hook input priority filter; policy accept;\nudp dport 7001 drop\n}\n}\n' >small.nft
pings() { in_client ping -c 1 -W 1 -q 10.77.0.1; }
# asked_while COMMAND...: how often status answered before the command ended
asked_while() {
	local n=0
	"$@" >command.out 2>&1 &
	while kill -0 $! 2>/dev/null; do
		"$merlon" status --json >status.out && n=$((n + 1))
	done
	wait $! || { cat command.out; return 1; }
	echo "$n" >asked
}
asked_often() { [ "$(cat asked)" -ge 5 ] || { echo "status answered $(cat asked) times"; return 1; }; }

start_daemon --events "$dir/events" || { echo "Bail out! merlond does not start: $(cat log)"; exit 1; }
ok "a large ruleset" asked_while "$merlon" apply one.nft
ok "... status answers meanwhile" asked_often
ok "... it is in force" not pings

# what happens while the next one is on its way
"$merlon" apply two.nft >apply.out 2>&1 &
apply=$!
in_host ip link add late0 type veth peer name late1
in_host ip link set late0 up
in_host ip link set late1 netns "$client"
in_client sh -c 'ip addr add 10.78.0.2/16 dev late1; ip link set late1 up'
(n=0; while [ $((n += 1)) -lt 200 ]; do in_host ip addr add "10.78.$n.1/16" dev late0 && echo "10.78.$n.1" && sleep 0.1; kill -0 $apply 2>/dev/null || break; done) >late.out &
late=$!
ok "the policy before is in force meanwhile" not pings
ok "... and reports" sh -c "for i in \$(seq 50); do grep -q MERLON_VERDICT '$dir/events' && exit 0; sleep 0.1; done; exit 1"
kill -HUP "$daemon"
wait $apply
ok "... the apply is done" [ $? = 0 ]
ok "... interfaces that came are filtered" status_is '.interfaces | sort | join(" ")' 'late0 lo up0'
ok "... it is in force" sh -c "'$merlon' nft list tables | grep -qx 'table inet two'"

# Addresses that came, at whatever moment, are this host's to the rules: what is sent there is counted.
counted() { "$merlon" stats --json | jq '[.counters[] | select(.rule | contains("dport 7003")) | .packets] | add'; }
all_local() {
	local before
	[ -s late.out ] || { echo "no address came"; return 1; }
	for _ in $(seq 60); do
		before=$(counted)
		in_client python3 -c "
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for line in open('late.out'): s.sendto(b'x', (line.strip(), 7003))"
		[ $(($(counted) - before)) -lt "$(wc -l <late.out)" ] || return 0
		sleep 0.2
	done
	echo "$(counted) counted, $before before; $(wc -l <late.out) addresses"
	return 1
}
wait $late
ok "... as are addresses that came" all_local

# one after the other, in the order in which they came
"$merlon" apply one.nft >apply.out 2>&1 &
apply=$!
sleep 0.2
"$merlon" apply small.nft >small.out 2>&1 &
small=$!
sleep 0.2
ok "a change waits for its turn" "$merlon" nft add rule inet small in udp dport 7002 drop
ok "... both before are done" sh -c "grep -q 'is in force' apply.out && grep -q 'is in force' small.out"
wait $apply $small
ok "... the last one is in force" sh -c "'$merlon' list | grep -q 'udp dport 7002 drop'"
ok "... with nothing of the first" sh -c "! '$merlon' list | grep -q 'table inet one'"

# who asked is gone
generation=$("$merlon" status --json | jq .generation)
"$merlon" apply one.nft >/dev/null 2>&1 &
apply=$!
sleep 0.3
kill -KILL $apply
wait $apply 2>/dev/null
ok "a client that is killed does not stop it" sh -c "for i in \$(seq 100); do [ \"\$('$merlon' status --json | jq .generation)\" -gt $generation ] && exit 0; sleep 0.1; done; exit 1"

"$merlon" apply two.nft >/dev/null 2>&1 &
apply=$!
sleep 0.3
stop_daemon TERM
wait $apply
ok "a daemon that is told to end ends what it began, and says so" [ $? = 0 ]
start_daemon
ok "... which is in force" not pings
ok "... and known again" sh -c "'$merlon' nft list tables | grep -qx 'table inet two'"
"$merlon" apply one.nft >/dev/null 2>&1 &
apply=$!
sleep 0.3
stop_daemon KILL
wait $apply 2>/dev/null
start_daemon
ok "one that is killed leaves a whole policy" not pings
ok "... and knows which" status_is .policy_known true
ok "stop" "$merlon" stop
wait "$daemon"
daemon=''
finish
