#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes a ruleset as small as it can be while COMMAND, with the file's name added, still ends in the same status: tables,
chains, rules, elements of sets and the words of rules are taken away, in ever smaller pieces. What is left goes to stdout.

usage: shrink.py [--status N] FILE -- COMMAND...      (N: 4, as of `merlon verify`)
"""
import os
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(HERE)), 'tools', 'lib'))
sys.dont_write_bytecode = True
import ruletext  # noqa: E402  pylint: disable=wrong-import-position

# A match has at most about so many words.
WINDOW = 6


class Block:
    """A table, chain or set: its first words and what is in it."""

    def __init__(self, words, children):
        self.words, self.children = words, children


class NftText:
    def __init__(self, text):
        self.nodes = [self.node(s, True) for s in ruletext.statements(text) if s]

    def node(self, statement, may_open):
        """A Block, or a statement: words and lists of elements."""
        blocks = [part for part in statement if not isinstance(part, str)]
        if may_open and len(blocks) == 1 and ruletext.is_block(statement):
            inner = ruletext.is_table(statement)
            return Block([w for w in statement if isinstance(w, str)], [self.node(s, inner) for s in blocks[0] if s])
        return [part if isinstance(part, str) else self.elements(part) for part in statement]

    @staticmethod
    def elements(block):
        words = ' '.join(' '.join(ruletext.flat(s)) for s in block)
        return [e.strip() for e in words.split(',') if e.strip()]

    def render(self):
        return '\n'.join(self.lines(self.nodes, 0)) + '\n'

    def lines(self, nodes, depth):
        indent = '\t' * depth
        for node in nodes:
            if isinstance(node, Block):
                yield f"{indent}{' '.join(node.words)} {{"
                yield from self.lines(node.children, depth + 1)
                yield indent + '}'
            else:
                words = [part if isinstance(part, str) else f"{{ {', '.join(part)} }}" for part in node]
                # the header of a chain needs its semicolons
                if words[:1] == ['type'] and 'hook' in words:
                    words.append(';')
                yield indent + ' '.join(words)

    def lists(self):
        """(list that may lose items, whether in chunks of any size), coarse ones first"""
        yield self.nodes, True
        level, statements = self.nodes, []
        while level:
            blocks = [n for n in level if isinstance(n, Block)]
            statements += [n for n in level if not isinstance(n, Block)]
            for block in blocks:
                yield block.children, True
            level = [child for block in blocks for child in block.children]
        for statement in statements:
            if statement[:1] == ['type'] or statement[:1] == ['policy']:
                continue
            for part in statement:
                if not isinstance(part, str):
                    yield part, True
            yield statement, False


class IptablesText:
    def __init__(self, text):
        self.nodes = [line.split(' ') for line in text.splitlines() if line and not line.startswith('#')]

    def render(self):
        return '\n'.join(' '.join(words) for words in self.nodes) + '\n'

    def lists(self):
        yield self.nodes, True
        for words in self.nodes:
            if words[0] == '-A':
                yield words, False


def shrink(text, test, seconds=None):
    """The smallest text found, in that time if one is given, for which test(text) still holds. It must hold for `text`."""
    end = time.monotonic() + seconds if seconds else None
    document = IptablesText(text) if ruletext.kind_of(text) == ruletext.IPTABLES else NftText(text)
    if not test(document.render()):
        return text
    progress = True
    while progress:
        progress = False
        for items, chunks in document.lists():
            if end and time.monotonic() > end:
                return document.render()
            size = len(items) // 2 if chunks else min(WINDOW, len(items) - 1)
            progress |= bool(items) and reduce(items, max(1, size), chunks, lambda: test(document.render()), end)
    return document.render()


def reduce(items, size, halve, holds, end):
    """Takes windows of `size` and fewer items away as long as that holds; whether any went."""
    removed = False
    while size and not (end and time.monotonic() > end):
        at = 0
        while at < len(items):
            window = items[at:at + size]
            del items[at:at + size]
            if holds():
                removed = True
            else:
                items[at:at] = window
                at += size if halve else 1
        size = size // 2 if halve else size - 1
    return removed


def main():
    args, status = sys.argv[1:], 4
    if args[:1] == ['--status'] and len(args) > 1:
        status, args = int(args[1]), args[2:]
    if len(args) < 3 or args[1] != '--':
        print(__doc__, file=sys.stderr)
        return 2
    path, command = args[0], args[2:]
    with open(path, encoding='utf-8') as f:
        text = f.read()
    with tempfile.TemporaryDirectory() as directory:
        name = os.path.join(directory, 'ruleset' + os.path.splitext(path)[1])

        def test(candidate):
            with open(name, 'w', encoding='utf-8') as f:
                f.write(candidate)
            return subprocess.run([*command, name], cwd=directory, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                  check=False).returncode == status
        if not test(text):
            print(f'{path}: the command does not end in status {status}', file=sys.stderr)
            return 1
        sys.stdout.write(shrink(text, test))
    return 0


if __name__ == '__main__':
    sys.exit(main())
