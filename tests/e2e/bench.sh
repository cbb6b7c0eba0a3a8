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
# series WHAT OUTPUT NAME...: each has points of merlon.
series() {
	local what=$1 output=$2 name
	shift 2
	for name; do
		n=$((n + 1))
		if jq -es --arg name "$name" 'any(.series == $name and .system == "merlon" and .y >= .low and .y <= .high)' <<<"$output" >/dev/null; then
			echo "ok $n - $what: series $name"
		else
			status=1
			echo "not ok $n - $what: series $name"
		fi
	done
}
bench() { python3 -B "$top/tests/bench/$1" --build "$build" --rounds 1 --json 2>/dev/null; }
figures hotpath "$("$build/tests/bench/hotpath" --rounds 1 --json)" hot_path_v4_warm_ns hot_path_v6_warm_ns \
	hot_path_v4_100k_shuffled_ns hot_path_shuffled_floor_ns session_create_ns
figures path "$(bench path.py)" \
	new_flow_10k_rules_ns new_flow_10k_rules_nft_ns new_flow_10k_rules_iptables_legacy_ns \
	established_forward_ns established_forward_nft_ns established_forward_iptables_legacy_ns nf_conntrack_path_ns
figures monitor "$(bench monitor.py)" \
	monitor_events_per_s monitor_events_lost
pps=$(bench pps.py)
figures pps "$pps" input_pps_ratio_{1,10k}{,_floor,_nft,_iptables} forward_pps_ratio_{1,10k}{,_floor,_nft,_iptables} \
	input_receive_ratio_{1,10k} aa_ratio
series pps "$pps" pps_input pps_forward ns_established ns_new
figures stream "$(bench stream.py)" tcp_stream{,_nogso}_{ratio,cpu_ratio,gbps_per_core}
figures denied "$(bench denied.py)" event_flood_ratio event_flood_lost_pct denied{,_silent,_floor,_nft,_iptables}_ns
figures service "$(bench service.py)" cold_start_{beyond_load,load,cpu}_ms daemon_cpu_{idle,10k_flows,10k_denied}_pct status_during_apply_ms
memory=$(bench memory.py)
figures memory "$memory" memory_bytes_per_session sessions_kept_pct
series memory "$memory" memory_over_sessions memory_over_sessions_meminfo
figures mix "$(bench mix.py)" hit_rate_pct hit_rate_forward_pct
echo "1..$n"
exit $status
