#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# What tools/bench runs about rules, and its report, with hardly any rules and packets: every figure is there, is a
# number between its extremes, and is in the report. How large it is, no test says.
set -u
top=${MERLON_TOP_SRCDIR:?} build=${MERLON_TOP_BUILDDIR:?}
# shellcheck source=tests/lib/points.sh
. "$top/tests/lib/points.sh"
rulesets=()
for family in few many mixed; do
	rulesets+=("${family}_100_v4" "${family}_100_v6" "${family}_1k_v4" "${family}_1k_v6")
done

run_all() {
	python3 -B "$top/tests/bench/run.py" --build "$build" --tiny --json --output "$work/report" >"$work/figures"
}
check "all of it runs" run_all

is_told() { # figure
	jq -es --arg figure "$1" 'map(select(.figure == $figure)) | length == 1 and all(
		.low <= .value and .value <= .high and (.unit | type) == "string")' "$work/figures" >/dev/null
}
all_told() { # figure...
	local figure
	for figure; do is_told "$figure" || { echo "# $figure"; return 1; }; done
}
for ruleset in "${rulesets[@]}"; do
	check "classify: $ruleset" all_told "classify_${ruleset}"_{shuffled,warm,p99}_ns
done
check "rules in sets" all_told pipapo_100_ratio pipapo_100_whole_ratio hash_100_ratio hash_100_whole_ratio
check "rules in chains" all_told nft_linear_100_ratio iptables_legacy_100_ratio iptables_nft_100_ratio iptables_100_ratio
check "a new flow" all_told new_flow_100_rules_ns rules_noise_ns
check "apply" all_told apply_500_ratio_nft apply_500_ratio_iptables element_add_500_ms
check "memory" all_told image_bytes_per_rule_500{,_few,_many,_mixed}
check "programs" all_told program_load_ms verified_insns_max verified_insns_all
check "denied packets" all_told blocklist_500_drop_ns

has() { # jq expression
	jq -e "$1" "$work/report/results.json" >/dev/null
}
check "the report has all figures" [ "$(jq '.figures | length' "$work/report/results.json")" = "$(wc -l <"$work/figures")" ]
check "... the machine" has '(.machine.cpu | length) > 0 and .machine.cores > 0'
check "... the programs by their tags" has '(.programs | map(.tag) | unique | length) >= 4'
check "... the points of its plots" has '[.series[].series] | unique == ["latency", "rules"]'
check "... a page that shows them" grep -q 'classify_mixed_100_v6_shuffled_ns' "$work/report/README.md"
if command -v gnuplot >/dev/null; then
	for plot in rules latency; do
		check "... a picture: $plot" grep -q '</svg>' "$work/report/$plot.svg"
	done
fi

# a pinned program that is none of this build's is not measured as if it were
reject_others() {
	mkdir "$work/bpf" && mount -t bpf bpf "$work/bpf" || return 1
	! "$build/tests/bench/programs" "$work/bpf" >"$work/others" 2>&1 && grep -q 'is not that of this build' "$work/others"
	local status=$?
	umount "$work/bpf"
	return $status
}
check "programs that are not this build's are refused" reject_others

# what ClassBench writes
printf '%s\n' '@192.0.2.0/24	198.51.100.7/32	0 : 65535	1521 : 1521	0x06/0xFF	0x0000/0x0200	' \
	'@0.0.0.0/0	203.0.113.0/26	1024 : 65535	0 : 65535	0x11/0xFF	0x0000/0x0000	' \
	'@0.0.0.0/0	0.0.0.0/0	0 : 65535	0 : 65535	0x00/0x00	0x0000/0x0000	' >"$work/acl"
check "filter sets of ClassBench are read" test "$("$build/tests/bench/classify" --print --classbench "$work/acl" |
	grep -cE 'ip saddr 192.0.2.0/24 ip daddr 198.51.100.7 .*1521.*tcp|ip daddr 203.0.113.0/26 .*1024-65535.*udp|^[[:space:]]*accept$')" = 3
printf 'no rule\n' >"$work/none"
refused() { ! "$build/tests/bench/classify" --classbench "$work/none" 2>/dev/null; }
check "what has no rules is refused" refused
finish
