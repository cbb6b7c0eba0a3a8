#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What it takes to put rules in force and to keep them, and what they cost where packets are denied, in a network namespace of
its own; nft and iptables beside it, in turns.

  apply_100k_ratio_nft        `merlon apply` of 100,000 rules, from the text until they are in force, as a multiple of `nft -f`
  apply_100k_ratio_iptables   the same rules as iptables-save text, and `iptables-nft-restore`
  element_add_100k_ms         `merlon nft add element` into a set of 100,000 networks, until it is in force
  blocklist_100k_drop_ns      a packet from one of those networks, above a program that drops: distinct ones in random order
  image_bytes_per_rule_100k   kernel memory for the data plane of 100,000 rules less that for one, as /proc/meminfo says
                              (VmallocUsed and Percpu), the most of three families of rules (tests/bench/rulegen.h)
  program_load_ms             the kernel's time to load the programs when merlond starts
  verified_insns_max, _all    instructions that the verifier went through: of one program, and of all
  memory (series)             kernel memory in MB for so many connections: merlon's table, made for so many, and nf_conntrack's
"""
import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import path
from figures import point, tell

DEVICE = 'in0'


def seconds(argv):
    begin = time.monotonic()
    path.run(*argv)
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
        time.sleep(0.3)
    return now


class Host:
    """A namespace, and merlond in it."""

    def __init__(self, args, work):
        self.args, self.work, self.daemon = args, work, None
        self.netns = f'merlon-bench-{os.getpid()}-host'
        self.loads = f'{work}/loads'

    def make(self):
        path.run('ip', 'netns', 'add', self.netns)
        path.run('ip', '-n', self.netns, 'link', 'add', DEVICE, 'address', '02:00:00:00:00:01', 'type', 'veth', 'peer', 'name', 'up0')
        for device in 'lo', DEVICE, 'up0':
            path.run('ip', '-n', self.netns, 'link', 'set', device, 'up')
        path.run('ip', '-n', self.netns, 'addr', 'add', '192.0.2.1/24', 'dev', DEVICE)
        os.makedirs(f'{self.work}/bpf')
        path.run('mount', '-t', 'bpf', '-o', 'mode=0700', 'bpf', f'{self.work}/bpf')
        source = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'loads.c')
        path.run('cc', '-O1', '-shared', '-fPIC', '-o', f'{self.work}/loads.so', source, '-ldl')

    def inside(self, *argv):
        return ['nsenter', f'--net=/run/netns/{self.netns}', *argv]

    def merlon(self, *argv):
        return [f'{self.args.build}/src/merlon', argv[0], '--socket', f'{self.work}/sock', *argv[1:]]

    def start(self, settings=''):
        """A daemon that knows nothing of the one before."""
        shutil.rmtree(f'{self.work}/state', ignore_errors=True)
        with open(f'{self.work}/conf', 'w', encoding='utf-8') as conf:
            conf.write(settings)
        if os.path.exists(self.loads):
            os.remove(self.loads)
        with open(f'{self.work}/merlond.log', 'w', encoding='utf-8') as log:
            self.daemon = subprocess.Popen(self.inside(
                f'{self.args.build}/src/merlond', '--foreground', '--socket', f'{self.work}/sock', '--pin-dir',
                f'{self.work}/bpf/merlon', '--state-dir', f'{self.work}/state', '--policy-netns', 'none', '--config',
                f'{self.work}/conf'), stdout=log, stderr=log,
                env={**os.environ, 'LD_PRELOAD': f'{self.work}/loads.so', 'MERLON_BENCH_LOADS': self.loads})
        for _ in range(400):
            if os.path.exists(f'{self.work}/sock'):
                return
            time.sleep(0.02)
        sys.exit('merlond does not start')

    def stop(self):
        if self.daemon:
            path.run(*self.merlon('stop'), check=False)
            self.daemon.terminate()
            self.daemon.wait()
            self.daemon = None
            if os.path.exists(f'{self.work}/sock'):
                os.remove(f'{self.work}/sock')

    def remove(self):
        if self.daemon:
            self.daemon.kill()
            self.daemon.wait()
        path.run('umount', f'{self.work}/bpf', check=False)
        path.run('ip', 'netns', 'del', self.netns, check=False)

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
    return (f'table inet bench {{\nset blocked {{\ntype ipv4_addr\nflags interval\nelements = {{ {elements} }}\n}}\nchain c {{\n'
            'type filter hook input priority 0; policy accept;\nip saddr @blocked drop\n}\n}\n')


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

    def step(self, what):
        print(f'\r  {what:60}', end='', file=sys.stderr, flush=True)

    def applies(self):
        host = self.host
        for figure, file, other in (('nft', self.nft, ('nft', '-f', self.nft)),
                                    ('iptables', self.iptables, ('iptables-nft-restore', self.iptables))):
            alone = seconds(host.inside(*other))
            path.run(*host.inside('nft', 'flush', 'ruleset'))
            host.start()
            path.run(*host.merlon('apply', self.one))
            self.value('program_load_ms', host.load_ms())
            applied = seconds(host.merlon('apply', file))
            host.stop()
            self.value(f'apply_ratio_{figure}', applied / alone)
            self.value(f'apply_ms_{figure}', 1000 * applied)
            self.value(f'apply_alone_ms_{figure}', 1000 * alone)

    def elements(self):
        host = self.host
        host.start()
        path.run(*host.merlon('apply', self.blocklist))
        for i in range(5):
            element = f'198.51.100.{i * 2}'
            took = seconds(host.merlon('nft', 'add', 'element', 'inet', 'bench', 'blocked', f'{{ {element} }}'))
            self.value('element_add_ms', 1000 * took)
        # a silent drop: nobody reads the events, so their ring is full after the first pass
        host.daemon.send_signal(signal.SIGSTOP)
        ns = path.run(*host.inside(f'{self.args.build}/tests/bench/feed', f'{host.work}/bpf/merlon/progs/ingress', DEVICE, self.blocked,
                                   '4', '2'))
        host.daemon.send_signal(signal.SIGCONT)
        for line in ns.split()[1:]:
            self.value('drop_ns', float(line))
        host.stop()

    def image(self):
        host, names = self.host, ('VmallocUsed', 'Percpu')
        for family in 'few', 'many', 'mixed':
            self.step(f'memory for {self.n} rules: {family}')
            file = host.file(f'{family}.nft', path.run(f'{self.args.build}/tests/bench/classify', '--print', f'{family}_{self.n}_v4'))
            host.start()
            path.run(*host.merlon('apply', self.one))
            before = settled(*names)
            path.run(*host.merlon('apply', file))
            self.value(f'image_bytes_{family}', (settled(*names) - before) / self.n)
            host.stop()

    def memory(self):
        """Of connections: in merlon's table, which is all there from the beginning, and in nf_conntrack's."""
        host = self.host
        for n in self.args.connections:
            self.step(f'memory for {n} connections')
            used = []
            for most in 64, n:
                host.start(f'[Sessions]\nMax={most}\n')
                path.run(*host.merlon('apply', self.one))
                used.append(settled('VmallocUsed', 'Percpu'))
                host.stop()
            self.value(f'table {n}', (used[1] - used[0]) / 1e6)
            flows = host.file('flows', ''.join(f'udp 10.{i >> 16}.{i >> 8 & 255}.{i & 255} {1024 + i % 60000} 192.0.2.1 9\n'
                                               for i in range(n)))
            path.run(*host.inside('nft', 'add table ip bench; add chain ip bench c { type filter hook input priority 0; }; '
                                  'add rule ip bench c ct state new accept'))
            before = settled('Slab')
            path.run(*host.inside(f'{self.args.build}/tests/bench/send', 'up0', '02:00:00:00:00:01', flows, str(n)))
            self.value(f'conntrack {n}', (meminfo('Slab') - before) / 1e6)
            path.run(*host.inside('conntrack', '-F'))
            path.run(*host.inside('nft', 'flush', 'ruleset'))

    def programs(self):
        host = self.host
        host.start()
        path.run(*host.merlon('apply', self.one))
        text = path.run(f'{self.args.build}/tests/bench/programs', '--json', f'{host.work}/bpf/merlon')
        host.stop()
        self.told = [json.loads(line) for line in text.splitlines()]

    def measure(self):
        for i in range(self.args.rounds):
            self.step(f'round {i + 1}/{self.args.rounds}: apply')
            self.applies()
            self.step(f'round {i + 1}/{self.args.rounds}: elements')
            self.elements()
        self.image()
        self.memory()
        self.step('programs')
        self.programs()
        self.step('')
        print('\r', end='', file=sys.stderr)

    def report(self):
        args, v = self.args, self.values
        n = f'{self.n // 1000}k' if self.n % 1000 == 0 else self.n
        for other in 'nft', 'iptables':
            tell(args, f'apply_{n}_ratio_{other}', v[f'apply_ratio_{other}'], 'times', 2)
            tell(args, f'apply_{n}_{other}_ms', v[f'apply_ms_{other}'], 'ms', 0)
            tell(args, f'apply_{n}_{other}_alone_ms', v[f'apply_alone_ms_{other}'], 'ms', 0)
        tell(args, f'element_add_{n}_ms', v['element_add_ms'], 'ms')
        tell(args, f'blocklist_{n}_drop_ns', v['drop_ns'], 'ns')
        for family in 'few', 'many', 'mixed':
            tell(args, f'image_bytes_per_rule_{n}_{family}', v[f'image_bytes_{family}'], 'bytes', 0)
        tell(args, f'image_bytes_per_rule_{n}', [max(v[f'image_bytes_{f}'][0] for f in ('few', 'many', 'mixed'))], 'bytes', 0)
        tell(args, 'program_load_ms', v['program_load_ms'], 'ms')
        for connections in args.connections:
            point(args, 'memory', 'merlon', connections, v[f'table {connections}'])
            point(args, 'memory', 'nf_conntrack', connections, v[f'conntrack {connections}'])
        for told in self.told:
            if 'figure' in told:
                tell(args, told['figure'], [told['value']], told['unit'], 0)
            elif args.json:
                print(json.dumps(told))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--build', required=True)
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--json', action='store_true')
    parser.add_argument('--rules', type=int, default=100000, metavar='N')
    parser.add_argument('--packets', type=int, default=100000, metavar='N', help='that are denied, all distinct')
    parser.add_argument('--connections', type=lambda s: [int(n) for n in s.split(',')], metavar='N,...',
                        default=[10000, 50000, 100000, 200000])
    args = parser.parse_args()
    args.build = os.path.abspath(args.build)
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
