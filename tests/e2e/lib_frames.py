# SPDX-License-Identifier: GPL-2.0-or-later
"""The frames: one generator for each kind of trouble, all of them for each ruleset. Each has flows of its own."""
import struct

import lib_packet as pkt
from lib_ground import OTHER, SIDES
from lib_packet import ACK, CWR, ECE, FIN, PSH, RST, SYN, TCP, UDP, URG, echo, icmp, icmp_of, packet, tcp, udp
from lib_wire import DEVICE, MAC, NETS, OWN

HOOKS = ('input', 'forward')
PROTOS = (2, 33, 41, 47, 50, 51, 103, 115, 132, 136, 253, 254)
BODY = bytes(range(48))
INVITING = (22, 53, 80, 443, 8080)


def ways():
    for family in 4, 6:
        for side in SIDES:
            for hook in HOOKS:
                yield family, side, hook


def matrix(g):
    """The ruleset's addresses and ports, and those just beside: new connections, datagrams, pings."""
    def one(family, side, hook, src, dport):
        dst = g.target(side, family, hook)
        yield g.say(side, src, dst, TCP, tcp(g.port(), dport, SYN, options=b'\x02\x04\x05\xb4'))
        yield g.say(side, src, dst, UDP, udp(g.port(), dport))

    for family, side, hook in ways():
        for src in g.addresses[family]:
            yield from one(family, side, hook, src, g.rng.choice(g.ports))
            yield g.say(side, src, g.target(side, family, hook), icmp_of(family), echo(family, ident=g.port()))
        for dport in g.ports:
            yield from one(family, side, hook, g.peer(side, family), dport)
        for dst in g.addresses[family] if hook == 'forward' else ():
            yield g.say(side, g.peer(side, family), dst, TCP, tcp(g.port(), g.rng.choice(g.ports), SYN), 'any destination')
        for sport in g.ports:
            yield g.say(side, g.peer(side, family), g.target(side, family, hook), UDP, udp(sport, g.rng.choice(g.ports)), 'source port')


def tcp_flags(g):
    """Every combination of the six flags as a flow's first segment, and the rarer bits."""
    for family, side, hook in ways():
        for flags in list(range(64)) + [SYN | ECE | CWR, ACK | ECE, SYN | 0x100, ACK | 0x700, 0xff, RST | ACK | PSH]:
            src, dst = g.plain(side, family), g.target(side, family, hook)
            yield g.say(side, src, dst, TCP, tcp(g.port(), g.rng.choice(INVITING), flags, ack=1 if flags & ACK else 0), 'first segment')


class Ends:
    """Both ends of a TCP connection through the host: right sequence numbers, whatever the flags."""

    def __init__(self, g, side, family, dport):
        self.g = g
        self.a, self.b = side, OTHER[side]
        self.address = {self.a: g.plain(self.a, family), self.b: g.plain(self.b, family)}
        self.port = {self.a: g.port(), self.b: dport}
        self.seq = {self.a: g.rng.randrange(1 << 32), self.b: g.rng.randrange(1 << 32)}
        self.heard = {self.a: 0, self.b: 0}

    def segment(self, side, flags, data=b'', note='', back=0, limit=None):
        """`back`: sent again, so many bytes back."""
        other = OTHER[side]
        seq = self.seq[side] - back
        sensible = pkt.sensible(flags)
        frame = self.g.say(side, self.address[side], self.address[other], TCP,
                           tcp(self.port[side], self.port[other], flags, seq, self.heard[side] if flags & ACK else 0, data,
                               options=b'\x02\x04\x05\xb4' if flags & SYN else b''), note, limit)
        if not back and sensible:
            self.seq[side] = (seq + len(data) + bool(flags & SYN) + bool(flags & FIN)) & 0xffffffff
        self.heard[other] = self.seq[side]
        return frame


A, B = 0, 1
AGAIN = -1		# with the sequence number of the one before
OPEN = ((A, SYN), (B, SYN | ACK), (A, ACK))
TALK = ((A, PSH | ACK, 20), (B, ACK), (B, PSH | ACK, 300), (A, ACK))
CLOSE = ((A, FIN | ACK), (B, ACK), (B, FIN | ACK), (A, ACK))
SCRIPTS = {
    'open, talk, close': OPEN + TALK + CLOSE + TALK,
    'closed by the other end': OPEN + TALK + ((B, FIN | ACK), (A, FIN | ACK), (B, ACK)) + TALK[:1],
    'reset by the originator': OPEN + TALK + ((A, RST | ACK),) + TALK[:2],
    'reset by the other end': OPEN + ((B, RST),) + TALK[:2],
    'refused': ((A, SYN), (B, RST | ACK), (A, ACK), (B, ACK)),
    'opened again after a reset': OPEN + ((A, RST),) + OPEN + TALK,
    'opened again after closing': OPEN + CLOSE + OPEN + TALK,
    'picked up in the middle': TALK + CLOSE,
    'picked up at its end': ((A, FIN | ACK), (B, ACK), (A, ACK)),
    'an answer to nothing': ((B, SYN | ACK), (A, ACK), (B, ACK)),
    'SYN and silence': ((A, SYN), (A, ACK), (A, PSH | ACK, 5), (B, ACK)),
    'simultaneous open': ((A, SYN), (B, SYN), (A, SYN | ACK, AGAIN), (B, SYN | ACK, AGAIN), (A, ACK), (B, ACK)) + TALK,
    'half closed': OPEN + ((A, FIN | ACK), (B, ACK)) + TALK[2:] + TALK[2:] + ((B, FIN | ACK), (A, ACK)),
    'flags that make no sense': OPEN + ((A, 0), (B, SYN | FIN), (A, FIN), (A, FIN | PSH | URG), (A, SYN | RST)) + TALK,
    'SYN in an open connection': OPEN + TALK + ((A, SYN, AGAIN), (B, ACK), (A, ACK)) + TALK,
    'SYN of the other end': OPEN + TALK + ((B, SYN, AGAIN), (A, ACK)) + TALK,
    'urgent and explicit congestion': OPEN + ((A, ACK | URG | PSH, 3), (B, ACK | ECE), (A, ACK | CWR, 2), (B, ACK)),
}


def tcp_flows(g):
    """Connections through the host by script, from both sides and several at a time."""
    for round_ in range(2):
        for family in 4, 6:
            running = []
            for side in SIDES:
                for name, script in SCRIPTS.items():
                    dport = (443 if round_ == 0 else g.rng.choice(g.ports))
                    running.append((Ends(g, side, family, dport), name, list(script)))
            while running:
                entry = g.rng.choice(running[:12])
                ends, name, script = entry
                who, flags, *size = script.pop(0)
                again = size == [AGAIN]
                yield ends.segment(ends.b if who else ends.a, flags, b'' if again else b'x' * sum(size), name, back=int(again))
                if not script:
                    running.remove(entry)


def tcp_walks(g):
    """Segments in any order: the state machine."""
    kinds = (SYN, SYN | ACK, ACK, ACK, ACK, PSH | ACK, FIN | ACK, RST, RST | ACK)
    for family in 4, 6:
        for side in SIDES:
            for _ in range(16):
                ends = Ends(g, side, family, 443)
                for who in OPEN if g.rng.random() < 0.7 else ():
                    yield ends.segment(ends.b if who[0] else ends.a, who[1], note='walk')
                for _ in range(g.rng.randrange(3, 9)):
                    flags = g.rng.choice(kinds)
                    yield ends.segment(g.rng.choice(SIDES), flags, b'w' * g.rng.choice((0, 0, 9)) if flags == PSH | ACK else b'', 'walk')


def tcp_window(g):
    """Segments that do not fit into the window."""
    for family in 4, 6:
        for side in SIDES:
            for jump in (1 << 20, -(1 << 20), 1 << 30, 100000):
                ends = Ends(g, side, family, 443)
                for who, flags in OPEN:
                    yield ends.segment(ends.b if who else ends.a, flags, note='window')
                ends.seq[side] = (ends.seq[side] + jump) & 0xffffffff
                for flags in ACK, PSH | ACK, RST, FIN | ACK:
                    yield ends.segment(side, flags, note=f'out of window by {jump}')


def tcp_input(g):
    """Connections to listeners of the host."""
    for family in 4, 6:
        for side in SIDES:
            for port in 22, 80, 443, 5432, 8080, 9100:
                for _ in range(2):
                    src, dst, sport = g.peer(side, family), OWN[side][family], g.port()
                    yield g.say(side, src, dst, TCP, tcp(sport, port, SYN, 100, options=b'\x02\x04\x05\xb4'), 'listener')
                    for flags, seq, data in ((ACK, 101, b''), (PSH | ACK, 101, b'hello'), (PSH | ACK, 101, b'hello'),
                                             (ACK, 106, b''), (SYN, 100, b''), (FIN | ACK, 106, b''), (ACK, 107, b''), (RST | ACK, 107, b''),
                                             (ACK, 107, b''), (PSH | ACK, 107, b'late')):
                        yield g.answered(side, src, sport, dst, port, flags, seq, 1 if flags & ACK else 0, data, 'listener')


def udp_flows(g):
    """Questions and answers, through the host and to it; the other end first; many at a time."""
    for family, side, hook in ways():
        for i in range(12):
            src, sport, dport = g.peer(side, family), g.port(), g.rng.choice(g.ports)
            dst = g.target(side, family, hook)
            back = OTHER[side] if hook == 'forward' else 'host'
            there = (side, src, dst, UDP, udp(sport, dport, b'?' * i))
            again = (back, dst, src, UDP, udp(dport, sport, b'!' * 2 * i))
            for way in ((there, again, there, again), (again, there, again, there), (again, again, there))[i % 3]:
                yield g.say(*way, note='udp flow')
            yield g.say(side, src, dst, UDP, udp(sport, dport + 1 & 0xffff or 1), 'next port')


def icmp_types(g):
    """Every type, several codes."""
    for family, side, hook in ways():
        kinds = list(range(0, 44)) + [100, 127, 200, 255] if family == 4 else \
            [0, 1, 2, 3, 4, 5, 100, 127] + list(range(128, 162)) + [200, 255]
        for kind in kinds:
            if (family, kind) in ((4, 5), (6, 137)):
                continue	# redirects change the routes of one world only if it lets them pass: tested apart
            for code in (0, 1, 4, 9, 13) if kind in (1, 3, 4) else (0, g.rng.randrange(1, 16)):
                src, dst = g.plain(side, family), g.target(side, family, hook)
                body = bytes(24) if kind not in (17, 13) else bytes(12)
                yield g.say(side, src, dst, icmp_of(family), icmp(kind, code, struct.pack('!HH', g.port(), 1), body), 'type')


def icmp_echo(g):
    """Pings with and without a question, wrong identifiers, either end first."""
    for family, side, hook in ways():
        for i in range(8):
            src, dst, ident = g.peer(side, family), g.target(side, family, hook), g.port()
            proto = icmp_of(family)
            back = OTHER[side] if hook == 'forward' else 'host'
            ask = (side, src, dst, proto, echo(family, False, ident, i))
            answer = (back, dst, src, proto, echo(family, True, ident, i))
            for way in ((ask, answer, ask, answer, answer), (answer, ask, answer))[i % 2]:
                yield g.say(*way, note='echo')
            yield g.say(side, src, dst, proto, echo(family, True, ident, i), 'a reply of the asker')
            yield g.say(back, dst, src, proto, echo(family, True, ident + 5000, i), 'another identifier')
            yield g.say(side, src, dst, proto, icmp(8 if family == 4 else 128, 3, struct.pack('!HH', ident, i), b'code'), 'code 3')


def errors_for(g, family, inner):
    """ICMP errors that quote a packet."""
    if family == 4:
        quotes = (inner, inner[:28], inner[:27], inner[:24], inner[:20], inner[:12])
        for kind, code in ((3, 1), (3, 3), (3, 4), (11, 0), (12, 0), (4, 0)):
            yield icmp(kind, code, struct.pack('!HH', 0, 1500 if (kind, code) == (3, 4) else 0), g.rng.choice(quotes[:2]))
    else:
        quotes = (inner, inner[:48], inner[:47], inner[:44], inner[:40], inner[:20])
        for kind, code in ((1, 0), (1, 4), (2, 0), (3, 0), (4, 1)):
            yield icmp(kind, code, struct.pack('!I', 1500 if kind == 2 else 0), g.rng.choice(quotes[:2]))
    for quote in quotes:
        yield icmp(3 if family == 4 else 1, 3 if family == 4 else 4, bytes(4), quote)


def icmp_errors(g):
    """Errors for flows through the host: right ones, and those whose inner packet is not what was sent."""
    for family in 4, 6:
        proto = icmp_of(family)
        for side in SIDES:
            for l4 in TCP, UDP, proto:
                other, ends = OTHER[side], Ends(g, side, family, 443 if l4 == TCP else 53)
                src, dst = ends.address[side], ends.address[other]
                sport, dport = ends.port[side], ends.port[other]
                segment = {TCP: tcp(sport, dport, SYN), UDP: udp(sport, dport)}.get(l4, echo(family, ident=sport))
                inner = packet(src, dst, l4, segment, ttl=63)
                yield g.say(side, src, dst, l4, segment, 'to be answered by errors')
                router = g.plain(other, family, 99)
                for error in errors_for(g, family, inner):
                    yield g.say(other, router, src, proto, error, 'error from a router')
                wrong = {TCP: tcp(sport, dport + 1, SYN), UDP: udp(sport, dport + 1)}.get(l4, echo(family, ident=sport + 1))
                for note, quote in (('other port', packet(src, dst, l4, wrong)),
                                    ('turned round', packet(dst, src, l4, segment)),
                                    ('other protocol', packet(src, dst, 253, BODY)),
                                    ('other source', packet(g.plain(side, family, 98), dst, l4, segment)),
                                    ('version', bytes((inner[0] ^ 0x20,)) + inner[1:]),
                                    ('header length', bytes((inner[0] & 0xf0 | 3,)) + inner[1:] if family == 4 else inner[:39]),
                                    ('fragment', packet(src, dst, l4, segment, frag=0x0010) if family == 4 else inner[:41]),
                                    ('no packet', b'')):
                    yield g.say(other, router, src, proto, icmp(3 if family == 4 else 1, 1, bytes(4), quote), 'error: ' + note)
                yield g.say(other, dst, src, proto, icmp(3 if family == 4 else 1, 3, bytes(4), inner), 'error from the other end')
                yield g.say(side, src, dst, proto, icmp(3 if family == 4 else 1, 3, bytes(4), inner), 'error from the sender itself')
                back = packet(dst, src, l4, {TCP: tcp(dport, sport, SYN | ACK), UDP: udp(dport, sport)}.get(l4, echo(family, True, ident=sport)))
                yield g.say(side, src, dst, proto, icmp(3 if family == 4 else 1, 3, bytes(4), back), 'error for an answer')


def protocols(g):
    """Other protocols, there and back."""
    for family, side, hook in ways():
        for proto in PROTOS:
            src, dst = g.peer(side, family), g.target(side, family, hook)
            back = OTHER[side] if hook == 'forward' else 'host'
            limit = 'dccp' if proto == 33 else None
            body = {47: bytes(4) + BODY, 51: b'\x3b\x04' + BODY, 136: udp(g.port(), 53, BODY, length=0)}.get(proto, BODY)
            if proto == 51 and family == 6:
                continue	# an extension header there
            # the packets are told apart by their bodies, the flows by protocol and addresses
            yield g.say(side, src, dst, proto, body, 'protocol', limit)
            yield g.say(back, dst, src, proto, body, 'protocol, back', limit)
            for n in 0, 1, 3, 4, 7, 8:
                yield g.say(side, src, dst, proto, body[:n], f'protocol, {n} bytes', limit)
