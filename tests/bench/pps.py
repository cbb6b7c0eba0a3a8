#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""
Packets a second that one core takes from a wire to a process, or through the host, with and without a firewall: 64-byte
UDP packets of established flows over veth pairs, each delivered, or it is an error. Ratios are to no firewall.

  input_pps_ratio_1, _10k       delivered to the host, read by a process; 1 and 10,000 flows. Beside merlon: _nft, _iptables,
                                _floor (programs at TC that do nothing), _least (tests/bench/least.bpf.c: the least that
                                following connections takes there)
  forward_pps_ratio_1, _10k     through the host
  input_receive_ratio_1, _10k   the receive path alone: frames come in at the interface (XDP live frames) and end at a socket
                                that is full: no sender, no process that reads, so a firewall's share is as large as it can be
  aa_ratio                      no firewall above no firewall, another host, the same rounds: noise
  pps_input, pps_forward        series: pps over flows
  ns_established, ns_new        series: what part of packets takes how many ns at most, to the host, 10,000 flows that are
                                established, and packets that each begin one
"""
import statistics
import sys
import tempfile

import hosts

PACKETS = 100000
SYSTEMS = *hosts.SYSTEMS, 'least'
NAMES = {1: '1', 10000: '10k'}
FIRST_NEW = 1 << 20


def measure(host, way, flows, packets):
    """ns a packet, all of which are delivered; each flow has had one a moment before, as it has where this goes on for long."""
    host.flood('--flows', flows, '--packets', flows, *(host.sink() if way == 'input' else ()), way=way)
    before = host.received()
    took = host.flood('--flows', flows, '--packets', packets, *(host.sink() if way == 'input' else ()), way=way)
    delivered = took['delivered'] if way == 'input' else host.received() - before
    # a neighbour's question may be among what came through
    if not packets <= delivered <= packets + 5:
        sys.exit(f'{host.system}: {delivered} of {packets} packets came through ({way})')
    return took['ns']


def remembered(host, way, flows, packets):
    """That merlon's figures are of packets whose sessions answered."""
    if host.system != 'merlon':
        return
    before = host.daemon.json('stats')
    measure(host, way, flows, packets)
    now = host.daemon.json('stats')
    if now['session_hits'] - before['session_hits'] < packets:
        sys.exit(f'merlon did not know the flows that are measured: {before} {now}')


def rates(stand, rounds, counts, report):
    """Over flows; each count from all hosts in turns."""
    against = []
    for flows in counts:
        packets = max(PACKETS, flows)
        for way in 'input', 'forward':
            taken = {system: [] for system in SYSTEMS}
            for host in stand.all.values():
                host.establish(flows, way)
                remembered(host, way, flows, packets)
            for i in range(rounds):
                for system, host in stand.items():
                    hosts.progress(way, flows, 'flows, round', i + 1, system)
                    taken[system].append(measure(host, way, flows, packets))
            for system, ns in taken.items():
                if system != 'none2':
                    report.point(f'pps_{way}', system, flows, [1e9 / v for v in ns], 0)
                if flows in NAMES and not system.startswith('none'):
                    beside = '' if system == 'merlon' else f'_{system}'
                    report.figure(f'{way}_pps_ratio_{NAMES[flows]}{beside}',
                                  [a / b for a, b in zip(taken['none'], ns)], 'of no firewall')
            if flows in NAMES:
                report.figure(f'{way}_pps_{NAMES[flows]}_none', [1e9 / v for v in taken['none']], '1/s', 0)
            against += [a / b for a, b in zip(taken['none'], taken['none2'])]
    report.figure('aa_ratio', against, 'of no firewall')


def receive(stand, rounds, report):
    for flows, name in NAMES.items():
        taken = {system: [] for system in SYSTEMS}
        for host in stand.all.values():
            host.establish(flows, 'input')
        for i in range(rounds):
            for system, host in stand.items():
                hosts.progress('receive', flows, 'flows, round', i + 1, system)
                host.flood('--flows', flows, '--packets', flows, *host.sink())
                taken[system].append(host.flood('--flows', flows, '--packets', PACKETS, *host.sink(), live=True)['ns'])
        for system, ns in taken.items():
            if not system.startswith('none'):
                beside = '' if system == 'merlon' else f'_{system}'
                report.figure(f'input_receive_ratio_{name}{beside}', [a / b for a, b in zip(taken['none'], ns)], 'of no firewall')
                report.figure(f'input_receive_{name}{beside}_ns', [b - a for a, b in zip(taken['none'], ns)], 'ns', 1)


def distribution(stand, rounds, report):
    """Histograms, summed over rounds, as parts: half of the packets took no longer than ..."""
    for series in 'ns_established', 'ns_new':
        times = {system: {} for system in SYSTEMS}
        for i in range(rounds):
            for system, host in stand.items():
                hosts.progress(series, 'round', i + 1, system)
                if series == 'ns_established':
                    host.establish(10000, 'input')
                    options = '--flows', 10000, '--packets', PACKETS
                else:
                    options = '--flows', 50000, '--packets', 50000, '--first', FIRST_NEW + i * 50000
                for ns, n in host.flood(*options, *host.sink(), '--times', live=True)['times']:
                    times[system][ns] = times[system].get(ns, 0) + n
                hosts.run(*host.inside('host', 'conntrack', '-F'), check=False)
        for system, histogram in times.items():
            total, below = sum(histogram.values()), 0
            wanted = [.01, .1, .25, .5, .75, .9, .95, .99, .999, .9999]
            for ns in sorted(histogram):
                below += histogram[ns]
                while wanted and below >= wanted[0] * total:
                    if system != 'none2':
                        report.point(series, system, wanted[0], float(ns), 4)
                    wanted.pop(0)


def main():
    args = hosts.parser(__doc__, 9).parse_args()
    hosts.ended_by_signals()
    report = hosts.Report(args.json)
    with tempfile.TemporaryDirectory(prefix='merlon-bench.') as work, hosts.Hosts(args.build, work, SYSTEMS) as stand:
        for host in stand.all.values():
            host.enforce()
        # what the last one makes, 100,000 flows of each way and system, nf_conntrack would keep for the others: one table for all
        receive(stand, args.rounds, report)
        rates(stand, args.rounds, list(NAMES) if args.rounds == 1 else [10 ** k for k in range(6)], report)
        distribution(stand, args.rounds, report)
    hosts.progress('')


if __name__ == '__main__':
    main()
