# SPDX-License-Identifier: GPL-2.0-or-later
# What the tests of packages share: the container, a ruleset in it, and traffic that goes on while packages come and go and
# shows each wrong verdict.
# shellcheck shell=bash
top=${MERLON_TOP_SRCDIR:?}
# shellcheck source=tests/lib/points.sh
. "$top/tests/lib/points.sh"
# shellcheck source=tests/system/container.sh
. "$top/tests/system/container.sh"
# shellcheck source=tests/system/traffic.sh
. "$top/tests/system/traffic.sh"
export PATH=$PATH:/usr/sbin:/sbin
cleanup() {
	[ "$status" = 0 ] || [ -z "$leader" ] || inside journalctl --no-pager -o short-monotonic SYSLOG_IDENTIFIER=merlond + SYSLOG_IDENTIFIER=merlon + UNIT=merlon.service + UNIT=merlond.service + UNIT=merlon.socket + UNIT=merlon@x.service + UNIT=merlond@x.service | grep -v "IN=v0" | tail -n 150 | sed 's/^/# /'
	[ -z "$traffic_pid" ] || kill "$traffic_pid" 2>/dev/null
	container_remove
	rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 1' HUP INT TERM

skip() { echo "1..0 # SKIP $*"; exit 0; }
# need_container [ROOTFS-ARGUMENT]: or the test is skipped. Sets rootfs.
need_container() {
	! reason=$(container_cannot) || skip "$reason"
	rootfs=$("$top/tests/system/rootfs" "$@" 2>"$work/rootfs.log") || skip "$(tail -n 1 "$work/rootfs.log")"
}
make_and_boot() { container_make "$rootfs" && container_boot; }
# start: the container and its traffic; there is a ruleset in it.
start() {
	check "the container is made and boots" make_and_boot
	[ "$status" = 0 ] || { sed 's/^/# /' "$work/console" 2>/dev/null; finish; }
	traffic_begins "$host" "$peer" "$work/traffic.log"
	mkdir -p "$root/etc/merlon"
	good
}
good() {
	write /etc/merlon/ruleset.nft <<'END'
table inet t {
	chain in {
		type filter hook input priority filter; policy drop;
		iif lo accept
		ct state established,related accept
		icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
		icmp type echo-request drop
		tcp dport 80 accept
		tcp dport 22 log prefix "ssh: " drop
	}
	chain out {
		type filter hook output priority filter; policy accept;
		udp dport 9999 drop
	}
}
END
}
broken() { write /etc/merlon/ruleset.nft <<<'table inet t { chain in { type filter hook input priority filter; frobnicate } }'; }

not() { ! "$@"; }
pins() { find "$work/bpf" -mindepth 1 ! -name '*.debug' | wc -l; }
pings() { nsenter --net="/run/netns/$peer" ping -c 1 -W 1 -q 10.77.0.1; }
write() { cat >"$root$1"; }
status_is() { # filter, value
	local got
	got=$(inside merlon status --json | jq -r "$1")
	[ "$got" = "$2" ] || { echo "$1 is $got, not $2"; return 1; }
}
shows() { # pattern, command...
	local pattern=$1 out
	shift
	out=$("$@" 2>&1)
	echo "$out"
	grep -qE -- "$pattern" <<<"$out"
}
property() { inside systemctl show -P "$2" "$1"; }
state_is() { # unit, value of ActiveState
	local got
	got=$(property "$1" ActiveState)
	[ "$got" = "$2" ] || { echo "$1 is $got"; return 1; }
}
# wait_until COMMAND...: within a minute.
wait_until() {
	for _ in $(seq 600); do
		if "$@" >/dev/null 2>&1; then return 0; fi
		sleep 0.1
	done
	"$@"
}

# A network namespace of the container's own, x with 10.78.0.2, and its ruleset for merlon@x.service.
another_namespace() {
	sed 's/tcp dport 80 accept/tcp dport 81 reject with tcp reset/' "$root/etc/merlon/ruleset.nft" >"$root/etc/merlon/x.nft"
	inside ip netns add x
	inside ip link add vx type veth peer name vy netns x
	inside ip addr add 10.78.0.1/24 dev vx
	inside ip link set vx up
	inside ip -n x addr add 10.78.0.2/24 dev vy
	inside ip -n x link set vy up
}
pings_x() { nsenter --net="/run/netns/$host" ping -c 1 -W 1 -q 10.78.0.2; }
refused_x() { nsenter --net="/run/netns/$host" timeout 5 bash -c 'echo >/dev/tcp/10.78.0.2/81' 2>&1 | grep -i refused; }
