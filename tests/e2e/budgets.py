#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What a packet and the data plane may cost, where that can be counted: the same each time, however busy the machine is.
Compares with tests/budgets.json, from which a figure may be a few percent away upwards.

  instructions a packet   of the native build, under valgrind; only with the compiler and flags that the budgets are of
  bytes of images         of fixed rulesets
  verified instructions   of each program, and bytes of maps, on this kernel; only with its budgets, and with their clang

usage: tests/e2e/budgets.py [--refresh] [--vm]
  --refresh  what is found now is what may be spent, from the next commit on
  --vm       on the kernels for virtual machines (MERLON_VM_KERNELS) instead of on this one
"""
import contextlib
import io
import json
import os
import re
import subprocess
import sys
import tempfile

TOP = os.environ.get('MERLON_TOP_SRCDIR') or os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get('MERLON_TOP_BUILDDIR') or f'{TOP}/build'
BUDGETS = f'{TOP}/tests/budgets.json'
MARGIN = 0.03
SPARE = 0.10        # so much below its budget a figure is worth a word


class Unable(Exception):
    """This machine cannot find it out: the test is skipped."""


def output(argv, unable=77):
    r = subprocess.run(argv, capture_output=True, text=True, check=False)
    if r.returncode == unable:
        raise Unable((r.stderr.strip() or f'{argv[0]} cannot run here').splitlines()[-1])
    if r.returncode:
        sys.exit(f"{' '.join(argv)}: exit status {r.returncode}\n{r.stdout}{r.stderr}")
    return r.stdout


def lines_of(text):
    return [json.loads(line) for line in text.splitlines() if line.startswith('{"figure"')]


def made_with(variable):
    with open(f'{BUILD}/Makefile', encoding='utf-8') as f:
        found = re.search(rf'^{variable} = (.*)$', f.read(), re.M)
    return found.group(1).strip() if found else ''


def major(compiler):
    """As in "gcc 12": versions of a series give the same instructions."""
    first = output([*compiler.split(), '--version'])
    name = 'clang' if 'clang' in first else 'gcc'
    return f"{name} {re.search(r'([0-9]+)[.][0-9]+[.][0-9]+', first).group(1)}"


def native():
    """Instructions a packet, and bytes of images."""
    program, counts = f'{BUILD}/tests/bench/instructions', []
    if made_with('SANITIZE_CFLAGS'):
        raise Unable('a build with sanitizers')
    with tempfile.TemporaryDirectory(prefix='merlon-budgets.') as work:
        try:
            text = output(['valgrind', '--tool=callgrind', f'--callgrind-out-file={work}/count', '--toggle-collect=work',
                           '--dump-after=work', program])
        except FileNotFoundError as error:
            raise Unable('valgrind is not installed') from error
        figures = lines_of(text)
        counted = [f for f in figures if 'packets' in f]
        for number in range(1, len(counted) + 1):
            with open(f'{work}/count.{number}', encoding='utf-8') as f:
                counts.append(int(re.search(r'^totals: ([0-9]+)$', f.read(), re.M).group(1)))
    return ({f['figure']: round(n / f['packets'], 1) for f, n in zip(counted, counts)},
            {f['figure']: f['value'] for f in figures if 'value' in f})


def footprint(kernel=None):
    program = f'{BUILD}/tests/bench/footprint'
    if not kernel:
        return {f['figure']: f['value'] for f in lines_of(output([program]))}
    with tempfile.NamedTemporaryFile('w', prefix='merlon-budgets.') as script:
        script.write('exec /test/footprint\n')
        script.flush()
        text = output([f'{TOP}/tests/system/vm', kernel, '--add', f'{program}:/test/footprint', script.name])
    return {f['figure']: f['value'] for f in lines_of(text.replace('\r', ''))}


class Points:
    """TAP: a point for each figure, or one that is skipped."""

    def __init__(self):
        self.n, self.failed = 0, 0

    def say(self, good, text, why=()):
        self.n += 1
        self.failed += not good
        for line in why:
            print(f'# {line}')
        print(f"{'ok' if good else 'not ok'} {self.n} - {text}", flush=True)

    def skip(self, what, why):
        self.say(True, f'{what} # SKIP {why}')

    def check_itself(self):
        """What is above its budget, or has none, is found."""
        for name, value in ('above', 104), ('new', 1), (None, None):
            trial = Points()
            with contextlib.redirect_stdout(io.StringIO()):
                trial.compare('', {name: value} if name else {}, {} if name == 'new' else {'above': 100})
            self.say(trial.failed > 0, f"a figure is found that is {name or 'gone'}")

    def compare(self, what, found, allowed):
        for name in sorted(set(found) | set(allowed)):
            if name not in allowed:
                self.say(False, f'{what}: {name}', [f'{found[name]:,}, and no budget: tests/e2e/budgets.py --refresh'])
            elif name not in found:
                self.say(False, f'{what}: {name}', ['there is no such figure any more: tests/e2e/budgets.py --refresh'])
            else:
                value, most = found[name], allowed[name] * (1 + MARGIN)
                text = f'{value:,}; {allowed[name]:,} are budgeted'
                spare = value < allowed[name] * (1 - SPARE)
                self.say(value <= most, f'{what}: {name}: {text}',
                         [f'{name} is {1 - value / allowed[name]:.0%} below its budget: tests/e2e/budgets.py --refresh'] * spare)


def series():
    return '.'.join(os.uname().release.split('.')[:2])


def measure(vm):
    """(section of the budgets, what it depends on, figures or Unable)."""
    clang = major(made_with('CLANG'))
    if vm:
        kernels = os.environ.get('MERLON_VM_KERNELS', '6.1').split()
    else:
        kernels = [None]
        compiler = f"{major(made_with('CC'))} {made_with('CFLAGS')}, {os.uname().machine}"
        try:
            instructions, images = native()
            yield 'instructions a packet', compiler, instructions
            yield 'images', '', images
        except Unable as error:
            yield 'instructions a packet', compiler, error
    for kernel in kernels:
        try:
            found = footprint(kernel)
        except Unable as error:
            found = error
        yield f'kernel {kernel or series()}', clang, found


def read():
    try:
        with open(BUDGETS, encoding='utf-8') as f:
            return json.load(f)
    except FileNotFoundError:
        return {}


def refresh(vm):
    budgets = read()
    for section, of, found in measure(vm):
        if isinstance(found, Unable):
            print(f'{section}: as it was: {found}')
        else:
            budgets[section] = {'of': of, 'figures': found}
            print(f'{section}: {len(found)} figures')
    with open(BUDGETS, 'w', encoding='utf-8') as f:
        json.dump(budgets, f, indent=1, sort_keys=True)
        f.write('\n')


def main():
    arguments = set(sys.argv[1:])
    if arguments - {'--refresh', '--vm'}:
        sys.exit(__doc__)
    vm = '--vm' in arguments
    if '--refresh' in arguments:
        refresh(vm)
        return
    points, budgets = Points(), read()
    points.check_itself()
    for section, of, found in measure(vm):
        allowed = budgets.get(section)
        if isinstance(found, Unable):
            points.skip(section, found)
        elif not allowed:
            points.skip(section, 'it has no budgets')
        elif allowed['of'] != of:
            points.skip(section, f"the budgets are of {allowed['of']}; this is {of}")
        else:
            points.compare(section, found, allowed['figures'])
    print(f'1..{points.n}')
    sys.exit(points.failed > 0)


if __name__ == '__main__':
    main()
