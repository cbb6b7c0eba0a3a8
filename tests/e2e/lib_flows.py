#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Flows that are open, for a test that asks whether they still are.

usage: lib_flows.py serve
       lib_flows.py hold

serve: TCP 7000 echoes; TCP 7001 ticks to who has closed its end; UDP 7010 echoes. hold: opens connections to 10.77.0.1 and
fd77::1, and answers each line of input by the number of those that do not answer, of each kind; nothing is opened again.
"""
import selectors
import socket
import sys
import threading
import time

ADDRESSES = ((socket.AF_INET, "10.77.0.1"), (socket.AF_INET6, "fd77::1"))
TCP, CLOSED, UDP = 40, 20, 40


def serve_tcp(family, address):
    echo, tick = (socket.create_server((address, port), family=family, backlog=256) for port in (7000, 7001))
    udp = socket.socket(family, socket.SOCK_DGRAM)
    udp.bind((address, 7010))
    poll, closing, ticking = selectors.DefaultSelector(), set(), []
    for s in (echo, tick, udp):
        poll.register(s, selectors.EVENT_READ)
    due = time.monotonic()
    while True:
        for key, _ in poll.select(0.1):
            s = key.fileobj
            if s is echo or s is tick:
                one, _ = s.accept()
                poll.register(one, selectors.EVENT_READ)
                if s is tick:
                    closing.add(one)
            elif s is udp:
                data, sender = s.recvfrom(2048)
                s.sendto(data, sender)
            else:
                data = s.recv(4096)
                if data:
                    s.sendall(data)
                    continue
                poll.unregister(s)
                if s in closing:
                    ticking.append(s)
                else:
                    s.close()
        if time.monotonic() >= due:
            due += 0.1
            for s in ticking:
                s.sendall(b"tick")


def serve():
    for family, address in ADDRESSES:
        threading.Thread(target=serve_tcp, args=(family, address), daemon=True).start()
    time.sleep(0.2)
    print("ready", flush=True)
    threading.Event().wait()


def connect(family, address, kind, port):
    s = socket.socket(family, kind)
    s.settimeout(3)
    s.connect((address, port))
    return s


def echoes(s):
    try:
        s.send(b"x" * 100)
        return len(s.recv(4096)) > 0
    except OSError:
        return False


def drain(s):
    """What was sent before the question does not count."""
    s.setblocking(False)
    try:
        while s.recv(65536):
            pass
    except OSError:
        pass
    s.settimeout(3)


def ticks(s):
    try:
        return len(s.recv(4096)) > 0
    except OSError:
        return False


def hold():
    tcp, closed, udp = [], [], []
    for family, address in ADDRESSES:
        tcp += [connect(family, address, socket.SOCK_STREAM, 7000) for _ in range(TCP)]
        closed += [connect(family, address, socket.SOCK_STREAM, 7001) for _ in range(CLOSED)]
        udp += [connect(family, address, socket.SOCK_DGRAM, 7010) for _ in range(UDP)]
    for s in closed:
        s.shutdown(socket.SHUT_WR)
    print("open", flush=True)
    for _ in sys.stdin:
        for s in closed:
            drain(s)
        silent = [sum(not asks(s) for s in flows) for flows, asks in ((tcp, echoes), (closed, ticks), (udp, echoes))]
        print(*silent, flush=True)


if __name__ == "__main__":
    {"serve": serve, "hold": hold}[sys.argv[1]]()
