#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# `merlon monitor --pcap`: the packets themselves, for what reads pcapng; and which of this host's programs sent a packet: user,
# unit and control group, in the journal's fields and in the monitor.
set -u
# The unified hierarchy where merlond looks for it, whatever this host has there.
if [ "${1:-}" != inside ]; then
	[ "$(stat -f -c %T /sys/fs/cgroup)" != cgroup2fs ] || exec bash "$0" inside
	exec unshare --mount sh -c 'mount -t cgroup2 none /sys/fs/cgroup || { echo "1..0 # SKIP no cgroup2"; exit 0; }; exec bash "$0" inside' "$0"
fi
command -v tcpdump >/dev/null || { echo '1..0 # SKIP tcpdump is not installed'; exit 0; }
# shellcheck source=tests/lib/service.sh
. "${MERLON_TOP_SRCDIR:?}/tests/lib/service.sh"
send=$build/tests/bench/send
slice=/sys/fs/cgroup/merlontest$$.slice
unit=merlontest$$-web.service
leave() {
	cleanup
	rmdir "$slice/$unit/below" "$slice/$unit" "$slice/late.service" "$slice" 2>/dev/null
}
trap leave EXIT

cd "$dir" || exit 99
make_network
cat >policy.nft <<'END'
table inet t {
	chain in {
		type filter hook input priority filter; policy accept;
		udp dport 7002 drop
		tcp dport 7003 log prefix "seen: " reject
		icmpv6 type echo-request drop
	}
	chain out {
		type filter hook output priority filter; policy accept;
		udp dport 7200 drop
		tcp dport 7300 drop
		tcp sport 7004 tcp flags syn,ack / syn,ack drop
		tcp sport 7005 drop
		tcp sport 7006 log prefix "7006: "
		ip protocol icmp icmp type echo-reply drop
	}
}
END
start_daemon --events "$dir/events" || { echo "Bail out! merlond does not start: $(cat log)"; exit 1; }
ok "apply" "$merlon" apply policy.nft

read_pcap() { tcpdump -nn -r "$1" "${@:2}" 2>/dev/null; }
has() { # file, how many, filter
	local n
	n=$(read_pcap "$dir/$1" "$3" | wc -l)
	[ "$n" = "$2" ] || { echo "$n, not $2, of: $3"; tcpdump -nn -r "$dir/$1"; return 1; }
}
connects_not() { ! in_client timeout 0.5 bash -c "exec 3<>/dev/tcp/10.77.0.1/$1" 2>/dev/null; }

# What is in the file.
watch none --pcap "$dir/one.pcap"
one=$!
watch words --pcap "$dir/words.pcap" proto udp
words=$!
send_udp 7002 2
connects_not 7003
in_client ping -c 1 -W 0.1 -q -s 500 fd77::1 >/dev/null
in_host bash -c 'echo out >/dev/udp/10.77.0.2/7200'
ok "the datagrams that were denied" eventually has one.pcap 2 'udp dst port 7002 and src host 10.77.0.2 and dst host 10.77.0.1'
ok "... as they were: their data" eventually sh -c "tcpdump -nn -A -r '$dir/one.pcap' 'udp dst port 7002' 2>/dev/null | grep -q 0123456789"
ok "... their checksums and lengths" sh -c "tcpdump -nn -vv -r '$dir/one.pcap' 'udp dst port 7002' 2>/dev/null | grep -q 'length 38'"
ok "a segment that is logged and rejected: twice" eventually has one.pcap 2 'tcp dst port 7003 and tcp[tcpflags] == tcp-syn'
ok "IPv6, its beginning" eventually has one.pcap 1 'icmp6 and ip6[40] == 128 and greater 540 or icmp6 and ip6[40] == 128'
ok "what was to be sent" eventually has one.pcap 1 'udp dst port 7200 and dst host 10.77.0.2'
ok "words choose" has words.pcap 3 'udp'
ok "... and nothing else is there" has words.pcap 3 ''
kill -INT "$one"
kill -TERM "$words"
wait "$one"
ok "a signal ends it with status 0" [ $? = 0 ]
wait "$words"
ok "how many, and how many were lost, at the end" grep -qx '6 packets written, 0 lost' none.err
ok "nobody else may read the file" [ "$(stat -c %a one.pcap)" = 600 ]
cat >blocks.py <<'END'
"""What tcpdump does not show: interfaces, times, comments. A JSON object for each packet."""
import json, struct, sys
data, at, interfaces = open(sys.argv[1], 'rb').read(), 0, []

def options(raw):
    found, at = {}, 0
    while at + 4 <= len(raw):
        code, n = struct.unpack_from('=HH', raw, at)
        if not code:
            break
        found[code] = raw[at + 4:at + 4 + n]
        at += 4 + (n + 3) // 4 * 4
    return found

while at < len(data):
    kind, n = struct.unpack_from('=II', data, at)
    assert n % 4 == 0 and struct.unpack_from('=I', data, at + n - 4)[0] == n, 'lengths'
    body = data[at + 8:at + n - 4]
    if kind == 0x0a0d0d0a:
        assert not at and struct.unpack_from('=IHH', body) == (0x1a2b3c4d, 1, 0), 'section'
    elif kind == 1:
        link, _, snap = struct.unpack_from('=HHI', body)
        o = options(body[8:])
        assert link == 101 and o[9] == b'\x09', 'interface'
        interfaces.append((o[2].decode(), snap))
    elif kind == 6:
        number, high, low, there, whole = struct.unpack_from('=5I', body)
        o = options(body[20 + (there + 3) // 4 * 4:])
        assert there <= interfaces[number][1], 'snap'
        fields = dict(line.split('=', 1) for line in o[1].decode().split('\n'))
        lost = struct.unpack('=Q', o[4])[0] if 4 in o else 0
        print(json.dumps(fields | {'if': interfaces[number][0], 'ns': high << 32 | low, 'there': there, 'whole': whole,
                                   'direction': struct.unpack('=I', o[2])[0], 'lost': lost}))
    else:
        raise SystemExit(f'block {kind}')
    at += n
END
blocks() { python3 blocks.py "$1"; }
blocks one.pcap >one.json
any() { jq -es "any(.[]; $1)" "$dir/$2"; }
ok "the comment: verdict, rule, file, line, chain and state" any '.MERLON_VERDICT == "drop" and .MERLON_RULE == "udp dport 7002 drop" and
	(.MERLON_RULE_FILE | endswith("policy.nft")) and .MERLON_RULE_LINE == "4" and .MERLON_CHAIN == "in" and .MERLON_STATE == "new" and
	.MERLON_HOOK == "input" and (has("MERLON_DPORT") | not)' one.json
ok "... the prefix of a log" any '.MERLON_VERDICT == "log" and .MERLON_PREFIX == "seen: "' one.json
ok "the interface's name, and that it came in" any '.MERLON_VERDICT == "drop" and .if == "up0" and .direction == 1' one.json
ok "... or went out" any '.MERLON_HOOK == "output" and .if == "up0" and .direction == 2' one.json
ok "a long packet's beginning, and its length" any '.there == 128 and .whole == 548' one.json
precise() { jq -es --argjson now "$(date +%s)" '([.[].ns % 1000000] | unique | length) > 3 and all(.[]; .ns / 1e9 - $now | fabs < 60)' one.json; }
ok "times of nanoseconds, of the packets" precise

# Pipes.
(sleep 0.5; send_udp 7002 3) &
sending=$!
piped() { timeout 10 "$merlon" monitor --pcap - --count 3 | tcpdump -nn -r - 2>/dev/null | grep -c ' > 10.77.0.1.7002: '; }
ok "into a pipe" [ "$(piped)" = 3 ]
wait "$sending"
written() { timeout 10 "$merlon" monitor --pcap - --count 2 2>/dev/null | tcpdump -nn -U -w "$dir/copy.pcap" -r - 2>/dev/null; has copy.pcap 2 'udp dst port 7002'; }
(sleep 0.5; send_udp 7002 2) &
sending=$!
ok "... tcpdump -w copies it" written
wait "$sending"
terminal() { script -qec "'$merlon' monitor --pcap -" /dev/null | grep 'not for a terminal'; }
ok "not into a terminal" terminal
ok "not as JSON, too" fails 2 'different formats' "$merlon" monitor --pcap x --json
ok "a file that cannot be" fails 1 'nosuch/x.pcap' "$merlon" monitor --pcap "$dir/nosuch/x.pcap"
full() { (sleep 0.5; send_udp 7002 1) & fails 1 'No space left' timeout 10 "$merlon" monitor --pcap /dev/full; wait $!; }
ok "a full disk" full
if command -v setpriv >/dev/null; then
	chmod 755 "$dir"
	chmod 666 "$MERLON_SOCKET"
	ok "who may not change anything may not see into packets" fails 1 'only root may see' \
		setpriv --reuid 65534 --clear-groups "$merlon" monitor --pcap -
fi

# Nobody asks for packets any more: none are taken along.
packets_on() { bpftool -j map dump pinned "$dir/bpf/merlon/maps/control" | jq -e '.[0].formatted.value[".data.control"][0].control.flags >= 2' >/dev/null; }
ok "without a capture the data plane copies none" not packets_on
watch none --pcap "$dir/two.pcap"
two=$!
ok "with one it does" packets_on
watch json --json
json=$!
kill -9 "$two"
wait "$two" 2>/dev/null
ok "... until it is gone" eventually not packets_on
watch none --pcap "$dir/two.pcap"
two=$!
stop_daemon KILL
wait "$two"
start_daemon --events "$dir/events" || { echo "Bail out! merlond does not start again: $(cat log)"; exit 1; }
ok "... or the daemon is" not packets_on

# Losses.
mac=$(in_host ip -j link show up0 | jq -r '.[0].address')
echo 'udp 10.77.0.2 2000 10.77.0.1 7002' >flow
watch none --pcap "$dir/lost.pcap" dport 7002
lost=$!
kill -STOP "$daemon"
in_client "$send" down0 "$mac" "$dir/flow" 30000 >/dev/null
kill -CONT "$daemon"
ok "what was lost is told" eventually grep -q '^lost [0-9]* packets: more than merlond could read' none.err
send_udp 7002 1
sleep 0.3
kill "$lost"
wait "$lost"
adds_up() {
	local n
	n=$(blocks lost.pcap | jq -s 'length + ([.[].lost] | add)')
	[ "$n" = 30001 ] || { echo "$n"; tail -n 1 none.err; return 1; }
}
ok "... and stands in the file with the next one" adds_up
ok "... and at the end" grep -Eq '^[0-9]+ packets written, [1-9][0-9]* lost$' none.err

# Who sent it.
mkdir -p "$slice/$unit/below"
in_unit() { # control group below the slice, command...
	local group=$1
	shift
	(echo "$BASHPID" >"$slice/$group/cgroup.procs" && exec nsenter --net="/run/netns/$host" "$@")
}
last() { # of which events, what holds for the last one
	tail -n 50 "$dir/events" | jq -es "[.[] | select($1)] | last | $2" || { tail -n 1 "$dir/events"; return 1; }
}
watch text
text=$!
watch json --json
json=$!
watch none --pcap "$dir/who.pcap"
who=$!
in_unit "$unit" setpriv --reuid 65534 --clear-groups bash -c 'echo x >/dev/udp/10.77.0.2/7200' 2>/dev/null
path=/merlontest$$.slice/$unit
sent=".MERLON_UNIT == \"$unit\" and .MERLON_CGROUP == \"$path\" and .MERLON_UID == \"65534\""
ok "unit, control group and user of a datagram" eventually last '.MERLON_DPORT == "7200"' "$sent"
in_unit "$unit/below" setpriv --reuid 65534 --clear-groups timeout 0.3 bash -c 'echo >/dev/tcp/10.77.0.2/7300' 2>/dev/null
ok "... of a connection, from a group below the unit's" eventually last '.MERLON_DPORT == "7300"' ".MERLON_UNIT == \"$unit\" and .MERLON_CGROUP == \"$path/below\""
ok "the monitor has them, as JSON" eventually any "$sent" json
ok "... as text" eventually grep -Eq "7200 .* udp dport 7200 drop .*  by $unit, uid 65534\$" text
ok "... in packets' comments" eventually sh -c "python3 blocks.py who.pcap | jq -es 'any(.[]; $sent)'"
cat >listen.py <<'END'
import os, socket
s = socket.create_server(('10.77.0.1', 7004))
print(os.getpid(), flush=True)
s.accept()
END
in_unit "$unit" python3 listen.py >listener &
listener=$!
eventually [ -s listener ]
connects_not 7004
kill "$(cat listener)"
wait "$listener" 2>/dev/null
ok "of the answer to a connection: who listens" eventually last '.MERLON_SPORT == "7004"' ".MERLON_UNIT == \"$unit\" and .MERLON_UID == \"0\""
cat >closes.py <<'END'
import socket
s = socket.create_server(('10.77.0.1', 7006))
print('there', flush=True)
s.accept()[0].close()
END
in_host python3 closes.py >closes.out &
eventually [ -s closes.out ]
# it closes first, which the other end has acknowledged before it closes: so it is a socket in TIME_WAIT that acknowledges that
in_client python3 -c "import socket, time; s = socket.create_connection(('10.77.0.1', 7006)); s.recv(1); time.sleep(0.5); s.close()"
wait $!
of_7006() { jq -es '[.[] | select(.MERLON_SPORT == "7006") | .MERLON_UID] | length > 2 and .[0] == "0" and .[-1] == null and (index("65534") | not)' "$dir/events"; }
ok "what is sent for a socket that was closed is nobody's" eventually of_7006
connects_not 7005
nobody='(. != null) and ((has("MERLON_UID") or has("MERLON_UNIT") or has("MERLON_CGROUP")) | not)'
ok "the kernel's own reset is nobody's" eventually last '.MERLON_SPORT == "7005"' "$nobody"
in_client ping -c 1 -W 0.1 -q 10.77.0.1 >/dev/null
ok "... nor its echo reply" eventually last '.MERLON_PROTO == "ICMP"' "$nobody"
send_udp 7002 1
ok "... nor what comes in" eventually last '.MERLON_DPORT == "7002"' "$nobody"
mkdir "$slice/late.service"
# the tree of groups is read again after a pause
late_named() {
	in_unit late.service bash -c 'echo x >/dev/udp/10.77.0.2/7200'
	last '.MERLON_DPORT == "7200"' '.MERLON_UNIT == "late.service" and .MERLON_UID == "0"'
}
ok "a unit that is new" eventually late_named
in_host bash -c "echo x >/dev/udp/10.77.0.2/7200"
ok "a group that is no unit's" eventually last '.MERLON_DPORT == "7200"' '.MERLON_UID == "0" and (has("MERLON_UNIT") | not)'
kill "$text" "$json" "$who"
wait "$text" "$json" "$who" 2>/dev/null
finish
