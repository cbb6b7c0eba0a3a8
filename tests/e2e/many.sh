#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# 100,000 rules by way of the daemon: applied, listed, judged with packets.
set -u
# shellcheck source=tests/lib/service.sh
. "${MERLON_TOP_SRCDIR:?}/tests/lib/service.sh"

cd "$dir" || exit 99
make_network
rules=100000
# Rule i lets the address 10.64.0.0 + i come to port 1000 + i % 50000; the client takes some of the addresses.
python3 - "$rules" <<'END'
import sys
n = int(sys.argv[1])
def rule(i): return f'10.{64 + (i >> 16)}.{i >> 8 & 255}.{i & 255}', 1000 + i % 50000
with open('many.v4', 'w') as f:
    f.write('*filter\n:INPUT DROP [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n')
    for i in range(n):
        f.write('-A INPUT -s %s/32 -p udp -m udp --dport %d -j ACCEPT\n' % rule(i))
    f.write('COMMIT\n')
END
# probe NUMBER OFFSET: a packet of the rule's source to its port and OFFSET more; how many the host accepted.
cat >probe.py <<'END'
import socket, subprocess, sys, time
host, client, pairs = sys.argv[1], sys.argv[2], [a.split(':') for a in sys.argv[3:]]
for number, offset in pairs:
    i = int(number)
    source, port = f'10.{64 + (i >> 16)}.{i >> 8 & 255}.{i & 255}', 1000 + i % 50000 + int(offset)
    subprocess.run(['ip', '-n', client, 'addr', 'replace', source + '/32', 'dev', 'down0'], check=True)
    code = f"import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('{source}', 0)); s.sendto(b'x', ('10.77.0.1', {port}))"
    receiver = subprocess.Popen(['nsenter', '--net=/run/netns/' + host, sys.executable, '-c',
        f"import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('', {port})); s.settimeout({5 if offset == '0' else 0.8}); print('ready', flush=True)\n"
        "try: s.recv(10); print('accept')\nexcept OSError: print('drop')"], stdout=subprocess.PIPE, text=True)
    receiver.stdout.readline()
    subprocess.run(['nsenter', '--net=/run/netns/' + client, sys.executable, '-c', code], check=True)
    print(number, offset, receiver.communicate()[0].strip())
    subprocess.run(['ip', '-n', client, 'addr', 'del', source + '/32', 'dev', 'down0'], check=True)
END
in_host ip route add 10.64.0.0/10 dev up0
for f in all up0; do in_host sh -c "echo 0 >/proc/sys/net/ipv4/conf/$f/rp_filter"; done
probes=()
for i in 0 1 255 256 4711 65535 65536 77777 $((rules - 1)); do probes+=("$i:0" "$i:1"); done
probe() {
	python3 probe.py "$host" "$client" "${probes[@]}" >verdicts
	[ "$(grep -c ' 0 accept$' verdicts)" = 9 ] && [ "$(grep -c ' 1 drop$' verdicts)" = 9 ] || { cat verdicts; return 1; }
}

start_daemon || { echo "Bail out! merlond does not start: $(cat log)"; exit 1; }
in_client ping -c 1 -W 1 -q 10.77.0.1 >/dev/null	# neighbours are known from here on
before=$(date +%s%N)
ok "apply of $rules rules" "$merlon" apply many.v4
echo "# $((($(date +%s%N) - before) / 1000000)) ms, $(sed -n 's/VmHWM:[^0-9]*//p' "/proc/$daemon/status") at most in the daemon"
ok "status counts them" status_is .rules "$rules"
ok "the first and the last, those between, and their neighbours" probe
ok "all are listed with their lines" [ "$("$merlon" list | grep -cE ' # handle [0-9]+, .*many.v4:[0-9]+$')" = "$rules" ]
ok "stop" "$merlon" stop
wait "$daemon"
daemon=''
finish
