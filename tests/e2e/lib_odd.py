# SPDX-License-Identifier: GPL-2.0-or-later
"""Frames that are malformed, addressed oddly, or carry more than a plain packet; what the host sends itself."""
import struct

import lib_packet as pkt
from lib_frames import BODY, INVITING, ways
from lib_ground import OTHER, SIDES
from lib_packet import ACK, RST, SYN, TCP, UDP, echo, extension, fragment6, icmp, icmp_of, packet, tcp, udp
from lib_wire import DEVICE, MAC, NETS, OWN


def segments(g, family):
    return ((TCP, tcp(g.port(), 443, SYN, options=b'\x02\x04\x05\xb4')), (UDP, udp(g.port(), 53)), (icmp_of(family), echo(family, ident=g.port())))


def fresh(g, proto, segment):
    """The same segment of another flow: answers are told apart by it."""
    if proto in (TCP, UDP):
        return struct.pack('!H', g.port()) + segment[2:]
    return segment[:4] + struct.pack('!H', g.port()) + segment[6:]


def truncated(g):
    """Cut off at every byte: the frame alone, and with the length in the IP header put right."""
    for family, side, hook in ways():
        head = 20 if family == 4 else 40
        for proto, segment in segments(g, family):
            src, dst = g.plain(side, family), g.target(side, family, hook)
            for n in range(head + len(segment)):
                yield g.frame(side, packet(src, dst, proto, fresh(g, proto, segment))[:n], f'frame of {n} bytes', kind=pkt.ETH_IP if family == 4 else pkt.ETH_IPV6)
            for n in range(len(segment)):
                yield g.frame(side, packet(src, dst, proto, fresh(g, proto, segment)[:n]), f'{n} bytes behind the {head} of IP')
                yield g.frame(side, packet(src, dst, proto, fresh(g, proto, segment)[:n]), f'{n} bytes, padded', pad=bytes(46))


def headers4(g, side, hook):
    src, dst = g.plain(side, 4), g.target(side, 4, hook)
    for proto, segment in segments(g, 4):
        def seal():
            return pkt.sealed(src, dst, proto, fresh(g, proto, segment))  # noqa: B023

        for version in range(16):
            yield g.frame(side, pkt.ip4(src, dst, proto, seal(), version=version), 'version', kind=pkt.ETH_IP)
        for ihl in range(16):
            whole = pkt.sealed(src, dst, proto, fresh(g, proto, segment) + BODY)
            yield g.frame(side, pkt.ip4(src, dst, proto, whole, ihl=ihl), 'header length', limit='stack-checks' if ihl > 5 else None)
        for length in list(range(0, 29)) + [len(segment) + n for n in range(10, 24)] + [1500, 65535]:
            yield g.frame(side, pkt.ip4(src, dst, proto, seal(), length=length), 'total length')
        for wrong in 1, 0x100, 0xfffe:
            yield g.frame(side, pkt.ip4(src, dst, proto, seal(), wrong=wrong), 'header checksum')
        for ttl in 0, 1, 2, 255:
            yield g.frame(side, pkt.ip4(src, dst, proto, seal(), ttl=ttl), 'ttl', limit='after-routing' if ttl < 2 and hook == 'forward' else None)
        for tos in 1, 0x10, 0xb8, 0xff:
            yield g.frame(side, pkt.ip4(src, dst, proto, seal(), tos=tos), 'tos')
        yield g.frame(side, pkt.ip4(src, dst, proto, seal(), frag=0x8000), 'reserved bit')
        yield g.frame(side, pkt.ip4(src, dst, proto, seal(), frag=0), 'may be fragmented')
        yield g.frame(side, pkt.ip4(src, dst, proto, seal()), 'as IPv6', kind=pkt.ETH_IPV6)


def headers6(g, side, hook):
    src, dst = g.plain(side, 6), g.target(side, 6, hook)
    for proto, segment in segments(g, 6):
        def seal():
            return pkt.sealed(src, dst, proto, fresh(g, proto, segment))  # noqa: B023

        for version in range(16):
            yield g.frame(side, pkt.ip6(src, dst, proto, seal(), version=version), 'version', kind=pkt.ETH_IPV6)
        for length in list(range(0, 28)) + [len(segment) + n for n in range(-3, 4)] + [1500, 65535]:
            yield g.frame(side, pkt.ip6(src, dst, proto, seal(), length=length), 'payload length')
        for ttl in 0, 1, 2, 255:
            yield g.frame(side, pkt.ip6(src, dst, proto, seal(), ttl=ttl), 'hop limit', limit='after-routing' if ttl < 2 and hook == 'forward' else None)
        yield g.frame(side, pkt.ip6(src, dst, proto, seal(), tos=0xb8, label=0x12345), 'class and label')
        yield g.frame(side, pkt.ip6(src, dst, proto, seal()), 'as IPv4', kind=pkt.ETH_IP)


def malformed(g):
    """Wrong versions, header and total lengths, checksums, lifetimes."""
    for side in SIDES:
        for hook in 'input', 'forward':
            yield from headers4(g, side, hook)
            yield from headers6(g, side, hook)


def malformed_l4(g):
    """Data offsets and lengths that lie, Ethernet padding, checksums of the transport."""
    for family, side, hook in ways():
        src, dst = g.plain(side, family), g.target(side, family, hook)
        for offset in range(16):
            for data in b'', BODY:
                yield g.say(side, src, dst, TCP, tcp(g.port(), 443, SYN, data=data, offset=offset), f'data offset {offset}')
        for length in (0, 1, 7, 8, 9, 13, 14, 15, 100, 65535):
            yield g.say(side, src, dst, UDP, udp(g.port(), 53, b'merlon', length), f'udp length {length}')
        for pad in bytes(18), b'\xff' * 18, BODY:
            for proto, segment in segments(g, family):
                yield g.say(side, src, dst, proto, fresh(g, proto, segment), 'Ethernet padding', pad=pad)
        yield g.frame(side, packet(src, dst, UDP, udp(g.port(), 53)[:6] + b'\0\0' + b'merlon') if family == 6 else
                      pkt.ip4(src, dst, UDP, udp(g.port(), 53)), 'udp without checksum', limit='l4-checksum' if family == 6 else None)
        for proto, segment in segments(g, family):
            yield g.frame(side, packet(src, dst, proto, segment, wrong_l4=1), 'transport checksum', limit='l4-checksum')
        yield g.say(side, src, dst, TCP, tcp(0, 443, SYN), 'port 0')
        yield g.say(side, src, dst, TCP, tcp(g.port(), 0, SYN), 'port 0')
        yield g.say(side, src, dst, UDP, udp(0, 53), 'port 0')
        yield g.say(side, src, dst, UDP, udp(g.port(), 0), 'port 0')


OPTIONS = (b'\1\1\1\1', b'\1', b'\0', b'\x94\4\0\0', b'\7\7\4\0\0\0\0\0', b'\x44\x0c\x0d\0' + bytes(8), b'\x82\x0b' + bytes(9), b'\x86\6\0\0\0\1',
           b'\1' * 40, b'\x99\4ab', b'\x83\7\4\xc0\0\2\7\0', b'\x89\7\4\xc0\0\2\7\0')
BROKEN = (b'\x94\1\0\0', b'\x94\0\0\0', b'\7\x28\4\0', b'\7\2', b'\x99\xff\0\0', b'\x44\3\5\0', b'\x83\3\4\0', b'\1\1\1\7')


def options4(g):
    """IPv4 options, right and broken."""
    for side in SIDES:
        for hook in 'input', 'forward':
            src, dst = g.plain(side, 4), g.target(side, 4, hook)
            for options in OPTIONS + BROKEN:
                for proto, segment in segments(g, 4):
                    seal = pkt.sealed(src, dst, proto, segment)
                    # record route and timestamp are written into: nf_tables then takes the checksum for wrong
                    late = options in BROKEN or options[0] in (0x83, 0x89, 0x86, 7, 0x44)
                    yield g.frame(side, pkt.ip4(src, dst, proto, seal, options=options), f'option {options.hex()}',
                                  limit='stack-checks' if late else None)


def chains6(g, proto, seal):
    """(first header, bytes) of IPv6 extension header chains before `seal`."""
    pad = b'\1\4' + bytes(4)
    yield 'hop-by-hop', 0, extension(proto, pad) + seal
    yield 'destination options', 60, extension(proto, pad) + seal
    yield 'two of them', 0, extension(60, pad) + extension(proto, pad + bytes(8)) + seal
    yield 'routing, no segments left', 43, bytes((proto, 2, 0, 0)) + bytes(20) + seal
    yield 'atomic fragment', 44, fragment6(proto, 0, 0, g.port()) + seal
    yield 'atomic fragment behind options', 60, extension(44, pad) + fragment6(proto, 0, 0, g.port()) + seal
    yield 'authentication', 51, bytes((proto, 4)) + bytes(22) + seal
    yield 'five options', 60, extension(60, pad) * 4 + extension(proto, pad) + seal
    yield 'no next header', 59, seal
    yield 'no next header behind options', 60, extension(59, pad) + seal
    yield 'mobility', 135, extension(proto, pad) + seal
    yield 'long options', 60, extension(proto, b'\1\xfe' + bytes(254) + b'\1\x02\0\0') + seal
    yield 'hop-by-hop not first', 60, extension(0, pad) + extension(proto, pad) + seal


def broken6(g, proto, seal):
    pad = b'\1\4' + bytes(4)
    yield 'routing, segments left', 43, bytes((proto, 2, 0, 1)) + bytes(20) + seal
    yield 'segment routing', 43, bytes((proto, 2, 4, 0)) + bytes(20) + seal
    yield 'unknown option, discard', 60, extension(proto, b'\x7e\4' + bytes(4)) + seal
    yield 'unknown option, report', 60, extension(proto, b'\xbe\4' + bytes(4)) + seal
    yield 'unknown hop option, report', 0, extension(proto, b'\xbe\4' + bytes(4)) + seal
    yield 'option too long', 60, extension(proto, b'\1\xff' + bytes(4)) + seal
    yield 'header too long', 60, bytes((proto, 40)) + pad + seal
    yield 'header cut off', 60, bytes((proto, 0)) + b'\1'
    yield 'nothing behind', 60, extension(proto, pad)
    yield 'half a port', 60, extension(proto, pad) + seal[:1]
    yield 'twelve options', 60, extension(60, pad) * 11 + extension(proto, pad) + seal
    yield 'jumbo', 0, extension(proto, b'\xc2\4' + struct.pack('!I', 70000)) + seal


def several(g, proto, src, dst, segment, chains):
    """Each chain with a flow of its own."""
    for i in range(len(list(chains(g, proto, b'')))):
        yield list(chains(g, proto, pkt.sealed(src, dst, proto, fresh(g, proto, segment))))[i]


def extensions6(g):
    """IPv6 extension headers."""
    for side in SIDES:
        for hook in 'input', 'forward':
            src, dst = g.plain(side, 6), g.target(side, 6, hook)
            for proto, segment in segments(g, 6):
                for note, first, body in several(g, proto, src, dst, segment, chains6):
                    yield g.frame(side, pkt.ip6(src, dst, first, body), note, limit='fragments' if note.startswith('atomic') else None)
                for note, first, body in several(g, proto, src, dst, segment, broken6):
                    yield g.frame(side, pkt.ip6(src, dst, first, body), note,
                                  limit='extension-count' if note == 'twelve options' else 'stack-checks')
                # one flow behind different headers: what is remembered of one must not decide on another
                for note, first, body in chains6(g, proto, pkt.sealed(src, dst, proto, segment)):
                    if note.startswith('atomic'):
                        continue
                    yield g.frame(side, pkt.ip6(src, dst, first, body), note + ', same flow')


def fragments(g):
    """Datagrams in pieces: in order, the other way round, first or later ones alone."""
    for family, side, hook in ways():
        src, dst = g.plain(side, family), g.target(side, family, hook)
        for proto, segment in segments(g, family):
            for order in (0, 1, 2), (2, 1, 0), (0,), (1,), (0, 2):
                ident = g.port()
                seal = pkt.sealed(src, dst, proto, segment + bytes(64 - len(segment)) if proto != UDP else udp(g.port(), 53, bytes(56)))
                for i in order:
                    offset, piece, more = i * 24, seal[i * 24:i * 24 + 24], i < 2
                    if family == 4:
                        ip = pkt.ip4(src, dst, proto, piece, ident=ident, frag=offset // 8 | (0x2000 if more else 0))
                    else:
                        ip = pkt.ip6(src, dst, 44, fragment6(proto, offset, more, ident) + piece)
                    yield g.frame(side, ip, f'fragment {i} of {order}', limit='fragments')


def group_addresses(g, side, family):
    if family == 4:
        net = NETS[side][4].rpartition('.')[0]
        return (('224.0.0.1', 'all hosts'), ('224.0.0.251', 'a group'), ('239.1.2.3', 'a group'), ('255.255.255.255', 'broadcast'),
                (f'{net}.255', 'broadcast of the net'), (f'{net}.0', 'the net itself'), (f'{NETS[OTHER[side]][4].rpartition(".")[0]}.255', 'broadcast over there'),
                ('127.0.0.1', 'loopback'), ('0.0.0.0', 'nobody'), ('240.0.0.1', 'class E'))
    return (('ff02::1', 'all nodes'), ('ff02::2', 'all routers'), ('ff02::fb', 'a group'), ('ff05::2', 'a group'), ('ff0e::1', 'a group'),
            ('ff02::1:ff00:1', 'solicited node'), ('::1', 'loopback'), ('::', 'nobody'), ('fe80::1', 'link local'), ('::ffff:192.0.2.1', 'mapped'))


def impossible(note, source=False):
    """The limit for addresses that the stack discards before it asks a hook."""
    known = ('loopback', 'nobody', 'mapped', 'link local') + (('all hosts', 'a group', 'broadcast', 'all nodes', 'all routers', 'solicited node') if source else ())
    return 'stack-checks' if note in known else None


def groups(g):
    """Multicast, broadcast and impossible addresses, as destination and as source."""
    for family in 4, 6:
        for side in SIDES:
            for address, note in group_addresses(g, side, family):
                macs = {None, b'\xff' * 6 if family == 4 else b'\x33\x33' + pkt.pack(address)[-4:],
                        b'\x01\x00\x5e' + bytes((pkt.pack(address)[1] & 127,)) + pkt.pack(address)[2:4]}
                for mac in sorted(macs, key=lambda m: m or b''):
                    for proto, segment in segments(g, family):
                        yield g.frame(side, packet(g.plain(side, family), address, proto, fresh(g, proto, segment)), note, mac=mac,
                                      limit=impossible(note))
                for dst in OWN[side][family], g.plain(OTHER[side], family):
                    for proto, segment in segments(g, family):
                        yield g.frame(side, packet(address, dst, proto, fresh(g, proto, segment)), f'source: {note}',
                                      limit='broadcast-source' if note.startswith('broadcast ') else impossible(note, True))
            for src in OWN[side][family], OWN[OTHER[side]][family]:
                for proto, segment in segments(g, family):
                    yield g.frame(side, packet(src, OWN[side][family], proto, fresh(g, proto, segment)), "source: the host's own",
                                  limit='stack-checks')
            yield from hairpin(g, side, family)


def hairpin(g, side, family):
    """Back over the interface it came from; to the host's address on the other side."""
    for proto, segment in segments(g, family):
        yield g.say(side, g.plain(side, family, 70), g.plain(side, family, 71), proto, segment, 'back the same way')
        yield g.say(side, g.plain(side, family), OWN[OTHER[side]][family], proto, segment, 'the address of the other side')


def links(g):
    """Frames for others, VLAN tags, other ethertypes, ARP, neighbour discovery."""
    for family, side, hook in ways():
        src, dst = g.plain(side, family), g.target(side, family, hook)
        for proto, segment in segments(g, family):
            for mac in bytes.fromhex('020000009999'), b'\xff' * 6, b'\x01\x00\x5e\0\0\1':
                yield g.frame(side, packet(src, dst, proto, fresh(g, proto, segment)), f'to {mac.hex(":")}', mac=mac)
            for vlan in 0, 0x6000, 1, 100, 4095:
                yield g.frame(side, packet(src, dst, proto, fresh(g, proto, segment)), f'VLAN tag {vlan:#x}', vlan=vlan)
            for kind in 0x0806, 0x88cc, 0x8864, 0x0004, 0x86dd if family == 4 else 0x0800:
                yield g.frame(side, packet(src, dst, proto, fresh(g, proto, segment)), f'ethertype {kind:#x}', kind=kind)
    for side in SIDES:
        yield from resolution(g, side)


def resolution(g, side):
    src, dst = g.plain(side, 4), OWN[side][4]
    for operation in 1, 2:
        for target in dst, OWN[OTHER[side]][4], g.plain(side, 4), g.plain(OTHER[side], 4):
            for mac in b'\xff' * 6, MAC[DEVICE[side]]:
                yield g.frame(side, pkt.arp(operation, MAC[side], src, bytes(6), target), 'ARP', mac=mac, kind=pkt.ETH_ARP)
    src, dst = g.plain(side, 6), OWN[side][6]
    node = 'ff02::1:ff00:1'
    for kind, to, hops in ((135, node, 255), (135, dst, 255), (135, node, 64), (135, dst, 1), (136, dst, 255), (136, 'ff02::1', 255),
                           (136, dst, 9), (133, 'ff02::2', 255), (134, 'ff02::1', 255)):
        for target in dst, src, g.plain(OTHER[side], 6):
            body = pkt.pack(target) if kind in (135, 136) else b'' if kind == 133 else bytes(8)
            option = bytes((1 if kind == 135 else 2, 1)) + MAC[side] if kind in (135, 136) else b''
            yield g.say(side, src, to, pkt.ICMPV6, icmp(kind, 0, bytes(4), body + option), 'neighbour discovery', ttl=hops)


def output(g):
    """What the host sends itself, outwards and to itself over loopback, and what comes back."""
    for family in 4, 6:
        for side in SIDES:
            for dport in g.ports:
                src, dst, sport = OWN[side][family], g.peer(side, family), g.port()
                yield g.say('host', src, dst, TCP, tcp(sport, dport, SYN), 'from the host')
                if dport % 2:
                    yield g.say(side, dst, src, TCP, tcp(dport, sport, SYN | ACK, ack=1001), 'answer to the host')
                    yield g.say('host', src, dst, TCP, tcp(sport, dport, RST, 1001), 'from the host')
                sport = g.port()
                yield g.say('host', src, dst, UDP, udp(sport, dport), 'from the host')
                yield g.say(side, dst, src, UDP, udp(dport, sport), 'answer to the host')
            for proto in 47, 50, 253, icmp_of(family):
                body = echo(family, ident=g.port()) if proto == icmp_of(family) else bytes(4) + BODY
                yield g.say('host', OWN[side][family], g.peer(side, family), proto, body, 'from the host')
        own, loop = OWN['host'][family], '127.0.0.1' if family == 4 else '::1'
        for src, dst in (own, own), (loop, loop), (own, OWN['client'][family]), (OWN['client'][family], OWN['server'][family]):
            for dport in g.rng.sample(g.ports, min(10, len(g.ports))) + list(INVITING):
                yield g.say('host', src, dst, UDP, udp(g.port(), dport), 'loopback')
                yield g.say('host', src, dst, TCP, tcp(g.port(), 19, ACK, ack=5), 'loopback')
            yield g.say('host', src, dst, icmp_of(family), echo(family, ident=g.port()), 'loopback')
