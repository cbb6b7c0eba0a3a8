# SPDX-License-Identifier: GPL-2.0-or-later
"""
Two copies of a wire: client -- host -- server. Frames go in from packet sockets at either end, or as raw IP packets from
the host itself; what comes out is seen by packet sockets at both ends and by raw sockets on the host, which get what has
passed INPUT. The ends have no addresses: nothing answers there.

Everything is one thread on one CPU: a veth frame is taken through the host and out again before send() returns. Only
merlond's answers come later.
"""
import ctypes
import os
import select
import socket
import struct
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(HERE)), 'tools', 'lib'))
sys.dont_write_bytecode = True
import demo  # noqa: E402
import lib_packet as pkt  # noqa: E402

NEAR, FAR = 'eth0', 'eth1'
OWN = {'client': {4: '192.0.2.1', 6: '2001:db8:0:1::1'}, 'server': {4: '198.51.100.1', 6: '2001:db8:0:2::1'},
       'host': {4: '192.0.2.200', 6: '2001:db8:0:1::c8'}}
NETS = {'client': {4: '192.0.2.{}', 6: '2001:db8:0:1::{:x}'}, 'server': {4: '198.51.100.{}', 6: '2001:db8:0:2::{:x}'}}
# what lies behind the server; everything else is behind the client
FAR_NETS = ('198.51.100.0/24', '203.0.113.0/24', '2001:db8:0:2::/64', '2001:db8:9::/64')
MAC = {'client': bytes.fromhex('020000000102'), NEAR: bytes.fromhex('020000000101'),
       'server': bytes.fromhex('020000000202'), FAR: bytes.fromhex('020000000201')}
DEVICE = {'client': NEAR, 'server': FAR}
RAW4 = (1, 2, 6, 17, 33, 41, 47, 50, 51, 59, 103, 115, 132, 136, 253)
RAW6 = (6, 17, 33, 41, 47, 50, 58, 103, 115, 132, 136, 253)
LISTEN = (22, 80, 443, 5432, 8080, 9100)	# host's TCP listeners
MARGIN_S = 0.3

SOL_PACKET, PACKET_IGNORE_OUTGOING = 263, 23
IPV6_RECVPKTINFO, IPV6_PKTINFO, SO_RCVBUFFORCE = 49, 50, 33
CLONE_NEWNET = 0x40000000
libc = ctypes.CDLL(None, use_errno=True)

# Quiet ends and a quiet host; every frame is answered as it would be if it were the only one.
SYSCTLS = '''ipv4/conf/*/rp_filter 0
ipv4/conf/*/accept_redirects 0
ipv4/conf/*/send_redirects 0
ipv4/conf/*/accept_source_route 0
ipv4/icmp_ratelimit 0
ipv4/icmp_msgs_per_sec 1000000
ipv4/icmp_msgs_burst 1000000
ipv4/icmp_echo_ignore_broadcasts 0
ipv4/igmp_link_local_mcast_reports 0
ipv4/tcp_synack_retries 0
ipv4/tcp_invalid_ratelimit 0
ipv4/tcp_challenge_ack_limit 1000000
ipv4/tcp_timestamps 0
ipv4/ipfrag_time 1
ipv6/ip6frag_time 1
ipv6/icmp/ratelimit 0
ipv6/icmp/ratemask 
ipv6/flowlabel_consistency 1
ipv6/auto_flowlabels 0
ipv6/conf/*/accept_dad 0
ipv6/conf/*/dad_transmits 0
ipv6/conf/*/accept_ra 0
ipv6/conf/*/accept_redirects 0
ipv6/conf/*/router_solicitations 0
ipv6/conf/*/addr_gen_mode 1'''


class inside_netns:
    """The calling thread in another network namespace, for the making of sockets."""

    def __init__(self, name):
        self.name = name

    def enter(self, path):
        fd = os.open(path, os.O_RDONLY)
        try:
            if libc.setns(fd, CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), f'setns {path}')
        finally:
            os.close(fd)

    def __enter__(self):
        self.back = os.open('/proc/thread-self/ns/net', os.O_RDONLY)
        self.enter(f'/run/netns/{self.name}')

    def __exit__(self, *_):
        libc.setns(self.back, CLONE_NEWNET)
        os.close(self.back)


class Plan:
    """As much of a plan as demo.World asks for."""
    near, far = NEAR, FAR


class Wire(demo.World):
    def __init__(self, kind):
        super().__init__(kind, Plan(), '')
        self.ns = {h: f'merlon-frames-{os.getpid()}-{kind}-{h}' for h in self.ns}
        self.end, self.raw, self.listeners, self.sender = {}, {}, [], {}
        self.poll = select.epoll()
        self.where = {}		# fd -> (place, socket, reader)
        self.isn = {}		# (peer address, peer port, own port) -> the host's initial sequence number

    def make(self, neighbours):
        for ns in self.ns.values():
            demo.run('ip', 'netns', 'add', ns)
        for host in self.ns:
            lines = [f'for f in {line.split()[0]}; do echo "{line.partition(" ")[2]}" > $f; done 2>/dev/null'
                     for line in SYSCTLS.splitlines()]
            router = 'echo 1 > ipv4/ip_forward; echo 1 > ipv6/conf/all/forwarding' if host == 'host' else \
                     'echo 1 > ipv6/conf/all/disable_ipv6; echo 1 > ipv6/conf/default/disable_ipv6'
            self.inside(host, 'sh', '-c', 'cd /proc/sys/net; ' + '; '.join(lines + [router, 'true']))
        for end, name in DEVICE.items():
            demo.run('ip', '-n', self.ns['host'], 'link', 'add', name, 'address', MAC[name].hex(':'), 'type', 'veth',
                     'peer', 'name', 'up0', 'address', MAC[end].hex(':'), 'netns', self.ns[end])
            self.inside(end, 'sh', '-c', 'ip link set up0 up; ip link set up0 arp off')
        self.batch('host', ['link set lo up'] + [line for end in DEVICE for line in self.addresses_of(end)] +
                   [f'route add {net} via {NETS["server"][pkt.family_of(net)].format(254)} dev {FAR}' for net in FAR_NETS
                    if net not in ('198.51.100.0/24', '2001:db8:0:2::/64')] +
                   [f'route add default via {NETS["client"][f].format(254)} dev {NEAR}' for f in (4, 6)])
        self.batch('host', [f'neigh replace {a} lladdr {MAC[end].hex(":")} dev {DEVICE[end]} nud permanent'
                            for a, end in neighbours.items()])
        self.open()

    @staticmethod
    def addresses_of(end):
        name = DEVICE[end]
        yield f'link set {name} up'
        for f in (4, 6):
            nodad, bits = (' brd +', 24) if f == 4 else (' nodad', 64)
            yield f'addr add {OWN[end][f]}/{bits}{nodad} dev {name}'
            if end == 'client':
                yield f'addr add {OWN["host"][f]}/{32 if f == 4 else 128}{"" if f == 4 else nodad} dev lo'
            net = NETS[end][f].format(0) if f == 4 else NETS[end][f].format(0).removesuffix('0')
            # the host's own answers at once: no delayed ACK
            yield f'route replace {net}/{bits} dev {name} proto kernel {"scope link src " + OWN[end][4] if f == 4 else "metric 256"} quickack 1'

    def open(self):
        for end in DEVICE:
            with inside_netns(self.ns[end]):
                s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
                s.bind(('up0', 3))
            s.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
            self.end[end] = s
            self.watch(end, s, self.read_frame)
        with inside_netns(self.ns['host']):
            for proto in RAW4:
                self.watch('input', socket.socket(socket.AF_INET, socket.SOCK_RAW, proto), self.read_raw4)
            for proto in RAW6:
                s = socket.socket(socket.AF_INET6, socket.SOCK_RAW, proto)
                s.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVPKTINFO, 1)
                self.watch('input', s, self.read_raw6)
            for f, af in (4, socket.AF_INET), (6, socket.AF_INET6):
                self.sender[f] = socket.socket(af, socket.SOCK_RAW, socket.IPPROTO_RAW)
                self.listen(af)

    def listen(self, af):
        for port in LISTEN:
            s = socket.socket(af, socket.SOCK_STREAM)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if af == socket.AF_INET6:
                s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            s.bind(('', port))
            s.listen(1024)
            self.listeners.append(s)

    def watch(self, place, s, reader):
        s.setblocking(False)
        s.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
        self.where[s.fileno()] = (place, s, reader)
        self.poll.register(s.fileno(), select.EPOLLIN)

    @staticmethod
    def read_frame(s):
        frame = s.recv(65536)
        kind = struct.unpack('!H', frame[12:14])[0] if len(frame) >= 14 else 0
        if kind in (pkt.ETH_IP, pkt.ETH_IPV6):
            return 'ip', frame[14:]
        return 'frame', frame

    @staticmethod
    def read_raw4(s):
        return 'ip', s.recv(65536)

    @staticmethod
    def read_raw6(s):
        """The header is gone: what is known of it, and the payload, are put together again."""
        payload, control, _, peer = s.recvmsg(65536, 256)
        dst = b'\0' * 16
        for level, kind, data in control:
            if level == socket.IPPROTO_IPV6 and kind == IPV6_PKTINFO:
                dst = data[:16]
        return 'ip', pkt.ip6(peer[0].partition('%')[0], pkt.unpack(dst), s.proto, payload, ttl=0)

    def send(self, frame):
        data = self.with_ack(frame) if frame.flow else frame.data
        try:
            if frame.side != 'host':
                self.end[frame.side].send(data)
                return
            v = pkt.View(data)
            to = pkt.unpack(v.dst)
            self.sender[v.family].sendto(data, (to, 0) if v.family == 4 else (to, 0, 0, 0))
        except OSError:
            pass		# nf_tables' drop in OUTPUT is an error to the sender; TC's is not (rule 8 of the design)

    def with_ack(self, frame):
        """A segment for a listener of the host, which chose its own first sequence number."""
        return pkt.ethernet(*frame.ether, frame.build(self.isn.get(frame.flow, 0)))

    def arrivals(self, timeout=0):
        """What has come since, as (place, kind, bytes)."""
        came = []
        while True:
            ready = self.poll.poll(timeout)
            if not ready:
                return came
            timeout = 0
            for fd, _ in ready:
                place, s, reader = self.where[fd]
                try:
                    kind, raw = reader(s)
                except (BlockingIOError, OSError):
                    continue
                if not noise(place, kind, raw):
                    self.learn(kind, raw)
                    came.append((place, kind, raw))

    def learn(self, kind, raw):
        """The sequence number of a SYN-ACK by the host itself."""
        v = pkt.View(raw)
        if kind == 'ip' and v.proto == pkt.TCP and len(v.l4) >= 14 and v.l4[13] & 0x17 == pkt.SYN | pkt.ACK and \
                v.src in OWN_RAW:
            sport, dport, seq = struct.unpack('!HHI', v.l4[:8])
            self.isn[(v.dst, dport, sport)] = seq

    def remove(self):
        for s in [entry[1] for entry in self.where.values()] + self.listeners + list(self.sender.values()):
            s.close()
        self.poll.close()
        super().remove()


OWN_RAW = {pkt.pack(a) for by_family in OWN.values() for a in by_family.values()}


def noise(place, kind, raw):
    """What the host says of itself: multicast listener reports, IGMP reports."""
    if place == 'input' or kind != 'ip' or len(raw) < 24:
        return False
    v = pkt.View(raw)
    if v.family == 6:
        return v.proto == pkt.ICMPV6 and v.l4[:1] in (b'\x8f', b'\x83', b'\x84', b'\x85')
    return v.proto == 2 and v.src in OWN_RAW


def normal(frame, wire, kind, raw):
    """
    What is compared of a packet. A copy of what was sent: all of it. An answer: all but what the host chooses anew each
    time (IPv4 id, flow label, its sequence numbers) and the checksums that follow from it.
    """
    if kind != 'ip':
        return raw
    v, sent = pkt.View(raw), pkt.View(frame.ip)
    out = bytearray(raw)
    flow = relative(frame, wire, v, out)
    if (v.src, v.dst, v.l4[:4]) == (sent.src, sent.dst, sent.l4[:4]) and not flow:
        return bytes(out)
    if frame.flow and v.proto in (pkt.ICMP, pkt.ICMPV6) and len(v.l4) > 28:
        inner = bytearray(v.l4[8:])
        if relative(frame, wire, pkt.View(bytes(inner)), inner):
            out[v.at + 8:] = inner
    if v.proto == pkt.ICMP and v.l4[:1] == b'\x0e':
        out[v.at + 12:v.at + 20] = bytes(len(out[v.at + 12:v.at + 20]))	# the time of day
    if v.family == 4 and len(out) >= 20:
        out[4:6] = out[10:12] = b'\0\0'
    elif v.family == 6 and len(out) >= 40:
        out[1] &= 0xf0
        out[2:4] = b'\0\0'
    at = pkt.CHECKSUM_AT.get(v.proto)
    if at is not None and len(v.l4) >= at + 2:
        out[v.at + at:v.at + at + 2] = b'\0\0'
    return bytes(out)


def relative(frame, wire, v, out):
    """In `out`, the bytes of `v`: sequence numbers of the host counted from its first one; the checksum goes."""
    found = False
    if v.proto != pkt.TCP or len(v.l4) < 18 or v.fragment:
        return False
    sport, dport, seq, ack = struct.unpack('!HHII', v.l4[:12])
    for key, field, at in (((v.dst, dport, sport), seq, 4), ((v.src, sport, dport), ack, 8)):
        if key not in wire.isn or (at == 8 and frame.flow != key):
            continue
        found = True
        out[v.at + 16:v.at + 18] = b'\0\0'
        if at == 4 or v.l4[13] & pkt.ACK:
            out[v.at + at:v.at + at + 4] = struct.pack('!I', (field - wire.isn[key]) & 0xffffffff)
    return found


def checksum_wrong(raw):
    """Whether an answer's transport checksum is neither right nor left to the card (then it covers the pseudo header)."""
    v = pkt.View(raw)
    at = pkt.CHECKSUM_AT.get(v.proto)
    if at is None or v.fragment or len(v.l4) < at + 2:
        return False
    head = b'' if v.proto == pkt.ICMP else pkt.pseudo(v.src, v.dst, v.proto, len(v.l4))
    value = struct.unpack('!H', v.l4[at:at + 2])[0]
    return bool(pkt.checksum(head + v.l4)) and value != pkt.checksum(head) ^ 0xffff
