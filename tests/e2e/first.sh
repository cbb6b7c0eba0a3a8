#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# What there is before the first policy, what is begun for it ahead, and what a daemon finds that was killed amid that.
set -u
# shellcheck source=tests/lib/service.sh
. "${MERLON_TOP_SRCDIR:?}/tests/lib/service.sh"

cd "$dir" || exit 99
make_network
cat >policy.nft <<'END2'
table inet p {
	chain i {
		type filter hook input priority 0; policy accept;
		icmp type echo-request drop
	}
}
END2
sed 's/icmp type/tcp sport/; s/echo-request/nonsense/' policy.nft >bad.nft
sed 's/icmp type echo-request/meta skuid 5/' policy.nft >refused.nft
{ cat policy.nft; for i in $(seq 12000); do echo "add rule inet p i udp dport $((i + 1)) ip saddr 192.0.$((i / 250)).$((i % 250)) drop"; done; } >large.nft

passes() { in_client ping -q -c 1 -W 1 10.77.0.1; }
attached() { [ -n "$(ls -A bpf/merlon/links)" ]; }
programs() { [ -e bpf/merlon/policy ]; }
start_daemon || { echo "Bail out! merlond does not start: $(cat log)"; exit 1; }
ok "before a policy there are no programs but those of the entry" not programs
ok "... nothing is attached" not attached
ok "... status says that none is in force" status_is .generation 0
ok "... and packets pass" passes
ok "a file with an error" fails 1 bad.nft:4 "$merlon" apply bad.nft
ok "... leaves nothing attached" not attached
ok "a rule that is refused" fails 3 skuid "$merlon" apply refused.nft
ok "... leaves nothing attached, too" not attached
ok "... and packets pass" passes
# Another thing in the place of a link.
mkdir bpf/merlon/links/1-egress
ok "a first policy that fails at the last moment" fails 1 'lo: another program holds the place' "$merlon" apply policy.nft
rmdir bpf/merlon/links/1-egress
ok "... leaves nothing attached" not attached
unfiltered() { [ "$(bpftool -j map dump pinned bpf/merlon/maps/filtered)" = '[]' ]; }
ok "... and no interface noted as filtered" unfiltered
ok "... and packets pass" passes
ok "a policy of 12,000 rules may be the first" "$merlon" apply large.nft
ok "... and is in force" not passes
ok "stop" "$merlon" stop
wait "$daemon"
ok "... ends it" passes

# Killed at any moment of the first policy, a daemon leaves what the next one can go on with.
killed() { # SECONDS: after the beginning
	start_daemon || { cat log; return 1; }
	"$merlon" apply policy.nft >/dev/null 2>&1 &
	sleep "$1"
	stop_daemon KILL
	wait $!
	start_daemon || { cat log; return 1; }
	case $("$merlon" status --json | jq -r .generation) in
	0) passes || { echo "packets are denied while none is in force"; return 1; }
	   ! attached || { echo "attached while none is in force"; return 1; } ;;
	*) ! passes || { echo "packets pass while one is in force"; return 1; } ;;
	esac
	"$merlon" apply policy.nft || return 1
	! passes || { echo "packets pass behind an apply"; return 1; }
	"$merlon" stop || return 1
	wait "$daemon"
	passes || { echo "packets are denied behind a stop"; return 1; }
}
for after in .01 .03 .05 .08 .12 .16 .2 .24 .28 .32 .36; do
	ok "a first policy that is killed after $after s" killed $after
done

finish
