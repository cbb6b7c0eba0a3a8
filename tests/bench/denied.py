#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""
A flood of denied packets on one core, 64 bytes each, from 10,000 sources: XDP live frames, so that the packet's way from
the interface to its end is nearly all that is measured.

  event_flood_ratio        with events (merlond reads them, and reports as many as its rate allows) to a silent drop: the same
                           flood where nobody reads and the ring is full, so that nothing is reported
  denied_ns, denied_silent_ns, denied_nft_ns, denied_iptables_ns  of a packet; denied_floor_ns: a program at TC drops all
  event_flood_lost_pct     events that found no room, in the flood with events
"""
import os
import signal
import tempfile
import time

import hosts

DENIED = 7001
PACKETS = 1000000


def flood(host, packets):
    return host.flood('--flows', 10000, '--packets', packets, '--port', DENIED, live=True)['ns']


def with_events(host):
    """ns, and which part of the events was lost."""
    before = host.daemon.json('stats')
    ns = flood(host, PACKETS)
    now = host.daemon.json('stats')
    lost, told = (now[k] - before[k] for k in ('events_lost', 'events'))
    if lost + told < PACKETS:
        raise SystemExit(f'{lost + told} events of {PACKETS} denied packets')
    return ns, 100 * lost / (lost + told)


def silent(host):
    """Nobody reads: the ring is full before the flood that counts."""
    os.kill(host.daemon.process.pid, signal.SIGSTOP)
    try:
        flood(host, 100000)
        return flood(host, PACKETS)
    finally:
        os.kill(host.daemon.process.pid, signal.SIGCONT)


def main():
    args = hosts.parser(__doc__, 9).parse_args()
    hosts.ended_by_signals()
    report = hosts.Report(args.json)
    taken = {name: [] for name in ('events', 'silent', 'floor', 'nft', 'iptables')}
    lost = []
    with tempfile.TemporaryDirectory(prefix='merlon-bench.') as work, \
            hosts.Hosts(args.build, work, ('merlon', 'floor', 'nft', 'iptables')) as stand:
        for host in stand.all.values():
            host.enforce('drop' if host.system == 'floor' else None)
        for i in range(args.rounds):
            hosts.progress('denied, round', i + 1)
            for name in 'floor', 'nft', 'iptables':
                taken[name].append(flood(stand[name], PACKETS))
            taken['silent'].append(silent(stand['merlon']))
            time.sleep(0.3)     # the ring is read
            ns, part = with_events(stand['merlon'])
            taken['events'].append(ns)
            lost.append(part)
    hosts.progress('')
    report.figure('event_flood_ratio', [a / b for a, b in zip(taken['events'], taken['silent'])], 'of a silent drop')
    report.figure('event_flood_lost_pct', lost, '%', 1)
    for name, ns in taken.items():
        report.figure('denied_ns' if name == 'events' else f'denied_{name}_ns', ns, 'ns', 1)


if __name__ == '__main__':
    main()
