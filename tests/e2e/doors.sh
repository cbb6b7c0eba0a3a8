#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Bad input at every door, with a policy in force whose verdicts packets show all the time: nothing that it denies passes, what
# it allows goes on, others are served meanwhile, and whoever did it is told what is wrong and what helps.
#
#   garbage, half messages, many connections, clients that do not read     here; monitors that do not read: monitor.sh
#   whoever may not ask, texts with errors, what cannot be enforced        errors.sh, configured.sh
#   hostile texts, a tool that is stopped, waits, prints or dies           here
#   pipes and devices where the configuration has files                    here
#   a full disk, a read-only /etc, pins and state that are not ours        here; kills amid a change of policies: holds.sh
#   no BPF file system, another layout, no privileges at the start         errors.sh; one that is unmounted: here
#   readers that ask without end, a journald that is stopped              here
#   interfaces that vanish or are renamed meanwhile                        here; taken ones, reused indexes: holds.sh
#   interfaces and addresses that come while a policy is compiled          meanwhile.sh
#   two daemons at once                                                    here; one after the other: errors.sh, holds.sh
#   a clock step                                                           system/test-vm-service
set -u
# shellcheck source=tests/lib/service.sh
. "${MERLON_TOP_SRCDIR:?}/tests/lib/service.sh"

cd "$dir" || exit 99
make_network
doors=$top/tests/e2e/lib_doors.py
cat >policy.nft <<'END'
table inet t {
	set s { type ipv4_addr; }
	chain in {
		type filter hook input priority filter; policy drop;
		iifname "lo" accept
		ct state established accept
		icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
		udp dport 7001 ct state new counter accept
	}
}
END
begin() { start_daemon --config "$dir/merlon.conf" || { echo "Bail out! merlond does not start: $(cat log)"; exit 1; }; }
# kept: nothing that is denied came since the beginning, and all that is allowed did.
kept() {
	local answered lost
	echo >&"${WATCH[1]}"
	read -r -t 20 answered lost <&"${WATCH[0]}" || { echo "no packets are answered"; return 1; }
	[ "$lost" = 0 ] || { echo "$lost allowed ones were not answered, $answered were"; return 1; }
	[ ! -s leaked ] || { echo "$(wc -l <leaked) denied ones passed"; return 1; }
}
generation_is() { timeout 20 "$merlon" status --json | jq -e ".generation == $1" >/dev/null; }
# door NAME STATUS PATTERN COMMAND...: it fails like this, and nothing has changed.
door() {
	ok "$1" fails "$2" "$3" "${@:4}"
	ok "... and nothing has changed" holds
}
holds() { generation_is "$(cat generation)" && kept; }
# applied COMMAND...: the next generation.
applied() {
	"$@" || return 1
	"$merlon" status --json | jq .generation >generation
	kept
}
says() { # PATTERN: merlond, since it was last asked
	local i
	for i in $(seq 300); do grep -qE -- "$1" log && { : >log; return 0; }; sleep 0.1; done
	cat log
	return 1
}

: >merlon.conf
(exec nsenter --net="/run/netns/$host" python3 "$doors" serve 10.77.0.1 >server.out) &
for _ in $(seq 300); do [ -s server.out ] && break; sleep 0.1; done
# What the tools do is in a file; without it they are the real ones.
mkdir bin
cat >bin/iptables-nft-restore <<'END'
#!/bin/bash
case $(cat "${0%/*}/does" 2>/dev/null) in
stops) kill -STOP $$ ;;
prints) exec yes ;;
dies) kill -SEGV $$ ;;
esac
PATH=/usr/sbin:/sbin exec iptables-nft-restore "$@"
END
chmod +x bin/iptables-nft-restore
export MERLON_CHILD_TIMEOUT=2
PATH=$dir/bin:$PATH begin
"$merlon" apply policy.nft >/dev/null || { echo "Bail out! no policy"; exit 1; }
echo 1 >generation
coproc WATCH { exec nsenter --net="/run/netns/$client" python3 "$doors" watch 10.77.0.1; }
read -r -t 10 line <&"${WATCH[0]}"
ok "what is allowed passes, what is denied does not" kept

# The control socket.
stays() { # WHAT [ARGUMENT...]: a client that does something and then stays, until it goes
	: >helper.out
	python3 "$doors" "$1" "$MERLON_SOCKET" "${@:2}" >helper.out 2>&1 &
	helper=$!
	for _ in $(seq 300); do
		grep -q '^there' helper.out && return
		kill -0 $helper 2>/dev/null || return
		sleep 0.1
	done
}
goes() {
	kill $helper
	wait $helper 2>/dev/null
}
descriptors() { find "/proc/$daemon/fd" -type l | wc -l; }
memory_kb() { awk '/^VmRSS/ { print $2 }' "/proc/$daemon/status"; }
before=$(descriptors)
stays garbage
ok "nonsense ends its connection" [ "$(grep -c '^closed ' helper.out)" = 7 ]
ok "... and what can be answered is answered" [ "$(grep -c '^answered ' helper.out)" = 5 ]
grep -v '^closed\|^answered\|^there' helper.out | sed 's/^/# /'
ok "half messages delay nobody" holds
# Linux 6.16 keeps descriptors out
few() { [ $(($(descriptors) - before)) -lt 40 ] || { echo "$before before, $(descriptors) now"; return 1; }; }
sort -VC <<<"6.16
$(uname -r)" && ok "descriptors that are sent are not kept" few
goes
ok "who does not read is cut off" [ "$(python3 "$doors" unread "$MERLON_SOCKET")" = "cut off" ]
bounded() { [ "$(memory_kb)" -lt 150000 ] || { echo "$(memory_kb) kB"; return 1; }; }
ok "... without much having been kept for it" bounded
ok "... and delays nobody" holds

chmod 755 "$dir" && chmod 666 "$MERLON_SOCKET"
as() { setpriv --reuid="$1" --regid="$1" --clear-groups --inh-caps=-all --bounding-set=-all "${@:2}"; }
crowd() { # NAME, arguments of many
	local name=$1
	shift
	: >log
	stays many "$@"
	ok "$name" grep there helper.out
	ok "... root is served" holds
	ok "... others are, too" as 65530 timeout 20 "$merlon" status
	ok "... the log tells" says 'too many connections of uid .*: those that were quiet for longest are closed'
	goes
}
crowd "10,000 connections" 10000
stop_daemon TERM
PATH=$dir/bin:$PATH begin
chmod 666 "$MERLON_SOCKET"
crowd "... of several users" 10000 65531 65532 65533 65534 65535

# Readers that ask without end.
chmod 666 "$MERLON_SOCKET"
turns=$(python3 "$doors" turns "$MERLON_SOCKET" 65530)
ok "root does not wait for what others asked for before" [ "${turns:-20}" -lt 10 ]
ok "what readers keep is not merlond's memory for good" [ "$(python3 "$doors" keep "$MERLON_SOCKET" 65530)" = bounded ]
ok "... and they are served" as 65530 timeout 20 "$merlon" list
# Each counter's rule is told with the name of its file.
long=$dir$(printf '/%0200d' {1..15})
mkdir -p "$long"
awk '/iifname "lo"/ { for (i = 0; i < 4000; i++) print "udp dport 9 counter" } { print }' policy.nft >"$long/many.nft"
ok "a policy whose counters are a long text" applied "$merlon" apply "$long/many.nft"
ok "answers that nobody reads are not merlond's memory for good" [ "$(python3 "$doors" hoard "$MERLON_SOCKET" 65530)" = bounded ]
ok "... and who reads is served" as 65530 timeout 20 "$merlon" stats
ok "... the policy before, again" applied "$merlon" apply policy.nft
ok "... and nothing has changed" holds

# A journald that is stopped.
stop_daemon TERM
(exec nsenter --net="/run/netns/$host" unshare --mount bash -c '
	mount -t tmpfs none /run && mkdir -p /run/systemd/journal || exit 99
	python3 "$1" sink /run/systemd/journal/socket journal &
	for _ in $(seq 300); do [ -S /run/systemd/journal/socket ] && break; sleep 0.1; done
	exec "${@:2}"' - "$doors" "$merlond" --foreground --socket "$MERLON_SOCKET" --pin-dir "$dir/bpf/merlon" \
	--state-dir "$dir/state" --config "$dir/merlon.conf") >>log 2>&1 &
daemon=$!
for _ in $(seq 300); do "$merlon" status >/dev/null 2>&1 && break; sleep 0.1; done
send_udp 7003 300
ok "a journald that reads nothing delays nobody" holds
ok "... not a new policy either" applied "$merlon" apply policy.nft
: >journal
journal_says() { for _ in $(seq 300); do grep -qa "$1" journal && return; send_udp 7003 1; sleep 0.1; done; return 1; }
ok "... and when it reads, hears how much it has lost" journal_says 'MESSAGE=[0-9]* entries are lost: journald did not take them'
stop_daemon TERM
PATH=$dir/bin:$PATH begin

# Hostile texts.
mkfifo pipe
mkdir empty
python3 - <<'END'
chain = 'table inet t { chain c { type filter hook input priority 0; %s }\n}\n'
open('nul.nft', 'w').write(chain % 'tcp dport 22\0 drop')
open('line.nft', 'w').write('#' + 'a' * 100_000_000 + '\n' + chain % 'drop')
open('large.nft', 'w').truncate(1 << 40)
open('deep.nft', 'w').write(chain % ('ip saddr ' + '{' * 100000 + '1.2.3.4' + '}' * 100000 + ' drop'))
open('loop.nft', 'w').write('include "./loop.nft"\n')
open('zero.nft', 'w').write('include "/dev/zero"\n')
open('pipe.nft', 'w').write('include "./pipe"\n')
END
slow='libnftables did not end within 2 s, and was killed'
door "a text with a NUL" 1 'nul.nft: error: not a ruleset: it has NUL bytes' "$merlon" apply nul.nft
door "a file that is all holes" 1 'not a ruleset: it has NUL bytes' "$merlon" apply large.nft
door "/dev/zero" 1 '/dev/zero: error: not a ruleset: it has NUL bytes' "$merlon" apply /dev/zero
door "... included" 1 "zero.nft: error: $slow" "$merlon" apply zero.nft
endless() { yes '# more' | "$merlon" apply -; }
ok "a text without end" fails 1 'no ruleset has more than 128 MB' endless
door "a line of 100 MB" 1 "line.nft: error: $slow" "$merlon" apply line.nft
door "what is nested too deep" 1 'deep.nft:1' "$merlon" apply deep.nft
short() { [ "$("$merlon" apply deep.nft 2>&1 | wc -c)" -lt 3000 ]; }
ok "... without all of it in the message" short
door "an include of itself" 1 'loop.nft:1' "$merlon" apply loop.nft
door "a pipe that nobody writes to, included" 1 "pipe.nft: error: $slow" "$merlon" apply pipe.nft
door "... by nft, with what may help" 1 'was it stopped \(SIGSTOP\), or does the ruleset include a pipe' "$merlon" nft -f pipe.nft
rm line.nft large.nft
by_hand() { cat policy.nft >pipe & applied timeout 20 "$merlon" apply pipe; }
ok "a pipe that is given by hand, and written to" by_hand

# What the configuration names nobody is there to write to.
configured() { # RULESET
	printf '[Policy]\nRuleset=%s\n' "$1" >merlon.conf
	kill -HUP "$daemon"
	for _ in $(seq 300); do "$merlon" config --json | jq -e --arg f "$1" 'any(.[]; .value == $f)' >/dev/null && return; sleep 0.1; done
}
no_file='error: cannot read: it is no regular file'
for file in "$dir/pipe" /dev/zero "$MERLON_SOCKET"; do
	configured "$file"
	door "a ruleset of the configuration that is ${file##*/}" 1 "$file: $no_file" timeout 20 "$merlon" apply --configured
done
cures() { timeout 20 "$merlon" apply --configured 2>&1 | grep -A1 "$no_file" | grep -q 'another one with Ruleset='; }
ok "... with what helps" cures
mkdir merlon.conf.d && mkfifo merlon.conf.d/10-pipe.conf && : >log
kill -HUP "$daemon"
ok "settings that are a pipe, on reload" says "10-pipe.conf: .*it is no regular file"
ok "... delay nobody" holds
starts() { timeout 20 nsenter --net="/run/netns/$host" "$merlond" --socket "$dir/other" --pin-dir "$dir/bpf/other" --config "$@"; }
ok "... at the start" fails 2 "10-pipe.conf: $no_file" starts "$dir/merlon.conf"
ok "... also the first file" fails 2 "pipe: $no_file" starts "$dir/pipe"
ln -sf /dev/null merlon.conf.d/10-pipe.conf
configured "$dir/policy.nft"
ok "a drop-in that is masked is empty" applied "$merlon" apply --configured
rm -r merlon.conf.d
: >merlon.conf
printf 'table inet t {\n\tchain in {\n\t\ttype filter hook input priority 0; policy drop;\n\t\tiifname "lo" accept
\t\tct state established accept\n\t\ticmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
\t\tudp dport 7001 counter accept comment "caf\xe9"\n\t}\n}\n' >latin.nft
ok "a comment that is no UTF-8" applied "$merlon" apply latin.nft
for question in list sessions stats "stats --prometheus" "why udp 10.77.0.2:1 10.77.0.1:7001 iif up0"; do
	# shellcheck disable=SC2086
	ok "... in merlon ${question%% udp*}" grep -q 'udp dport 7001 counter .*comment .*caf?' <("$merlon" $question)
done
ok "... is taken back" applied "$merlon" apply policy.nft

# What reads rulesets.
printf '*filter\n:INPUT DROP [0:0]\n-A INPUT -p udp --dport 7001 -j ACCEPT\nCOMMIT\n' >policy.v4
signal_child() { # SIGNAL: to the child of the daemon that waits for somebody to write to the pipe; $child: which
	for _ in $(seq 100); do
		for child in $(pgrep -P "$daemon"); do
			[ "$(cat "/proc/$child/wchan")" != wait_for_partner ] || ! kill "$1" "$child" || return 0
		done
		sleep 0.02
	done 2>/dev/null
	return 1
}
"$merlon" apply pipe.nft >stopped.out 2>&1 &
apply=$!
signal_child -STOP
ok "while nft is stopped, others are served" holds
wait $apply
ok "... it is ended in time" grep -q "$slow" stopped.out
ok "... and nothing has changed" holds
"$merlon" apply pipe.nft >killed.out 2>&1 &
apply=$!
signal_child -SEGV
wait $apply
ok "one that is killed" grep -q 'libnftables was killed by a signal before it ended' killed.out
ok "... changes nothing" holds
for does in "stops:did not end within 2 s" "prints:printed without end" "dies:was killed by a signal"; do
	echo "${does%%:*}" >bin/does
	door "iptables-restore that ${does%%:*}" 1 "policy.v4: error: iptables-nft-restore ${does#*:}" "$merlon" apply policy.v4
done
rm bin/does
ok "a good one after all that" applied "$merlon" apply policy.v4
"$merlon" apply pipe.nft >/dev/null 2>&1 &
apply=$!
signal_child -STOP
stop_daemon KILL
gone() { for _ in $(seq 300); do kill -0 "$1" 2>/dev/null || return 0; sleep 0.1; done; return 1; }
ok "a stopped child does not outlive its daemon" gone "$child"
wait $apply
ok "... whose policy does" kept
unset MERLON_CHILD_TIMEOUT

# Two daemons at once, in the place of one that was killed.
race() {
	local i running=0 pid pids=()
	for i in 1 2 3 4; do
		(exec nsenter --net="/run/netns/$host" "$merlond" --foreground --socket "$MERLON_SOCKET" --pin-dir "$dir/bpf/merlon" \
			--state-dir "$dir/state" --config "$dir/merlon.conf") >"race.$i" 2>&1 &
		pids+=($!)
	done
	for i in $(seq 100); do
		running=0
		for pid in "${pids[@]}"; do
			kill -0 "$pid" 2>/dev/null && running=$((running + 1)) && daemon=$pid
		done
		[ $running -gt 1 ] || break
		sleep 0.1
	done
	[ $running = 1 ] || { echo "$running run"; cat race.*; return 1; }
	[ "$(cat race.* | grep -c 'error: another merlond')" = 3 ] || { cat race.*; return 1; }
	for i in $(seq 300); do holds && return 0; sleep 0.1; done
	holds
}
race_again() { stop_daemon KILL; race; }
race >race.out 2>&1
ok "of four daemons at once one runs" [ $? = 0 ]
sed 's/^/# /' race.out
for i in 1 2; do
	race_again >race.out 2>&1
	ok "... again" [ $? = 0 ]
	sed 's/^/# /' race.out
done
stop_daemon TERM

# A full disk.
mkdir small && mount -t tmpfs -o size=256k none small || exit 99
trap 'umount "$dir/small" 2>/dev/null; cleanup' EXIT
moved() { start_daemon --config "$dir/merlon.conf" --state-dir "$dir/small/state" --events "$dir/small/events"; }
cp -a state small/state
moved || { echo "Bail out! merlond does not start: $(cat log)"; exit 1; }
ok "another place for the state" applied "$merlon" apply policy.nft
cat /dev/zero >small/filling 2>/dev/null
full='cannot keep a copy for restarts: No space left on device'
door "a full disk" 1 "$full" "$merlon" apply policy.nft
cures() { "$merlon" apply policy.nft 2>&1 | grep -A1 'No space left' | grep -q -- '--state-dir'; }
ok "... with what helps" cures
door "... an edit" 1 "$full" "$merlon" nft add element inet t s '{ 192.0.2.1 }'
listed() { "$merlon" nft list set inet t s | grep -q 192.0.2.1; }
ok "... is taken back" not listed
door "... a flush" 1 "No space left" "$merlon" flush
stop_daemon KILL
moved || { echo "Bail out! merlond does not start on a full disk: $(cat log)"; exit 1; }
ok "a daemon that starts there takes the policy up" status_is .policy_known true
ok "... as it is" holds
rm small/filling
# the events of what follows have room, too, however often something is tried
mount -o remount,size=4m small || exit 99
ok "with room again" applied "$merlon" apply policy.nft
ok "... also to edit" applied "$merlon" nft add element inet t s '{ 192.0.2.1 }'

# What is kept for restarts is something else.
# shellcheck disable=SC2016
for what in 'printf x >"$f"' ': >"$f"' 'head -c 3000 /dev/urandom >"$f"' 'rm "$f"; mkdir "$f"' 'rm -f "$f"'; do
	applied "$merlon" apply policy.nft >/dev/null
	[ "$what" = 'rm -f "$f"' ] || applied "$merlon" nft add element inet t s '{ 192.0.2.2 }' >/dev/null
	stop_daemon KILL
	: >log
	# shellcheck disable=SC2034
	for f in small/state/*; do eval "$what"; done
	moved || { echo "Bail out! merlond does not start: $(cat log)"; exit 1; }
	ok "state that is destroyed ($what)" holds
	ok "... is said" says 'stays in force, but the rules behind it are not known here: apply the ruleset again'
	rm -rf small/state/*
done
ok "which helps" applied "$merlon" apply policy.nft
stop_daemon TERM
rm -rf state && cp -a small/state state && umount small

# /etc, and the file system that pins are in.
# shellcheck disable=SC2016
(exec nsenter --net="/run/netns/$host" unshare -m sh -c 'mount --bind /etc /etc && mount -o remount,ro,bind /etc && exec "$@"' - \
	"$merlond" --foreground --socket "$MERLON_SOCKET" --pin-dir "$dir/bpf/merlon" --state-dir "$dir/state") >>log 2>&1 &
daemon=$!
for _ in $(seq 300); do "$merlon" status >/dev/null 2>&1 && break; sleep 0.05; done
ok "with a read-only /etc" applied "$merlon" apply policy.nft
read_only() { unshare -m sh -c 'mount --bind /etc /etc && mount -o remount,ro,bind /etc && exec "$@"' - "$@"; }
door "... import says so" 1 'Read-only file system' read_only "$merlon" import policy.nft -o /etc/merlon-ruleset.nft
stop_daemon TERM

# Pins that are not what merlond made.
starts() { # exit status and text as `fails` wants them; another daemon for the same pins
	fails 1 "$1" in_host timeout 20 "$merlond" --foreground --socket "$dir/other" --pin-dir "$dir/bpf/merlon" --state-dir "$dir/other-state"
}
broken='are not a whole data plane of merlon.s'
pins=$dir/bpf/merlon
id_of() { bpftool -j map show pinned "$1" | jq .id; }
foreign() { bpftool map create "$@" type array key 4 value 4000 entries 1 name foreign; }
control=$(id_of "$pins/maps/control")
rm "$pins/maps/control"
ok "a control map that was removed" starts "$broken"
ok "... the policy stays" kept
foreign "$pins/maps/control"
ok "another's in its place" starts "$broken"
ok "... is not removed" [ "$(bpftool -j map show pinned "$pins/maps/control" | jq -r .name)" = foreign ]
ok "... the policy stays" kept
rm "$pins/maps/control"
bpftool map create "$pins/maps/control" type array key 4 value 4000 entries 1 name .data.control
# shellcheck disable=SC2046
bpftool map update pinned "$pins/maps/control" key hex 00 00 00 00 value hex ff 00 00 00 $(printf '00 %.0s' $(seq 3996))
ok "of a newer merlon, and larger" starts 'has layout 255, this merlon has'
ok "... the policy stays" kept
rm "$pins/maps/control"
bpftool map pin id "$control" "$pins/maps/control"
# The map of slots must not lose its last pin: the kernel empties it then, which ends what is in force.
for pin in maps/sessions maps/entry maps/events policy/image policy/ledger policy/counters; do
	mv "$pins/$pin" "$pins/kept"
	foreign "$pins/$pin"
	ok "another's $pin" starts "$broken"
	rm "$pins/$pin"
	mv "$pins/kept" "$pins/$pin"
done
exchange() { # PIN PIN
	mv "$1" "$pins/kept" && mv "$2" "$1" && mv "$pins/kept" "$2"
}
exchange "$pins/progs/ingress" "$pins/maps/control"
ok "a map in the place of a program" starts "$broken"
exchange "$pins/progs/ingress" "$pins/maps/control"
exchange "$pins/progs/ingress" "$pins/policy/egress"
ok "another program" starts "$broken"
exchange "$pins/progs/ingress" "$pins/policy/egress"
ok "... through all of which the policy stays" kept
mkdir -p "$dir/bpf/theirs/maps" && foreign "$dir/bpf/theirs/maps/events"
ok "a directory with another's pins" fails 1 "$broken" in_host timeout 20 "$merlond" --foreground --socket "$dir/other" --pin-dir "$dir/bpf/theirs" --state-dir "$dir/other-state"
ok "... which stay" [ -e "$dir/bpf/theirs/maps/events" ]
foreign "$dir/bpf/file"
ok "a pin in the place of the directory" fails 1 'choose another place with --pin-dir' in_host timeout 20 "$merlond" --foreground --socket "$dir/other" --pin-dir "$dir/bpf/file" --state-dir "$dir/other-state"
rm -r "$dir/bpf/theirs" "$dir/bpf/file"
begin
ok "the pins as they were are taken up" holds

# Interfaces come and go while policies come into force.
flicker() {
	while [ ! -e flicker.end ]; do
		ip link add fl0 type veth peer name fl1 && ip link set fl0 name fl2 && ip link set fl2 name fl0
		ip link del fl0 2>/dev/null || ip link del fl2
	done
}
export -f flicker
(exec nsenter --net="/run/netns/$host" bash -c flicker) >/dev/null 2>&1 &
flicker=$!
meanwhile() { for _ in $(seq 15); do "$merlon" apply policy.nft >/dev/null || return 1; done; }
ok "interfaces that vanish meanwhile" applied meanwhile
touch flicker.end
wait $flicker
only_these() {
	for _ in $(seq 50); do
		[ "$("$merlon" status --json | jq -r '.interfaces | sort | join(" ")') $(find "$pins/links" -type f | wc -l)" = "lo up0 $1" ] && return 0
		sleep 0.1
	done
	"$merlon" status
	ls "$pins/links"
	return 1
}
links=4
[ "$("$merlon" status --json | jq -r .attach)" = tcx ] || links=0
ok "... leave nothing behind" only_these $links

# The file system of the pins is taken away: there is no new policy then.
ok "the pins' file system is in use" not umount "$dir/bpf"
umount -l "$dir/bpf"
door "... torn out" 1 'the data plane is not pinned in .*bpf/merlon any more' "$merlon" apply policy.nft
eval "exec ${WATCH[1]}>&-"
wait "$WATCH_PID"
mount -t bpf -o mode=0700 bpf "$dir/bpf"
finish
