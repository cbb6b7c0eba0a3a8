#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What it takes to put rules in force and to keep them, and what they cost where packets are denied, in a network namespace of
its own; nft and iptables beside it, in turns.

  apply_100k_ratio_nft        `merlon apply` of 100,000 rules, from the text until they are in force, as a multiple of `nft -f`
  apply_100k_ratio_iptables   the same rules as iptables-save text, and `iptables-nft-restore`
  element_add_100k_ms         `merlon nft add element` into a set of 100,000 networks, until it is in force
  blocklist_100k_drop_ns      a packet from one of those networks, above a program that drops: distinct ones in random order
  image_bytes_per_rule_100k   kernel memory that merlon takes for 100,000 rules less that for one, as /proc/meminfo says
                              (VmallocUsed and Percpu), beyond what nf_tables takes for them where `nft -f` alone loads
                              them; the most of three families of rules (tests/bench/rulegen.h)
  kernel_bytes_per_rule_100k  with nf_tables' own, which merlon has too, in the namespace where `merlon nft` edits
  program_load_ms             the kernel's time to load the programs, for a first policy that is small
  verified_insns_max, _all    instructions that the verifier went through: of one program, and of all
"""
import json
import os
import random
import signal
import tempfile
import time

import hosts
import path
from hosts import run

DEVICE = 'in0'
FAMILIES = 'few', 'many', 'mixed'
PASSES = 3
MEMORY_ROUNDS = 3
INSTALLED = '/usr'


def seconds(argv):
    begin = time.monotonic()
    run(*argv)
    return time.monotonic() - begin


def meminfo(*names):
    """Bytes."""
    with open('/proc/meminfo', encoding='utf-8') as lines:
        return sum(int(line.split()[1]) * 1024 for line in lines if line.split(':')[0] in names)


def settled(*names):
    """What the kernel frees, it frees a while later (RCU)."""
    before = None
    for _ in range(20):
        now = meminfo(*names)
        if now == before:
            break
        before = now
        time.sleep(0.15)
    return now


class Host:
    """A namespace, and merlond in it."""

    def __init__(self, args, work):
        self.args, self.work, self.daemon = args, work, None
        self.netns = f'merlon-bench-{os.getpid()}-host'
        self.loads = f'{work}/loads'

    def make(self):
        run('ip', 'netns', 'add', self.netns)
        run('ip', '-n', self.netns, 'link', 'add', DEVICE, 'address', '02:00:00:00:00:01', 'type', 'veth', 'peer', 'name', 'up0')
        for device in 'lo', DEVICE, 'up0':
            run('ip', '-n', self.netns, 'link', 'set', device, 'up')
        run('ip', '-n', self.netns, 'addr', 'add', '192.0.2.1/24', 'dev', DEVICE)
        source = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'loads.c')
        run('cc', '-O1', '-shared', '-fPIC', '-o', f'{self.work}/loads.so', source, '-ldl')

    def inside(self, *argv):
        return ['nsenter', f'--net=/run/netns/{self.netns}', *argv]

    def start(self, build=None):
        """A daemon that knows nothing of the one before."""
        if os.path.exists(self.loads):
            os.remove(self.loads)
        self.daemon = hosts.Daemon(build or self.args.build, self.netns, tempfile.mkdtemp(dir=self.work),
                                   environment={'LD_PRELOAD': f'{self.work}/loads.so', 'MERLON_BENCH_LOADS': self.loads})

    def stop(self):
        if self.daemon:
            self.daemon.remove()
            self.daemon = None

    def remove(self):
        self.stop()
        run('ip', 'netns', 'del', self.netns, check=False)

    def pins(self):
        return f'{self.daemon.work}/bpf/merlon'

    def file(self, name, text):
        with open(f'{self.work}/{name}', 'w', encoding='utf-8') as out:
            out.write(text)
        return f'{self.work}/{name}'

    def load_ms(self):
        """Of all loads since the daemon started."""
        with open(self.loads, encoding='utf-8') as lines:
            return sum(float(line.split()[0]) for line in lines) / 1000


def networks(n, seed):
    return [a << 8 for a in random.Random(seed).sample(range(1 << 16, 126 << 16), n)]


def blocklist(nets):
    elements = ',\n'.join(f'{path.dotted(a)}/24' for a in nets)
    return (f'table inet bench {{\nset blocked {{\ntype ipv4_addr\nflags interval\nelements = {{ {elements} }}\n}}\n'
            'chain c {\ntype filter hook input priority 0; policy accept;\nip saddr @blocked drop\n}\n}\n')


class Bench:
    def __init__(self, args, host):
        self.args, self.host, self.values = args, host, {}
        self.n = args.rules
        policy = list(path.rules(self.n, 1))
        self.one = host.file('one.nft', path.as_nft(policy[:1], 'input'))
        self.nft = host.file('rules.nft', path.as_nft(policy, 'input'))
        self.iptables = host.file('rules.v4', path.as_iptables(policy, 'INPUT'))
        nets = networks(self.n, 2)
        self.blocklist = host.file('blocklist.nft', blocklist(nets))
        rand = random.Random(3)
        self.blocked = host.file('blocked', ''.join(
            f'udp {path.dotted(rand.choice(nets) + rand.randrange(256))} {rand.randrange(1024, 65535)} 192.0.2.1 '
            f'{rand.randrange(1, 65535)}\n' for _ in range(args.packets)))

    def value(self, figure, value):
        self.values.setdefault(figure, []).append(value)

    def applies(self):
        host = self.host
        host.start()
        host.daemon.call('apply', self.one)
        self.value('program_load_ms', host.load_ms())
        for figure, file, other in (('nft', self.nft, ('nft', '-f', self.nft)),
                                    ('iptables', self.iptables, ('iptables-nft-restore', self.iptables))):
            alone = seconds(host.inside(*other))
            run(*host.inside('nft', 'flush', 'ruleset'))
            host.daemon.call('apply', self.one)
            applied = seconds(host.daemon.command('apply', file))
            self.value(f'apply_ratio_{figure}', applied / alone)
            self.value(f'apply_ms_{figure}', 1000 * applied)
            self.value(f'apply_alone_ms_{figure}', 1000 * alone)

    def elements(self):
        host = self.host
        host.daemon.call('apply', self.blocklist)
        for i in range(5):
            element = f'198.51.100.{i * 2}'
            took = seconds(host.daemon.command('nft', 'add', 'element', 'inet', 'bench', 'blocked', f'{{ {element} }}'))
            self.value('element_add_ms', 1000 * took)
        # a silent drop: nobody reads the events, so their ring is full after the first pass
        host.daemon.process.send_signal(signal.SIGSTOP)
        try:
            ns = run(*host.inside(f'{self.args.build}/tests/bench/feed', f'{host.pins()}/progs/ingress',
                                  DEVICE, self.blocked, str(1 + PASSES), '2'))
        finally:
            host.daemon.process.send_signal(signal.SIGCONT)
        for line in ns.split()[1:]:
            self.value('drop_ns', float(line))

    def image(self):
        host, names = self.host, ('VmallocUsed', 'Percpu')
        for family in FAMILIES:
            text = run(f'{self.args.build}/tests/bench/classify', '--print', f'{family}_{self.n}_v4')
            file = host.file(f'{family}.nft', text)
            host.start()
            host.daemon.call('apply', self.one)
            before = settled(*names)
            host.daemon.call('apply', file)
            whole = (settled(*names) - before) / self.n
            host.stop()
            before = settled(*names)
            run(*host.inside('nft', '-f', file))
            self.value(f'kernel_bytes_{family}', whole)
            self.value(f'image_bytes_{family}', whole - (settled(*names) - before) / self.n)
            run(*host.inside('nft', 'flush', 'ruleset'))

    def programs(self):
        """Those that merlond pins are those that this build's benchmarks load: or the figures would be of others."""
        text = run(f'{self.args.build}/tests/bench/programs', '--json', self.host.pins())
        return [json.loads(line) for line in text.splitlines()]

    def installed(self):
        """And so are those of what is installed here, if it is."""
        if os.path.exists(f'{INSTALLED}/sbin/merlond'):
            hosts.progress('installed programs')
            build = f'{self.host.work}/installed'
            os.makedirs(f'{build}/src')
            os.symlink(f'{INSTALLED}/sbin/merlond', f'{build}/src/merlond')
            os.symlink(f'{INSTALLED}/bin/merlon', f'{build}/src/merlon')
            self.host.start(build)
            self.host.daemon.call('apply', self.one)
            self.programs()
            self.host.stop()

    def measure(self):
        self.installed()
        for i in range(self.args.rounds):
            hosts.progress('round', i + 1, 'apply')
            self.applies()
            hosts.progress('round', i + 1, 'elements')
            self.elements()
            if not i:
                self.told = self.programs()
            self.host.stop()
            if i < MEMORY_ROUNDS:
                hosts.progress('round', i + 1, 'memory')
                self.image()
        hosts.progress('')

    def report(self):
        v, report = self.values, hosts.Report(self.args.json)
        n = f'{self.n // 1000}k' if self.n % 1000 == 0 else self.n
        for other in 'nft', 'iptables':
            report.figure(f'apply_{n}_ratio_{other}', v[f'apply_ratio_{other}'], 'times', 2)
            report.figure(f'apply_{n}_{other}_ms', v[f'apply_ms_{other}'], 'ms', 0)
            report.figure(f'apply_{n}_{other}_alone_ms', v[f'apply_alone_ms_{other}'], 'ms', 0)
        report.figure(f'element_add_{n}_ms', v['element_add_ms'], 'ms')
        report.figure(f'blocklist_{n}_drop_ns', v['drop_ns'], 'ns')
        for what in 'image', 'kernel':
            for family in FAMILIES:
                report.figure(f'{what}_bytes_per_rule_{n}_{family}', v[f'{what}_bytes_{family}'], 'bytes', 0)
            most = [max(of_round) for of_round in zip(*(v[f'{what}_bytes_{family}'] for family in FAMILIES))]
            report.figure(f'{what}_bytes_per_rule_{n}', most, 'bytes', 0)
        report.figure('program_load_ms', v['program_load_ms'], 'ms')
        for told in self.told:
            if 'figure' in told:
                report.figure(told['figure'], told['value'], told['unit'], 0)
            elif report.json:
                print(json.dumps(told))


def main():
    parser = hosts.parser(__doc__, 5)
    parser.add_argument('--rules', type=int, default=100000, metavar='N')
    parser.add_argument('--packets', type=int, default=100000, metavar='N', help='that are denied, all distinct')
    args = parser.parse_args()
    args.build = os.path.abspath(args.build)
    hosts.ended_by_signals()
    with tempfile.TemporaryDirectory(prefix='merlon-bench.') as work:
        host = Host(args, work)
        try:
            host.make()
            bench = Bench(args, host)
            bench.measure()
        finally:
            host.remove()
    bench.report()


if __name__ == '__main__':
    main()
