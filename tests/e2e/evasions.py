#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Frames that have got by a filter at TC, beside the kernel's nf_tables: a host hears of them what it would there, or less.
And what is unusual but right, which must get through."""
import contextlib
import ctypes
import json
import os
import socket
import struct
import sys
import tempfile
import threading
import time

TOP = os.environ.get('MERLON_TOP_SRCDIR') or os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get('MERLON_TOP_BUILDDIR') or f'{TOP}/build'
sys.dont_write_bytecode = True
sys.path[:0] = [f'{TOP}/tools/lib', os.path.dirname(os.path.abspath(__file__))]
import demo  # noqa: E402
import lib_packet as pkt  # noqa: E402

NEAR, CLIENT, SERVER = demo.BASE['near'], demo.BASE['client'], demo.BASE['server']
CLOSED, OPEN, PORT = 22, 53, 80
RULES = f'''
table inet t {{
	chain in {{
		type filter hook input priority 0; policy drop;
		ct state established,related accept
		meta l4proto {{ tcp, udp }} th dport {CLOSED} drop
		ip6 saddr {CLIENT[6]} accept
		udp dport {OPEN} accept
	}}
	chain forward {{
		type filter hook forward priority 0; policy drop;
		ct state established,related accept
		ct state invalid drop
		tcp dport {PORT} ct state new accept
	}}
}}
'''
UDP, DSTOPTS, FRAGMENT = 17, 60, 44


class Plan:
    """As much of a plan as demo.World asks for."""
    near, far, owner = 'eth0', 'eth1', {}

    @staticmethod
    def ports(_host, _l4proto):
        return []


@contextlib.contextmanager
def inside(ns):
    """Sockets that are made here belong to that namespace."""
    libc, here = ctypes.CDLL(None, use_errno=True), os.open('/proc/self/ns/net', os.O_RDONLY)
    there = os.open(f'/run/netns/{ns}', os.O_RDONLY)
    try:
        if libc.setns(there, 0):
            raise OSError(ctypes.get_errno(), 'setns')
        yield
    finally:
        libc.setns(here, 0)
        os.close(here)
        os.close(there)


def udp(source, destination, port):
    return pkt.sealed(source, destination, UDP, pkt.udp(4000, port, b'evasion!'))


def datagram(source, destination, port):
    return pkt.packet(source, destination, UDP, pkt.udp(4000, port))


def piece(source, destination, ident, at, more, proto, data):
    return pkt.ip6(source, destination, FRAGMENT, pkt.fragment6(proto, at, more, ident) + data)


class Host:
    """One of the two copies."""

    def __init__(self, kind, work):
        self.world, self.merlon = demo.World(kind, Plan, f'evasions-{os.getpid()}'), None
        self.kind, self.work, self.sockets = kind, work, []

    def make(self):
        file = f'{self.work}/rules.nft'
        with open(file, 'w', encoding='utf-8') as f:
            f.write(RULES)
        self.world.make()
        demo.run('ip', '-n', self.world.ns['host'], 'link', 'set', 'dev', 'lo', 'mtu', '4000')
        # what a default route would seem to lead away
        self.world.batch('host', [f'route add default via {SERVER[4]}', f'route add default via {SERVER[6]}'])
        if self.kind == 'kernel':
            demo.load_kernel(self.world, [file], {file: None})
        else:
            self.merlon = demo.Merlon(BUILD, self.world, self.work)
            self.merlon.start()
            self.merlon.cli('apply', file)
        with inside(self.world.ns['client']):
            self.wire = self.kept(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
            self.wire.bind(('up0', 0))
        with inside(self.world.ns['host']):
            self.hears = {port: self.kept(socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)) for port in (CLOSED, OPEN)}
        for port, s in self.hears.items():
            s.bind(('::', port))
            s.setblocking(False)
        self.mac = {host: self.mac_of(host, device) for host, device in (('client', 'up0'), ('host', 'eth0'))}

    def mac_of(self, host, device):
        link = json.loads(demo.run('ip', '-n', self.world.ns[host], '-j', 'link', 'show', 'dev', device).stdout)[0]
        return bytes.fromhex(link['address'].replace(':', ''))

    def kept(self, s):
        self.sockets.append(s)
        return s

    def send(self, packet, tags=(), to=None):
        proto = b'\x08\x00' if packet[0] >> 4 == 4 else b'\x86\xdd'
        tagged = b''.join(struct.pack('!HH', *tag) for tag in tags)
        self.wire.send((to or self.mac['host']) + self.mac['client'] + tagged + proto + packet)

    def heard(self):
        time.sleep(0.05)
        ports = []
        for port, s in self.hears.items():
            with contextlib.suppress(BlockingIOError):
                while s.recv(2000):
                    ports.append(port)
        return ports

    def end(self):
        for s in self.sockets:
            s.close()
        if self.merlon:
            self.merlon.stop()
        self.world.remove()


def tagged(host):
    """VLAN 0 is this device's, however often it is said; other numbers are not."""
    for ident, port in ((0x8100, CLOSED), (0x88a8, CLOSED)):
        for data in (datagram(CLIENT[f], NEAR[f], port) for f in (4, 6)):
            for tags in ([(ident, 0)], [(ident, 0), (0x8100, 0)], [(ident, 0), (0x88a8, 0)], [(ident, 0)] + [(0x8100, 0)] * 2,
                         [(ident, 0)] + [(0x8100, 0)] * 6, [(ident, 0), (0x8100, 5)], [(ident, 5), (0x8100, 0)]):
                host.send(data, tags)


def priority_tag(host):
    """One such tag is nothing special."""
    host.send(datagram(CLIENT[4], NEAR[4], OPEN), [(0x8100, 0)])


def from_nobody(host):
    """The stack takes what is from nobody to nobody for a broadcast, wherever the default route leads."""
    for to in (None, b'\xff' * 6):
        host.send(datagram('0.0.0.0', '0.0.0.0', CLOSED), to=to)


def cut_chain(host):
    """First fragments of IPv6 that do not show the transport header (RFC 8200 4.5)."""
    a, b = CLIENT[6], NEAR[6]
    closed = udp(a, b, CLOSED)
    for ident, proto in ((1, DSTOPTS), (2, UDP), (3, 6)):
        host.send(piece(a, b, ident, 0, 1, DSTOPTS, pkt.extension(DSTOPTS)))
        host.send(piece(a, b, ident, 8, 0, proto, pkt.extension(UDP) + closed))
    for ident, proto in ((4, DSTOPTS), (5, UDP)):
        host.send(piece(a, b, ident, 0, 1, DSTOPTS, pkt.extension(UDP)))
        host.send(piece(a, b, ident, 8, 0, proto, closed))


def whole_chain(host):
    """The same with all headers in the first one; the later one knows another protocol."""
    a, b = CLIENT[6], NEAR[6]
    opened = udp(a, b, OPEN)
    host.send(piece(a, b, 9, 0, 1, DSTOPTS, pkt.extension(UDP) + opened[:8]))
    host.send(piece(a, b, 9, 16, 0, DSTOPTS, opened[8:]))


def to_itself(host, address, answered=False):
    """More than loopback's MTU, as a first datagram or as one of a connection that was answered."""
    with inside(host.world.ns['host']):
        s = socket.socket(socket.AF_INET6 if ':' in address else socket.AF_INET, socket.SOCK_DGRAM)
    with s:
        s.settimeout(2)
        s.bind((address, 0))
        if answered:
            s.sendto(b'?', (address, OPEN))
            host.hears[OPEN].recv(9)
            host.hears[OPEN].sendto(b'!', s.getsockname() if ':' in address else (f'::ffff:{address}', s.getsockname()[1]))
            s.recv(9)
        s.sendto(bytes(9000), (address, OPEN))


def alone6(host):
    """Over loopback nf_tables judges each piece of IPv6 alone, in its connection's state: later ones have no ports."""
    to_itself(host, '::1')


def answered6(host):
    """... and the state may do."""
    to_itself(host, '::1', True)


def whole4(host):
    """IPv4 is put together before."""
    to_itself(host, '127.0.0.1')


FRAMES = [(tagged, False), (priority_tag, True), (from_nobody, False), (cut_chain, False), (whole_chain, True),
          (alone6, False), (answered6, True), (whole4, True)]


def differs(hosts, frames, passes):
    heard = []
    for host in hosts:
        frames(host)
        heard.append(host.heard())
    kernel, merlon = heard
    if kernel != merlon:
        yield f'the host hears on ports {kernel} behind nf_tables, {merlon} behind merlon'
    if passes != bool(kernel):
        yield f'behind nf_tables the host hears on ports {kernel}: the test is wrong'


def transfer(host, amount=200000):
    """Through an interface with a smaller MTU, without DF: segments come in pieces, and are acknowledged as a whole."""
    got = [0]
    with inside(host.world.ns['server']):
        listener = host.kept(socket.create_server((SERVER[4], PORT)))
    with inside(host.world.ns['client']):
        client = host.kept(socket.socket())

    def serve():
        peer, _ = listener.accept()
        peer.settimeout(3)
        with contextlib.suppress(OSError):
            while data := peer.recv(65536):
                got[0] += len(data)
        peer.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    client.settimeout(3)
    client.connect((SERVER[4], PORT))
    with contextlib.suppress(OSError):
        client.sendall(b'z' * amount)
        client.shutdown(socket.SHUT_WR)
    thread.join(6)
    return got[0] == amount


def stalls(hosts):
    for host in hosts:
        host.world.inside('client', 'sh', '-c', 'echo 1 > /proc/sys/net/ipv4/ip_no_pmtu_disc')
        demo.run('ip', '-n', host.world.ns['host'], 'link', 'set', 'dev', 'eth1', 'mtu', '1000')
        if not transfer(host):
            yield f'a transfer in fragments stalls behind {host.kind}'


def main():
    failed, n = 0, 0
    with tempfile.TemporaryDirectory(prefix='merlon-evasions.') as work:
        hosts = [Host(kind, work) for kind in demo.KINDS]
        try:
            for host in hosts:
                host.make()
            checks = [(frames.__doc__, differs(hosts, frames, passes)) for frames, passes in FRAMES]
            checks.append((transfer.__doc__, stalls(hosts)))
            for n, (what, check) in enumerate(checks, 1):
                found = list(check)
                failed += bool(found)
                for line in found:
                    print(f'# {line}')
                print(f'{"not ok" if found else "ok"} {n} - {what.splitlines()[0]}', flush=True)
        finally:
            for host in hosts:
                host.end()
    print(f'1..{n}')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
