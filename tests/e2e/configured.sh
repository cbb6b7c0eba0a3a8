#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The settings and what the units do by them: apply and stop as configured, reload, a passed socket, the way out without a daemon.
set -u
# shellcheck source=tests/lib/service.sh
. "${MERLON_TOP_SRCDIR:?}/tests/lib/service.sh"

cd "$dir" || exit 99
make_network
mkdir merlon.conf.d
cat >merlon.conf <<END
[Policy]
Ruleset=$dir/ruleset.nft
ClosedRuleset=$top/systemd/closed.nft

[Network]
Interfaces=*
END
policy() { # verdict of pings
	cat <<END
table inet t {
	chain in {
		type filter hook input priority filter; policy drop;
		iif lo accept
		icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
		ip protocol icmp $1
	}
}
END
}
set_policy() { printf '[Policy]\n%s\n' "$1" >merlon.conf.d/50-policy.conf; }
reload() { "$merlon" config --reload >/dev/null 2>&1; }
# logs PATTERN: within half a minute.
logs() {
	for _ in $(seq 300); do if grep -qE -- "$1" log; then return 0; fi; sleep 0.1; done
	return 1
}
pings() { in_client ping -c 1 -W 1 -q 10.77.0.1; }
config_is() { # key, value, where from
	local got
	got=$("$merlon" config --json | jq -r --arg key "$1" '.[] | select(.key == $key) | .value + " " + .from')
	[ "$got" = "$2 $3" ] || { echo "$1 is $got"; return 1; }
}

start_daemon --config "$dir/merlon.conf" || { echo "Bail out! merlond does not start: $(cat log)"; exit 1; }
ok "config tells a value of the file, and its line" config_is Ruleset "$dir/ruleset.nft" "$dir/merlon.conf:2"
ok "... a default" config_is OnFailure open default
ok "... as text, too" sh -c "'$merlon' config | grep -qE '^Policy +Ruleset +$dir/ruleset.nft +$dir/merlon.conf:2\$'"

ok "a ruleset that is missing: open" fails 1 'nothing is filtered: OnFailure=open' "$merlon" apply --configured
ok "... and what there is to do is said" fails 1 'name another one with Ruleset=' "$merlon" apply --configured
ok "... nothing is in force" status_is .generation 0
set_policy OnFailure=closed
reload
ok "... closed" fails 1 'closed.nft is in force instead: OnFailure=closed' "$merlon" apply --configured
ok "... which denies" not pings
ok "... and is named" status_is '.sources[0]' "$top/systemd/closed.nft"
"$merlon" stop >/dev/null
wait "$daemon"
set_policy "OnFailure=closed
ClosedRuleset=$dir/no-such-file"
start_daemon --config "$dir/merlon.conf" || { echo "Bail out! merlond does not start: $(cat log)"; exit 1; }
ok "closed without a file for it" fails 1 'the built-in closed ruleset is in force instead' "$merlon" apply --configured
ok "... which denies" not pings
ok "... and is named" status_is '.sources[0]' 'the built-in closed ruleset'
set_policy OnFailure=closed
reload
policy accept >ruleset.nft
ok "the ruleset of the configuration is applied" "$merlon" apply --configured
ok "... and lets pings in" pings
echo 'table inet t { chain in { type filter hook input priority filter; frobnicate } }' >ruleset.nft
ok "one that does not load: an error with its line" fails 1 'ruleset.nft:1' "$merlon" apply --configured
ok "... the policy before stays in force" pings
ok "... also with OnFailure=closed" status_is '.sources[0]' "$dir/ruleset.nft"
policy drop >ruleset.nft
set_policy Mode=audit
reload
ok "audit, as configured" "$merlon" apply --configured
ok "... is the mode" status_is .mode audit
ok "... and pings pass" pings
set_policy Mode=enforce
reload
ok "enforced, as configured" "$merlon" apply --configured
ok "... pings do not pass" not pings
ok "files and --configured" fails 2 'not both' "$merlon" apply --configured ruleset.nft

echo '[Policy]
Mode=perhaps' >merlon.conf.d/60-wrong.conf
kill -HUP "$daemon"
ok "a wrong value at SIGHUP is named with its line" logs "60-wrong.conf:2: Mode=\"perhaps\""
ok "... and the settings stay" config_is Mode enforce "$dir/merlon.conf.d/50-policy.conf:2"
ok "config --reload fails then, with the line" fails 1 '60-wrong.conf:2: error: Mode="perhaps"' "$merlon" config --reload
ok "... says that nothing was changed" fails 1 'the settings stay as they were' "$merlon" config --reload
ok "... in JSON, too" sh -c "! '$merlon' config --reload --json 2>/dev/null >said && jq -e '.messages[0] | .line == 2 and .severity == \"error\"' said"
ok "... the settings stay" config_is Mode enforce "$dir/merlon.conf.d/50-policy.conf:2"
printf '[Nosuch]\nKey=1\n' >merlon.conf.d/60-wrong.conf
set_policy OnFailure=open
ok "... and succeeds with right ones, and tells what is not known" sh -c "'$merlon' config --reload 2>&1 | grep -q '60-wrong.conf:1: warning'"
ok "... which are in force" config_is OnFailure open "$dir/merlon.conf.d/50-policy.conf:2"
set_policy Mode=enforce
ok "... as often as one likes" "$merlon" config --reload
printf '[Policy]\nMode=perhaps\n' >merlon.conf.d/60-wrong.conf
stop_daemon TERM
ok "a wrong value refuses to start" fails 2 '60-wrong.conf:2:.*neither enforce nor audit' in_host "$merlond" --config "$dir/merlon.conf"
rm merlon.conf.d/60-wrong.conf
start_daemon --config "$dir/merlon.conf"
printf '[Network]\nInterfaces=*,!up0\n' >merlon.conf.d/60-interfaces.conf
reload
ok "an interface that is left out on reload is let go of" status_is '.interfaces | join(" ")' lo
ok "... it is not filtered any more" pings
rm merlon.conf.d/60-interfaces.conf
reload
ok "... and taken again" status_is '.interfaces | sort | join(" ")' 'lo up0'

set_policy OnStop=keep
reload
ok "stop, as configured: keep" "$merlon" stop --configured
ok "... still denies" not pings
set_policy OnStop=detach
reload
ok "stop, as configured: detach" "$merlon" stop --configured
ok "... nothing is filtered" pings
wait "$daemon"
set_policy OnStop=keep
start_daemon --config "$dir/merlon.conf"
ok "an empty policy" sh -c "'$merlon' apply --configured && '$merlon' flush"
ok "keep, where nothing is in force: there is nothing to keep" sh -c "'$merlon' stop --configured | grep -q 'merlon is detached'"
wait "$daemon"
set_policy OnStop=detach

# how it is attached
attach() { printf '[Network]\nAttach=%s\n' "$1" >merlon.conf.d/60-attach.conf; }
filters() { in_host tc filter show dev up0 ingress | grep -c ' handle 0x6d6c '; }
attach xdp
ok "a wrong way to attach refuses to start" fails 2 '60-attach.conf:2:.*none of auto, tcx and clsact' in_host "$merlond" --config "$dir/merlon.conf"
attach clsact
start_daemon --config "$dir/merlon.conf"
ok "config tells how to attach" config_is Attach clsact "$dir/merlon.conf.d/60-attach.conf:2"
ok "attached by clsact" "$merlon" apply --configured
ok "... status says so" status_is .attach clsact
ok "... there is a filter" [ "$(filters)" = 1 ]
ok "... it denies" not pings
attach auto
stop_daemon TERM
start_daemon --config "$dir/merlon.conf"
ok "what is attached stays as it is" status_is .attach clsact
ok "... without a warning: auto is content" status_is '.messages | length' 0
attach tcx
stop_daemon TERM
if start_daemon --config "$dir/merlon.conf"; then
	ok "... also where another way is configured" status_is .attach clsact
	ok "... which is said" status_is '.messages[0].text | contains("Attach=tcx is not in force")' true
	policy 'counter drop' >ruleset.nft
	"$merlon" apply --configured >/dev/null
	pings >/dev/null
	ok "... and a packet is judged once" [ "$("$merlon" stats --json | jq '.counters[0].packets')" = 1 ]
	policy drop >ruleset.nft
	"$merlon" stop >/dev/null
	wait "$daemon"
	start_daemon --config "$dir/merlon.conf"
	"$merlon" apply --configured >/dev/null
	ok "after stop, it is attached as configured" status_is .attach tcx
	ok "... and there is no filter" [ "$(filters)" = 0 ]
	ok "... it denies" not pings
	attach clsact
	stop_daemon TERM
	start_daemon --config "$dir/merlon.conf"
	ok "TCX links stay, too" status_is .attach tcx
	ok "... which is said" status_is '.messages[0].text | contains("Attach=clsact is not in force")' true
	"$merlon" stop >/dev/null
	wait "$daemon"
else
	ok "no TCX on this kernel: an error that says so" grep -q 'this kernel has no TCX' log
	"$merlon" stop --force --pin-dir "$dir/bpf/merlon" >/dev/null
fi
rm merlon.conf.d/60-attach.conf

# the way out without a daemon
for how in alive killed; do
	start_daemon --config "$dir/merlon.conf"
	ok "applied again ($how)" "$merlon" apply --configured
	ok "... denies ($how)" not pings
	if [ $how = killed ]; then
		stop_daemon KILL
		ok "... also without the daemon" not pings
		# what no layout of merlon has
		mkdir "$dir/bpf/merlon/other" "$dir/bpf/merlon/other/deep"
		mv "$dir/bpf/merlon/maps/control" "$dir/bpf/merlon/other/deep/what"
	else
		kill -STOP "$daemon"
		"$merlon" status --json >waited 2>waiting &
		waits=$!
	fi
	ok "stop --force ($how)" in_host sh -c "'$merlon' stop --force --pin-dir '$dir/bpf/merlon' 2>errors"
	[ $how = killed ] || ok "... which says that nothing filters there" grep -q 'warning: nothing filters on .*up0' errors
	ok "... nothing is filtered ($how)" pings
	ok "... no pin is left ($how)" [ ! -e "$dir/bpf/merlon" ]
	if [ $how = killed ]; then
		ok "... no daemon is said to run" not grep -q 'merlond still runs' errors
		continue
	fi
	ok "... it is said that merlond still runs" grep -q 'warning: merlond still runs' errors
	for _ in $(seq 300); do [ ! -s waiting ] && kill -0 $waits || break; sleep 0.1; done
	ok "a command that gets no answer says what needs none" grep -q 'merlon stop --force. needs no daemon: LOCKED OUT' waiting
	kill -CONT "$daemon"
	wait $waits
	ok "... and goes on waiting" [ $? = 0 ]
	ok "... for JSON alone on its standard output" jq -e .pid waited
	ok "the daemon's status says that nothing is enforced" status_is '.mode + " " + .messages[0].text' \
		"idle nothing is filtered: the pins of the policy in $dir/bpf/merlon were removed, as by \`merlon stop --force\`"
	ok "... perf, too" sh -c "'$merlon' perf -d 0.2 --json | jq -se 'all(.[]; .healthy == false and any(.findings[]; .about == \"policy\" and .healthy == false))'"
	ok "... apply says how to go on" fails 1 'restart merlond \(`systemctl restart merlond`\)' "$merlon" apply --configured
	stop_daemon TERM
	start_daemon --config "$dir/merlon.conf"
	ok "... which does it" "$merlon" apply --configured
	"$merlon" stop >/dev/null
	wait "$daemon"
done

# the same of all network namespaces, as what is pinned in the usual places
all="mount --bind '$dir/bpf' /sys/fs/bpf && '$merlon' stop --force --all"
two() { # the host's, and one of the client's namespace, which lets nothing out
	start_daemon --config "$dir/merlon.conf" && "$merlon" apply --configured && stop_daemon KILL || return 1
	(exec nsenter --net="/run/netns/$client" "$merlond" --socket "$dir/theirs" --pin-dir "$dir/bpf/merlon-$client" --state-dir "$dir/their-state") >>log 2>&1 &
	daemon=$!
	for _ in $(seq 300); do "$merlon" status --socket "$dir/theirs" >/dev/null 2>&1 && break; sleep 0.1; done
	printf 'table inet t {\n\tchain out {\n\t\ttype filter hook output priority 0; policy drop;\n\t}\n}\n' >theirs.nft
	"$merlon" apply --socket "$dir/theirs" theirs.nft && stop_daemon KILL
}
pings_out() { in_client ping -c 1 -W 1 -q 10.77.0.2; }
ok "policies in two namespaces" two
ok "... deny" not pings
ok "... in the other one" not pings_out
ok "stop --force --all" sh -c "cd '$dir' && exec nsenter --net=/run/netns/$host unshare -m --propagation private sh -c \"$all\" >said 2>errors"
ok "... nothing is filtered" pings
ok "... there, too" pings_out
ok "... no pin is left" [ -z "$(find bpf -mindepth 1 -maxdepth 1 -name 'merlon*')" ]
ok "... it names both" [ "$(grep -c "is removed; nothing is filtered any more\( in network namespace $client\)\?$" said)" = 2 ]
ok "... and what nobody filters any more" grep -q 'warning: nothing filters on .*up0.* any more: merlon did' errors
ok "... there, too" grep -q "warning: network namespace $client: nothing filters on .*down0.* any more" errors
ok "... and the way back" grep -q 'merlon-migrate(7)' errors
ok "... which is done once" sh -c "nsenter --net=/run/netns/$host unshare -m --propagation private sh -c \"$all --json\" | jq -e '.removed == false and .places == []'"
two >/dev/null
in_host nft 'table inet n { chain in { type filter hook input priority 0; tcp dport 1 drop; }; }'
ok "where netfilter filters the host is not open" sh -c "nsenter --net=/run/netns/$host unshare -m --propagation private sh -c \"$all --json\" 2>errors | jq -e '.removed and (.messages | length) == 1 and (.places | length) == 2 and any(.places[]; .netns == null and .enforced_on != null)'"
ok "... but in the other namespace" grep -q "warning: network namespace $client" errors
in_host nft delete table inet n
ok "--all without --force" fails 2 'takes --all with --force' "$merlon" stop --all
ok "--all in one place" fails 2 'without --pin-dir' "$merlon" stop --force --all --pin-dir "$dir/bpf/merlon"
ok "--configured and --force" fails 2 'not both' "$merlon" stop --force --configured
ok "stop --force with nothing there" sh -c "'$merlon' stop --force --pin-dir '$dir/bpf/merlon' --json | jq -e '.removed == false'"
ok "stop --force where no pins can be" fails 1 'not on a BPF file system' "$merlon" stop --force --pin-dir "$dir"

# a socket that was passed; with the capabilities of the unit alone the policy namespace is a link
netns=/run/netns/ms-$$-policy
(exec nsenter --net="/run/netns/$host" systemd-socket-activate -l "$dir/passed" --fdname=control \
	setpriv --bounding-set=-all,+bpf,+perfmon,+net_admin,+net_raw "$merlond" --pin-dir "$dir/bpf/merlon" --state-dir "$dir/state" \
	--config "$dir/merlon.conf" --policy-netns "$netns" >>log 2>&1) &
daemon=$!
for _ in $(seq 300); do [ -S passed ] && break; sleep 0.1; done
export MERLON_SOCKET=$dir/passed
ok "the first command starts a daemon by its socket" status_is .generation 0
ok "... that applies" "$merlon" apply --configured
ok "... and denies" not pings
# root without CAP_DAC_OVERRIDE, which the daemon is, may not enter it
mkdir -m 700 home && chown 65534 home
at_home() { (cd "$dir/home" && "$@"); }
echo 'table inet n { set s { type mark; include "./e.nft"; }; }' >nested.nft
echo 'include "./*.nft"' >here.nft
echo "include \"$dir/ruleset.nft\"" >absolute.nft
ok "in a directory that it may not enter: apply" at_home "$merlon" apply "$dir/absolute.nft"
ok "... nft" at_home "$merlon" nft list ruleset
ok "... nft -f" at_home "$merlon" nft -c -f "$dir/absolute.nft"
ok "... files of it are not included: apply" at_home fails 1 "^$dir/here.nft: error: what it includes .* in $dir/home, which .*: Permission denied" "$merlon" apply "$dir/here.nft"
ok "... amid a set" at_home fails 1 "^$dir/nested.nft: error: what it includes" "$merlon" apply "$dir/nested.nft"
ok "... nft -f" at_home fails 1 "^$dir/here.nft: error: what it includes" "$merlon" nft -f "$dir/here.nft"
ok "... a command" at_home fails 1 'error: what it includes' "$merlon" nft 'include "./*.nft"'
ok "... what was in force is" not pings
# what root may read only by that privilege is handed over by whoever has it
policy drop >home/own.nft
policy accept | sed 's/ t / other /' >home/other.nft
echo "include \"$dir/own.nft\"" >included.nft
policy accept | install -m 600 -o 65534 /dev/stdin own.nft
chmod 600 home/*.nft && chown 65534 home/*.nft
ok "a file that it may not read: apply" at_home "$merlon" apply own.nft other.nft
ok "... is known by its path" status_is '.sources | join(" ")' "$dir/home/own.nft $dir/home/other.nft"
ok "... a mistake in it, too" at_home fails 1 "^$dir/own.nft:1: error: .*syntax" sh -c "echo nonsense >'$dir/own.nft'; '$merlon' apply ../own.nft"
ok "... nft -f" at_home "$merlon" nft -c -f own.nft
ok "... what includes it: the cure" fails 1 'chown root FILE' "$merlon" apply included.nft
ok "... with nft -f" fails 1 'chown root FILE' "$merlon" nft -f included.nft
ok "... for a daemon that asks by itself" fails 1 'chown root FILE' sh -c "busctl --address=unix:path='$dir/passed' call org.merlon /org/merlon/Control1 org.merlon.Control1 Apply s '{\"files\":[{\"file\":\"$dir/own.nft\"}]}' >&2; exit 1"
set_policy "Ruleset=$dir/own.nft"
reload
ok "... for the unit, which has no privileges either" fails 1 'chown root FILE' "$merlon" apply --configured
set_policy "Ruleset=$dir/gone.nft
OnFailure=closed
ClosedRuleset=$dir/own.nft"
reload
"$merlon" flush >/dev/null
ok "... of ClosedRuleset=" fails 1 'chown root FILE' "$merlon" apply --configured
ok "... whose place the built-in one takes" not pings
set_policy ''
reload
"$merlon" apply --configured >/dev/null
ok "its policy namespace is named by a link" [ -L "$netns" ]
ok "... that ip-netns(8) takes" sh -c "ip netns exec ${netns##*/} nft list ruleset | grep -q 'ip protocol icmp drop'"
ok "... and where rules are changed" ip netns exec "${netns##*/}" nft insert rule inet t in ip protocol icmp accept
sleep 0.5
ok "... which is followed" pings
kill "$daemon"
wait "$daemon"
ok "... and is gone with the daemon" [ ! -L "$netns" ]
ok "a socket that was passed is left there" [ -S passed ]
rm -f passed
in_host "$merlon" stop --force --pin-dir "$dir/bpf/merlon" >/dev/null
echo "1..$points"
exit $failed
