#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# What holds when a session has an answer already, when others are on the interface, and when the daemon meets trouble.
set -u
# shellcheck source=tests/lib/service.sh
. "${MERLON_TOP_SRCDIR:?}/tests/lib/service.sh"

cd "$dir" || exit 99
make_network
cat >policy.nft <<'END'
table inet t {
	chain in {
		type filter hook input priority filter; policy drop;
		iifname { "lo", "x*" } accept
		ct state invalid counter
		icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, echo-request } accept
		ip protocol icmp accept
		udp dport 7001 accept
		th dport 53 accept
	}
	chain out {
		type filter hook output priority filter; policy accept;
		tcp dport 9 drop
		udp dport 7003 reject
	}
}
END
# receive PROTOCOL PORT SECONDS: says what arrives, a port a line (UDP: the number of bytes, ICMP: the type), until nothing has come for
# so long after all was sent (the file sent).
cat >receive.py <<'END'
import os, socket, sys
proto, port, seconds = map(int, sys.argv[1:])
if proto == 17:
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('10.77.0.1', port))
else:
    s = socket.socket(socket.AF_INET, socket.SOCK_RAW, proto)
s.settimeout(seconds)
print('ready', flush=True)
ends = False
while not ends:
    ends = os.path.exists('sent')
    try:
        while True:
            d = s.recv(65536)
            print(len(d) if proto == 17 else d[20] if proto == 1 else int.from_bytes(d[22:24], 'big'), flush=True)
    except TimeoutError:
        pass
END
# first.py INTERFACE [N]: attaches N programs that accept everything (return TC_ACT_OK) at TCX ingress, and stays.
cat >first.py <<'END'
import ctypes, os, signal, socket, struct, sys
bpf_number = {'x86_64': 321, 'aarch64': 280}[os.uname().machine]
def bpf(command, attributes):
    buffer = ctypes.create_string_buffer(attributes, 128)
    fd = ctypes.CDLL(None, use_errno=True).syscall(bpf_number, command, buffer, 128)
    return fd if fd >= 0 else sys.exit(os.strerror(ctypes.get_errno()))
code = ctypes.create_string_buffer(struct.pack('<BBhiBBhi', 0xb7, 0, 0, 0, 0x95, 0, 0, 0))
name = ctypes.create_string_buffer(b'GPL')
for _ in range(int((sys.argv + [1])[2])):
    program = bpf(5, struct.pack('=IIQQ', 3, 2, ctypes.addressof(code), ctypes.addressof(name)))
    link = bpf(28, struct.pack('=IIII', program, socket.if_nametoindex(sys.argv[1]), 46, 0))
print('attached', flush=True)
signal.pause()
END
receiver=''
receive() {
	rm -f sent got
	(exec nsenter --net="/run/netns/$host" python3 receive.py "$@" >got 2>&1) &
	receiver=$!
	for _ in $(seq 300); do [ -s got ] && break; sleep 0.1; done
}
received() { # lines that must have come, all others counted
	local want=$1 got
	touch sent
	wait "$receiver"
	got=$(tail -n +2 got | sort | uniq -c | awk '{ print $1 "x" $2 }' | tr '\n' ' ')
	[ "$got" = "$want" ] || { echo "there came $got, not $want"; return 1; }
}
send_udp() { # port, bytes, count
	in_client python3 -c "
import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _ in range($3): s.sendto(bytes($2), ('10.77.0.1', $1)); time.sleep(0.01)"
}
send_raw() { # protocol, what is where a destination port would be
	in_client python3 -c "
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, $1)
for _ in range(3): s.sendto(b'\0\0' + ($2).to_bytes(2, 'big') + b'payload', ('10.77.0.1', 0))"
}

start_daemon || { echo "Bail out! merlond does not start: $(cat log)"; exit 1; }
ok "apply" "$merlon" apply policy.nft

# Fragments of a flow whose verdict is known: the first one must say so to the others.
# Where no rule asks for a connection, nf_tables judges those of IPv6 one by one: without a protocol they are dropped here.
ok "large pings, one after the other" in_client ping -c 4 -i 0.05 -W 1 -s 4000 -q 10.77.0.1
all_answered() { in_client ping -c 4 -i 0.05 -W 1 -s 4000 -q "$1" | grep ' 0% packet loss'; }
ok "... all answered" all_answered 10.77.0.1
ok "... over IPv6" all_answered fd77::1
receive 17 7001 1
send_udp 7001 4000 10
ok "large datagrams of one flow" received '10x4000 '

# Protocols without ports: packets of one session may differ in the bytes that a rule looks at.
receive 253 0 1
send_raw 253 22
send_raw 253 53
send_raw 253 22
ok "a session does not answer for bytes that its tuple lacks" received '3x53 '

# Of what the host sends itself, packets to all of a net are not answered (net/ipv4/icmp.c, nf_reject_ipv4.c: RTCF_BROADCAST).
send_to() { # address...
	in_host python3 -c "
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
for to in sys.argv[1:]: s.sendto(b'to all', (to, 7003))" "$@"
}
receive 1 0 1
send_to 10.77.0.255 10.77.0.0
ok "packets to a broadcast address are rejected in silence, in output" received ''
receive 1 0 1
send_to 10.77.0.2
ok "... others with an answer" received '1x3 '

# One owner.
ok "another daemon on the same pins is refused" fails 1 'another merlond has the data plane' in_host timeout 10 "$merlond" --foreground --socket "$dir/other" --pin-dir "$dir/bpf/merlon" --state-dir "$dir/other-state"
ok "... on the same state, too" fails 1 'another merlond keeps its policy' in_client timeout 10 "$merlond" --foreground --socket "$dir/other" --pin-dir "$dir/bpf/other" --state-dir "$dir/state"
ok "... the first one goes on" status_is .mode enforce
ok "since when is known" sh -c "'$merlon' status --json | jq -e '.since_us > 1600000000000000'"
since=$("$merlon" status --json | jq .since_us)
stop_daemon KILL
start_daemon || { echo "Bail out! merlond does not start after SIGKILL: $(cat log)"; exit 1; }
ok "... also to the next daemon" status_is .since_us "$since"

# Killed while a policy came into force: what the maps say then is put together here.
control=$dir/bpf/merlon/maps/control entry=$dir/bpf/merlon/maps/entry
bytes_of() { bpftool -j map lookup pinned "$1" key hex "$2" 00 00 00 | jq -r '.value | if type == "array" then map(ltrimstr("0x")) | join(" ") else . end'; }
before=$(bytes_of "$control" 00)
ok "audit" "$merlon" apply --audit policy.nft
generation=$("$merlon" status --json | jq .generation)
stop_daemon KILL
# shellcheck disable=SC2086
bpftool map update pinned "$control" key hex 00 00 00 00 value hex $before
start_daemon || { echo "Bail out! merlond does not start: $(cat log)"; exit 1; }
ok "killed before the generation: it is the image's" status_is .generation "$generation"
ok "... and the mode is the policy's" status_is .mode audit
ok "enforced again" "$merlon" apply policy.nft
stop_daemon KILL
bpftool map update pinned "$entry" key hex 01 00 00 00 value pinned "$dir/bpf/merlon/progs/egress"
start_daemon || { echo "Bail out! merlond does not start with two policies in its slots: $(cat log)"; exit 1; }
ok "killed between two slots: the next daemon goes on from there" status_is .mode enforce
leaves() { in_host timeout 2 bash -c 'exec 3<>/dev/tcp/10.77.0.2/9' 2>&1 | grep -q refused; }
ok "... with both of the policy" not leaves

# An interface that is moved away keeps its index there, and another one may get the same here.
if [ "$("$merlon" status --json | jq -r .attach)" = tcx ]; then
	in_host ip link add v0 index 50 type veth peer name v1 index 51
	for _ in $(seq 300); do status_is '.interfaces | length' 4 >/dev/null && break; sleep 0.1; done
	stop_daemon TERM
	in_host ip link set v0 netns "$client"
	in_host ip link add w0 index 50 type veth peer name w1 index 52
	in_host sh -c 'ip addr add 10.78.0.1/24 dev w0; ip link set w0 up; ip link set w1 netns "$1"' - "$client"
	in_client sh -c 'ip addr add 10.78.0.2/24 dev w1; ip link set w1 up'
	start_daemon || { echo "Bail out! merlond does not start: $(cat log)"; exit 1; }
	refused() { in_client timeout 2 bash -c 'exec 3<>/dev/tcp/10.78.0.1/9' 2>&1 | grep -q refused; }
	ok "the new interface of an old index is filtered" not refused
	# Another's program that was there first, and ends the chain.
	stop_daemon TERM
	rm "$dir/bpf/merlon/links/50-ingress" "$dir/bpf/merlon/links/50-egress"
	(exec nsenter --net="/run/netns/$host" python3 first.py w0 >first.out) &
	other=$!
	for _ in $(seq 300); do [ -s first.out ] && break; sleep 0.1; done
	start_daemon || { echo "Bail out! merlond does not start: $(cat log)"; exit 1; }
	ok "another program on the interface" [ -s first.out ]
	ok "... does not let packets by" not refused
	kill "$other"
	in_host ip link del w0
	in_client ip link del v0
	ok "... and forgotten" sh -c "for i in 1 2 3 4 5 6 7 8 9; do '$merlon' status --json | jq -e '.interfaces | sort == [\"lo\", \"up0\"]' && exit 0; sleep 0.2; done; exit 1"
fi

# More interfaces than the image has room for, and no new image to be had: they are filtered all the same.
mv state state.away && : >state
for i in $(seq 40); do in_host ip link add "xa$i" type veth peer name "xb$i"; done
all_attached() {
	for _ in $(seq 300); do status_is '.interfaces | length' 82 >/dev/null && return 0; sleep 0.1; done
	status_is '.interfaces | length' 82
}
ok "interfaces are attached when the policy cannot be renewed" all_attached
rm state && mv state.away state
ok "stop" "$merlon" stop
wait "$daemon"

# A router of which one interface is filtered: what leaves by the other is judged where it comes in.
cat >router.nft <<'END'
table ip t {
	chain f {
		type filter hook forward priority filter; policy drop;
		ip daddr 10.79.0.10 iifname "up0" oifname "up1" accept
	}
}
END
in_host ip link add up1 type veth peer name down1
in_host sh -c 'ip link set down1 netns "$1"; echo 1 >/proc/sys/net/ipv6/conf/up1/disable_ipv6; ip link set up1 up; ip addr add 10.79.0.1/24 dev up1; echo 1 >/proc/sys/net/ipv4/ip_forward
	for a in 9 10; do ip neigh add 10.79.0.$a lladdr 02:00:00:00:00:01 dev up1; done' - "$client"
in_client sh -c 'echo 1 >/proc/sys/net/ipv6/conf/down1/disable_ipv6; ip link set down1 up; ip route add 10.79.0.0/24 via 10.77.0.1'
start_daemon --interfaces up0 || { echo "Bail out! merlond does not start: $(cat log)"; exit 1; }
ok "one interface of a router" "$merlon" apply router.nft
# routed ADDRESS: how many of five datagrams come out at the other side.
routed() {
	local before
	before=$(in_client sh -c "ip -s -j link show down1" | jq '.[0].stats64.rx.packets')
	for _ in 1 2 3 4 5; do in_client bash -c "echo x >/dev/udp/$1/9"; done
	echo $(($(in_client sh -c "ip -s -j link show down1" | jq '.[0].stats64.rx.packets') - before))
}
ok "... what forward denies does not leave by the other" [ "$(routed 10.79.0.9)" = 0 ]
ok "... what it accepts does" [ "$(routed 10.79.0.10)" = 5 ]
stop_daemon TERM
start_daemon || { echo "Bail out! merlond does not start: $(cat log)"; exit 1; }
both_ways() {
	local denied accepted
	denied=$(routed 10.79.0.9)
	accepted=$(routed 10.79.0.10)
	[ "$denied $accepted" = "0 5" ] || { echo "$denied of 5 denied came, $accepted of 5 accepted"; return 1; }
}
ok "... and so when both are filtered" both_ways
# An interface that has no place left: not filtering it would be an opening.
if [ "$("$merlon" status --json | jq -r .attach)" = tcx ]; then
	stop_daemon TERM
	in_host ip link add t0 type veth peer name t1
	(exec nsenter --net="/run/netns/$host" python3 first.py t0 63 >full.out) &
	other=$!
	for _ in $(seq 300); do [ -s full.out ] && break; sleep 0.1; done
	start_daemon || { echo "Bail out! merlond does not start: $(cat log)"; exit 1; }
	generation=$("$merlon" status --json | jq .generation)
	ok "a taken interface: apply says so" fails 1 't0: another program holds the place' "$merlon" apply policy.nft
	ok "... the policy in force stays" status_is .generation "$generation"
	kill "$other"
	wait "$other" 2>/dev/null
	ok "... until there is room" "$merlon" apply policy.nft
	ok "... the next generation" status_is .generation $((generation + 1))
fi
ok "stop" "$merlon" stop
wait "$daemon"
daemon=''
finish
