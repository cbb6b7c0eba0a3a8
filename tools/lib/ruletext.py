# SPDX-License-Identifier: GPL-2.0-or-later
"""Rulesets as text: what kind a file is, and how many rules it has, by nothing but its words.

It shares no code with merlon's own readers: tools/corpus compares the two.
"""
import re
from collections import defaultdict

IPTABLES, NFT = 'iptables', 'nft'
# What an nft file begins with, apart from comments.
NFT_FIRST = {'table', 'flush', 'add', 'create', 'delete', 'destroy', 'define', 'redefine', 'include', 'insert', 'reset'}
FAMILIES = {'ip', 'ip6', 'inet', 'arp', 'bridge', 'netdev'}
FILTER_HOOKS = {'input', 'forward', 'output'}
# Blocks of a table that hold no rules.
OTHER_BLOCKS = {'set', 'map', 'flowtable', 'counter', 'quota', 'limit', 'ct', 'secmark', 'synproxy', 'meter'}


def read(path):
    """A file as text, whatever its bytes are: a ruleset in UTF-16 is one that can't be loaded, not none."""
    with open(path, 'rb') as f:
        data = f.read()
    encoding = 'utf-16' if data[:2] in (b'\xff\xfe', b'\xfe\xff') else 'utf-8'
    return data.decode(encoding, errors='replace')


def is_json(text):
    """What `nft -j list ruleset` prints."""
    return re.match(r'\ufeff?\s*\{\s*"nftables"\s*:', text) is not None


def kind_of(text):
    """IPTABLES, NFT, or None: no ruleset. Told by the first line that is no comment."""
    if is_json(text):
        return NFT
    for line in text.removeprefix('\ufeff').splitlines():
        line = line.strip()
        if not line or line.startswith('#'):
            continue
        if re.match(r'\*[a-z]+\s*$', line):
            return IPTABLES
        return NFT if re.split(r'[\s;{"]', line)[0] in NFT_FIRST else None
    return None


class Count:
    """Rules of one file. `chains`: (family, table, chain) -> rules, in any table of the file."""

    def __init__(self):
        self.chains = defaultdict(int)
        self.filter = 0        # in chains of filter hooks and what these lead to; iptables: all of *filter
        self.other = 0         # NAT, mangle, other families: not for filtering
        self.unreached = 0     # in chains of filter tables that nothing leads to
        self.more = 0          # iptables: rules beyond one a line (lists of addresses)
        self.refused = 0       # nft: comments of `merlon import` in place of rules, which the kernel does not have
        self.unsure = []       # why the text alone can't tell

    @property
    def all(self):
        return self.filter + self.other + self.unreached + self.more


def count(text, kind):
    return count_iptables(text) if kind == IPTABLES else NftCount(text).result()


# --- iptables-save: one line, one rule ---

def words_of(line):
    return [a + b for a, b in re.findall(r'((?:[^\s"]|"(?:[^"\\]|\\.)*")+)()', line)]


def list_length(words, options):
    for option, value in zip(words, words[1:]):
        if option in options:
            return value.count(',') + 1
    return 1


def count_iptables(text):
    result, section = Count(), None
    lines, more = defaultdict(int), defaultdict(int)      # of each section
    for line in text.splitlines():
        line = re.sub(r'^\[\d+:\d+\]\s*', '', line.strip())
        if line.startswith('*'):
            section = line[1:].strip()
            # one that comes again replaces what the first one had
            lines[section] = more[section] = 0
            for key in [key for key in result.chains if key[0] == section]:
                del result.chains[key]
        elif line.startswith('COMMIT'):
            section = None
        words = words_of(line) if section and line.startswith('-') else []
        if not words:
            continue
        if words[0] in ('-A', '--append', '-I', '--insert'):
            rules = list_length(words, ('-s', '--source', '--src')) * list_length(words, ('-d', '--destination', '--dst'))
            result.chains[section, words[1]] += rules
            more[section] += rules - 1
            lines[section] += 1
        elif words[0] in ('-D', '--delete', '-F', '--flush', '-X', '--delete-chain', '-R', '--replace', '-E'):
            result.unsure.append(words[0])
    result.filter, result.more = lines['filter'], sum(more.values())
    result.other = sum(lines.values()) - result.filter
    return result


# --- nft: statements in the blocks of chains ---

TOKEN = re.compile(r'\\\n|#[^\n]*|"[^"\n]*"|[{};\n]|[^\s{};"#]+')


def statements(text):
    """A nested list: a statement is a list of words, a block in it is a list of statements."""
    stack = [[[]]]             # blocks from the outside in; the last list of a block is the statement that is being read
    holds = [True]             # for each: whether its statements may open blocks, or only sets
    for token in TOKEN.findall(text):
        block = stack[-1]
        if token.startswith('#') or token == '\\\n':
            if is_refused(token):
                block.insert(-1, [token])
            continue
        if token == '{':
            inner = [[]]
            block[-1].append(inner)
            stack.append(inner)
            holds.append(holds[-1] and is_table(block[-1]))
        elif token == '}':
            if len(stack) > 1:
                stack.pop()
                holds.pop()
                # a block ends its statement; a set in a rule does not
                if holds[-1] and is_block(stack[-1][-1]):
                    stack[-1].append([])
        elif token in (';', '\n'):
            if block[-1]:
                block.append([])
        else:
            block[-1].append(token)
    return stack[0]


def is_refused(word):
    """What `merlon import` writes in the place of a rule: for merlon it is one, for nft a comment."""
    return word.startswith('# refused (') and '):' in word


def head(statement):
    """The words of a statement, without the command."""
    words = [w for w in statement if isinstance(w, str)]
    return words[1:] if words[:1] and words[0] in ('add', 'create') else words


def is_table(statement):
    return head(statement)[:1] == ['table']


def is_block(statement):
    words = head(statement)
    return words[:1] and (words[0] in ('table', 'chain') or words[0] in OTHER_BLOCKS)


def flat(statement):
    for part in statement:
        if isinstance(part, str):
            yield part
        else:
            for inner in part:
                yield from flat(inner)


class Chain:
    def __init__(self):
        self.rules, self.leads, self.uses = 0, set(), set()
        self.base = None       # (type, hook) of a base chain


class NftCount:
    def __init__(self, text):
        self.chains = {}       # (family, table, chain) -> Chain
        self.maps = defaultdict(set)       # (family, table, map) -> chains that it leads to
        self.dormant, self.unsure, self.refused = set(), [], 0
        for statement in statements(text):
            self.top(statement)

    def result(self):
        count = Count()
        count.unsure, count.refused = self.unsure, self.refused
        enforced, kept = self.reached(True), self.reached(False)
        for key, chain in self.chains.items():
            count.chains[key] += chain.rules
            if key in enforced:
                count.filter += chain.rules
            elif key in kept or key[0] not in ('ip', 'ip6', 'inet') or key[:2] in self.dormant:
                count.other += chain.rules
            else:
                count.unreached += chain.rules
        return count

    def is_filter(self, key):
        base = self.chains[key].base
        return base[0] == 'filter' and base[1] in FILTER_HOOKS and key[0] in ('ip', 'ip6', 'inet') and \
            key[:2] not in self.dormant

    def reached(self, filtering):
        todo = [k for k, c in self.chains.items() if c.base and self.is_filter(k) == filtering]
        seen = set(todo)
        while todo:
            key = todo.pop()
            chain = self.chains[key]
            leads = set(chain.leads).union(*(self.maps[(*key[:2], name)] for name in chain.uses))
            for name in leads:
                target = (*key[:2], name)
                if target in self.chains and target not in seen:
                    seen.add(target)
                    todo.append(target)
        return seen

    def top(self, statement):
        words = [w for w in statement if isinstance(w, str)]
        blocks = [w for w in statement if not isinstance(w, str)]
        if not words or is_refused(words[0]):
            return
        command = 'add'
        if words[0] in ('add', 'create', 'insert', 'delete', 'destroy', 'flush', 'replace', 'list', 'reset', 'rename'):
            command, words = words[0], words[1:]
        if not words or words[0] in ('define', 'redefine', 'undefine', 'ruleset'):
            if command == 'flush':
                self.__init__('')
        elif words[0] == 'include':
            self.unsure.append('include')
        elif command in ('delete', 'destroy', 'flush'):
            self.remove(words)
        elif command not in ('add', 'create', 'insert'):
            if command in ('replace', 'rename'):
                self.unsure.append(command)
        else:
            self.add(words, blocks, statement)

    @staticmethod
    def place(words):
        """Family and the names that follow a keyword."""
        return (words[1], words[2:]) if words[1:] and words[1] in FAMILIES else ('ip', words[1:])

    def remove(self, words):
        family, names = self.place(words)
        if words[0] == 'table' and names:
            self.chains = {k: c for k, c in self.chains.items() if k[:2] != (family, names[0])}
        elif words[0] == 'chain' and len(names) > 1:
            self.chains.pop((family, names[0], names[1]), None)
        elif words[0] == 'rule':
            self.unsure.append('delete rule')

    def add(self, words, blocks, statement):
        family, names = self.place(words)
        if words[0] == 'table' and names:
            for block in blocks:
                self.table(family, names[0], block)
        elif words[0] == 'chain' and len(names) > 1:
            self.chain((family, names[0], names[1]), blocks[0] if blocks else [])
        elif words[0] == 'rule' and len(names) > 1:
            self.rule((family, names[0], names[1]), statement)
        elif words[0] in ('map', 'element') and len(names) > 1:
            self.map((family, names[0], names[1]), blocks)
        elif words[0] not in OTHER_BLOCKS | {'element'}:
            self.unsure.append(words[0])

    def table(self, family, table, block):
        for statement in block:
            words = [w for w in statement if isinstance(w, str)]
            blocks = [w for w in statement if not isinstance(w, str)]
            if words[:2] == ['flags', 'dormant']:
                self.dormant.add((family, table))
            elif words[:1] == ['chain'] and len(words) > 1:
                self.chain((family, table, words[1]), blocks[0] if blocks else [])
            elif words[:1] == ['map'] and len(words) > 1:
                self.map((family, table, words[1]), blocks)
            elif words[:1] == ['include']:
                self.unsure.append('include')

    def map(self, key, blocks):
        words = list(flat(blocks)) if blocks else []
        self.maps[key] |= {b.rstrip(',') for a, b in zip(words, words[1:]) if a in ('jump', 'goto')}

    def chain(self, key, block):
        chain = self.chains.setdefault(key, Chain())
        for statement in block:
            words = [w for w in statement if isinstance(w, str)]
            if not words:
                continue
            if is_refused(words[0]):
                self.refused += 1
            elif words[0] == 'type' and 'hook' in words:
                chain.base = (words[1], words[words.index('hook') + 1])
            elif words[0] == 'include':
                self.unsure.append('include')
            elif words[0] not in ('policy', 'comment', 'devices', 'flags', 'define', 'redefine', 'undefine'):
                self.rule(key, statement)

    def rule(self, key, statement):
        chain = self.chains.setdefault(key, Chain())
        words = list(flat(statement))
        chain.rules += 1
        chain.leads |= {b.rstrip(',') for a, b in zip(words, words[1:]) if a in ('jump', 'goto')}
        chain.uses |= {w[1:].rstrip(',') for w in words if w.startswith('@')}
        if any(b.startswith('$') for a, b in zip(words, words[1:]) if a in ('jump', 'goto')):
            self.unsure.append('jump to a variable')
