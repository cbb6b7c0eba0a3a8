#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The other end of a virtual machine's network cards: it sends from before there is a machine, and counts what comes back.

usage: sender.py DIRECTORY CARDS

Card N is the sockets DIRECTORY/guestN and DIRECTORY/peerN of Unix datagrams that are frames. The guest is 10.77.N.1, fd77:N::1
with the hardware address 52:54:00:77:00:0N, this end 10.77.N.2, fd77:N::2, 52:54:00:77:01:0N. Denied are UDP and TCP port 9 and
echo requests, to the guest's addresses and to everyone; allowed is TCP port 80. What the guest cannot take yet waits in the
socket and is there first when it can. Each line of input is answered by one of JSON, the counts since the line before; answered
are the cards that had answers to what is allowed.
"""
import json
import os
import select
import socket
import struct
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'e2e'))
import lib_packet as p  # noqa: E402

DENIED, ALLOWED = 9, 80
COUNTS = ('denied_sent', 'allowed_sent', 'allowed_answered', 'denied_answered', 'denied_left')
PAUSE = 0.04
counts = dict.fromkeys(COUNTS, 0)
answered = set()
number = 0


class Card:
    def __init__(self, directory, n):
        self.n = n
        self.there = f'{directory}/guest{n}'
        self.mac, self.own = bytes.fromhex(f'52540077000{n}'), bytes.fromhex(f'52540077010{n}')
        self.peer = {4: f'10.77.{n}.2', 6: f'fd77:{n}::2'}
        self.address = {4: f'10.77.{n}.1', 6: f'fd77:{n}::1'}
        # who is asked, at which hardware address
        self.denied = [(self.address[4], self.mac), ('255.255.255.255', b'\xff' * 6), ('224.0.0.1', b'\1\0\x5e\0\0\1'),
                       (self.address[6], self.mac), (f'fe80::5054:ff:fe77:{n:x}', self.mac), ('ff02::1', b'33\0\0\0\1')]
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(f'{directory}/peer{n}')
        self.socket.setblocking(False)

    def send(self, dst, mac, proto, segment, name):
        family = p.family_of(dst)
        src = self.peer[family] if not dst.startswith('fe80') and not dst.startswith('ff') else 'fe80::2'
        raw = p.packet(src, dst, proto, segment)
        try:
            self.socket.sendto(p.ethernet(mac, self.own, p.ETH_IP if family == 4 else p.ETH_IPV6, raw), self.there)
        except OSError:
            return
        counts[name] += 1

    def send_all(self):
        global number
        for dst, mac in self.denied:
            number += 1
            family = p.family_of(dst)
            port = 1024 + number % 60000
            data = struct.pack('!Q', number)
            self.send(dst, mac, p.UDP, p.udp(port, DENIED, data), 'denied_sent')
            self.send(dst, mac, p.icmp_of(family), p.echo(family, ident=port, data=data), 'denied_sent')
            if mac == self.mac:
                self.send(dst, mac, p.TCP, p.tcp(port, DENIED, p.SYN, number), 'denied_sent')
            if dst == self.address[family]:
                self.send(dst, mac, p.TCP, p.tcp(port, ALLOWED, p.SYN, number), 'allowed_sent')

    def receive(self):
        try:
            frame = self.socket.recv(4096)
        except OSError:
            return
        view = p.View(frame[14:])
        if frame[12:14] not in (b'\x08\0', b'\x86\xdd') or view.fragment or len(view.l4) < 8:
            return
        l4, icmp = view.l4, {p.ICMP: (0, 3), p.ICMPV6: (1, 129)}
        sport, dport = struct.unpack('!HH', l4[:4])
        if view.proto == p.TCP and sport == ALLOWED and l4[13] & (p.SYN | p.RST) == p.SYN:
            counts['allowed_answered'] += 1
            answered.add(self.n)
            # no connection: the guest forgets it
            seq, = struct.unpack('!I', l4[8:12])  # what it acknowledges
            self.send(p.unpack(view.src), self.mac, p.TCP, p.tcp(dport, ALLOWED, p.RST, seq), 'allowed_sent')
        elif view.proto == p.TCP and sport == DENIED or view.proto in icmp and l4[0] in icmp[view.proto]:
            counts['denied_answered'] += 1
        elif view.proto == p.UDP and dport == DENIED:
            counts['denied_left'] += 1


def main():
    cards = [Card(sys.argv[1], n) for n in range(int(sys.argv[2]))]
    at = {c.socket.fileno(): c for c in cards}
    at[0] = None
    due = 0
    while True:
        for fd in select.select(at, [], [], max(0, due - time.monotonic()))[0]:
            if fd:
                at[fd].receive()
            elif not os.read(0, 1):
                return
            else:
                print(json.dumps({**counts, 'answered': sorted(answered)}), flush=True)
                answered.clear()
                counts.update(dict.fromkeys(COUNTS, 0))
        if time.monotonic() >= due:
            due = time.monotonic() + PAUSE
            for c in cards:
                c.send_all()


main()
