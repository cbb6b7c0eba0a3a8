#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Traffic between two network namespaces that goes on while something happens to what filters it.

usage: traffic.py SERVER-NETNS CLIENT-NETNS SERVER-ADDRESS

TCP port 80 echoes: one connection stays open, others are made anew. Port 22 and UDP port 9999 are what a policy may deny; a
socket waits for them all the same. Each line of input is answered by one of JSON, the counts since the line before; the first when
there were connections of both kinds. That a connection lost a packet is seen by what was sent again, never by the time it took.
"""
import ctypes
import json
import select
import socket
import struct
import sys
import threading
import time

CLONE_NEWNET = 0x40000000
libc = ctypes.CDLL(None, use_errno=True)
lock = threading.Lock()
counts = {}


def count(name, n=1):
    with lock:
        counts[name] = counts.get(name, 0) + n


def in_namespace(path, work, *args):
    ready = threading.Event()

    def run():
        with open(path, "rb") as file:
            if libc.setns(file.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), path)
        work(ready, *args)

    threading.Thread(target=run, daemon=True).start()
    if not ready.wait(60):
        sys.exit("traffic.py: nothing begins in " + path)


def listen(address, port):
    s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((address, port))
    s.listen(512)
    return s


def serve(ready, address):
    """All that is served, in one loop."""
    echo, denied = listen(address, 80), listen(address, 22)
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.bind((address, 9999))
    poll = select.epoll()
    at = {}
    for s in (echo, denied, datagrams):
        s.setblocking(False)
        at[s.fileno()] = s
        poll.register(s, select.EPOLLIN)
    ready.set()
    while True:
        for fd, _ in poll.poll():
            s = at[fd]
            try:
                if s is echo:
                    one, _ = s.accept()
                    one.setblocking(False)
                    at[one.fileno()] = one
                    poll.register(one, select.EPOLLIN)
                elif s is denied:
                    while True:  # all that has arrived, before the next answer
                        s.accept()[0].close()
                        count("denied_tcp_arrived")
                elif s is datagrams:
                    while True:
                        s.recv(2048)
                        count("denied_udp_arrived")
                else:
                    data = s.recv(4096)
                    if data:
                        s.send(data)
                    else:
                        raise ConnectionResetError
            except BlockingIOError:
                pass
            except OSError:
                poll.unregister(fd)
                at.pop(fd).close()


def sent_again(s):
    """How many packets: tcpi_total_retrans."""
    return struct.unpack_from("I", s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104), 100)[0]


def new_connections(ready, address):
    while True:
        try:
            # the kernel answers, half a second before it would be asked again
            with socket.create_connection((address, 80), timeout=0.5) as s:
                s.settimeout(3)
                s.sendall(b"x")
                if s.recv(1) == b"x" and not sent_again(s):
                    count("allowed")
                    ready.set()
                else:
                    count("allowed_failed")
        except OSError:
            count("allowed_failed")
        time.sleep(0.01)


def long_connection(ready, address):
    """One that is never made anew: what it says comes back, however late, or it is cut for good."""
    s = None
    while True:
        try:
            if s is None:
                s = socket.create_connection((address, 80), timeout=0.5)
                s.settimeout(3)
                count("opened")
            s.sendall(b"hello")
            if s.recv(5) == b"hello":
                count("echoed")
                ready.set()
            else:
                raise ConnectionResetError
        except OSError:
            if s is not None:
                count("cut")
            s = None
            time.sleep(0.2)
        time.sleep(0.01)


def denied(ready, address):
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    ready.set()
    turn = 0
    while True:
        try:
            udp.sendto(b"denied", (address, 9999))
            count("denied_udp_sent")
        except OSError:
            pass
        turn += 1
        if turn % 20 == 0:
            tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            tcp.setblocking(False)
            tcp.connect_ex((address, 22))
            count("denied_tcp_sent")
            time.sleep(0.001)
            tcp.close()
        time.sleep(0.002)


def main():
    server, client, address = sys.argv[1:]
    in_namespace(server, serve, address)
    for work in (new_connections, long_connection, denied):
        in_namespace(client, work, address)
    for _ in sys.stdin:
        with lock:
            said = dict(counts)
            counts.clear()
        for name in ("denied_tcp_arrived", "denied_udp_arrived", "allowed", "allowed_failed", "cut", "opened", "echoed",
                     "denied_udp_sent", "denied_tcp_sent"):
            said.setdefault(name, 0)
        print(json.dumps(said), flush=True)


main()
