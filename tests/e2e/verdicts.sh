#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Real connections through two copies of a network, one filtered by nf_tables, one by merlon: the same verdicts, for each
# ruleset here and the examples.
set -u
top=${MERLON_TOP_SRCDIR:?} build=${MERLON_TOP_BUILDDIR:?}
n=0 status=0
check() { # name, ruleset...
	local name=$1 out
	shift
	n=$((n + 1))
	if out=$(python3 -B "$top/tools/lib/demo.py" --build "$build" --probes 400 "$@" 2>&1); then
		echo "ok $n - $name: $(tail -n 1 <<<"$out")"
	else
		status=1
		sed 's/^/# /' <<<"$out"
		echo "not ok $n - $name"
	fi
}
rulesets=("$top"/tests/e2e/rulesets/*)
echo "1..$((${#rulesets[@]} + 1))"
check "web-db example, both families" "$top/docs/examples/web-db.v4" "$top/docs/examples/web-db.v6"
for ruleset in "${rulesets[@]}"; do
	check "${ruleset##*/}" "$ruleset"
done
exit $status
