#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# tools/demo: which rules its probes are of, what it says of the others and of bad input, and that it leaves nothing behind,
# however it ends.
set -u
top=${MERLON_TOP_SRCDIR:?} build=${MERLON_TOP_BUILDDIR:?}
# shellcheck source=tests/lib/points.sh
. "$top/tests/lib/points.sh"
trap 'exit 1' HUP INT TERM
cd "$work" || exit 99
demo() { python3 -B "$top/tools/lib/demo.py" --build "$build" "$@"; }
ends() { # status, pattern of the first line, arguments...
	local status=$1 pattern=$2 out r
	shift 2
	out=$(demo "$@" 2>&1)
	r=$?
	echo "$out"
	[ "$r" = "$status" ] || { echo "exit status $r"; return 1; }
	head -n 1 <<<"$out" | grep -Eq -- "$pattern"
}

cat >lookups.nft <<'END'
table inet t {
	set pairs {
		type ipv4_addr . inet_service
		flags interval
		elements = { 192.0.2.0/24 . 8000-8010, 198.51.100.7 . 443 }
	}
	chain web {
		tcp dport 80 accept
	}
	chain input {
		type filter hook input priority 0; policy drop;
		ct state vmap { established : accept, related : accept, invalid : drop }
		tcp dport vmap { 22 : accept, 23 : drop, 80 : jump web }
		ip saddr . tcp dport @pairs accept
		ip saddr . udp dport != { 198.51.100.8 . 4242 } udp dport 53 accept
		tcp sport 1000 accept
		tcp dport { 1, 3, 5, 7, 9 } accept
	}
}
END
check "lookups: no difference" sh -c 'python3 -B "$1/tools/lib/demo.py" --build "$2" lookups.nft >lookups' sh "$top" "$build"
shown() { grep -E "^input +tcp $1 +$2 +$2 +$3" lookups || { cat lookups; return 1; }; }
check "a map's element" shown '.*:22' accept 'lookups.nft:13 '
check "the one beside it" shown '.*:24' drop 'input policy'
check "where a map leads to" shown '.*:80' accept 'lookups.nft:8 '
check "a concatenation's element" shown '198.51.100.7 > [^ ]*:443' accept 'lookups.nft:14 '
check "beside its port" shown '198.51.100.7 > [^ ]*:444' drop 'input policy'
check "beside its address" shown '198.51.100.9 > [^ ]*:443' drop 'input policy'
check "a rule without a probe is named, with the reason" grep -q '^  .*lookups.nft:16: tcp sport 1000 .*source ports are chosen' lookups
check "... by a map" grep -q '^  .*lookups.nft:12: ct state vmap .*no first packet has the ct state that it takes to come there$' lookups
check "... in part" grep -q '^  .*lookups.nft:17: .*first 4 of its 5 ranges of ports only' lookups
check "no other one is" grep -q '^Without a probe, or with some only: 3 rules$' lookups

printf '*filter\n:INPUT DROP [0:0]\n-A INPUT -p tcp --dport 22 -j ACCEPT\nCOMMIT\n' | tee either.rules >told.v6
check "neither family: it asks, by nothing but the file" ends 1 "^$work/either.rules: error: nothing in this .* tells whether" either.rules
check "... and takes the answer" ends 0 '^[0-9]+ probes' --family ip6 either.rules
has() { # pattern that is there, pattern that is not, arguments of demo...
	local there=$1 not=$2 out
	shift 2
	out=$(demo "$@" 2>&1)
	echo "$out"
	grep -q -- "$there" <<<"$out" && ! grep -q -- "$not" <<<"$out"
}
check "... of IPv6" has 'fd00:31:1::2 ' '172\.31\.' --family ip6 either.rules
check "a name in .v6 tells" has 'fd00:31:1::2 ' '172\.31\.' told.v6
printf 'table inet t {\n\tchain in {\n\t\ttype filter hook input priority 0;\n\t\ttcp dport 22 acept\n\t}\n}\n' >syntax.nft
check "a syntax error is nft's, with its place" ends 1 "^$work/syntax.nft:4: error: syntax error" syntax.nft
check "a directory" ends 1 "^$work: error: cannot read: Is a directory" "$work"
printf '*filter\n:INPUT DROP [0:0]\n-A INPUT -s 10.0.0.2 -m recent --name x --rcheck -j ACCEPT\n-A INPUT -s 10.0.0.3 -j ACCEPT\nCOMMIT\n' >refused.v4
check "a refused rule" sh -c '[ "$1" = 3 ] && grep -q "^tools/demo: merlon import:$" refused && grep -q "refused.v4:3: refused" refused' sh \
	"$(demo refused.v4 >refused 2>&1; echo $?)"

# Killed while its probes are on their way: what is there then, and after the next one.
ours() { find /run -maxdepth 1 -name 'merlon-demo-*' -newer lookups.nft; find /run/netns -name 'merlon-demo-*'; grep merlon-demo- /proc/mounts; }
begin() { # log: returns when merlond is there
	python3 -B "$top/tools/lib/demo.py" --build "$build" lookups.nft >"$1" 2>&1 &
	for _ in $(seq 200); do
		grep -q '^generation' "$1" && return
		sleep 0.05
	done
	return 1
}
export PYTHONUNBUFFERED=1
begin one
first=$!
check "a second one beside a first: no difference" has ', 0 differences' removing lookups.nft
wait $first
check "... which does not disturb it" grep -q ', 0 differences' one
begin killed
kill -KILL $!
wait $! 2>/dev/null
left() { [ -n "$(ours)" ] && ! pgrep -f "merlond --foreground --socket /run/merlon-demo-" && ! pgrep -f tools/lib/peer.py; }
check "killed: its processes go with it" left
check "the next one says that it removes the rest" has 'removing what a demo that was killed left' ', [1-9][0-9]* difference' lookups.nft
check "... and does" sh -c '[ -z "$1" ]' sh "$(ours)"
begin stopped
kill -TERM $!
wait $!
check "terminated: nothing is left" sh -c '[ -z "$1" ]' sh "$(ours)"
# As a terminal does it, which interrupts all of its processes at once, while a host of it is beginning.
setsid python3 -B "$top/tools/lib/demo.py" --build "$build" lookups.nft >interrupted 2>&1 &
demo=$!
for _ in $(seq 400); do
	pgrep -f tools/lib/peer.py >/dev/null && break
	sleep 0.05
done
kill -INT -- -$demo
wait $demo
ended=$?
gone() { [ $ended = 130 ] && [ -z "$(ours)" ] && ! pgrep -f tools/lib/peer.py; }
check "interrupted: nothing is left" gone
check "... and no host of it says anything" sh -c '! grep -q Traceback interrupted || { cat interrupted; false; }'
finish
