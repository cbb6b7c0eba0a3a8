#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A host of a test network: real sockets that listen and connect, driven by JSON lines on standard input.

  {"listen": {"tcp": [PORT...], "udp": [PORT...]}}   listeners and echoing sockets on every address, IPv4 and IPv6
  {"probe": [{"l4proto", "saddr", "daddr", "dport"}...], "timeout": SECONDS}
                                                     all at once; answers [{"outcome", "detail", "sport"}...]
Outcomes: accept (an answer came), reject (an error came), drop (nothing came).
"""
import errno
import json
import os
import selectors
import socket
import struct
import sys
import threading
import time

IP_PKTINFO = 8
IPV6_RECVPKTINFO = 49
IPV6_PKTINFO = 50
REJECTED = {errno.ECONNREFUSED: 'refused', errno.EHOSTUNREACH: 'host unreachable', errno.ENETUNREACH: 'net unreachable',
            errno.EACCES: 'prohibited', errno.ENOPROTOOPT: 'protocol unreachable', errno.EHOSTDOWN: 'host unreachable',
            errno.ECONNRESET: 'reset', errno.EPROTO: 'protocol'}


def family_of(address):
    return socket.AF_INET6 if ':' in address else socket.AF_INET


class Listeners:
    def __init__(self):
        self.selector = selectors.DefaultSelector()
        threading.Thread(target=self.run, daemon=True).start()

    def add(self, tcp, udp):
        for family in socket.AF_INET, socket.AF_INET6:
            for port in tcp:
                s = self.socket(family, socket.SOCK_STREAM, port)
                s.listen(64)
                self.selector.register(s, selectors.EVENT_READ, self.accept)
            for port in udp:
                s = self.socket(family, socket.SOCK_DGRAM, port)
                if family == socket.AF_INET:
                    s.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
                else:
                    s.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVPKTINFO, 1)
                self.selector.register(s, selectors.EVENT_READ, self.answer)

    @staticmethod
    def socket(family, kind, port):
        s = socket.socket(family, kind)
        s.setblocking(False)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        s.bind(('', port))
        return s

    def accept(self, s):
        c, _ = s.accept()
        c.setblocking(False)
        self.selector.register(c, selectors.EVENT_READ, self.echo)

    def echo(self, c):
        try:
            data = c.recv(1500)
            if data:
                c.send(data)
                return
        except OSError:
            pass
        self.selector.unregister(c)
        c.close()

    @staticmethod
    def answer(s):
        # from the address that was asked, not from the one the route would choose
        data, control, _, peer = s.recvmsg(2048, 256)
        reply = []
        for level, kind, payload in control:
            if level == socket.IPPROTO_IP and kind == IP_PKTINFO:
                _, local, _ = struct.unpack('I4s4s', payload[:12])
                reply.append((level, kind, struct.pack('I4s4s', 0, local, b'\0' * 4)))
            elif level == socket.IPPROTO_IPV6 and kind == IPV6_PKTINFO:
                reply.append((level, kind, payload[:16] + struct.pack('I', 0)))
        try:
            s.sendmsg([data], reply, 0, peer)
        except OSError:
            pass

    def run(self):
        while True:
            for key, _ in self.selector.select(0.2):
                try:
                    key.data(key.fileobj)
                except OSError:
                    pass


class Probe:
    def __init__(self, spec, ident):
        self.kind = spec['l4proto']
        self.spec = spec
        self.ident = ident
        self.outcome = None
        self.detail = ''
        self.sport = 0
        self.socket = None

    def finish(self, outcome, detail=''):
        if not self.outcome:
            self.outcome, self.detail = outcome, detail

    def failed(self, error):
        if error in REJECTED:
            self.finish('reject', REJECTED[error])
        elif error == errno.EPERM and self.kind != 'tcp':
            # nft's drop and reject in OUTPUT: the ICMP error of a reject is still to come
            self.detail = 'EPERM'
        elif error in (errno.EPERM, errno.ETIMEDOUT):
            self.finish('drop', errno.errorcode[error])
        elif error not in (errno.EINPROGRESS, errno.EAGAIN):
            self.finish('error', errno.errorcode.get(error, str(error)))

    def start(self):
        family = family_of(self.spec['daddr'])
        try:
            if self.kind == 'tcp':
                self.socket = socket.socket(family, socket.SOCK_STREAM)
            elif self.kind == 'udp':
                self.socket = socket.socket(family, socket.SOCK_DGRAM)
            else:
                self.socket = socket.socket(family, socket.SOCK_DGRAM,
                                            socket.IPPROTO_ICMP if family == socket.AF_INET else socket.IPPROTO_ICMPV6)
            self.socket.setblocking(False)
            self.socket.bind((self.spec['saddr'], 0))
            self.sport = self.socket.getsockname()[1]
            error = self.socket.connect_ex((self.spec['daddr'], self.spec['dport'] if self.kind != 'ping' else 0))
            if error:
                self.failed(error)
            if self.kind == 'udp':
                self.socket.send(b'merlon')
            elif self.kind == 'ping':
                kind = 8 if family == socket.AF_INET else 128
                # the kernel chooses the identifier, and `th dport` of an ICMP packet is its checksum: the same one each time
                self.socket.send(struct.pack('!BBHHH', kind, 0, 0, 0, 1) + b'merlon' + struct.pack('!H', self.sport ^ 0xffff))
        except OSError as e:
            self.failed(e.errno)

    def events(self):
        return selectors.EVENT_WRITE if self.kind == 'tcp' and not self.detail else selectors.EVENT_READ

    def ready(self, selector):
        error = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            self.failed(error)
            return
        try:
            if self.events() == selectors.EVENT_WRITE:
                self.socket.send(b'merlon')
                self.detail = 'connected'
                selector.modify(self.socket, selectors.EVENT_READ, self)
            elif self.socket.recv(1500):
                self.finish('accept')
            else:
                self.finish('reject', 'closed')
        except OSError as e:
            self.failed(e.errno)


def probe(specs, timeout):
    probes = [Probe(spec, i) for i, spec in enumerate(specs)]
    selector = selectors.DefaultSelector()
    deadline = time.monotonic() + timeout
    for p in probes:
        p.start()
        if not p.outcome:
            selector.register(p.socket, p.events(), p)
    while time.monotonic() < deadline and any(not p.outcome for p in probes):
        for key, _ in selector.select(0.05):
            p = key.data
            p.ready(selector)
            if p.outcome:
                selector.unregister(p.socket)
    for p in probes:
        p.finish('drop', p.detail)
        if p.socket:
            p.socket.close()
    return [{'outcome': p.outcome, 'detail': p.detail, 'sport': p.sport} for p in probes]


def main():
    listeners = Listeners()
    for line in sys.stdin:
        command = json.loads(line)
        if 'listen' in command:
            listeners.add(command['listen']['tcp'], command['listen']['udp'])
            answer = {'ok': True}
        else:
            answer = {'results': probe(command['probe'], command.get('timeout', 1.0))}
        print(json.dumps(answer), flush=True)
    os._exit(0)


if __name__ == '__main__':
    main()
