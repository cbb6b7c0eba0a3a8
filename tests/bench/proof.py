#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What `merlon verify` can do: packets a second (each through nf_tables and through merlon, the median of rounds over
the project's rulesets), mistakes of tests/mutants that it does not find, and differences over random rulesets and over a
directory of rulesets; packets with another state than nf_conntrack's, and mistakes of the trackers that do not show there.
Exit status: 0 done, 1 something failed."""
import argparse
import glob
import json
import os
import statistics
import subprocess
import sys

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
RULESETS = ['docs/examples/*', 'tests/e2e/rulesets/*.nft', 'tests/e2e/rulesets/*.v[46]']
QUICK_ROUNDS = 3


def tell(args, figure, value, unit):
    print(json.dumps({'figure': figure, 'value': value, 'unit': unit}) if args.json else f'{figure:32} {value:>12,} {unit}',
          flush=True)


def speed(args):
    rates = []
    for pattern in RULESETS:
        for path in sorted(glob.glob(os.path.join(TOP, pattern))):
            rounds = []
            for seed in range(1, args.rounds + 1):
                r = subprocess.run([f'{args.build}/src/merlon', 'verify', '--json', '--seed', str(seed), path],
                                   capture_output=True, text=True, check=False)
                if r.returncode:
                    sys.exit(f'{path}: {r.stderr or r.stdout}')
                rounds.append(json.loads(r.stdout)['packets_per_s'])
            rates.append(statistics.median(rounds))
    tell(args, 'verify_packets_per_s', round(statistics.median(rates)), 'packets/s')
    tell(args, 'verify_packets_per_s_least', round(min(rates)), 'packets/s')


def run(args, figure, argv):
    """A tool that prints the figure as its last line of JSON, or in an object of them."""
    r = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=False)
    text = r.stdout.strip()
    try:
        figures = json.loads(text).get('figures')
    except ValueError:
        lines = [line for line in text.splitlines() if line.startswith('{"figure"')]
        figures = [json.loads(line) for line in lines]
    found = [f for f in figures or [] if f['figure'] == figure]
    if not found:
        sys.exit(f'{argv[2]} told no {figure}: exit status {r.returncode}')
    tell(args, figure, found[0]['value'], found[0]['unit'])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--build', required=True)
    parser.add_argument('--rounds', type=int, default=9)
    parser.add_argument('--json', action='store_true')
    parser.add_argument('--corpus', metavar='DIR')
    args = parser.parse_args()
    quick = args.rounds <= QUICK_ROUNDS
    merlon = ['--merlon', f'{args.build}/src/merlon']
    speed(args)
    run(args, 'random_rulesets_differences',
        ['python3', '-B', f'{TOP}/tests/random/run', '--json', '--seed', '1', '--rulesets', '100' if quick else '1000',
         '--packets', '1000', *merlon])
    if args.corpus:
        run(args, 'corpus_differences', ['python3', '-B', f'{TOP}/tools/corpus', '--json', *merlon, args.corpus])
    run(args, 'verify_mutants_alive',
        ['python3', '-B', f'{TOP}/tests/mutants/run', '--json', '--build', args.build, *(['--some', '12'] if quick else [])])
    run(args, 'ct_state_differences',
        ['env', f'MERLON_PACKETS={50000 if quick else 5000000}', f'{args.build}/tests/bpf/test_conntrack', '--json'])
    run(args, 'ct_mutants_alive',
        ['python3', '-B', f'{TOP}/tests/mutants/run', '--conntrack', '--json', '--build', args.build,
         *(['--some', '12'] if quick else [])])


if __name__ == '__main__':
    main()
