#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# merlon check --host and apply: each thing on a host that TC would judge wrong, made in a namespace of its own, and what is
# close to it but harmless.
set -u
# shellcheck source=tests/lib/service.sh
. "${MERLON_TOP_SRCDIR:?}/tests/lib/service.sh"

cd "$dir" || exit 99
policy() { printf 'table inet p {\n\tchain c {\n\t\ttype filter hook %s priority filter; policy accept;\n\t\t%s\n\t}\n}\n' "$1" "$2"; }
policy input 'udp dport 4000 drop' >plain.nft
policy input 'ct state established accept' >state.nft
policy input 'meta mark 7 drop' >mark.nft
policy input 'ip ttl 1 drop' >ttl.nft
policy forward 'udp dport 4000 drop' >forward.nft
chain() { # table with family, hook and priority, rules...
	local table=$1 hook=$2
	shift 2
	printf 'table %s {\n\tchain c {\n\t\ttype filter hook %s;\n' "$table" "$hook"
	printf '\t\t%s\n' "$@"
	printf '\t}\n}\n'
}

# on_host SETUP ARGUMENT...: merlon check --host in a namespace that SETUP, a script, has changed; report in `report`.
# `through`: a program in Python that starts it.
through=
on_host() {
	local setup=$1
	shift
	unshare --net bash -c "ip link set lo up; $setup"'
		shift
		exec "$@"' - - ${through:+python3 "$through"} "$merlon" check --host --json "$@" >report 2>errors
}
# finds WHAT SEVERITY WHERE SETUP [FILE]: it is found, with that severity, at that place, and the exit status says so.
finds() {
	local what=$1 severity=$2 where=$3 setup=$4 want=0 got
	shift 4
	[ "$severity" != refuse ] || want=3
	on_host "$setup" "$@"
	got=$?
	jq -e --arg what "$what" --arg severity "$severity" --arg where "$where" \
		'any(.host[]; .what == $what and .severity == $severity and (.where | test($where)) and (.why | length > 0))' \
		report >/dev/null || { jq -c .host report; cat errors; return 1; }
	[ "$got" = "$want" ] || { echo "exit status $got, not $want"; jq -c .host report; cat errors; return 1; }
}
# clean SETUP [FILE]: nothing is found that refuses or warns.
clean() {
	on_host "$@" || { echo "exit status $?"; jq -c .host report; cat errors; return 1; }
	jq -e 'all(.host[]; .severity == "note")' report >/dev/null || { jq -c .host report; return 1; }
}
# nft_finds WHAT SEVERITY WHERE RULESET-FILE [FILE]: a ruleset of nf_tables.
nft_finds() { local what=$1 severity=$2 where=$3 file=$4; shift 4; finds "$what" "$severity" "$where" "nft -f $file || exit 99" "$@"; }
nft_clean() { local file=$1; shift; clean "nft -f $file || exit 99" "$@"; }

ok "a bare namespace: nothing" sh -c "unshare --net '$merlon' check --host | grep -q 'nothing that would be judged wrong'"
ok "the report has the list" clean : plain.nft
ok "with a file, the report on its rules too" sh -c "unshare --net '$merlon' check --host --json plain.nft | jq -e '.rules == 1 and .host == []'"

# NAT: of nf_tables, of both iptables; what no packet reaches is no reason.
cat >nat.nft <<'END'
table ip n {
	chain post {
		type nat hook postrouting priority srcnat; policy accept;
		ip saddr 10.0.0.0/8 masquerade
	}
}
END
ok "nat: masquerade" nft_finds nat refuse 'table ip n, chain post, handle [0-9]+$' nat.nft plain.nft
ok "nat: without a file" nft_finds nat refuse 'chain post' nat.nft
sed 's/ip saddr.*/ip saddr 10.0.0.0\/8 counter/' nat.nft >counts.nft
ok "a nat chain that translates nothing" nft_clean counts.nft plain.nft
sed '/masquerade/d' nat.nft >none.nft
ok "an empty nat chain" nft_clean none.nft plain.nft
cat >unreached.nft <<'END'
table ip n {
	chain lost {
		dnat to 10.1.1.1
	}
	chain pre {
		type nat hook prerouting priority dstnat;
		tcp dport 1 accept
	}
}
END
ok "NAT that nothing jumps to" nft_clean unreached.nft plain.nft
sed 's/tcp dport 1 accept/tcp dport 1 jump lost/' unreached.nft >jump.nft
ok "nat: behind a jump" nft_finds nat refuse 'chain lost' jump.nft plain.nft
sed 's/tcp dport 1 accept/tcp dport vmap { 1 : jump lost }/' unreached.nft >vmap.nft
ok "nat: behind a map of verdicts" nft_finds nat refuse 'chain lost' vmap.nft plain.nft
sed 's/^table ip n {/&\n\tflags dormant/' nat.nft >dormant.nft
ok "NAT in a dormant table" nft_clean dormant.nft plain.nft
sed 's/ip saddr.*/tcp dport 80 redirect to :8080/; s/postrouting priority srcnat/prerouting priority dstnat/; s/table ip n/table inet n/' nat.nft >redirect.nft
ok "nat: redirect in inet" nft_finds nat refuse 'table inet n' redirect.nft plain.nft
for tool in iptables-legacy iptables-nft ip6tables-legacy ip6tables-nft; do
	from=$tool
	case $tool in *-nft) from='nf_tables' ;; esac
	ok "nat: $tool" finds nat refuse "^$from: table .*nat, chain POSTROUTING" "$tool -t nat -A POSTROUTING -j MASQUERADE" plain.nft
	ok "$tool: a nat table without rules" clean "$tool -t nat -N DOCKED; $tool -t nat -L >/dev/null" plain.nft
done
ok "nat: iptables-legacy, behind a jump" finds nat refuse 'chain mine, rule 2 ' \
	'iptables-legacy -t nat -N mine; iptables-legacy -t nat -N DOCKER; iptables-legacy -t nat -A mine -j RETURN
	iptables-legacy -t nat -A mine -p tcp -j DNAT --to 10.1.1.1; iptables-legacy -t nat -A PREROUTING -j mine' plain.nft
ok "NAT of iptables-legacy that nothing jumps to" clean \
	'iptables-legacy -t nat -N mine; iptables-legacy -t nat -A mine -p tcp -j DNAT --to 10.1.1.1' plain.nft
ok "nat: docker is named" finds nat refuse '\(docker\)$' 'iptables-nft -t nat -N DOCKER; iptables-nft -t nat -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE' plain.nft
ok "... and its cure" sh -c "jq -e 'any(.host[]; .what == \"nat\" and (.cure | test(\"daemon.json\")))' report"
ok "nat: libvirt is named" finds nat refuse '\(libvirt\)' 'iptables-legacy -t nat -N LIBVIRT_PRT; iptables-legacy -t nat -A POSTROUTING -j LIBVIRT_PRT
	iptables-legacy -t nat -A LIBVIRT_PRT -s 192.168.122.0/24 ! -d 192.168.122.0/24 -j MASQUERADE' plain.nft

# What changes packets.
chain 'ip t' 'prerouting priority mangle' 'tcp dport 80 tproxy to :50080' >tproxy.nft
ok "tproxy" nft_finds tproxy refuse 'chain c' tproxy.nft plain.nft
ok "tproxy: iptables" finds tproxy refuse 'PREROUTING' 'iptables-legacy -t mangle -A PREROUTING -p tcp --dport 80 -j TPROXY --on-port 50080 --tproxy-mark 1' plain.nft
chain 'inet t' 'prerouting priority mangle' 'meta mark set 7' >marks.nft
ok "marks, where the policy matches on marks" nft_finds marks refuse 'table inet t' marks.nft mark.nft
ok "marks, where it does not" nft_clean marks.nft plain.nft
ok "marks, without a policy" nft_finds marks warn 'table inet t' marks.nft
ok "marks: iptables-legacy" finds marks refuse 'mangle' 'iptables-legacy -t mangle -A OUTPUT -j MARK --set-mark 7' mark.nft
ok "marks: CONNMARK restores" finds marks refuse 'mangle' 'iptables-nft -t mangle -A PREROUTING -j CONNMARK --restore-mark' mark.nft
ok "CONNMARK that saves" clean 'iptables-legacy -t mangle -A PREROUTING -j CONNMARK --save-mark' mark.nft
chain 'inet t' 'prerouting priority raw' 'ct mark set 7' >ctmark.nft
ok "a mark of the connection" nft_clean ctmark.nft mark.nft
chain 'inet t' 'prerouting priority raw' 'udp dport 53 notrack' >notrack.nft
ok "notrack, where the policy asks for state" nft_finds notrack refuse 'chain c' notrack.nft state.nft
ok "notrack, where it does not" nft_clean notrack.nft plain.nft
ok "notrack: iptables-legacy" finds notrack refuse 'table raw' 'iptables-legacy -t raw -A PREROUTING -p udp -j CT --notrack' state.nft
ok "zones" finds zones refuse 'table raw' 'iptables-legacy -t raw -A PREROUTING -p udp -j CT --zone 3' state.nft
chain 'inet t' 'prerouting priority raw' 'ct zone set 3' >zone.nft
cat >timeout.nft <<'END'
table inet t {
	ct timeout short {
		protocol udp
		policy = { unreplied : 5 }
	}
	chain c {
		type filter hook prerouting priority mangle
		udp dport 53 ct timeout set "short"
	}
}
END
if unshare --net nft -f timeout.nft 2>/dev/null; then
	ok "timeouts" nft_finds timeouts refuse 'chain c' timeout.nft state.nft
fi
cat >helper.nft <<'END'
table inet t {
	ct helper ftp {
		type "ftp" protocol tcp
	}
	chain c {
		type filter hook prerouting priority filter
		tcp dport 21 ct helper set "ftp"
	}
}
END
if unshare --net nft -f helper.nft 2>/dev/null; then
	ok "helpers" nft_finds helpers warn 'chain c' helper.nft state.nft
fi
ok "zones: nft" nft_finds zones refuse 'chain c' zone.nft state.nft
chain 'inet t' 'prerouting priority mangle' 'ip ttl set 3' >alter.nft
ok "another TTL, where the policy matches on it" nft_finds alter refuse 'chain c' alter.nft ttl.nft
ok "another TTL, where it does not" nft_clean alter.nft plain.nft
ok "TTL: iptables" finds alter refuse 'PREROUTING' 'ip6tables-legacy -t mangle -A PREROUTING -j HL --hl-set 3' ttl.nft
chain 'inet t' 'prerouting priority mangle' 'ip daddr set 10.1.1.1' >rewrite.nft
ok "addresses that are rewritten" nft_finds rewrite refuse 'chain c' rewrite.nft plain.nft
chain 'ip t' 'prerouting priority mangle' 'tcp dport 81 tcp dport set 80' >ports.nft
ok "ports that are rewritten" nft_finds rewrite refuse 'chain c' ports.nft plain.nft
chain 'ip6 t' 'prerouting priority mangle' 'ip6 saddr set fd00::1' >rewrite6.nft
ok "IPv6 addresses that are rewritten" nft_finds rewrite refuse 'table ip6 t' rewrite6.nft plain.nft
chain 'netdev t' 'ingress device lo priority 0' 'meta pkttype set host' >receive.nft
ok "packets made ours" nft_finds receive refuse 'table netdev t' receive.nft plain.nft
chain 'netdev t' 'ingress device lo priority 0' 'udp dport 9 dup to lo' >copies.nft
ok "copies are only noted" nft_finds copies note 'table netdev t' copies.nft plain.nft
chain 'inet t' 'input priority filter; policy drop' 'tcp dport 22 accept' >both.nft
ok "both filter" nft_finds filters note 'table inet t' both.nft plain.nft
ok "both filter: by policy" sh -c "jq -e 'any(.host[]; .what == \"filters\" and (.where | test(\"policy drop\")))' report"
chain 'inet t' 'input priority filter; policy accept' 'tcp dport 22 counter accept' >pass.nft
ok "what stops nothing does not filter" sh -c "unshare --net sh -c 'nft -f pass.nft; iptables-legacy -A INPUT -j ACCEPT; \"\$0\" check --host' '$merlon' | grep -q nothing"
chain 'inet t' 'input priority filter; policy accept' 'tcp dport vmap { 22 : drop }' >map.nft
ok "both filter: by a map" nft_finds filters note 'chain c, handle [0-9]+$' map.nft plain.nft
ok "both filter: iptables-legacy" finds filters note 'INPUT' 'iptables-legacy -A INPUT -p tcp --dport 23 -j DROP' plain.nft
ok "both filter: REJECT" finds filters note 'chain INPUT, handle' 'iptables-nft -A INPUT -p tcp --dport 23 -j REJECT' plain.nft

imported() { # setup: the ruleset of a host, imported, finds nothing behind input
	unshare --net sh -c "iptables-legacy -P INPUT DROP; iptables-legacy -P OUTPUT DROP
		iptables-legacy -A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT
		iptables-legacy -A OUTPUT -m conntrack --ctstate NEW,ESTABLISHED -j ACCEPT
		$1
		'$merlon' import --live -o imported.nft && '$merlon' check --host --json imported.nft" |
		jq -es 'last | all(.host[]; .what != "begun")'
}
ok "imported from iptables-legacy: its chains are the policy's own" imported ''
ok "... also where iptables-nft has a table of that name" imported 'iptables-nft -A INPUT -p udp --dport 53 -j ACCEPT'
ok "... which gives it another name" grep -q 'table ip filter_legacy' imported.nft

# What is dropped behind input has begun a connection: it matters where output asks for the state and may deny.
{ policy input 'udp dport 4000 accept'; sed 's/ p / q /; s/policy accept/policy drop/' state.nft | sed 's/hook input/hook output/'; } >answers.nft
chain 'ip t' 'prerouting priority raw' 'udp sport 53 drop' >begun.nft
ok "dropped in raw, answered in output" nft_finds begun refuse 'table ip t, chain c' begun.nft answers.nft
ok "dropped in raw, output without state" sh -c "unshare --net sh -c 'nft -f begun.nft; \"\$0\" check --host --json plain.nft' '$merlon' | jq -e 'all(.host[]; .what != \"begun\")'"
printf 'table ip t {\n\tchain u { udp sport 53 drop; }\n\tchain c {\n\t\ttype filter hook prerouting priority raw;\n\t\tjump u\n\t}\n}\n' >begun.jump.nft
ok "dropped behind a jump from there" nft_finds begun refuse 'chain u' begun.jump.nft answers.nft
chain 'netdev t' 'ingress device lo priority 0' 'udp sport 53 drop' >begun.netdev.nft
ok "dropped at netdev's ingress" nft_finds begun refuse 'table netdev t' begun.netdev.nft answers.nft
chain 'inet other' 'input priority -1' 'udp sport 53 reject' >begun.input.nft
ok "rejected in another input chain" nft_finds begun refuse 'table inet other' begun.input.nft answers.nft
ok "... iptables-legacy's" finds begun refuse 'PREROUTING' 'iptables-legacy -t raw -A PREROUTING -p udp -j DROP' answers.nft
ok "the policy's own chain in nf_tables" nft_clean answers.nft answers.nft
chain 'ip t' 'postrouting priority mangle' 'udp sport 53 drop' >late.nft
ok "what is dropped in postrouting begins nothing" nft_clean late.nft answers.nft
chain 'ip t' 'prerouting priority raw' 'fib saddr . iif oif missing drop' >stray.nft
ok "what is dropped by its route is named as a limit" nft_clean stray.nft answers.nft
ok "... iptables-legacy's" clean 'iptables-legacy -t raw -A PREROUTING -p udp -m rpfilter --invert -j DROP' answers.nft
ok "... iptables-nft's" clean 'ip6tables-nft -t raw -A PREROUTING -m rpfilter --loose --invert -j DROP' answers.nft
ok "what has a route back is not that" finds begun refuse 'PREROUTING' 'iptables-legacy -t raw -A PREROUTING -m rpfilter -j DROP' answers.nft
ok "... iptables-nft's either" finds begun refuse 'PREROUTING' 'iptables-nft -t raw -A PREROUTING -m rpfilter -j DROP' answers.nft
chain 'inet t' 'prerouting priority mangle' 'ct state invalid counter drop' >invalid.nft
ok "what is invalid begins nothing" nft_clean invalid.nft answers.nft
ok "... iptables-nft's" clean 'iptables-nft -t mangle -A PREROUTING -m conntrack --ctstate INVALID -j DROP' answers.nft
ok "... iptables-legacy's" clean 'iptables-legacy -t mangle -A PREROUTING -m state --state INVALID -j DROP' answers.nft
ok "what is invalid or something else" finds begun refuse 'PREROUTING' \
	'iptables-legacy -t mangle -A PREROUTING -m conntrack --ctstate INVALID,NEW -j DROP' answers.nft
ok "what is not invalid" finds begun refuse 'PREROUTING' 'iptables-nft -t mangle -A PREROUTING -m conntrack ! --ctstate INVALID -j DROP' answers.nft
chain 'inet t' 'prerouting priority mangle' 'ct state != invalid drop' >valid.nft
ok "... nf_tables'" nft_finds begun refuse 'table inet t' valid.nft answers.nft
n=0
for rule in 'fib daddr type local udp dport 5000 drop' 'fib daddr . iif type != { local, broadcast, multicast } drop' \
	'fib daddr type vmap { local : drop }' 'fib saddr oif exists drop' 'fib saddr type local drop'; do
	n=$((n + 1))
	chain 'ip t' 'prerouting priority raw' "$rule" >route.$n.nft
	ok "... nor is: $rule" nft_finds begun refuse 'table ip t' route.$n.nft answers.nft
done
ok "where input alone asks for the state: a warning" nft_finds begun warn 'table ip t' begun.nft state.nft
policy input 'udp dport 4000 ct direction original accept' >direction.nft
ok "where it asks for the direction" nft_finds begun refuse 'table ip t' begun.nft direction.nft
chain 'inet q' 'prerouting priority raw' 'udp sport 53 drop' >begun.name.nft
ok "a chain that has the name of the policy's input chain" nft_finds begun refuse 'table inet q' begun.name.nft \
	<(sed 's/ q / r /; s/ p / q /' answers.nft)
chain 'inet t' 'prerouting priority raw' 'ether saddr set 02:00:00:00:00:99' >ether.nft
policy input 'ether saddr 02:00:00:00:00:02 accept' >mac.nft
ok "another sender on Ethernet, where the policy asks for it" nft_finds alter refuse 'table inet t' ether.nft mac.nft
ok "... where it does not" nft_clean ether.nft plain.nft
cat begun.nft answers.nft >begun.own.nft
ok "a kept chain of the policy's own" finds begun refuse 'table ip t, chain c' : begun.own.nft
printf '*raw\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p udp --sport 53 -j DROP\nCOMMIT\n*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT DROP [0:0]\n-A OUTPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT\nCOMMIT\n' >begun.v4
ok "... of iptables-save" finds begun refuse 'PREROUTING' : begun.v4

# Routing, IPsec, bridges.
ok "routing by mark to this host" finds fwmark-rule refuse 'fwmark 0x1 lookup 100' \
	'ip rule add fwmark 1 lookup 100; ip route add local default dev lo table 100' plain.nft
ok "IPv6, a large table" finds fwmark-rule refuse 'ip -6 rule [0-9]+: fwmark 0x1 lookup 1000' \
	'ip -6 rule add fwmark 1/3 lookup 1000; ip -6 route add local default dev lo table 1000' plain.nft
ok "routing by mark elsewhere" finds fwmark-rule warn 'lookup 100' \
	'ip rule add fwmark 1 lookup 100; ip route add unreachable default table 100' plain.nft
ok "routing by mark, no such table" finds fwmark-rule warn 'lookup 100' 'ip rule add fwmark 1 lookup 100' plain.nft
ok "not fwmark, as wg-quick has it" clean 'ip rule add not fwmark 51820 lookup 51820; ip route add local default dev lo table 51820' plain.nft
ok "routing by address to this host" clean 'ip rule add from 10.0.0.0/8 lookup 100; ip route add local default dev lo table 100' plain.nft
veth='ip link add d0 type veth peer name d1; ip link set d0 up; ip link set d1 up'
six=net.ipv6.conf
ok "IPv6 forwarded against the interface's own word" finds forwarding refuse '^net.ipv6.conf.d0.forwarding=0, net.ipv6.conf.all.forwarding=1$' \
	"$veth; sysctl -qw $six.all.forwarding=1 $six.d0.forwarding=0" plain.nft
ok "... two interfaces" finds forwarding refuse ', and 1 more interface$' \
	"$veth; sysctl -qw $six.all.forwarding=1 $six.d0.forwarding=0 $six.d1.forwarding=0" plain.nft
ok "IPv6 forwarded everywhere" clean "$veth; sysctl -qw $six.all.forwarding=1" plain.nft
ok "... but from lo" clean "$veth; sysctl -qw $six.all.forwarding=1 $six.lo.forwarding=0" plain.nft
ok "... but from where there is no IPv6" clean "$veth; sysctl -qw $six.all.forwarding=1 $six.d0.forwarding=0 $six.d0.disable_ipv6=1" plain.nft
ok "... but from a bridge's port" clean \
	"$veth; ip link add b0 type bridge; ip link set d0 master b0; sysctl -qw $six.all.forwarding=1 $six.d0.forwarding=0" plain.nft
ok "IPv6 forwarded nowhere but by one interface's word" clean "$veth; sysctl -qw $six.d0.forwarding=1" plain.nft
ok "IPv4 forwarded against the interface's own word" clean "$veth; sysctl -qw net.ipv4.conf.all.forwarding=1 net.ipv4.conf.d0.forwarding=0" plain.nft
policy forward 'ct state established accept' >forward.state.nft
ok "... where forward asks for the state" finds forwarding refuse '^net.ipv4.conf.d0.forwarding=0, net.ipv4.conf.d1.forwarding=1$' \
	"$veth; sysctl -qw net.ipv4.conf.all.forwarding=1 net.ipv4.conf.d0.forwarding=0" forward.state.nft
ok "... and no other interface forwards" clean "$veth" forward.state.nft
if [ -e /proc/sys/net/ipv6/conf/lo/force_forwarding ]; then
	ok "IPv6 whose forwarding is forced" finds forwarding refuse 'd0.forwarding=0, force_forwarding=1$' "$veth; sysctl -qw $six.d0.force_forwarding=1" plain.nft
	ok "... as the interface says" clean "$veth; sysctl -qw $six.d0.force_forwarding=1 $six.d0.forwarding=1" plain.nft
fi
cat >mroute4.py <<'END'
"""A multicast router, with an interface unless the environment has BARE: until the socket that it leaves is closed."""
import os, socket, struct, sys
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_IGMP)
s.setsockopt(socket.IPPROTO_IP, 200, 1)  # MRT_INIT
if not os.environ.get('BARE'):
    vif = struct.pack('HBBIi4s', 0, 8, 1, 0, socket.if_nametoindex('d0'), bytes(4))  # VIFF_USE_IFINDEX
    s.setsockopt(socket.IPPROTO_IP, 202, vif)  # MRT_ADD_VIF
s.set_inheritable(True)
os.execvp(sys.argv[1], sys.argv[1:])
END
cat >mroute6.py <<'END'
"""The same of IPv6."""
import os, socket, struct, sys
s = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
s.setsockopt(socket.IPPROTO_IPV6, 200, 1)  # MRT6_INIT
if not os.environ.get('BARE'):
    s.setsockopt(socket.IPPROTO_IPV6, 202, struct.pack('HBBHI', 0, 0, 1, socket.if_nametoindex('d0'), 0))  # MRT6_ADD_MIF
s.set_inheritable(True)
os.execvp(sys.argv[1], sys.argv[1:])
END
routes() { local through=$1.py; shift; "$@"; }
if unshare --net sh -c "$veth; python3 mroute4.py true && python3 mroute6.py true"; then
	ok "multicast routing" routes mroute4 finds multicast refuse '^ip mroute: interface d0$' "$veth" plain.nft
	ok "... without interfaces" routes mroute4 clean "$veth; export BARE=1" plain.nft
	ok "... in another table" finds multicast refuse '^ip mroute: rule for table 1000$' 'ip mrule add iif lo lookup 1000' plain.nft
	ok "... of IPv6" routes mroute6 finds multicast refuse '^ip -6 mroute: interface d0$' "$veth" plain.nft
	ok "... of IPv6, without interfaces" routes mroute6 clean "$veth; export BARE=1" plain.nft
	ok "... of IPv6, in another table" finds multicast refuse '^ip -6 mroute: rule for table 77$' 'ip -6 mrule add lookup 77' plain.nft
fi
ways="$veth; ip addr add 10.1.0.1/24 dev d0; ip addr add 10.2.0.1/24 dev d1; ip addr add 10.1.1.1/24 dev d0
	ip -6 addr add fd01::1/64 dev d0 nodad; ip -6 addr add fd02::1/64 dev d1 nodad"
ok "a route by two interfaces" finds multipath warn '^ip route 10.9.0.0/24 by d0 and d1$' \
	"$ways; ip route add 10.9.0.0/24 nexthop via 10.1.0.2 nexthop via 10.2.0.2" plain.nft
ok "... in another table" finds multipath warn '^ip route default table 1000 by d0 and d1$' \
	"$ways; ip route add default table 1000 nexthop via 10.1.0.2 nexthop via 10.2.0.2" plain.nft
ok "... of IPv6" finds multipath warn '^ip -6 route fd09::/64 by d[01] and d[01]$' \
	"$ways; ip -6 route add fd09::/64 nexthop via fd01::2 nexthop via fd02::2" plain.nft
ok "... one by one" finds multipath warn '^ip -6 route fd09::/64 by d[01] and d[01]$' \
	"$ways; ip -6 route add fd09::/64 via fd01::2; ip -6 route append fd09::/64 via fd02::2" plain.nft
ok "... by two next hops of one interface" clean "$ways; ip route add 10.9.0.0/24 nexthop via 10.1.0.2 nexthop via 10.1.1.2" plain.nft
group='ip nexthop add id 9 via 10.1.0.2 dev d0 && ip nexthop add id 2 via 10.2.0.2 dev d1 && ip nexthop add id 3 group 9/2'
if unshare --net sh -c "ip link set lo up; $ways; $group"; then
	ok "a group of next hops" finds multipath warn '^ip nexthop id 3 by d0 and d1$' "$ways; $group" plain.nft
	ok "... of a route that does not list them" finds multipath warn '^ip nexthop id 3 by d0 and d1$' \
		"$ways; $group; sysctl -qw net.ipv4.nexthop_compat_mode=0; ip route add 10.9.0.0/24 nhid 3" plain.nft
	ok "... of one interface" clean "$ways; ${group/via 10.2.0.2 dev d1/via 10.1.1.2 dev d0}" plain.nft
	ok "... of a VXLAN" clean "ip nexthop add id 1 via 10.1.0.2 fdb; ip nexthop add id 2 via 10.1.0.3 fdb; ip nexthop add id 3 group 1/2 fdb" plain.nft
fi
ok "policy-based IPsec" finds ipsec refuse 'dir in' \
	'ip xfrm policy add src 10.0.0.0/8 dst 10.1.0.0/16 dir in tmpl src 1.1.1.1 dst 2.2.2.2 proto esp mode tunnel' plain.nft
ok "IPsec over an interface" clean 'ip xfrm policy add src 10.0.0.0/8 dst 10.1.0.0/16 dir in tmpl src 1.1.1.1 dst 2.2.2.2 proto esp mode tunnel if_id 7' plain.nft
ok "a policy that blocks" clean 'ip xfrm policy add src 10.0.0.0/8 dst 10.1.0.0/16 dir out action block' plain.nft
ok "IPsec that is still being negotiated" clean 'ip xfrm state allocspi src 10.0.0.1 dst 10.0.0.2 proto esp >/dev/null' plain.nft
link='ip link add d0 type veth peer name d1; ip link set d0 up; ip link set d1 up; ip -6 addr add fd01::1/64 dev d0 nodad'
encaps() { # family option, route
	unshare --net bash -c "$link; ip $1 $2" 2>/dev/null
}
seg6='route add fd99::/64 encap seg6 mode encap segs fd77::2 dev d0'
if encaps -6 "$seg6"; then
	ok "a route that encapsulates: seg6" finds encap refuse '^ip -6 route fd99::/64, encap seg6$' "$link; ip -6 $seg6" plain.nft
	ok "... in another table" finds encap refuse 'fd99::/64 table 77, encap seg6$' "$link; ip -6 $seg6 table 77" plain.nft
	ok "... one of its next hops" finds encap refuse 'fd99::/64, encap seg6$' \
		"$link; ip -6 route add fd99::/64 nexthop dev d0 via fd01::2 nexthop encap seg6 mode encap segs fd77::2 dev d0 via fd01::3" plain.nft
	ok "... a next hop of its own" finds encap refuse 'encap seg6$' \
		"$link; ip -6 nexthop add id 5 encap seg6 mode encap segs fd77::2 via fd01::2 dev d0" plain.nft
fi
seg6local='route add fd98::/64 encap seg6local action End dev d0'
! encaps -6 "$seg6local" || ok "... seg6local" finds encap refuse 'fd98::/64, encap seg6local$' "$link; ip -6 $seg6local" plain.nft
mpls='route add 10.9.0.0/24 encap mpls 100 dev d0'
! encaps -4 "$mpls" || ok "... mpls" finds encap refuse '^ip route 10.9.0.0/24, encap mpls$' "$link; ip $mpls" plain.nft
tunnel='route add 10.9.0.0/24 encap ip id 1 dst 10.1.1.1 dev d0'
! encaps -4 "$tunnel" || ok "a route for the interface of a tunnel" clean "$link; ip $tunnel" plain.nft
bridge='ip link add b0 type bridge; ip link add p0 type veth peer name q0; ip link set p0 master b0'
two="$bridge; ip link set q0 master b0"
on='sysctl -qw net.bridge.bridge-nf-call-iptables=1 net.bridge.bridge-nf-call-ip6tables=0'
off='sysctl -qw net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0'
if [ -e /proc/sys/net/bridge ]; then
	ok "bridge netfilter" finds bridge-netfilter refuse 'b0 with 2 ports' "$two; $on" forward.nft
	ok "bridge netfilter of one bridge" finds bridge-netfilter refuse 'b0' "$two; $off; ip link set b0 type bridge nf_call_ip6tables 1" forward.nft
	ok "bridge netfilter, no forward chain" clean "$two; $on" plain.nft
	ok "bridge netfilter, one port" clean "$bridge; $on" forward.nft
	ok "bridge netfilter off" clean "$two; $off" forward.nft
fi
ok "a service, by its chains" finds service warn '^ufw: chain ufw-before-input' 'iptables-legacy -N ufw-before-input' plain.nft
ok "fail2ban, by its table" finds service warn '^fail2ban' 'nft add table inet f2b-table; nft add chain inet f2b-table f2b-chain' plain.nft

# Without privileges it says what it could not look at.
unprivileged() {
	unshare --net setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all --bounding-set=-all \
		"$merlon" check --host --json >report || return
	jq -e '[.host[] | select(.what == "unseen") | .where] | any(.[]; test("nf_tables")) and any(.[]; test("IPsec"))' report
}
chmod 755 "$dir"
ok "without privileges" unprivileged

# What the file itself leaves to netfilter, and its filter rules ask for: the same, by file and line, on any host.
cat marks.nft mark.nft >own-marks.nft
cat notrack.nft state.nft >own-notrack.nft
cat notrack.nft plain.nft >own-unasked.nft
{ sed 's/type filter hook prerouting.*/type route hook output priority mangle;/' marks.nft; cat mark.nft; } >own-route.nft
{ sed 's/^table inet t {/&\n\tflags dormant/' marks.nft; cat mark.nft; } >own-dormant.nft
printf 'table inet t {\n\tchain sub {\n\t\tmeta mark set 7\n\t}\n\tchain c {\n\t\ttype filter hook prerouting priority mangle;\n\t\tudp dport 1 %s\n\t}\n}\n' \
	'jump sub' >own-jump.nft
sed 's/jump sub/accept/' own-jump.nft | cat - mark.nft >own-unreached.nft
cat mark.nft >>own-jump.nft
chain 'ip t' 'prerouting priority mangle' 'tcp dport 80 tproxy to :50080' | cat - plain.nft >own-tproxy.nft
printf '*mangle\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p udp -j MARK --set-xmark 0x7/0xff\n-A PREROUTING %s\nCOMMIT\n*raw\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -s 10.0.0.1 -p udp -j CT --notrack\nCOMMIT\n' \
	'-j CONNMARK --restore-mark' >kept.v4
{ cat kept.v4; printf '*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -m mark --mark 7 -j DROP\nCOMMIT\n'; } >own-marks.v4
{ cat kept.v4; printf '*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\nCOMMIT\n'; } >own-notrack.v4
own() { # WHAT LINE FILE: check says that apply refuses it, and check --host does
	local what=$1 line=$2 file=$3
	"$merlon" check --json "$file" >report 2>errors || { cat errors; return 1; }
	jq -e --arg file "$file" --argjson line "$line" 'any(.messages[]; .severity == "warning" and .file == $file and .line == $line) and
		any(.messages[]; .text | test("apply refuses")) and (.apply_refuses | test("leaves to netfilter"))' report >/dev/null || { jq -c .messages report; return 1; }
	finds "$what" refuse '^table .*chain' : "$file" || return
	jq -e --arg what "$what" --arg file "$file" --argjson line "$line" \
		'any(.host[]; .what == $what and .file == $file and .line == $line)' report || { jq -c .host report; return 1; }
}
silent() { # FILE
	"$merlon" check --json "$1" >report && jq -e '.messages == []' report >/dev/null || { jq -c .messages report; return 1; }
	clean : "$1"
}
# not_loaded WHERE FILE: said of a chain that stops packets and that this host does not have, by check, check --host
not_loaded() {
	local where=$1 file=$2
	"$merlon" check "$file" >report 2>errors || { cat errors; return 1; }
	grep -q "warning: table $where.*It is enforced only where netfilter has it" errors || { cat errors; return 1; }
	grep -qE '^merlon does not load what is kept|, 0 kept' report || { cat report; return 1; }
	finds not-loaded warn "^table $where$" : "$file" && grep -q 'nothing enforces it' report
}
# loaded FILE SETUP: the host has it
loaded() {
	on_host "$2" "$1" || { cat errors; return 1; }
	jq -e 'all(.host[]; .what != "not-loaded")' report >/dev/null || { jq -c .host report; return 1; }
}
chain 'inet pre' 'prerouting priority 0; policy drop' 'tcp dport 22 accept' | cat - plain.nft >stop-pre.nft
{ printf 'table netdev n {\n\tchain c {\n\t\ttype filter hook ingress device "lo" priority 0; policy accept;\n\t\tudp dport 9 drop\n\t}\n}\n'; cat plain.nft; } >stop-netdev.nft
printf '*mangle\n:PREROUTING ACCEPT [0:0]\n:FORWARD DROP [0:0]\nCOMMIT\n*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -s 10.0.0.1 -j DROP\nCOMMIT\n' >stop.v4
printf '*raw\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -s 10.0.0.1 -j DROP\nCOMMIT\n*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -s 10.0.0.1 -j DROP\nCOMMIT\n' >stop-raw.v4
sed 's/policy drop/policy accept/' stop-pre.nft >pass-pre.nft
ok "a policy of drop that nobody loads" not_loaded 'inet pre, chain c, policy drop' stop-pre.nft
ok "... a rule" not_loaded 'netdev n, chain c' stop-netdev.nft
ok "... a policy of iptables" not_loaded 'ip mangle, chain FORWARD, policy drop' stop.v4
ok "... a rule of iptables" not_loaded 'ip raw, chain PREROUTING' stop-raw.v4
ok "... not where the host has it" loaded stop-pre.nft 'nft -f stop-pre.nft'
ok "... of netdev" loaded stop-netdev.nft 'nft -f stop-netdev.nft'
ok "... of iptables-nft" loaded stop-raw.v4 'iptables-nft-restore <stop-raw.v4'
ok "... of iptables-legacy" loaded stop-raw.v4 'iptables-legacy-restore <stop-raw.v4'
ok "... one that accepts is no warning" silent pass-pre.nft
ok "the file's own marks" own marks 4 own-marks.nft
ok "... of a chain for routing" own marks 4 own-route.nft
ok "... behind a jump" own marks 3 own-jump.nft
ok "... that nothing jumps to" silent own-unreached.nft
ok "... in a dormant table" silent own-dormant.nft
ok "... of iptables" own marks 3 own-marks.v4
ok "the file's own notrack" own notrack 4 own-notrack.nft
ok "... of iptables" own notrack 8 own-notrack.v4
ok "... where no rule asks for state" silent own-unasked.nft
ok "the file's own tproxy" own tproxy 4 own-tproxy.nft

# Ten thousand rules.
many() {
	{ echo 'table inet many { chain i { type filter hook input priority 0;'
	for i in $(seq 10000); do echo "ip saddr 10.$((i / 256)).$((i % 256)).1 tcp dport 22 counter accept"; done
	printf '}\n}\n'; } >many.nft
	# Of the processor's time: others may keep it busy.
	# shellcheck disable=SC2016
	unshare --net bash -c 'nft -f many.nft && TIMEFORMAT="%U %S" && time "$0" check --host --json >report' "$merlon" 2>spent.txt || return
	awk '{ ms = ($1 + $2) * 1000; print "# " ms " ms with 10,000 rules"; exit ms > 200 }' spent.txt >&3
}
exec 3>&1
ok "ten thousand rules" many

# The daemon refuses, and says why; with --audit it only warns; what is gone is no reason any more.
make_network
start_daemon || { echo "Bail out! merlond does not start: $(cat log)"; exit 1; }
ok "apply" "$merlon" apply plain.nft
in_host nft -f nat.nft
ok "apply is refused" fails 3 'error: nf_tables: table ip n, chain post, handle .*translated' "$merlon" apply plain.nft
ok "the policy stays" status_is .generation 1
ok "... with the finding in the report" sh -c "'$merlon' apply --json plain.nft 2>/dev/null | jq -e '.host[0].what == \"nat\" and .host[0].severity == \"refuse\"'"
ok "--audit warns" sh -c "'$merlon' apply --audit plain.nft 2>&1 >/dev/null | grep -q 'warning: .*translated'"
in_host nft delete table ip n
ok "apply again" "$merlon" apply plain.nft
in_host nft -f marks.nft
ok "marks do not matter to this policy" "$merlon" apply plain.nft
ok "but to that one" fails 3 'marks' "$merlon" apply mark.nft
in_host nft delete table inet t
in_host ip rule add fwmark 1 lookup 100
ok "a warning is a message of the report" sh -c "'$merlon' apply plain.nft 2>&1 >/dev/null | grep -q 'warning: ip rule .*fwmark'"
in_host ip rule del fwmark 1 lookup 100

ok "apply: says what nothing enforces" sh -c "'$merlon' apply stop-pre.nft 2>&1 | grep -q 'warning: table inet pre, chain c, policy drop: .*nothing enforces it'"
ok "... and that kept is not loaded" sh -c "'$merlon' apply stop-pre.nft 2>/dev/null | grep -q 'merlon does not load what is kept'"
for file in own-marks.nft own-route.nft own-notrack.nft own-marks.v4 own-notrack.v4; do
	ok "$file: apply refuses the file's own kept rules" fails 3 "$file:[348]: error: table .*where the policy" "$merlon" apply "$file"
done
ok "... --audit warns" sh -c "'$merlon' apply --audit own-marks.nft 2>&1 >/dev/null | grep -q 'own-marks.nft:4: warning: .*marks'"
ok "... and what no rule asks for is no reason" "$merlon" apply own-unasked.nft
ok "an edit that asks for it" fails 3 'notrack' "$merlon" nft add rule inet p c ct state untracked drop
ok "back to the plain policy" "$merlon" apply plain.nft

# A daemon that comes back to a host that has changed.
stop_daemon TERM
in_host nft -f nat.nft
start_daemon || { echo "Bail out! merlond does not start again: $(cat log)"; exit 1; }
ok "what has changed meanwhile is told" grep -q 'nf_tables: table ip n, chain post.*translated' log
ok "the policy is in force still" status_is .mode enforce
in_host nft delete table ip n

# A program of another one's, behind merlon and in front of it.
cat >tcx.py <<'END'
"""tcx.py INTERFACE PIN SIDE before|after: a program that lets everything by, attached beside merlon's."""
import ctypes, os, socket, sys
bpf = ctypes.CDLL("libbpf.so.1", use_errno=True)
class Options(ctypes.Structure):  # the head of struct bpf_link_create_opts
    _fields_ = [("size", ctypes.c_size_t), ("flags", ctypes.c_uint32), ("rest", ctypes.c_uint8 * 52)]
code = (ctypes.c_uint64 * 2)(0xb7, 0x95)  # r0 = 0 (TC_ACT_OK); exit
program = bpf.bpf_prog_load(3, b"others", b"GPL", code, ctypes.c_size_t(2), None)
options = Options(ctypes.sizeof(Options), 8 if sys.argv[4] == "before" else 16)
link = bpf.bpf_link_create(program, socket.if_nametoindex(sys.argv[1]), int(sys.argv[3]), ctypes.byref(options))
if program < 0 or link < 0 or bpf.bpf_obj_pin(link, sys.argv[2].encode()) < 0:
    sys.exit(f"program {program}, link {link}: {os.strerror(ctypes.get_errno())}")
END
others() { # side, before|after, and what to run while it is there
	local side=$1 where=$2 status
	shift 2
	in_host python3 tcx.py up0 "$dir/bpf/others" "$side" "$where" || return
	"$@"
	status=$?
	rm "$dir/bpf/others"
	return $status
}
warns() { "$merlon" apply plain.nft 2>&1 >/dev/null | grep -q "$1"; }
quiet() { [ -z "$("$merlon" apply plain.nft 2>&1 >/dev/null)" ]; }
if [ "$("$merlon" status --json | jq -r .attach)" = tcx ]; then
	ok "merlon itself is no finding" quiet
	ok "a program behind merlon at ingress: a warning" others 46 after warns 'warning: up0: TCX program [0-9]'
	ok "... at egress: nothing" others 47 after quiet
	ok "a program in front at ingress" others 46 before fails 3 'up0, ingress: TCX program' "$merlon" apply plain.nft
	ok "a program in front at egress" others 47 before fails 3 'up0, egress: TCX program' "$merlon" apply plain.nft
fi
ok "a filter behind merlon: a warning" sh -c "nsenter --net=/run/netns/$host tc qdisc add dev up0 clsact &&
	nsenter --net=/run/netns/$host tc filter add dev up0 ingress u32 match u32 0 0 flowid 1:1 && '$merlon' apply plain.nft 2>&1 | grep -q 'warning: up0: u32'"
in_host tc qdisc del dev up0 clsact
"$merlon" stop >/dev/null
wait "$daemon" 2>/dev/null
in_host ip rule add fwmark 1 lookup 100
start_daemon --interfaces up0 || { echo "Bail out! merlond does not start again: $(cat log)"; exit 1; }
ok "routing by mark may lead to an interface that is left out" fails 3 'fwmark' "$merlon" apply plain.nft
in_host ip rule del fwmark 1 lookup 100
in_host sh -c 'ip link add out0 type veth peer name out1; ip link set out0 up; ip link set out1 up'
six=net.ipv6.conf
in_host sysctl -qw $six.all.forwarding=1 $six.up0.forwarding=0
ok "IPv6 forwarded against the word of an interface" fails 3 'up0.forwarding=0' "$merlon" apply plain.nft
in_host sysctl -qw $six.up0.forwarding=1 $six.out0.forwarding=0
ok "... of one that is left out" quiet
in_host sh -c 'ip addr add 10.78.0.1/24 dev out0; ip addr add 10.79.0.1/24 dev out1'
in_host ip route add 10.9.0.0/24 nexthop via 10.78.0.2 nexthop via 10.79.0.2
ok "a route by two interfaces that are left out" quiet
in_host ip route replace 10.9.0.0/24 nexthop via 10.78.0.2 nexthop via 10.77.0.2
ok "... by one that is left out, and one that is not" fails 3 'ip route 10.9.0.0/24: up0 is filtered, out0 is not' "$merlon" apply plain.nft
in_host ip route del 10.9.0.0/24
in_host sh -c 'ip nexthop add id 1 via 10.78.0.2 dev out0 && ip nexthop add id 2 via 10.77.0.2 dev up0 && ip nexthop add id 3 group 1/2' &&
	ok "... by a group of next hops" fails 3 'ip nexthop id 3: up0 is filtered, out0 is not' "$merlon" apply plain.nft
in_host ip nexthop flush
"$merlon" stop >/dev/null
wait "$daemon" 2>/dev/null
in_host ip route add 10.9.0.0/24 nexthop via 10.78.0.2 nexthop via 10.77.0.2
start_daemon || { echo "Bail out! merlond does not start again: $(cat log)"; exit 1; }
in_host sysctl -qw $six.out0.forwarding=1
ok "... where all are filtered" quiet
"$merlon" stop >/dev/null
wait "$daemon" 2>/dev/null
daemon=''
finish
