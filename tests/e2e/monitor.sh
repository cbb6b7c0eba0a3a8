#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# `merlon monitor`: what it says of each packet, which ones it shows, what it loses and that it says so, how it ends; and
# `merlon stats --prometheus`.
set -u
# shellcheck source=tests/lib/service.sh
. "${MERLON_TOP_SRCDIR:?}/tests/lib/service.sh"
send=$build/tests/bench/send

cd "$dir" || exit 99
make_network
cat >policy.nft <<'END'
table inet t {
	chain in {
		type filter hook input priority filter; policy accept;
		udp dport 7002 counter reject
		tcp dport 7003 log prefix "seen: " level notice counter drop
		udp dport 7100-7199 counter drop comment "a \ backslash"
		ip protocol icmp goto pings
		icmpv6 type echo-request drop
	}
	chain pings {
		counter drop
	}
	chain out {
		type filter hook output priority filter; policy accept;
		udp dport 7200 drop
	}
}
END
start_daemon --events "$dir/events" || { echo "Bail out! merlond does not start: $(cat log)"; exit 1; }
ok "apply" "$merlon" apply policy.nft

# lines FILE N: it has so many lines, and a moment later not more.
lines() {
	for _ in $(seq 300); do [ "$(wc -l <"$dir/$1")" -ge "$2" ] && break; sleep 0.1; done
	sleep 0.2
	[ "$(wc -l <"$dir/$1")" = "$2" ] || { echo "$(wc -l <"$dir/$1") lines, not $2"; cat "$dir/$1" "$dir/$1.err"; return 1; }
}
# ends PROCESS: sets `ended` to its exit status, or to `not` if it goes on for three seconds.
ends() {
	for _ in $(seq 60); do kill -0 "$1" 2>/dev/null || break; sleep 0.05; done
	if kill -9 "$1" 2>/dev/null; then
		ended=not
		wait "$1"
	else
		wait "$1"
		ended=$?
	fi
}
packets() { # 8 events: the one that is logged is another one as it is dropped
	send_udp 7002 1
	in_client timeout 0.3 bash -c 'exec 3<>/dev/tcp/10.77.0.1/7003' 2>/dev/null
	send_udp 7100 2
	in_client ping -c 1 -W 0.1 -q 10.77.0.1 >/dev/null
	in_client ping -c 1 -W 0.1 -q fd77::1 >/dev/null
	in_host bash -c 'echo >/dev/udp/10.77.0.2/7200' 2>/dev/null
	true
}

# What it says.
watch text
text=$!
watch json --json
json=$!
watch again --json
again=$!
packets
ok "text: a line for each event" lines text 8
ok "JSON: a line for each event" lines json 8
ok "another monitor sees them, too" lines again 8
ok "... the same ones" cmp <(jq -c 'del(.MERLON_TIME)' json) <(jq -c 'del(.MERLON_TIME)' again)
ok "each line is JSON" jq -es 'length == 8' json
same_fields() { diff <(jq -cS . events) <(jq -cS 'del(.MERLON_TIME)' json); }
ok "the fields are those of --events" same_fields
any() { jq -es "any(.[]; $1)" "$dir/json"; }
ok "a reject" any '.MERLON_VERDICT == "reject" and .MERLON_DPORT == "7002" and .MERLON_PROTO == "UDP" and .PRIORITY == "6" and
	.MERLON_SRC == "10.77.0.2" and .MERLON_DST == "10.77.0.1" and (.MERLON_SPORT | tonumber) > 1000 and .MERLON_HOOK == "input" and
	.MERLON_IIF == "up0" and (has("MERLON_OIF") | not) and .MERLON_STATE == "new" and .MERLON_GENERATION == "1" and
	.MERLON_MODE == "enforce" and .MERLON_CHAIN == "in" and (.MERLON_RULE | contains("7002")) and
	(.MERLON_RULE_FILE | endswith("policy.nft")) and .MERLON_RULE_LINE == "4"'
ok "a log" any '.MERLON_VERDICT == "log" and .MERLON_PREFIX == "seen: " and .PRIORITY == "5" and .MERLON_RULE_LINE == "5" and
	(.MESSAGE | test("^seen: IN=up0 OUT= SRC=10.77.0.2 DST=10.77.0.1 LEN=60 TTL=64 PROTO=TCP SPT=[0-9]+ DPT=7003 SYN$"))'
ok "the end of what was logged" any '.MERLON_VERDICT == "drop" and .MERLON_DPORT == "7003"'
ok "a rule's text, escaped" any '.MERLON_DPORT == "7100" and (.MERLON_RULE | contains("a \\ backslash"))'
ok "ICMP, in a chain that was gone to" any '.MERLON_PROTO == "ICMP" and .MERLON_CHAIN == "pings" and
	(has("MERLON_DPORT") | not) and (.MESSAGE | contains("TYPE=8 CODE=0"))'
ok "IPv6" any '.MERLON_SRC == "fd77::2" and .MERLON_PROTO == "ICMPv6"'
ok "output" any '.MERLON_HOOK == "output" and .MERLON_OIF == "up0" and .MERLON_DPORT == "7200" and (has("MERLON_IIF") | not)'
recent() {
	jq -es --argjson now "$(date +%s)" 'all(.[]; (.MERLON_TIME | test("^[0-9-]{10}T[0-9:]{8}[.][0-9]{6}Z$")) and
		((.MERLON_TIME[:19] + "Z" | fromdate) - $now | fabs < 30))' json
}
ok "the time is UTC, and that of the packet" recent
ok "text: the reject" grep -Eq '^[0-9:]{8}\.[0-9]{3}  reject  input    udp     10\.77\.0\.2:[0-9]+ > 10\.77\.0\.1:7002 +up0 > +new +udp dport 7002 .*  \(.*policy\.nft:4\)$' text
ok "text: ICMPv6" grep -q ' fd77::2 > fd77::1 type 128 code 0 ' text
ok "text: output" grep -q ' > 10.77.0.2:7200 .* > up0 ' text

# How it ends.
kill -INT "$text"
ends "$text"
ok "SIGINT ends it" [ "$ended" = 0 ]
kill -TERM "$again"
ends "$again"
ok "SIGTERM, too" [ "$ended" = 0 ]
closed_pipe() {
	local status
	timeout 5 "$merlon" monitor --json | head -n 1 >/dev/null
	status=${PIPESTATUS[0]}
	[ "$status" = 0 ] || { echo "exit status $status"; return 1; }
}
(sleep 0.5; send_udp 7100 1; sleep 0.3; send_udp 7100 1) &
sending=$!
ok "a closed pipe ends it" closed_pipe
wait "$sending"
watch three --json --count 3
three=$!
packets
ends "$three"
ok "--count ends it" [ "$ended" = 0 ]
ok "... after so many events" lines three 3
kill "$json"
wait "$json"

# Which ones it shows. No more than 16 are there at once.
filters() { # words, how many of the eight events they let pass, ...
	local i words=() expected=() pid=()
	while [ $# -gt 0 ]; do
		words+=("$1")
		expected+=("$2")
		shift 2
	done
	for i in "${!words[@]}"; do
		# shellcheck disable=SC2086
		watch "filter$i" --json ${words[i]}
		pid+=($!)
	done
	packets
	for i in "${!words[@]}"; do
		ok "filter: ${words[i]}" lines "filter$i" "${expected[i]}"
	done
	kill "${pid[@]}"
	wait "${pid[@]}"
}
filters 'verdict drop' 6 'verdict reject' 1 'verdict log' 1 'verdict accept' 0 'hook output' 1 'hook input' 7 'hook forward' 0 \
	'proto tcp' 2 'proto icmpv6' 1 'proto 17' 4 'src 10.77.0.2' 6 'src 10.77.0.0/30 dst 10.77.0.2' 1
filters 'dst fd77::/64' 1 'host 10.77.0.2' 7 'sport 0-1000' 0 'dport 7100-7199' 2 'port 7003' 2 'iif up0' 7 'oif up0' 1 'iif lo' 0 \
	'state new' 8 'state invalid' 0 'chain pings' 1 'verdict drop proto udp hook input' 2
ok "a word that is none" fails 2 'no word "bogus"' "$merlon" monitor bogus 1
ok "... the cure" fails 2 'verdict, hook, proto' "$merlon" monitor bogus 1
ok "a value that is none" fails 2 'state new\|established' "$merlon" monitor state old
ok "a word without a value" fails 2 'dport has no value' "$merlon" monitor proto tcp dport
ok "a count of nothing" fails 2 'count is 1 or more' "$merlon" monitor --count 0
ok "no daemon" fails 1 'merlond is not running' "$merlon" monitor --socket "$dir/nosuch"
ok "--help has the words" sh -c "'$merlon' monitor --help | grep -q 'host ADDRESS'"
for i in $(seq 16); do watch "many$i" --json; many[i]=$!; done
ok "more than 16 at once" fails 1 'as many monitors as there may be' "$merlon" monitor
kill "${many[@]}"
wait "${many[@]}"
watch free --json --count 1
free=$!
send_udp 7100 1
ends "$free"
ok "... until some are gone" [ "$ended" = 0 ]

# What changes under it.
watch change --json
change=$!
send_udp 7100 1
lines change 1 >/dev/null
in_host ip link set up0 down
in_host ip link set up0 name wan0
in_host ip link set wan0 up
sed 's/7100-7199/7100-7150/' policy.nft >other.nft
"$merlon" apply other.nft >/dev/null
send_udp 7100 1
lines change 2 >/dev/null
changed() {
	local is
	is=$(jq -cs '[.[] | [.MERLON_IIF, (.MERLON_RULE | contains("7150")), (.MERLON_RULE_FILE | endswith("other.nft"))]]' change)
	[ "$is" = '[["up0",false,false],["wan0",true,true]]' ] || { echo "$is"; return 1; }
}
ok "another name of the interface, another policy" changed
"$merlon" apply --audit policy.nft >/dev/null
send_udp 7100 1
lines change 3 >/dev/null
ok "audit" sh -c "tail -n 1 '$dir/change' | jq -e '.MERLON_MODE == \"audit\" and (.MESSAGE | startswith(\"audit drop \"))'"
kill "$change"
wait "$change"
"$merlon" apply policy.nft >/dev/null
in_host ip link set wan0 down
in_host ip link set wan0 name up0
in_host ip link set up0 up

# Losses: without --events, which is not written so fast.
stop_daemon TERM
start_daemon || { echo "Bail out! merlond does not start again: $(cat log)"; exit 1; }
mac=$(in_host ip -j link show up0 | jq -r '.[0].address')
for i in $(seq 100); do echo "udp 10.77.0.2 $((2000 + i)) 10.77.0.1 $((7099 + i))"; done >flows
flood() { in_client "$send" down0 "$mac" "$dir/flows" "$@" >/dev/null; }	# packets, how many a second
told() { jq -s --arg w "$2" '[.[] | select(.where == $w) | .lost] | add // 0' <(grep '"lost"' "$dir/$1"); }
shown() { grep -c MERLON_DPORT "$dir/$1"; }
lost_ring() { "$merlon" stats --json | jq .events_lost; }
# add_up FILE EVENTS: what it shows, and what it says that it lost, is all.
add_up() {
	local file=$1 all=$2 sum=0
	for _ in $(seq 100); do
		sum=$(($(shown "$file") + $(told "$file" monitor) + $(told "$file" ring)))
		[ "$sum" = "$all" ] && return 0
		sleep 0.1
	done
	echo "$(shown "$file") shown, $(told "$file" monitor) lost by it, $(told "$file" ring) by the ring: $sum of $all"
	return 1
}
# More rules than merlond keeps in words: slots are used anew, and each event still has its own.
{
	printf 'table inet t {\n\tchain in {\n\t\ttype filter hook input priority filter; policy accept;\n'
	for i in $(seq 10000 15999); do printf '\t\tudp dport %u counter drop\n' "$i"; done
	printf '\t}\n}\n'
} >rules.nft
for i in $(seq 10000 15999); do echo "udp 10.77.0.2 2000 10.77.0.1 $i"; done >each
"$merlon" apply rules.nft >/dev/null
watch each.json --json
each=$!
in_client "$send" down0 "$mac" "$dir/each" 18000 20000 >/dev/null
ok "more rules than are kept" lines each.json 18000
ok "... each event has its own" jq -es 'all(.[]; .MERLON_RULE == "udp dport \(.MERLON_DPORT) counter drop")' each.json
kill "$each"
wait "$each"
"$merlon" apply policy.nft >/dev/null

watch reads --json proto udp
reads=$!
watch sleeps --json proto udp
sleeps=$!
kill -STOP "$sleeps"
events=400000
flood "$events" 100000
ok "one that reads gets all while another one does not read" add_up reads "$events"
ok "... and lost none by itself" [ "$(told reads monitor)" = 0 ]
ok "the daemon answers meanwhile" "$merlon" status
kill -CONT "$sleeps"
ok "the other one gets what was kept for it, and is told what not" add_up sleeps "$events"
ok "... which is a good part" [ "$(told sleeps monitor)" -gt 50000 ]
ok "... and some were kept" [ "$(shown sleeps)" -gt 100000 ]
flood 10
ok "it goes on" add_up sleeps $((events + 10))

ring=$(lost_ring)
kill -STOP "$daemon"
flood 100000
kill -CONT "$daemon"
ok "what the ring has no room for is told" add_up reads $((events + 100010))
ok "... as much as the statistics have" [ "$(($(lost_ring) - ring))" -ge 50000 ]
watch lost
lost=$!
kill -STOP "$daemon"
flood 50000
kill -CONT "$daemon"
in_words() {
	for _ in $(seq 300); do grep -q '^lost [0-9]* events: more than merlond could read' lost && return 0; sleep 0.1; done
	return 1
}
ok "... in words" in_words

# Prometheus.
"$merlon" stats --json >stats.json
"$merlon" stats --prometheus >metrics
totals() {
	local key
	for key in $(jq -r 'to_entries[] | select(.value | type == "number") | .key' stats.json); do
		case $key in
		hit_rate | generation) continue ;;
		esac
		if ! grep -qx "merlon_${key}_total $(jq ".$key" stats.json)" metrics || ! grep -qx "# TYPE merlon_$key counter" metrics ||
			! grep -q "^# HELP merlon_$key [A-Z]" metrics; then
			echo "$key"
			return 1
		fi
	done
}
ok "--prometheus: every statistic of --json" totals
ok "... and no others" [ "$(jq '[.[] | numbers] | length' stats.json)" = "$(($(grep -c '^merlon_[a-z_]*_total [0-9]*$' metrics) + 2))" ]
ok "... counters of rules" [ "$(grep -c '^merlon_rule_packets_total{family="inet",table="t",chain="' metrics)" = "$(jq '.counters | length' stats.json)" ]
drops=$(jq '.counters[] | select(.rule | contains("7100")) | .packets' stats.json)
rule='udp dport 7100-7199 counter drop comment \\"a \\\\ backslash\\"'
ok "... escaped, with their places" grep -Fx "merlon_rule_packets_total{family=\"inet\",table=\"t\",chain=\"in\",file=\"$dir/policy.nft\",line=\"6\",rule=\"${rule//\\\\/\\}\"} $drops" metrics
for line in 'merlon_sessions{state="established"} [0-9]+' 'merlon_sessions{state="embryonic"} [0-9]+' 'merlon_sessions_max 262144' \
	'merlon_generation [1-9]' 'merlon_audit 0' 'merlon_interfaces 2' 'merlon_interface_filtered{interface="up0"} 1' \
	'merlon_memory_bytes [1-9][0-9]+' 'merlon_session_hit_ratio [0-9.]+'; do
	ok "... ${line%% *}" grep -Ex "${line/\{/\\{}" metrics
done
ok "... ends as it should" [ "$(tail -n 1 metrics)" = '# EOF' ]
ok "... units are parts of names" [ -z "$(awk '$2 == "UNIT" && $3 !~ "_" $4 "$"' metrics)" ]
"$merlon" nft add rule inet t in udp dport 7300 counter counter drop >/dev/null
"$merlon" nft add rule inet t in udp dport 7300 counter counter drop >/dev/null
twice() { "$merlon" stats --prometheus | sed -n 's/} [0-9]*$//p' | sort | uniq -d | grep .; }
ok "... no two samples with the same labels" not twice
ok "... not with --json" fails 2 'different formats' "$merlon" stats --prometheus --json
# One line each of TYPE and HELP, ahead of a family's samples, which are together; counters end in _total.
wellformed() {
	awk '
		/^# (TYPE|HELP|UNIT) / {
			if ($2 == "TYPE") { if ($3 in type) print "again: " $3; type[$3] = $4; now = $3 }
			else if ($3 != now) print "apart: " $0
			else if ($2 == "HELP") help[$3]++
			next
		}
		/^# EOF$/ { next }
		{
			name = $0
			sub(/[{ ].*/, "", name)
			family = name
			if (strict && sub(/_total$/, "", family) != (type[now] == "counter")) print "total: " $0
			if (family != now || type[now] !~ /^(counter|gauge)$/) print "of no family: " $0
			if (type[now] == "counter" && name !~ /_total$/) print "no _total: " $0
			if (help[now] != 1) print "help: " now
			if ($0 !~ /^[a-z_]+([{]([a-z]+="([^"\\]|\\[n"\\])*",?)*[}])? [0-9.]+$/) print "no sample: " $0
		}' strict="$2" "$1"
}
ok "... families as they should be" [ -z "$(wellformed metrics 1)" ]
ok "--textfile: the same, in the format of node_exporter" "$merlon" stats --textfile "$dir/merlon.prom"
samples() { grep -v '^#' "$1" | sed 's/ [0-9.]*$//'; }
"$merlon" stats --prometheus >metrics
ok "... all of it" diff <(samples metrics) <(samples merlon.prom)
ok "... families as they should be" [ -z "$(wellformed merlon.prom 0)" ]
ok "... without what is OpenMetrics' own" not grep -E '^# (EOF|UNIT)' merlon.prom
ok "... readable for all" [ "$(stat -c %a merlon.prom)" = 644 ]
ok "... and nothing else is left" [ "$(find . -name 'merlon.prom*')" = ./merlon.prom ]
ok "... a place that is none" fails 1 'nosuch/x.prom: No such file' "$merlon" stats --textfile "$dir/nosuch/x.prom"
cp merlon.prom before.prom
ok "... no daemon: what was there stays" fails 1 'not running' "$merlon" stats --textfile "$dir/merlon.prom" --socket "$dir/none"
ok "... as it was, alone" [ "$(find . -name 'merlon.prom*')$(cmp merlon.prom before.prom)" = ./merlon.prom ]
ok "... not with --prometheus" fails 2 'different formats' "$merlon" stats --prometheus --textfile x
if promtool=$("$top/tests/lib/promtool" 2>promtool.err); then
	ok "... promtool finds nothing" "$promtool" check metrics <merlon.prom
	# as it would if a metric lacked its HELP
	ok "... and would" not "$promtool" check metrics < <(grep -v '^# HELP merlon_drops' merlon.prom)
else
	points=$((points + 1))
	echo "ok $points - ... promtool finds nothing # SKIP $(cat promtool.err)"
fi

# The daemon goes.
watch killed --json
killed=$!
stop_daemon KILL
ends "$killed"
ok "SIGKILL of the daemon ends it" [ "$ended" = 1 ]
ok "... it says why" grep -q 'error: merlond has gone' killed.err
for process in "$reads" "$sleeps" "$lost"; do ends "$process"; done
ok "... no line is left half" jq -es 'length > 100000' reads sleeps
start_daemon || { echo "Bail out! merlond does not start after SIGKILL: $(cat log)"; exit 1; }
watch stopped
stopped=$!
"$merlon" stop >/dev/null
ends "$stopped"
ok "stop ends it, too" [ "$ended" = 1 ]
finish
