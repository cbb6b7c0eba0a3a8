# SPDX-License-Identifier: GPL-2.0-or-later
"""What becomes of a run's results: results.json, a page with tables, plots, and the part of the project's README."""
import json
import os
import re
import shutil
import subprocess

from targets import TARGETS

PART = 'part of the packets that take no longer'
# series: file, title, x, y, logarithmic axes
PLOTS = {
    'rules': ('rules.svg', 'What rules cost a packet, shuffled', 'rules', 'ns above no rules', 'xy'),
    'pps_input': ('pps-input.svg', 'Packets a second to the host', 'flows', 'packets/s', 'x'),
    'pps_forward': ('pps-forward.svg', 'Packets a second through the host', 'flows', 'packets/s', 'x'),
    'latency': ('latency.svg', 'Classification, shuffled', PART, 'ns', 'y'),
    'ns_established': ('ns-established.svg', 'A packet of an established flow', PART, 'ns', 'y'),
    'ns_new': ('ns-new.svg', "A flow's first packet", PART, 'ns', 'y'),
    'memory_over_sessions': ('memory.svg', 'Kernel memory over sessions', 'sessions', 'bytes', 'xy'),
}
MOST_LINES = 9
BEGIN, END = '<!-- written by tools/bench -->\n', '<!-- end of what tools/bench writes -->\n'
# what the project's README leaves out: it is in docs/bench/README.md
LEFT_OUT = re.compile(r'classify_\w+(_1k_|_400k_|_v6_|_warm_|_p99_)|rules_noise|insns_max')


def number(value):
    if value is None:
        return '-'
    return f'{value:,.0f}' if abs(value) >= 100 or value == int(value) else f'{value:,.3g}'


WORDS = {'<=': 'at most', '>=': 'at least', '<': 'under', '>': 'over'}
UNITS = {'times': '×', 'ratio': '×', 'instructions': '', 'pct': '%', '%': '%'}


def with_unit(value, unit):
    text, unit = number(value), UNITS.get(unit, unit)
    return text if not unit or value is None else f'{text} {unit}'


def table(results, wanted):
    by = {f['figure']: f for f in results['figures']}
    values = {name: f['value'] for name, f in by.items()}
    lines = ['| what | measured | rounds from - to | target | |', '|---|---|---|---|---|']
    for target in TARGETS:
        f = by.get(target.figure)
        if not wanted(target.figure) or (not f and results['quick']):
            continue
        unit, limit = f['unit'] if f else '', target.limit(values)
        bound = f'{WORDS[target.bound]} {with_unit(limit, unit)}' if limit is not None else ''
        met = {True: 'met', False: '**missed**', None: ''}[target.met(values)]
        spread = f"{number(f['low'])} - {number(f['high'])}" if f and f.get('low') is not None else ''
        value = with_unit(f['value'], unit) if f else 'not measured'
        lines.append(f'| {target.what} | {value} | {spread} | {bound} | {met} |')
    return '\n'.join(lines) + '\n'


def others(results):
    known = {t.figure for t in TARGETS}
    rest = [f for f in results['figures'] if f['figure'] not in known]
    if not rest:
        return ''
    lines = ['| figure | measured | rounds from - to |', '|---|---|---|']
    for f in rest:
        spread = f"{number(f['low'])} - {number(f['high'])}" if f.get('low') is not None else ''
        lines.append(f"| `{f['figure']}` | {with_unit(f['value'], f['unit'])} | {spread} |")
    return '\n## Measured besides\n\n' + '\n'.join(lines) + '\n'


def where(results):
    m = results['machine']
    kind = ' of a virtual machine' if m['virtual'] else ''
    return (f"{m['cpu']}, {m['cores']} cores{kind}, {m['memory_gb']} GB, Linux {m['kernel']}; "
            f"merlon {results['version']}, {results['date']}, `{results['command']}`")


def counted(results):
    values = {f['figure']: f['value'] for f in results['figures']}
    met = [t.met(values) for t in TARGETS]
    return met.count(True), met.count(False)


def plot(name, points, directory):
    """False: there is no gnuplot."""
    file, title, x, y, log = PLOTS[name]
    if not shutil.which('gnuplot'):
        return False
    systems = list(dict.fromkeys(p['system'] for p in points))
    if len(systems) > MOST_LINES:
        systems = [s for s in systems if '100k' in s] or systems[:MOST_LINES]
    text, plots = [], []
    for i, system in enumerate(systems):
        text.append(f'$d{i} << EOD')
        text += [f"{p['x']} {p['y']} {p.get('low', p['y'])} {p.get('high', p['y'])}"
                 for p in sorted((p for p in points if p['system'] == system), key=lambda p: (p['x'], p['y']))]
        text.append('EOD')
        bold = 3 if system.startswith('merlon') else 1.5
        style = 'yerrorlines' if any('low' in p for p in points) else 'lines'
        title_of = system.replace('_', ' ')
        plots.append(f"$d{i} using 1:2{':3:4' if style == 'yerrorlines' else ''} with {style} lw {bold} title \"{title_of}\"")
    text += ['set terminal svg size 860,520 font "sans,13" background "#ffffff"', f"set output '{directory}/{file}'",
             f'set title "{title}"', f'set xlabel "{x}"', f'set ylabel "{y}"', 'set key outside right', 'set grid',
             *(f'set logscale {axis}' for axis in log), f"""set format y "%.{0 if 'y' in log else 1}s%c" """,
             'set format x "%.0s%c"' if 'part' not in x else '',
             'set yrange [0:*]' if 'y' not in log else '', 'plot ' + ', '.join(plots), '']
    subprocess.run(['gnuplot'], input='\n'.join(text), text=True, check=True)
    return True


def page(results, plotted):
    met, missed = counted(results)
    pictures = '\n'.join(f'![{PLOTS[name][1]}]({PLOTS[name][0]})\n' for name in PLOTS if name in plotted)
    failed = ''.join(f'\n`{name}` failed: its figures are missing.\n' for name in results['failed'])
    return f"""# What it costs

{where(results)}. {met} targets met, {missed} missed.

Each figure is the median over rounds in which all systems take turns; beside it the least and the most of the rounds. A ratio is
of two systems in the same rounds. "Shuffled" is one pass over distinct packets in random order (100,000, fewer where a
chain of rules takes long), "warm" the same packet again and again. "Above no rules": what a packet costs without any is taken off
both systems' figures, as merlon follows connections then, too, and the others do not; `..._whole_ratio` below has it in both. What
99 of 100 packets take is held against twice the mean of the same row. What each figure is says the head of the program that
measures it: `tests/bench/`. All is in [results.json](results.json).
{failed}
{table(results, lambda figure: True)}{others(results)}
## Pictures

{pictures}"""


def brief(results, plotted):
    """For the project's README."""
    met, missed = counted(results)
    picture = f"\n![{PLOTS['rules'][1]}](docs/bench/{PLOTS['rules'][0]})\n" if 'rules' in plotted else ''
    rows = table(results, lambda figure: not LEFT_OUT.search(figure))
    return (f'{BEGIN}{where(results)}.\nMedians over rounds in turns; {met} targets met, {missed} missed. All figures: '
            f'[docs/bench](docs/bench/README.md).\n\n{rows}{picture}{END}')


def into_readme(path, text):
    with open(path, encoding='utf-8') as old:
        readme = old.read()
    begin, end = readme.find(BEGIN), readme.find(END)
    if begin < 0 or end < begin:
        raise SystemExit(f'README.md has no place for the figures: {BEGIN.strip()}')
    with open(path, 'w', encoding='utf-8') as new:
        new.write(readme[:begin] + text + readme[end + len(END):])


def judged(results):
    """Each figure with its target."""
    values = {f['figure']: f['value'] for f in results['figures']}
    targets = {t.figure: t for t in TARGETS}
    for f in results['figures']:
        target = targets.get(f['figure'])
        if target and target.limit(values) is not None:
            f.update(bound=target.bound, target=target.limit(values), met=target.met(values))


def dump(results, out):
    """A figure, a point or a program a line: versions of it can be compared."""
    parts = []
    for key, value in results.items():
        text = json.dumps(value)
        if isinstance(value, list) and value and isinstance(value[0], dict):
            text = '[\n  ' + ',\n  '.join(json.dumps(item) for item in value) + '\n ]'
        parts.append(f' {json.dumps(key)}: {text}')
    out.write('{\n' + ',\n'.join(parts) + '\n}\n')


def write(results, directory, readme):
    """Files into `directory`; `readme`: path of the project's, or None."""
    os.makedirs(directory, exist_ok=True)
    judged(results)
    plotted = {name for name in PLOTS
               if (points := [p for p in results['series'] if p['series'] == name]) and plot(name, points, directory)}
    with open(f'{directory}/results.json', 'w', encoding='utf-8') as out:
        dump(results, out)
    with open(f'{directory}/README.md', 'w', encoding='utf-8') as out:
        out.write(page(results, plotted))
    if readme:
        into_readme(readme, brief(results, plotted))
