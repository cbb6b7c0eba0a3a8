# SPDX-License-Identifier: GPL-2.0-or-later
"""Packets from their fields, right or wrong on purpose, and back to one line of text."""
import functools
import socket
import struct

TCP, UDP, ICMP, ICMPV6 = 6, 17, 1, 58
FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = (1 << i for i in range(8))
FLAGS = 'FSRPAUEC'
ETH_IP, ETH_IPV6, ETH_ARP, ETH_VLAN = 0x0800, 0x86dd, 0x0806, 0x8100
CHECKSUM_AT = {TCP: 16, UDP: 6, ICMPV6: 2, ICMP: 2, 33: 6, 136: 6}
EXTENSIONS = {0: 'hop', 43: 'route', 44: 'frag', 60: 'dst', 51: 'ah'}


@functools.lru_cache(maxsize=4096)
def pack(address):
    return socket.inet_pton(socket.AF_INET6 if ':' in address else socket.AF_INET, address)


def unpack(raw):
    return socket.inet_ntop(socket.AF_INET6 if len(raw) == 16 else socket.AF_INET, raw)


def family_of(address):
    return 6 if ':' in address else 4


def checksum(data):
    if len(data) % 2:
        data += b'\0'
    total = sum(struct.unpack(f'!{len(data) // 2}H', data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def pseudo(src, dst, proto, length):
    """Addresses as raw bytes; RFC 793 3.1 and RFC 8200 8.1."""
    return src + dst + (struct.pack('!BBH', 0, proto, length) if len(src) == 4 else struct.pack('!IHBB', length, 0, 0, proto))


def sealed(src, dst, proto, segment, wrong=0):
    """The segment with its checksum filled in; `wrong` is added to it. `src`, `dst` as text."""
    at = CHECKSUM_AT.get(proto)
    if at is None or len(segment) < at + 2:
        return segment
    zero = segment[:at] + b'\0\0' + segment[at + 2:]
    head = b'' if proto == ICMP else pseudo(pack(src), pack(dst), proto, len(segment))
    value = (checksum(head + zero) + wrong) & 0xffff
    if proto == UDP and not value:
        value = 0xffff
    return segment[:at] + struct.pack('!H', value) + segment[at + 2:]


def tcp(sport, dport, flags, seq=1000, ack=0, data=b'', options=b'', offset=None, urgent=0):
    offset = 5 + len(options) // 4 if offset is None else offset
    return struct.pack('!HHIIBBHHH', sport, dport, seq & 0xffffffff, ack & 0xffffffff, (offset & 15) << 4 | flags >> 8 & 15,
                       flags & 255, 29200, 0, urgent) + options + data


def sensible(flags):
    """Whether a segment with these flags can be part of a connection."""
    core = flags & (FIN | SYN | RST | ACK)
    return core in (SYN, SYN | ACK, RST, RST | ACK, ACK, FIN | ACK)


def udp(sport, dport, data=b'merlon', length=None):
    return struct.pack('!HHHH', sport, dport, 8 + len(data) if length is None else length, 0) + data


def icmp(kind, code=0, rest=b'\0\0\0\0', data=b''):
    return struct.pack('!BBH', kind, code, 0) + rest + data


def echo(family, reply=False, ident=1, sequence=1, data=b'merlon-echo'):
    return icmp({4: (8, 0), 6: (128, 129)}[family][reply], 0, struct.pack('!HH', ident, sequence), data)


def icmp_of(family):
    return ICMP if family == 4 else ICMPV6


def ip4(src, dst, proto, payload, ttl=64, ident=0x4d4c, frag=0x4000, options=b'', tos=0, version=4, ihl=None,
        length=None, wrong=0):
    options += b'\0' * (-len(options) % 4)
    ihl = 5 + len(options) // 4 if ihl is None else ihl
    length = 20 + len(options) + len(payload) if length is None else length
    head = struct.pack('!BBHHHBBH4s4s', version << 4 | ihl, tos, length, ident, frag, ttl, proto, 0, pack(src), pack(dst)) + options
    # where the header length lies, the checksum is over what it says, as far as there is something
    covered = (head + payload)[:ihl * 4] if ihl >= 5 else head
    return head[:10] + struct.pack('!H', (checksum(covered) + wrong) & 0xffff) + head[12:] + payload


def ip6(src, dst, proto, payload, ttl=64, tos=0, version=6, length=None, label=0):
    length = len(payload) if length is None else length
    return struct.pack('!IHBB16s16s', version << 28 | tos << 20 | label, length, proto, ttl, pack(src), pack(dst)) + payload


def packet(src, dst, proto, segment, wrong_l4=0, **kw):
    """An IP packet of the family of `dst`, transport checksum filled in."""
    segment = sealed(src, dst, proto, segment, wrong_l4)
    return (ip6 if ':' in dst else ip4)(src, dst, proto, segment, **kw)


def ethernet(dst, src, kind, payload, vlan=None):
    tag = b'' if vlan is None else struct.pack('!HH', ETH_VLAN, vlan)
    return dst + src + tag + struct.pack('!H', kind) + payload


def arp(operation, mac, sender, target_mac, target):
    return struct.pack('!HHBBH6s4s6s4s', 1, ETH_IP, 6, 4, operation, mac, pack(sender), target_mac, pack(target))


def extension(nexthdr, body=b''):
    """Hop-by-hop, destination options or routing header, padded to eight bytes with a PadN option."""
    short = -(2 + len(body)) % 8
    body += b'' if not short else b'\0' if short == 1 else bytes((1, short - 2)) + b'\0' * (short - 2)
    return bytes((nexthdr, (2 + len(body)) // 8 - 1)) + body


def fragment6(nexthdr, offset, more, ident=77):
    return struct.pack('!BBHI', nexthdr, 0, offset | more, ident)


class View:
    """Fields of an IP packet as far as they are there."""

    def __init__(self, raw):
        self.raw = raw
        self.family = raw[0] >> 4 if raw else 0
        self.src = self.dst = b''
        self.proto, self.at = None, 0
        if self.family == 4 and len(raw) >= 20:
            self.src, self.dst, self.proto, self.at = raw[12:16], raw[16:20], raw[9], (raw[0] & 15) * 4
            self.fragment = struct.unpack('!H', raw[6:8])[0] & 0x1fff
        elif self.family == 6 and len(raw) >= 40:
            self.src, self.dst, self.proto, self.at = raw[8:24], raw[24:40], raw[6], 40
            self.fragment = 0
            self.walk()
        self.end = len(raw)

    def walk(self):
        self.chain = []
        while self.proto in EXTENSIONS and len(self.raw) >= self.at + 8 and len(self.chain) < 16:
            self.chain.append(EXTENSIONS[self.proto])
            h = self.raw[self.at:self.at + 8]
            if self.proto == 44 and struct.unpack('!H', h[2:4])[0] & ~7:
                self.fragment, self.proto = 1, h[0]
                break
            size = 8 if self.proto == 44 else (h[1] + 2) * 4 if self.proto == 51 else (h[1] + 1) * 8
            self.proto, self.at = h[0], self.at + size

    @property
    def l4(self):
        return self.raw[self.at:]


def flag_names(flags):
    return ''.join(n for i, n in enumerate(FLAGS) if flags >> i & 1) or 'null'


def describe_l4(v):
    p = v.l4
    if v.fragment:
        return f'later fragment of {v.proto}'
    if v.proto == TCP and len(p) >= 14:
        sport, dport, seq, ack = struct.unpack('!HHII', p[:12])
        return f'tcp {sport}>{dport} {flag_names(p[13])} seq {seq} ack {ack} +{max(0, len(p) - (p[12] >> 4) * 4)}'
    if v.proto == UDP and len(p) >= 6:
        return 'udp {}>{} length {}'.format(*struct.unpack('!HHH', p[:6])) + f' +{len(p) - 8}'
    if v.proto in (ICMP, ICMPV6) and len(p) >= 2:
        inner = ''
        kind = p[0]
        if len(p) > 8 and (kind in (3, 4, 5, 11, 12) if v.proto == ICMP else kind < 128):
            inner = f' [{describe(p[8:])}]'
        return f'icmp{"" if v.proto == ICMP else "v6"} {kind}/{p[1]}{inner}'
    return f'proto {v.proto} +{len(p)}'


def describe(raw):
    """One line on an IP packet."""
    v = View(raw)
    if not v.src:
        return f'version {v.family}, {len(raw)} bytes'
    chain = ''.join(f' {c}' for c in getattr(v, 'chain', []))
    ttl = raw[8] if v.family == 4 else raw[7]
    return f'{unpack(v.src)} > {unpack(v.dst)} ttl {ttl}{chain} {describe_l4(v)}'


def describe_frame(frame):
    kind = struct.unpack('!H', frame[12:14])[0]
    tag, at = '', 14
    if kind == ETH_VLAN and len(frame) >= 18:
        tag, kind, at = f'vlan {frame[14] << 8 & 0xf00 | frame[15]} ', struct.unpack('!H', frame[16:18])[0], 18
    if kind in (ETH_IP, ETH_IPV6):
        return tag + describe(frame[at:])
    return f'{tag}ethertype {kind:#06x} {len(frame)} bytes'
