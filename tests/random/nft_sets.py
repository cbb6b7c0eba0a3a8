# SPDX-License-Identifier: GPL-2.0-or-later
"""The named sets and maps of one table of a random ruleset."""
from pools import chance, pick

TYPES = {'addr4': 'ipv4_addr', 'addr6': 'ipv6_addr', 'port': 'inet_service', 'proto': 'inet_proto', 'ifname': 'ifname',
         'mark': 'mark'}
# (type, key of a rule, parts, what the rule must not have settled differently)
CONCATENATED = [
    ('ipv4_addr . inet_service', 'ip saddr . tcp dport', ('addr4', 'port'), 4, 'tcp'),
    ('ipv4_addr . inet_service', 'ip daddr . udp dport', ('addr4', 'port'), 4, 'udp'),
    ('ipv6_addr . inet_service', 'ip6 saddr . tcp dport', ('addr6', 'port'), 6, 'tcp'),
    ('ipv4_addr . ipv4_addr . inet_service', 'ip saddr . ip daddr . tcp dport', ('addr4', 'addr4', 'port'), 4, 'tcp'),
    ('ifname . ipv4_addr', 'iifname . ip saddr', ('ifname', 'addr4'), 4, None),
    ('inet_proto . inet_service', 'meta l4proto . th dport', ('proto', 'port'), None, 'some'),
    ('ifname . inet_service', 'iifname . tcp dport', ('ifname', 'port'), None, 'tcp'),
]
TIMEOUTS = ['1h', '30m', '1d', '2h30m']


class Set:
    def __init__(self, name, kind):
        self.name, self.kind = name, kind
        self.type = self.key = None
        self.flags, self.options, self.elements = [], [], []
        self.family = self.l4 = None
        self.calls = []
        self.is_map = False


class Sets:
    def __init__(self, table):
        self.table, self.rng, self.pool = table, table.rng, table.pool
        self.sets = []
        kinds = [(30, 'port'), (12, 'ifname'), (6, 'proto'), (4, 'mark')]
        kinds += [(50, f'addr{f}') for f in set(table.families)]
        for i in range(pick(self.rng, [(55, 0), (20, 1), (15, 2), (10, 4)])):
            self.sets.append(self.make(f's{i}', pick(self.rng, kinds)))
        if table.allowed('concatenation') and chance(self.rng, 15):
            self.sets.append(self.make_concatenated('pairs'))
        self.sets = [s for s in self.sets if s]

    def values(self, kind, n, spans):
        if kind.startswith('addr'):
            family = int(kind[-1])
            return self.pool.spans(family, n) if spans else self.pool.hosts(family, n)
        if kind == 'port':
            return self.pool.port_list(n, spans)
        if kind == 'proto':
            return self.rng.sample(['tcp', 'udp', 'icmp', 'gre', 'esp', '253'], min(n, 4))
        if kind == 'ifname':
            names = sorted({self.pool.interface() for _ in range(n)})
            return [f'"{name}"' for name in names]
        return [str(v) for v in self.rng.sample([0, 1, 2, 5, 255, 65536], min(n, 4))]

    def make(self, name, kind):
        s, rng = Set(name, kind), self.rng
        s.type = TYPES[kind]
        spans = kind.startswith('addr') and chance(rng, 60) or kind == 'port' and chance(rng, 50)
        if spans:
            s.flags.append('interval')
            if chance(rng, 15):
                s.options.append('auto-merge')
        n = pick(rng, [(10, 0), (50, rng.randint(1, 5)), (30, rng.randint(5, 20)), (5, rng.randint(20, 200))])
        s.elements = self.values(kind, n, spans) if n else []
        if kind == 'ifname' and chance(rng, 20):
            s.flags.append('interval')
            s.elements = [f'"{self.pool.wildcard()}*"', '"zz9"']
        self.maybe_timeouts(s)
        return s

    def maybe_timeouts(self, s):
        rng = self.rng
        if 'auto-merge' in s.options or not self.table.allowed('timeout') or not chance(rng, 18):
            return
        s.flags.append('timeout')
        if chance(rng, 40):
            s.options.append(f'timeout {rng.choice(TIMEOUTS)}')
        s.elements = [f'{e} timeout {rng.choice(TIMEOUTS)}' if chance(rng, 60) else e for e in s.elements]

    def make_concatenated(self, name):
        rng = self.rng
        fits = [c for c in CONCATENATED if c[3] is None or c[3] in self.table.families]
        kind, key, parts, family, l4 = rng.choice(fits)
        s = Set(name, 'concatenation')
        s.type, s.key, s.family, s.l4 = kind, key, family, l4
        spans = chance(rng, 50)
        if spans:
            s.flags.append('interval')
        n = rng.randint(0, 8)
        values = [self.values(p, max(2, n), spans) or ['1'] for p in parts]
        s.elements = sorted({' . '.join(rng.choice(v) for v in values) for _ in range(n)})
        self.maybe_timeouts(s)
        return s

    def fill_maps(self, callees):
        """Maps of verdicts, once the chains are known that they may lead to."""
        if not self.table.allowed('vmap') or not chance(self.rng, 12):
            return
        rng = self.rng
        s = Set('verdicts', 'vmap')
        s.is_map = True
        keys = [('inet_service', 'tcp dport', ('port',), None, 'tcp'), ('ifname', 'iifname', ('ifname',), None, None)]
        if 4 in self.table.families:
            keys.append(('ipv4_addr', 'ip saddr', ('addr4',), 4, None))
        if 6 in self.table.families:
            keys.append(('ipv6_addr', 'ip6 daddr', ('addr6',), 6, None))
        if self.table.allowed('concatenation'):
            keys += [c for c in CONCATENATED if c[3] is None or c[3] in self.table.families]
        kind, s.key, parts, s.family, s.l4 = rng.choice(keys)
        s.type = f'{kind} : verdict'
        spans = 'ifname' not in parts and chance(rng, 40)
        if spans:
            s.flags.append('interval')
        n = rng.randint(1, 10)
        values = [self.values(p, max(2, n), spans) or ['1'] for p in parts]
        small = [c for c in callees if c.flat < 60]
        for e in sorted({' . '.join(rng.choice(v) for v in values) for _ in range(n)}):
            if small and chance(rng, 40):
                target = rng.choice(small)
                s.calls.append(target)
                s.elements.append(f"{e} : {rng.choice(['jump', 'goto'])} {target.name}")
            else:
                s.elements.append(f"{e} : {rng.choice(['accept', 'drop', 'return', 'continue'])}")
        self.sets.append(s)

    def named(self, kind):
        names = [s.name for s in self.sets if s.kind == kind]
        return self.rng.choice(names) if names else None

    def fitting(self, rule, kind):
        for s in self.sets:
            if s.kind == kind and (not s.family or rule.family in (None, s.family)) and \
               (not s.l4 or rule.l4 is None or rule.l4 == s.l4 != 'some'):
                rule.family, rule.l4 = s.family or rule.family, s.l4 or rule.l4
                return s
        return None

    def concatenated(self, rule):
        s = self.fitting(rule, 'concatenation')
        return (s.key, s.name) if s else None

    def verdict_map(self, rule):
        # all that it leads to must be there for this chain too
        if not all(c in rule.targets for s in self.sets for c in s.calls):
            return None
        s = self.fitting(rule, 'vmap')
        return (s.key, s.name, s.calls) if s else None

    def lines(self):
        lines = []
        for s in self.sets:
            lines += [f"\t{'map' if s.is_map else 'set'} {s.name} {{", f'\t\ttype {s.type}']
            if s.flags:
                lines.append(f"\t\tflags {','.join(s.flags)}")
            lines += [f'\t\t{option}' for option in s.options]
            if s.elements:
                lines.append('\t\telements = {')
                lines += [f'\t\t\t{e},' for e in s.elements]
                lines.append('\t\t}')
            lines.append('\t}')
        return lines
