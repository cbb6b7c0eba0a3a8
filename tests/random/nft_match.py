# SPDX-License-Identifier: GPL-2.0-or-later
"""The matches of a random nft rule. A maker adds its words to a rule, and says with None that it does not fit there."""
from pools import chance, pick

TCP_FLAGS = ['fin', 'syn', 'rst', 'psh', 'ack', 'urg']
STATES = [(150, 'established,related'), (60, 'new'), (50, 'invalid'), (40, 'established'), (20, 'related'), (8, 'untracked'),
          (8, 'new,untracked'), (6, 'established,related,new'), (4, 'invalid,untracked')]
ICMP_TYPES = ['echo-request', 'echo-reply', 'destination-unreachable', 'time-exceeded', 'parameter-problem', 'redirect',
              'timestamp-request', 'router-advertisement', '13', '255', '0']
ICMPV6_TYPES = ['echo-request', 'echo-reply', 'destination-unreachable', 'packet-too-big', 'time-exceeded', 'parameter-problem',
                'nd-router-solicit', 'nd-router-advert', 'nd-neighbor-solicit', 'nd-neighbor-advert', 'mld-listener-query', '0', '255']
ADDRTYPES = {4: ['local', 'broadcast', 'multicast', 'unicast'], 6: ['local', 'multicast']}
PROTOCOLS = ['tcp', 'udp', 'icmp', 'ipv6-icmp', 'gre', 'esp', 'sctp', '0', '2', '253']
VERDICTS = [(10, 'accept'), (8, 'drop'), (3, 'return'), (2, 'continue')]


def anonymous(values):
    return '{ ' + ', '.join(values) + ' }'


class Matches:
    """Makes the matches of one table's rules."""

    def __init__(self, table):
        self.table, self.rng, self.pool = table, table.rng, table.pool
        self.kinds = [
            (154, self.ct_state), (134, self.port_of('tcp', 'dport')), (105, self.iifname), (105, self.address('saddr')),
            (101, self.address('daddr')), (93, self.port_of('udp', 'dport')), (20, self.iif), (81, self.oifname),
            (10, self.oif), (40, self.ip_protocol), (64, self.l4proto), (59, self.icmp), (38, self.icmpv6), (29, self.tcp_flags),
            (22, self.mark), (14, self.port_of('tcp', 'sport')), (8, self.port_of('udp', 'sport')), (17, self.nfproto),
            (14, self.fib), (12, self.th), (11, self.pkttype), (6, self.ether), (8, self.length), (8, self.ttl), (6, self.dscp),
            (6, self.ct_direction), (20, self.concatenation), (4, self.meta_protocol), (8, self.rt_type),
        ]

    def make(self, rule, hook):
        for _ in range(20):
            words = pick(self.rng, self.kinds)(rule, hook)
            if words:
                return words
        return []

    # how values are written

    def operator(self):
        return '!= ' if chance(self.rng, 12) else ''

    def number(self, value, spans, values):
        """A number in one of its forms: single, range, comparison, set."""
        kind = pick(self.rng, [(50, 'one'), (18, 'range'), (8, 'compare'), (28, 'set')])
        if kind == 'one':
            return f'{self.operator()}{value}'
        if kind == 'range':
            return f'{self.operator()}{spans[0]}-{spans[1]}'
        if kind == 'compare' and isinstance(value, int) and 0 < value < 254:
            return f"{self.rng.choice(['<', '>', '<=', '>='])} {value}"
        return f'{self.operator()}{anonymous(values)}'

    # headers

    def settle(self, rule, family=None, l4=None):
        if (family and rule.family not in (None, family)) or (l4 and rule.l4 not in (None, l4)):
            return False
        rule.family, rule.l4 = family or rule.family, l4 or rule.l4
        return True

    def address(self, which):
        def make(rule, _hook):
            family = rule.family or self.rng.choice(self.table.families)
            if not self.settle(rule, family):
                return None
            word = f"{'ip' if family == 4 else 'ip6'} {which}"
            named = self.table.sets.named(f'addr{family}')
            if named and chance(self.rng, 35):
                return [f'{word} {self.operator()}@{named}']
            kind = pick(self.rng, [(40, 'host'), (40, 'prefix'), (12, 'range'), (24, 'set'), (2, 'mask')])
            if kind == 'host':
                value = self.pool.host(family)
            elif kind == 'prefix':
                value = self.pool.prefix(family)
            elif kind == 'range':
                value = '-'.join(self.pool.span(family))
            elif kind == 'mask' and family == 4:
                return [f'{word} & 255.255.255.250 {self.rng.choice(["==", "!="])} {self.pool.nets[4][0][0]}']
            else:
                n = self.rng.randint(1, 6)
                values = self.pool.spans(family, n) if chance(self.rng, 50) else self.pool.hosts(family, n)
                value = anonymous(values or [str(self.pool.host(family))])
            return [f'{word} {self.operator()}{value}']
        return make

    def port_of(self, l4, which):
        def make(rule, _hook):
            return [f'{l4} {which} {self.port_value()}'] if self.settle(rule, l4=l4) else None
        return make

    def port_value(self):
        named = self.table.sets.named('port')
        if named and chance(self.rng, 25):
            return f'{self.operator()}@{named}'
        return self.number(self.pool.port(), self.pool.port_span(), self.pool.port_list(self.rng.randint(2, 7)) or ['22'])

    def th(self, rule, _hook):
        if rule.l4:
            return None
        rule.l4 = 'some'
        protocols = anonymous(self.rng.sample(['tcp', 'udp', 'sctp', 'dccp', 'udplite'], self.rng.randint(2, 3)))
        return [f"meta l4proto {protocols} th {self.rng.choice(['dport', 'dport', 'sport'])} {self.port_value()}"]

    def l4proto(self, rule, _hook):
        if rule.l4:
            return None
        rule.l4 = 'some'
        named = self.table.sets.named('proto')
        if named and chance(self.rng, 20):
            return [f'meta l4proto {self.operator()}@{named}']
        if chance(self.rng, 50):
            rule.l4 = self.rng.choice(['tcp', 'udp'])
            return [f'meta l4proto {rule.l4}']
        if chance(self.rng, 40):
            return [f'meta l4proto {self.operator()}{self.rng.choice(PROTOCOLS)}']
        return [f'meta l4proto {self.operator()}{anonymous(self.rng.sample(PROTOCOLS, self.rng.randint(2, 4)))}']

    def ip_protocol(self, rule, _hook):
        if rule.l4:
            return None
        family = rule.family or self.rng.choice(self.table.families)
        if not self.settle(rule, family):
            return None
        if family == 6:
            rule.l4 = self.rng.choice(['tcp', 'udp', 'ipv6-icmp'])
            return [f'ip6 nexthdr {rule.l4}']
        rule.l4 = 'some'
        if chance(self.rng, 30):
            return [f'ip protocol {self.operator()}{anonymous(self.rng.sample(PROTOCOLS, 2))}']
        rule.l4 = self.rng.choice(['tcp', 'udp', 'icmp'])
        return [f'ip protocol {rule.l4}']

    def icmp(self, rule, _hook):
        if not self.settle(rule, 4, 'icmp'):
            return None
        words = [f'icmp type {self.icmp_value(ICMP_TYPES)}']
        if chance(self.rng, 20):
            words.append(f'icmp code {self.operator()}{self.rng.choice([0, 1, 3, 4, 13, 255])}')
        return words

    def icmpv6(self, rule, _hook):
        if not self.settle(rule, 6, 'ipv6-icmp'):
            return None
        words = [f'icmpv6 type {self.icmp_value(ICMPV6_TYPES)}']
        if chance(self.rng, 20):
            words.append(f'icmpv6 code {self.operator()}{self.rng.choice([0, 1, 3, 4, 255])}')
        return words

    def icmp_value(self, types):
        if chance(self.rng, 45):
            return f'{self.operator()}{self.rng.choice(types)}'
        if chance(self.rng, 10):
            return f'{self.operator()}{self.rng.randint(0, 7)}-{self.rng.randint(8, 20)}'
        return f'{self.operator()}{anonymous(self.rng.sample(types, self.rng.randint(2, 5)))}'

    def tcp_flags(self, rule, _hook):
        if not self.settle(rule, l4='tcp'):
            return None
        rng = self.rng
        mask = rng.sample(TCP_FLAGS, rng.randint(2, 6))
        value = rng.sample(mask, rng.randint(1, len(mask)))
        return [pick(rng, [(4, 'tcp flags & (fin|syn|rst|ack) == syn'), (2, 'tcp flags & (fin|syn|rst|ack) != syn'),
                           (4, f"tcp flags & ({'|'.join(mask)}) {rng.choice(['==', '!='])} ({'|'.join(value)})"),
                           (2, f"tcp flags & ({'|'.join(mask)}) == 0x0"), (2, f'tcp flags {value[0]}'),
                           (1, f"tcp flags {rng.choice(['==', '!='])} syn"), (1, 'tcp flags { syn, syn|ack, fin|ack }')])]

    def nfproto(self, rule, _hook):
        if self.table.family != 'inet' or rule.family:
            return None
        rule.family = self.rng.choice([4, 6])
        return [f'meta nfproto ipv{rule.family}']

    def meta_protocol(self, rule, _hook):
        if self.table.family != 'inet' or rule.family:
            return None
        rule.family = self.rng.choice([4, 6])
        return [f"meta protocol {'ip' if rule.family == 4 else 'ip6'}"]

    def length(self, _rule, _hook):
        values = [str(v) for v in sorted(self.rng.sample([0, 28, 40, 41, 60, 84, 100, 576, 1280, 1500, 65535], 3))]
        return [f'meta length {self.number(self.rng.choice([28, 40, 60, 84, 100, 128]), values[:2], values)}']

    def ttl(self, rule, _hook):
        family = rule.family or self.rng.choice(self.table.families)
        if not self.settle(rule, family):
            return None
        low = self.rng.choice([0, 1, 2, 31, 63, 64])
        value = self.number(self.rng.choice([1, 2, 63, 64, 128, 255]), (low, low + self.rng.choice([1, 10, 100])), ['1', '64', '255'])
        return [f"{'ip ttl' if family == 4 else 'ip6 hoplimit'} {value}"]

    def dscp(self, rule, _hook):
        family = rule.family or self.rng.choice(self.table.families)
        if not self.settle(rule, family):
            return None
        value = pick(self.rng, [(2, 'cs1'), (2, '0x2e'), (1, 'cs0'), (1, '0x3f'), (2, '{ cs1, cs2, af41 }')])
        return [f"{'ip' if family == 4 else 'ip6'} dscp {self.operator()}{value}"]

    def rt_type(self, rule, _hook):
        if not self.settle(rule, 6):
            return None
        return [pick(self.rng, [(6, f"rt type {self.number(self.rng.choice([0, 2, 4, 253]), (1, 3), ['0', '3', '4'])}"), (1, 'exthdr rt exists')])]

    # connection, interfaces, and what the kernel knows

    def ct_state(self, _rule, _hook):
        return [f"ct state {'!= ' if chance(self.rng, 5) else ''}{pick(self.rng, STATES)}"]

    def ct_direction(self, _rule, _hook):
        return [f"ct direction {self.rng.choice(['original', 'reply'])}"]

    def interface_name(self, word):
        named = self.table.sets.named('ifname')
        if named and chance(self.rng, 25):
            return [f'{word} {self.operator()}@{named}']
        if chance(self.rng, 15):
            return [f'{word} {self.operator()}"{self.pool.wildcard()}*"']
        if chance(self.rng, 25):
            names = sorted({self.pool.interface() for _ in range(3)})
            return [f"{word} {self.operator()}{anonymous([f'{chr(34)}{n}{chr(34)}' for n in names])}"]
        return [f'{word} {self.operator()}"{self.pool.interface()}"']

    def iifname(self, _rule, hook):
        # a match that never holds is a corner of its own, but not the usual one
        return None if hook == 'output' and not chance(self.rng, 5) else self.interface_name('iifname')

    def oifname(self, _rule, hook):
        return None if hook == 'input' and not chance(self.rng, 5) else self.interface_name('oifname')

    def iif(self, _rule, hook):
        return None if hook == 'output' else [f'iif {self.operator()}lo']

    def oif(self, _rule, hook):
        return None if hook == 'input' else [f'oif {self.operator()}lo']

    def mark(self, _rule, _hook):
        named = self.table.sets.named('mark')
        if named and chance(self.rng, 20):
            return [f'meta mark {self.operator()}@{named}']
        return [pick(self.rng, [(4, f'meta mark {self.operator()}{self.rng.choice([0, 1, 2, 0xff, 0x10000])}'),
                                (2, 'meta mark & 0xff == 0x1'), (2, 'meta mark & 0x10 != 0x10'), (2, 'meta mark 1-5'),
                                (1, 'meta mark { 0-1, 9 }')])]

    def fib(self, rule, hook):
        if not self.table.allowed('fib type') or not hook:
            return None
        families = [rule.family] if rule.family else self.table.families
        family = self.rng.choice(families)
        if self.table.family == 'inet' and not rule.family:
            rule.family = family
            prefix = [f'meta nfproto ipv{family}']
        else:
            prefix = []
        types = ADDRTYPES[family]
        value = self.rng.choice(types) if chance(self.rng, 60) else anonymous(self.rng.sample(types, 2))
        return prefix + [f"fib {self.rng.choice(['daddr', 'daddr', 'saddr'])} type {self.operator()}{value}"]

    def pkttype(self, _rule, _hook):
        kind = pick(self.rng, [(3, 'broadcast'), (3, 'multicast'), (2, 'host'), (2, '{ broadcast, multicast }')])
        return [f'meta pkttype {self.operator()}{kind}']

    def ether(self, _rule, hook):
        if hook != 'input' or not self.table.allowed('ether saddr'):
            return None
        return [f"ether saddr {self.operator()}02:00:00:00:00:0{self.rng.randint(1, 3)}"]

    # concatenations and maps of verdicts

    def part(self, rule, hook):
        """(words, maker of disjoint values, whether they may be intervals) of one part of a key"""
        rng, pool = self.rng, self.pool
        family = rule.family or rng.choice(self.table.families)
        l4 = rule.l4 if rule.l4 in ('tcp', 'udp') else rng.choice(['tcp', 'udp'])
        parts = []
        if rule.family in (None, family):
            word = 'ip' if family == 4 else 'ip6'
            for which in ('saddr', 'daddr'):
                parts.append((f'{word} {which}', lambda n: pool.spans(family, n), family, None))
        if rule.l4 in (None, 'tcp', 'udp'):
            parts.append((f'{l4} dport', pool.port_list, None, l4))
        if rule.l4 is None:
            parts.append(('meta l4proto', lambda n: rng.sample(PROTOCOLS, min(n, 4)), None, 'some'))
        if hook != 'output':
            parts.append(('iifname', lambda n: sorted({f'"{pool.interface()}"' for _ in range(n)}), None, None))
        if hook != 'input':
            parts.append(('oifname', lambda n: sorted({f'"{pool.interface()}"' for _ in range(n)}), None, None))
        parts.append(('ct state', lambda n: rng.sample(['established', 'related', 'new', 'invalid', 'untracked'], min(n, 4)), None, None))
        parts.append(('meta mark', lambda n: [str(v) for v in rng.sample([0, 1, 2, 9, 255], min(n, 4))], None, None))
        parts.append(('ip protocol' if family == 4 else 'ip6 nexthdr', lambda n: ['tcp', 'udp'][:n], family, 'some'))
        return rng.choice(parts)

    def key(self, rule, hook, n):
        """Words of a key of n parts and the makers of their values; None where they don't go together."""
        words, makers = [], []
        for _ in range(n * 3):
            word, maker, family, l4 = self.part(rule, hook)
            if any(w.split()[0] + w.split()[-1] == word.split()[0] + word.split()[-1] for w in words) or \
               (l4 == 'some' and rule.l4) or not self.settle(rule, family, l4):
                continue
            words.append(word)
            makers.append(maker)
            if len(words) == n:
                return ' . '.join(words), makers
        return None

    def elements(self, makers, n):
        """At most n elements of which none overlap: some of the products of disjoint values."""
        values = [maker(max(2, n)) or ['1'] for maker in makers]
        chosen = {tuple(self.rng.choice(v) for v in values) for _ in range(n)}
        return [' . '.join(e) for e in sorted(chosen)]

    def concatenation(self, rule, hook):
        if not self.table.allowed('concatenation'):
            return None
        named = self.table.sets.concatenated(rule)
        if named and chance(self.rng, 50):
            return [f'{named[0]} {self.operator()}@{named[1]}']
        made = self.key(rule, hook, pick(self.rng, [(6, 2), (3, 3), (1, 4)]))
        if not made:
            return None
        return [f'{made[0]} {self.operator()}{anonymous(self.elements(made[1], self.rng.randint(1, 6)))}']

    def vmap(self, rule, hook):
        """Ends the rule with a map of verdicts; False: without one."""
        rng = self.rng
        if not self.table.allowed('vmap'):
            return False
        named = self.table.sets.verdict_map(rule)
        if named and chance(rng, 50):
            rule.words.append(f'{named[0]} vmap @{named[1]}')
            rule.calls += [c for c in named[2] if c in rule.targets]
            return True
        made = self.key(rule, hook, pick(rng, [(7, 1), (2, 2)]))
        if not made or (' . ' in made[0] and not self.table.allowed('concatenation')):
            return False
        elements = [f'{e} : {self.element_verdict(rule)}' for e in self.elements(made[1], rng.randint(1, 6))]
        if chance(rng, 8) and self.table.allowed('vmap any'):
            elements.append(f'* : {self.element_verdict(rule)}')
        rule.words.append(f'{made[0]} vmap {anonymous(elements)}')
        return True

    def element_verdict(self, rule):
        if rule.targets and chance(self.rng, 30):
            room = [c for c in rule.targets if c.flat < 100]
            if room:
                target = self.rng.choice(room)
                rule.calls.append(target)
                return f"{self.rng.choice(['jump', 'jump', 'goto'])} {target.name}"
        return pick(self.rng, VERDICTS)


