#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The policy namespace: changes by `merlon nft` and by others in it, refusals, counters that go on, list, flush, restarts.
set -u
# shellcheck source=tests/lib/service.sh
. "${MERLON_TOP_SRCDIR:?}/tests/lib/service.sh"

cd "$dir" || exit 99
make_network
space=/run/netns/ms-$$-p
cat >policy.nft <<'END'
table inet t {
	set banned {
		type ipv4_addr
	}
	chain in {
		type filter hook input priority filter; policy drop;
		ct state established counter accept
		ip saddr @banned counter drop
		icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
		tcp dport 7000 counter accept
		udp dport 7001 counter packets 100 bytes 1000 accept
		udp dport 7002 limit rate 1/hour burst 5 packets counter accept
	}
}
END
start() { start_daemon --policy-netns "$space" --events "$dir/events" || { echo "Bail out! merlond does not start: $(cat log)"; exit 1; }; }
nft_merlon() { "$merlon" nft "$@"; }
cat >server.py <<'END'
import socket, threading
def serve(c):
    for d in iter(lambda: c.recv(1000), b''): c.sendall(d)
s = socket.create_server(('10.77.0.1', 7000))
print('ready', flush=True)
while True: threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()
END
(exec nsenter --net="/run/netns/$host" python3 server.py >server.out 2>&1) &
counted() { # pattern in the rule: packets
	"$merlon" list --json | jq --arg p "$1" '[.tables[].chains[].rules[] | select(.rule | test($p)) | .packets] | add'
}
count_is() {
	local got
	got=$(counted "$1")
	[ "$got" = "$2" ] || { echo "$1 counted $got, not $2"; return 1; }
}
place_is() { # pattern, line
	local got
	got=$("$merlon" list --json | jq -r --arg p "$1" '[.tables[].chains[].rules[] | select(.rule | test($p)) | (.file | sub(".*/"; "")) + ":" + (.line | tostring)] | join(" ")')
	[ "$got" = "$2" ] || { echo "$1 is at $got, not $2"; return 1; }
}
handle_of() { "$merlon" list --json | jq -r --arg p "$1" '[.tables[].chains[].rules[] | select(.rule | test($p)) | .handle][0]'; }
handles_agree() { # list's and nft's
	diff <("$merlon" list | sed -n 's/.*# handle \([0-9]*\).*/\1/p' | sort -n) \
		<(nft_merlon -a list ruleset | grep -E '^	(chain|	)' | sed -n 's/.*# handle \([0-9]*\).*/\1/p' | sort -n)
}
lists() { nft_merlon list ruleset | grep -qF -- "$1"; }

for _ in $(seq 300); do [ -s server.out ] && break; sleep 0.1; done
start
ok "the namespace is mounted before anything is applied" nsenter --net="$space" true
ok "... and empty" [ -z "$(nft_merlon list ruleset)" ]
ok "apply" "$merlon" apply policy.nft
ok "nft lists it" lists 'tcp dport 7000 counter'
ok "... as JSON" sh -c "'$merlon' nft -j list ruleset | jq -e '.nftables | length > 5'"
ok "... a failure as JSON, with nft's words" sh -c "'$merlon' nft -j list table inet nosuch 2>/dev/null | jq -e '.output | contains(\"No such file\")'"
ok "... a refusal" sh -c "'$merlon' nft -j add rule inet t in meta skuid 5 accept 2>/dev/null | jq -e '.refused[0].reason | contains(\"sk\")'"
ok "... in the namespace itself" sh -c "nsenter --net='$space' nft list ruleset | grep -q banned"
ok "list has handles and lines" sh -c "'$merlon' list | grep -qE '^		tcp dport 7000 counter accept # handle [0-9]+, .*policy.nft:10$'"
ok "... the handles are nft's" handles_agree
sed 's/# .*//' <("$merlon" list) >listed.nft
ok "... what is listed loads again" nft -c -f listed.nft

open_client
ok "an allowed connection" asks answer
send_udp 7001 7
ok "counts start where the ruleset says" count_is 'dport 7001' 107
send_udp 7002 3

ok "an element is added" nft_merlon add element inet t banned '{ 10.77.0.2 }'
ok "... and enforced when the command returns" not connects 7000
ok "... as one generation" status_is .generation 2
ok "... the open connection is judged by it: established goes first" asks answer
ok "... counts go on" count_is 'dport 7001' 107
ok "... places are kept" place_is 'dport 7000' policy.nft:10
ok "... status says that the policy was edited" status_is .edited true
ok "an element is deleted" nft_merlon delete element inet t banned '{ 10.77.0.2 }'
ok "... connections again" connects 7000
send_udp 7002 9
ok "... a limit goes on where it was" eventually count_is 'dport 7002' 5
ok "a rule is added" nft_merlon insert rule inet t in tcp dport 7000 counter drop
ok "... and stops the open connection" asks silence
ok "... it has no line" sh -c "'$merlon' list | grep -qE '^		tcp dport 7000 counter.* drop # handle [0-9]+$'"
ok "... the others have theirs" place_is '7000 .*accept' policy.nft:10
ok "... is deleted by its handle" nft_merlon delete rule inet t in handle "$(handle_of '7000 .*drop')"
close_client
ok "a file on standard input" sh -c "echo 'add rule inet t in tcp dport 7003 accept' | '$merlon' nft -f -"
ok "a file by a relative name" sh -c "echo 'add rule inet t in tcp dport 7004 accept' >more.nft; '$merlon' nft -f more.nft"
ok "... with definitions" sh -c "echo 'add rule inet t in tcp dport \$p accept' >more.nft; '$merlon' nft -D p=7005 -f more.nft"
ok "... all are there" lists 'tcp dport 7005 accept'
ok "echo with handles" sh -c "'$merlon' nft -e -a add rule inet t in tcp dport 7006 accept | grep -q '# handle'"
generation=$("$merlon" status --json | jq .generation)

same() { "$merlon" list | sed 's/ packets [0-9]* bytes [0-9]*//; s/# handle [0-9]*//' >now; diff before now; }
"$merlon" list | sed 's/ packets [0-9]* bytes [0-9]*//; s/# handle [0-9]*//' >before
ok "nft's own errors" fails 1 'syntax error' "$merlon" nft add rule inet t in tcp dport
ok "a check changes nothing" nft_merlon -c add rule inet t in tcp dport 7007 accept
ok "... also one of a rule that merlon refuses, and says so" fails 3 quota "$merlon" nft -c add rule inet t in quota over 10 mbytes drop
ok "... or that it could not tell" sh -c "'$merlon' nft -c delete rule inet t in handle $(handle_of 'dport 7006') 2>&1 | grep -q handles"
ok "... nothing else changed" same
ok "a rule that merlon refuses" fails 3 'quota' "$merlon" nft add rule inet t in quota over 10 mbytes drop
ok "... names what stays in force" fails 3 "generation $generation stays in force" "$merlon" nft add rule inet t in quota over 10 mbytes drop
ok "... is not in the namespace either" not lists quota
ok "... nothing else changed" same
ok "... the handles are nft's" handles_agree
ok "... the generation is the same" status_is .generation "$generation"
ok "... the namespace agrees" status_is .netns_differs false
ok "unknown options are wrong usage" fails 2 'unrecognized|invalid' "$merlon" nft --nonsense list ruleset
ok "no command is wrong usage" fails 2 usage "$merlon" nft
ok "monitor is told where to go" fails 2 'nft monitor' "$merlon" nft monitor

# Others than root may list.
as_nobody() { setpriv --reuid=65534 --clear-groups env MERLON_SOCKET="$MERLON_SOCKET" "$@"; }
chmod 755 "$dir"
chmod 666 "$MERLON_SOCKET"
if as_nobody "$merlon" status >/dev/null 2>&1; then
	ok "others list" sh -c "setpriv --reuid=65534 --clear-groups '$merlon' nft list ruleset | grep -q banned"
	ok "... and see the policy" as_nobody "$merlon" list
	ok "... but change nothing" fails 1 'only root' as_nobody "$merlon" nft add element inet t banned '{ 1.2.3.4 }'
	ok "... nor hide a change in a listing" fails 1 'only root' as_nobody "$merlon" nft 'list ruleset; flush ruleset'
	ok "... nor flush" fails 1 'root' as_nobody "$merlon" flush
	ok "... the policy is what it was" status_is .generation "$generation"
fi

# Programs that change the namespace themselves.
in_space() { nsenter --net="$space" "$@"; }
in_space nft add element inet t banned '{ 10.77.0.2 }'
ok "what others change in the namespace is enforced" eventually not connects 7000
ok "... and counted on" count_is 'dport 7001' 107
in_space nft delete element inet t banned '{ 10.77.0.2 }'
ok "... and back" eventually connects 7000
generation=$("$merlon" status --json | jq .generation)
in_space sh -c 'i=0; while [ $i -lt 100 ]; do echo "add element inet t banned { 10.9.0.$i }"; i=$((i + 1)); done | nft -f -; for i in 1 2 3 4 5 6 7 8 9; do nft add element inet t banned "{ 10.8.0.$i }"; done'
ok "many changes are taken together" eventually sh -c "'$merlon' list | grep -q 10.8.0.9"
in_space nft add rule inet t in quota over 10 mbytes drop
ok "what cannot be enforced: status says that the namespace differs" eventually status_is .netns_differs true
ok "... for people, too" sh -c "'$merlon' status | grep -q 'namespace.*differs'"
ok "... the journal says why" grep -q quota log
ok "... the policy stays" connects 7000
ok "... a command that does not mend it is refused" fails 3 quota "$merlon" nft add element inet t banned '{ 10.7.0.1 }'
ok "... and leaves the namespace as others made it" sh -c "nsenter --net='$space' nft list ruleset | grep quota && ! nsenter --net='$space' nft list ruleset | grep -F 10.7.0.1"
ok "... which still differs" status_is .netns_differs true
in_space nft delete rule inet t in handle "$(in_space nft -a list ruleset | sed -n 's/.*quota.*handle //p')"
ok "... until that is gone" eventually status_is .netns_differs false
ok "iptables in the namespace" in_space iptables-nft -A INPUT -p tcp -m multiport --dports 7008,7009 -m comment --comment mine -j DROP
ok "... is enforced" eventually sh -c "'$merlon' list | grep -q 7008"

# A restarted daemon.
"$merlon" list | sed 's/ # .*//' >before
generation=$("$merlon" status --json | jq .generation)
send_udp 7001 3
stop_daemon TERM
ok "without the daemon the namespace is gone" [ ! -e "$space" ]
start
ok "a restarted daemon takes the edited policy up" status_is .generation "$generation"
same_rules() { diff <(sed 's/ packets [0-9]* bytes [0-9]*//' before) <("$merlon" list | sed 's/ # .*//; s/ packets [0-9]* bytes [0-9]*//'); }
ok "... with its rules" same_rules
ok "... and places" place_is '7000 .*accept' policy.nft:10
ok "... and counts" count_is 'dport 7001' 110
ok "... the namespace is there again" in_space nft list set inet t banned
ok "... with what iptables put there" sh -c "nsenter --net='$space' iptables-nft-save | grep -q 'multiport --dports 7008,7009'"
ok "... the handles are nft's" handles_agree
ok "... and can be changed" nft_merlon add element inet t banned '{ 10.77.0.2 }'
ok "... as before" not connects 7000
stop_daemon KILL
ok "killed: the policy stays" not connects 7000
start
ok "... and is taken up" status_is .policy_known true
ok "... the namespace is mounted anew" sh -c "nsenter --net='$space' nft list set inet t banned | grep -q 10.77.0.2"

# Address types and times to live.
cat >types.nft <<'END'
table inet t {
	set late {
		type ipv4_addr
		flags timeout
		elements = { 10.77.0.6 timeout 1h, 10.77.0.7 timeout 20s }
	}
	chain in {
		type filter hook input priority filter; policy accept;
		iifname "up0" fib saddr type local counter drop
		ip saddr @late udp dport 7001 counter drop
		udp dport 7001 counter accept
	}
}
END
ok "address types and times to live" "$merlon" apply types.nft
in_client ip addr add 10.77.0.5/24 dev down0
in_client ip addr add 10.77.0.6/24 dev down0
in_client ip addr add 10.77.0.7/24 dev down0
send_from() { # address, count
	in_client python3 -c "
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('$1', 0))
for _ in range($2): s.sendto(b'0123456789', ('10.77.0.1', 7001))"
}
send_from 10.77.0.5 4
ok "... another's address" count_is 'dport 7001 .*accept' 4
in_host ip addr add 10.77.0.5/32 dev lo
address_known() { send_from 10.77.0.5 1; [ "$(counted 'type local')" -gt 0 ]; }
ok "... becomes the host's own" eventually address_known
passed=$(counted 'dport 7001 .*accept') dropped=$(counted 'type local')
in_host ip addr del 10.77.0.5/32 dev lo
address_gone() { local before; before=$(counted 'dport 7001 .*accept'); send_from 10.77.0.5 1; [ "$(counted 'dport 7001 .*accept')" -gt "$before" ]; }
ok "... and no longer" eventually address_gone
went_on() { [ "$(counted 'dport 7001 .*accept')" -gt "$passed" ] && [ "$(counted 'type local')" -ge "$dropped" ]; }
ok "... counts went on all the while" went_on
# their time begins now
ok "the same ruleset again" "$merlon" apply types.nft
send_from 10.77.0.6 3
send_from 10.77.0.7 2
ok "elements with times match" count_is '@late' 5
generation=$("$merlon" status --json | jq .generation)
stop_daemon KILL
start
ok "a restarted daemon finds the same image" status_is .generation "$generation"
ok "... and counts" count_is '@late' 5
# What is kept for a restart and does not fit is not taken up with other times.
forget_time() { # the daemon starts again, and its state lacks one
	stop_daemon KILL
	cp -p "$dir/state/policy-$generation.json" kept.json
	jq 'del(.times[0])' kept.json >"$dir/state/policy-$generation.json"
	start
}
forget_time
ok "times that are not those of the policy: it stays, its rules are not known" status_is '"\(.generation) \(.policy_known)"' "$generation false"
ok "... the log says why" grep -q 'how long elements of the policy in force live' "$dir/log"
stop_daemon KILL
cp -p kept.json "$dir/state/policy-$generation.json"
start
ok "... with the right ones it is known" status_is '"\(.generation) \(.policy_known)"' "$generation true"
element_left() { # address, most seconds it may have
	local left
	left=$(in_space nft -j list set inet t late | jq --arg a "$1" '[.nftables[].set? | select(. != null) | .elem[].elem | select(.val == $a) | .expires][0]')
	[ "$left" -le "$2" ] || { echo "$left s are left"; return 1; }
}
ok "... times to live went on" element_left 10.77.0.7 19
gone() { send_from 10.77.0.7 1; [ "$(counted '@late')" = "$before" ] || { before=$(counted '@late'); return 1; }; }
before=$(counted '@late')
for _ in $(seq 100); do gone && break; sleep 0.5; done
ok "... and end" gone
send_from 10.77.0.6 1
ok "... not those of others" count_is '@late' "$((before + 1))"

ok "... nor are they listed any more" not sh -c "'$merlon' list | grep -F 10.77.0.7"
ok "... the others with what is left of their time" sh -c "'$merlon' list | grep -E '10.77.0.6 timeout 3600s expires 35[0-9][0-9]s'"
nft_merlon add element inet t late '{ 10.77.0.8 timeout 4s }'
listed() { "$merlon" list | grep -qF 10.77.0.8; }
ok "an element that is added with a time is listed" listed
unlisted() { ! listed; }
ok "... as long as it lives" eventually unlisted
"$merlon" list | sed 's/ # .*//' >listed.nft
ok "... what is listed loads again" nft -c -f listed.nft
nft_merlon add element inet t late '{ 10.77.0.8 timeout 3s }'
# After other changes, refused ones too, it ends when it does in nf_tables of the namespace, also when it is young.
left_in() { grep -oE '10\.77\.0\.9 [^,}]*expires [0-9ms]+' | sed 's/.* expires //; s/ms$//; s/s/ /' | awk '{ print $1 * 1000 + $2 }'; }
nft_merlon add element inet t late '{ 10.77.0.9 timeout 3s }'
sleep 1.5
nft_merlon add rule inet t in udp dport 7044 drop
in_client ip addr add 10.77.0.9/24 dev down0
not_later() {
	local before after listed
	before=$(in_space nft list set inet t late | left_in)
	listed=$("$merlon" list | left_in)
	after=$(in_space nft list set inet t late | left_in)
	[ "$listed" -le "$before" ] && [ "$after" -le $((listed + 1000)) ] || { echo "$before, then $listed, then $after ms are left"; return 1; }
}
absent() { ! in_space nft list set inet t late | grep -qF 10.77.0.9; }
ok "a young element ends, also after another change" eventually absent
before=$(counted '@late')
send_from 10.77.0.9 1
ok "... then it matches no packet any more" count_is '@late' "$before"
nft_merlon add element inet t late '{ 10.77.0.9 timeout 55s }'
nft_merlon add rule inet t in udp dport 7045 drop
ok "what is left of its time is what nf_tables has" not_later
refused_often() { for _ in 1 2 3 4 5 6; do fails 3 skuid "$merlon" nft add rule inet t in meta skuid 5 drop || return 1; done; }
ok "... after changes that were refused, too" refused_often
ok "... and were put back" not_later
generation=$("$merlon" status --json | jq .generation)
stop_daemon KILL
start
ok "... and after a restart, with the same image" status_is .generation "$generation"
ok "... and the same time" not_later
nft_merlon delete element inet t late '{ 10.77.0.9 }'
nft_merlon add element inet t late '{ 10.77.0.8 timeout 3s }'
stop_daemon TERM
start
ok "a restarted daemon lists an element until its end" listed
ok "... not longer" eventually unlisted
stop_daemon KILL
start
ok "... nor does another one" unlisted

ok "flush" "$merlon" flush
ok "... everything passes" connects 7000
ok "... status says so" status_is .mode idle
ok "... nothing is listed" [ -z "$("$merlon" list)$(nft_merlon list ruleset)" ]
stop_daemon TERM
start
ok "... also after a restart" status_is .mode idle
ok "a policy from nothing" nft_merlon -f policy.nft
ok "... is enforced" not connects 7003
ok "... and flushed by nft, which says what that means" fails 0 'nothing is enforced any more: .* everything passes' nft_merlon flush ruleset
ok "... once" not sh -c "'$merlon' nft add table inet t 2>&1 | grep enforced"
nft_merlon flush ruleset
ok "... everything passes" eventually sh -c "nsenter --net=/run/netns/$client timeout 2 bash -c 'exec 3<>/dev/tcp/10.77.0.1/7003' 2>&1 | grep -q refused"
ok "audit stays audit" "$merlon" apply --audit policy.nft
nft_merlon add element inet t banned '{ 10.77.0.2 }'
ok "... after a change" status_is .mode audit

# A daemon that was killed in a mount namespace of its own leaves a file on which, for others, nothing is mounted.
stop_daemon KILL
umount "$space"
(exec unshare --mount --propagation private sh -c 'mount --bind /proc/self/ns/net "$1" && : >"$2" && exec sleep 60' sh "$space" "$dir/mounted") &
elsewhere=$!
eventually [ -e "$dir/mounted" ]
chmod 000 "$space"
ok "what is left of another mount namespace is no namespace here" not nsenter --net="$space" true
start
ok "... a start takes it away" nsenter --net="$space" true
names_are_sound() { ip netns list 2>&1 | { ! grep -i invalid; }; }
ok "... ip netns has nothing to say" names_are_sound
kill "$elsewhere"
cat >partial.v4 <<'END'
*filter
:INPUT ACCEPT [0:0]
-A INPUT -p udp -m udp --dport 7010 -j ACCEPT
-A INPUT -p tcp -m hashlimit --hashlimit-upto 5/sec --hashlimit-mode srcip --hashlimit-name h -j ACCEPT
-A INPUT -p udp -m udp --dport 7011 -j ACCEPT
COMMIT
END
left_out_is() { # in status, in the text of list
	[ "$("$merlon" status --json | jq -r '.left_out | map("\(.line) \(.rule)") | join(" ")')" = "4 $(sed -n 4p partial.v4)" ] &&
		"$merlon" status | grep -q 'partial.v4:4: left out: .*hashlimit' &&
		"$merlon" list | grep -A1 'dport 7010' | grep -qE '# left out .*hashlimit-name h -j ACCEPT # handle [0-9]+, .*partial.v4:4$'
}
ok "a policy without the rules that are refused" "$merlon" apply --family ip --allow-partial partial.v4
ok "... status and list name them" left_out_is
ok "a change says that they stay left out" fails 0 'without the 1 rule left out' "$merlon" nft add rule ip filter INPUT udp dport 7012 accept
ok "... and they do" left_out_is
ok "... a refused rule that a change adds is refused" fails 3 skuid "$merlon" nft add rule ip filter INPUT meta skuid 5 accept
ok "... also by a check" fails 3 skuid "$merlon" nft -c add rule ip filter INPUT meta skuid 5 accept
ok "... which passes what is not" "$merlon" nft -c add rule ip filter INPUT udp dport 7013 accept
ok "... nothing else changed" left_out_is
ok "... what others add is not in force" sh -c "nsenter --net='$space' nft add rule ip filter INPUT meta skuid 6 accept"
ok "... status says that the namespace differs" eventually status_is .netns_differs true
in_space nft delete rule ip filter INPUT handle "$(in_space nft -a list chain ip filter INPUT | sed -n 's/.*skuid.*handle //p')"
ok "... until that is gone" eventually status_is .netns_differs false
ok "... what is left out is known" left_out_is
stop_daemon TERM
start
ok "... also after a restart" left_out_is
ok "... and a change after it" "$merlon" nft add rule ip filter INPUT udp dport 7014 accept
ok "... it stays left out" left_out_is
ok "the sources of an edited policy" status_is '.sources | length' 1
cat >other.nft <<'END'
flush ruleset
table ip filter {
	chain INPUT {
		type filter hook input priority filter; policy accept;
		udp dport 9 drop
		udp dport 10 drop
		udp dport 11 drop
	}
}
END
ok "another ruleset by nft" "$merlon" nft -f other.nft
ok "... is not called an edited one" status_is '.sources | length' 0
ok "... its rules have no lines of the one before" sh -c "! '$merlon' list | grep partial.v4"
ok "... nothing is left out" status_is '.left_out | length' 0

# A file whose family only its name tells.
printf '*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -p udp -m udp --dport 7020 -j DROP\nCOMMIT\n' >told.v6
told() { "$merlon" list | grep -A9 '^table ip6 filter' | grep -q 'dport 7020'; }
ok "a name in .v6 tells the family" "$merlon" apply told.v6
ok "... so it is" told
generation=$("$merlon" status --json | jq .generation)
stop_daemon TERM
rm -f "$dir"/state/ruleset-*
start
ok "... also after a restart" told
ok "... the same image" status_is .generation "$generation"

# A file that includes another: both are gone by the time that it is taken up again.
printf 'table inet inc {\n\tchain in {\n\t\ttype filter hook input priority filter; policy accept;\n\t\tudp dport 7041 drop\n\t\tinclude "%s/part.nft"\n\t}\n}\n' \
	"$dir" >whole.nft
printf '\n\nudp dport 7042 drop\n' >part.nft
in_files() {
	"$merlon" list | grep -qF "udp dport 7041 drop # handle" && "$merlon" list | grep '7041' | grep -qF "$dir/whole.nft:4" &&
		"$merlon" list | grep '7042' | grep -qF "$dir/part.nft:3" || { "$merlon" list; return 1; }
}
ok "a file that includes another" "$merlon" apply "$dir/whole.nft"
ok "... is the source" status_is '.sources | join(" ")' "$dir/whole.nft"
ok "... the rules are of both" in_files
generation=$("$merlon" status --json | jq .generation)
rm part.nft whole.nft
stop_daemon TERM
start
ok "... the source also after a restart" status_is '.sources | join(" ")' "$dir/whole.nft"
ok "... and the rules" in_files
ok "... the same image" status_is .generation "$generation"
ok "... not an edited one" status_is .edited false
ok "... a change after it" "$merlon" nft add rule inet inc in udp dport 7043 drop
ok "... leaves their places" in_files

# The end of an interval outlives it in nf_tables: what is remembered of the namespace must go back all the same.
cat >ends.nft <<'END'
table inet ends {
	set blocked {
		type ipv4_addr; flags interval, timeout
		elements = { 10.9.0.0/24, 10.9.1.4-10.9.1.6, 10.9.1.7-10.9.1.9 }
	}
	chain in {
		type filter hook input priority filter; policy accept;
		ip saddr @blocked drop
	}
}
END
"$merlon" apply ends.nft >/dev/null
in_set() { "$merlon" nft list set inet ends blocked | tr -d ' \t\n' | grep -q "elements={$1}"; }
ok "elements that end soon" "$merlon" nft add element inet ends blocked '{ 0.0.0.0/24 timeout 1s, 10.9.1.1-10.9.1.3 timeout 1s, 10.9.1.78 timeout 1s, 10.9.2.0/24 timeout 1s, 255.255.255.255 timeout 1s }'
sleep 2
ok "... have ended" in_set '10.9.0.0/24,10.9.1.4-10.9.1.6,10.9.1.7-10.9.1.9'
ok "... a check is made in a copy" "$merlon" nft -c add rule inet ends in udp dport 7031 drop
ok "... a rule that is refused" fails 3 skuid "$merlon" nft add rule inet ends in meta skuid 5 drop
ok "... is not left there" sh -c "! '$merlon' nft list chain inet ends in | grep skuid"
ok "... nor anything else different" status_is .netns_differs false
ok "... the elements are" in_set '10.9.0.0/24,10.9.1.4-10.9.1.6,10.9.1.7-10.9.1.9'
ok "... and can be changed" "$merlon" nft add element inet ends blocked '{ 10.9.1.1-10.9.1.3, 10.9.1.78 }'
stop_daemon TERM
start
ok "... also after a restart" in_set '10.9.0.0/24,10.9.1.1-10.9.1.3,10.9.1.4-10.9.1.6,10.9.1.7-10.9.1.9,10.9.1.78'

ok "stop" "$merlon" stop
wait "$daemon"
daemon=''
ok "... the namespace is gone" [ ! -e "$space" ]
ok "... no state is left" [ -z "$(find "$dir/state" -type f)" ]
finish
