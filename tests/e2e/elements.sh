#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Elements that come and go in sets are followed without reading the policy back: what is enforced and listed then is what a reading
# gives, also after a restart, and what nf_tables finds in its sets.
set -u
# shellcheck source=tests/lib/service.sh
. "${MERLON_TOP_SRCDIR:?}/tests/lib/service.sh"

cd "$dir" || exit 99
make_network
space=/run/netns/ms-$$-p
cat >policy.nft <<'END'
table inet t {
	set a { type ipv4_addr; flags interval; elements = { 10.0.0.0/24, 10.0.2.0-10.0.2.7 }; }
	set b { type ipv4_addr; elements = { 10.1.0.1, 10.1.0.2 }; }
	set c { type ipv6_addr; flags interval; elements = { fd00::/64, fd00:1::1 }; }
	set m { type ipv4_addr; flags interval; auto-merge; elements = { 10.2.0.0/24, 10.2.9.0/24 }; }
	set f { type ipv4_addr; size 2; elements = { 10.5.0.1, 10.5.0.2 }; }
	set g { type ipv4_addr; flags interval; size 3; elements = { 10.6.0.1, 10.6.2.0/24, 10.6.4.1 }; }
	chain in {
		type filter hook input priority filter; policy accept;
		tcp dport 9 ip saddr != @b counter accept
		ip saddr @a counter drop
		ip saddr @b drop
		ip6 saddr @c drop
		ip saddr @m drop
		ip saddr @f drop
		ip saddr @g drop
	}
}
END
start() { start_daemon --policy-netns "$space" || { echo "Bail out! merlond does not start: $(cat log)"; exit 1; }; }
start
ok "apply" "$merlon" apply policy.nft
cat >change.py <<'END'
import random, subprocess, sys
merlon, rand, done = sys.argv[1], random.Random(int(sys.argv[2])), 0
def element(name):
    host, net, family = rand.randrange(24), rand.randrange(4), {'a': 0, 'b': 1, 'm': 2, 'c': 3}[name]
    if name == 'c':
        return rand.choice([f'fd00:{net}::{host:x}', f'fd00:{2 + net}:{host:x}::/48'])
    ways = [f'10.{family}.{net}.{host}', f'10.{family}.{net}.{host & ~3}/30', f'10.{family}.{net}.{host}-10.{family}.{net}.{host + rand.randrange(1, 9)}']
    return ways[0] if name == 'b' else rand.choice(ways)
there = {name: [] for name in 'abcm'}
for _ in range(int(sys.argv[3])):
    name, verb = rand.choice('aabcm'), rand.choice(['add', 'create', 'delete'])
    some = [element(name) for _ in range(rand.randrange(1, 3))]
    if verb == 'delete' and there[name]:
        some = [rand.choice(there[name])]
    # what nft refuses changes nothing
    r = subprocess.run([merlon, 'nft', verb, 'element', 'inet', 't', name, '{ ' + ', '.join(some) + ' }'], capture_output=True)
    if not r.returncode:
        done += 1
        there[name] = [e for e in there[name] if e not in some] if verb == 'delete' else there[name] + some
sys.exit(done < int(sys.argv[3]) // 3)
END
# A rule that comes and goes is no change of elements.
read_anew() { "$merlon" nft insert rule inet t in udp dport 7 accept && "$merlon" nft delete rule inet t in handle "$("$merlon" list --json | jq '[.tables[].chains[].rules[] | select(.rule | test("udp dport 7")) | .handle][0]')"; }
lists_as_before() {
	"$merlon" list >before && read_anew && "$merlon" list >after && diff before after
}
# What `merlon why` says of addresses is what nf_tables finds in the sets.
agrees() { # seed
	local address set said found
	while read -r set address; do
		case $set in c) from="[$address]:1" to='[fd77::1]:80' ;; *) from=$address:1 to=10.77.0.1:80 ;; esac
		said=$("$merlon" why --json tcp "$from" "$to" iif up0 | jq -r .verdict)
		found=accept
		nsenter --net="$space" nft get element inet t "$set" "{ $address }" >/dev/null 2>&1 && found=drop
		[ "$said" = "$found" ] || { echo "$address: $said, in nf_tables $found"; return 1; }
	done < <(awk -v seed="$1" 'BEGIN { srand(seed); for (i = 0; i < 12; i++) { n = int(rand() * 4); h = int(rand() * 26); print "a 10.0." n "." h; print "b 10.1." n "." h; print "m 10.2." n "." h; printf "c fd00:%d::%x\n", n, h } }')
}
for seed in 1 2 3; do
	ok "elements come and go ($seed)" python3 change.py "$merlon" "$seed" 30
	ok "... packets meet what nf_tables has" agrees "$seed"
	ok "... the list is what a reading gives" lists_as_before
done

ok "an element is added" "$merlon" nft add element inet t a '{ 10.77.0.2 }'
ok "... and enforced when the command returns" eval '[ "$("$merlon" why --json tcp 10.77.0.2:1 10.77.0.1:80 iif up0 | jq -r .verdict)" = drop ]'
ok "... one that overlaps is refused, as nft says it" fails 1 'overlap' "$merlon" nft add element inet t a '{ 10.77.0.0/30 }'
ok "... so is half of it" fails 1 'Error' "$merlon" nft delete element inet t a '{ 10.77.0.0/31 }'
ok "... the same once more is no change" "$merlon" nft add element inet t a '{ 10.77.0.2 }'
ok "... but not as a new one" fails 1 'exists' "$merlon" nft create element inet t a '{ 10.77.0.2 }'
ok "... others add one in the namespace" nsenter --net="$space" nft add element inet t a '{ 10.78.0.0/16 }'
drops() { [ "$("$merlon" why --json tcp 10.78.1.1:1 10.77.0.1:80 iif up0 | jq -r .verdict)" = drop ]; }
ok "... which is enforced soon" eventually drops
ok "... the list is what a reading gives" lists_as_before
# Refused by nf_tables while the policy with it is compiled: nothing of it stays.
generation=$("$merlon" status --json | jq .generation)
ok "one for which the set has no room is refused" fails 1 'Error' "$merlon" nft add element inet t f '{ 10.5.0.3 }'
ok "... and nothing has changed" [ "$("$merlon" status --json | jq .generation)" = "$generation" ]
ok "... it passes" eval '[ "$("$merlon" why --json tcp 10.5.0.3:1 10.77.0.1:80 iif up0 | jq -r .verdict)" = accept ]'
ok "... the list is what a reading gives" lists_as_before
# In the namespace, and cannot be put in force: it goes from there, too.
mv state state.away && echo >state
ok "where the policy cannot be kept, an element is refused" fails 1 'cannot' "$merlon" nft add element inet t a '{ 10.79.0.1 }'
ok "... and not in the namespace" not nsenter --net="$space" nft get element inet t a '{ 10.79.0.1 }'
ok "... nor enforced" eval '[ "$("$merlon" why --json tcp 10.79.0.1:1 10.77.0.1:80 iif up0 | jq -r .verdict)" = accept ]'
rm state && mv state.away state
ok "... and can be added later" "$merlon" nft add element inet t a '{ 10.79.0.1 }'
ok "... the list is what a reading gives" lists_as_before
generation=$("$merlon" status --json | jq .generation)
"$merlon" list >before
stop_daemon KILL
start
ok "a restarted daemon finds the same image" [ "$("$merlon" status --json | jq .generation)" = "$generation" ]
"$merlon" list >after
ok "... and the same elements" diff before after
ok "... which can be changed" "$merlon" nft delete element inet t a '{ 10.77.0.2 }'
ok "... packets meet what nf_tables has" agrees 4
ok "... the list is what a reading gives" lists_as_before
ok "beside a set that is full others can be tried" "$merlon" nft -c add element inet t b '{ 10.1.7.1 }'
ok "dots in an address where nft takes none" fails 1 'syntax error' "$merlon" nft add element inet t c '{ fd00:5::ffff:1.2.3.4 }'
ok "stop" "$merlon" stop
wait "$daemon"
daemon=''
finish
