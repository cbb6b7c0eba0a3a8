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
check "what nobody can load is listed with the reason, and no success" \
	report '.files[] | select(.file == "broken.nft") | .exact == 0 and (.not_loadable | contains("syntax error"))'
check "what is no ruleset is named" report '.no_ruleset == ["notes.txt"]'
check "the totals are those of the files" report '.totals.iptables.exact + .totals.nft.exact == ([.files[].exact] | add)'

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
