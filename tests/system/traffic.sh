# SPDX-License-Identifier: GPL-2.0-or-later
# Traffic that goes on while something happens to what filters it (traffic.py), and what was seen of it. Needs $top.
# shellcheck shell=bash
traffic_pid='' traffic_log=''

# traffic_begins SERVER CLIENT LOG: between two network namespaces, to the server's 10.77.0.1.
traffic_begins() {
	traffic_log=$3
	coproc traffic { exec python3 -B "${top:?}/tests/system/traffic.py" "/run/netns/$1" "/run/netns/$2" 10.77.0.1 2>"$traffic_log"; }
	# shellcheck disable=SC2154
	traffic_pid=$traffic_PID
}
traffic_ends() {
	eval "exec ${traffic[1]}>&-"
	wait "$traffic_pid"
	traffic_pid=''
}
# mark: what the traffic was since the last one, in $said.
mark() {
	echo >&"${traffic[1]}"
	read -r -t 60 said <&"${traffic[0]}" || { echo "no traffic: $(cat "$traffic_log")"; return 1; }
}
# traffic_until ENOUGH [RIGHT]: until it was enough from now on, a condition of jq, as long as it is right, another, from the last
# mark on. Who waits for a connection counts it before the next one: what went wrong before is known when enough has passed.
traffic_until() {
	local all since='{}'
	mark || return 1
	all=$said
	for _ in $(seq 200); do
		sleep 0.1
		mark || return 1
		all=$(traffic_sum "$all") since=$(traffic_sum "$since")
		jq -e "${2:-true}" <<<"$all" >/dev/null || break
		! jq -e "$1" <<<"$since" >/dev/null || return 0
	done
	echo "$all"
	return 1
}
traffic_sum() { jq -c --argjson all "$1" 'with_entries(.value += ($all[.key] // 0))' <<<"$said"; }
# settled: returns when no more can come of what was before. The server answers when it has taken all that had arrived.
settled() { traffic_until '.allowed > 3 and .echoed > 3'; }
passes='.allowed > 4 and .echoed > 4' whole='.allowed_failed + .cut + .opened == 0'
enforced() {
	traffic_until "$passes and .denied_tcp_sent > 4 and .denied_udp_sent > 4" "$whole and .denied_tcp_arrived + .denied_udp_arrived == 0"
}
nothing_filtered() { traffic_until "$passes and .denied_tcp_arrived > 0 and .denied_udp_arrived > 0" "$whole"; }
