#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# How long sessions are remembered: the sysctls, the configuration in their place, and real waiting beside nf_conntrack.
set -u
# shellcheck source=tests/lib/service.sh
. "${MERLON_TOP_SRCDIR:?}/tests/lib/service.sh"
idle() { python3 -B "$top/tests/e2e/lib_idle.py" "$@"; }
sysctls() { in_host sh -c 'while read -r name value; do echo "$value" >"/proc/sys/net/netfilter/nf_conntrack_$name" || exit; done'; }

cd "$dir" || exit 99
make_network
ip link add up1 netns "$host" type veth peer name down1 netns "$client" || exit 99
for i in 0 1; do
	in_host sh -c "ip link set up$i address 02:00:00:00:00:01; ip addr add 10.7$((7 + i)).0.1/24 dev up$i; ip link set up$i up
		ip neigh replace 10.7$((7 + i)).0.9 lladdr 02:00:00:00:00:98 dev up$i
		ip route add 10.7$((7 + i)).1.0/24 via 10.7$((7 + i)).0.9"
	in_client ip link set "down$i" up
done 2>/dev/null
in_host sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'
idle rules >idle.nft
# The rules bring nf_conntrack, whose sysctls these are.
in_host nft -f idle.nft || { echo "Bail out! nft cannot load the rules"; exit 1; }
idle sysctls | sysctls || { echo "Bail out! no sysctls of nf_conntrack"; exit 1; }

daemon_fails() { # pattern, line of the configuration...
	local pattern=$1
	shift
	printf '%s\n' '[timeouts]' "$@" >bad.conf
	fails 2 "$pattern" in_host timeout 10 "$merlond" --foreground --socket "$dir/other" --state-dir "$dir/other-state" \
		--pin-dir "$dir/bpf/other" --config bad.conf
}
ok "no time" daemon_fails 'bad\.conf:2: error: "soon" is no time' udp=soon
ok "an unknown unit" daemon_fails 'bad\.conf:3: error: "3 fortnights" is no time' udp=5 'udp-stream=3 fortnights'
ok "a unit without a number" daemon_fails 'bad\.conf:2: error: "1min s" is no time' 'udp=1min s'
ok "no time at all" daemon_fails 'bad\.conf:2: error: "0" is no time' udp=0
ok "less than that" daemon_fails 'bad\.conf:2: error: "-5" is no time' udp=-5
ok "too long" daemon_fails 'bad\.conf:2: error: "366d" is no time from 1 s to 365 d' udp=366d
ok "neither yes nor no" daemon_fails 'bad\.conf:2: error: "2" is neither yes nor no' tcp-loose=2
ok "too many" daemon_fails 'bad\.conf:2: error: "256" is no number from 0 to 255' tcp-max-retrans=256

tracker_is() { status_is ".trackers.$1" "$2"; }
start_daemon || { echo "Bail out! merlond does not start: $(cat log)"; exit 1; }
ok "the sysctls hold" tracker_is tcp_timeout_established 4
ok "... all of them" sh -c "'$merlon' status --json | jq -e '.trackers | .tcp_timeout_syn_sent == 2 and .tcp_timeout_syn_sent2 == 120 and
	.udp_timeout_stream == 1 and .generic_timeout == 2 and .tcp_loose == 1 and .tcp_be_liberal == 0 and .tcp_max_retrans == 3 and .checksum == 1'"
echo 'tcp_timeout_established 5' | sysctls
ok "another value is not read by itself" tracker_is tcp_timeout_established 4
kill -HUP "$daemon"
# the daemon answers when it is done with the signal
ok "... but at SIGHUP" tracker_is tcp_timeout_established 5
echo 'tcp_timeout_established 4' | sysctls
ok "apply" "$merlon" apply idle.nft
ok "... and with a policy" tracker_is tcp_timeout_established 4

# Both see the same packets; a sender that was late says nothing.
for _ in 1 2 3; do
	in_host nft reset counters >/dev/null
	in_host sh -c 'nft flush ruleset; exec nft -f idle.nft'
	"$merlon" flush >/dev/null 2>&1
	"$merlon" apply idle.nft >/dev/null
	in_client python3 -B "$top/tests/e2e/lib_idle.py" send down0 down1
	sent=$?
	[ "$sent" = 75 ] || break
done
ok "packets were sent in time" [ "$sent" = 0 ]
idle expect >expected
in_host nft -j list ruleset | jq '.nftables[].rule? | select(. != null) | .expr[].counter? | select(. != null) | .packets' |
	idle counted >kernel
"$merlon" stats --json | jq '.counters[].packets' | idle counted >merlon
ok "nf_conntrack forgets as it says" diff expected kernel
ok "merlon forgets as nf_conntrack does" diff kernel merlon
stop_daemon TERM

printf '%s\n' '[timeouts]' 'udp = 1h' 'tcp-established=1d 2h' 'generic=90' 'tcp-timeout-max-retrans=7min' 'tcp-syn-sent=30s' \
	'tcp-be-liberal=yes' 'tcp-max-retrans=9' 'tcp-forever=1' >merlon.conf
: >log
start_daemon --config merlon.conf || { echo "Bail out! merlond does not start with a configuration: $(cat log)"; exit 1; }
ok "an unknown key is a warning" grep -q 'merlon\.conf:9: warning: unknown key tcp-forever' log
overridden() {
	"$merlon" status --json | jq -e '.trackers | .udp_timeout == 3600 and .tcp_timeout_established == 93600 and .generic_timeout == 90 and
		.tcp_timeout_max_retrans == 420 and .tcp_timeout_syn_sent == 30 and .tcp_be_liberal == 1 and .tcp_max_retrans == 9 and
		.udp_timeout_stream == 1 and .tcp_timeout_close == 1'
}
ok "the configuration comes before the sysctls" overridden
kill -HUP "$daemon"
ok "... also at SIGHUP" overridden
send_udp 7001 1
ok "... and holds for sessions" sh -c "'$merlon' sessions --json | jq -e '.[] | select(.dport == 7001) | .expires_s > 3500'"
finish
