#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# merlon why: what it says is what happens to the packet, which is sent right after; asking changes nothing; a file says
# the same as the policy in force; wrong words are explained.
set -u
# shellcheck source=tests/lib/service.sh
. "${MERLON_TOP_SRCDIR:?}/tests/lib/service.sh"

cd "$dir" || exit 99
make_network
# A way through the host, to a network that nobody else is on.
in_host sh -c 'ip link add out0 type veth peer name far0 && ip link set out0 up && ip link set far0 up &&
	ip addr add 10.78.0.1/24 dev out0 && ip neigh add 10.78.0.2 lladdr 02:00:00:00:00:99 dev out0 &&
	ip addr add 10.79.0.1/24 dev far0 && sysctl -qw net.ipv4.ip_forward=1'
for i in up0 out0 far0; do in_host sysctl -qw "net.ipv6.conf.$i.router_solicitations=0"; done
in_client sysctl -qw net.ipv6.conf.down0.router_solicitations=0
in_client sh -c 'ip route add 10.78.0.0/24 via 10.77.0.1; ip route add 10.99.0.0/16 via 10.77.0.1'
cat >policy.nft <<'END'
table inet t {
	set friends {
		type ipv4_addr
		flags interval
		elements = { 10.77.0.2, 10.200.0.0/16 }
	}
	chain services {
		tcp dport 7000 counter accept
		udp dport 7001 counter accept
		udp dport 7002 limit rate 1/hour burst 1 packets counter accept
		udp dport 7004 counter log prefix "seen " continue
		counter return
	}
	chain in {
		type filter hook input priority filter; policy drop;
		iifname "lo" counter accept
		ct state established counter accept
		ct state invalid counter drop
		icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
		ip saddr @friends counter jump services
		ip saddr . udp dport vmap { 10.77.0.2 . 7010 : accept, 10.77.0.2 . 7011 : drop, 10.200.0.0/16 . 7012 : jump services }
		udp dport 7003 counter reject
		udp dport 7005 meta mark 0x7 counter accept
		tcp flags syn / syn,ack tcp dport 7006 counter reject with tcp reset
		ip saddr 10.77.0.2 icmp type echo-request counter accept
		meta length > 1000 counter drop
	}
	chain through {
		type filter hook forward priority filter; policy drop;
		iifname "up0" oifname "out0" udp dport 8000-8010 counter accept
		oifname "out0" counter drop
	}
	chain outgoing {
		type filter hook output priority filter; policy accept;
		oifname "up0" udp dport 9000 counter drop
		oifname "lo" udp dport 9001 counter drop
		counter accept
	}
}
END

start_daemon --events "$dir/events" || { echo "Bail out! merlond does not start: $(cat log)"; exit 1; }
answer() { # FILTER VALUE WORD...: what the answer says
	local filter=$1 value=$2 got
	shift 2
	got=$("$merlon" why --json "$@" | jq -r "$filter")
	[ "$got" = "$value" ] || { echo "$filter is $got, not $value"; "$merlon" why "$@"; return 1; }
}
ok "nothing in force: everything passes" answer '.verdict' accept udp 10.77.0.2:1 10.77.0.1:7003
ok "... and it says so" answer '.notes[0] | contains("no policy")' true udp 10.77.0.2:1 10.77.0.1:7003
ok "apply" "$merlon" apply policy.nft

line() { grep -nF -- "$1" policy.nft | head -n 1 | cut -d: -f1; }
# Every word of the contract.
ok "the answer has the contract's keys" answer 'has("verdict") and has("hook") and has("chain") and has("rule") and has("file") and has("line") and has("state") and (.cached | type) == "boolean"' true \
	udp 10.77.0.2:4242 10.77.0.1:7003
# says VERDICT TEXT-OF-THE-RULE WORD...
says() {
	local verdict=$1 rule=$2 got want
	shift 2
	got=$("$merlon" why --json "$@" | jq -r '"\(.verdict) \(.line)"')
	want="$verdict $([ "$rule" = policy ] && echo 0 || line "$rule")"
	[ "$got" = "$want" ] || { echo "says $got, not $want"; "$merlon" why "$@"; return 1; }
}
ok "a rule in a chain that is called" says accept 'tcp dport 7000' tcp 10.77.0.2:4242 10.77.0.1:7000
ok "... with the jump on the way" answer '[.trace[].line] | join(" ")' "$(line '@friends')" tcp 10.77.0.2:4242 10.77.0.1:7000
ok "... in its text" sh -c "'$merlon' why tcp 10.77.0.2:4242 10.77.0.1:7000 | grep -qF 'accept by $dir/policy.nft:$(line 'tcp dport 7000') in t/services: tcp dport 7000 counter accept (input from up0, ct state new)'"
ok "a map of verdicts" says accept vmap udp 10.77.0.2:4242 10.77.0.1:7010
ok "... with another verdict" says drop vmap udp 10.77.0.2:4242 10.77.0.1:7011
ok "... with a jump on the way" answer '[.trace[].line] | join(" ")' "$(line '@friends') $(line 'counter return') $(line vmap) $(line 'counter return')" udp 10.200.1.1:4242 10.77.0.1:7012 iif up0
ok "a chain's policy" says drop policy tcp 10.77.0.2:4242 10.77.0.1:80
ok "... by name" answer '.chain + ": " + .rule + " " + (.policy | tostring)' 'in: policy drop true' tcp 10.77.0.2:4242 10.77.0.1:80
ok "a reject" answer '.verdict + " " + .reject.type + " " + (.reject.code | tostring)' 'reject icmp 3' udp 10.77.0.2:1 10.77.0.1:7003
ok "a reject with reset" answer '.verdict + " " + .reject.type' 'reject tcp reset' tcp 10.77.0.2:1 10.77.0.1:7006
ok "a log on the way" answer '[.logged[].line] | join(" ")' "$(line 'udp dport 7004')" udp 10.77.0.2:1 10.77.0.1:7004
ok "a mark" says accept 'udp dport 7005' udp 10.77.0.2:1 10.77.0.1:7005 mark 7
ok "a length" says drop 'meta length' udp 10.99.0.2:1 10.77.0.1:7005 iif up0 length 9000
ok "a state that is given" says accept 'ct state established' tcp 10.77.0.2:1 10.77.0.1:80 state established
ok "... invalid" says drop 'ct state invalid' tcp 10.77.0.2:1 10.77.0.1:7000 state invalid
ok "flags that make no sense are invalid" says drop 'ct state invalid' tcp 10.77.0.2:1 10.77.0.1:7000 flags syn,fin
ok "ping" says accept 'echo-request' icmp 10.77.0.2 10.77.0.1
ok "IPv6" says drop policy tcp '[fd77::2]:1' '[fd77::1]:7000'

ok "an ICMP error without the packet that it quotes" answer '"\(.state) \(.notes | length)"' 'invalid 1' icmp 10.77.0.2 10.77.0.1 type 3
ok "... of a known connection" answer '"\(.state) \(.notes | length)"' 'related 0' icmp 10.77.0.2 10.77.0.1 type destination-unreachable code 1 state related

# Where a packet is judged is found by the routes.
place() { answer '"\(.hook) \(.route.iif) \(.route.oif)"' "$@"; }
ok "for this host: input" place 'input up0 ' udp 10.77.0.2:1 10.77.0.1:1
ok "through it: forward" place 'forward up0 out0' udp 10.77.0.2:1 10.78.0.2:8000
ok "from it: output" place 'output  up0' udp 10.77.0.1:1 10.77.0.2:1
ok "to itself: output, then input" answer '[.judged_at[] | .hook + " " + .iif + .oif] | join(", ")' 'output lo, input lo' udp 10.77.0.1:1 10.77.0.1:7001
ok "... or no further" answer '[.judged_at[].hook] | join(", ")' output udp 10.77.0.1:1 10.77.0.1:9001
ok "both interfaces: forward" place 'forward up0 out0' udp 10.77.0.2:1 10.77.0.1:8000 iif up0 oif out0
ok "broadcast: input" place 'input up0 ' udp 10.77.0.2:1 10.77.0.255:1
ok "multicast: input" place 'input up0 ' udp 10.77.0.2:1 224.0.0.251:5353
ok "no route: input, and a note" answer '.hook + (.notes | length | tostring)' input1 udp 10.77.0.2:1 10.99.0.1:1
ok "the hook alone" place 'output  out0' udp 10.77.0.1:1 10.78.0.2:1 hook output
ok "IPv6 that is not forwarded: input, and a note" answer '.hook + (.notes | length | tostring)' input1 udp '[fd77::2]:1' '[fd78::2]:1' iif up0

# Asking changes nothing. Other packets of the host (groups, routers) may come in between: several tries.
snapshot() { "$merlon" stats --json; "$merlon" sessions --json | jq '[.[] | del(.age_s, .expires_s)] | sort_by(.src, .sport)'; }
ask_much() {
	local i
	for i in $(seq 5); do
		"$merlon" why udp 10.77.0.2:1 10.77.0.1:7002
		"$merlon" why udp 10.77.0.2:1 10.77.0.1:7004
		"$merlon" why udp 10.77.0.2:1 10.77.0.1:7003
		"$merlon" why tcp 10.77.0.2:1 10.77.0.1:7000
		"$merlon" why udp 10.77.0.1:1 10.77.0.1:7001
	done >/dev/null
}
no_trace() {
	local before
	for _ in 1 2 3 4 5 6; do
		before=$(snapshot)
		ask_much
		[ "$before" = "$(snapshot)" ] && return 0
	done
	diff <(echo "$before") <(snapshot)
}
ok "asking leaves counters, statistics and sessions as they are" no_trace
ok "... and reports nothing" [ "$(grep -c 7004 "$dir/events" 2>/dev/null)" = 0 ]
ok "... and takes no token" says accept 'udp dport 7002' udp 10.77.0.2:1 10.77.0.1:7002

# What is said is what happens: each answer names the counters that the packet raises.
cat >compare.py <<'END'
import json, os, subprocess, sys
merlon, host, client = sys.argv[1:4]
def run(*words):
    return subprocess.run(words, capture_output=True, text=True)
def why(words):
    return json.loads(run(merlon, 'why', '--json', *words).stdout)
def counts():
    s = json.loads(run(merlon, 'stats', '--json').stdout)
    return {c['line']: c['packets'] for c in s['counters']}, {k: s[k] for k in ('drops', 'rejects')}
SEND = '''
import socket, sys
kind, src, sport, dst, dport, mark, length = sys.argv[1:]
if kind == 'icmp':
    import os, struct
    s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    h = struct.pack('!BBHHH', 8, 0, 0, 0, 1)
    c = ~sum(struct.unpack('!4H', h)) & 0xffff
    s.sendto(struct.pack('!BBHHH', 8, 0, c, 0, 1), (dst, 0))
    sys.exit()
s = socket.socket(socket.AF_INET6 if ':' in dst else socket.AF_INET, socket.SOCK_STREAM if kind == 'tcp' else socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind((src, int(sport)))
if int(mark): s.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, int(mark))
s.setblocking(False)
try:
    if kind == 'tcp': s.connect((dst, int(dport)))
    else: s.sendto(b'x' * (int(length) - 28 if int(length) else 0), (dst, int(dport)))
except (BlockingIOError, PermissionError, ConnectionError): pass
'''
def end(a, p): return f'[{a}]:{p}' if ':' in a else f'{a}:{p}'
def one(ns, kind, src, sport, dst, dport, mark=0, length=0):
    words = [kind] + ([src, dst] if kind == 'icmp' else [end(src, sport), end(dst, dport)])
    if length: words += ['length', str(length)]
    if mark: words += ['mark', str(mark)]
    said = why(words)
    before, stats = counts()
    r = run('nsenter', f'--net=/run/netns/{ns}', 'python3', '-c', SEND, kind, src, str(sport), dst, str(dport), str(mark), str(length))
    if r.returncode: return f'{words}: not sent: {r.stderr}'
    after, later = counts()
    raised = sorted(l for l in after if after[l] > before[l] for _ in range(after[l] - before[l]))
    expected = sorted(c['line'] for j in said['judged_at'] for c in j['counters'])
    # what the host answers (a reset, an error) goes out, over loopback also in: the last rule counts it, and the first of `in`
    for line in max(after), int(sys.argv[4]):
        while raised.count(line) > expected.count(line): raised.remove(line)
    if raised != expected: return f'{words}: {said["verdict"]} by {said["line"]}, counters {expected}; really {raised}'
    denied = (later['drops'] - stats['drops'], later['rejects'] - stats['rejects'])
    want = {'accept': (0, 0), 'drop': (1, 0), 'reject': (0, 1)}[said['verdict']]
    if denied != want: return f'{words}: {said["verdict"]}; really {denied}'
cases = [
    (client, 'udp', '10.77.0.2', 5001, '10.77.0.1', 7001), (client, 'udp', '10.77.0.2', 5002, '10.77.0.1', 7002),
    (client, 'udp', '10.77.0.2', 5003, '10.77.0.1', 7002), (client, 'udp', '10.77.0.2', 5004, '10.77.0.1', 7003),
    (client, 'udp', '10.77.0.2', 5005, '10.77.0.1', 7004), (client, 'udp', '10.77.0.2', 5006, '10.77.0.1', 7005, 0, 1200),
    (client, 'udp', '10.77.0.2', 5007, '10.77.0.1', 7005), (client, 'tcp', '10.77.0.2', 5008, '10.77.0.1', 7000),
    (client, 'tcp', '10.77.0.2', 5009, '10.77.0.1', 7006), (client, 'tcp', '10.77.0.2', 5010, '10.77.0.1', 7007),
    (client, 'icmp', '10.77.0.2', 0, '10.77.0.1', 0), (client, 'udp', '10.77.0.2', 5011, '10.78.0.2', 8000),
    (client, 'udp', '10.77.0.2', 5012, '10.78.0.2', 8011), (client, 'udp', '10.77.0.2', 5001, '10.77.0.1', 7001),
    (host, 'udp', '10.77.0.1', 6001, '10.77.0.2', 9000), (host, 'udp', '10.77.0.1', 6002, '10.77.0.2', 9001),
    (host, 'udp', '10.77.0.1', 6003, '10.77.0.1', 9001), (host, 'udp', '127.0.0.1', 6004, '127.0.0.1', 7001),
    (host, 'udp', '10.77.0.1', 6005, '10.78.0.2', 9), (host, 'udp', '::1', 6006, '::1', 7),
    (client, 'udp', '10.77.0.2', 5022, '10.77.0.1', 7010), (client, 'udp', '10.77.0.2', 5023, '10.77.0.1', 7011),
    (client, 'udp', 'fd77::2', 5020, 'fd77::1', 7001), (client, 'udp', 'fd77::2', 5021, 'fd77::1', 7003),
]
failed = 0
for case in cases:
    wrong = None
    for attempt in range(2):	# another packet of the host's may have come in between
        if attempt and case[5] == 7002: break
        c = case if not attempt else case[:3] + (case[3] + 1000,) + case[4:]
        wrong = one(*c)
        if not wrong: break
    if wrong:
        print(wrong)
        failed = 1
sys.exit(failed)
END
in_client nft add table inet quiet '{ chain out { type filter hook output priority 0; icmp type destination-unreachable drop; }; }'
in_host ping -c 1 -q 10.77.0.2 >/dev/null # neighbours are known
in_client ping -c 1 -q fd77::1 >/dev/null 2>&1
ok "24 packets: what was said of each is what happened to it" python3 compare.py "$merlon" "$host" "$client" "$(line 'iifname "lo"')"
ok "the token that a packet took is gone" says drop policy udp 10.77.0.2:9 10.77.0.1:7002

# A session.
(exec nsenter --net="/run/netns/$host" python3 -c "
import socket
s = socket.create_server(('10.77.0.1', 7000)); print('ready', flush=True)
c, _ = s.accept()
for d in iter(lambda: c.recv(100), b''): c.sendall(d)") >server.out 2>&1 &
for _ in $(seq 300); do [ -s server.out ] && break; sleep 0.1; done
coproc CLIENT { exec nsenter --net="/run/netns/$client" python3 -u -c "
import socket, sys
c = socket.create_connection(('10.77.0.1', 7000), timeout=20, source_address=('10.77.0.2', 7777))
for _ in range(3): c.sendall(b'x'); c.recv(10)
print('open')
sys.stdin.read()"; }
read -r -t 30 line <&"${CLIENT[0]}"
ok "a connection" [ "$line" = open ]
ok "its next packet is established" says accept 'ct state established' tcp 10.77.0.2:7777 10.77.0.1:7000
ok "... its session remembers" answer '"\(.cached) \(.decision.verdict) \(.decision.line) \(.direction)"' "true accept $(line 'ct state established') original" \
	tcp 10.77.0.2:7777 10.77.0.1:7000
ok "... the answers' way too" answer '"\(.hook) \(.state) \(.direction) \(.cached)"' 'output established reply true' tcp 10.77.0.1:7000 10.77.0.2:7777
ok "... but not for another interface" answer '"\(.state) \(.cached)"' 'established false' tcp 10.77.0.2:7777 10.77.0.1:7000 iif out0
ok "a SYN in the middle of it is no new one" answer '.state' established tcp 10.77.0.2:7777 10.77.0.1:7000 flags syn
before=$("$merlon" sessions --json | jq '.[] | select(.sport == 7777) | [.packets, .state]')
ok "a RST that is only asked about" answer '.state' established tcp 10.77.0.2:7777 10.77.0.1:7000 flags rst
ok "... ends nothing" [ "$before" = "$("$merlon" sessions --json | jq '.[] | select(.sport == 7777) | [.packets, .state]')" ]
ok "another connection is new" answer '"\(.state) \(.cached)"' 'new false' tcp 10.77.0.2:7778 10.77.0.1:7000
eval "exec ${CLIENT[1]}>&-"
wait "$CLIENT_PID"

# By a file: without daemon, without root.
same() { # WORD...: both say the same
	local a b keys='[.verdict, .hook, .chain, .rule, .line, .state, .reject, .mark, [.trace[].line], [.counters[].line]]'
	a=$("$merlon" why --json "$@" | jq -c "$keys")
	b=$("$merlon" why --json --file policy.nft "$@" | jq -c "$keys")
	[ "$a" = "$b" ] || { echo "in force: $a"; echo "by file:  $b"; return 1; }
}
# Each two of state, port and the rest of the packet meet.
all_same() {
	local state dport i=0 words
	for state in new established related invalid untracked; do
		for dport in 7000 7003 7004 7005 7010 7012 8000 9001; do
			words=("tcp 10.77.0.2:1 10.77.0.1:$dport hook input iif up0" "udp 10.200.3.4:1 10.77.0.1:$dport hook input iif up0"
				"udp 10.77.0.2:1 10.78.0.2:$dport iif up0 oif out0" "udp 10.77.0.1:1 10.77.0.2:$dport hook output oif up0"
				"udp [fd77::2]:1 [fd77::1]:$dport hook input iif up0 mark 7 length 1200")
			# shellcheck disable=SC2086
			same ${words[i++ % 5]} state $state || return 1
		done
	done
}
ok "a file says the same as the policy in force, 40 packets" all_same
cp policy.nft public.nft && chmod 644 public.nft && chmod 755 "$dir"
if [ "$(cat /proc/sys/kernel/unprivileged_userns_clone 2>/dev/null)" != 0 ]; then
	ok "... without root" setpriv --reuid=65534 --regid=65534 --clear-groups "$merlon" why --socket /none --file public.nft tcp 10.77.0.2:1 10.77.0.1:7000 iif up0
fi
printf '*filter\n:INPUT DROP [0:0]\n-A INPUT -s 192.0.2.1 -p tcp --dport 22 -j ACCEPT\nCOMMIT\n' >rules.v4
ok "an iptables-save file" sh -c "'$merlon' why --file rules.v4 tcp 192.0.2.1:5 192.0.2.2:22 iif eth0 | grep -q 'accept by rules.v4:3 in filter/INPUT'"
printf '*filter\n:INPUT DROP [0:0]\n-A INPUT -s 192.0.2.1 -p tcp -m u32 --u32 "0=1" -j ACCEPT\n-A INPUT -j DROP\nCOMMIT\n' >refused.v4
ok "a file with refused rules" fails 3 'refused' "$merlon" why --file refused.v4 tcp 192.0.2.1:5 192.0.2.2:22 iif eth0
ok "a file does not know the routes" fails 2 'say iif X' "$merlon" why --file rules.v4 tcp 192.0.2.1:5 192.0.2.2:22
ok "a file that is not there" fails 1 'No such file' "$merlon" why --file none.v4 tcp 192.0.2.1:5 192.0.2.2:22 iif eth0

# Mistakes.
ok "no words" fails 2 'protocol of the packet is missing' "$merlon" why
ok "a port is missing" fails 2 'write 10.77.0.1:PORT' "$merlon" why tcp 10.77.0.2:1 10.77.0.1
ok "a word that is none" fails 2 'there are: iif' "$merlon" why tcp 10.77.0.2:1 10.77.0.1:1 eth0 up
ok "an interface that is not there" fails 1 'no interface eth7 here' "$merlon" why tcp 10.77.0.2:1 10.77.0.1:1 iif eth7
ok "no way to the destination" fails 1 'say where it leaves: oif' "$merlon" why tcp 10.77.0.1:1 192.0.2.1:1
ok "no way back to the source" fails 1 'say it: iif X' "$merlon" why tcp 192.0.2.1:1 10.77.0.1:1
ok "no daemon" fails 1 'not running' "$merlon" why --socket "$dir/none" tcp 10.77.0.2:1 10.77.0.1:1

# Audit, interfaces that are left alone, a larger policy.
ok "audit" "$merlon" apply --audit policy.nft
ok "... is said" answer '"\(.verdict) \(.audit)"' 'drop true' tcp 10.77.0.2:1 10.77.0.1:80
python3 - <<'END' >large.nft
print('table inet t {\n\tchain in {\n\t\ttype filter hook input priority filter; policy accept;')
for i in range(12000):
    print(f'\t\tip saddr 10.{i >> 8 & 255}.{i & 255}.0/24 tcp dport {20000 + i} counter drop')
print('\t\ttcp dport 7003 drop\n\t}\n}')
END
ok "12,000 rules" "$merlon" apply large.nft
ok "... the last" answer .line 12004 tcp 10.77.0.2:1 10.77.0.1:7003
ok "... one in the middle" answer .line 5004 tcp 10.19.136.1:1 10.77.0.1:25000 iif up0
stop_daemon TERM
start_daemon --interfaces 'up*' || { echo "Bail out! merlond does not start: $(cat log)"; exit 1; }
ok "an interface that is not filtered" answer '"\(.verdict) \(.chain) \(.judged) \(.notes[0] | contains("not filtered"))"' 'accept null false true' tcp 10.78.0.2:1 10.78.0.1:7003
stop_daemon TERM
rm -rf "$dir/state"
start_daemon || { echo "Bail out! merlond does not start: $(cat log)"; exit 1; }
ok "a daemon that does not know the rules in force still knows the verdict" answer '"\(.verdict) \(.chain) \(.rules_known)"' 'drop null false' tcp 10.77.0.2:1 10.77.0.1:7003
ok "stop" "$merlon" stop
wait "$daemon" 2>/dev/null
daemon=''
finish
