#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Random rulesets against the kernel's nf_tables, in the short form; `tests/random/run --hours H` is the long one. Before
# that: the generator makes what it should, and the shrinker finds the few rules that matter.
# MERLON_RANDOM_SEED (1000) chooses others.
set -u
top=${MERLON_TOP_SRCDIR:?} build=${MERLON_TOP_BUILDDIR:?}
merlon=$build/src/merlon seed=${MERLON_RANDOM_SEED:-1000}
# shellcheck source=tests/lib/points.sh
. "$top/tests/lib/points.sh"
generate() { # directory
	mkdir "$work/$1" && python3 -B "$top/tests/random/generate.py" --seed "$seed" --count 40 --directory "$work/$1" --merlon "$merlon" \
		2>"$work/$1.said" && cat "$work/$1.said" && [ "$(find "$work/$1" -type f | wc -l)" = 40 ]
}
few_refused() { awk '/ refused and made anew / { exit $4 > $1 / 20 }' "$work/a.said"; }
nothing_left_out() { ! grep 'left out' "$work/a.said"; }
of_each_kind() { ls "$work"/a/*.nft && ls "$work"/a/*.v4 && ls "$work"/a/*.v6; }

check "40 rulesets are made" generate a
check "the same seed makes the same ones" generate b
check "... to the byte" diff -r "$work/a" "$work/b"
check "nft, iptables and ip6tables are among them" of_each_kind
check "at most 5 % were refused and made anew" few_refused
check "every construct is used" nothing_left_out

cat >"$work/large.nft" <<'END'
table inet t {
	set s { type inet_service; elements = { 22, 80, 443 }; }
	chain c {
		type filter hook input priority 0; policy drop;
		tcp dport @s accept
		ip saddr 192.0.2.1 jump d
		udp dport { 53, 67, 123 } counter drop
		tcp dport 25 drop
	}
	chain d { accept; }
	chain e { tcp dport 1; }
}
END
cat >"$work/test" <<END
#!/bin/sh
'$merlon' check "\$1" && grep -q 'hook input' "\$1" && grep -q 'udp dport.*67.*drop' "\$1"
END
cat >"$work/small.nft" <<'END'
table inet t {
	chain c {
		type filter hook input priority 0 ;
		udp dport { 67 } drop
	}
}
END
chmod +x "$work/test"
shrink() { # status, input, output
	python3 -B "$top/tests/random/shrink.py" --status "$1" "$work/$2" -- "$work/test" >"$work/$3"
}
check "a ruleset is made small" shrink 0 large.nft made.nft
check "... to what matters" diff "$work/small.nft" "$work/made.nft"
printf '%s\n' '*filter' ':INPUT ACCEPT [0:0]' ':a - [0:0]' '-A INPUT -p tcp -j a' '-A a -s 192.0.2.1 -p tcp -m tcp --dport 25 -j DROP' \
	COMMIT >"$work/large.v4"
printf '%s\n' '*filter' ':a - [0:0]' '-A a -p tcp --dport 25' COMMIT >"$work/small.v4"
printf '#!/bin/sh\n%s\n' "'$merlon' check --family ip \"\$1\" && grep -q 'dport 25' \"\$1\"" >"$work/test"
check "iptables rules, too" shrink 0 large.v4 made.v4
check "... to what matters" diff "$work/small.v4" "$work/made.v4"

run() {
	python3 -B "$top/tests/random/run" --rulesets 120 --packets 500 --seed "$seed" --keep "$build" --merlon "$merlon" >"$work/report" 2>&1
	local r=$?
	cat "$work/report"
	sed -n 's/^\([0-9]* rulesets x .*\)/figure: \1/p' "$work/report"
	return $r
}
check "random rulesets behave as in nf_tables" run
finish
