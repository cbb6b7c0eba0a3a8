#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# `merlon perf`: its figures agree with the traffic, it finds what is unhealthy and says why, in each of its forms; the kernel's
# count of programs' runs ends with it, however it ends.
set -u
# shellcheck source=tests/lib/service.sh
. "${MERLON_TOP_SRCDIR:?}/tests/lib/service.sh"
send=$build/tests/bench/send

cd "$dir" || exit 99
ok "without merlond: an error" fails 1 'merlond is not running' "$merlon" perf -d 0.1
make_network
cat >policy.nft <<'END'
table inet t {
	chain in {
		type filter hook input priority filter; policy accept;
		udp dport 7003 limit rate 1000000000/second accept
		udp dport 7004 drop
		udp dport 7005 reject
	}
}
END
printf '[Sessions]\nMax=4096\n' >merlon.conf
options=(--config "$dir/merlon.conf")
# As systemd does for merlon-answers.socket; a process of its own answers rejected packets then.
listen() {
	(exec nsenter --net="/run/netns/$host" systemd-socket-activate --seqpacket --listen="$dir/answers.sock" \
		"$build/src/merlon-answers") >answers.log 2>&1 &
	answers=$!
	for _ in $(seq 300); do [ ! -S answers.sock ] || return 0; sleep 0.1; done
	return 1
}
if command -v systemd-socket-activate >/dev/null && listen; then options+=(--answers "$dir/answers.sock"); fi
start_daemon "${options[@]}" || { echo "Bail out! merlond does not start: $(cat log)"; exit 1; }

# How it is called.
ok "usage: a time that is none" fails 2 '--duration is a number of seconds .*"long"' "$merlon" perf -d long
for value in 0 -1 1s nan inf 1e99 ''; do
	ok "... \"$value\"" fails 2 '--interval is a number of seconds' "$merlon" perf -t "$value"
done
ok "... a word" fails 2 'takes no files' "$merlon" perf eth0
ok "... an option of another command" fails 2 'no such option as --audit' "$merlon" perf --audit
ok "... and an option of its own with another one" fails 2 'status.* no such option as -d, --duration' "$merlon" status -d 1
ok "an interface that is not there" fails 1 'no interface "nosuch" in the network namespace' "$merlon" perf -d 0.1 -i nosuch
messages() { "$merlon" perf -d 0.1 -i nosuch --json 2>/dev/null | jq -e '.messages[0].cure | contains("merlon status")'; }
ok "... as JSON" messages
ok "--help" sh -c "'$merlon' perf --help | grep -q -e '-i, --interface'"

# sample ARGUMENT...: one of half a second, to the file `sample`.
sample() { "$merlon" perf -d 0.5 --json "$@" >sample 2>sample.err; }
# Of several, what is said of the last one counts.
says() { jq -e "$1" sample >/dev/null || { cat sample sample.err; return 1; }; }
finding() { says "any(.findings[]; .about == \"$1\" and .healthy == $2 and (.text | test(\"$3\")))"; }

sample
ok "nothing is in force: that is said" finding policy null 'everything passes'
ok "... of too few packets no rate" finding 'hit rate' null 'too few'
ok "... which is null" says '.hit_rate == null and .packets == 0'
ok "apply" "$merlon" apply policy.nft

mac=$(in_host ip -j link show up0 | jq -r '.[0].address')
# traffic FLOWS PORT PACKETS [PER-S]: in the background, $!.
traffic() {
	awk -v n="$1" -v port="$2" 'BEGIN { for (i = 0; i < n; i++) printf "udp 10.%d.%d.9 %d 10.77.0.1 %d\n", 78 + i / 250 % 100, i % 250, 1024 + i % 60000, port }' >flows
	(exec nsenter --net="/run/netns/$client" "$send" down0 "$mac" flows "${@:3}") >/dev/null &
}
# under FLOWS PORT ARGUMENT...: a sample while there are such packets.
under() {
	local sender
	traffic "$1" "$2" 100000000 20000
	sender=$!
	sleep 0.2
	sample "${@:3}"
	kill "$sender"
	wait "$sender" 2>/dev/null
}

# Few flows again and again: the sessions answer.
in_client ping -q -f -w 10 10.77.0.1 >/dev/null &
pings=$!
under 20 7001 -i up0
kill -INT $pings
wait $pings
ok "a mix that sessions answer: a hit rate over 99 %" says '.hit_rate > 0.99 and .hit_rate <= 1'
ok "... which is healthy" finding 'hit rate' true '^(99|100)\\.'
ok "... and so is the data path" finding 'data path' true 'no failures'
ok "... packets of each hook" says '.hooks.input.packets_per_s > 1000 and .hooks.output.packets_per_s > 100 and .hooks.forward.packets_per_s == 0'
ok "... which are all packets" says '(.packets_per_s - .hooks.input.packets_per_s - .hooks.output.packets_per_s | fabs) < 1'
ok "... and their bits: 46 bytes a datagram, 84 an echo" says '(.hooks.input.bits_per_s / .hooks.input.packets_per_s) as $b | $b >= 8 * 46 and $b <= 8 * 84'
ok "... 84 bytes an answer" says '(.hooks.output.bits_per_s / .hooks.output.packets_per_s) as $b | $b > 8 * 80 and $b < 8 * 90'
ok "... the interface's own" says '.interface.name == "up0" and .interface.filtered and .interface.rx_packets_per_s >= .hooks.input.packets_per_s * 0.9 and
	.interface.rx_bits_per_s > .hooks.input.bits_per_s * 0.9 and .interface.tx_packets_per_s > 100'
ok "... nanoseconds a packet" says '.ns_per_packet | .all > 5 and .hot > 5 and .hot <= .all and .cold > 5 and .cold_samples >= 4'
ok "... of the processor, of memory" says '(.cpu_pct | .merlond >= 0 and .softirq >= 0 and .softirq_most <= .softirq) and .rss_bytes > 1000000 and .maps_bytes > 1000000'
ok "... sessions" says '.sessions + .embryonic >= 20 and .max_sessions == 4096'
if [ "${#options[@]}" -gt 2 ]; then
	ok "... of the process that answers" says '.cpu_pct.answers >= 0'
	answering() { busctl --address="unix:path=$MERLON_SOCKET" call org.merlon /org/merlon/Control1 org.merlon.Control1 Perf s '' | sed 's/^s //' | jq -r . | jq .answers.pid; }
	ok "... which is that one" [ "$(answering)" = "$answers" ]
fi
in_host ip link add quiet0 type veth peer name quiet1
"$merlon" stop >/dev/null
wait "$daemon"
if [ "${#options[@]}" -gt 2 ]; then
	# it has ended, too
	wait "$answers"
	rm -f answers.sock
	listen
fi
start_daemon --interfaces nosuch0 && "$merlon" apply policy.nft >/dev/null 2>&1
sample
ok "no interface that is filtered: unhealthy" finding policy false 'on no interface'
ok "... as the figures say" says '.interfaces == 0 and .mode == "enforce" and .healthy == false'
"$merlon" stop >/dev/null
wait "$daemon"
start_daemon "${options[@]}" --interfaces up0 || { echo "Bail out! merlond does not start again: $(cat log)"; exit 1; }
"$merlon" apply policy.nft >/dev/null
sample -i quiet0
ok "an interface that is not filtered: unhealthy" finding interface false 'quiet0 is not filtered'

# Floods.
traffic 90000 7001 20000
wait $!
under 90000 7001
ok "a flood of new flows: a low hit rate" says '.hit_rate < 0.5 and .new_sessions_per_s > 1000 and .healthy == false'
ok "... is unhealthy, and why" finding 'hit rate' false '[0-9]+ began a flow'
ok "... and the table is full" finding sessions false 'table is full|found no place'
ok "... with a hint" says 'all(.findings[]; .healthy != false or (.cure | length > 20))'
under 20 7004
ok "a flood of denied packets" says '.hit_rate < 0.5 and .drops_per_s > 1000 and .new_sessions_per_s < 100'
ok "... is another reason" finding 'hit rate' false '[0-9]+ were denied'
under 20 7003
ok "packets that rules look at one by one" says '.hit_rate < 0.5 and .drops_per_s == 0'
ok "... are a third one" finding 'hit rate' false 'rules that look at each packet'
under 20 7005
ok "rejects are counted" says '.rejects_per_s > 1000'

# Events that are lost, since merlond does not read them for a while.
"$merlon" perf --interval 0.3 --json >sample 2>sample.err &
perf=$!
for _ in $(seq 300); do [ ! -s sample ] || break; sleep 0.05; done
kill -STOP "$daemon"
traffic 20 7004 100000
wait $!
kill -CONT "$daemon"
sleep 0.3
kill -INT $perf
wait $perf
ok "lost events" says '.events_lost > 1000'
ok "... are unhealthy" finding events false '^[0-9]+ lost'

# Its forms.
"$merlon" perf -d 0.7 -t 0.3 >lines
ok "lines, where there is no terminal: one a sample, and the sum" sh -c "grep -cE '^[0-9:]{8} (in all )?0\.[1-9] s, input .* events lost, (healthy|UNHEALTHY)\$' lines | grep -qx 4"
ok "... which comes last" sh -c "grep -v '^ ' lines | tail -n 1 | grep -q ' in all 0.7 s'"
ok "... no terminal's codes" sh -c "! grep -q '$(printf '\033')' lines"
"$merlon" perf -d 0.7 -t 0.3 --json >json
ok "JSON: an object a line" sh -c "[ \$(wc -l <json) = 4 ] && jq -es 'length == 4' json"
ok "... the last one is the sum" jq -es '[.[].summary] == [false, false, false, true] and (.[3].packets == (.[:3] | map(.packets) | add)) and .[3].seconds > 0.6' json
# The keys that the manual page has, and no others.
documented() { sed -n '/^\.Sh THE FIGURES/,/^\.Sh EXIT/p' "$top/man/merlon.8" | sed -nE 's/^\.It Li (.*)/\1/p' | tr -d ' ' | tr ',' '\n' | sort -u; }
keys() { jq -r '(., .hooks, .hooks.input, .interface, .cpu_pct, .ns_per_packet, .findings[0]) | keys_unsorted[]' sample | sort -u; }
sample -i up0
ok "... the manual page has every key, and no other" diff <(keys) <(documented)
python3 - "$merlon" >screen <<'END'
import os, pty, sys
sys.exit(os.waitstatus_to_exitcode(pty.spawn([sys.argv[1], 'perf', '-d', '0.5', '-t', '0.3', '-i', 'up0'])))
END
ok "a terminal: a table, from its first line on" sh -c "[ \$(grep -c '$(printf '\033')\[H$(printf '\033')\[2Jmerlon perf ' screen) = 2 ] && grep -q '^in all ' screen"
ok "... of all" sh -c "for line in 'input ' 'forward ' 'output ' 'up0 in ' 'up0 out ' 'hit rate ' 'ns/packet ' 'sessions ' 'memory ' 'events ' 'healthy '; do grep -q \"^\$line\" screen || { echo \"no \$line\"; exit 1; }; done"

# Others than root.
chmod 711 . && chmod 666 socket
setpriv --reuid=65534 --regid=65534 --clear-groups "$merlon" perf -d 0.3 --json >sample 2>sample.err
ok "others than root see the figures" says '.max_sessions == 4096'
ok "... but those that the kernel has to count" says '.ns_per_packet.all == null and .ns_per_packet.hot == null'
ok "... and are told so" grep -q 'only root may have the kernel count' sample.err

# The count of runs: it grows with packets while somebody has the kernel count, here or elsewhere on this machine.
runs() { bpftool -j prog show pinned "$dir/bpf/merlon/progs/ingress" | jq '.run_cnt // 0'; }
counts() {
	local before
	before=$(runs)
	in_client ping -q -c 1 10.77.0.1 >/dev/null
	[ "$(runs)" -gt "$before" ]
}
# What others have counted ends some time.
stands_still() {
	for _ in $(seq 300); do
		if ! counts; then return 0; fi
		sleep 0.1
	done
	return 1
}
begin() { # SIGNAL: one that counts is sent it
	"$merlon" perf -t 0.2 >lines 2>&1 &
	perf=$!
	for _ in $(seq 300); do [ "$(wc -l <lines)" -lt 2 ] || break; sleep 0.05; done
	counted=no
	if counts; then counted=yes; fi
	kill -s "$1" $perf
	wait $perf
	ended=$?
}
for signal in INT TERM; do
	begin $signal
	ok "SIG$signal ends it" [ "$ended" = 0 ]
	ok "... with the sum" sh -c "grep -v '^ ' lines | tail -n 1 | grep -q ' in all '"
	ok "... having counted" [ "$counted" = yes ]
	ok "... and nothing is counted any more" stands_still
done
begin KILL
ok "SIGKILL, too" [ "$ended" = 137 ]
ok "... having counted" [ "$counted" = yes ]
ok "... and then nothing is counted any more" stands_still
ok "merlond has it not count" [ -z "$(find "/proc/$daemon/fd" -lname '*bpf-stats*')" ]
"$merlon" perf -t 0.2 >lines 2>&1 &
perf=$!
for _ in $(seq 300); do [ "$(wc -l <lines)" -lt 1 ] || break; sleep 0.05; done
stop_daemon KILL
wait $perf
ok "it ends with merlond" [ "$?" = 1 ]
ok "... and says so" grep -q '^error: merlond ' lines
finish
