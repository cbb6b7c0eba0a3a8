#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# With which packets a connection begins that the stack discards behind the rules: with none. What then goes the other way
# fares as in nf_tables.
set -u
# shellcheck source=tests/lib/service.sh
. "${MERLON_TOP_SRCDIR:?}/tests/lib/service.sh"

cd "$dir" || exit 99
make_network
in_host sh -c 'ip link add up1 type veth peer name down1 && ip addr add 10.78.0.1/24 dev up1 && ip link set up1 up && ip link set down1 up
	ip neigh add 10.78.0.2 lladdr 02:00:00:00:00:78 dev up1
	sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.up0.rp_filter=0 net.ipv4.conf.up1.rp_filter=0'
in_host ip neigh add 10.77.0.3 lladdr 02:00:00:00:00:77 dev up0
in_client ip link set down0 promisc on
cat >policy.nft <<'END2'
table inet p {
	chain i { type filter hook input priority 0; policy drop; ct state established accept; udp dport { 5000, 7000 } accept; }
	chain f { type filter hook forward priority 0; policy drop; ct state established counter accept; }
	chain o { type filter hook output priority 0; policy drop; ct state established accept; }
}
END2
# datagram DEVICE SOURCE PORT DESTINATION PORT: in a frame for whom it concerns, who does not ask where it comes from.
cat >datagram.py <<'END2'
import socket, struct, sys
device, source, sport, destination, dport, to = sys.argv[1:]
def sum16(b):
    n = sum(struct.unpack('!%dH' % (len(b) // 2), b))
    n = (n >> 16) + (n & 0xffff)
    return ~(n + (n >> 16)) & 0xffff
ends = socket.inet_aton(source) + socket.inet_aton(destination)
udp = struct.pack('!HHHH', int(sport), int(dport), 12, 0) + b'data'
udp = udp[:6] + struct.pack('!H', sum16(ends + struct.pack('!HH', 17, 12) + udp)) + udp[8:]
ip = struct.pack('!BBHHHBBH', 0x45, 0, 32, 1, 0, 64, 17, 0) + ends
ip = ip[:10] + struct.pack('!H', sum16(ip)) + ip[12:]
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind((device, 0))
s.send(bytes.fromhex(to.replace(':', '')) + bytes.fromhex('020000000002') + b'\x08\x00' + ip + udp)
END2
# send.py SOURCE PORT DESTINATION PORT: the host itself sends; what output denies is no error here.
cat >send.py <<'END2'
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
s.bind((sys.argv[1], int(sys.argv[2])))
try:
    s.sendto(b'data', (sys.argv[3], int(sys.argv[4])))
except PermissionError:
    pass
END2
# came.py DEVICE SPORT DPORT: whether such a datagram comes by until half a second after it was sent (the file sent); says when it
# listens.
cat >came.py <<'END2'
import os, socket, struct, sys, time
s = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
s.bind((sys.argv[1], 0))
want, end = (int(sys.argv[2]), int(sys.argv[3])), None
s.settimeout(0.05)
print('ready', flush=True)
while end is None or time.time() < end:
    if end is None and os.path.exists('sent'):
        end = time.time() + 0.5
    try:
        d = s.recv(2048)
    except TimeoutError:
        continue
    if d[:1] == b'\x45' and d[9] == 17 and struct.unpack('!HH', d[20:24]) == want:
        sys.exit(print('came'))
print('nothing')
END2
mac_of() { in_host ip -j link show "$1" | jq -r '.[0].address'; }
mac0=$(mac_of up0) mac1=$(mac_of up1)
# watched NAMESPACE DEVICE SPORT DPORT COMMAND...: what came there while the command ran.
watched() {
	local where=$1
	shift
	rm -f sent
	exec 7< <(exec nsenter --net="/run/netns/$where" python3 came.py "$1" "$2" "$3")
	read -r _ <&7
	shift 3
	"$@"
	touch sent
	cat <&7
	exec 7<&-
}
from_client() { in_client python3 datagram.py down0 "$@" "$mac0"; }
from_other() { in_host python3 datagram.py down1 "$@" "$mac1"; }
from_host() { in_host python3 send.py "$@"; }

# Each says what came after the beginning that was none, and without it; the last one after a beginning that was one.
own() { from_client 10.77.0.1 "$1" 10.77.0.1 7000; watched "$host" lo 7000 "$2" from_host 10.77.0.1 7000 10.77.0.1 "$2"; }
broadcast() { from_client 10.77.0.255 "$1" 10.77.0.1 7000; watched "$client" down0 7000 "$2" from_host 10.77.0.1 7000 10.77.0.255 "$2"; }
answer() { from_client 10.77.0.3 "$1" 10.77.0.1 7000; watched "$client" down0 7000 "$2" from_host 10.77.0.1 7000 10.77.0.3 "$2"; }
run() {
	local way port=7120
	# prohibited by a rule first: from then on the kernel looks up the route of each source (fib_validate_source())
	for way in "rule add from 10.77.0.3 to 10.78.0.2 prohibit pref 100" "rule add from 10.77.0.3 to 10.78.0.2 blackhole pref 100" \
		"route add blackhole 10.78.0.2/32" "route add unreachable 10.78.0.2/32" "route add prohibit 10.78.0.2/32"; do
		port=$((port + 1))
		# shellcheck disable=SC2086
		in_host ip $way
		from_client 10.77.0.3 "$port" 10.78.0.2 5000
		# shellcheck disable=SC2086
		in_host ip ${way/ add / del }
		echo "${way%% *} $(watched "$client" down0 5000 "$port" from_other 10.78.0.2 5000 10.77.0.3 "$port")"
	done
	echo "own $(own 7101 7101) $(own 7102 7103)"
	echo "broadcast $(broadcast 7111 7111) $(broadcast 7112 7113)"
	echo "begun $(answer 7131 7131) $(answer 7132 7133)"
}
in_host nft -f policy.nft
run >nft.out
in_host nft flush ruleset
start_daemon || { echo "Bail out! merlond does not start: $(cat log)"; exit 1; }
ok "the policy" "$merlon" apply policy.nft
run >merlon.out
ok "the kernel lets nothing out but the answer" diff - nft.out <<'END2'
rule nothing
rule nothing
route nothing
route nothing
route nothing
own nothing nothing
broadcast nothing nothing
begun came nothing
END2
ok "merlon fares alike" diff nft.out merlon.out
in_host ip addr add 10.77.0.9/24 dev up0
own_9() { from_client 10.77.0.9 "$1" 10.77.0.9 7000; watched "$host" lo 7000 "$2" from_host 10.77.0.9 7000 10.77.0.9 "$2"; }
sleep 0.3
ok "also of an address that is new" [ "$(own_9 7141 7141)" = nothing ]
in_host ip addr del 10.77.0.9/24 dev up0
in_host ip neigh add 10.77.0.9 lladdr 02:00:00:00:00:79 dev up0
sleep 0.3
later() { from_client 10.77.0.9 7151 10.77.0.1 7000; watched "$client" down0 7000 7151 from_host 10.77.0.1 7000 10.77.0.9 7151; }
ok "another host's that was this one's before begins one" [ "$(later)" = came ]
ok "stop" "$merlon" stop
wait "$daemon"
daemon=''
finish
