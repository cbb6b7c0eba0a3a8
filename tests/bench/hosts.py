# SPDX-License-Identifier: GPL-2.0-or-later
"""Hosts that the benchmarks send to: network namespaces on both sides of one that has no firewall, merlon, nftables or
iptables. All systems stand at once, each on a host of its own, so that rounds take turns packet by packet."""
import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time

PORT = 7000         # what the floods send to
STREAM_PORT = 5201
BEHIND = '192.0.2.9'  # what is reached through the host
HOST = {'from': '10.77.0.1', 'to': '192.0.2.1'}
# floor: programs at TC that do nothing; least: the least that following connections takes there (least.bpf.c)
SYSTEMS = ('none', 'none2', 'floor', 'merlon', 'nft', 'iptables')

NFT = 'table ip bench {\n' + ''.join(
    f'\tchain {chain} {{\n\t\ttype filter hook {chain} priority filter; policy drop;\n'
    '\t\tct state established,related accept\n'
    f'\t\tudp dport {PORT} accept\n\t\ttcp dport {STREAM_PORT} accept\n\t}}\n' for chain in ('input', 'forward')) + '}\n'
IPTABLES = '*filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n' + ''.join(
    f'-A {chain} -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT\n-A {chain} -p udp -m udp --dport {PORT} -j ACCEPT\n'
    f'-A {chain} -p tcp -m tcp --dport {STREAM_PORT} -j ACCEPT\n' for chain in ('INPUT', 'FORWARD')) + 'COMMIT\n'


def run(*argv, check=True, **kw):
    r = subprocess.run(argv, text=True, capture_output=True, check=False, **kw)
    if check and r.returncode:
        sys.exit(f"{' '.join(argv)}: exit {r.returncode}\n{r.stdout}{r.stderr}")
    return r.stdout


class Daemon:
    """merlond with the maps and pins of a fresh machine, in a network namespace that is there."""

    def __init__(self, build, netns, work, options=('--policy-netns', 'none'), environment=None):
        self.build, self.work, self.socket = build, work, f'{work}/sock'
        os.makedirs(f'{work}/bpf')
        run('mount', '-t', 'bpf', '-o', 'mode=0700', 'bpf', f'{work}/bpf')
        with open(f'{work}/log', 'w', encoding='utf-8') as log:
            self.started = time.monotonic()
            self.process = subprocess.Popen(['nsenter', f'--net=/run/netns/{netns}', f'{build}/src/merlond', '--foreground',
                                             '--socket', self.socket, '--pin-dir', f'{work}/bpf/merlon', '--state-dir',
                                             f'{work}/state', *options], stdout=log, stderr=log,
                                            env={**os.environ, **(environment or {})})
        while not self.listens():
            if self.process.poll() is not None or time.monotonic() > self.started + 30:
                self.remove()
                sys.exit('merlond does not start')
            time.sleep(0.001)

    def listens(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            return probe.connect_ex(self.socket) == 0

    def command(self, *words):
        return [f'{self.build}/src/merlon', words[0], '--socket', self.socket, *words[1:]]

    def call(self, *words):
        return run(*self.command(*words))

    def json(self, *words):
        return json.loads(self.call(*words, '--json'))

    def cpu_s(self):
        """What it has used, and its children that have ended."""
        pid = self.process.pid
        # the clock of a process by its number, CPUCLOCK_SCHED of linux/posix-timers.h: of threads that have ended, too
        used = time.clock_gettime(~pid << 3 | 2)
        with open(f'/proc/{pid}/stat', encoding='utf-8') as stat:
            return used + sum(int(t) for t in stat.read().rsplit(')', 1)[1].split()[13:15]) / os.sysconf('SC_CLK_TCK')

    def remove(self):
        if self.process.poll() is None:
            run(*self.command('stop'), check=False)
            self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        run('umount', f'{self.work}/bpf', check=False)


class Host:
    """One system between two neighbours, 'from' and 'to'; it judges what 'from' sends to it and through it."""

    def __init__(self, build, work, system):
        self.build, self.work, self.system, self.daemon, self.floor = build, f'{work}/{system}', system, None, None
        self.kind = system.rstrip('2')     # merlon2: another one of merlon
        self.ns = {h: f'merlon-bench-{os.getpid()}-{system}-{h}' for h in ('from', 'host', 'to')}
        self.mac = {}
        os.makedirs(self.work)

    def inside(self, host, *argv):
        return ['nsenter', f'--net=/run/netns/{self.ns[host]}', *argv]

    def ip(self, host, *words):
        return run('ip', '-n', self.ns[host], *words)

    def make(self):
        for ns in self.ns.values():
            run('ip', 'netns', 'add', ns)
        for there, device, net in ('from', 'in0', '10.77.0'), ('to', 'out0', '192.0.2'):
            self.ip('host', 'link', 'add', device, 'type', 'veth', 'peer', 'name', 'up0', 'netns', self.ns[there])
            self.ip('host', 'addr', 'add', f'{net}.1/24', 'dev', device)
            self.ip(there, 'addr', 'add', f'{net}.2/24', 'dev', 'up0')
            self.ip('host', 'link', 'set', device, 'up')
            self.ip(there, 'link', 'set', 'up0', 'up')
            self.ip(there, 'route', 'add', 'default', 'via', f'{net}.1')
            self.mac[there] = json.loads(self.ip('host', '-j', 'link', 'show', device))[0]['address']
        self.ip('host', 'link', 'set', 'lo', 'up')
        # whom floods come from, and where they go to, takes what it gets for another's, and drops it at once
        self.ip('host', 'neigh', 'add', '10.77.0.3', 'lladdr', '02:00:00:00:00:03', 'dev', 'in0')
        self.ip('host', 'route', 'add', '10.0.0.0/10', 'via', '10.77.0.3')
        self.ip('host', 'neigh', 'add', BEHIND, 'lladdr', '02:00:00:00:00:09', 'dev', 'out0')
        run(*self.inside('host', 'sh', '-c', 'cd /proc/sys/net/ipv4; echo 1 > ip_forward; echo 0 > icmp_msgs_per_sec; '
                         'for f in all default in0 out0; do echo 0 > conf/$f/rp_filter; done'))

    def enforce(self, text=None, file=None, options=()):
        """The system's firewall: text, or rules that accept what is established and new flows of the floods; of floor: 'drop'.
        What is in file, if one is given; options are merlond's."""
        if not file:
            file = f'{self.work}/rules'
            with open(file, 'w', encoding='utf-8') as f:
                f.write(text or (IPTABLES if self.kind == 'iptables' else NFT))
        if self.kind == 'nft':
            run(*self.inside('host', 'nft', '-f', file))
        elif self.kind == 'iptables':
            run(*self.inside('host', 'iptables-legacy-restore', file))
        elif self.kind in ('floor', 'least'):
            what = ['--drop'] if text == 'drop' else ['--least'] if self.kind == 'least' else []
            self.floor = subprocess.Popen(self.inside('host', f'{self.build}/tests/bench/floor', *what, 'in0', 'out0'),
                                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            if not self.floor.stdout.readline():
                sys.exit('tests/bench/floor does not start')
        elif self.kind == 'merlon':
            if not self.daemon:
                self.daemon = Daemon(self.build, self.ns['host'], f'{self.work}/d', ('--policy-netns', 'none', *options))
            self.daemon.call('apply', os.path.abspath(file))

    def remove(self):
        if self.daemon:
            self.daemon.remove()
        if self.floor:
            self.floor.communicate()
        for ns in self.ns.values():
            run('ip', 'netns', 'del', ns, check=False)

    def flood(self, *options, way='input', live=False, answers=False):
        """Sends, and returns what tests/bench/flood says of it; what it takes is one core's time, of the last core."""
        there = 'to' if answers else 'from'
        place = ('host', 'in0') if live else (there, 'up0')
        return json.loads(run(*self.inside(place[0], f'{self.build}/tests/bench/flood', *(('--way', 'live') if live else ()),
                                           '--cpu', str(os.cpu_count() - 1), *(('--answers',) if answers else ()),
                                           *map(str, options), place[1], self.mac[there],
                                           HOST['from'] if way == 'input' else BEHIND)))

    def sink(self):
        return '--sink', f"/run/netns/{self.ns['host']}"

    def received(self):
        """Packets that have come out of the host towards 'to'."""
        with subprocess.Popen(self.inside('to', 'cat', '/proc/net/dev'), stdout=subprocess.PIPE, text=True) as p:
            return next(int(line.split()[2]) for line in p.stdout if line.lstrip().startswith('up0:'))

    def establish(self, flows, way, first=0):
        """Question, answer, question: established for nf_conntrack, assured for merlon."""
        options = ('--flows', flows, '--packets', flows, '--first', first)
        if way == 'input':
            self.flood(*options, *self.sink(), '--echo')
            self.flood(*options, *self.sink())
        else:
            self.flood(*options, way=way)
            self.flood(*options, way=way, answers=True)
            self.flood(*options, way=way)


class Hosts:
    """All that are asked for; gone at the end, however it ends."""

    def __init__(self, build, work, systems=SYSTEMS):
        self.all = {system: Host(build, work, system) for system in systems}

    def __enter__(self):
        try:
            for host in self.all.values():
                host.make()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for host in self.all.values():
            host.remove()

    def items(self):
        return self.all.items()

    def __getitem__(self, system):
        return self.all[system]


class Report:
    """Figures and points of plots, a line each, as JSON or for people."""

    def __init__(self, as_json):
        self.json = as_json

    def figure(self, name, values, unit, digits=3, **more):
        """The median of what the rounds gave, or one value."""
        values = [values] if isinstance(values, (int, float)) else values
        value = round(statistics.median(values), digits)
        low, high = round(min(values), digits), round(max(values), digits)
        if self.json:
            print(json.dumps({'figure': name, 'value': value, 'unit': unit, 'low': low, 'high': high, **more}), flush=True)
        else:
            spread = f'  ({low} - {high})' if len(values) > 1 else ''
            print(f"{name:40} {value:12} {unit}{spread}{''.join(f', {k} {v}' for k, v in more.items())}", flush=True)

    def point(self, series, system, x, values, digits=3):
        values = [values] if isinstance(values, (int, float)) else values
        if self.json:
            print(json.dumps({'series': series, 'system': system, 'x': x, 'y': round(statistics.median(values), digits),
                              'low': round(min(values), digits), 'high': round(max(values), digits)}), flush=True)


def progress(*words):
    if sys.stderr.isatty():
        print(f"\r  {' '.join(map(str, words)):60}", end='', file=sys.stderr, flush=True)


def parser(doc, rounds):
    """Of the arguments that all benchmarks take."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument('--build', default=os.environ.get('MERLON_BUILD', 'build'))
    made.add_argument('--rounds', type=int, default=rounds)
    made.add_argument('--json', action='store_true')
    return made


def ended_by_signals():
    """A kill removes what was made, too."""
    for s in signal.SIGTERM, signal.SIGHUP:
        signal.signal(s, lambda number, _: sys.exit(128 + number))
