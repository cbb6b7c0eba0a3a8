#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Rejected packets are answered by a process of its own: both families, errors and resets, past an output policy that denies
# what is not related; while merlond is killed and started again; again when that process was killed; no longer than there is
# a data plane.
set -u
# shellcheck source=tests/lib/service.sh
. "${MERLON_TOP_SRCDIR:?}/tests/lib/service.sh"
command -v systemd-socket-activate >/dev/null || { echo "1..0 # SKIP systemd-socket-activate is missing: tools/setup --test"; exit 0; }

cd "$dir" || exit 99
make_network
cat >policy.nft <<'END'
table inet t {
	chain in {
		type filter hook input priority filter; policy drop;
		icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
		meta l4proto udp reject
		meta l4proto tcp reject with tcp reset
	}
	chain out {
		type filter hook output priority filter; policy drop;
		icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
		ct state related counter accept
	}
}
END
cat >ask.py <<'END'
import socket, sys
kinds = {'tcp': socket.SOCK_STREAM, 'udp': socket.SOCK_DGRAM}
silent = 0
for kind, to in [q.split(',') for q in sys.argv[2:]]:
    with socket.socket(socket.AF_INET6 if ':' in to else socket.AF_INET, kinds[kind]) as s:
        s.settimeout(float(sys.argv[1]))
        try:
            s.connect((to, 7000)); s.send(b'x'); s.recv(10)
        except ConnectionRefusedError:
            continue
        except OSError as e:
            print(kind, to, e)
            silent += 1
sys.exit(silent)
END
# answered PROTOCOL,ADDRESS...: the other end refuses.
answered() { in_client python3 ask.py 5 "$@"; }
silent() { ! in_client python3 ask.py 0.5 "$@"; }
all_answered() { answered tcp,10.77.0.1 tcp,fd77::1 udp,10.77.0.1 udp,fd77::1; }
# As systemd does for merlon-answers.socket: the process is started by the first connection.
listen() {
	rm -f answers.sock
	(exec nsenter --net="/run/netns/$host" systemd-socket-activate --seqpacket --listen="$dir/answers.sock" \
		"$build/src/merlon-answers") >>answers.log 2>&1 &
	answers=$!
	for _ in $(seq 300); do [ ! -S answers.sock ] || return 0; sleep 0.1; done
	return 1
}
warned() { "$merlon" status --json | jq -e 'any(.messages[]; tostring | contains("answer rejected packets"))'; }
no_capabilities() {
	[ "$(grep -cE '^Cap(Eff|Prm|Amb):	0+$' "/proc/$answers/status")" = 3 ]
}
gone() { ! kill -0 "$answers" 2>/dev/null; }

start_daemon --answers "$dir/answers.sock" || { echo "Bail out! merlond does not start: $(cat log)"; exit 1; }
ok "a daemon starts though nobody answers" "$merlon" apply policy.nft
ok "... says so" warned
ok "... and rejects in silence" silent udp,10.77.0.1
listen
ok "the process that answers is noticed when it is there" eventually not warned
ok "an error over IPv4" answered udp,10.77.0.1
ok "... over IPv6" answered udp,fd77::1
ok "a reset over IPv4" answered tcp,10.77.0.1
ok "... over IPv6" answered tcp,fd77::1
ok "they are related" sh -c "'$merlon' stats --json | jq -e 'any(.counters[]; (.rule | contains(\"related\")) and .packets >= 4)'"
ok "it has no capability left" no_capabilities
stop_daemon KILL
ok "without the daemon all are answered" all_answered
start_daemon --answers "$dir/answers.sock" || { echo "Bail out! merlond does not start again: $(cat log)"; exit 1; }
ok "... and with the next one" all_answered
stop_daemon TERM
cat >mute.py <<'END'
import signal, socket, sys
with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
    s.bind(sys.argv[1])
    s.listen()
    signal.pause()
END
python3 mute.py "$dir/mute.sock" &
mute=$!
eventually [ -S mute.sock ]
start_daemon --answers "$dir/mute.sock" || { echo "Bail out! merlond does not start: $(cat log)"; exit 1; }
ok "one that lets itself be talked to, and has said nothing yet, may be about to start" not warned
ok "... does not answer if it goes on so" eventually warned
kill $mute
wait $mute 2>/dev/null
stop_daemon TERM
start_daemon --answers "$dir/answers.sock" || { echo "Bail out! merlond does not start again: $(cat log)"; exit 1; }
ok "... another one does" eventually not warned
kill -STOP "$answers"
ok "one that is stopped does not answer" eventually warned
ok "... the log says so" eventually grep -q 'merlon-answers does not go on' log
ok "... packets are rejected all the same" silent tcp,10.77.0.1
kill -CONT "$answers"
ok "... it goes on" eventually not warned
ok "... and answers" all_answered
kill -KILL "$answers"
ok "that process is killed" eventually warned
ok "... packets are rejected all the same" silent tcp,10.77.0.1
listen
ok "the next one is found" eventually not warned
ok "... and answers" all_answered
cat >rubbish.py <<'END'
import array, os, socket, sys
null = array.array('i', [os.open('/dev/null', os.O_RDONLY)])
for rubbish in b'', b'x', b'x' * 100, b'\0\x10\0\0':
    for with_it in null[:0], null, null * 3:
        # that is the end of it, rightly: a ring of no descriptor
        if len(rubbish) == 4 and not with_it:
            continue
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
            s.connect(sys.argv[1])
            s.sendmsg([rubbish], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, with_it)] if with_it else [])
            s.settimeout(10)
            while s.recv(100):
                pass
END
descriptors() { find "/proc/$answers/fd" -lname /dev/null | wc -l; }
before=$(descriptors)
ok "one that is talked to in rubbish" python3 rubbish.py "$dir/answers.sock"
ok "... answers on" all_answered
ok "... is the same" not gone
ok "... keeps no descriptor of it" [ "$(descriptors)" = "$before" ]
ok "... and merlond comes back to it" eventually not warned
ok "merlon stop" "$merlon" stop
ok "... ends it, too" eventually gone
ok "without its socket it does not start" sh -c "! '$build/src/merlon-answers' 2>started.log && grep -q merlon-answers.socket started.log"
finish
