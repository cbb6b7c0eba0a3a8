#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# merlon import: the policy loads again with nft and means the same; what stays with netfilter is written beside it.
set -u
# shellcheck source=tests/lib/service.sh
. "${MERLON_TOP_SRCDIR:?}/tests/lib/service.sh"

cd "$dir" || exit 99
make_network
cat >mixed.nft <<'END'
table ip n {
	set hosts { type ipv4_addr; elements = { 10.0.0.1 } ; }
	chain helper {
		tcp dport 80 dnat to 10.1.1.1
	}
	chain pre {
		type nat hook prerouting priority dstnat; policy accept;
		ip saddr @hosts jump helper
	}
	chain in {
		type filter hook input priority filter; policy drop;
		tcp dport 22 counter accept
		jump more
	}
	chain more {
		udp dport 53 accept
	}
}
table inet f {
	chain x {
		type filter hook input priority 0; policy accept;
		tcp dport { 1, 5-9 } drop
	}
}
END
cat >mixed.v4 <<'END'
*nat
:POSTROUTING ACCEPT [0:0]
-A POSTROUTING -o eth0 -j MASQUERADE
COMMIT
*filter
:INPUT DROP [0:0]
-A INPUT -s 10.0.0.1/32 -j ACCEPT
COMMIT
END
loads() { unshare -n nft -c -f "$1"; }
ok "a file with filter and NAT rules" "$merlon" import mixed.nft -o out.nft
ok "the policy loads again" loads out.nft
ok "... without the NAT" not grep -qE 'dnat|type nat' out.nft
ok "... and with all of the filter" sh -c 'grep -q "tcp dport 22" out.nft && grep -q "udp dport 53" out.nft && grep -q "5-9" out.nft'
ok "the remainder loads" loads out.nft.remainder.nft
ok "... has the NAT with its set and its helper chain" sh -c 'grep -q dnat out.nft.remainder.nft && grep -q "set hosts" out.nft.remainder.nft && grep -q "type nat" out.nft.remainder.nft'
ok "... and nothing of the filter" not grep -qE 'type filter|dport 22|dport 53' out.nft.remainder.nft
ok "the imported policy is enforced whole" sh -c "'$merlon' check --json out.nft | jq -e '.kept == 0 and (.refused | length) == 0 and .exact == 4'"
ok "the report adds up" sh -c "'$merlon' import --json mixed.nft -o again.nft 2>/dev/null | jq -e '.rules == .exact + .kept + (.refused | length) and .kept == 2'"
ok "iptables-save" "$merlon" import mixed.v4 -o v4.nft
ok "the policy loads" loads v4.nft
ok "the remainder is in its own language" sh -c 'grep -q MASQUERADE v4.nft.remainder.v4 && ! grep -q filter v4.nft.remainder.v4'
ok "... and loads" in_client iptables-nft-restore --test v4.nft.remainder.v4
ok "to standard output" sh -c "'$merlon' import mixed.v4 2>/dev/null | grep -q 'saddr 10.0.0.1'"
cp mixed.v4 changing.v4
ok "NAT to standard output is told to be missing" fails 0 'kept by netfilter is not in this text' "$merlon" import changing.v4
ok "'-' is the standard output" sh -c "'$merlon' import -o - changing.v4 2>/dev/null | grep -q 'saddr 10.0.0.1' && [ ! -e - ]"
"$merlon" import changing.v4 -o changing.nft 2>/dev/null
sed -i '/MASQUERADE/d' changing.v4
ok "a remainder of an earlier import is removed" fails 0 'changing.nft.remainder.v4: removed' "$merlon" import changing.v4 -o changing.nft
ok "... and none is written of an empty table" [ ! -e changing.nft.remainder.v4 ]
ok "... one is written of the standard input, too" sh -c "'$merlon' import - -o stdin.nft <mixed.v4 2>/dev/null && diff stdin.nft.remainder.v4 v4.nft.remainder.v4"
from_pipe() { "$merlon" import <(cat "$1") -o piped.nft && diff "piped.nft.remainder.$2" "$3"; }
ok "... and of a pipe" from_pipe mixed.v4 v4 v4.nft.remainder.v4
ok "... also of nft text" from_pipe mixed.nft nft out.nft.remainder.nft
# What is written does not take the place of what is read.
spared() { # FILE COMMAND...: it refuses to write, and the file is left as it is
	cp "$1" before || return 1
	fails 1 'error: cannot write: it is the same file as .*which is imported' "${@:2}" && diff "$1" before && [ -z "$(ls -- "$1".remainder.* 2>/dev/null)" ]
}
for f in mixed.v4 mixed.nft; do
	cp "$f" "own-$f" && ln -s "own-$f" "link-$f" && ln "own-$f" "hard-$f"
	ok "onto its own input, $f" spared "own-$f" "$merlon" import -o "own-$f" "own-$f"
	ok "... by a symbolic link" spared "own-$f" "$merlon" import -o "link-$f" "own-$f"
	ok "... by another name" spared "own-$f" "$merlon" import -o "own-$f" "hard-$f"
	ok "... that is the standard input" spared "own-$f" sh -c "'$merlon' import -o own-$f - <own-$f"
done
printf 'include "./own-mixed.nft"\n' >includes-own.nft
ok "... that is included" spared own-mixed.nft "$merlon" import -o own-mixed.nft includes-own.nft
cp mixed.v4 beside.nft.remainder.v4
ok "what is kept, onto the input" fails 1 'beside.nft.remainder.v4: error: cannot write' "$merlon" import -o beside.nft beside.nft.remainder.v4
ok "... with --json" sh -c "'$merlon' import --json -o own-mixed.v4 own-mixed.v4 2>/dev/null | jq -e '.messages[] | select(.severity == \"error\") | .text | test(\"same file\")'"
ok "... which is left as it is" diff mixed.v4 beside.nft.remainder.v4
over() { "$merlon" import -o piped.v4 <(cat piped.v4) && diff piped.v4.remainder.v4 v4.nft.remainder.v4; }
cp mixed.v4 piped.v4
ok "onto the file that a pipe came from, nothing is lost" over
cat >mac.v4 <<'END'
*filter
:FORWARD DROP [0:0]
-A FORWARD -s 10.0.0.1/32 -m mac --mac-source 02:00:00:00:00:01 -j ACCEPT
-A FORWARD -s 10.0.0.2/32 -j ACCEPT
COMMIT
END
ok "a sender's Ethernet address in FORWARD is refused, with its place" fails 3 'mac.v4:3: refused: .*--mac-source' "$merlon" import mac.v4 -o mac.nft
ok "... and a comment in the text" grep -q '# refused (.*forwarded.*--mac-source' mac.nft
ok "... by check, too, and counted" sh -c "'$merlon' check --json mac.v4 | jq -e '.rules == 2 and .exact == 1 and (.refused | length) == 1'"
ok "... left out if one wants" "$merlon" import --allow-partial mac.v4 -o mac.nft
ok "... and still a comment" grep -q '# left out (.*forwarded.*--mac-source' mac.nft
ok "... the rest loads" loads mac.nft
cat >maps.nft <<'END'
table inet m {
	set asked { type ipv4_addr . inet_service; flags interval,timeout; elements = { 10.0.0.0/8 . 22 timeout 1h }; }
	map nats { type ipv4_addr : verdict; elements = { 10.0.0.1 : jump redirected }; }
	map filters { type inet_service : verdict; elements = { 22 : jump own, 23 : goto both }; }
	chain redirected {
		tcp dport 80 redirect to :8080
	}
	chain own {
		udp dport 53 accept
	}
	chain both {
		udp dport 55 accept
	}
	chain pre {
		type nat hook prerouting priority dstnat; policy accept;
		ip saddr vmap @nats
		jump both
	}
	chain in {
		type filter hook input priority filter; policy drop;
		tcp dport vmap @filters
		ct state vmap { established : accept, new : jump own }
		ip saddr . tcp dport @asked accept
		fib daddr type != local drop
	}
}
END
printf '*filter\n:INPUT DROP [0:0]\n-A INPUT -s 10.0.0.1 -p tcp -m multiport --ports 22,80:90 -j ACCEPT\n-A INPUT -p udp -m multiport ! --ports 53 -j ACCEPT\nCOMMIT\n' >ports.v4
again() { "$merlon" import "$1" -o first.nft && "$merlon" import first.nft -o second.nft && loads first.nft && diff first.nft second.nft; }
ok "maps, concatenations, timeouts: printed and read again, the same" again maps.nft
ok "... with the map that is looked in, without the other's" sh -c 'grep -q "map filters" first.nft && ! grep -q "map nats" first.nft'
ok "... and the element's time" grep -q '10.0.0.0/8 . 22 timeout 3600s' first.nft
ok "... all enforced" sh -c "'$merlon' check --json first.nft | jq -e '.exact == 6 and (.refused | length) == 0'"
"$merlon" import maps.nft -o first.nft >/dev/null
ok "their remainder loads" loads first.nft.remainder.nft
ok "... has the map of the NAT and what both lead to, whole" sh -c 'grep -q "map nats" first.nft.remainder.nft && grep -q "dport 55 accept" first.nft.remainder.nft'
ok "... and nothing of the filter" not grep -qE 'filters|dport 53|asked.*accept' first.nft.remainder.nft
ok "either port of iptables: printed and read again, the same" again ports.v4
# What no rule can look in here is still there for `nft add element`, and what is nowhere is named.
cat >sets.nft <<'END'
table inet t {
	comment "the table"
	set f2b { type ipv4_addr; flags timeout,dynamic; timeout 10m; size 1000; comment "banned { or not"; elements = { 10.0.0.9 timeout 5m comment "x", 10.0.0.10 } ; }
	set cnt { type ipv4_addr; counter; elements = { 10.0.0.1, 10.0.0.2 comment "two" } ; }
	set plain { type ipv4_addr; flags interval; auto-merge; size 500; comment "mine"; elements = { 10.0.0.0/24 comment "net", 10.1.0.1 } ; }
	map m1 { type ipv4_addr : mark; elements = { 10.0.0.1 : 5 } ; }
	map vm { type ipv4_addr : verdict; elements = { 1.2.3.4 : drop, 1.2.3.5 comment "five" : jump sub } ; }
	set tf { typeof tcp flags; elements = { syn } ; }
	counter c1 { }
	map ob { type ipv4_addr : counter; elements = { 1.2.3.4 : "c1" } ; }
	chain sub {
		udp dport 1 accept
	}
	chain in {
		comment "the chain"
		type filter hook input priority 0; policy accept;
		ip saddr @plain accept
		tcp flags @tf drop
	}
}
table ip only {
	set alone { type ipv4_addr; elements = { 10.0.0.1 } ; }
}
END
ok "sets that nothing looks in: printed and read again, the same" sh -c "'$merlon' import sets.nft -o first.nft 2>report && '$merlon' import first.nft -o second.nft &&
	sed '/# left out/d' first.nft | diff - second.nft"
ok "... the policy loads" loads first.nft
for line in 'set f2b .*size 1000; .*flags .*dynamic.*timeout 10m; .*comment "banned { or not".*10.0.0.9 timeout 5m comment "x", 10.0.0.10 }' \
	'set cnt .*counter; .*10.0.0.1 counter' 'map m1 .*10.0.0.1 : 0x0*5' 'map vm .*1.2.3.4 : drop, 1.2.3.5 comment "five" : jump sub' \
	'set plain .*size 500; auto-merge; comment "mine"; .*10.0.0.0/24 comment "net"' 'set alone' '^.comment "the table"' '^..comment "the chain"'; do
	ok "... with $line" grep -q "$line" first.nft
done
ok "... an element can be added" sh -c 'echo "add element inet t f2b { 10.0.0.11 }" | cat first.nft - >added.nft && unshare -n nft -c -f added.nft'
ok "... what it does not have is a comment" grep -q '# left out (map of named objects.*): ob' first.nft
ok "... and in the report" sh -c 'grep -q "left out: set or map .ob. of table inet t: map of named" report && grep -q "left out: set or map .tf. of table inet t: the rules" report'
ok "... also the one for programs" sh -c "'$merlon' check --json sets.nft | jq -e '[.missing_sets[].set] | sort == [\"ob\", \"tf\"]'"
# The other tables of iptables are left to netfilter, as a file of iptables-save, live, or as nft text: counted once.
cat >mangle.v4 <<'END'
*mangle
:PREROUTING ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:SUB - [0:0]
-A FORWARD -p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu
-A FORWARD -s 10.0.0.5/32 -j DROP
-A FORWARD -s 10.0.0.6/32 -j SUB
-A SUB -j MARK --set-xmark 0x5/0xffffffff
COMMIT
*raw
:OUTPUT ACCEPT [0:0]
-A OUTPUT -s 10.0.0.7/32 -j DROP
COMMIT
*filter
:INPUT ACCEPT [0:0]
-A INPUT -s 10.0.0.1/32 -j DROP
COMMIT
END
sed 's|10.0.0.\([0-9]\)/32|fd00::\1/128|' mangle.v4 >mangle.v6
printf 'table ip mangle {\n\tchain FORWARD {\n\t\ttype filter hook forward priority mangle;\n\t\tip saddr 10.0.0.5 drop\n\t\ttcp flags syn tcp option maxseg size set rt mtu\n\t}\n}\n' >mangle.nft
adds_up() { # RULES EXACT KEPT ARGUMENT...: of import
	"$merlon" import --json "${@:4}" -o kept.nft 2>errors | jq -e "[.rules, .exact, .kept, (.refused | length)] == [$1, $2, $3, 0]" || { cat errors; return 1; }
}
live() { # FAMILY FILE COMMAND...: with these rules in force
	local family=$1 file=$2
	shift 2
	export -f adds_up
	MERLON=$merlon unshare -n bash -c 'merlon=$MERLON; "$0"-nft-restore <"$1" || exit; shift; "$@"' "$family" "$file" "$@"
}
ok "mangle and raw of iptables-save" adds_up 6 1 5 mangle.v4
ok "... live" live iptables mangle.v4 adds_up 6 1 5 --live
ok "... each in the policy or in what stays" sh -c '[ "$(grep -c "10.0.0.\|TCPMSS\|MARK" kept.nft.remainder.v4)" = 5 ] && ! grep -q mangle kept.nft && grep -q 10.0.0.1 kept.nft'
ok "... of IPv6" live ip6tables mangle.v6 adds_up 6 1 5 --live
ok "... as nft text" adds_up 2 0 2 mangle.nft
ok "... and what drops there is told to be netfilter's" sh -c "'$merlon' check mangle.nft 2>&1 | grep -q 'mangle.nft:4: warning: table ip mangle, chain FORWARD: .*does not load'"
ok "... a chain of one's own at that priority is enforced" sh -c "sed 's/FORWARD/mine/; /maxseg/d' mangle.nft >mine.nft && '$merlon' check --json mine.nft | jq -e '.exact == 1'"
# says_nothing ARGUMENT...: import tells that there is nothing, with status 0, and in its JSON.
says_nothing() {
	"$merlon" import "$@" >text 2>errors && grep -q "warning: nothing to import: .*no filter chain" errors || { cat errors; return 1; }
	"$merlon" import --json "$@" 2>/dev/null | jq -e '.messages[0] | .severity == "warning" and (.text | test("nothing to import"))'
}
export -f says_nothing
export merlon
ok "a host without rules is told" in_host bash -c 'says_nothing --live && [ ! -s text ]'
ok "... one with a table and a set alone, too" in_host bash -c 'nft add table inet t && nft "add set inet t s { type ipv4_addr; }" && says_nothing --live; r=$?; nft delete table inet t; exit $r'
printf 'table arp t {\n\tchain in {\n\t\ttype filter hook input priority 0;\n\t}\n}\n' >arp.nft
ok "... and a file" says_nothing arp.nft
in_host nft -f mixed.nft
in_host iptables-nft-restore --noflush mixed.v4
ok "the live ruleset" in_host "$merlon" import --live -o live.nft
ok "... is not nothing" sh -c "! nsenter --net=/run/netns/$host '$merlon' import --live 2>&1 | grep 'nothing to import'"
ok "... loads" loads live.nft
ok "... has both" sh -c 'grep -q "tcp dport 22" live.nft && grep -q "saddr 10.0.0.1" live.nft'
ok "... its nft remainder loads" loads live.nft.remainder.nft
ok "... without what iptables manages" not grep -q POSTROUTING live.nft.remainder.nft
ok "... which is beside it" grep -q MASQUERADE live.nft.remainder.v4
ok "the live ruleset was left alone" sh -c "nsenter --net=/run/netns/$host nft list chain ip n more | grep -q 'udp dport 53'"
ok "nothing is left in /tmp" [ -z "$(find /tmp -maxdepth 1 -name 'merlon-live-*')" ]
# Rules of included files: theirs is the place, and the lines of the others stay right.
mkdir -p parts
printf 'table inet t {\n\tchain in {\n\t\ttype filter hook input priority 0;\n\t\tmeta skuid 1 drop\n\t\tinclude "%s/parts/rules"\n\t\tmeta skuid 3 drop\n\t}\n\tinclude "%s/parts/chain"\n}\ninclude "./parts/tables"\nadd rule inet t in meta skuid 6 drop\n' \
	"$dir" "$dir" >includes.nft
printf '# one\n\nmeta skuid 2 drop\n' >parts/rules
printf 'chain out {\n\ttype filter hook output priority 0\n\tmeta skgid 4 drop\n}\n' >parts/chain
printf '\nadd rule inet t in meta skuid 5 drop\n' >parts/tables
places() { # FILE PLACES
	local got
	got=$("$merlon" check --json "$1" 2>/dev/null | jq -r '[.refused[] | "\(.file):\(.line)"] | join(" ")')
	[ "$got" = "$2" ] || { echo "$got"; return 1; }
}
ok "places of included rules" places includes.nft \
	"includes.nft:4 $dir/parts/rules:3 includes.nft:6 ./parts/tables:2 includes.nft:11 $dir/parts/chain:3"
printf 'include "%s/parts/*s"\n' "$dir" >>includes.nft
printf 'flush chain inet t in\nadd rule inet t in meta skuid 7 drop\n' >parts/xs
rm parts/rules && printf 'meta skuid 2 drop\n' >parts/rules.in && sed -i 's|parts/rules"|parts/rules.in"|; s|parts/\*s|parts/x*|; s|"./parts/t|"./parts/t|' includes.nft
ok "... by a pattern: the file that was given, and no line rather than a wrong one" places includes.nft "includes.nft:0 includes.nft:0"
# Several files make one ruleset; each of its rules keeps its own place.
printf 'table inet t {\n\tchain in {\n\t\ttype filter hook input priority 0;\n\t\tmeta skuid 1 drop\n\t}\n}\n' >one.nft
printf '\nadd rule inet t in meta skuid 2 drop\ninsert rule inet t in meta skuid 3 drop\n' >two.nft
printf '*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -s 10.0.0.1 -m recent --name x --rcheck -j DROP\nCOMMIT\n' >three.v4
printf 'add rule ip filter INPUT meta skuid 5 drop\n' >four.nft
printf 'table inet t {\n\tinclude "%s/parts/x*"\n}\n' "$dir" >five.nft
printf 'chain x {\n meta skuid 6 drop\n}\n' >parts/xs
places_of() { # PLACES FILE...: of the rules, in their order
	local got
	got=$("$merlon" check --json "${@:2}" 2>/dev/null | jq -r '[.refused[] | "\(.file):\(.line)"] | join(" ")')
	[ "$got" = "$1" ] || { echo "$got"; return 1; }
}
ok "places of rules of two nft files" places_of "two.nft:3 one.nft:4 two.nft:2" one.nft two.nft
ok "... and of iptables, also in its chains" places_of "three.v4:3 four.nft:1 one.nft:4" three.v4 four.nft one.nft
ok "... in whatever order" places_of "one.nft:4 three.v4:3 four.nft:1" one.nft three.v4 four.nft
ok "... what is not certain of one file is so of that one only" places_of "one.nft:4 null:0" one.nft five.nft
ok "--json without a file: the text is in it" sh -c "'$merlon' import --json one.nft >json 2>/dev/null; '$merlon' import one.nft >text 2>/dev/null; jq -e '.refused | length == 1' json && jq -j .text json | diff - text"
ok "... with -o -, too" sh -c "'$merlon' import --json -o - first.nft | jq -e '.exact > 0 and (.text | test(\"table\"))'"
ok "--json has the size of the image" sh -c "'$merlon' import --json first.nft -o second.nft | jq -e '.ns_estimate > 0 and .memory_bytes > 0'"
finish
