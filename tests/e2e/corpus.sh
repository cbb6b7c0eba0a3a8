#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# tools/corpus on a directory of examples: its own count of rules, what it says of each file, and that it notices when
# merlon loses a rule, refuses what others load, or lets packets fare differently.
set -u
top=${MERLON_TOP_SRCDIR:?} build=${MERLON_TOP_BUILDDIR:?}
merlon=$build/src/merlon
# shellcheck source=tests/lib/points.sh
. "$top/tests/lib/points.sh"
corpus() { # expected status, option...
	local expected=$1
	shift
	python3 -B "$top/tools/corpus" --json --work "$work" "$@" >"$work/report"
	[ $? = "$expected" ] && jq -e . "$work/report" >/dev/null
}
report() { jq -e "$@" "$work/report"; }

check "every rule of the examples is accounted for" corpus 0 --quick --merlon "$merlon" "$top/tests/e2e/corpus"
file() { # name, rules, others, exact, kept, refused
	check "$1" report --arg file "$1" ".files[] | select(.file == \$file) | .not_loadable == null and
		[.rules, .other_rules, .exact, .kept, (.refused | length)] == [$2, $3, $4, $5, $6]"
}
file host.v4 6 1 7 1 0
file host.v6 2 0 1 0 1
file service.nft 9 1 9 1 0
file deleted.nft 1 0 1 0 0
file refused.nft 2 0 1 0 1
file imported.nft 4 0 2 0 2
check "what nobody can load is listed with the reason, and no success" \
	report '.files[] | select(.file == "broken.nft") | .exact == 0 and (.not_loadable | contains("syntax error"))'
check "what is no ruleset is named" report '.no_ruleset == ["notes.txt"]'
check "the totals are those of the files" report '.totals.iptables.exact + .totals.nft.exact == ([.files[].exact] | add)'

# What cannot be loaded is not what is no ruleset; what replaces another section is counted once.
mkdir "$work/odd"
rules=$(printf '*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -s 10.0.0.1 -j DROP\nCOMMIT\n*raw\n-A PREROUTING -p udp -j NOTRACK\nCOMMIT\n')
printf '\357\273\277%s\n' "$rules" >"$work/odd/mark.v4"
printf '\357\273\277table ip t {\n}\n' >"$work/odd/mark.nft"
printf '%s\n' "$rules" | iconv -f ASCII -t UTF-16 >"$work/odd/wide.v4"
printf '{"nftables": [{"table": {"family": "ip", "name": "t"}}]}\n' >"$work/odd/list.json"
{ printf '%s\n' "$rules"; sed 's/^-A INPUT.*/&\n-A INPUT -s 10.0.0.2 -j DROP/' <<<"$rules"; } >"$work/odd/twice.v4"
ln -s nowhere "$work/odd/gone.nft"
check "odd files" corpus 0 --quick --merlon "$merlon" "$work/odd"
check "... with a byte order mark, in UTF-16, as JSON can not be loaded" report '[.files[] | select(.not_loadable != null) | .file] |
	sort == ["list.json", "mark.nft", "mark.v4", "wide.v4"]'
check "... JSON by its name" report '.files[] | select(.file == "list.json") | .not_loadable | startswith("JSON of nft")'
check "... a link that leads nowhere is named" report '.not_readable == [{file: "gone.nft", reason: "a symbolic link to nowhere, which is not there"}]'
check "... and nothing is taken for no ruleset" report '.no_ruleset == []'
file twice.v4 2 1 2 1 0
refusing=$(sed "s/-j DROP/-m recent --name x --set -j DROP/" "$work/odd/twice.v4")
printf "%s\n" "$refusing" >"$work/refusing.v4"
lines() { [ "$("$merlon" check --json "$work/refusing.v4" 2>/dev/null | jq -c "[.refused[].line]")" = "[10,11]" ]; }
check "... with the lines of the section that counts" lines

# stand-ins for a merlon with a fault: named by what they do
stand_in() { # name, body
	printf '#!/bin/sh\n%s\n' "$2" >"$work/$1"
	chmod +x "$work/$1"
}
stand_in loses "'$merlon' \"\$@\" | jq '.rules -= 1 | .exact -= 1'"
check "a rule that merlon lost is an error" corpus 1 --quick --merlon "$work/loses" "$top/tests/e2e/corpus"
stand_in double "'$merlon' \"\$@\" | jq '.kept += 1'"
check "a rule that is in two classes is an error" corpus 1 --quick --merlon "$work/double" "$top/tests/e2e/corpus"
stand_in cannot 'echo "error: no" >&2; exit 1'
check "a file that only merlon can't load is an error" corpus 1 --quick --merlon "$work/cannot" "$top/tests/e2e/corpus"
if [ "$(id -u)" = 0 ]; then
	stand_in differs "[ \$1 != verify ] || { echo '{\"differences\": 3, \"packets\": 100}'; exit 4; }; exec '$merlon' \"\$@\""
	check "differences are counted" corpus 4 --merlon "$work/differs" "$top/tests/e2e/corpus"
	check "... in files without refusals, as a figure" \
		report '.figures[0] == {"figure": "corpus_differences", "value": 9, "unit": "packets"}'
	check "the examples are verified" corpus 0 --packets 2000 --merlon "$merlon" "$top/tests/e2e/corpus"
	check "... three of them" report '.totals.iptables.verified + .totals.nft.verified == 3'
fi
finish
