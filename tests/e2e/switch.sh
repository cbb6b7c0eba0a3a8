#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# From netfilter to merlon with connections open: those that nf_conntrack knows go on under the same rules, also where only
# their first packets are let in by name.
set -u
# shellcheck source=tests/lib/service.sh
. "${MERLON_TOP_SRCDIR:?}/tests/lib/service.sh"

cd "$dir" || exit 99
make_network
cat >policy.nft <<'END2'
table inet p {
	chain i {
		type filter hook input priority 0; policy drop;
		icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
		ct state established,related accept
		ct state new tcp dport 7000 tcp flags & (fin|syn|rst|ack) == syn accept
		ct state new udp dport 7001 meta length 29 accept
	}
	chain o {
		type filter hook output priority 0; policy drop;
		icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
		ct state established,related accept
		ct state new tcp dport 7002 tcp flags & (fin|syn|rst|ack) == syn accept
	}
}
END2
# server.py PORT: answers each line that it gets with the same, over both families; UDP on 7001.
cat >server.py <<'END2'
import selectors, socket, sys
sel = selectors.DefaultSelector()
t = socket.socket(socket.AF_INET6); t.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
t.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0); t.bind(('::', int(sys.argv[1]))); t.listen()
u = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); u.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0); u.bind(('::', 7001))
sel.register(t, selectors.EVENT_READ); sel.register(u, selectors.EVENT_READ)
print('ready', flush=True)
while True:
    for key, _ in sel.select():
        if key.fileobj is t:
            sel.register(t.accept()[0], selectors.EVENT_READ)
        elif key.fileobj is u:
            u.sendto(*u.recvfrom(2048))
        else:
            data = key.fileobj.recv(2048)
            key.fileobj.send(data) if data else sel.unregister(key.fileobj)
END2
# talk.py ADDRESS PORT [udp]: opens a connection, says so, and then does what its input says: "echo" is answered with
# "answered" or "silence".
cat >talk.py <<'END2'
import socket, sys
address, port = sys.argv[1], int(sys.argv[2])
kind = socket.SOCK_DGRAM if 'udp' in sys.argv else socket.SOCK_STREAM
s = socket.socket(socket.AF_INET6 if ':' in address else socket.AF_INET, kind)
s.settimeout(1.5)
s.connect((address, port))
def echo(data):
    try:
        s.send(data)
        return 'answered' if s.recv(2048) == data else 'other'
    except (TimeoutError, ConnectionRefusedError, PermissionError) as e:
        return 'silence'
print(echo(b'a'), flush=True)
for line in sys.stdin:
    print(echo(line.strip().encode()), flush=True)
END2
begin() { # NAME NAMESPACE ARGUMENT...
	local name=$1 where=$2
	shift 2
	mkfifo "in.$name"
	(exec nsenter --net="/run/netns/$where" python3 talk.py "$@") <"in.$name" >"out.$name" 2>&1 &
	eval "exec {fd_$name}>in.$name"
}
heard() { for _ in $(seq 40); do [ "$(wc -l <"out.$1")" -ge "$2" ] && break; sleep 0.05; done; tail -n 1 "out.$1"; }
say() { # NAME WORD
	local n fd=fd_$1
	n=$(wc -l <"out.$1")
	echo "$2" >&"${!fd}"
	heard "$1" $((n + 1))
}
(exec nsenter --net="/run/netns/$host" python3 server.py 7000) >server.host 2>&1 &
(exec nsenter --net="/run/netns/$client" python3 server.py 7002) >server.client 2>&1 &
for _ in $(seq 300); do grep -q ready server.host && grep -q ready server.client && break; sleep 0.1; done
in_host nft -f policy.nft
begin in4 "$client" 10.77.0.1 7000
begin in6 "$client" fd77::1 7000
begin out4 "$host" 10.77.0.2 7002
begin udp "$client" 10.77.0.1 7001 udp
names="in4 in6 out4 udp"
for name in $names; do ok "under nf_tables: $name" [ "$(heard "$name" 1)" = answered ]; done
ok "... longer datagrams are of a known flow only" [ "$(say udp longer)" = answered ]

# closed FROM: a connection from that port that is opened and closed; opened FROM: whether another one can be.
closed() { in_client python3 -c "import socket
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(('10.77.0.2', $1)); s.connect(('10.77.0.1', 7000)); s.close()"; }
opened() { in_client timeout 2 python3 -c "import socket
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(('10.77.0.2', $1)); s.settimeout(1); s.connect(('10.77.0.1', 7000))" 2>/dev/null; }
closed 40001
start_daemon || { echo "Bail out! merlond does not start: $(cat log)"; exit 1; }
ok "the same rules" sh -c "'$merlon' apply policy.nft | grep -E '^[0-9]+ connections that nf_conntrack knows are taken over$'"
in_host nft flush ruleset
ok "their sessions are known before a packet comes" sh -c "'$merlon' sessions --json | jq -e '[.[] | select(.packets_original == 0)] | length >= 4'"
for name in $names; do ok "they go on: $name" [ "$(say "$name" longer)" = answered ]; done
begin late "$client" 10.77.0.1 7001 udp
ok "a new one is judged as new" [ "$(heard late 1)" = answered ]
mark() { in_client python3 - "$1" <<'END2'
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(0.5); s.connect(('10.77.0.1', 7001)); s.send(sys.argv[1].encode())
try: print('answered' if s.recv(99) else '')
except TimeoutError: print('silence')
END2
}
ok "... and denied as new" [ "$(mark longer)" = silence ]
ok "the second policy takes nothing over" sh -c "'$merlon' apply --json policy.nft | jq -e '.adopted == 0'"
for name in $names; do ok "they go on under it: $name" [ "$(say "$name" again)" = answered ]; done
sed '/ct state new/d' policy.nft >closed.nft
ok "no new ones any more" "$merlon" apply closed.nft
ok "... nor one in the place of what is over" not opened 40001
ok "... nor another" not opened 40002
ok "stop" "$merlon" stop
wait "$daemon"
daemon=''

finish
