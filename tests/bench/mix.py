#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""
  hit_rate_pct      packets of tools/traffic's mix, an hour of a small server to the host, that sessions answered: hits above
                    hits and misses of `merlon stats`
  hit_rate_forward_pct  the same through the host
"""
import json
import os
import sys

import hosts

TRAFFIC = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', 'tools', 'lib', 'traffic.py')


def main():
    args = hosts.parser(__doc__, 3).parse_args()
    report = hosts.Report(args.json)
    for name, through in ('hit_rate_pct', []), ('hit_rate_forward_pct', ['--through']):
        seen = [json.loads(hosts.run(sys.executable, '-B', TRAFFIC, '--build', args.build, '--json', '--merlon', *through, 'mix'))['merlon']
                for _ in range(min(args.rounds, 3))]
        report.figure(name, [s['hit_rate_pct'] for s in seen], '%', packets=seen[0]['packets'], sessions=seen[0]['new_sessions'],
                      drops=seen[0]['drops'])


if __name__ == '__main__':
    main()
