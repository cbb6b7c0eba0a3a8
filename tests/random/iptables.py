# SPDX-License-Identifier: GPL-2.0-or-later
"""Random rulesets as iptables-save writes them. Weights are how many of 201 real files use a construct."""
import pools
from pools import chance, pick

STATES = [(150, 'RELATED,ESTABLISHED'), (70, 'NEW'), (60, 'INVALID'), (30, 'ESTABLISHED'), (15, 'RELATED'), (8, 'UNTRACKED'),
          (6, 'NEW,UNTRACKED'), (6, 'INVALID,NEW'), (4, 'RELATED,ESTABLISHED,NEW')]
TCP_FLAGS = ['FIN,SYN,RST,ACK SYN', 'FIN,SYN,RST,PSH,ACK,URG NONE', 'FIN,SYN,RST,PSH,ACK,URG FIN,PSH,URG', 'SYN,FIN SYN,FIN', 'SYN,RST SYN,RST',
             'FIN,RST FIN,RST', 'ACK,FIN FIN', 'ACK,URG URG', 'FIN,SYN,RST,ACK RST', 'ALL SYN,ACK', 'ALL ALL']
ICMP_TYPES = ['8', '0', '3', '11', '3/4', '3/3', '12', '13', 'any', 'echo-request', 'time-exceeded', 'destination-unreachable']
ICMPV6_TYPES = ['128', '129', '1', '2', '3', '4', '135', '136', '133', '134', '1/3', '3/0', '130', '255', 'echo-request']
REJECTS = {4: ['icmp-port-unreachable', 'icmp-host-unreachable', 'icmp-net-unreachable', 'icmp-proto-unreachable', 'icmp-net-prohibited',
               'icmp-host-prohibited', 'icmp-admin-prohibited'],
           6: ['icmp6-no-route', 'icmp6-adm-prohibited', 'icmp6-addr-unreachable', 'icmp6-port-unreachable', 'icmp6-policy-fail',
               'icmp6-reject-route']}
BUILT_IN = {'INPUT': 'input', 'FORWARD': 'forward', 'OUTPUT': 'output'}
MOST_FLAT, MOST_FLAT_CALLEE = 3000, 400


class Chain:
    def __init__(self, name, hook=None):
        self.name, self.hook, self.rules, self.flat = name, hook, [], 1


class Rule:
    def __init__(self, chain):
        self.chain, self.words, self.used, self.l4 = chain, [], set(), None


class Filter:
    """One *filter table."""

    def __init__(self, rng, family, allowed):
        self.rng, self.family, self.allowed = rng, family, allowed
        self.pool = pools.Pool(rng)
        self.matches = [
            (90, self.dport), (93, self.iif), (60, self.oif), (75, self.source), (70, self.destination), (28, self.sport),
            (53, self.tcp_flags), (116, self.state('conntrack', 'ctstate')), (90, self.state('state', 'state')),
            (56, self.limit), (53 if family == 4 else 80, self.icmp), (46, self.multiport), (36, self.addrtype), (21, self.comment),
            (60, self.protocol), (9, self.ttl), (7, self.mark), (5, self.mac), (3, self.iprange), (5, self.length), (4, self.pkttype),
            (4, self.rt), (4, self.tos), (3, self.ctdir), (6, self.port_name),
        ]

    def make(self, size):
        rng = self.rng
        n = 0 if size < 4 else pick(rng, [(37, 0), (30, 1), (25, 2), (20, 3), (10, rng.randint(4, 9))])
        names = rng.sample(['LOGDROP', 'services', 'ufw-user-input', 'f2b-sshd', 'TCP', 'UDP', 'zone_lan', 'syn-flood', 'in_world'], n)
        callees = [Chain(name) for name in names]
        built_in = [Chain(name, hook) for name, hook in BUILT_IN.items()]
        share = [rng.random() + 0.1 for _ in callees] + [2 * rng.random() + 0.02 for _ in built_in]
        sizes = [round(size * s / sum(share)) for s in share]
        for i in reversed(range(n)):
            self.fill(callees[i], sizes[i], callees[i + 1:], MOST_FLAT_CALLEE)
        for chain, size_of in zip(built_in, sizes[n:]):
            if chance(rng, 40):
                chain.rules += self.opening(chain)
            self.fill(chain, size_of, callees, MOST_FLAT)
        lines = ['*filter']
        lines += [f":{c.name} {'DROP' if chance(rng, 53) else 'ACCEPT'} [0:0]" for c in built_in]
        lines += [f':{c.name} - [0:0]' for c in callees]
        counters = chance(rng, 10)
        for chain in built_in + callees:
            for rule in chain.rules:
                lines.append(('[5:300] ' if counters else '') + f'-A {chain.name} {rule}'.rstrip())
        return '\n'.join(lines + ['COMMIT']) + '\n'

    def opening(self, chain):
        lines = [f"-{'o' if chain.hook == 'output' else 'i'} lo -j ACCEPT"] if chain.hook != 'forward' else []
        lines.append(self.rng.choice(['-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT',
                                      '-m state --state RELATED,ESTABLISHED -j ACCEPT']))
        if chance(self.rng, 40):
            lines.append('-m conntrack --ctstate INVALID -j DROP')
        return lines

    def fill(self, chain, size, callees, most):
        while len(chain.rules) < size:
            room = most - chain.flat - (size - len(chain.rules))
            rule = Rule(chain)
            # what iptables-save puts first
            for make in self.draw():
                make(rule)
            target = self.target(rule, [c for c in callees if c.flat < room])
            chain.rules.append(' '.join([w for w in rule.words if w.startswith(('-s', '-d', '-i', '-o', '! -s', '! -d', '! -i', '! -o'))]
                                        + [w for w in rule.words if w.startswith(('-p', '! -p'))]
                                        + [w for w in rule.words if w.startswith('-m')] + ([target] if target else [])))
            chain.flat += 1

    def draw(self):
        n = pick(self.rng, [(6, 0), (30, 1), (38, 2), (18, 3), (8, 4)])
        return [pick(self.rng, self.matches) for _ in range(n)]

    def put(self, rule, what, words):
        if what not in rule.used:
            rule.used.add(what)
            rule.words.append(words)

    def no(self, percent=9):
        return '! ' if chance(self.rng, percent) else ''

    def needs(self, rule, protocols):
        """Settles the protocol; None if it is another one."""
        if rule.l4 is None:
            rule.l4 = self.rng.choice(protocols)
            rule.used.add('protocol')
            rule.words.append(f'-p {rule.l4}')
        return rule.l4 if rule.l4 in protocols else None

    # matches

    def address(self):
        rng = self.rng
        r = rng.random()
        if r < 0.4:
            return str(self.pool.host(self.family))
        if r < 0.93 or self.family == 6:
            return str(self.pool.prefix(self.family))
        return f'{self.pool.nets[4][0][0]}/255.255.255.250'

    def source(self, rule):
        self.side(rule, '-s')

    def destination(self, rule):
        self.side(rule, '-d')

    def side(self, rule, option):
        if chance(self.rng, 2) and not any(w.startswith('! -') for w in rule.words):
            self.put(rule, option, f'{option} ' + ','.join(self.address() for _ in range(self.rng.randint(2, 3))))
        else:
            address = self.address()
            # iptables takes no negation of everything
            self.put(rule, option, f"{'' if address.endswith('/0') else self.no()}{option} {address}")

    def iif(self, rule):
        if rule.chain.hook != 'output':
            self.put(rule, '-i', f'{self.no()}-i {self.interface()}')

    def oif(self, rule):
        if rule.chain.hook != 'input':
            self.put(rule, '-o', f'{self.no()}-o {self.interface()}')

    def interface(self):
        return f'{self.pool.wildcard()}+' if chance(self.rng, 12) else self.pool.interface()

    def protocol(self, rule):
        if rule.l4 is None:
            negated = chance(self.rng, 5)
            rule.l4 = 'none' if negated else self.rng.choice(['tcp', 'tcp', 'udp', 'udp', 'icmp' if self.family == 4 else 'ipv6-icmp',
                                                              'gre', 'esp', '253'])
            rule.words.append('! -p tcp' if negated else f'-p {rule.l4}')

    def port(self):
        return f'{self.pool.port()}' if chance(self.rng, 75) else '%d:%d' % self.pool.port_span()

    def dport(self, rule):
        l4 = self.needs(rule, ['tcp', 'udp'])
        if l4:
            self.put(rule, 'dport', f'-m {l4} {self.no()}--dport {self.port()}')

    def sport(self, rule):
        l4 = self.needs(rule, ['tcp', 'udp'])
        if l4:
            self.put(rule, 'sport', f'-m {l4} {self.no()}--sport {self.port()}')

    def port_name(self, rule):
        if self.needs(rule, ['tcp']):
            self.put(rule, 'dport', f"-m tcp --dport {self.rng.choice(['ssh', 'http', 'https', 'domain'])}")

    def tcp_flags(self, rule):
        if self.needs(rule, ['tcp']):
            words = f'{self.no(25)}--syn' if chance(self.rng, 25) else f'{self.no(20)}--tcp-flags {self.rng.choice(TCP_FLAGS)}'
            self.put(rule, 'flags', f'-m tcp {words}')

    def state(self, module, option):
        def make(rule):
            self.put(rule, 'state', f'-m {module} {self.no(5)}--{option} {pick(self.rng, STATES)}')
        return make

    def ctdir(self, rule):
        self.put(rule, 'direction', f"-m conntrack --ctdir {self.rng.choice(['ORIGINAL', 'REPLY'])}")

    def limit(self, rule):
        rate = f"{self.rng.choice([1, 3, 5, 10, 100])}/{self.rng.choice(['sec', 'min', 'min', 'hour', 'day'])}"
        burst = f' --limit-burst {self.rng.choice([1, 2, 10, 100])}' if chance(self.rng, 50) else ''
        self.put(rule, 'limit', f'-m limit --limit {rate}{burst}')

    def icmp(self, rule):
        name, match, option, types = ('icmp', 'icmp', 'icmp-type', ICMP_TYPES) if self.family == 4 else \
            ('ipv6-icmp', 'icmp6', 'icmpv6-type', ICMPV6_TYPES)
        kind = self.rng.choice(types)
        if self.needs(rule, [name]):
            self.put(rule, 'icmp', f"-m {match} {'' if kind == 'any' else self.no(8)}--{option} {kind}")

    def multiport(self, rule):
        if not self.needs(rule, ['tcp', 'udp']):
            return
        option = pick(self.rng, [(40, 'dports'), (5, 'sports'), (4 if self.allowed('multiport --ports') else 0, 'ports')])
        if option == 'ports' and 'limit' in rule.used:
            option = 'dports'
        values = self.pool.port_list(self.rng.randint(1, 7))[:7] or ['22']
        self.put(rule, 'multiport', f"-m multiport {self.no(6)}--{option} {','.join(v.replace('-', ':') for v in values)}")

    def addrtype(self, rule):
        if self.allowed('addrtype') and self.family == 4:
            kind = self.rng.choice(['LOCAL', 'LOCAL', 'BROADCAST', 'MULTICAST', 'UNICAST', 'LOCAL,BROADCAST'])
            self.put(rule, 'addrtype', f"-m addrtype {self.no(15)}--{self.rng.choice(['dst', 'dst', 'src'])}-type {kind}")

    def comment(self, rule):
        self.put(rule, 'comment', f"""-m comment --comment "{self.rng.choice(['web', 'drop all', '-j ACCEPT', "user's"])}" """.rstrip())

    def ttl(self, rule):
        name = 'ttl' if self.family == 4 else 'hl'
        self.put(rule, 'ttl', f"-m {name} --{name}-{self.rng.choice(['eq', 'lt', 'gt'])} {self.rng.choice([1, 2, 63, 64, 65, 254])}")

    def rt(self, rule):
        if self.family == 6:
            self.put(rule, 'rt', f"-m rt{self.rng.choice([' --rt-type 0', ' --rt-type 0', ' ! --rt-type 2', ' --rt-type 4', ''])}")

    def mark(self, rule):
        self.put(rule, 'mark', f"-m mark {self.no()}--mark {self.rng.choice(['0x0', '0x1', '0x1/0xff', '0x10/0x10', '0xffffffff'])}")

    def mac(self, rule):
        if self.allowed('mac') and rule.chain.hook == 'input':
            self.put(rule, 'mac', f'-m mac {self.no(15)}--mac-source 02:00:00:00:00:0{self.rng.randint(1, 3)}')

    def iprange(self, rule):
        self.put(rule, 'iprange', f"-m iprange {self.no(15)}--{self.rng.choice(['src', 'dst'])}-range {'-'.join(self.pool.span(self.family))}")

    def length(self, rule):
        self.put(rule, 'length', f"-m length {self.no(15)}--length {self.rng.choice(['40', '28:60', '0:84', '100:65535', '85'])}")

    def pkttype(self, rule):
        self.put(rule, 'pkttype', f"-m pkttype {self.no(15)}--pkt-type {self.rng.choice(['broadcast', 'multicast', 'unicast'])}")

    def tos(self, rule):
        words = self.rng.choice(['tos --tos 0x10/0x3f', 'tos --tos 0x08/0xff', 'dscp --dscp 0x08', 'dscp --dscp 0x2e'])
        self.put(rule, 'tos', f'-m {words}')

    # targets

    def target(self, rule, callees):
        rng = self.rng
        # a verdict without matches in the middle of a chain hides all that follows: rare
        if not rule.words and not chance(rng, 5):
            return pick(rng, [(2, ''), (2, '-j LOG')])
        kind = pick(rng, [(195, 'ACCEPT'), (130, 'DROP'), (80, 'REJECT'), (40, 'RETURN'), (35, 'LOG'), (3, 'NFLOG'), (15, ''), (8, 'MARK'),
                          (60 if callees else 0, 'jump'), (8 if callees else 0, 'goto')])
        if kind in ('jump', 'goto'):
            callee = rng.choice(callees)
            rule.chain.flat += callee.flat
            return f"-{'j' if kind == 'jump' else 'g'} {callee.name}"
        if kind == 'REJECT':
            if rule.l4 == 'tcp' and chance(rng, 45):
                return '-j REJECT --reject-with tcp-reset'
            return '-j REJECT' + pick(rng, [(1, ''), (2, f' --reject-with {rng.choice(REJECTS[self.family])}')])
        if kind == 'LOG':
            return '-j LOG' + pick(rng, [(2, ''), (5, ' --log-prefix "DROP: "'), (2, ' --log-prefix "x " --log-level 7'),
                                         (1, ' --log-tcp-options --log-ip-options')])
        if kind == 'NFLOG':
            return f'-j NFLOG --nflog-group {rng.randint(1, 5)} --nflog-prefix "n "'
        if kind == 'MARK':
            return f"-j MARK --set-xmark {rng.choice(['0x1/0xffffffff', '0x1/0xff', '0x10/0x10'])}" if self.allowed('MARK') else '-j RETURN'
        return f'-j {kind}' if kind else ''


def generate(rng, size, family, allowed):
    """One *filter table of about `size` rules as text. `allowed(name)` says which constructs may be used."""
    return Filter(rng, family, allowed).make(size)
