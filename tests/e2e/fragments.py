#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""How fragments are counted, beside the kernel's nf_tables: datagrams in three fragments, in order, to each hook of a host
whose ruleset asks for ct state in both families, in one of them, in a chain that nothing leads to, or in none.
What differs is what merlon(8), LIMITS, says: bytes of later fragments, where nf_tables sees the whole datagram."""
import json
import os
import re
import sys
import tempfile
import time

TOP = os.environ.get('MERLON_TOP_SRCDIR') or os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get('MERLON_TOP_BUILDDIR') or f'{TOP}/build'
sys.path.insert(0, f'{TOP}/tools/lib')
import demo  # noqa: E402

PORT = 5000
SENT = 2            # datagrams to each hook and family
FRAGMENTS = 3
FIRST = 1500        # bytes of a first fragment; of IPv6 it is less
SENDER = '''
import socket, sys
s = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IP, 10, 0)
for _ in range(int(sys.argv[3])):
    s.sendto(b"x" * 4000, (sys.argv[1], int(sys.argv[2])))
'''
CHAIN = '''
	chain {hook} {{
		type filter hook {hook} priority 0; policy accept;
		meta nfproto ipv4 udp dport {port} counter comment "4 port"
		meta nfproto ipv4 meta l4proto udp counter comment "4 udp"
		meta nfproto ipv6 udp dport {port} counter comment "6 port"
		meta nfproto ipv6 meta l4proto udp counter comment "6 udp"
	}}
'''
ASKS = 'table {family} asks {{\n\tchain asks {{\n\t\t{type}\n\t\tct state invalid drop\n\t}}\n}}\n'
IN = 'type filter hook input priority 10;'
# name: (what asks for ct state, the families of it)
CASES = {'nothing asks': ('', ()), 'both families ask': (ASKS.format(family='inet', type=IN), (4, 6)),
         'IPv4 asks': (ASKS.format(family='ip', type=IN), (4,)), 'IPv6 asks': (ASKS.format(family='ip6', type=IN), (6,)),
         'a chain asks that nothing leads to': (ASKS.format(family='inet', type=''), (4, 6))}


class Plan:
    """As much of a plan as demo.World asks for."""
    near, far, owner = 'eth0', 'eth1', {}

    @staticmethod
    def ports(_host, _l4proto):
        return []


def send(world):
    ways = [('client', demo.BASE['near']), ('client', demo.BASE['server']), ('host', demo.BASE['server'])]
    for host, to in ways:
        for address in to.values():
            world.inside(host, sys.executable, '-c', SENDER, address, str(PORT), str(SENT))


def of_kernel(world):
    """(hook, comment) -> (packets, bytes)"""
    found = {}
    for o in json.loads(world.inside('host', 'nft', '-j', 'list', 'ruleset').stdout)['nftables']:
        rule = o.get('rule', {})
        for e in rule.get('expr', []):
            if 'counter' in e:
                found[rule['chain'], rule['comment']] = (e['counter']['packets'], e['counter']['bytes'])
    return found


def of_merlon(merlon):
    found = {}
    for table in json.loads(merlon.cli('list', '--json').stdout)['tables']:
        for chain in table['chains']:
            for rule in chain['rules']:
                comment = re.search(r'comment "(. \w+)"', rule['rule'])
                if comment:
                    found[chain['chain'], comment[1]] = (rule['packets'], rule['bytes'])
    return found


def whole(hook, family, asked):
    """Whether nf_tables sees datagrams there, not fragments."""
    return hook == 'output' or family in asked or (hook == 'input' and family == 4)


def wrong(kernel, merlon, asked):
    for (hook, comment), counted in kernel.items():
        ours = merlon[hook, comment]
        packets = SENT if whole(hook, int(comment[0]), asked) or comment.endswith('port') else SENT * FRAGMENTS
        if counted[0] != packets or ours[0] != packets:
            yield f'{hook} {comment}: {packets} packets expected, nf_tables {counted}, merlon {ours}'
        if whole(hook, int(comment[0]), asked):
            if not 0 < ours[1] <= SENT * FIRST < counted[1]:
                yield f'{hook} {comment}: bytes of first fragments expected, nf_tables {counted}, merlon {ours}'
        elif counted != ours:
            yield f'{hook} {comment}: nf_tables {counted}, merlon {ours}'


def case(asks, asked):
    worlds, merlon = [], None
    with tempfile.TemporaryDirectory(prefix='merlon-fragments.') as work:
        file = f'{work}/ruleset.nft'
        with open(file, 'w', encoding='utf-8') as f:
            f.write('table inet t {' + ''.join(CHAIN.format(hook=h, port=PORT) for h in ('input', 'forward', 'output')) + '}\n' + asks)
        try:
            for kind in demo.KINDS:
                worlds.append(demo.World(kind, Plan, f'fragments-{os.getpid()}'))
                worlds[-1].make()
            demo.load_kernel(worlds[0], [file], {file: None})
            merlon = demo.Merlon(BUILD, worlds[1], work)
            merlon.start()
            merlon.cli('apply', file)
            for world in worlds:
                send(world)
            time.sleep(0.1)
            yield from wrong(of_kernel(worlds[0]), of_merlon(merlon), asked)
            invalid = json.loads(merlon.cli('stats', '--json').stdout)['invalid']
            if invalid:
                yield f'{invalid} packets with ct state invalid'
        finally:
            if merlon:
                merlon.stop()
            for world in worlds:
                world.remove()


def main():
    failed = 0
    for n, (name, (asks, asked)) in enumerate(CASES.items(), 1):
        try:
            found = list(case(asks, asked))
        except demo.Failure as e:
            found = [str(e)]
        failed += bool(found)
        for line in found:
            print(f'# {line}')
        print(f'{"not ok" if found else "ok"} {n} - {name}', flush=True)
    print(f'1..{len(CASES)}')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
