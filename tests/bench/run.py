#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs the benchmarks one after the other, each of which takes its systems in turns, and makes a report of what they print.
`tools/bench` builds all that is needed and calls this."""
import argparse
import json
import os
import re
import subprocess
import sys
import time

import report
from targets import TARGETS

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))

# how each is called in full and, where that differs, in a hurry; {build}/ are programs, others are scripts beside this one
BENCHMARKS = {
    'hotpath': (['{build}/tests/bench/hotpath', '--rounds', '21'], ['{build}/tests/bench/hotpath', '--rounds', '5']),
    'classify': (['{build}/tests/bench/classify', '--rounds', '7'],
                 ['{build}/tests/bench/classify', '--rounds', '3']),
    'pps': (['pps.py', '--rounds', '9'], ['pps.py', '--rounds', '2']),
    'stream': (['stream.py', '--rounds', '9'], ['stream.py', '--rounds', '2']),
    'denied': (['denied.py', '--rounds', '9'], ['denied.py', '--rounds', '3']),
    'rules': (['rules.py', '--rounds', '5'], ['rules.py', '--rounds', '2']),
    'changes': (['changes.py', '--rounds', '3'], ['changes.py', '--rounds', '1']),
    'path': (['path.py', '--rounds', '3'], ['path.py', '--rounds', '1']),
    'service': (['service.py', '--rounds', '5'], ['service.py', '--rounds', '1']),
    'memory': (['memory.py', '--rounds', '3'], ['memory.py', '--rounds', '1']),
    'mix': (['mix.py', '--rounds', '1'], ['mix.py', '--rounds', '1']),
    'monitor': (['monitor.py', '--rounds', '3'], ['monitor.py', '--rounds', '1']),
}
# no more than that all of it works
TINY = {
    'classify': ['{build}/tests/bench/classify', '--rounds', '1', '--packets', '1000',
                 *(f'{family}_{n}_{ip}' for family in ('few', 'many', 'mixed') for n in ('100', '1k') for ip in ('v4', 'v6'))],
    'rules': ['rules.py', '--rounds', '1', '--packets', '300', '--sizes', '100'],
    'changes': ['changes.py', '--rounds', '1', '--packets', '500', '--rules', '500'],
}


def machine():
    with open('/proc/cpuinfo', encoding='utf-8') as f:
        cpu = f.read()
    with open('/proc/meminfo', encoding='utf-8') as f:
        memory_kb = int(re.search(r'MemTotal:\s+(\d+)', f.read())[1])
    model = re.search(r'^model name\s*:\s*(.*)$', cpu, re.M)
    kernel = re.match(r'\d+\.\d+(\.\d+)?', os.uname().release)[0]
    return {'cpu': model[1] if model else os.uname().machine, 'cores': os.cpu_count(), 'virtual': ' hypervisor' in cpu,
            'memory_gb': round(memory_kb / 1e6), 'kernel': kernel}


def version(build):
    text = subprocess.run([f'{build}/src/merlond', '--version'], capture_output=True, text=True, check=True).stdout
    return re.search(r'\d+(\.\d+)+\S*', text)[0]


def argv_of(name, args):
    argv = TINY[name] if args.tiny else BENCHMARKS[name][args.quick]
    program = argv[0].format(build=args.build)
    if program == argv[0]:
        program = f'{HERE}/{program}'
    call = ['python3', '-B', program] if program.endswith('.py') else [program]
    return call + ['--json', '--build', args.build] + argv[1:]


def run(name, args, results):
    """False: it failed, or printed what is no line of JSON."""
    with subprocess.Popen(argv_of(name, args), stdout=subprocess.PIPE, text=True) as process:
        good = True
        for line in process.stdout:
            try:
                told = json.loads(line)
            except ValueError:
                print(f'{name}: not JSON: {line.rstrip()}', file=sys.stderr)
                good = False
                continue
            if 'figure' in told:
                results['figures'].append({**told, 'by': name})
                if args.json:
                    print(line.rstrip(), flush=True)
            elif 'series' in told:
                results['series'].append(told)
            elif 'program' in told:
                results['programs'].append(told)
    return good and process.returncode == 0


def show(results):
    values = {f['figure']: f['value'] for f in results['figures']}
    targets = {t.figure: t for t in TARGETS}
    for f in results['figures']:
        target = targets.get(f['figure'])
        limit = target.limit(values) if target else None
        met = {True: 'met', False: 'MISSED', None: ''}[target.met(values)] if target else ''
        print(f"{f['figure']:40} {report.with_unit(f['value'], f['unit']):>16}  "
              f"{(target.bound + ' ' + report.number(limit)) if limit is not None else '':12} {met}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--build', required=True)
    parser.add_argument('--quick', action='store_true')
    parser.add_argument('--tiny', action='store_true')
    parser.add_argument('--json', action='store_true')
    parser.add_argument('--output', metavar='DIR')
    parser.add_argument('only', nargs='*', metavar='ONLY')
    args = parser.parse_args()
    args.build = os.path.abspath(args.build)
    known = TINY if args.tiny else {name: b for name, b in BENCHMARKS.items()
                                    if not b[0][0].endswith('.py') or os.path.exists(f'{HERE}/{b[0][0]}')}
    names = args.only or list(known)
    for name in names:
        if name not in known:
            parser.error(f"{name} is none of {' '.join(known)}")
    command = ['sudo tools/bench', *(['--quick'] if args.quick else []), *args.only]
    results = {'date': time.strftime('%Y-%m-%d'), 'command': ' '.join(command), 'quick': args.quick or args.tiny, 'machine': machine(), 'version': version(args.build),
               'failed': [], 'figures': [], 'series': [], 'programs': []}
    begun = time.monotonic()
    for i, name in enumerate(names):
        print(f'== {name} ({i + 1} of {len(names)}, {time.monotonic() - begun:.0f} s so far)', file=sys.stderr, flush=True)
        if not run(name, args, results):
            print(f'== {name} failed', file=sys.stderr)
            results['failed'].append(name)
    results['seconds'] = round(time.monotonic() - begun)
    if args.output:
        report.write(results, args.output, None)
    elif not args.only:
        report.write(results, f'{TOP}/docs/bench', f'{TOP}/README.md')
    if not args.json:
        show(results)
    sys.exit(1 if results['failed'] else 0)


if __name__ == '__main__':
    main()
