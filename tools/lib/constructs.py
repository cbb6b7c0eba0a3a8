#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The tables of merlon-ruleset(5), made by asking: each construct of man/constructs is put into a ruleset, and what
`merlon check` says of it is what the page says.

usage: constructs.py MERLON DIRECTORY PAGE            the page with its tables made anew, to standard output
       constructs.py --check MERLON DIRECTORY PAGE    which entries differ; exit status 1 if any does

A list has sections: "[NAME] KIND...", then a construct a line; "SHOWN ; REST" where the ruleset needs more than is
shown, "+ TEXT" for what the section's table must have. In the page a table stands between the comments "constructs NAME"
and "end NAME". A rule that this kernel does not load, for want of a module, is told on standard error; with --check it is not
compared, without it nothing is written.
"""
import json
import os
import re
import subprocess
import sys
import tempfile
import textwrap

MARK = re.compile(r'\.\\" constructs ([a-z0-9-]+)\n(.*?)\.\\" end \1\n', re.S)


def sections(path):
    """(name, kind, lines that come first, constructs)"""
    found = []
    with open(path) as f:
        for line in f:
            line = line.rstrip('\n')
            head = re.fullmatch(r'\[([a-z0-9-]+)\] (.+)', line)
            if head:
                found.append((head[1], head[2].split(), [], []))
            elif line.startswith('+ '):
                found[-1][2].append(line[2:])
            elif line and not line.startswith('#'):
                found[-1][3].append(line)
    return found


def split(construct):
    shown, _, rest = construct.partition(' ; ')
    return shown, rest or shown


class Text:
    """A ruleset, and which construct stands in which line."""

    def __init__(self):
        self.lines, self.of = [], {}

    def add(self, text, construct=None):
        self.lines.append(text)
        if construct is not None:
            self.of[len(self.lines)] = construct


def of_chains(first, constructs):
    text = Text()
    for i, c in enumerate(constructs):
        table, chain = split(c)
        words = table.split()
        text.add(f'table {words[1]} t{i} {{ {"flags dormant;" if "dormant" in words else ""}')
        text.add(f'chain c {{ {chain};')
        text.add('counter' if words[1] in ('arp', 'bridge', 'netdev') else 'tcp dport 22', c)
        text.lines += ['}', '}']
    return text


def of_tables(first, constructs):
    text = Text()
    for c in constructs:
        table, chain = split(c)
        # a section that comes again would replace the first
        if table not in text.lines:
            text.add(table)
            for other in constructs:
                if split(other)[0] == table:
                    text.add(f':{split(other)[1]} ACCEPT [0:0]')
                    text.add(f'-A {split(other)[1]} -p tcp -m tcp --dport 22', other)
            text.add('COMMIT')
    return text


def of_rules(family, hook, first, constructs):
    text = Text()
    text.add(f'table {family} t {{')
    for line in first:
        text.add(line)
    text.add(f'chain c {{ type filter hook {hook} priority filter;')
    for c in constructs:
        text.add(split(c)[1], c)
    text.lines += ['}', '}']
    return text


def of_sets(word, family, constructs):
    text = Text()
    for i, c in enumerate(constructs):
        declared, rule = c.rsplit(' ; ', 1)
        text.add(f'table {family} t{i} {{')
        text.add(f'{word} s {{ {declared}; }}')
        text.add('chain c { type filter hook input priority filter;')
        text.add(f'{rule} @s', c)
        text.lines += ['}', '}']
    return text


def of_iptables(table, chain, first, constructs):
    text = Text()
    text.add(f'*{table}')
    text.add(f':{chain} ACCEPT [0:0]')
    for line in first:
        text.add(line)
    for c in constructs:
        text.add(f'-A {chain} {split(c)[1]}', c)
    text.add('COMMIT')
    return text


def of_kept(constructs):
    text = Text()
    for table in sorted({c.split()[0] for c in constructs}):
        text.add(f'*{table}')
        for c in constructs:
            if c.split()[0] == table:
                text.add(f'-A {split(c)[0].split()[1]} {split(c)[1]}', c)
        text.add('COMMIT')
    return text


def ruleset(kind, first, constructs):
    """(text, options of check)"""
    if kind[0] == 'chain':
        return of_chains(first, constructs), []
    if kind[0] == 'table':
        return of_tables(first, constructs), ['--family', 'ip']
    if kind[0] in ('set', 'map'):
        return of_sets(kind[0], kind[1], constructs), []
    if kind[0] == 'kept':
        return of_kept(constructs), ['--family', 'ip6' if kind[1] == 'ip6tables' else 'ip']
    if kind[0].endswith('tables'):
        return of_iptables(kind[1], kind[2], first, constructs), ['--family', 'ip6' if kind[0] == 'ip6tables' else 'ip']
    return of_rules(kind[0], kind[1], first, constructs), []


def check(merlon, text, options):
    with tempfile.NamedTemporaryFile('w', suffix='.rules') as f:
        f.write('\n'.join(text.lines) + '\n')
        f.flush()
        out = subprocess.run([merlon, 'check', '--json', *options, f.name], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
    return json.loads(out)


def ask(merlon, kind, first, constructs):
    """What merlon says of each construct that this kernel loads, and why it does not load the others."""
    text, options = ruleset(kind, first, constructs)
    report = check(merlon, text, options)
    errors = [m['text'] for m in report['messages'] if m['severity'] == 'error']
    refused = {r['line']: r['reason'] for r in report['refused']}
    if not errors and not report['kept'] and report['exact'] + len(refused) == len(constructs):
        return {c: f'refused: {refused[line]}' if line in refused else 'enforced' for line, c in text.of.items()}, {}
    if not errors and report['kept'] == len(constructs):
        return {c: 'kept' for c in constructs}, {}
    if len(constructs) > 1:
        # one by one: messages and counts do not tell whose they are
        said, unloaded = {}, {}
        for c in constructs:
            for to, of_one in zip((said, unloaded), ask(merlon, kind, first, [c])):
                to.update(of_one)
        return said, unloaded
    if errors:
        return {}, {constructs[0]: errors[0]}
    sys.exit(f'constructs: [{" ".join(kind)}]: {constructs[0]}: is not one rule')


def quoted(text):
    text = text.replace('\\', '\\e').replace('"', '\\(dq').replace("'", '\\(aq').replace('`', '\\(ga').replace('^', '\\(ha')
    return re.sub(r'^\.', r'\\&.', text)


def shown(kind, construct):
    if kind[0] == 'chain':
        return construct.replace(' ; ', ', ')
    if kind[0] in ('table', 'kept'):
        return construct.replace(' ; ', ' ')
    if kind[0] in ('set', 'map'):
        return construct.rsplit(' ; ', 1)[0]
    return split(construct)[0]


def entry(kind, construct, says):
    # what is refused is told where it is not what is shown
    says = says.replace(': not supported yet', '')
    name = re.fullmatch(r'refused: (?:expression|match|target) `([^`]*)`(.*)', says)
    if name and all(word in shown(kind, construct) for word in name[1].split()):
        says = f'refused:{name[2]}' if name[2] else 'refused'
    says = re.sub('expression `([^`]*)`', r'\1', says)
    return f'.It Li "{quoted(shown(kind, construct))}"\n{textwrap.fill(quoted(says), 80, break_long_words=False)}\n'


def tables(merlon, directory, names):
    """name: entries, and those that cannot be told here as None"""
    made, lost = {}, []
    for path in sorted(os.listdir(directory)):
        for name, kind, first, constructs in sections(os.path.join(directory, path)):
            if name not in names:
                sys.exit(f'constructs: the page has no place for [{name}]')
            said, unloaded = ask(merlon, kind, first, constructs)
            lost += [f'{name}: {c}: {why.strip().splitlines()[0]}' for c, why in unloaded.items()]
            made[name] = [(quoted(shown(kind, c)), entry(kind, c, said[c]) if c in said else None) for c in constructs]
    if set(made) != set(names):
        sys.exit(f'constructs: no list has {", ".join(set(names) - set(made))}')
    return made, lost


def differences(page, made):
    for name, body in MARK.findall(page):
        # by what is shown
        has = {e.split('\n')[0]: e for e in re.findall(r'\.It Li .*\n(?:(?!\.).*\n)*', body)}
        for what, wants in made[name]:
            entry = has.pop(f'.It Li "{what}"', None)
            if entry is None or (wants and entry != wants):
                yield f'{name}: {entry and entry.strip()!r}, not {(wants or what).strip()!r}'
        for entry in has.values():
            yield f'{name}: no list has {entry.strip()!r}'


def main():
    args = sys.argv[1:]
    checks = args[:1] == ['--check']
    if len(args) - checks != 3:
        sys.exit(__doc__)
    merlon, directory, path = args[checks:]
    with open(path) as f:
        page = f.read()
    made, lost = tables(merlon, directory, [m[0] for m in MARK.findall(page)])
    for line in lost:
        print(f'not loaded by this kernel: {line}', file=sys.stderr)
    if checks:
        wrong = list(differences(page, made))
        print('\n'.join(wrong))
        sys.exit(bool(wrong))
    if lost:
        sys.exit(1)
    head = '.Bl -tag -width 36n -compact -offset indent\n'
    sys.stdout.write(MARK.sub(lambda m: f'.\\" constructs {m[1]}\n{head}{"".join(e for _, e in made[m[1]])}.El\n.\\" end {m[1]}\n', page))


main()
