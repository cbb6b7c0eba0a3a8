#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What a packet pays for a firewall, on the way that users have: frames go into or through a namespace that has no
firewall, merlon, nftables or iptables, in turns, round by round. Prints each system's median above no firewall.

  established_forward     one flow that was answered, judged long ago; two hooks of merlon's
  nf_conntrack_path       the same flow, nf_conntrack and one rule, `ct state established accept`: the least that being
                          stateful costs without merlon
  new_flow_10k_rules      100,000 distinct flows in random order, one pass, over 10,000 rules, to the host itself
  new_flow_10k_forward    the same through the host
"""
import json
import os
import random
import tempfile

import hosts
from hosts import run

RULES = 10000
FLOWS = 100000


def dotted(v):
    return '.'.join(str(v >> s & 255) for s in (24, 16, 8, 0))


def rules(n, seed):
    """Rules as site policies have them: a client prefix, a server prefix, a service; and a packet inside of each."""
    r = random.Random(seed)
    nets = [r.randrange(1 << 24, 126 << 24) & ~0xff for _ in range(300)]
    served = [r.randrange(128 << 24, 190 << 24) & ~0xff for _ in range(300)]
    for _ in range(n):
        length = r.choice((16, 24, 24, 28, 32, 32))
        saddr = (r.choice(nets) | r.randrange(256)) & ~((1 << 32 - length) - 1)
        dlength = r.choice((24, 32, 32, 32))
        daddr = (r.choice(served) | r.randrange(256)) & ~((1 << 32 - dlength) - 1)
        low = r.choice((22, 53, 80, 123, 443, 3306, 5432, 8080, r.randrange(1024, 60000)))
        high = low if r.random() < .8 else low + r.randrange(1, 100)
        yield {'proto': r.choice(('tcp', 'udp')), 'saddr': saddr, 'slen': length, 'daddr': daddr, 'dlen': dlength,
               'low': low, 'high': high}


def as_iptables(policy, chain='FORWARD', established=False):
    lines = ['*filter'] + [f":{c} {'DROP' if c == chain else 'ACCEPT'} [0:0]" for c in ('INPUT', 'FORWARD', 'OUTPUT')]
    if established:
        lines.append(f'-A {chain} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT')
    for p in policy:
        ports = str(p['low']) if p['low'] == p['high'] else f"{p['low']}:{p['high']}"
        lines.append(f"-A {chain} -s {dotted(p['saddr'])}/{p['slen']} -d {dotted(p['daddr'])}/{p['dlen']} "
                     f"-p {p['proto']} -m {p['proto']} --dport {ports} -j ACCEPT")
    return '\n'.join(lines + ['COMMIT', ''])


def as_nft(policy, chain='forward', established=False, default='drop'):
    lines = ['table ip bench {', f'chain c {{ type filter hook {chain} priority 0; policy {default};']
    if established:
        lines.append('ct state established accept')
    for p in policy:
        lines.append(f"ip saddr {dotted(p['saddr'])}/{p['slen']} ip daddr {dotted(p['daddr'])}/{p['dlen']} "
                     f"{p['proto']} dport {p['low']}-{p['high'] if p['high'] > p['low'] else p['low'] + 1} accept")
    return '\n'.join(lines + ['}', '}', ''])


def packets(policy, n, seed):
    r = random.Random(seed)
    lines = set()
    # UDP without a listener ends in a refused ICMP error, at the same small price for all; TCP would be answered
    policy = [p for p in policy if p['proto'] == 'udp']
    while len(lines) < n:
        p = r.choice(policy)
        s = p['saddr'] + r.randrange(1 << 32 - p['slen'])
        d = p['daddr'] + r.randrange(1 << 32 - p['dlen'])
        lines.add(f"udp {dotted(s)} {r.randrange(1024, 65535)} {dotted(d)} {r.randrange(p['low'], p['high'] + 1)}")
    lines = list(lines)
    r.shuffle(lines)
    return '\n'.join(lines) + '\n'


class Router:
    def __init__(self, build, work):
        self.build, self.work, self.daemon = build, work, None
        self.ns = {h: f'merlon-bench-{os.getpid()}-{h}' for h in ('from', 'router', 'to')}

    def inside(self, host, *argv, **kw):
        return run('nsenter', f'--net=/run/netns/{self.ns[host]}', *argv, **kw)

    def make(self):
        for ns in self.ns.values():
            run('ip', 'netns', 'add', ns)
        r = self.ns['router']
        for host, device in (('from', 'in0'), ('to', 'out0')):
            run('ip', '-n', r, 'link', 'add', device, 'type', 'veth', 'peer', 'name', 'up0', 'netns', self.ns[host])
            run('ip', '-n', r, 'link', 'set', device, 'up')
            run('ip', '-n', self.ns[host], 'link', 'set', 'up0', 'up')
        run('ip', '-n', r, 'link', 'set', 'lo', 'up')
        run('ip', '-n', r, 'addr', 'add', '127.99.0.1/32', 'dev', 'lo')
        run('ip', '-n', r, 'addr', 'add', '192.0.2.1/30', 'dev', 'out0')
        run('ip', '-n', r, 'neigh', 'add', '192.0.2.2', 'lladdr', '02:00:00:00:00:01', 'dev', 'out0')
        run('ip', '-n', r, 'route', 'add', 'default', 'via', '192.0.2.2')
        self.inside('router', 'sh', '-c', 'echo 1 > /proc/sys/net/ipv4/ip_forward; '
                    'for f in all default in0; do echo 0 > /proc/sys/net/ipv4/conf/$f/rp_filter; done; '
                    'cd /proc/sys/net/ipv4; echo 0 > icmp_msgs_per_sec; echo 0 > icmp_msgs_burst; '
                    'echo 1000000 > /proc/sys/net/netfilter/nf_conntrack_max 2>/dev/null; true')
        self.mac = {host: json.loads(run('ip', '-n', r, '-j', 'link', 'show', device))[0]['address']
                    for host, device in (('from', 'in0'), ('to', 'out0'))}
        run('ip', '-n', r, 'neigh', 'add', '192.0.2.6', 'lladdr', '02:00:00:00:00:02', 'dev', 'in0')

    def send(self, file, count, host='from'):
        return float(self.inside(host, f'{self.build}/tests/bench/send', 'up0', self.mac[host], file, str(count)))

    def deliver_locally(self, yes):
        run('ip', '-n', self.ns['router'], 'route', 'replace' if yes else 'del', 'local', '128.0.0.0/2', 'dev', 'lo', check=yes)

    def establish(self, flow, answer, saddr):
        """Question, answer, question: established for nf_conntrack, assured for merlon."""
        run('ip', '-n', self.ns['router'], 'route', 'replace', f'{saddr}/32', 'via', '192.0.2.6', 'dev', 'in0', 'onlink')
        self.send(flow, 1)
        self.send(answer, 1, 'to')
        self.send(flow, 1000)

    def start_merlon(self, ruleset):
        work = tempfile.mkdtemp(dir=self.work)
        self.daemon = hosts.Daemon(self.build, self.ns['router'], work)
        self.daemon.call('apply', ruleset)

    def stop_merlon(self):
        if self.daemon:
            self.daemon.remove()
            self.daemon = None

    def clean(self):
        for tool in 'iptables-legacy', 'iptables-nft':
            self.inside('router', tool, '-F', check=False)
            self.inside('router', tool, '-P', 'FORWARD', 'ACCEPT', check=False)
        self.inside('router', 'nft', 'flush', 'ruleset')
        self.inside('router', 'conntrack', '-F', check=False)

    def remove(self):
        self.stop_merlon()
        for ns in self.ns.values():
            run('ip', 'netns', 'del', ns, check=False)


def measure(router, rounds, files):
    def nothing(): return None
    flows, one = files['flows'], files['one']
    systems = {
        # name: (prepare, file, packets)
        'none_new': (nothing, flows, FLOWS),
        'none_input': (nothing, flows, FLOWS),
        'merlon_input': (lambda: router.start_merlon(files['iptables-input']), flows, FLOWS),
        'nft_input': (lambda: router.inside('router', 'nft', '-f', files['nft-input']), flows, 5000),
        'iptables_legacy_input':
            (lambda: router.inside('router', 'iptables-legacy-restore', files['iptables-input']), flows, 5000),
        'none_established': (nothing, one, 500000),
        'merlon_new': (lambda: router.start_merlon(files['iptables']), flows, FLOWS),
        'merlon_established': (lambda: router.start_merlon(files['iptables-established']), one, 500000),
        'nft_established': (lambda: router.inside('router', 'nft', '-f', files['nft-established']), one, 500000),
        'conntrack_established': (lambda: router.inside('router', 'nft', '-f', files['nft-conntrack']), one, 500000),
        'iptables_legacy_established':
            (lambda: router.inside('router', 'iptables-legacy-restore', files['iptables-established']), one, 500000),
        'nft_new': (lambda: router.inside('router', 'nft', '-f', files['nft']), flows, 5000),
        'iptables_legacy_new': (lambda: router.inside('router', 'iptables-legacy-restore', files['iptables']), flows, 5000),
    }
    taken = {name: [] for name in systems}
    for i in range(rounds):
        for name, (prepare, file, count) in systems.items():
            prepare()
            router.deliver_locally(name.endswith('_input'))
            if file == one:
                router.establish(one, files['answer'], files['saddr'])
            if file == flows:
                router.send(files['before'], count)  # the first touch of a table's pages is no part of this
            taken[name].append(router.send(file, count))
            router.stop_merlon()
            router.clean()
            hosts.progress('round', i + 1, name)
    hosts.progress('')
    return taken


def above(ns, name, base):
    """Of each round: what it takes more than the same way without a firewall."""
    return [a - b for a, b in zip(ns[name], ns[base])]


def main():
    args = hosts.parser(__doc__, 5).parse_args()
    hosts.ended_by_signals()
    policy = list(rules(RULES, 1))
    with tempfile.TemporaryDirectory(prefix='merlon-bench.') as work:
        few = policy[:10]
        texts = {'iptables': as_iptables(policy), 'iptables-input': as_iptables(policy, 'INPUT'),
                 'iptables-established': as_iptables(few, established=True),
                 'nft': as_nft(policy), 'nft-input': as_nft(policy, 'input'), 'nft-established': as_nft(few, established=True),
                 'nft-conntrack': as_nft([], established=True, default='accept'),
                 'flows': packets(policy, FLOWS, 2), 'before': packets(policy, FLOWS, 4),
                 'one': packets(few, 1, 3)}
        proto, saddr, sport, daddr, dport = texts['one'].split()
        texts['answer'] = f'{proto} {daddr} {dport} {saddr} {sport}\n'
        files = {'saddr': saddr}
        for name, text in texts.items():
            files[name] = f'{work}/{name}'
            with open(files[name], 'w', encoding='utf-8') as f:
                f.write(text)
        router = Router(args.build, work)
        try:
            router.make()
            ns = measure(router, args.rounds, files)
        finally:
            router.remove()
    report = hosts.Report(args.json)
    report.figure('no_firewall_forward_ns', ns['none_established'], 'ns', 1)
    for way, base, name in (('input', 'none_input', 'new_flow_10k_rules'), ('new', 'none_new', 'new_flow_10k_forward'),
                            ('established', 'none_established', 'established_forward')):
        for system in 'merlon', 'nft', 'iptables_legacy':
            report.figure(f"{name}{'' if system == 'merlon' else '_' + system}_ns", above(ns, f'{system}_{way}', base), 'ns', 1)
    report.figure('nf_conntrack_path_ns', above(ns, 'conntrack_established', 'none_established'), 'ns', 1)


if __name__ == '__main__':
    main()
