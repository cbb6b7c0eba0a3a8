#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# tools/profile, briefly: it says what is loaded, its samples name the data plane's functions, it looks at a data plane that
# runs without changing it, and leaves nothing behind, also when it is ended.
set -u
# shellcheck source=tests/lib/service.sh
. "${MERLON_TOP_SRCDIR:?}/tests/lib/service.sh"

profile() { python3 -B "$top/tools/lib/profile_plane.py" --build "$build" "$@"; }
namespaces() { ip netns list | grep -c merlon-profile; }
well_formed() { python3 -c 'import sys, xml.etree.ElementTree as x; [x.parse(f) for f in sys.argv[1:]]' "$@"; }

said=$(profile --output "$dir/own" --seconds 1 2>&1)
status=$?
if [ "$status" = 77 ]; then
	echo "1..0 # SKIP ${said##*: }"
	exit 0
fi
written() { [ "$status" = 0 ] || { echo "$said"; return 1; }; }
ok "it runs" written
ok "programs are listed, with what the verifier looked at" \
	awk '$1 == "ingress" { found = $4 > 1000 && $5 > 1000 && $6 > 1000 } END { exit !found }' "$dir/own/programs.txt"
ok "maps are listed, the largest first" awk 'NR == 2 { exit $1 != "sessions" }' "$dir/own/maps.txt"
ok "BPF instructions are written out" grep -q merlon_place_of "$dir/own/ingress.xlated"
ok "the kernel says how long programs run" grep -qE '^  ingress_entry: .* packets, [0-9.]+ ns each' "$dir/own/summary.txt"
ok "established packets are sampled on the short way" grep -qE '%  ingress \[merlon\]$' "$dir/own/established.txt"
ok "new flows are sampled on the long way" grep -qE '%  merlon_ask \[merlon\]$' "$dir/own/new-flows.txt"
ok "established packets are not" not grep -q '%  merlon_ask ' "$dir/own/established.txt"
ok "flame graphs are well-formed" well_formed "$dir"/own/{established,new-flows}{,-whole}.svg
ok "a flame graph has boxes of the data plane" grep -q '<title>ingress: ' "$dir/own/established.svg"
ok "no namespace is left" [ "$(namespaces)" = 0 ]

(exec python3 -B "$top/tools/lib/profile_plane.py" --build "$build" --output "$dir/ended" --seconds 60) >"$dir/ended.log" 2>&1 &
ended=$!
for _ in $(seq 400); do
	! grep -q established: "$dir/ended.log" || break
	sleep 0.05
done
sleep 0.5
kill "$ended"
wait "$ended"
status=$?
was_ended() { [ "$status" = 1 ] && grep -q SIGTERM "$dir/ended.log"; }
ok "it can be ended" was_ended
ok "and leaves no namespace" [ "$(namespaces)" = 0 ]

# shellcheck disable=SC2010
pins() { ls -lR "$dir/bpf" | grep -v '^total'; }
make_network
printf 'table inet t {\n\tchain c {\n\t\ttype filter hook input priority 0; policy drop;\n\t\taccept\n\t}\n}\n' >"$dir/r.nft"
ok "nothing is in force: it says so" fails 1 'nothing is in force' profile --live --pin-dir "$dir/bpf/merlon" --output "$dir/live"
ok "the daemon starts" start_daemon
ok "a policy is applied" "$merlon" apply "$dir/r.nft"
before=$(pins)
in_client ping -q -i 0.01 -w 6 10.77.0.1 >/dev/null 2>&1 &
ok "live: it runs" profile --live --stats --pin-dir "$dir/bpf/merlon" --output "$dir/live" --seconds 1
ok "live: the programs in force are listed" grep -q '^egress_entry ' "$dir/live/programs.txt"
ok "live: their packets are timed" grep -qE '^  ingress_entry: [1-9]' "$dir/live/summary.txt"
ok "live: the flame graph of all is well-formed" well_formed "$dir/live/live-whole.svg"
ok "live: pins are as they were" [ "$(pins)" = "$before" ]
finish
