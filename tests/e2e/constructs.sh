#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# merlon-ruleset(5) says of each construct what `merlon check` says of it here, and has all that merlon, nft and iptables have names for.
set -u
build=${MERLON_TOP_BUILDDIR:?}
top=${MERLON_TOP_SRCDIR:?}
# shellcheck source=tests/lib/points.sh
. "$top/tests/lib/points.sh"
page=$top/man/merlon-ruleset.5

current() { "$top/tools/lib/constructs.py" --check "$build/src/merlon" "$top/man/constructs" "$1"; }
outdated() { # PATTERN SED: a page that says something else is found, where it does
	sed "$2" "$page" >"$work/page"
	! current "$work/page" >"$work/differs" 2>&1 && grep -q "$1" "$work/differs" && [ "$(wc -l <"$work/differs")" = 1 ]
}
# Names of fields in the code, but for those of families that are not enforced, or of parts that nft has no word for alone.
fields() {
	grep -oE '"(meta|ct|ip|ip6|tcp|udp|icmp|th) [a-z0-9-]+"' "$top/compat/fields.c" | tr -d '"' | grep -vE 'meta (ibrname|obrname)$' | sort -u
}
untried_fields() {
	local family name
	fields | while read -r family name; do
		grep -qE "^([^#]* )?$family( [^#]*)? $name( |\$|;)" "$top/man/constructs/nft" || echo "$family $name"
	done
}
extensions() {
	find /usr/lib*/*/xtables /usr/lib*/xtables -name 'lib*.so' 2>/dev/null | sed -nE 's,.*/lib(xt|ipt|ip6t)_(.*)\.so,\2,p' | grep -vxE 'standard|NAT' | sort -u
}
unnamed_extensions() {
	local name
	extensions | while read -r name; do grep -qE "(^|[^A-Za-z])$name([^A-Za-z]|\$)" "$page" || echo "$name"; done
}

check "each entry is what merlon check says" current "$page"
check "one that is wrong is found" outdated 'ct mark 1' '/^\.It Li "ct mark 1"/{n;s/refused/enforced/}'
check "one that is missing is found" outdated 'None, not .*"ip id 5"' '/^\.It Li "ip id 5"/{N;d}'
check "one of nothing is found" outdated 'no list has .*"ip it 5"' '/^\.It Li "ip id 5"/{h;s/id/it/;p;x}'
none() { # COMMAND: prints nothing
	local out
	out=$("$1")
	[ -z "$out" ] || { echo "$out"; return 1; }
}
check "every field that the code has a name for is tried" none untried_fields
check "every extension of iptables is named" none unnamed_extensions
finish
