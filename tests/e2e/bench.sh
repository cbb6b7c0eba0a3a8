#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The benchmarks in their shortest form: every figure is there and is a number. How large it is, no test says.
set -u
top=${MERLON_TOP_SRCDIR:?} build=${MERLON_TOP_BUILDDIR:?}
n=0 status=0
# points WHAT OUTPUT CONDITION NAME...: some line of the output meets the condition for each name.
points() {
	local what=$1 output=$2 condition=$3 name
	shift 3
	for name; do
		n=$((n + 1))
		if jq -es --arg name "$name" "any($condition)" <<<"$output" >/dev/null; then
			echo "ok $n - $what: $name"
		else
			status=1
			echo "not ok $n - $what: $name"
		fi
	done
}
figures() { points "$1" "$2" '.figure == $name and (.value | type) == "number"' "${@:3}"; } # WHAT OUTPUT NAME...
# The same of series: each has points of merlon.
series() { points "$1" "$2" '.series == $name and .system == "merlon" and .y >= .low and .y <= .high' "${@:3}"; }
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
