#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Each command of merlon-migrate(7), as it stands there, from each origin to merlon and back. What systemd, ufw and firewalld
# do to the rules of the host is done by stand-ins of the same names; the rules are of the kinds that those load.
set -u
# shellcheck source=tests/lib/service.sh
. "${MERLON_TOP_SRCDIR:?}/tests/lib/service.sh"
page=$top/man/merlon-migrate.7

cd "$dir" || exit 99
make_network
mkdir upper work bin
# The commands write to /etc; the mount namespace is the test's own.
mount -t overlay -o "lowerdir=/etc,upperdir=$dir/upper,workdir=$dir/work" overlay /etc || { echo "1..0 # SKIP no overlay on /etc"; exit 0; }
cleanup_etc() {
	umount /etc
	cleanup
}
trap cleanup_etc EXIT
mkdir -p /etc/merlon /etc/iptables

cat >bin/merlon <<END
#!/bin/sh
[ "\$1" != verify ] || { shift; set -- verify --packets 500 "\$@"; }
exec "$merlon" "\$@"
END
# Five minutes are over when the test says so. As with systemd, a name is taken while its timer runs.
cat >bin/systemd-run <<END
#!/bin/sh
[ "\$1 \$2 \$3" = "--collect --unit=merlon-back --on-active=5m" ] && [ ! -e "$dir/timer" ] || exit 1
shift 3
setsid -f sh -c 'echo \$\$ >"$dir/timer"
while [ -d "$dir" ] && [ ! -e "$dir/over" ]; do sleep 0.05; done
rm "$dir/timer"; exec "\$@"' merlon-back "\$@"
until [ -s "$dir/timer" ]; do sleep 0.01; done
END
cat >bin/systemctl <<END
#!/bin/sh
case "\$*" in
"stop merlon-back.*") [ ! -e "$dir/timer" ] || { kill "\$(cat "$dir/timer")" && rm "$dir/timer"; } ;;
"enable --now merlon.service") merlon apply --configured ;;
"disable --now merlon.service") merlon stop --configured ;;
"disable --now nftables.service") nft flush ruleset ;;
"reload nftables.service" | "enable --now nftables.service") nft 'flush ruleset; include "/etc/nftables.conf"' ;;
"disable --now firewalld.service") nft delete table inet firewalld ;;
"enable --now firewalld.service") nft -f "$dir/firewalld.nft" ;;
"disable --now netfilter-persistent.service" | "enable --now netfilter-persistent.service") ;;
*) exit 1 ;;
esac
END
cat >bin/ufw <<END
#!/bin/sh
case "\$*" in
disable) for i in iptables ip6tables; do \$i -P INPUT ACCEPT; \$i -P FORWARD ACCEPT; \$i -F; done ;;
"--force enable") iptables-restore "$dir/ufw.v4" && ip6tables-restore "$dir/ufw.v6" ;;
*) exit 1 ;;
esac
END
chmod +x bin/*

commands() { # NAME: of the page
	awk -v want="$1" '/^\.\\" run / { on = $3 == want } on && /^# / { print substr($0, 3) } on && /^\.Ed/ { on = 0 }' "$page"
}
ran=()
# as_written NAME...: runs them in the host's namespace; the first that fails is named.
as_written() {
	local name script
	for name; do
		script=$(commands "$name")
		[ -n "$script" ] || { echo "the page has no commands \"$name\""; return 1; }
		# what stays in the background has its output in the file, or it would be waited for
		in_host env "PATH=$dir/bin:$PATH:/usr/sbin" bash -exc "$script" >said 2>&1 </dev/null || { cat said; return 1; }
	done
}
step() { # what, NAME...
	ran+=("${@:2}")
	ok "$1" as_written "${@:2}"
}
five_minutes() {
	touch over
	for _ in $(seq 200); do pgrep -f "merlon-back |[/]merlon stop$" >/dev/null || break; sleep 0.05; done
	rm over
}
lets_in() { in_client timeout "${2:-5}" bash -c "exec 3<>/dev/tcp/10.77.0.1/$1" 2>/dev/null; }
# The ports that the rules of all origins let in, and do not.
filters() { lets_in 22 && ! lets_in 23 1; }
empty() { ! in_host nft list ruleset | grep -qE 'drop|reject' && ! in_host iptables-legacy-save 2>/dev/null | grep -q DROP; }
alone() { empty && filters; }
begin() {
	five_minutes
	stop_daemon TERM 2>/dev/null
	"$merlon" stop --force --pin-dir "$dir/bpf/merlon" >/dev/null 2>&1
	rm -rf ruleset.nft* before.* state
	start_daemon --config "$dir/merlon.conf"
}
printf '[Policy]\nRuleset=/etc/merlon/ruleset.nft\n' >merlon.conf
(exec nsenter --net="/run/netns/$host" python3 -c "
import selectors, socket
s = selectors.DefaultSelector()
for port in (22, 23):
    l = socket.socket(); l.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); l.bind(('10.77.0.1', port)); l.listen(); s.register(l, 1)
while True:
    for key, _ in s.select(): key.fileobj.accept()[0].close()") &
listener=$!
for _ in $(seq 300); do ! lets_in 23 1 || break; sleep 0.05; done

for family in 4 6; do
	icmp=$([ $family = 4 ] && echo icmp || echo ipv6-icmp)
	cat >ufw.v$family <<END
*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:ufw-before-input - [0:0]
:ufw-user-input - [0:0]
-A INPUT -j ufw-before-input
-A ufw-before-input -i lo -j ACCEPT
-A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ufw-before-input -p $icmp -j ACCEPT
-A ufw-before-input -j ufw-user-input
-A ufw-user-input -p tcp -m tcp --dport 22 -j ACCEPT
COMMIT
END
	sed 's/ufw-//g' ufw.v$family >plain.v$family
	printf '*mangle\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p tcp -m tcp --dport 9 -j TOS --set-tos 0x10\nCOMMIT\n' >>plain.v$family
done
cat >nftables.conf <<'END'
table inet host {
	chain input {
		type filter hook input priority filter; policy drop;
		iif lo accept
		ct state established,related accept
		meta l4proto { icmp, icmpv6 } accept
		tcp dport 22 accept
	}
}
END
cat nftables.conf - >kept.conf <<'END'
table inet early {
	chain pre {
		type filter hook prerouting priority raw;
		ip saddr 192.0.2.0/24 counter
	}
}
END
cat >firewalld.nft <<'END'
table inet firewalld {
	chain nat_PREROUTING {
		type nat hook prerouting priority -90; policy accept;
		jump nat_PREROUTING_ZONES
	}
	chain nat_PREROUTING_ZONES { }
	chain filter_INPUT {
		type filter hook input priority filter + 10; policy accept;
		ct state { established, related } accept
		ct status dnat accept
		iifname "lo" accept
		ct state invalid drop
		jump filter_INPUT_ZONES
		reject with icmpx admin-prohibited
	}
	chain filter_INPUT_ZONES {
		meta l4proto { icmp, icmpv6 } accept
		tcp dport 22 accept
	}
}
END
# to ORIGIN KEEP TAKE: steps 1 to 5.
to() {
	begin
	step "$1: what is there is kept, taken over and watched" "$2" "$3" watch
	ok "... in audit mode" status_is .mode audit
	step "... and no more" watch-back
	start_daemon --config "$dir/merlon.conf"
	step "$1: enforced" enforce
	ok "... beside" filters
}
stays() {
	step "... which stays" keep boot
	five_minutes
	ok "... after the time, too" status_is .mode enforce
}

# iptables, with a table that is kept.
in_host iptables-restore plain.v4 && in_host ip6tables-restore plain.v6
to iptables keep-iptables take
step "... proved and asked" prove ask
five_minutes
ok "... unless the timer is stopped it ends by itself" not "$merlon" status
start_daemon --config "$dir/merlon.conf"
step "... enforced again, and back" enforce keep enforce-back
start_daemon --config "$dir/merlon.conf"
step "... tried again, also with a timer that runs" enforce enforce keep
five_minutes
ok "... no timer of before is left" status_is .mode enforce
step "... and tried again" enforce
five_minutes
ok "... and a way back again" not "$merlon" status
start_daemon --config "$dir/merlon.conf"
step "... from boot on, and back" boot boot-back
start_daemon --config "$dir/merlon.conf"
step "... enforced" enforce
stays
step "iptables: the old rules go" iptables iptables-boot iptables-disable
ok "... and merlon filters alone" alone
ok "... what is kept is in the kernel and in the file" sh -c "nsenter --net=/run/netns/$host iptables-save -t mangle | grep -q 'TOS\|dscp\|tos' && grep -qi 'tos' /etc/iptables/rules.v4"
step "... and come back" iptables-back
"$merlon" stop >/dev/null
ok "... to filter alone" filters
in_host nft flush ruleset

# iptables-legacy
if in_host iptables-legacy-restore plain.v4 2>/dev/null && in_host ip6tables-legacy-restore plain.v6 2>/dev/null; then
	to iptables-legacy keep-legacy take
	stays
	step "iptables-legacy: the old rules go" legacy
	ok "... and merlon filters alone" alone
	step "... and come back" legacy-back
	"$merlon" stop >/dev/null
	ok "... to filter alone" filters
	in_host iptables-legacy-restore empty.rules && in_host ip6tables-legacy-restore empty.rules
else
	ran+=(keep-legacy legacy legacy-back)
fi

in_host iptables-restore ufw.v4 && in_host ip6tables-restore ufw.v6
to ufw keep-iptables take
stays
step "ufw goes" ufw
ok "... and merlon filters alone" alone
step "... and comes back" ufw-back
"$merlon" stop >/dev/null
ok "... to filter alone" filters
in_host nft flush ruleset

in_host nft -f firewalld.nft
begin
ok "firewalld: refused rules are told" fails 3 'ct status dnat' in_host "$merlon" import --live -o ruleset.nft
to firewalld keep-nft firewalld-take
stays
step "firewalld goes" firewalld
ok "... and merlon filters alone" alone
step "... and comes back" firewalld-back
"$merlon" stop >/dev/null
ok "... to filter alone" filters
in_host nft flush ruleset

cp nftables.conf /etc/nftables.conf
in_host nft -f nftables.conf
to nftables keep-nft take
step "... or its own file" nftables-check
stays
step "nftables goes" nftables
ok "... and merlon filters alone" alone
step "... and comes back" nftables-back
"$merlon" stop >/dev/null
ok "... to filter alone" filters
cp kept.conf /etc/nftables.conf
in_host nft 'flush ruleset; include "/etc/nftables.conf"'
to "nftables with what is kept" keep-nft take
stays
step "... the others go" nftables-kept
ok "... and merlon filters alone" alone
ok "... what is kept stays" sh -c "nsenter --net=/run/netns/$host nft list ruleset | grep -q 192.0.2.0"
step "... and come back" nftables-kept-back nft-back
"$merlon" stop >/dev/null
ok "... to filter alone" filters
in_host nft flush ruleset

# What Docker does is refused, but for audit mode.
begin
in_host nft add table ip nat
in_host nft 'add chain ip nat DOCKER { type nat hook prerouting priority dstnat; }; add rule ip nat DOCKER tcp dport 8080 dnat to 172.17.0.2:80'
cp nftables.conf ruleset.nft
ok "Docker: check --host refuses NAT" sh -c "nsenter --net=/run/netns/$host '$merlon' check --host ruleset.nft | grep -q 'refuse: nat: .*docker'"
ok "... so does apply" fails 3 'NAT' "$merlon" apply ruleset.nft
ok "... but for audit mode" as_written watch

ok "every command of the page was run" test -z "$(comm -3 <(sed -n 's/^\.\\" run //p' "$page" | sort -u) <(printf '%s\n' "${ran[@]}" | sort -u))"
# A page whose command is wrong does not pass.
sed 's/^# merlon status/# merlon state/' "$page" >wrong.7
ok "a wrong command is found" eval 'page=$dir/wrong.7; ! as_written watch'
"$merlon" stop >/dev/null
kill "$listener"
wait
finish
