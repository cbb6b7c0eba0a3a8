#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# What takes long to list is listed by a child, of the policy as it was: meanwhile the daemon does everything else. Children are
# stopped amid their work, so that what comes in which order does not depend on how long anything takes.
set -u
# shellcheck source=tests/lib/service.sh
. "${MERLON_TOP_SRCDIR:?}/tests/lib/service.sh"

cd "$dir" || exit 99
make_network
flows=30000 rules=10000
printf '[Sessions]\nMax=%s\n' $((2 * flows)) >merlon.conf
# Packets to port 4000 count twice, on one path.
large() { # VERDICT: of the last rule
	printf 'table inet t {\nchain in {\ntype filter hook input priority filter; policy accept;\nudp dport 4000 counter\nudp dport 4000 counter\n'
	seq $rules | awk '{ printf "ip saddr 10.%d.%d.7 udp dport %d counter drop\n", $1 % 250, $1 / 250 % 250, 1000 + $1 % 3000 }'
	printf 'udp dport 4001 %s\n}\n}\n' "$1"
}
large drop >large.nft
printf 'table inet t {\nchain in {\ntype filter hook input priority filter; policy accept;\nudp dport 7001 counter drop\n}\n}\n' >small.nft
begin() {
	start_daemon --config "$dir/merlon.conf" --events "$dir/events" || { echo "Bail out! merlond does not start: $(cat log)"; exit 1; }
	chmod 711 . && chmod 666 socket
}
as_nobody() { setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }
# caught FILE COMMAND...: it is under way, as $asker, and its child, $child, is stopped
caught() {
	local out=$1
	shift
	for _ in $(seq 50); do
		"$@" >"$out" 2>"$out.err" &
		asker=$!
		stop_child_of $asker && return
		wait $asker
	done
	echo "none was caught: $(cat "$out.err")"
	return 1
}
waits() { kill -0 "$asker" || { echo "it was answered"; return 1; }; }
goes_on() { kill -CONT "$child" && wait "$asker"; }
reported() { for _ in $(seq 300); do grep -q '"MERLON_DPORT":"4001"' events && return; sleep 0.1; done; cat events; return 1; }
soon() { timeout 30 "$@"; }
listed() { # FILE N: so many sessions at least
	local n
	n=$(jq length "$1")
	[ "$n" -ge "$2" ] || { echo "$n are listed of $2"; return 1; }
}

begin
"$merlon" apply large.nft >/dev/null || { echo "Bail out! no policy"; exit 1; }
ok "a table with many" [ "$("$build/tests/lib/fill" "$dir/bpf/merlon/maps" $flows)" = $flows ]
ok "... is counted" status_is '.sessions + .embryonic' $flows

caught sessions.out "$merlon" sessions --json
ok "sessions are being listed" [ $? = 0 ]
ok "... status answers meanwhile" soon "$merlon" status
ok "... stats --prometheus, too, of one who may only read" as_nobody timeout 30 "$merlon" stats --prometheus
send_udp 4001 1
ok "... events are reported" reported
ok "... a policy is put in force" soon "$merlon" apply small.nft
ok "... which it is" status_is .generation 2
ok "... the list is not there yet" waits
goes_on
ok "... and is whole in the end" [ $? = 0 ]
ok "... with all of them" listed sessions.out $flows

"$merlon" apply large.nft >/dev/null
send_udp 4000 3
# either of the generations, and all of it
consistent() { # FILE
	jq -e --argjson n $rules 'if .generation == 3 then (.counters | length == $n + 2) and .counters[0].packets == 3 and .counters[1].packets == 3
		else .generation == 4 and (.counters | length) == 1 end' "$1" >/dev/null ||
		{ jq -c '[.generation, (.counters | length), .counters[0].packets]' "$1"; return 1; }
}
caught stats.out "$merlon" stats --json
ok "counters are being read" [ $? = 0 ]
ok "... another policy comes" soon "$merlon" apply small.nft
goes_on
ok "... they are all read" [ $? = 0 ]
ok "... of one policy" consistent stats.out

caught others.out as_nobody "$merlon" sessions --json
ok "others are being answered" [ $? = 0 ]
as_nobody "$merlon" list >behind.out 2>&1 &
behind=$!
ok "... root is meanwhile" soon "$merlon" sessions --json
ok "... and they wait" sh -c "kill -0 $asker $behind"
goes_on
ok "... in turn" [ $? = 0 ]
wait $behind
ok "... one after the other" grep -q 'dport 7001' behind.out
ok "... with all of them" listed others.out $flows

caught killed.out "$merlon" sessions
ok "a child that is killed" [ $? = 0 ]
kill -KILL "$child"
wait "$asker"
ok "... is an error" [ $? = 1 ]
ok "... which says so" grep -q 'cannot be read: the child that did was killed' killed.out.err
ok "... and the next one is answered" soon "$merlon" list

caught ended.out "$merlon" sessions
ok "a child that is there when merlond is told to end" [ $? = 0 ]
stop_daemon TERM
wait "$asker"
ok "... is an error" grep -q 'cannot be read: merlond ends' ended.out.err
gone() { ! kill -0 "$child" 2>/dev/null || { echo "$child is there"; return 1; }; }
ok "... and gone" gone
begin
caught ended.out "$merlon" sessions
ok "one that is there when merlond is killed" [ $? = 0 ]
stop_daemon KILL
wait "$asker"
vanished() { for _ in $(seq 300); do gone >/dev/null && return; sleep 0.1; done; gone; }
ok "... does not outlive it" vanished

export MERLON_CHILD_TIMEOUT=2
begin
caught late.out "$merlon" sessions
ok "one that does not end" [ $? = 0 ]
wait "$asker"
ok "... is an error" grep -q 'cannot be read: it takes too long' late.out.err
ok "... and gone" gone
ok "... and the next one is answered" soon "$merlon" stats
ok "stop" "$merlon" stop
wait "$daemon"
finish
