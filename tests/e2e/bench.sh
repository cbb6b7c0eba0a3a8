#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The benchmarks in their shortest form: every figure is there and is a number. How large it is, no test says.
set -u
top=${MERLON_TOP_SRCDIR:?} build=${MERLON_TOP_BUILDDIR:?}
n=0 status=0
figures() { # what, output, figure...
	local what=$1 output=$2 figure
	shift 2
	for figure; do
		n=$((n + 1))
		if jq -es --arg figure "$figure" 'any(.figure == $figure and (.value | type) == "number")' <<<"$output" >/dev/null; then
			echo "ok $n - $what: $figure"
		else
			status=1
			echo "not ok $n - $what: $figure"
		fi
	done
}
figures hotpath "$("$build/tests/bench/hotpath" --rounds 1 --json)" hot_path_v4_warm_ns hot_path_v6_warm_ns \
	hot_path_v4_100k_random_ns hot_path_random_floor_ns session_create_ns
figures path "$(python3 -B "$top/tests/bench/path.py" --build "$build" --rounds 1 --json 2>/dev/null)" \
	new_flow_10k_rules_ns new_flow_10k_rules_nft_ns new_flow_10k_rules_iptables_legacy_ns \
	established_forward_ns established_forward_nft_ns established_forward_iptables_legacy_ns nf_conntrack_path_ns
figures monitor "$(python3 -B "$top/tests/bench/monitor.py" --build "$build" --rounds 1 --json 2>/dev/null)" \
	monitor_events_per_s monitor_events_lost
echo "1..$n"
exit $status
