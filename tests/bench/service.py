#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""
What the daemon takes, in a network namespace of its own, on a machine that should do nothing else.

  cold_start_beyond_load_ms   from the start of merlond until a policy of 1,000 rules is in force, without what the kernel takes
                              to load the programs (BPF_PROG_LOAD); median
  cold_start_load_ms          that
  cold_start_cpu_ms           what merlond uses of processors beyond the loads, which a busy machine changes less; median
  idle_cpu_pct, idle_rss_mb   of merlond with that policy, over 20 seconds without traffic
  status_during_apply_ms      the longest that `merlon status` takes while 100,000 rules are put in force
"""
import argparse
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

IDLE_S = 20


def rules(n):
    lines = [f'ip saddr 10.{i % 250}.{i // 250 % 250}.{i % 7} udp dport {1000 + i % 30000} drop' for i in range(n)]
    return 'table inet bench {\nchain in {\ntype filter hook input priority filter; policy accept;\n' + '\n'.join(lines) + '\n}\n}\n'


class Daemon:
    """merlond with the maps and pins of a fresh machine."""

    def __init__(self, build, netns, work, **environment):
        self.build, self.work, self.socket = build, work, f'{work}/sock'
        os.makedirs(f'{work}/bpf')
        subprocess.run(['mount', '-t', 'bpf', '-o', 'mode=0700', 'bpf', f'{work}/bpf'], check=True)
        with open(f'{work}/log', 'w', encoding='utf-8') as log:
            self.started = time.monotonic()
            self.process = subprocess.Popen(['nsenter', f'--net=/run/netns/{netns}', f'{build}/src/merlond', '--foreground', '--socket',
                                             self.socket, '--pin-dir', f'{work}/bpf/merlon', '--state-dir',
                                             f'{work}/state', '--policy-netns', 'none'], stdout=log, stderr=log,
                                            env={**os.environ, **environment})
        while not self.listens():
            if self.process.poll() is not None or time.monotonic() > self.started + 30:
                self.remove()
                sys.exit('merlond does not start')
            time.sleep(0.001)

    def listens(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            return probe.connect_ex(self.socket) == 0

    def call(self, *words):
        return [f'{self.build}/src/merlon', words[0], '--socket', self.socket, *words[1:]]

    def remove(self):
        if self.process.poll() is None:
            subprocess.run(self.call('stop'), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        subprocess.run(['umount', f'{self.work}/bpf'], check=False)


def cpu_s(pid):
    """What its threads have used, and its children that have ended."""
    used = 0
    for thread in os.listdir(f'/proc/{pid}/task'):
        with open(f'/proc/{pid}/task/{thread}/schedstat', encoding='utf-8') as stat:
            used += int(stat.read().split()[0]) / 1e9
    with open(f'/proc/{pid}/stat', encoding='utf-8') as stat:
        return used + sum(int(t) for t in stat.read().rsplit(')', 1)[1].split()[13:15]) / os.sysconf('SC_CLK_TCK')


def cold_start(build, netns, work, ruleset):
    """Milliseconds beyond the loads, of the loads, and of processors beyond the loads."""
    loads = f'{work}/loads'
    daemon = Daemon(build, netns, f'{work}/cold', LD_PRELOAD=f'{work}/loads.so', MERLON_BENCH_LOADS=loads)
    try:
        subprocess.run(daemon.call('apply', ruleset), stdout=subprocess.DEVNULL, check=True)
        took = time.monotonic() - daemon.started
        used = cpu_s(daemon.process.pid)
        with open(loads, encoding='utf-8') as lines:
            load = [sum(column) / 1e6 for column in zip(*(map(float, line.split()) for line in lines))]
    finally:
        daemon.remove()
    shutil.rmtree(f'{work}/cold')
    os.remove(loads)
    return [1000 * s for s in (took - load[0], load[0], used - load[1])]


def idle(pid):
    def ticks():
        with open(f'/proc/{pid}/stat', encoding='utf-8') as stat:
            fields = stat.read().rsplit(')', 1)[1].split()
        return int(fields[11]) + int(fields[12])

    before = ticks()
    time.sleep(IDLE_S)
    cpu = 100 * (ticks() - before) / os.sysconf('SC_CLK_TCK') / IDLE_S
    with open(f'/proc/{pid}/status', encoding='utf-8') as status:
        rss = int(re.search(r'^VmRSS:\s+(\d+) kB', status.read(), re.M)[1]) / 1024
    return cpu, rss


def status_during(daemon, ruleset):
    worst = n = 0
    apply = subprocess.Popen(daemon.call('apply', ruleset), stdout=subprocess.DEVNULL)
    while apply.poll() is None:
        begin = time.monotonic()
        subprocess.run(daemon.call('status', '--json'), stdout=subprocess.DEVNULL, check=True)
        worst, n = max(worst, time.monotonic() - begin), n + 1
    if apply.returncode or n < 5:
        sys.exit(f'apply ends with {apply.returncode}, and status answered {n} times')
    return 1000 * worst


def measure(build, netns, work, rounds):
    files = {}
    for n in (1000, 100000):
        files[n] = f'{work}/{n}.nft'
        with open(files[n], 'w', encoding='utf-8') as out:
            out.write(rules(n))
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'loads.c')
    subprocess.run(['cc', '-O1', '-shared', '-fPIC', '-o', f'{work}/loads.so', source, '-ldl'], check=True)
    starts = [cold_start(build, netns, work, files[1000]) for _ in range(rounds)]
    daemon = Daemon(build, netns, f'{work}/idle')
    try:
        subprocess.run(daemon.call('apply', files[1000]), stdout=subprocess.DEVNULL, check=True)
        cpu, rss = idle(daemon.process.pid)
        slowest = status_during(daemon, files[100000])
    finally:
        daemon.remove()
    beyond, load, used = (round(statistics.median(column), 1) for column in zip(*starts))
    return {'cold_start_beyond_load_ms': beyond, 'cold_start_load_ms': load, 'cold_start_cpu_ms': used,
            'idle_cpu_pct': round(cpu, 3), 'idle_rss_mb': round(rss, 1), 'status_during_apply_ms': round(slowest, 1)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--build', default=os.environ.get('MERLON_BUILD', 'build'))
    parser.add_argument('--rounds', type=int, default=5)
    arguments = parser.parse_args()
    netns = f'merlon-bench-{os.getpid()}'
    subprocess.run(['ip', 'netns', 'add', netns], check=True)
    try:
        with tempfile.TemporaryDirectory(prefix='merlon-bench.') as work:
            print(json.dumps(measure(os.path.abspath(arguments.build), netns, work, arguments.rounds)))
    finally:
        subprocess.run(['ip', 'netns', 'del', netns], check=False)


main()
