# SPDX-License-Identifier: GPL-2.0-or-later
"""What frames are made of for one ruleset: its addresses and ports, and those just beside; who has which address."""
import ipaddress
import random
import re

import lib_packet as pkt
from lib_wire import DEVICE, FAR_NETS, LISTEN, MAC, NETS, OWN

FAR = [ipaddress.ip_network(net) for net in FAR_NETS]
SIDES = ('client', 'server')
OTHER = {'client': 'server', 'server': 'client'}


class Frame:
    """
    One frame, or one IP packet from the host itself. `limit` names the documented limit by which merlon may differ from
    nf_tables; `flow` and `build` are for segments that acknowledge what only the host knows.
    """

    def __init__(self, side, ip=None, data=None, note='', limit=None, ether=None, flow=None, build=None):
        self.side, self.note, self.limit, self.flow, self.build, self.ether = side, note, limit, flow, build, ether
        self.ip = ip if build is None else build(0)
        self.data = data


class Ground:
    def __init__(self, files, seed):
        self.rng = random.Random(seed)
        text = ''
        for file in files:
            with open(file, encoding='utf-8', errors='replace') as f:
                text += ''.join(line for line in f if not line.lstrip().startswith('#'))
        self.ports = self.find_ports(text)
        self.addresses = {4: self.find(text, r'(?<![\d.:])((?:\d+\.){3}\d+)(/\d+)?(?:-((?:\d+\.){3}\d+))?', 4),
                          6: self.find(text, r'(?<![\w:])([0-9a-f]{1,4}:[0-9a-f:]*[0-9a-f:])(/\d+)?(?:-([0-9a-f:]+))?', 6)}
        self.next_port = 20000
        # address -> the end that it lies behind; first the gateways
        self.used = {NETS[side][f].format(254): side for side in SIDES for f in (4, 6)}

    @staticmethod
    def find(text, pattern, family):
        """First, last, and the two outside, of each prefix and range."""
        out = set()
        for first, bits, last in re.findall(pattern, text):
            try:
                net = ipaddress.ip_network(first + bits, strict=False)
                low, high = net[0], ipaddress.ip_address(last) if last else net[-1]
            except ValueError:
                continue
            for number in int(low) - 1, int(low), int(high), int(high) + 1:
                try:
                    a = type(low)(number)
                except ValueError:
                    continue
                if net.version == family and not (a.is_multicast or a.is_loopback or a.is_unspecified or a.is_reserved):
                    out.add(str(a))
        own = {a for by_family in OWN.values() for a in by_family.values()}
        return sorted(a for a in out - own if not a.endswith(('.0', '.255', '::')))

    @staticmethod
    def find_ports(text):
        out = set()
        for line in text.splitlines():
            for part in re.findall(r'(?:ports? |elements = )(?:!= )?(\{[^}]*\}|\S+)', line):
                for low, high in re.findall(r'(?<![\d.:a-f])(\d{1,5})(?:[-:](\d{1,5}))?(?![\d.:a-f])', part):
                    for n in int(low) - 1, int(low), int(high or low), int(high or low) + 1:
                        if 0 < n < 65536:
                            out.add(n)
        return sorted(out | {1, 22, 80, 443, 65535})

    def port(self):
        """A source port that no other frame has, unless told."""
        self.next_port += 1
        return self.next_port

    def behind(self, address):
        a = ipaddress.ip_address(address)
        return 'server' if any(a in net for net in FAR if net.version == a.version) else 'client'

    def peer(self, side, family):
        """An address behind an end: one of the ruleset's, or a plain one."""
        known = [a for a in self.addresses[family] if self.behind(a) == side]
        if known and self.rng.random() < 0.6:
            return self.rng.choice(known)
        return self.plain(side, family)

    def plain(self, side, family, n=None):
        return NETS[side][family].format(self.rng.randrange(2, 60) if n is None else n)

    def own(self, side, family):
        return self.rng.choice((OWN[side][family], OWN[side][family], OWN['host'][family]))

    def target(self, side, family, hook):
        return self.own(side, family) if hook == 'input' else self.peer(OTHER[side], family)

    def frame(self, side, ip, note='', mac=None, vlan=None, **kw):
        """An IP packet from an end, to the host's device there."""
        kind = pkt.ETH_IPV6 if ip and ip[0] >> 4 == 6 else pkt.ETH_IP
        kind = kw.pop('kind', kind)
        if side == 'host':
            self.note_addresses(ip)
            return Frame(side, ip, ip, note, **kw)
        self.note_addresses(ip)
        padded = kw.pop('pad', b'')
        return Frame(side, ip, pkt.ethernet(mac or MAC[DEVICE[side]], MAC[side], kind, ip + padded, vlan), note, **kw)

    def note_addresses(self, ip):
        v = pkt.View(ip)
        for raw in v.src, v.dst:
            if not raw:
                continue
            a = ipaddress.ip_address(raw)
            if not (a.is_multicast or a.is_loopback or a.is_unspecified or a == ipaddress.ip_address('255.255.255.255')):
                self.used.setdefault(str(a), self.behind(str(a)))

    def say(self, side, src, dst, proto, segment, note='', limit=None, pad=b'', **kw):
        """A well-formed packet."""
        return self.frame(side, pkt.packet(src, dst, proto, segment, **kw), note, limit=limit, pad=pad) if side != 'host' else \
            self.frame(side, pkt.packet(src, dst, proto, segment, **kw), note, limit=limit)

    def answered(self, side, src, sport, dst, dport, flags, seq, ack, data=b'', note=''):
        """A segment to a listener of the host; `ack` counts from the host's first sequence number."""
        self.note_addresses(pkt.packet(src, dst, pkt.TCP, pkt.tcp(sport, dport, flags)))
        return Frame(side, note=note, flow=(pkt.pack(src), sport, dport), ether=(MAC[DEVICE[side]], MAC[side],
                     pkt.ETH_IPV6 if ':' in dst else pkt.ETH_IP),
                     build=lambda isn: pkt.packet(src, dst, pkt.TCP, pkt.tcp(sport, dport, flags, seq, isn + ack if flags & pkt.ACK else 0, data)))

    def listener(self):
        return self.rng.choice(LISTEN)
