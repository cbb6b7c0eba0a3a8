#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# merlon verify: the project's rulesets are judged alike by nf_tables and merlon; what is not alike is found, whatever it is.
set -u
top=${MERLON_TOP_SRCDIR:?} build=${MERLON_TOP_BUILDDIR:?}
merlon=$build/src/merlon differ=$build/tests/lib/differ
dir=$(mktemp -d) || exit 99
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' HUP INT TERM
cd "$dir" || exit 99
n=0 status=0
ok() { # what, command...
	local what=$1 out
	shift
	n=$((n + 1))
	if out=$("$@" 2>&1); then
		echo "ok $n - $what"
	else
		sed 's/^/# /' <<<"$out" | cut -c1-400 | head -n 60
		echo "not ok $n - $what"
		status=1
	fi
}
exits() { # status, pattern, command...
	local expected=$1 pattern=$2 out r
	shift 2
	out=$("$@" 2>&1)
	r=$?
	echo "$out"
	[ "$r" = "$expected" ] || { echo "exit status $r"; return 1; }
	grep -Eq -- "$pattern" <<<"$out"
}

# Some at once, each in a directory of its own: most of the time the kernel waits for its CPUs. Told by told() in their order.
started=0
start() { # what, command...
	local here=$dir/at.$((started += 1))
	mkdir "$here"
	printf '%s\n' "$1" >"$here/what"
	shift
	while [ "$(jobs -rp | wc -l)" -ge 6 ]; do
		wait -n
	done
	(cd "$here" && "$@" >out 2>&1; echo $? >status) &
}
told() {
	local i
	wait
	for ((i = 1; i <= started; i++)); do
		ok "$(cat "$dir/at.$i/what")" sh -c 'cat "$1/out"; exit "$(cat "$1/status")"' sh "$dir/at.$i"
	done
	rm -rf "$dir"/at.*
	started=0
}

# The rulesets.
for ruleset in "$top"/tests/e2e/rulesets/*.nft; do
	start "${ruleset##*/}: the same" exits 0 ' 0 differences' "$merlon" verify --seed 1 "$ruleset"
done
# with that seed, a SYN in a frame for several hosts
start "a connection that discarded packets change: the same" exits 0 ' 0 differences' "$merlon" verify --family ip --seed 20261127 "$top/tests/e2e/rulesets/blobs.v4"
# with that one, packets of DCCP between the same hosts with other ports than those that were let in
start "ports that no tuple has: the same" exits 0 ' 0 differences' "$merlon" verify --seed 1 "$top/tests/e2e/rulesets/protocols.nft"
start "web-db, both families: the same" exits 0 ' 0 differences' "$merlon" verify --seed 1 "$top/docs/examples/web-db.v4" "$top/docs/examples/web-db.v6"
json() {
	"$merlon" verify --json --each --packets 1000 --seed 7 "$top/tests/e2e/rulesets/chains.nft" "$top/tests/e2e/rulesets/sets.nft" |
		jq -e '.rulesets == 2 and .packets >= 2000 and .differences == 0 and .seed == 7 and .first_difference == null and
			(.files | length) == 2 and .packets_per_s > 0 and (.limits | type) == "object"'
}
start "--each --json" json

# Rules that verify replaces in nf_tables' host, with all that they stand on.
cat >replaced.v4 <<'END'
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -p tcp -m multiport --dports 22,80:90 -j LOG --log-prefix "ports "
-A INPUT -p udp -m multiport ! --sports 53,123 -m limit --limit 5/min -j ACCEPT
-A INPUT -p icmp -m icmp --icmp-type 8 -j LOG
-A INPUT ! -p tcp -m length --length 100:200 -j NFLOG --nflog-prefix "long "
-A INPUT -p udp -j DROP
COMMIT
END
start "matches of x_tables beside a log" exits 0 ' 0 differences' "$merlon" verify --packets 3000 --seed 1 "$dir/replaced.v4"
cat >names.nft <<'END'
table inet t {
	chain nowhere {
		iif bond0 oif bond1 drop
	}
	chain forward {
		type filter hook forward priority 0;
		iif bond0 drop
	}
}
END
names() {
	unshare -n sh -c 'ip tuntap add bond0 mode tap && ip tuntap add bond1 mode tap && "$1" verify --packets 1000 --seed 1 "$2"' sh \
		"$merlon" "$dir/names.nft"
}
start "names in iif and oif are those of this host" exits 0 ' 0 differences' names

# What nf_tables has, and what merlon is given instead.
cat >base.nft <<'END'
table inet t {
	set allowed {
		type ipv4_addr
		flags interval
		elements = { 192.0.2.16/28, 198.51.100.7 }
	}
	chain more {
		tcp dport 8000-8100 counter accept
		return
	}
	chain input {
		type filter hook input priority 0; policy drop;
		ct state established,related accept
		ct state invalid drop
		jump more
		iifname "eth0" ip saddr @allowed udp dport 53 counter accept
		icmp type echo-request icmp code 0 accept
		icmpv6 type { 128, 135 } accept
		udp dport 161 log prefix "snmp " drop
		tcp dport 113 reject with tcp reset
		ip ttl < 5 reject with icmp admin-prohibited
	}
	chain forward {
		type filter hook forward priority 0; policy accept;
		iifname "eth*" oifname != "wan0" tcp flags & (syn | ack) == syn drop
		meta mark set 0x10
		ip6 saddr 2001:db8:1::/48 ip6 daddr 2001:db8:2::/64 drop
	}
	chain output {
		type filter hook output priority 0; policy accept;
		udp dport 5000 limit rate 6/minute burst 5 packets drop
		meta length 100-200 drop
	}
}
END
start "the base ruleset against itself" exits 0 ' 0 differences, 0 unrepeatable' "$differ" "$dir/base.nft" "$dir/base.nft"
found() { # what, sed script
	local other=$dir/other.$started
	sed -e "$2" base.nft >"$other"
	cmp -s base.nft "$other" && other="$1: the same text"
	start "found: $1" exits 4 ' [1-9][0-9]* differences?' "$differ" "$other" "$dir/base.nft" 12000
}
found "end of a range" 's/8000-8100/8000-8101/'
found "begin of a range" 's/8000-8100/7999-8100/'
found "a prefix one bit longer" 's,192.0.2.16/28,192.0.2.16/29,'
found "an element beside" 's/198.51.100.7/198.51.100.6/'
found "an IPv6 prefix" 's,2001:db8:1::/48,2001:db8:1::/49,'
found "accept for drop" 's/ct state invalid drop/ct state invalid accept/'
found "a state" 's/established,related accept/established accept/'
found "an interface" 's/iifname "eth0"/iifname "eth1"/'
found "an interface's wildcard" 's/"eth\*"/"eth0"/'
found "a negation" 's/oifname != "wan0"/oifname "wan0"/'
found "flags" 's/== syn drop/== ack drop/'
found "an ICMP code" 's/icmp code 0/icmp code 1/'
found "an ICMPv6 type" 's/{ 128, 135 }/{ 128, 136 }/'
found "the way of a reject" 's/admin-prohibited/host-prohibited/'
found "reset for drop" 's/reject with tcp reset/drop/'
found "a TTL" 's/ip ttl < 5/ip ttl < 6/'
found "a length" 's/100-200/100-199/'
found "a mark" 's/mark set 0x10/mark set 0x11/'
found "a log's text" 's/"snmp "/"snmp"/'
found "return taken for accept" 's/^\t\treturn/\t\taccept/'
found "a burst" 's/burst 5 packets/burst 6 packets/'
found "a rate" 's,6/minute,6/second,'
found "a rate that is a little higher" 's,6/minute,8/minute,'
found "a policy" 's/output priority 0; policy accept/output priority 0; policy drop/'
told

# The report.
sed 's/8000-8100/8000-8101/' base.nft >other.nft
"$differ" other.nft base.nft 6000 >first
"$differ" other.nft base.nft 6000 >second
ok "the same seed finds the same" cmp first second
ok "the packets are in a pcap file" sh -c "[ \"\$(od -An -tx4 -N4 merlon-verify-1.pcap | tr -d ' ')\" = a1b2c3d4 ]"
ok "nf_tables' steps are told, with the rule" grep -q '"nf_tables_trace": \[' first
ok "one packet is enough to show it" sh -c '[ "$(grep -c "\"way\":" first)" = 1 ]'

# The command's own words.
# shellcheck disable=SC2016
ok "a pipe, which can be read once" exits 0 '^-: .* 0 differences' sh -c 'cat base.nft | "$1" verify --packets 300 -' sh "$merlon"
# shellcheck disable=SC2016
ok "iptables rules from a pipe" exits 0 '^-: .* 0 differences' sh -c 'cat replaced.v4 | "$1" verify --packets 300 -' sh "$merlon"

# Bad input.
printf 'table inet t {\n\tchain in {\n\t\ttype filter hook input priority 0;\n\t\ttcp dport 22 acept\n\t}\n}\n' >syntax.nft
printf '*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -s 10.0.0.2 -m recent --name x --rcheck -j DROP\nCOMMIT\n' >refused.v4
printf '*filter\n:INPUT DROP [0:0]\n-A INPUT -s 10.0.0.2 -m recent --name x --rcheck -j ACCEPT\n-A INPUT -s 10.0.0.3 -j ACCEPT\nCOMMIT\n' >partial.v4
ok "a syntax error" exits 1 'syntax\.nft:4' "$merlon" verify syntax.nft
ok "a refused rule" exits 3 'recent' "$merlon" verify refused.v4
ok "without it, where that lets nothing more pass" exits 0 ' 0 differences' "$merlon" verify --packets 2000 --allow-partial partial.v4
ok "which rules were left out" exits 0 'partial.v4:3: left out: .*recent' "$merlon" verify --packets 300 --allow-partial partial.v4
left_out() {
	"$merlon" verify --json --packets 300 --allow-partial partial.v4 |
		jq -e '.files[0].left_out | length == 1 and .[0].line == 3 and .[0].reason != null'
}
ok "which rules were left out, as JSON" left_out
cat >nat.v4 <<'END'
*nat
:PREROUTING ACCEPT [0:0]
-A PREROUTING -p tcp --dport 80 -j DNAT --to-destination 10.0.0.2:8080
-A PREROUTING -p tcp --dport 81 -j DNAT --to-destination 10.0.0.2:8081
COMMIT
*filter
:INPUT DROP [0:0]
:unused - [0:0]
-A INPUT -p tcp --dport 22 -j ACCEPT
-A unused -p tcp --dport 23 -j ACCEPT
COMMIT
END
printf 'table arp f {\n\tchain input {\n\t\ttype filter hook input priority 0; policy drop;\n\t}\n}\n' | cat - base.nft >arp.nft
ok "NAT is said to be left out" exits 0 'not compared: table ip nat, chain PREROUTING, 2 rules: .*netfilter$' "$merlon" verify --packets 300 nat.v4
ok "... and what nothing leads to" exits 0 'not compared: table ip filter, chain unused, 1 rule: no base chain' "$merlon" verify --packets 300 nat.v4
ok "... and a chain without rules" exits 0 'not compared: table arp f, chain input, 0 rules' "$merlon" verify --packets 300 arp.nft
uncompared() {
	"$merlon" verify --json --packets 300 nat.v4 | jq -e '[.files[0].left_out[] | "\(.table) \(.chain) \(.line)"] | sort ==
		["ip filter unused 10", "ip nat PREROUTING 3", "ip nat PREROUTING 4"]'
	"$merlon" verify --json --packets 300 arp.nft | jq -e '.files[0].left_out | length == 1 and .[0].rule == null'
}
ok "... as JSON" uncompared
ok "--each: what could not be verified" exits 1 '^2 of 3 files not verified: syntax.nft \(failed\), refused.v4 \(refused\)$' \
	"$merlon" verify --each --packets 300 syntax.nft base.nft refused.v4
ok "... is in the sum" exits 1 '^1 ruleset, [0-9,]+ packets, 0 differences$' "$merlon" verify --each --packets 300 syntax.nft base.nft refused.v4
ok "... a refused rule alone has its status" exits 3 '^1 of 2 files not verified: refused.v4' "$merlon" verify --each --packets 300 base.nft refused.v4
unverified() { "$merlon" verify --json --each --packets 300 syntax.nft base.nft refused.v4 | jq -e '.unverified == 2 and .rulesets == 1'; }
ok "... as JSON" unverified
ok "all files of a ruleset are named" exits 0 'web-db.v4 .*web-db.v6: 3' "$merlon" verify --packets 300 "$top/docs/examples/web-db.v4" "$top/docs/examples/web-db.v6"
explained() {
	"$merlon" verify --json --packets 3000 base.nft | jq -e '.limits | length >= 2 and all(.[]; .text | length > 20)' &&
		"$merlon" verify --packets 3000 base.nft | grep -A1 '  stack-checks: ' | grep -q 'discards or rewrites'
}
ok "each limit is explained" explained
# Each limit that verify or check can name is in the manual page.
named() {
	local name missing=''
	for name in $("$merlon" verify --json --packets 3000 base.nft | jq -r '.limits | keys[]') \
		$(sed -n 's/^\t{ "\([a-z0-9-]*\)", ".*/\1/p' "$top/src/model/limits.c"); do
		grep -qx "\.It Cm $name" "$top/man/merlon.8" || missing+=" $name"
	done
	[ -z "$missing" ] || { echo "not in merlon(8):$missing"; return 1; }
}
ok "each limit is in the manual page" named
ok "no file" exits 2 'needs a file' "$merlon" verify
ok "a number of packets that is none" exits 2 'packets' "$merlon" verify --packets many base.nft
chmod 755 "$dir"
ok "not root" exits 1 'run as root' setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all "$merlon" verify base.nft
stopped() {
	"$merlon" verify --packets 1000000 base.nft >/dev/null 2>err &
	local pid=$!
	sleep 1
	kill -INT $pid
	wait $pid
	[ $? = 1 ] && grep -q interrupted err && [ -z "$(ip netns list)" ] && ! grep -q merlon-verify /proc/mounts
}
ok "interrupted: says so, leaves nothing" stopped
echo "1..$n"
exit $status
