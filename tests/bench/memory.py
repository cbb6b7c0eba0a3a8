#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""
Kernel memory over established UDP flows, which merlon or nf_conntrack remembers.

  memory_over_sessions     series, bytes. merlon: its maps (memlock of fdinfo), a table of the usual size, 262,144 sessions, or
                           of as many as there are; all of it is there from the first session on. nft: what nf_conntrack's
                           slab has grown by, its hash table not counted; as far as nf_conntrack_max goes.
                           ..._meminfo: what MemAvailable has lost, with all that the machine did meanwhile
  memory_bytes_per_session  all of merlon's maps with a table for 1,000,000 (in one round: 300,000), for each session there
  sessions_kept_pct        how many of so many flows a table for so many keeps: where both sets that a flow may be in are
                           full, the newer one takes the place of one that has only begun, or finds none
"""
import os
import tempfile

import hosts

USUAL = 262144


def available():
    with open('/proc/meminfo', encoding='utf-8') as f:
        return next(int(line.split()[1]) * 1024 for line in f if line.startswith('MemAvailable:'))


def slab():
    """Bytes of nf_conntrack's."""
    with open('/proc/slabinfo', encoding='utf-8') as f:
        for line in f:
            words = line.split()
            if words[0] == 'nf_conntrack':
                return int(words[14]) * int(words[5]) * os.sysconf('SC_PAGE_SIZE')
    return 0


def merlon(build, work, sessions):
    """Bytes of maps, what MemAvailable has lost, and how many sessions there are."""
    config = f'{work}/merlon.conf'
    with open(config, 'w', encoding='utf-8') as f:
        f.write(f'[Sessions]\nMax={max(sessions, USUAL)}\n')
    with hosts.Hosts(build, work, ('merlon',)) as stand:
        host, before = stand['merlon'], available()
        host.enforce(options=('--config', config))
        host.establish(sessions, 'input')
        status = host.daemon.json('status')
        return status['memory_bytes'], before - available(), status['sessions']


def nft(build, work, sessions):
    with hosts.Hosts(build, work, ('nft',)) as stand:
        host = stand['nft']
        host.enforce()
        before, had = available(), slab()
        host.establish(sessions, 'input')
        return slab() - had, before - available(), sessions


def main():
    args = hosts.parser(__doc__, 3).parse_args()
    hosts.ended_by_signals()
    report = hosts.Report(args.json)
    with open('/proc/sys/net/netfilter/nf_conntrack_max', encoding='utf-8') as f:
        most = int(f.read())
    for sessions in (1000, 300000) if args.rounds == 1 else (1000, 10000, 100000, 1000000):
        for name, measure in ('merlon', merlon), ('nft', nft):
            if name == 'nft' and sessions > most:
                continue
            taken = []
            for i in range(min(args.rounds, 3)):
                hosts.progress('memory,', sessions, 'sessions, round', i + 1, name)
                with tempfile.TemporaryDirectory(prefix='merlon-bench.') as work:
                    taken.append(measure(args.build, work, sessions))
            memory, lost, there = zip(*taken)
            report.point('memory_over_sessions', name, min(there), memory, 0)
            report.point('memory_over_sessions_meminfo', name, min(there), lost, 0)
            if name == 'merlon' and sessions >= USUAL:
                report.figure('memory_bytes_per_session', [m / n for m, n in zip(memory, there)], 'bytes', 1)
                report.figure('sessions_kept_pct', [100 * n / sessions for n in there], '%', 1, flows=sessions)
    hosts.progress('')


if __name__ == '__main__':
    main()
