# SPDX-License-Identifier: GPL-2.0-or-later
# For tests of the programs: a host and a client in network namespaces of their own, a bpffs, merlond, TAP.
# shellcheck shell=bash
build=${MERLON_TOP_BUILDDIR:?}
# Read by the tests that source this file.
# shellcheck disable=SC2034
top=${MERLON_TOP_SRCDIR:?}
merlond=$build/src/merlond merlon=$build/src/merlon
host=ms-$$-h client=ms-$$-c
dir=$(mktemp -d /tmp/merlon-service.XXXXXX) || exit 99
export MERLON_SOCKET=$dir/socket
daemon=''
points=0 failed=0

cleanup() {
	local ns pids
	for ns in "$host" "$client"; do
		pids=$(ip netns pids "$ns" 2>/dev/null)
		# shellcheck disable=SC2086
		[ -z "$pids" ] || kill $pids 2>/dev/null
	done
	wait
	ip netns del "$host" 2>/dev/null
	ip netns del "$client" 2>/dev/null
	umount "$dir/bpf" 2>/dev/null
	rm -rf "$dir"
}
trap cleanup EXIT
trap 'exit 1' HUP INT TERM

# What runs in the background must be the program itself, for its signals to arrive: these are called with exec then.
in_host() { nsenter --net="/run/netns/$host" "$@"; }
in_client() { nsenter --net="/run/netns/$client" "$@"; }

make_network() {
	mkdir "$dir/bpf" && mount -t bpf -o mode=0700 bpf "$dir/bpf" || exit 99
	ip netns add "$host" && ip netns add "$client" || exit 99
	ip link add up0 netns "$host" type veth peer name down0 netns "$client" || exit 99
	in_host sh -c 'ip addr add 10.77.0.1/24 dev up0; ip addr add fd77::1/64 dev up0 nodad; ip link set lo up; ip link set up0 up'
	in_client sh -c 'ip addr add 10.77.0.2/24 dev down0; ip addr add fd77::2/64 dev down0 nodad; ip link set lo up; ip link set down0 up'
}

# eventually COMMAND...: within half a minute; the last try says why not.
eventually() {
	for _ in $(seq 300); do "$@" >/dev/null 2>&1 && return 0; sleep 0.1; done
	"$@"
}

# start_daemon [OPTION...]: in the host's namespace; returns when it answers.
start_daemon() {
	local i
	(exec nsenter --net="/run/netns/$host" "$merlond" --foreground --socket "$MERLON_SOCKET" --pin-dir "$dir/bpf/merlon" \
		--state-dir "$dir/state" "$@") >>"$dir/log" 2>&1 &
	daemon=$!
	for i in $(seq 600); do
		if [ -S "$MERLON_SOCKET" ] && "$merlon" status >/dev/null 2>&1; then return 0; fi
		kill -0 "$daemon" 2>/dev/null || return 1
		sleep 0.05
	done
	return 1
}

# stop_daemon SIGNAL: ends the daemon alone.
stop_daemon() {
	kill -s "$1" "$daemon"
	wait "$daemon" 2>/dev/null
	daemon=''
}

# ok NAME COMMAND...: a test point; what the command printed explains a failure.
ok() {
	local name=$1 out
	shift
	points=$((points + 1))
	if out=$("$@" 2>&1); then
		echo "ok $points - $name"
	else
		failed=1
		printf '%s\n' "$out" | head -n 30 | sed 's/^/# /'
		echo "not ok $points - $name"
	fi
}
not() { ! "$@"; }

# fails STATUS PATTERN COMMAND...: exits with that status and says something that matches on standard error.
fails() {
	local status=$1 pattern=$2 out got
	shift 2
	out=$("$@" 2>&1 >/dev/null)
	got=$?
	if [ "$got" != "$status" ]; then
		echo "exit status $got, not $status: $out"
		return 1
	fi
	grep -qE -- "$pattern" <<<"$out" || { echo "\"$pattern\" is not in: $out"; return 1; }
}

# status_is KEY VALUE: of `merlon status --json`.
status_is() {
	local got
	got=$("$merlon" status --json | jq -r "$1")
	[ "$got" = "$2" ] || { echo "$1 is $got, not $2"; return 1; }
}

# A client with an open connection to the host's TCP port 7000, which answers; it says on request whether that still works.
open_client() {
	cat >"$dir/client.py" <<'END'
import socket, sys
c = socket.create_connection(('10.77.0.1', 7000), timeout=20)
print('open', flush=True)
for line in sys.stdin:
    c.settimeout(0.7 if line == 'silence\n' else 20)
    try:
        c.sendall(b'x'); print('answer' if c.recv(10) else 'closed', flush=True)
    except OSError:
        print('silence', flush=True)
END
	coproc CLIENT { exec nsenter --net="/run/netns/$client" python3 "$dir/client.py"; }
	read -r -t 30 line <&"${CLIENT[0]}" && [ "$line" = open ]
}
close_client() {
	eval "exec ${CLIENT[1]}>&-"
	wait "$CLIENT_PID"
}
asks() { # what the open connection says: silence is not waited for longer than for an answer that would be there
	local line
	echo "$1" >&"${CLIENT[1]}"
	read -r -t 30 line <&"${CLIENT[0]}"
	[ "$line" = "$1" ] || { echo "the connection says $line, not $1"; return 1; }
}
# stop_child_of ASKER: a child of the daemon, $child, is stopped while the process that asks is under way. 1: it was too quick.
stop_child_of() {
	while kill -0 "$1" 2>/dev/null; do
		child=$(pgrep -P "$daemon") && kill -STOP "$child" 2>/dev/null && grep -q '^State:.T' "/proc/$child/status" 2>/dev/null || continue
		# one that has not run at all has not asked to die with the daemon either
		grep -q ret_from_fork "/proc/$child/stack" 2>/dev/null || return 0
		kill -CONT "$child"
	done
	return 1
}
send_udp() { # port, count
	in_client python3 -c "
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _ in range($2): s.sendto(b'0123456789', ('10.77.0.1', $1))"
}
connects() { in_client timeout 2 bash -c "exec 3<>/dev/tcp/10.77.0.1/$1" 2>/dev/null; }

# watch FILE [ARGUMENT...]: a monitor in the background, $!, that is there when this returns: it has a socket of the daemon.
streams() { find "/proc/$daemon/fd" -lname 'socket:*' 2>/dev/null | wc -l; }
watch() {
	local file=$1 before
	shift
	before=$(streams)
	"$merlon" monitor "$@" >"$dir/$file" 2>"$dir/$file.err" &
	for _ in $(seq 600); do [ "$(streams)" -gt "$before" ] && break; sleep 0.02; done
	# the connection that it asked by is gone
	sleep 0.1
}

finish() {
	echo "1..$points"
	exit "$failed"
}
