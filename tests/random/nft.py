# SPDX-License-Identifier: GPL-2.0-or-later
"""Random rulesets in nft's language. Weights are how many of 204 real files use a construct."""
import pools
from nft_match import Matches
from nft_sets import Sets
from pools import chance, pick

PRIORITIES = [(60, 'filter'), (20, '0'), (5, '-10'), (5, '10'), (4, 'filter - 1'), (4, 'filter + 1'), (3, '-150'), (3, '100'),
              (2, 'security'), (2, '-199'), (1, '2147483000'), (1, 'mangle')]
ICMP = ['net-unreachable', 'host-unreachable', 'prot-unreachable', 'port-unreachable', 'net-prohibited', 'host-prohibited',
        'admin-prohibited']
ICMPV6 = ['no-route', 'admin-prohibited', 'addr-unreachable', 'port-unreachable', 'policy-fail', 'reject-route']
ICMPX = ['port-unreachable', 'no-route', 'host-unreachable', 'admin-prohibited']
LEVELS = ['emerg', 'alert', 'crit', 'err', 'warn', 'notice', 'info', 'debug']
# Chains are copied to where they are called: what a base chain may come to in all.
MOST_FLAT, MOST_FLAT_CALLEE = 3000, 400


class Chain:
    def __init__(self, name):
        self.name, self.rules, self.head = name, [], None
        self.flat = 1              # rules that a packet may meet, with what is called


class Rule:
    """One rule while it is made: what its matches have settled."""

    def __init__(self, table, chain, targets):
        self.table, self.chain, self.targets = table, chain, targets
        self.words = []
        self.family = {'ip': 4, 'ip6': 6}.get(table.family)
        self.l4 = None
        self.calls = []            # chains that it leads to


class Table:
    def __init__(self, rng, pool, allowed, family, name):
        self.rng, self.pool, self.allowed = rng, pool, allowed
        self.family, self.name = family, name
        self.families = {'ip': [4], 'ip6': [6], 'inet': [4, 4, 6]}[family]
        self.sets = Sets(self)
        self.matches = Matches(self)
        self.callees, self.bases = [], []

    def make(self, size):
        """About `size` rules, in base chains and in what they call."""
        rng = self.rng
        n_callees = 0 if size < 4 else pick(rng, [(60, 0), (30, 1), (30, 2), (20, 3), (10, rng.randint(4, 8))])
        hooks = [h for h, often in (('input', 78), ('forward', 70), ('output', 62)) if chance(rng, often)] or ['input']
        if chance(rng, 28):
            hooks += [rng.choice(hooks) for _ in range(rng.randint(1, 2))]
        share = [rng.random() + 0.1 for _ in range(n_callees)] + [2 * rng.random() + 0.1 for _ in hooks]
        sizes = [round(size * s / sum(share)) for s in share]
        self.callees = [Chain(f'c{i}') for i in range(n_callees)]
        self.bases = [Chain(f'{hook}{i}') for i, hook in enumerate(hooks)]
        # a chain calls only later ones, whose size is known by then
        for i in reversed(range(n_callees)):
            self.fill(self.callees[i], sizes[i], self.callees[i + 1:], MOST_FLAT_CALLEE, None)
        self.sets.fill_maps(self.callees)
        for chain, hook, n in zip(self.bases, hooks, sizes[n_callees:]):
            policy = 'drop' if chance(rng, 52) else 'accept'
            chain.head = f'type filter hook {hook} priority {pick(rng, PRIORITIES)}; policy {policy};'
            self.fill(chain, n, self.callees, MOST_FLAT, hook)
        return self.text()

    def fill(self, chain, size, callees, most, hook):
        rng = self.rng
        if hook and chance(rng, 45):
            chain.rules += self.opening(hook)
        while len(chain.rules) < size:
            room = most - chain.flat - (size - len(chain.rules))
            rule = Rule(self, chain, [c for c in callees if c.flat < room])
            self.write_rule(rule, hook)
            chain.flat += 1 + sum(c.flat for c in rule.calls)
            chain.rules.append(' '.join(rule.words))

    def opening(self, hook):
        """What real chains begin with."""
        lines = ['ct state established,related accept', 'ct state invalid drop']
        if hook != 'forward':
            lines.append(f"{'iif' if hook == 'input' else 'oif'} lo accept")
        if self.allowed('vmap ct state') and chance(self.rng, 20):
            lines[:2] = ['ct state vmap { established : accept, related : accept, invalid : drop }']
        if self.family == 'inet' and chance(self.rng, 30):
            lines.append('meta l4proto { icmp, ipv6-icmp } accept')
        self.rng.shuffle(lines)
        return lines[:self.rng.randint(1, len(lines))]

    def write_rule(self, rule, hook):
        rng = self.rng
        n = pick(rng, [(8, 0), (36, 1), (36, 2), (15, 3), (5, 4)])
        for _ in range(n):
            if chance(rng, 6):
                # what counts ahead of a match counts what reaches it
                rule.words.append(pick(rng, [(5, 'counter'), (2, self.limit()), (1, self.log())]))
            rule.words += self.matches.make(rule, hook)
        # a verdict without matches in the middle of a chain hides all that follows: rare
        final = n > 0 or chance(rng, 5)
        if n and chance(rng, 10) and self.matches.vmap(rule, hook):
            return
        if chance(rng, 10):
            rule.words.append(self.limit())
        if chance(rng, 30):
            rule.words.append('counter')
        if chance(rng, 8):
            rule.words.append(self.log())
        if chance(rng, 5) and self.allowed('mark set'):
            rule.words.append(pick(rng, [(3, f'meta mark set {rng.choice([1, 2, 0xff, 0x10000, 0xffffffff])}'),
                                         (1, 'meta mark set meta mark or 0x10'), (1, 'meta mark set meta mark and 0xff xor 0x3')]))
        rule.words += self.verdict(rule) if final else pick(rng, [(3, []), (1, self.call(rule, 'jump'))])
        if not rule.words:
            rule.words.append('counter')
        if chance(rng, 4):
            rule.words.append(f'comment "{rng.choice(["web", "it is -j DROP", "a { b ; c", "accept"])}"')

    def verdict(self, rule):
        kind = pick(self.rng, [(60, 'accept'), (49, 'drop'), (18, 'reject'), (6, ''), (9, 'return'), (2, 'continue'),
                               (21 if rule.targets else 0, 'jump'), (4 if rule.targets else 0, 'goto')])
        if kind == 'reject':
            return [self.reject(rule)]
        if kind in ('jump', 'goto'):
            return self.call(rule, kind)
        return [kind] if kind else []

    def call(self, rule, kind):
        if not rule.targets:
            return ['counter']
        target = self.rng.choice(rule.targets)
        rule.calls.append(target)
        return [kind, target.name]

    def reject(self, rule):
        rng = self.rng
        kinds = [(10, 'reject')]
        if self.family == 'inet' and rule.family is None:
            kinds.append((6, f'reject with icmpx {rng.choice(ICMPX)}'))
        if rule.family == 4 or (rule.family is None and self.family == 'inet'):
            kinds.append((3, f'reject with icmp {rng.choice(ICMP)}'))
        if rule.family == 6 or (rule.family is None and self.family == 'inet'):
            kinds.append((3, f'reject with icmpv6 {rng.choice(ICMPV6)}'))
        if rule.l4 in (None, 'tcp'):
            kinds.append((5, 'reject with tcp reset'))
        return pick(rng, kinds)

    def limit(self):
        rng = self.rng
        over = 'over ' if chance(rng, 24) else ''
        if chance(rng, 12):
            unit = rng.choice(['bytes', 'kbytes', 'mbytes'])
            burst = f' burst {rng.choice([1500, 9000, 100000])} bytes' if chance(rng, 40) else ''
            return f'limit rate {over}{rng.choice([1, 64, 1000])} {unit}/second{burst}'
        rate = f"{rng.choice([1, 3, 5, 10, 100, 1000])}/{rng.choice(['second', 'second', 'minute', 'minute', 'hour', 'day'])}"
        burst = f' burst {rng.choice([1, 2, 7, 20, 100])} packets' if chance(rng, 45) else ''
        return f'limit rate {over}{rate}{burst}'

    def log(self):
        rng = self.rng
        if chance(rng, 20):
            return f'log group {rng.randint(0, 5)} prefix "g{rng.randint(0, 9)}: "'
        return 'log' + pick(rng, [(3, ''), (6, f' prefix "{rng.choice(["drop: ", "in ", "x", "SSH attempt: "])}"')]) + \
            pick(rng, [(6, ''), (3, f' level {rng.choice(LEVELS)}'), (1, ' flags all')])

    def text(self):
        lines = [f'table {self.family} {self.name} {{'] + self.sets.lines()
        # the kernel takes chains in any order; people write both
        order = self.callees + self.bases if chance(self.rng, 50) else self.bases + self.callees
        for chain in order:
            lines.append(f'\tchain {chain.name} {{')
            lines += [f'\t\t{line}' for line in ([chain.head] if chain.head else []) + chain.rules]
            lines.append('\t}')
        return lines + ['}']


def generate(rng, size, allowed):
    """A ruleset of about `size` rules as text. `allowed(name)` says which constructs may be used."""
    pool = pools.Pool(rng)
    families = [pick(rng, [(143, 'inet'), (88, 'ip'), (36, 'ip6')]) for _ in range(pick(rng, [(72, 1), (20, 2), (8, 3)]))]
    if size < len(families):
        families = families[:1]
    lines = ['flush ruleset'] if chance(rng, 41) else []
    for i, family in enumerate(families):
        lines += Table(rng, pool, allowed, family, f'filter{i}' if i else 'filter').make(max(1, size // len(families)))
    return '\n'.join(lines) + '\n'
