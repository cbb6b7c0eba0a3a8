#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a packet's time goes, by measurement: the data plane is built once for each step of tests/bench/steps.table, cut short
behind it, in copies of the tree and of a finished build; all are measured in turns, and a step is what its program takes, at
least, above the one before. Steps overlap in the processor: each figure is what the step adds, not what it would take alone.

  hot_*       a packet of an established connection: IPv4 and IPv6, always the same one; IPv4, 100,000 in random order
  new_*       a flow's first packet, three rules
  classify_*  the classifier alone: 100,000 rules, 100,000 packets in random order

--check only looks whether each cut is still where the table says. --programs DIR keeps the programs there, and does not build
what it finds there.
"""
import argparse
import importlib.machinery
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
TABLE = os.path.join(HERE, 'steps.table')
HOT = ['hot_path_v4_warm_ns', 'hot_path_v6_warm_ns', 'hot_path_v4_100k_shuffled_ns']
NEW, FLOOR = 'session_create_ns', 'hot_path_shuffled_floor_ns'
WAYS = {'hot': 'hotpath', 'new': 'hotpath', 'classify': 'classify'}
BASE = {}           # what is subtracted from each figure: the least that was seen of it, too
RULES = ['few_100k_v4', 'many_100k_v4']


def mutants():
    loader = importlib.machinery.SourceFileLoader('mutants', os.path.join(TOP, 'tests/mutants/run'))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader('mutants', loader))
    loader.exec_module(module)
    return module


class Bench:
    """What tests/mutants/run's workshop builds."""
    program = 'tests/bench/hotpath'


class Step:
    def __init__(self, way, name, what, edits):
        self.way, self.name, self.what, self.edits = way, name, what, edits
        self.program, self.taken = None, {}


def steps_of(table):
    """[Step] in the order of each way, the whole way last."""
    groups, bench = {}, {'hotpath': [], 'classify': []}
    for edit in table:
        word = edit.name if edit.name.startswith('new-') else edit.name.split('-')[0]
        if edit.path.startswith('tests/bench/'):
            bench[os.path.basename(edit.path)[:-2]].append(edit)
        else:
            groups.setdefault(word, []).append(edit)
    found = []
    for name, edits in groups.items():
        way = 'classify' if edits[0].path == 'bpf/classify.h' else 'new' if name.startswith('new-') else 'hot'
        found.append(Step(way, name.removeprefix('new-'), edits[0].what, bench[WAYS[way]] + edits))
    ends = {'hot': ('counters', 'counters and statistics: the whole way'), 'new': ('entry', 'the session entered: the whole way'),
            'classify': ('words', 'words below: the whole way')}
    for way, (name, what) in ends.items():
        found.insert(max(i for i, step in enumerate(found) if step.way == way) + 1, Step(way, name, what, bench[WAYS[way]]))
    return found


def build(shop, step):
    shop.restore()
    for edit in step.edits:
        edit.apply(shop.tree)
    Bench.program = f'tests/bench/{WAYS[step.way]}'
    failed = shop.make()
    if failed:
        sys.exit(f'{step.name}: does not compile:\n{failed}')
    shutil.copy2(shop.built, step.program)


def build_all(shared, steps, args, work):
    programs, shop = args.programs or work, None
    os.makedirs(programs, exist_ok=True)
    for step in steps:
        step.program = os.path.join(programs, f'{step.way}-{step.name}')
        if os.path.exists(step.program):
            continue
        print(f'building: {step.way} {step.name}', file=sys.stderr, flush=True)
        shop = shop or shared.Workshop(work, os.path.abspath(args.build), Bench)
        build(shop, step)


def measure(step):
    """Of each figure the least that was seen: what a busy machine adds is no step's. {figure: least}, and of what is subtracted."""
    argv = {'hot': ['--rounds', '3'], 'new': ['--rounds', '3', '--only', NEW],
            'classify': ['--json', '--rounds', '3', *RULES]}
    r = subprocess.run([step.program, *argv[step.way]], capture_output=True, text=True, check=False)
    if r.returncode:
        sys.exit(f'{step.name}: exit status {r.returncode}\n{r.stderr}')
    for line in r.stdout.splitlines():
        if line.startswith('{"figure"'):
            found = json.loads(line)
            name, value, base = found['figure'], found['value'], 0.0
        else:
            found = re.match(r'(\w+) .*\([0-9.]+ - ([0-9.]+); ([0-9.]+) to', line)
            if not found:
                continue
            name, base, value = found.group(1), float(found.group(2)), float(found.group(3))
        step.taken[name] = min(value, step.taken.get(name, value))
        BASE[name] = min(base, BASE.get(name, base))


def report(steps, way, figures, as_json):
    before = dict.fromkeys(figures, 0)
    if not as_json:
        print(f"\n| {way} | " + ' | '.join(figure.removesuffix('_ns') for figure in figures) + ' |')
        print('|---' * (len(figures) + 1) + '|')
    for step in steps:
        if step.way != way:
            continue
        cells = []
        for figure in figures:
            now = step.taken[figure] - BASE[figure]
            if as_json:
                short = figure.replace('hot_path_', '').replace('session_create_', '').replace('classify_', '').removesuffix('_ns')
                print(json.dumps({'figure': f'{way}_{step.name}_{short}_ns'.replace('__', '_').replace('_ns_ns', '_ns'),
                                  'value': round(now - before[figure], 1), 'unit': 'ns'}))
            cells.append(f'{now - before[figure]:+.1f} ({now:.1f})')
            before[figure] = now
        if not as_json:
            print(f'| {step.what} | ' + ' | '.join(cells) + ' |')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--build', default=os.path.join(TOP, os.environ.get('MERLON_BUILD', 'build')))
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--json', action='store_true')
    parser.add_argument('--programs', metavar='DIR')
    parser.add_argument('--table', default=TABLE)
    parser.add_argument('--check', action='store_true')
    args = parser.parse_args()
    shared = mutants()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))     # the copies are removed then, too
    try:
        steps = steps_of(shared.read_table(args.table))
        if args.check:
            for edit in {edit for step in steps for edit in step.edits}:
                with tempfile.TemporaryDirectory() as tree:
                    os.makedirs(os.path.dirname(os.path.join(tree, edit.path)))
                    shutil.copy2(os.path.join(TOP, edit.path), os.path.join(tree, edit.path))
                    edit.apply(tree)
            return
        with tempfile.TemporaryDirectory(prefix='merlon-steps.') as work:
            build_all(shared, steps, args, work)
            for i in range(args.rounds):
                for step in steps:
                    print(f'\rround {i + 1}/{args.rounds}: {step.way} {step.name:12}', end='', file=sys.stderr, flush=True)
                    measure(step)
            print(file=sys.stderr)
    except shared.TableError as error:
        sys.exit(f'{args.table}: {error}')
    report(steps, 'hot', HOT, args.json)
    floor = min(step.taken[FLOOR] for step in steps if FLOOR in step.taken) - BASE[FLOOR]
    print(json.dumps({'figure': FLOOR, 'value': round(floor, 1), 'unit': 'ns'}) if args.json else
          f'\nfloor of the last column: {floor:.1f} ns (three lines of memory and a lock)')
    report(steps, 'new', [NEW], args.json)
    report(steps, 'classify', [f'classify_{rules}_shuffled_ns' for rules in RULES], args.json)


if __name__ == '__main__':
    main()
