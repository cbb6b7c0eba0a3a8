#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""
One TCP connection that sends as fast as it can through the host (veth pairs, MTU 1500), with and without a firewall.

  tcp_stream_ratio           bits a second, to no firewall; with the offloads that veth has (TSO, GSO, GRO). Beside merlon:
                             _floor (programs at TC that do nothing), _nft, _iptables, _none2 (no firewall again: noise)
  tcp_stream_nogso_ratio     the same without them: each packet of 1,500 bytes is judged
  tcp_stream[_nogso]_cpu_ratio  the same of bits for a second of processors: less changed by what else the machine does
  tcp_stream_gbps_per_core   merlon's bits for a second of processors: sender, receiver and all between, in Gbit; beside the
                             whole rate and the processors used
"""
import argparse
import ctypes
import fcntl
import json
import os
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time

import hosts

CHUNK = 1 << 20
SIOCETHTOOL = 0x8946
STSO, SGSO, SGRO = 0x1f, 0x24, 0x2c


def cpu_s():
    with open('/proc/thread-self/schedstat', encoding='utf-8') as f:
        return int(f.read().split()[0]) / 1e9


def softirqd_s():
    """Of the kernel's threads that do network work for whoever has no time."""
    used = 0
    for pid in filter(str.isdigit, os.listdir('/proc')):
        try:
            with open(f'/proc/{pid}/comm', encoding='utf-8') as f:
                if f.read().startswith('ksoftirqd/'):
                    with open(f'/proc/{pid}/schedstat', encoding='utf-8') as stat:
                        used += int(stat.read().split()[0]) / 1e9
        except FileNotFoundError:
            pass
    return used


def receive():
    """Reads to the connection's end; prints when it listens, then bytes, seconds, and its own seconds of a processor."""
    os.sched_setaffinity(0, {0})
    with socket.create_server(('', hosts.STREAM_PORT)) as server:
        print('listens', flush=True)
        connection = server.accept()[0]
    begin, used, n, data = time.monotonic(), cpu_s(), 0, bytearray(CHUNK)
    while got := connection.recv_into(data):
        n += got
    print(json.dumps([n, time.monotonic() - begin, cpu_s() - used]))


def send(address, seconds):
    os.sched_setaffinity(0, {os.cpu_count() - 1})
    with socket.create_connection((address, hosts.STREAM_PORT)) as connection:
        data, used, end = bytes(CHUNK), cpu_s(), time.monotonic() + seconds
        while time.monotonic() < end:
            connection.sendall(data)
    print(json.dumps(cpu_s() - used))


def offloads(on, devices):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        for device in devices:
            for what in STSO, SGSO, SGRO:
                value = ctypes.create_string_buffer(struct.pack('=II', what, on))
                fcntl.ioctl(s, SIOCETHTOOL, struct.pack('16sP16x', device.encode(), ctypes.addressof(value)))


class Ways:
    def __init__(self, stand, seconds):
        self.stand, self.seconds, self.script = stand, seconds, os.path.abspath(__file__)

    def python(self, host, where, *words):
        return host.inside(where, sys.executable, '-B', self.script, *map(str, words))

    def offloads(self, on):
        for host in self.stand.all.values():
            for where, devices in ('from', ['up0']), ('host', ['in0', 'out0']), ('to', ['up0']):
                hosts.run(*self.python(host, where, '--offloads', int(on), *devices))

    def measure(self, host):
        """Gbit/s, and the processors that it took."""
        before = softirqd_s()
        with subprocess.Popen(self.python(host, 'to', '--receive'), stdout=subprocess.PIPE, text=True) as receiver:
            try:
                receiver.stdout.readline()
                sent = hosts.run(*self.python(host, 'from', '--send', '192.0.2.2', self.seconds))
                n, took, used = json.loads(receiver.communicate(timeout=30)[0])
            finally:
                receiver.kill()
        return n * 8e-9 / took, (used + json.loads(sent) + softirqd_s() - before) / took


def main():
    parser = hosts.parser(__doc__, 9)
    parser.add_argument('--receive', action='store_true', help=argparse.SUPPRESS)
    parser.add_argument('--send', nargs=2, help=argparse.SUPPRESS)
    parser.add_argument('--offloads', nargs='+', help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.receive:
        return receive()
    if args.send:
        return send(args.send[0], float(args.send[1]))
    if args.offloads:
        return offloads(int(args.offloads[0]), args.offloads[1:])
    if not args.build:
        parser.error('--build DIR is missing')
    hosts.ended_by_signals()
    report = hosts.Report(args.json)
    with tempfile.TemporaryDirectory(prefix='merlon-bench.') as work, hosts.Hosts(args.build, work) as stand:
        for host in stand.all.values():
            host.enforce()
        ways = Ways(stand, 0.1 if args.rounds == 1 else 0.5)
        for name, on in ('tcp_stream', True), ('tcp_stream_nogso', False):
            ways.offloads(on)
            taken = {system: [] for system in hosts.SYSTEMS}
            for i in range(args.rounds):
                for system, host in stand.items():
                    hosts.progress(name, 'round', i + 1, system)
                    taken[system].append(ways.measure(host))
            tell(report, name, taken)
    hosts.progress('')


def tell(report, name, taken):
    for system, values in taken.items():
        if system == 'none':
            continue
        beside = '' if system == 'merlon' else f'_{system}'
        pairs = list(zip(values, taken['none']))
        report.figure(f'{name}_ratio{beside}', [a[0] / b[0] for a, b in pairs], 'of no firewall')
        report.figure(f'{name}_cpu_ratio{beside}', [a[0] / a[1] / (b[0] / b[1]) for a, b in pairs], 'of no firewall')
    values = taken['merlon']
    report.figure(f'{name}_gbps_per_core', [v[0] / v[1] for v in values], 'Gbit/s', 2, mtu=1500,
                  offloads='TSO, GSO, GRO' if name == 'tcp_stream' else 'none but checksums',
                  gbps=round(statistics.median(v[0] for v in values), 2), cores=round(statistics.median(v[1] for v in values), 2))


if __name__ == '__main__':
    main()
