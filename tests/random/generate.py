#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Random rulesets from the grammar that merlon enforces, weighted like real ones: nft text, and iptables-save for IPv4
and IPv6. The same seed makes the same ruleset, with the same merlon.

Constructs are used as far as the built merlon takes them: each is tried once, and what it refuses is left out and named.
A ruleset that is refused all the same, or that nft does not load, is made anew from the next derived seed and counted.
"""
import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
from collections import Counter

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.dont_write_bytecode = True
import iptables  # noqa: E402  pylint: disable=wrong-import-position
import nft  # noqa: E402  pylint: disable=wrong-import-position
from pools import pick  # noqa: E402  pylint: disable=wrong-import-position

# One rule for each construct that not every merlon takes. nft: in a base chain of the hook input, table inet.
NFT_PROBES = {
    'concatenation': 'ip saddr . tcp dport { 10.0.0.1 . 22, 10.0.0.2 . 25-30 } accept',
    'vmap': 'tcp dport vmap { 22 : accept, 25-30 : jump aside }',
    'vmap any': 'tcp dport vmap { 22 : accept, * : drop }',
    'vmap ct state': 'ct state vmap { established : accept, invalid : drop }',
    'timeout': 'ip saddr @timed accept',
    'fib type': 'fib daddr type local accept',
    'ether saddr': 'ether saddr 02:00:00:00:00:01 accept',
    'mark set': 'meta mark set 1',
}
IPTABLES_PROBES = {
    'addrtype': '-m addrtype --dst-type LOCAL -j ACCEPT',
    'mac': '-m mac --mac-source 02:00:00:00:00:01 -j ACCEPT',
    'multiport --ports': '-p tcp -m multiport --ports 22,80 -j ACCEPT',
    'MARK': '-m comment --comment x -j MARK --set-xmark 0x1/0xff',
}
TRIES = 50


def default_merlon():
    build = os.environ.get('MERLON_TOP_BUILDDIR') or os.environ.get('MERLON_BUILD') or 'build'
    return os.path.join(os.path.dirname(os.path.dirname(HERE)), build, 'src', 'merlon')


class Merlon:
    """The built program, asked about rulesets."""

    def __init__(self, program):
        self.program = program
        if not os.access(program, os.X_OK):
            raise SystemExit(f'{program} is missing: build it with tools/build, or name it with --merlon')

    def check(self, text, suffix):
        """(exit status, report, messages); a status of 1 has no report"""
        with tempfile.NamedTemporaryFile('w', suffix=suffix) as f:
            f.write(text)
            f.flush()
            r = subprocess.run([self.program, 'check', '--json', *family_option(suffix), f.name], capture_output=True, text=True,
                               check=False)
        return r.returncode, json.loads(r.stdout) if r.returncode in (0, 3) else None, r.stderr


def family_option(name):
    return ['--family', 'ip6' if name.endswith('.v6') else 'ip'] if name.endswith(('.v4', '.v6')) else []


class Generator:
    def __init__(self, merlon):
        self.merlon = merlon
        self.takes = set()
        self.left_out = []         # constructs that this merlon refuses
        self.made = 0
        self.refused = Counter()   # reasons for which rulesets were made anew
        self.probe()

    def probe(self):
        lines = ['table inet probe {', '\tset timed { type ipv4_addr; flags timeout; elements = { 10.0.0.1 timeout 1h }; }',
                 '\tchain aside { }']
        for i, rule in enumerate(NFT_PROBES.values()):
            lines.append(f'\tchain p{i} {{ type filter hook input priority {i}; {rule}; }}')
        self.learn('\n'.join(lines + ['}', '']), '.nft', {f'p{i}': name for i, name in enumerate(NFT_PROBES)})
        lines = ['*filter', ':INPUT ACCEPT [0:0]', ':FORWARD ACCEPT [0:0]', ':OUTPUT ACCEPT [0:0]']
        lines += [f':p{i} - [0:0]' for i in range(len(IPTABLES_PROBES))]
        lines += [f'-A INPUT -j p{i}' for i in range(len(IPTABLES_PROBES))]
        lines += [f'-A p{i} {rule}' for i, rule in enumerate(IPTABLES_PROBES.values())]
        self.learn('\n'.join(lines + ['COMMIT', '']), '.v4', {f'p{i}': name for i, name in enumerate(IPTABLES_PROBES)})

    def learn(self, text, suffix, names):
        status, report, messages = self.merlon.check(text, suffix)
        if report is None:
            raise SystemExit(f'the probes do not load (exit {status}):\n{messages}')
        refused = {names.get(r['chain']) for r in report['refused']}
        self.left_out += [n for n in names.values() if n in refused]
        self.takes |= set(names.values()) - refused

    def allowed(self, name):
        return name in self.takes

    def draft(self, rng):
        """(text, suffix) of a ruleset that may still be refused"""
        size = pick(rng, [(35, rng.randint(1, 10)), (40, rng.randint(11, 60)), (20, rng.randint(61, 200)), (5, rng.randint(201, 300))])
        kind = pick(rng, [(60, '.nft'), (26, '.v4'), (14, '.v6')])
        if kind == '.nft':
            return nft.generate(rng, size, self.allowed), kind
        return iptables.generate(rng, size, 4 if kind == '.v4' else 6, self.allowed), kind

    def make(self, seed):
        """(text, suffix) of the ruleset of this seed; merlon takes all its rules."""
        for attempt in range(TRIES):
            text, suffix = self.draft(random.Random(f'{seed}/{attempt}'))
            status, report, messages = self.merlon.check(text, suffix)
            self.made += 1
            if status == 0:
                return text, suffix
            reasons = {r['reason'] for r in report['refused']} if report else {first_line(messages)}
            self.refused.update(reasons)
        raise SystemExit(f'seed {seed}: {TRIES} rulesets in a row were refused, the last one for: {", ".join(reasons)}')

    def print_rate(self, out):
        refused = self.made and sum(self.refused.values())
        print(f'{self.made} rulesets made, {refused} refused and made anew ({100 * refused / max(1, self.made):.1f} %)', file=out)
        for reason, n in self.refused.most_common(12):
            print(f'  {n:4}  {reason}', file=out)
        if self.left_out:
            print(f'left out, because this merlon refuses it: {", ".join(self.left_out)}', file=out)


def first_line(messages):
    """What an error is about, without the names of files and chains."""
    lines = [re.sub(r'^\S*:\d+:[\d:-]*|^\S*tables-nft-restore v[\d.]+ \(nf_tables\):|rule in chain \S+', '', line).strip()
             for line in messages.splitlines()]
    return ' '.join(line for line in lines[:3] if line)[:120]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--seed', type=int, default=1, help='of the first ruleset (%(default)s)')
    parser.add_argument('--count', type=int, default=1, help='so many, of consecutive seeds (%(default)s)')
    parser.add_argument('--directory', metavar='DIR', help='write them there as SEED.nft, SEED.v4, SEED.v6')
    parser.add_argument('--merlon', default=default_merlon())
    args = parser.parse_args()
    generator = Generator(Merlon(os.path.abspath(args.merlon)))
    for seed in range(args.seed, args.seed + args.count):
        text, suffix = generator.make(seed)
        if args.directory:
            with open(os.path.join(args.directory, f'{seed}{suffix}'), 'w', encoding='utf-8') as f:
                f.write(text)
        else:
            sys.stdout.write(text)
    generator.print_rate(sys.stderr)


if __name__ == '__main__':
    main()
