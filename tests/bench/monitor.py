#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""
What `merlon monitor --json` can take into a file: packets that one rule denies come from 1,000 flows over a veth pair, in a
network namespace of their own; sender, data plane, merlond and the monitor share the machine.

  monitor_events_per_s    events a second that it writes while more come than it can take
  monitor_events_lost     how many of those that come at 200,000 a second are missing in the file
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

PER_S = 200000
RULES = 'table inet bench {\n\tchain c {\n\t\ttype filter hook input priority 0; policy accept;\n' \
        '\t\tudp dport 1000-1999 counter drop\n\t}\n}\n'


def run(*argv, check=True):
    r = subprocess.run(argv, text=True, capture_output=True, check=False)
    if check and r.returncode:
        sys.exit(f"{' '.join(argv)}: exit {r.returncode}\n{r.stdout}{r.stderr}")
    return r.stdout


class Host:
    def __init__(self, build, work):
        self.build, self.work, self.daemon = build, work, None
        self.ns = {h: f'merlon-bench-{os.getpid()}-{h}' for h in ('from', 'host')}

    def inside(self, host, *argv):
        return ['nsenter', f'--net=/run/netns/{self.ns[host]}', *argv]

    def make(self):
        for ns in self.ns.values():
            run('ip', 'netns', 'add', ns)
        run('ip', '-n', self.ns['host'], 'link', 'add', 'in0', 'type', 'veth', 'peer', 'name', 'up0', 'netns', self.ns['from'])
        for host, device in (('host', 'in0'), ('from', 'up0')):
            run('ip', '-n', self.ns[host], 'link', 'set', device, 'up')
        run('ip', '-n', self.ns['host'], 'addr', 'add', '192.0.2.1/24', 'dev', 'in0')
        self.mac = json.loads(run('ip', '-n', self.ns['host'], '-j', 'link', 'show', 'in0'))[0]['address']
        os.makedirs(f'{self.work}/bpf')
        run('mount', '-t', 'bpf', '-o', 'mode=0700', 'bpf', f'{self.work}/bpf')
        with open(f'{self.work}/merlond.log', 'w', encoding='utf-8') as log:
            self.daemon = subprocess.Popen(self.inside(
                'host', f'{self.build}/src/merlond', '--foreground', '--socket', f'{self.work}/sock', '--pin-dir',
                f'{self.work}/bpf/merlon', '--state-dir', f'{self.work}/state'), stdout=log, stderr=log)
        for _ in range(200):
            if os.path.exists(f'{self.work}/sock'):
                break
            time.sleep(0.05)
        run(f'{self.build}/src/merlon', 'apply', '--socket', f'{self.work}/sock', f'{self.work}/rules')

    def remove(self):
        if self.daemon:
            run(f'{self.build}/src/merlon', 'stop', '--socket', f'{self.work}/sock', check=False)
            self.daemon.kill()
            self.daemon.wait()
            run('umount', f'{self.work}/bpf', check=False)
        for ns in self.ns.values():
            run('ip', 'netns', 'del', ns, check=False)

    def flood(self, packets, *per_s):
        """Events in the file, and the seconds until the last one was there."""
        file = f'{self.work}/events'
        with open(file, 'w', encoding='utf-8') as out:
            monitor = subprocess.Popen([f'{self.build}/src/merlon', 'monitor', '--socket', f'{self.work}/sock', '--json'],
                                       stdout=out)
        time.sleep(0.3)
        begin = time.monotonic()
        run(*self.inside('from', f'{self.build}/tests/bench/send', 'up0', self.mac, f'{self.work}/flows', str(packets), *per_s))
        size, end = -1, time.monotonic()
        while os.path.getsize(file) != size:
            size, end = os.path.getsize(file), time.monotonic()
            time.sleep(0.3)
        monitor.terminate()
        monitor.wait()
        with open(file, encoding='utf-8') as lines:
            return sum('"MERLON_DPORT"' in line for line in lines), end - begin


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--build', required=True)
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--json', action='store_true')
    args = parser.parse_args()
    seconds = 1 if args.rounds == 1 else 5
    taken, lost = [], []
    with tempfile.TemporaryDirectory(prefix='merlon-bench.') as work:
        with open(f'{work}/rules', 'w', encoding='utf-8') as f:
            f.write(RULES)
        with open(f'{work}/flows', 'w', encoding='utf-8') as f:
            f.write(''.join(f'udp 192.0.2.{2 + i % 200} {2000 + i} 192.0.2.1 {1000 + i}\n' for i in range(1000)))
        host = Host(args.build, work)
        try:
            host.make()
            for i in range(args.rounds):
                print(f'\r  round {i + 1}/{args.rounds}: monitor', end='', file=sys.stderr, flush=True)
                events, took = host.flood(seconds * 3 * PER_S)
                taken.append(events / took)
                events, _ = host.flood(seconds * PER_S, str(PER_S))
                lost.append(seconds * PER_S - events)
            print(file=sys.stderr)
        finally:
            host.remove()
    for figure, value, unit in (('monitor_events_per_s', statistics.median(taken), '1/s'),
                                ('monitor_events_lost', statistics.median(lost), 'events')):
        if args.json:
            print(json.dumps({'figure': figure, 'value': round(value), 'unit': unit}))
        else:
            print(f'{figure:40} {value:10.0f} {unit}')


if __name__ == '__main__':
    main()
