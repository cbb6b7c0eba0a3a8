#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What rules cost a packet, in merlon, in nft's linear chains and its sets, in iptables: frames that the rules let in go to a
namespace, in turns, round by round, each pass over distinct packets in random order.

The cost of rules is above the same system without any: nft and iptables with an empty chain at the hook, merlon with a policy
that has no chain there, so that neither tracking connections, which merlon always does and the others here do not, nor the
hook itself counts. `whole` compares what a packet pays above no firewall at all. As many other packets come before those that
are measured: the first touch of each page of a new table is dear in a virtual machine whose page tables are shadowed (2,300 ns
a new flow), and is no part of what a firewall costs that runs.

  pipapo_100k_ratio        100,000 concatenated intervals in a set of nft's (pipapo), as a multiple of merlon's cost
  hash_100k_ratio          the same of exact values (a hash table in nft)
  nft_linear_10k_ratio     10,000 rules one after the other
  iptables_10k_ratio       the same, in the faster of iptables-legacy and iptables-nft
  new_flow_100k_rules_ns   a new flow's packet above no firewall, 100,000 rules: classified, entered, let in
  rules_noise_ns           no firewall above no firewall
"""
import os
import random
import tempfile

import hosts
import path

QUICK_ROUNDS = 3
LEAST_NS = 100	# what the classifier takes for a few rules in near caches (classify)
PROTOCOL = 'udp'	# nobody listens; TCP would be answered
SET_KEY = 'ip saddr . ip daddr . meta l4proto . th dport'


def disjoint(rand, n):
    """Clients, servers and services, no two of which have a packet in common: so have no two combinations of the three."""
    some = max(40, int(n ** .5 * 5))
    clients = [(a << 8, rand.choice((24, 24, 26, 28, 32))) for a in rand.sample(range(1 << 16, 126 << 16), some)]
    servers = [(a << 8, rand.choice((28, 32, 32, 32))) for a in rand.sample(range(128 << 16, 190 << 16), some)]
    services, port = [], 20
    while len(services) < 60:
        ports = rand.choice((1, 1, 1, 1, 20, 200))
        services.append((port, port + ports - 1))
        port += ports + rand.randrange(1, 900)
    return clients, servers, services


def entries(n, seed, exact):
    """As path.rules() has them, but that no packet meets two; `exact`: of single addresses and ports."""
    rand = random.Random(seed)
    clients, servers, services = disjoint(rand, n)
    met = set()
    while len(met) < n:
        met.add((rand.randrange(len(clients)), rand.randrange(len(servers)), rand.randrange(len(services))))
    for c, s, v in sorted(met, key=lambda e: rand.random()):
        (saddr, slen), (daddr, dlen), (low, high) = clients[c], servers[s], services[v]
        if exact:
            slen, dlen, high = 32, 32, low
        yield {'proto': PROTOCOL, 'saddr': saddr, 'slen': slen, 'daddr': daddr, 'dlen': dlen, 'low': low, 'high': high}


def as_set(policy, exact):
    def ports(p):
        return f"{p['low']}-{p['high']}" if p['high'] > p['low'] else str(p['low'])

    def net(address, length):
        return path.dotted(address) + ('' if length == 32 else f'/{length}')
    elements = ',\n'.join(f"{net(p['saddr'], p['slen'])} . {net(p['daddr'], p['dlen'])} . {p['proto']} . {ports(p)}"
                          for p in policy)
    flags = '' if exact else 'flags interval\n'
    return (f'table ip bench {{\nset e {{\ntypeof {SET_KEY}\n{flags}elements = {{ {elements} }}\n}}\n'
            f'chain c {{\ntype filter hook input priority 0; policy drop;\n{SET_KEY} @e accept\n}}\n}}\n')


NO_RULES = {
    'nft': 'table ip bench {\nchain c { type filter hook input priority 0; policy accept; }\n}\n',
    'merlon': 'table ip bench {\nchain c { type filter hook output priority 0; policy accept; }\n}\n',
    'iptables': path.as_iptables([], 'none'),
}


class System:
    """How a system takes the ruleset in the file `file`: `packets` of the one file of `flows`, behind as many of the other."""

    def __init__(self, router, name, kind, flows, packets, file=None):
        self.router, self.name, self.kind, self.flows, self.packets, self.file = router, name, kind, flows, packets, file
        self.ns = []

    def run(self):
        router = self.router
        if self.kind == 'merlon':
            router.start_merlon(self.file)
        elif self.kind == 'nft':
            router.inside('router', 'nft', '-f', self.file)
        elif self.kind:
            router.inside('router', f'{self.kind}-restore', self.file)
        try:
            measured, before = self.flows
            router.send(before, self.packets)
            self.ns.append(router.send(measured, self.packets))
        finally:
            router.stop_merlon()
            router.clean()


class Bench:
    def __init__(self, args, work, router):
        self.args, self.work, self.router = args, work, router
        self.systems = {}

    def file(self, name, text):
        with open(f'{self.work}/{name}', 'w', encoding='utf-8') as out:
            out.write(text)
        return f'{self.work}/{name}'

    def add(self, name, kind, flows, packets, file=None):
        self.systems[name] = System(self.router, name, kind, flows, packets, file)

    def packets(self, what, n, policy):
        """What is measured, and what comes before."""
        return [self.file(f'{what}-{n}.{seed}.flows', path.packets(policy, self.args.packets, seed)) for seed in (3, 4)]

    def prepare(self):
        args = self.args
        flows = None
        for n in args.sizes:
            exact, wide, rules = list(entries(n, 1, True)), list(entries(n, 2, False)), list(path.rules(n, 1))
            of_rules = self.packets('rules', n, rules)
            flows = flows or of_rules
            for what, policy in (('exact', exact), ('wide', wide)):
                if args.quick and n < max(args.sizes):
                    continue
                of_set = self.packets(what, n, policy)
                text = self.file(f'{what}-{n}', as_set(policy, what == 'exact'))
                self.add(f'nft {what} {n}', 'nft', of_set, args.packets, text)
                self.add(f'merlon {what} {n}', 'merlon', of_set, args.packets, text)
            text = self.file(f'rules-{n}', path.as_nft(rules, 'input'))
            self.add(f'merlon rules {n}', 'merlon', of_rules, args.packets, text)
            if n <= args.most_linear:
                # a pass over 100,000 of them takes seconds
                some = args.packets if not args.quick else min(args.packets, 20000000 // n)
                self.add(f'nft rules {n}', 'nft', of_rules, some, text)
                text = self.file(f'iptables-{n}', path.as_iptables(rules, 'INPUT'))
                for kind in 'iptables-legacy', 'iptables-nft':
                    self.add(f'{kind} rules {n}', kind, of_rules, some, text)
        for name in 'none', 'none again':
            self.add(name, None, flows, args.packets)
        for kind in 'merlon', 'nft', 'iptables-legacy', 'iptables-nft':
            text = NO_RULES['iptables' if kind.startswith('iptables') else kind]
            self.add(f'{kind} empty', kind, flows, args.packets, self.file(f'{kind}-empty', text))

    def measure(self):
        main = max(self.args.sizes), self.args.most_linear
        for i in range(self.args.rounds):
            for name, system in self.systems.items():
                # what is only for the plot
                if i >= QUICK_ROUNDS and name.split()[-1].isdigit() and int(name.split()[-1]) not in main:
                    continue
                hosts.progress('round', i + 1, name)
                system.run()
        hosts.progress('')

    def cost(self, name, above=None):
        """Of each round."""
        return [a - b for a, b in zip(self.systems[name].ns, self.systems[above or f'{name.split()[0]} empty'].ns)]

    def ratio(self, name, than):
        """Above no rules, and above no firewall. What is divided by is never taken for less than it can be: noise flatters
        nothing."""
        return [[a / max(LEAST_NS, b) for a, b in zip(self.cost(name, above), self.cost(than, above))] for above in (None, 'none')]

    def report(self):
        args, report, short = self.args, hosts.Report(self.args.json), {1000: '1k', 10000: '10k', 100000: '100k'}
        most, linear = (short.get(n, n) for n in (max(args.sizes), args.most_linear))
        for figure, what, name in ((f'pipapo_{most}', 'wide', 'nft'), (f'hash_{most}', 'exact', 'nft')):
            rules, whole = self.ratio(f'{name} {what} {max(args.sizes)}', f'merlon {what} {max(args.sizes)}')
            report.figure(f'{figure}_ratio', rules, 'times', 2)
            report.figure(f'{figure}_whole_ratio', whole, 'times', 2)
        ratios = {}
        for kind in 'nft', 'iptables-legacy', 'iptables-nft':
            figure = f"{kind.replace('-', '_')}_{'linear_' if kind == 'nft' else ''}{linear}"
            ratios[kind], whole = self.ratio(f'{kind} rules {args.most_linear}', f'merlon rules {args.most_linear}')
            report.figure(f'{figure}_ratio', ratios[kind], 'times', 2)
            report.figure(f'{figure}_whole_ratio', whole, 'times', 2)
        faster = [min(r) for r in zip(ratios['iptables-legacy'], ratios['iptables-nft'])]
        report.figure(f'iptables_{linear}_ratio', faster, 'times', 2)
        report.figure(f'new_flow_{most}_rules_ns', self.cost(f'merlon rules {max(args.sizes)}', 'none'), 'ns')
        report.figure('rules_noise_ns', [a - b for a, b in zip(self.systems['none again'].ns, self.systems['none'].ns)], 'ns')
        called = {'wide': ', set of intervals', 'exact': ', set of exact entries', 'rules': ''}
        for name in self.systems:
            words = name.split()
            if words[-1].isdigit():
                report.point('rules', words[0] + called[words[1]], int(words[-1]), self.cost(name), 1)


def main():
    parser = hosts.parser(__doc__, 5)
    parser.add_argument('--packets', type=int, default=100000, metavar='N', help='in a pass, all distinct')
    parser.add_argument('--sizes', type=lambda s: [int(n) for n in s.split(',')], metavar='N,...')
    args = parser.parse_args()
    args.build = os.path.abspath(args.build)
    hosts.ended_by_signals()
    args.quick = args.rounds <= QUICK_ROUNDS
    args.sizes = args.sizes or ([10000, 100000] if args.quick else [100, 1000, 10000, 100000])
    args.most_linear = max(n for n in args.sizes if n <= max(10000, min(args.sizes)))
    with tempfile.TemporaryDirectory(prefix='merlon-bench.') as work:
        router = path.Router(args.build, work)
        bench = Bench(args, work, router)
        bench.prepare()
        try:
            router.make()
            router.deliver_locally(True)
            bench.measure()
        finally:
            router.remove()
    bench.report()


if __name__ == '__main__':
    main()
