#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""
What the daemon takes, in network namespaces of its own, on a machine that should do nothing else.

  cold_start_beyond_load_ms   from the start of merlond until a policy of 1,000 rules is in force, without what the kernel takes
                              to load the programs (BPF_PROG_LOAD)
  cold_start_load_ms          that
  cold_start_cpu_ms           what merlond uses of processors beyond the loads, which a busy machine changes less
  daemon_cpu_idle_pct, daemon_rss_mb  of merlond with that policy and without traffic, three seconds behind the apply
  daemon_cpu_10k_flows_pct    of merlond while 100,000 sessions are there and 10,000 new flows begin every second
  daemon_cpu_10k_denied_pct   of merlond while 10,000 packets are denied every second, each from another flow
  status_during_apply_ms      the longest that `merlon status` takes while 100,000 rules are put in force
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

import hosts

SESSIONS = 100000
FLOWS_S = 10000


def rules(n):
    lines = [f'ip saddr 10.{i % 250}.{i // 250 % 250}.{i % 7} udp dport {10000 + i % 30000} drop' for i in range(n)]
    return 'table inet bench {\nchain in {\ntype filter hook input priority filter; policy drop;\n' + '\n'.join(lines) + \
        f'\nct state established accept\nudp dport {hosts.PORT} accept\n' + '}\n}\n'


def cold_start(build, netns, work, ruleset):
    """Milliseconds beyond the loads, of the loads, and of processors beyond the loads."""
    loads = f'{work}/loads'
    daemon = hosts.Daemon(build, netns, f'{work}/cold', environment={'LD_PRELOAD': f'{work}/loads.so', 'MERLON_BENCH_LOADS': loads})
    try:
        daemon.call('apply', ruleset)
        took = time.monotonic() - daemon.started
        used = daemon.cpu_s()
        with open(loads, encoding='utf-8') as lines:
            load = [sum(column) / 1e6 for column in zip(*(map(float, line.split()) for line in lines))]
    finally:
        daemon.remove()
    shutil.rmtree(f'{work}/cold')
    os.remove(loads)
    return [1000 * s for s in (took - load[0], load[0], used - load[1])]


def cpu_pct(daemon, action):
    begin, used = time.monotonic(), daemon.cpu_s()
    action()
    return 100 * (daemon.cpu_s() - used) / (time.monotonic() - begin)


def rss_mb(daemon):
    with open(f'/proc/{daemon.process.pid}/status', encoding='utf-8') as status:
        return int(re.search(r'^VmRSS:\s+(\d+) kB', status.read(), re.M)[1]) / 1024


def status_during(daemon, ruleset):
    worst = n = 0
    with subprocess.Popen(daemon.command('apply', ruleset), stdout=subprocess.DEVNULL) as apply:
        while apply.poll() is None:
            begin = time.monotonic()
            daemon.json('status')
            worst, n = max(worst, time.monotonic() - begin), n + 1
    if apply.returncode or n < 5:
        sys.exit(f'apply ends with {apply.returncode}, and status answered {n} times')
    return 1000 * worst


def busy(host, seconds, first):
    """The daemon's share of a processor while flows begin, and while they are denied."""
    # anew for each round: a short UDP flow is kept for 30 s
    host.establish(SESSIONS, 'input')
    begin = '--flows', FLOWS_S * seconds, '--packets', FLOWS_S * seconds, '--pps', FLOWS_S, '--in-turn', '--first', first
    new = host.daemon.json('stats')['new_sessions']
    flows = cpu_pct(host.daemon, lambda: host.flood(*begin))
    if host.daemon.json('stats')['new_sessions'] - new < FLOWS_S * seconds:
        sys.exit('not every flow has begun a session')
    denied = cpu_pct(host.daemon, lambda: host.flood(*begin, '--port', 9))
    # a few find their two sets full of others that begin
    if host.daemon.json('status')['sessions'] < .99 * SESSIONS:
        sys.exit('the sessions that should be there are not')
    return flows, denied


def measure(build, work, rounds, report):
    files = {}
    for n in (1000, 100000):
        files[n] = f'{work}/{n}.nft'
        with open(files[n], 'w', encoding='utf-8') as out:
            out.write(rules(n))
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'loads.c')
    hosts.run('cc', '-O1', '-shared', '-fPIC', '-o', f'{work}/loads.so', source, '-ldl')
    with hosts.Hosts(build, work, ('merlon',)) as stand:
        host = stand['merlon']
        starts = [cold_start(build, host.ns['host'], work, files[1000]) for _ in range(rounds)]
        for name, values in zip(('beyond_load', 'load', 'cpu'), zip(*starts)):
            report.figure(f'cold_start_{name}_ms', list(values), 'ms', 1)
        host.enforce(rules(1000))
        # what ends an apply is not idleness
        time.sleep(3)
        idle = [cpu_pct(host.daemon, lambda: time.sleep(5 if rounds == 1 else 10)) for _ in range(min(rounds, 2))]
        report.figure('daemon_cpu_idle_pct', idle, '%')
        report.figure('daemon_rss_mb', rss_mb(host.daemon), 'MB', 1)
        taken = [busy(host, 1 if rounds == 1 else 10, SESSIONS * 10 * (1 + i)) for i in range(min(rounds, 3))]
        for name, values in zip(('flows', 'denied'), zip(*taken)):
            report.figure(f'daemon_cpu_10k_{name}_pct', list(values), '%')
        report.figure('status_during_apply_ms', status_during(host.daemon, files[100000]), 'ms', 1)


def main():
    args = hosts.parser(__doc__, 5).parse_args()
    hosts.ended_by_signals()
    with tempfile.TemporaryDirectory(prefix='merlon-bench.') as work:
        measure(os.path.abspath(args.build), work, args.rounds, hosts.Report(args.json))


if __name__ == '__main__':
    main()
