#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""
The same frames, one by one, into two copies of a network: the host of one is filtered by the kernel's nf_tables, that of
the other by merlon. What comes out must be the same: forwarded packets, packets that pass INPUT, answers.
usage: frames.py [--seed N] [--ruleset NAME | --all] [--only SCENARIO] [--oracle] [--more]
  --oracle  nf_tables in both copies: what differs then is noise of the test itself
  --more    print every difference
"""
import argparse
import os
import random
import signal
import struct
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lib_frames  # noqa: E402
import lib_odd  # noqa: E402
import lib_packet as pkt  # noqa: E402
from lib_ground import Ground  # noqa: E402
from lib_wire import MARGIN_S, Wire, checksum_wrong, demo, normal  # noqa: E402

TOP = os.environ.get('MERLON_TOP_SRCDIR') or os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get('MERLON_TOP_BUILDDIR') or f'{TOP}/build'

# Where merlon at TC may differ, and why. A frame that carries no such name must be judged the same.
LIMITS = {
    'l4-checksum': 'transport checksums are not verified: as nf_conntrack_checksum=0 (rule 12)',
    'fragments': 'at TC fragments are judged one by one, nf_tables sees whole datagrams (rule 13)',
    'after-routing': 'FORWARD is judged at egress: the stack has decremented the TTL before, and answers first (rule 3)',
    'stack-checks': 'INPUT is judged before the stack has looked at options, extension headers and impossible addresses (rule 3)',
    'dccp': 'nf_conntrack of older kernels has a tracker of its own for DCCP; here it is tracked by tuple',
    'answer-source': "an ICMPv6 error for a packet whose sender lies behind another interface has that interface's address",
    'reject-checksum': 'a reject is answered whatever the checksum of the packet; nf_tables answers only if it is right, also of unknown protocols (rule 12)',
    'broadcast-source': 'a packet from a broadcast address is not answered, as RFC 1122 3.2.2 has it; nf_tables answers',
    'icmp-type-alone': 'an ICMP packet of one byte is dropped: type and code are matched as one (bpf/parse.h)',
    'extension-count': 'a packet with more than eight IPv6 extension headers is dropped (bpf/extensions.h)',
}
SCENARIOS = [lib_frames.matrix, lib_frames.tcp_flags, lib_frames.tcp_flows, lib_frames.tcp_walks, lib_frames.tcp_window,
             lib_frames.tcp_input, lib_frames.udp_flows, lib_frames.icmp_types, lib_frames.icmp_echo, lib_frames.icmp_errors,
             lib_frames.protocols, lib_odd.truncated, lib_odd.malformed, lib_odd.malformed_l4, lib_odd.options4,
             lib_odd.extensions6, lib_odd.groups, lib_odd.links, lib_odd.output, lib_odd.fragments]
RULESETS = {
    'web-db': ['docs/examples/web-db.v4', 'docs/examples/web-db.v6'],
    'states': ['tests/e2e/rulesets/states.nft'],
    'stateless': ['tests/e2e/rulesets/stateless.nft'],
    'chains': ['tests/e2e/rulesets/chains.nft'],
    'sets': ['tests/e2e/rulesets/sets.nft'],
    'lookups': ['tests/e2e/rulesets/lookups.nft'],
    'blobs': ['tests/e2e/rulesets/blobs.v4', 'tests/e2e/rulesets/blobs.v6'],
}
# `merlon verify` plays the others, too, in a hundredth of the time; --all plays all here.
RESTORE = {'.v4': 'iptables-nft-restore', '.v6': 'ip6tables-nft-restore'}
SHORT = ('web-db', 'states')
SHOWN = 6
CHECKED = (pkt.ICMP, pkt.TCP, pkt.UDP, pkt.ICMPV6)


class Case:
    """A frame and what came of it, in both copies."""

    def __init__(self, index, frame):
        self.index, self.frame, self.limit, self.differs = index, frame, None, False
        self.came, self.outcomes = [[], []], [[], []]

    def bad(self):
        """Answers of merlon's with a wrong checksum."""
        sent = pkt.View(self.frame.ip)
        return [raw for place, kind, raw in self.came[1] if kind == 'ip' and place != 'input' and
                (pkt.View(raw).src, pkt.View(raw).dst) != (sent.src, sent.dst) and checksum_wrong(raw)]


def length_of(raw):
    """As the header says."""
    if len(raw) < 6:
        return len(raw)
    return struct.unpack('!H', raw[2:4])[0] if raw[0] >> 4 == 4 else struct.unpack('!H', raw[4:6])[0] + 40


def trace(raw):
    """What is told from a packet to find the frame that it came of, or that an answer quotes."""
    v = pkt.View(raw[:length_of(raw)])
    return v.src, v.dst, v.proto, v.l4[:8]


def traces_back(raw):
    """Traces of frames that an answer may belong to: the quoted packet, or the segment that a reset turns down."""
    v = pkt.View(raw)
    if v.proto in (pkt.ICMP, pkt.ICMPV6):
        return [trace(v.l4[8:])]
    if v.proto == pkt.TCP and len(v.l4) >= 8:
        return [(v.dst, v.src, v.proto, v.l4[2:4] + v.l4[:2])]
    return []


def is_answer(raw):
    """An ICMP error or a reset."""
    v = pkt.View(raw)
    return bool(v.l4) and (v.proto == pkt.TCP and len(v.l4) > 13 and bool(v.l4[13] & pkt.RST) or
                           v.proto == pkt.ICMP and v.l4[0] in (3, 11, 12) or v.proto == pkt.ICMPV6 and v.l4[0] < 128)


def answered_more(case):
    """Whether merlon differs only by answering."""
    rest = list(case.outcomes[1])
    for it in case.outcomes[0]:
        if it not in rest:
            return False
        rest.remove(it)
    return all(kind == 'ip' and is_answer(raw) for _, kind, raw in rest)


def same_packet(raw, sent):
    a, b = trace(raw), trace(sent)
    return a[:2] == b[:2] and a[3][:4] == b[3][:4]


def passes_more(case):
    """Whether merlon lets a packet through that nf_tables does not, answers apart."""
    through = [sum(1 for _, kind, raw in o if kind == 'ip' and same_packet(raw, case.frame.ip)) for o in case.outcomes]
    return through[1] > through[0]


def payload_sum_wrong(ip):
    """As nf_reject_verify_csum() and nf_checksum() see it: of most protocols the sum over the whole payload must be right."""
    v = pkt.View(ip)
    payload = ip[v.at:length_of(ip)]
    if v.family == 6 and not payload:
        return True
    if v.proto in (33, 50, 51, 132, 136) or (v.proto == pkt.UDP and payload[6:8] == b'\0\0'):
        return False
    head = b'' if v.proto == pkt.ICMP else pkt.pseudo(v.src, v.dst, v.proto, len(payload))
    return pkt.checksum(head + payload) != 0


def is_lone_type(ip):
    """ICMP of one byte."""
    v = pkt.View(ip[:length_of(ip)])
    return v.proto in (pkt.ICMP, pkt.ICMPV6) and len(v.l4) == 1


def without_source(raw):
    """An ICMPv6 error, but for its source."""
    v = pkt.View(raw)
    return raw if v.proto != pkt.ICMPV6 or v.l4[0] >= 128 else raw[:8] + bytes(16) + raw[24:]


class Pair:
    """The two copies; frames go through both."""

    def __init__(self, worlds, name, shown):
        self.worlds, self.name, self.shown = worlds, name, shown
        self.limits = {name: [0, 0, 0] for name in LIMITS}	# frames, differences, where more passes
        self.pause, self.tracks = 0.0, True

    def outcome(self, i, frame, came):
        return sorted((place, kind, normal(frame, self.worlds[i], kind, raw)) for place, kind, raw in came)

    def step(self, index, frame, patient):
        """Sends a frame into both; answers that are late are waited for, and given to the frame they belong to."""
        case = Case(index, frame)
        key = trace(frame.ip)
        self.known[key] = self.known[key[:3] + (key[3][:4],)] = case
        for i, w in enumerate(self.worlds):
            self.place(i, w.arrivals(), None)
            w.send(frame)
            self.place(i, w.arrivals(), case)
        self.judge(case)
        deadline = time.monotonic() + (MARGIN_S if patient else 0.02)
        while case.differs and time.monotonic() < deadline:
            for i, w in enumerate(self.worlds):
                self.place(i, w.arrivals(0.003), case)
            self.judge(case)
        if case.differs:
            self.open.append(case)
        return case

    def judge(self, case):
        case.outcomes = [self.outcome(i, case.frame, case.came[i]) for i in (0, 1)]
        case.differs = case.outcomes[0] != case.outcomes[1]

    def place(self, i, arrivals, case):
        """Late packets: to an earlier frame that lacks just this one, else to the present one."""
        for arrival in arrivals:
            owner = self.lacking(i, arrival) or self.origin(arrival, case) or case
            if owner:
                owner.came[i].append(arrival)
                self.judge(owner)
            else:
                self.worlds[i].late.append(arrival)

    def lacking(self, i, arrival):
        for earlier in self.open:
            it = self.outcome(i, earlier.frame, [arrival])[0]
            if earlier.outcomes[1 - i].count(it) > earlier.outcomes[i].count(it):
                return earlier
        return None

    def origin(self, arrival, case):
        place, kind, raw = arrival
        if kind != 'ip' or not is_answer(raw) or (case and trace(raw) == trace(case.frame.ip)):
            return case
        return next((self.known[t] for t in traces_back(raw) if t in self.known), case)

    def run(self, scenario, frames):
        """Plays a scenario; returns what differs, and how often a limit is the reason."""
        cases, self.open, self.known = [], [], {}
        for w in self.worlds:
            w.late = []
        for i, frame in enumerate(frames):
            if self.pause:
                time.sleep(self.pause)
            cases.append(self.step(i, frame, not frame.limit and len(self.open) < 40))
        for i, w in enumerate(self.worlds):
            self.place(i, w.arrivals(MARGIN_S / 2), None)
        differences, differences_more = [], []
        for case in cases:
            self.classify(case)
            if case.limit:
                self.limits[case.limit][0] += 1
                self.limits[case.limit][1] += case.differs
                self.limits[case.limit][2] += case.differs and passes_more(case)
                if self.shown > SHOWN and case.differs and passes_more(case):
                    differences_more.append(case)
            elif case.differs or case.bad():
                differences.append(case)
        if self.shown > SHOWN:
            print(f'# {scenario}: within limits, but passes only merlon:')
            self.show(scenario, differences_more)
        if scenario != 'fragments':		# reassembly that timed out is reported late
            differences += self.late(frames[-1])
        return differences, sum(1 for c in cases if c.limit and c.differs)

    def classify(self, case):
        """The limit that a frame comes under, by what it is or by how its outcomes differ."""
        case.limit = case.frame.limit
        if case.differs and not case.limit:
            anonymous = [sorted((place, kind, without_source(raw)) for place, kind, raw in o) for o in case.outcomes]
            if anonymous[0] == anonymous[1]:
                case.limit = 'answer-source'
            elif pkt.View(case.frame.ip).proto is not None and answered_more(case) and payload_sum_wrong(case.frame.ip):
                case.limit = 'reject-checksum'
            elif self.tracks and pkt.View(case.frame.ip).proto in CHECKED and payload_sum_wrong(case.frame.ip):
                case.limit = 'l4-checksum'
            elif not case.outcomes[1] and is_lone_type(case.frame.ip):
                case.limit = 'icmp-type-alone'

    def late(self, frame):
        late = Case(-1, frame)
        late.came = [w.late for w in self.worlds]
        self.judge(late)
        return [late] if late.differs else []

    def show(self, scenario, differences):
        for case in differences[:self.shown]:
            frame, raw = case.frame, case.frame.data or case.frame.ip
            print(f'#  {self.name} {scenario} ' + (f'frame {case.index} from {frame.side}: {frame.note}' if case.index >= 0 else
                                                   'after some frame, which lacks nothing'))
            if case.index >= 0:
                print(f'#    {pkt.describe_frame(raw) if frame.side != "host" and frame.data else pkt.describe(frame.ip)}')
                print(f'#    hex {raw.hex()}')
            for who, outcome in zip(('nf_tables', 'merlon   '), case.outcomes):
                print(f'#    {who} {"; ".join(self.tell(o) for o in outcome) or "nothing"}')
            for answer in case.bad():
                print(f'#    wrong checksum in {pkt.describe(answer)}')
            if len(case.outcomes[0]) == len(case.outcomes[1]):
                for a, b in zip(*case.outcomes):
                    if a != b:
                        print(f'#    {a[2].hex()}\n#    {b[2].hex()}')
        if len(differences) > self.shown:
            print(f'#  ... {len(differences) - self.shown} more')

    @staticmethod
    def tell(o):
        place, kind, raw = o
        return f'{place}: {pkt.describe(raw) if kind == "ip" else pkt.describe_frame(raw)}'


class Tap:
    def __init__(self):
        self.n, self.failed = 0, 0

    def point(self, ok, what):
        self.n += 1
        self.failed += not ok
        print(f'{"ok" if ok else "not ok"} {self.n} - {what}', flush=True)

    def done(self):
        print(f'1..{self.n}')
        return 1 if self.failed or not self.n else 0


class Filtered:
    """The two copies with their filters, for the length of a `with`."""

    def __init__(self, name, files, neighbours, args):
        self.name, self.files, self.args, self.neighbours = name, files, args, neighbours
        self.restore = {f: RESTORE.get(f[-3:]) for f in files}
        self.worlds, self.merlon = [], None

    def __enter__(self):
        self.work = tempfile.TemporaryDirectory(prefix='merlon-frames.')
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def start(self):
        for kind in 'kernel', 'merlon':
            self.worlds.append(Wire(kind))
            self.worlds[-1].make(self.neighbours)
        demo.load_kernel(self.worlds[0], self.files, self.restore)
        if not self.args.oracle:
            self.merlon = demo.Merlon(BUILD, self.worlds[1], self.work.name)
            self.merlon.start()
        # the host's own reports on joining groups are out before the first frame
        time.sleep(0.2)

    def apply(self):
        if self.args.oracle:
            demo.load_kernel(self.worlds[1], self.files, self.restore)
        else:
            self.merlon.cli('apply', *self.files)

    def __exit__(self, *_):
        if self.merlon:
            self.merlon.stop()
        for w in self.worlds:
            w.remove()
        self.work.cleanup()


def control(tap, pair, frames):
    """With nothing in force in the second copy, the comparison must see it."""
    differences, _ = pair.run('control', frames)
    tap.point(bool(differences), f'{pair.name}: a missing filter is seen ({len(differences)} of {len(frames)} frames differ)')


def judge(tap, name, files, args):
    g = Ground(files, args.seed)
    checks = list(lib_frames.matrix(g))[:200]
    plays = [(s.__name__, list(s(g))) for s in SCENARIOS if not args.only or s.__name__ in args.only.split(',')]
    began = time.monotonic()
    cpus = os.sched_getaffinity(0)
    with Filtered(name, files, g.used, args) as filtered:
        pair = Pair(filtered.worlds, name, 10 ** 9 if args.more else SHOWN)
        rules = ''.join(open(f, encoding='utf-8').read() for f in files)
        pair.tracks = 'ct state' in rules or 'ctstate' in rules
        # a rate limit must not depend on how fast the test is
        if 'limit rate' in rules:
            pair.pause = 0.0015
        os.sched_setaffinity(0, {max(cpus)})
        try:
            control(tap, pair, checks)
            filtered.apply()
            for scenario, frames in plays:
                differences, limited = pair.run(scenario, frames)
                pair.show(scenario, differences)
                tap.point(not differences, f'{name}: {scenario}: {len(frames)} frames, {len(differences)} differences, {limited} within limits')
        finally:
            os.sched_setaffinity(0, cpus)
    for limit, (frames, differences, more) in pair.limits.items():
        if frames:
            print(f'# {name}: limit {limit}: {differences} of {frames} frames differ, {more} of them pass only merlon: {LIMITS[limit]}')
    print(f'# {name}: {sum(len(f) for _, f in plays)} frames, {time.monotonic() - began:.1f} s')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--seed', type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument('--ruleset', choices=list(RULESETS))
    parser.add_argument('--all', action='store_true')
    parser.add_argument('--only')
    parser.add_argument('--oracle', action='store_true')
    parser.add_argument('--more', action='store_true')
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    print(f'# seed {args.seed}', flush=True)
    tap = Tap()
    for name, files in RULESETS.items():
        if name == args.ruleset or (not args.ruleset and (args.all or name in SHORT)):
            try:
                judge(tap, name, [f'{TOP}/{f}' for f in files], args)
            except demo.Failure as e:
                print('# ' + str(e).replace('\n', '\n# '))
                tap.point(False, f'{name}: the networks and the filters come up')
    return tap.done()


if __name__ == '__main__':
    sys.exit(main())
