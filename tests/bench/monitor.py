#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""
What `merlon monitor --json` can take into a file: packets that one rule denies come from 1,000 flows over a veth pair, in a
network namespace of their own; sender, data plane, merlond and the monitor share the machine.

  monitor_events_per_s    events a second that it writes while more come than it can take
  monitor_events_lost     how many of those that come at 200,000 a second are missing in the file
"""
import os
import subprocess
import tempfile
import time

import hosts

PER_S = 200000
RULES = 'table inet bench {\n\tchain c {\n\t\ttype filter hook input priority 0; policy accept;\n' \
        '\t\tudp dport 1000-1999 counter drop\n\t}\n}\n'


def flood(host, packets, *per_s):
    """Events in the file, and the seconds until the last one was there."""
    file = f'{host.work}/events'
    with open(file, 'w', encoding='utf-8') as out:
        monitor = subprocess.Popen(host.daemon.command('monitor', '--json'), stdout=out)
    time.sleep(0.3)
    begin = time.monotonic()
    hosts.run(*host.inside('from', f'{host.build}/tests/bench/send', 'up0', host.mac['from'], f'{host.work}/flows', str(packets), *per_s))
    size, end = -1, time.monotonic()
    while os.path.getsize(file) != size:
        size, end = os.path.getsize(file), time.monotonic()
        time.sleep(0.3)
    monitor.terminate()
    monitor.wait()
    with open(file, encoding='utf-8') as lines:
        return sum('"MERLON_DPORT"' in line for line in lines), end - begin


def main():
    args = hosts.parser(__doc__, 5).parse_args()
    seconds = 1 if args.rounds == 1 else 5
    taken, lost = [], []
    hosts.ended_by_signals()
    with tempfile.TemporaryDirectory(prefix='merlon-bench.') as work, hosts.Hosts(args.build, work, ('merlon',)) as stand:
        host = stand['merlon']
        host.enforce(RULES)
        with open(f'{host.work}/flows', 'w', encoding='utf-8') as f:
            f.write(''.join(f'udp 10.77.0.{2 + i % 200} {2000 + i} 10.77.0.1 {1000 + i}\n' for i in range(1000)))
        for i in range(args.rounds):
            hosts.progress('monitor, round', i + 1)
            events, took = flood(host, seconds * 3 * PER_S)
            taken.append(events / took)
            events, _ = flood(host, seconds * PER_S, str(PER_S))
            lost.append(seconds * PER_S - events)
    report = hosts.Report(args.json)
    report.figure('monitor_events_per_s', taken, '1/s', 0)
    report.figure('monitor_events_lost', lost, 'events', 0)


if __name__ == '__main__':
    main()
