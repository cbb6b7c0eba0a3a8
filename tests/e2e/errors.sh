#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Bad input at every door: one clear line, the right exit status, and the policy in force stays in force.
set -u
# shellcheck source=tests/lib/service.sh
. "${MERLON_TOP_SRCDIR:?}/tests/lib/service.sh"

cd "$dir" || exit 99
cat >good.nft <<'END'
table inet t {
	chain in {
		type filter hook input priority filter; policy accept;
		udp dport 4000 counter drop
	}
}
END
printf 'table inet t {\n\tchain in {\n\t\ttype filter hook input priority 0;\n\t\ttcp dport 22 acept\n\t}\n}\n' >syntax.nft
printf '*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -s 10.0.0.1 -p tcp --dport 22 -j ACCEPT\n-A INPUT -p tcp --dprot 23 -j ACCEPT\nCOMMIT\n' >syntax.v4
printf '*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -s 10.0.0.1 -j ACCEPT\n-A INPUT -s 10.0.0.2 -m recent --name x --rcheck -j DROP\nCOMMIT\n' >refused.v4
printf '*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -s 10.0.0.1 -j ACCEPT\n-A INPUT -s 10.0.0.2 -j nowhere\n-A INPUT -s 10.0.0.3 -j ACCEPT\nCOMMIT\n' >nowhere.v4
printf '*filter\n:INPUT DROP [0:0]\n-A INPUT -s 10.0.0.2 -m recent --name x --rcheck -j ACCEPT\n-A INPUT -s 10.0.0.3 -j ACCEPT\nCOMMIT\n' >partial.v4
printf '*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n' >family
printf 'table ip n { chain p { type nat hook prerouting priority dstnat; tcp dport 80 redirect to :8080; }\nchain i { type filter hook input priority filter; tcp dport 8080 drop; }\n}\n' >nat.nft
printf '# nothing\n' >empty.nft
mkdir directory
touch unreadable.nft && chmod 000 unreadable.nft
as_nobody() { setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all --bounding-set=-all "$@"; }
chmod 755 "$dir"

# Without a daemon.
ok "no daemon: says so and how to start it" fails 1 'merlond is not running' "$merlon" status
ok "apply without a daemon" fails 1 'merlond is not running' "$merlon" apply good.nft
ok "unknown command" fails 2 'no command "frobnicate"' "$merlon" frobnicate good.nft
ok "... in two lines, with the nearest one" sh -c "'$merlon' statusx 2>&1 | tr '\\n' ' ' | grep -q '^error: .*\"statusx\": did you mean status?   .merlon --help. lists the commands \$'"
for option in -h --help help; do ok "$option lists the commands" sh -c "'$merlon' $option | grep -q '^  verify '"; done
ok "no command" fails 2 'usage: merlon' "$merlon"
ok "unknown option, by the command's name" fails 2 "^merlon check: unrecognized option '--frobnicate'" "$merlon" check --frobnicate good.nft
ok "... and where they are listed" fails 2 'merlon check --help. lists its options' "$merlon" check --frobnicate good.nft
ok "... also of another command" fails 2 'merlon status --help. lists' "$merlon" status --family ip
ok "... and of nft" fails 2 'merlon nft --help. lists' "$merlon" nft --frobnicate list ruleset
ok "an option of another command" fails 2 'no such option' "$merlon" status --family ip
ok "an option of another command is named, not its value" fails 2 'such option as --socket$' "$merlon" verify --socket /x good.nft
ok "a number that is too large" fails 2 'too large' "$merlon" verify --packets 99999999999999999999 good.nft
ok "why: a port that is too large" fails 2 'the port of the destination is a number from 0 to 65535, not "99999"' "$merlon" why tcp 10.1.2.3:1 10.1.2.9:99999
ok "the standard input twice" fails 2 'standard input, "-", once' "$merlon" check - -
ok "no file" fails 2 'needs a file' "$merlon" check
ok "files where none belong" fails 2 'takes no files' "$merlon" status good.nft
ok "no such family" fails 2 'ip or ip6' "$merlon" check --family arp good.nft
ok "check: syntax of nft, with file and line" fails 1 'syntax\.nft:4' "$merlon" check syntax.nft
ok "check: syntax of iptables, with file and line" fails 1 'syntax\.v4:4' "$merlon" check syntax.v4
ok "check: a chain that there is not, with the line that jumps to it" fails 1 'nowhere\.v4:4: .*nowhere. does not exist' "$merlon" check nowhere.v4
for file in good.nft partial.v4; do
	sed 's/$/\r/' $file >dos.${file##*.}
	ok "check: DOS line ends of $file" fails 1 "^dos.*: error: the file has DOS line ends" "$merlon" check "dos.${file##*.}"
	ok "... in one message, with the cure" sh -c "'$merlon' check dos.${file##*.} 2>&1 | grep -c 'error:' | grep -qx 1 && '$merlon' check dos.${file##*.} 2>&1 | grep -q 'sed -i'"
done
# One message where each line would have one.
printf '\357\273\277' | cat - good.nft >mark.nft
printf '#!/bin/bash\nIPT=/sbin/iptables\n$IPT -F\n$IPT -A INPUT -j DROP\n' >script.sh
printf 'set -e\n\nsudo /usr/sbin/ip6tables -A INPUT -j DROP\niptables -A INPUT -j DROP\n' >script
gzip -c good.nft >good.nft.gz
for bad in 'mark.nft:byte order mark' 'script.sh:a shell script' 'script:a shell script' 'good.nft.gz:it is compressed'; do
	ok "check: ${bad#*:}" fails 1 "^${bad%%:*}: error: .*${bad#*:}" "$merlon" check "${bad%%:*}"
	ok "... in one message" sh -c "'$merlon' check ${bad%%:*} 2>&1 | grep -c 'error' | grep -qx 1"
done
ok "... the cure of which helps" sh -c "sed -i '1s/^\\xef\\xbb\\xbf//' mark.nft && '$merlon' check mark.nft"
printf '#!/usr/sbin/nft -f\n# no iptables here\ntable inet t { chain in { frobnicate; }; }\n' >script.nft
ok "check: a script of nft is nft text" fails 1 'script.nft:3.*syntax' "$merlon" check script.nft
ok "check: what to do about refused rules, once" sh -c "'$merlon' check refused.v4 | grep -c 'merlon-ruleset(5).*--allow-partial' | grep -qx 1"
ok "check: no such file" fails 1 'missing\.nft.*No such file' "$merlon" check missing.nft
ok "check: a directory" fails 1 'directory' "$merlon" check directory
ok "check: an unreadable file" fails 1 'Permission denied' as_nobody "$merlon" check unreadable.nft
ok "check: a family that cannot be told is asked for" fails 1 '--family' "$merlon" check family
ln -s family told.v4
ok "check: ... but for a name in .v4" "$merlon" check told.v4
ok "check: a refused rule, its place and reason" sh -c "'$merlon' check refused.v4 | grep -A1 'refused.v4:4: refused: .*recent' | grep -q recent"
ok "check: exit status 3 then" fails 3 '' "$merlon" check refused.v4
ok "check --json names it" sh -c "'$merlon' check --json refused.v4 | jq -e '.refused[0].line == 4 and (.refused[0].reason | length) > 0 and .exact == 1'"
says() { # pattern, arguments of check: exit status 0
	local out
	out=$("$merlon" check "${@:2}") || return 1
	echo "$out"
	grep -qE "$1" <<<"$out"
}
printf 'table netdev n { }\ntable bridge b {\n\tchain c {\n\t\ttype filter hook forward priority 0;\n\t}\n}\n' >bridge.nft
ok "check: apply refuses NAT" says 'apply refuses this ruleset: .*NAT' nat.nft
mkdir -p included
printf 'add rule inet t in meta skuid 0 accept\n' >included/one.nft
printf 'table inet t {\n\tchain in { type filter hook input priority 0; }\n}\ninclude "%s/included/*.nft"\n' "$dir" >unplaced.nft
ok "check: a refused rule whose line is not known has its file" sh -c "'$merlon' check unplaced.nft | grep -q '^unplaced.nft: refused: meta skuid'"
ok "verify: each of several files is named" fails 3 '^unplaced.nft: refused: meta skuid' "$merlon" verify --each --packets 10 unplaced.nft empty.nft
ok "check: apply refuses an empty file" says 'apply refuses this ruleset: nothing to enforce' empty.nft
ok "check: apply refuses tables of other families" says 'apply refuses this ruleset: nothing to enforce' bridge.nft
ok "verify: nothing to enforce is said" fails 0 'empty\.nft: warning: nothing to enforce.*compares nothing' "$merlon" verify --packets 100 empty.nft
refuses() { # PATTERN FILE
	[ "$("$merlon" check --json "$2" 2>/dev/null | jq --arg p "$1" '.apply_refuses | test($p)')" = true ]
}
ok "check --json: apply refuses refused rules" refuses '^1 rule is refused' refused.v4
ok "... what is no ruleset" refuses 'cannot be read' syntax.nft
ok "... and what is not there" refuses 'cannot be read' missing.nft
ok "check --json says so" sh -c "'$merlon' check --json empty.nft | jq -e '.apply_refuses | test(\"nothing\")' && '$merlon' check --json good.nft | jq -e '.apply_refuses == null'"
printf 'table ip t {\n\tchain c {\n\t\ttype filter hook input priority 0;\n\t\ttcp dport 22 log group 3\n\t}\n}\n' >group.nft
ok "check: who does not hear of logs to a group" says 'log-group .*ulogd' group.nft
# Several files are one policy: none of them takes away what another has.
printf 'flush ruleset\ntable inet u {\n\tchain in {\n\t\ttype filter hook input priority 1;\n\t\tudp dport 4001 drop\n\t}\n}\n' >flush.nft
printf '# own\ntable inet t\ndelete table inet t\ninclude "./flush.nft"\n' >delete.nft
printf 'table inet u\ndelete table inet u\ntable inet u { chain in { type filter hook input priority 1; udp dport 4001 drop; }\n}\n' >own.nft
printf '*filter\n:INPUT DROP [0:0]\n-A INPUT -s 10.0.0.1 -j ACCEPT\nCOMMIT\n' >first.v4
printf 'table ip filter {\n\tchain x {\n\t\ttcp dport 22 drop\n\t}\n}\nadd rule ip filter INPUT jump x\n' >second.nft
printf 'table ip filter { chain INPUT { type filter hook input priority 0; policy drop; tcp dport 23 drop; }\n}\n' >base.nft
printf 'chain ip filter INPUT { policy accept; }\n' >policy.nft
ok "check: flush ruleset in a later file, with file, line and cure" fails 1 'flush\.nft:1: error: flush ruleset takes away what good\.nft has: 1 rule' "$merlon" check good.nft flush.nft
ok "... the cure" fails 1 'take that statement out, or give this file before good\.nft' "$merlon" check good.nft flush.nft
ok "... which helps" "$merlon" check flush.nft good.nft
ok "... and an iptables file before it" fails 1 'flush\.nft:1: error: flush ruleset takes away what first\.v4 has' "$merlon" check first.v4 flush.nft
ok "... in an included file, its place" fails 1 '\./flush\.nft:1: error: flush ruleset takes away what good\.nft has' "$merlon" check good.nft delete.nft
ok "... not where only its own is taken away" "$merlon" check good.nft own.nft
ok "iptables rules that replace what an nft file has" fails 1 'first\.v4: error: this file takes away what base\.nft and others have: 3 rules, 1 policy drop' "$merlon" check base.nft second.nft first.v4
ok "... in the order that the cure asks for" "$merlon" check first.v4 second.nft
ok "a later policy that accepts" fails 1 'policy\.nft: error: this file takes away what first\.v4 has: 1 policy drop' "$merlon" check first.v4 policy.nft
ok "verify and import refuse, too" sh -c "! '$merlon' verify good.nft flush.nft 2>/dev/null && ! '$merlon' import good.nft flush.nft >/dev/null 2>&1"
ok "import: exit status 3, the rule is a comment" sh -c "'$merlon' import refused.v4 -o out.nft 2>/dev/null; [ \$? = 3 ] && grep -q '^[[:space:]]*#.*recent' out.nft"
ok "... and the way to do without it is told" fails 3 'note: refused rules are comments in this text.* delete its line' "$merlon" import refused.v4
# What import wrote as comments is refused still: it says nothing less than the rule did.
"$merlon" import partial.v4 -o partial.nft 2>/dev/null
sed 's/^\t\t# refused.*/&\n&/' out.nft >twice.nft
printf 'table ip filter {\n\tchain INPUT {\n\t\ttcp dport 22 accept\n\t\tinclude "./some/*"\n\t}\n}\n' >around.nft
printf 'include "./out.n*"\n' >pattern.nft
mkdir some && grep '# refused' out.nft >some/rules
grep -v '# refused' out.nft >without.nft
sed 's/# refused (.*/# refused (see ticket 12)/' out.nft >own-words.nft
{ grep '# refused' out.nft; cat without.nft; } >nowhere.nft
refused_at() { # PLACES FILE...
	local got
	got=$("$merlon" check --json "${@:2}" 2>/dev/null | jq -r '[.refused[] | "\(.file):\(.line)"] | join(" ")')
	[ "$got" = "$1" ] || { echo "$got"; return 1; }
}
ok "check: a refused rule's comment is refused, with its place and the way out" sh -c "'$merlon' check out.nft | grep -A2 'out.nft:5: refused: -A INPUT .*-j DROP' | grep -q 'delete the line'"
ok "... with exit status 3" fails 3 '' "$merlon" check out.nft
ok "... counted, and told apart" sh -c "'$merlon' check --json out.nft | jq -e '.rules == 2 and .exact == 1 and (.refused | length) == 1 and .refused[0].comment and (.refused[0].reason | test(\"recent\"))'"
ok "... also beside other files" refused_at out.nft:5 good.nft out.nft
ok "... each of them, in their order" refused_at "twice.nft:5 twice.nft:6" twice.nft
ok "... with --allow-partial, where more could pass" fails 3 '' "$merlon" check --allow-partial out.nft
ok "... but not one that accepts" sh -c "'$merlon' check --allow-partial --json partial.nft | jq -e '.refused == [] and .left_out[0].line == 4'"
ok "... without its line it is no rule" "$merlon" check without.nft
ok "... and other comments are none" "$merlon" check own-words.nft
ok "verify: refused" fails 3 'out\.nft:5: refused' "$merlon" verify out.nft
ok "why: refused" fails 3 'out\.nft:5: refused' "$merlon" why --file out.nft tcp 10.0.0.1:1 10.0.0.2:2 iif lo
ok "import: refused, and written again" sh -c "'$merlon' import out.nft -o again.nft 2>/dev/null; [ \$? = 3 ] && diff out.nft again.nft"
ok "in files included by a pattern" refused_at ./out.nft:5 pattern.nft
ok "... amid a chain" refused_at ./some/rules:1 around.nft
ok "outside of all chains it is an error" fails 1 'nowhere\.nft:1: error: a rule that .merlon import. refused' "$merlon" check nowhere.nft
# What can be read but once is read once.
piped() { # FILE COMMAND...: with a pipe for its standard input
	# shellcheck disable=SC2002
	cat "$1" | "$merlon" "${@:2}"
}
asked() { [ "$("$merlon" why --json --file "$1" udp 10.0.0.1:1 10.0.0.2:4000 iif lo | jq -r .verdict)" = drop ]; }
compared() { "$merlon" verify --packets 1000 "$1" 2>&1 | tee /dev/stderr | not grep 'nothing to enforce'; }
ok "check: nft text from a pipe" sh -c "cat good.nft | '$merlon' check --json /dev/stdin | jq -e '.exact == 1'"
ok "... and its syntax, by the name that was given" fails 1 '^/dev/stdin:4: error: syntax' piped syntax.nft check /dev/stdin
ok "... refused rules, too" fails 3 '^/dev/stdin:5: refused' piped out.nft why --file /dev/stdin tcp 10.0.0.1:1 10.0.0.2:2 iif lo
ok "... beside another file" sh -c "cat good.nft | '$merlon' check --json first.v4 /dev/stdin | jq -e '.exact == 2'"
ok "why: nft text from a pipe" asked <(cat good.nft)
ok "verify: nft text from a pipe" compared <(cat good.nft)
ok "import: nft text from a pipe" sh -c "cat good.nft | '$merlon' import /dev/stdin 2>/dev/null | grep -q 'udp dport 4000'"
ok "import: what can't be written" fails 1 'No such file' "$merlon" import good.nft -o /nonexistent/out.nft

# With --json every failure has its messages on standard output, as {"severity","file","line","text","cure"}.
tells() { # STATUS PATTERN COMMAND...
	local status=$1 pattern=$2 out got
	out=$("$merlon" "${@:3}" 2>/dev/null)
	got=$?
	[ "$got" = "$status" ] || { echo "exit status $got, not $status: $out"; return 1; }
	jq -e --arg p "$pattern" '[.messages[] | select(.severity == "error") | "\(.file):\(.line): \(.text) \(.cure)" | select(test($p))] | length > 0' <<<"$out" ||
		{ echo "\"$pattern\" is not in: $out"; return 1; }
}
for c in status stats sessions list flush stop "apply good.nft" "why tcp 10.0.0.1:1 10.0.0.2:2"; do
	# shellcheck disable=SC2086
	ok "--json: ${c%% *} without a daemon" tells 1 'merlond is not running.*start it as root' $c --json
done
for c in check import verify; do ok "--json: $c, syntax" tells 1 'syntax\.nft:4: syntax error' "$c" --json syntax.nft; done
ok "--json: why, syntax of a file" tells 1 'syntax\.nft:4: syntax error' why --json --file syntax.nft tcp 10.0.0.1:1 10.0.0.2:2 iif lo
ok "--json: why, a refused rule of a file" sh -c "'$merlon' why --json --file refused.v4 tcp 10.0.0.1:1 10.0.0.2:2 iif lo | jq -e '.refused[0].line == 4'"
ok "--json: why, wrong words" tells 2 'destination of the packet is missing' why --json tcp 10.0.0.1:1
ok "--json: why, no interface" tells 2 'knows no routes.*say iif' why --json --file good.nft tcp 10.0.0.1:1 10.0.0.2:2
ok "--json: verify without root" sh -c "setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all --bounding-set=-all '$merlon' verify --json good.nft 2>/dev/null | jq -e '.messages | length > 0'"
# Pins that are there without a daemon.
pins() { # whether a message names them
	mount -t bpf -o mode=0700 bpf /sys/fs/bpf && mkdir -p /sys/fs/bpf/merlon
	"$merlon" stop 2>&1 | grep -A1 'still pinned below /sys/fs/bpf/merlon: .* goes on filtering' | grep -q 'start merlond again'
	local r=$?
	umount /sys/fs/bpf
	return $r
}
ok "no daemon, but pins: that they filter, and the way out" pins
ok "... no pins: nothing is said" not sh -c "'$merlon' stop 2>&1 | grep -q pinned"

# A daemon that cannot start.
make_network
daemon_fails() { # status, pattern, command...
	local status=$1 pattern=$2
	shift 2
	fails "$status" "$pattern" in_host timeout 10 "$@" --foreground --socket "$dir/other" --state-dir "$dir/other-state"
}
ok "merlond: no bpffs" daemon_fails 1 'mount -t bpf' "$merlond" --pin-dir "$dir/nowhere"
ok "merlond: no privileges" daemon_fails 1 'run as root, or give CAP_BPF' setpriv --bounding-set=-all --inh-caps=-all "$merlond" --pin-dir "$dir/bpf/merlon"
ok "merlond: kernel too old" daemon_fails 1 'Linux 6.1 or newer' setarch --uname-2.6 "$merlond" --pin-dir "$dir/bpf/merlon"
ok "merlond: unknown option" daemon_fails 2 '"--frobnicate" is no option' "$merlond" --frobnicate
ok "... and where they are listed" daemon_fails 2 'merlond --help. lists' "$merlond" --frobnicate
ok "merlond: bad interface pattern" daemon_fails 2 'no list of interface patterns' "$merlond" --interfaces 'eth0,,'
printf '[Sessions]\nMax=lots\n' >bad.conf
printf '[Sessions]\nMaximum=1000\n[Network]\nInterfaces=up*\n' >odd.conf
ok "merlond: bad value, with file and line" daemon_fails 2 'bad\.conf:2: error: Max="lots" is no number' "$merlond" --config bad.conf
ok "merlond: no such configuration" daemon_fails 1 'none\.conf' "$merlond" --config none.conf
ok "merlond: socket name too long" fails 1 'too long' in_host timeout 10 "$merlond" --foreground --socket "/tmp/$(printf '%0120d' 0)" --pin-dir "$dir/bpf/merlon"

not_root() { fails 1 "$1" in_host timeout 10 setpriv --reuid=65534 --regid=65534 --clear-groups "${@:2}"; }
ok "merlond: not root, no directory" not_root 'run as root' "$merlond" --socket "$dir/none/socket"
python3 -c 'import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])' "$dir/stale"
ok "merlond: not root, another's socket" not_root 'cannot listen on .*stale: Permission denied' "$merlond" --socket "$dir/stale"
ok "merlond: not root, says so" not_root 'run as root' "$merlond" --socket "$dir/stale"
mkdir "$dir/open" && chmod 777 "$dir/open"
ok "merlond: not root, pins" not_root 'run as root' "$merlond" --socket "$dir/open/socket" --state-dir "$dir/open/state" --pin-dir "$dir/bpf/merlon"

# A daemon with a policy.
: >log
start_daemon --config odd.conf || { echo "Bail out! merlond does not start: $(cat log)"; exit 1; }
ok "the warning is there" grep -q 'odd\.conf:2: warning: unknown key Maximum' log
printf '[Network]\nInterface=up*\n[Logs]\nRate=1\n' >near.conf
cp odd.conf odd.before && cat near.conf >>odd.conf
ok "config --reload prints warnings, with what is near" sh -c "'$merlon' config --reload 2>&1 >/dev/null | tr '\\n' ' ' | grep -q 'unknown key Interface in .Network.   did you mean Interfaces=?.*unknown section .Logs.   did you mean .Log.?'"
mv odd.before odd.conf
ok "nft without a policy, refused" fails 3 'nothing was changed: no policy is in force' "$merlon" nft 'table inet t { chain in { type filter hook input priority 0; quota over 10 mbytes drop; }; }'
"$merlon" apply syntax.nft 2>/dev/null
ok "apply without a policy, failed: the log does not say that one is in force" grep -q 'not applied; none is in force' log
ok "apply" "$merlon" apply good.nft
kept_if() { "$@" && status_is .generation 1; }
kept() { # status, pattern, arguments of apply...
	local status=$1 pattern=$2
	shift 2
	fails "$status" "$pattern" "$merlon" apply "$@" || return 1
	status_is .generation 1
}
ok "apply: from a pipe, syntax, by the name that was given" fails 1 '^/dev/stdin:4: error: syntax' piped syntax.nft apply /dev/stdin
ok "nft -f: the same" fails 1 '^/dev/stdin:4:' piped syntax.nft nft -f /dev/stdin
ok "nft -f: a refused rule's comment in a pipe" fails 3 '^/dev/stdin:5: error: a rule that' piped out.nft nft -f /dev/stdin
ok "apply: from a pipe, nothing to enforce" kept 1 'nothing to enforce' <(cat empty.nft)
# Includes are looked for from the caller's directory: the daemon runs in another one, which has files of the same names.
mkdir -p "$dir/user/inc" inc && sed 's/4000/4100/' good.nft >"$dir/user/inc/good.nft" && cp good.nft inc/good.nft
cp syntax.nft user/inc/syntax.nft && cp good.nft inc/syntax.nft
printf 'include "./inc/good.nft"\n' >user/here.nft
printf 'table inet own { }; include "./inc/good.nft"\n' >user/amid.nft
printf 'include "./inc/syntax.nft"\n' >user/syntax-there.nft
there() { (cd "$dir/user" && "$@"); }
lists_there() { "$merlon" list | grep 'udp dport 4100'; }
from_input() { there sh -c "cat here.nft | '$merlon' apply -" && lists_there; }
ok "apply: an error in what the caller's directory has" fails 1 '^\./inc/syntax\.nft:4' there "$merlon" apply syntax-there.nft
gone() { mkdir "$dir/gone" && cd "$dir/gone" && rmdir "$dir/gone" && "$merlon" apply "$dir/good.nft"; }
ok "apply: in a directory that is gone" kept_if fails 1 'No such file' gone
ok "nft -f: from a pipe" piped good.nft nft -c -f /dev/stdin
ok "apply: syntax error, generation stays" kept 1 'syntax\.nft:4' syntax.nft
ok "apply: iptables syntax error" kept 1 'syntax\.v4:4' syntax.v4
ok "apply: no such file" kept 1 'No such file' missing.nft
ok "apply: no such file, as check says it" kept 1 '^missing\.nft: error: cannot read: No such file' missing.nft
ok "apply --json: no such file" sh -c "'$merlon' apply --json missing.nft 2>/dev/null | jq -e '.messages[0].file == \"missing.nft\" and .refused == []'"
ok "apply --json: what failed, and nothing of the policy in force but its generation" sh -c "'$merlon' apply --json syntax.nft 2>/dev/null | jq -e '.generation == 1 and (has(\"memory_bytes\") or has(\"interfaces\") | not) and .messages[0].line == 4'"
ok "apply --json: what is refused" sh -c "'$merlon' apply --json refused.v4 | jq -e '.refused[0].line == 4 and (has(\"memory_bytes\") | not)'"
ok "apply --json: NAT" tells 3 'rewrites addresses' apply --json nat.nft
ok "why --json: no such interface" tells 1 'no interface nosuch.*--file' why --json tcp 10.0.0.1:1 10.0.0.2:2 iif nosuch
ok "apply: a directory" kept 1 'directory' directory
ok "apply: one bad file of two" kept 1 'syntax\.v4:4' good.nft syntax.v4
ok "apply: a file that takes away another's rules" kept 1 'flush\.nft:1: error: flush ruleset takes away' good.nft flush.nft
ok "apply: refused rule" kept 3 'refused\.v4:4: refused' refused.v4
ok "apply: it says that nothing changed" kept 3 'generation 1 stays in force' refused.v4
ok "apply --allow-partial: not where more could pass" kept 3 'more traffic could pass' --allow-partial refused.v4
once() { [ "$("$merlon" apply --allow-partial refused.v4 2>&1 | grep -c recent)" = 2 ]; }
ok "apply --allow-partial: each refusal once, with its reason" once
ok "apply: NAT in the ruleset" kept 3 'rewrites addresses' nat.nft
ok "apply: nothing to enforce" kept 1 '/empty.nft: error: nothing to enforce' empty.nft
ok "apply: a refused rule whose line is not known has its file" kept 3 '/unplaced.nft: refused: meta skuid' unplaced.nft
ok "check: names the limit that NAT is" sh -c "'$merlon' check --json nat.nft | jq -e '[.limits[].limit] | index(\"nat\")'"
ok "the kept ruleset is nobody's business" [ -z "$(find "$dir/state" -type f -perm /077)" ]
ok "the policy still drops" sh -c "'$merlon' stats --json | jq -e '.generation == 1'"
ok "a second daemon on the same socket" fails 1 'another merlond' in_host timeout 10 "$merlond" --foreground --socket "$MERLON_SOCKET" --pin-dir "$dir/bpf/two" --state-dir "$dir/two"
ok "the first one goes on" status_is .generation 1
ok "not root: cannot connect" fails 1 'root' as_nobody "$merlon" status
chmod 666 "$MERLON_SOCKET"
ok "not root: reading where the socket lets one" as_nobody "$merlon" status
ok "not root: changing is denied" fails 1 'only root' as_nobody "$merlon" apply good.nft
ok "not root: stopping is denied" fails 1 'only root' as_nobody "$merlon" stop
garbage() {
	head -c 4096 /dev/urandom | timeout 2 nc -U -N "$MERLON_SOCKET" >/dev/null 2>&1
	printf '\0AUTH ANONYMOUS\r\nBEGIN\r\nl\1' | timeout 2 nc -U -N "$MERLON_SOCKET" >/dev/null 2>&1
	status_is .generation 1
}
ok "garbage on the socket" garbage
ok "apply --allow-partial where less passes" sh -c "'$merlon' apply --allow-partial partial.v4 | grep -q 'partial.v4:3: left out'"
ok "generation 2" status_is .generation 2
for o in -f "-c -f"; do
	# shellcheck disable=SC2086
	ok "nft $o: a refused rule's comment" fails 3 'out\.nft:5: error: a rule that .merlon import. refused .*recent.*' "$merlon" nft $o out.nft
done
ok "... with the way out, and without a report of nothing" sh -c "'$merlon' nft -f out.nft 2>&1 | grep -q 'delete the line' && ! '$merlon' nft -f out.nft 2>&1 | grep '0 rules'"
ok "... in an included file" fails 3 '\./out\.nft:5: error' "$merlon" nft -f pattern.nft
ok "... in one that the command line includes" fails 3 'out\.nft:5: error' "$merlon" nft "include \"$dir/out.nft\""
ok "... relative, and behind another command" fails 3 'out\.nft:5: error' "$merlon" nft 'list tables; include "./out.nft"'
mkdir -p more && cp out.nft more/from-more.nft && printf 'include "from-more.nft"\n' >more.nft
ok "... in a directory of -I" fails 3 'from-more\.nft:5: error' "$merlon" nft -I more -f more.nft
ok "... which the command line includes" fails 3 'from-more\.nft:5: error' "$merlon" nft -I more 'include "from-more.nft"'
ok "... nothing is changed" status_is .generation 2
ok "apply: a refused rule's comment" fails 3 'out\.nft:5: refused' "$merlon" apply out.nft
ok "... stays refused with --allow-partial" fails 3 'more traffic could pass' "$merlon" apply --allow-partial out.nft
ok "... one that accepts is left out" sh -c "'$merlon' apply --allow-partial partial.nft | grep -q 'partial.nft:4: left out'"
left_out() { status_is '.left_out | map("\(.file | sub(".*/"; "")):\(.line):\(.comment):\(.reason)") | join(" ")' 'partial.nft:4:true:match `recent`: not supported yet'; }
ok "... which status names" left_out
ok "... after an edit, too" sh -c "'$merlon' nft add rule ip filter INPUT ip saddr 10.0.0.9 counter accept" 
ok "... and still names" left_out
stop_daemon TERM
start_daemon
ok "... after a restart, too" left_out
ok "... where list shows it" sh -c "'$merlon' list | grep -q '# left out.*recent'"

for f in here amid; do
	ok "apply: $f.nft, a file included from the caller's directory" there "$merlon" apply $f.nft
	ok "... is in force" lists_there
	stop_daemon TERM
	mv user/inc elsewhere
	start_daemon
	ok "... after a restart without it, too" lists_there
	mv elsewhere user/inc
	"$merlon" apply good.nft >/dev/null
done
ok "apply: what standard input includes" from_input
stop_daemon TERM

# Pins that are not ours to take.
ok "a second namespace on the same pins" fails 1 'another network namespace' in_client timeout 10 "$merlond" --foreground --socket "$dir/other" --pin-dir "$dir/bpf/merlon" --state-dir "$dir/other-state"
pin=$dir/bpf/merlon/maps/control
other_version() {
	local value
	value=$(bpftool -j map dump pinned "$pin" | jq -r '.[0].value // .[0].formatted.value | if type == "array" then .[] else empty end' | sed 's/^0x//' | tr '\n' ' ')
	# shellcheck disable=SC2086
	set -- $value
	shift
	bpftool map update pinned "$pin" key hex 00 00 00 00 value hex 63 "$@"
}
ok "pins of another version: made" other_version
rm "$dir/bpf/merlon/maps/layout"
ok "pins of another version that say nothing of their layout: refused with the cure" daemon_fails 1 'layout 99.*' "$merlond" --pin-dir "$dir/bpf/merlon"
rm "$dir/bpf/merlon/policy/ledger"
ok "half of the pins" daemon_fails 1 'error' "$merlond" --pin-dir "$dir/bpf/merlon"
rm -rf "$dir/bpf/merlon"
finish
