#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The D-Bus interface is what merlon-bus(5) says, and busctl, which knows nothing of merlon, can use it.
set -u
# shellcheck source=tests/lib/service.sh
. "${MERLON_TOP_SRCDIR:?}/tests/lib/service.sh"
page=$top/man/merlon-bus.5
command -v busctl >/dev/null || { echo "1..0 # SKIP busctl is not installed"; exit 0; }

cd "$dir" || exit 99
make_network
start_daemon || { echo "Bail out! merlond does not start: $(cat log)"; exit 1; }
object=/org/merlon/Control1 interface=org.merlon.Control1
bus() { busctl --address="unix:path=$MERLON_SOCKET" "$1" org.merlon $object $interface "${@:2}"; }
# What there is, a line each: name, signature, signature of the result. Properties and signals have their kind in front.
introspected() {
	busctl --address="unix:path=$MERLON_SOCKET" introspect org.merlon $object $interface | awk '
		/^\./ { sub(/^\./, ""); print ($2 == "method" ? "" : $2 " ") $1, $3, $4 }' | sort
}
# The same of the entries: of each argument the first word is the type.
described() { # page
	sed -nE 's/^\.It Li "([A-Z][A-Za-z]*)\((.*)\) -> \((.*)\)"$/\1;\2;\3/p' "$1" | awk -F';' '
		function types(list, part, n, i, all) {
			n = split(list, part, ", ")
			for (i = 1; i <= n; i++) { sub(/ .*/, "", part[i]); all = all part[i] }
			return all == "" ? "-" : all
		}
		{ print $1, types($2), types($3) }' | sort
}
says_all() { # page
	[ "$(introspected | wc -l)" -gt 10 ] && diff <(introspected) <(described "$1")
}
ok "the page has every method, with its signature, and no other" says_all "$page"
grep -v '^\.It Li "Why' "$page" >missing
ok "... one that is missing is found" not says_all missing
sed 's/^\.It Li "List() -> (h/.It Li "List() -> (s/' "$page" >wrong
ok "... and a wrong signature" not says_all wrong
errors() { comm -3 <(grep -ohE '"org\.merlon\.Error\.[A-Za-z]+"' "$top/src/service/bus.h" | tr -d '"' | sort -u) <(sed -nE 's/^\.It Li (org\.merlon\.Error\..*)/\1/p' "$page" | sort -u); }
ok "... every error" test -z "$(errors)"

cat >ruleset.nft <<'END'
table inet t {
	chain in {
		type filter hook input priority filter; policy accept;
		udp dport 4000 drop
	}
}
END
answers() { # PATTERN METHOD ARGUMENT...
	local out
	out=$(bus call "${@:2}" 2>&1)
	grep -qE -- "$1" <<<"$out" || { echo "\"$1\" is not in: $out"; return 1; }
}
ok "busctl: Status" answers '^s "\{\\"pid\\"' Status
ok "... Apply, in audit mode" answers '^is 0 ' Apply s "{\"files\": [{\"file\": \"$dir/ruleset.nft\", \"name\": \"mine.nft\"}], \"audit\": true}"
ok "... which is so" status_is .mode audit
ok "... by its name" status_is '.sources[0]' mine.nft
ok "... Why" answers '^s .*udp dport 4000 drop' Why s '["udp", "10.77.0.2:1", "10.77.0.1:4000", "iif", "up0"]'
ok "... Nft, and a file" answers '^ish 0 .* [0-9]+$' Nft s '{"text": "list ruleset"}'
ok "... List, Sessions and Monitor, files" sh -c "for m in List Sessions Monitor; do busctl --address=unix:path=$MERLON_SOCKET call org.merlon $object $interface \$m || exit 1; done"
ok "... Reload" answers '^is 0 .*messages' Reload
ok "... a request that is none" answers 'no JSON object' Apply s nonsense
ok "... one without files: an answer" answers '^is 1 .*1 to 64 files' Apply s '{}'
ok "... an unknown method" answers 'Unknown method' Nosuch
chmod 711 . && chmod 666 socket
as_nobody() { setpriv --reuid=65534 --regid=65534 --clear-groups busctl --address="unix:path=$MERLON_SOCKET" call org.merlon $object $interface "$@"; }
ok "others than root may ask" as_nobody Status
ok "... and not see what is in packets" fails 1 'only root may see' as_nobody Capture
for method in Flush Reload Stop "Apply s {}"; do
	# shellcheck disable=SC2086
	ok "... and not change: ${method%% *}" fails 1 'only root may change' as_nobody $method
done
nft_as_nobody() { # PATTERN COMMAND
	local out
	out=$(as_nobody Nft s "{\"text\": \"$2\"}" 2>&1)
	grep -qE -- "$1" <<<"$out" || { echo "$out"; return 1; }
}
ok "... nor by Nft" nft_as_nobody '^ish 1 .*only root' 'flush ruleset'
ok "... which lists" nft_as_nobody '^ish 0 ' 'list ruleset'
# One that takes too long, some that wait behind it, and then root.
stopped() { # one whose nft, which is soon done, was caught; $asker
	local i child
	for i in $(seq 100); do
		as_nobody Nft s '{"text": "list ruleset"}' >slow.out 2>&1 &
		asker=$!
		stop_child_of $asker && return
		wait $asker
	done
	echo "none was caught"
	return 1
}
late() {
	local i pids=() out
	stopped || return 1
	for i in 1 2 3; do
		as_nobody Nft s '{"text": "list ruleset"}' >"waits.$i" 2>&1 &
		pids+=($!)
	done
	sleep 1
	out=$(bus call Apply s "{\"files\": [{\"file\": \"$dir/ruleset.nft\", \"name\": \"mine.nft\"}], \"audit\": true}")
	[[ $out == "is 0 "* ]] || { echo "$out"; return 1; }
	wait "$asker" "${pids[@]}"
	[ "$(grep -l 'generation\\":2' waits.1 waits.2 waits.3 | wc -l)" = 3 ] || { cat waits.*; return 1; }
}
ok "... they wait until root has had its turn" late
ok "... and have less time" grep -q 'did not end within 10 s' slow.out
ok "... and the policy is root's" status_is .generation 2
ok "busctl: Flush" answers '^is 0 ' Flush
ok "... Stop" answers '^is 0 ' Stop
wait "$daemon"
finish
