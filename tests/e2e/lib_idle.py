#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Flows that are idle a little less, and a little longer, than their timeout. For timeouts.sh.

lib_idle.py sysctls: a line "name seconds" for each timeout
lib_idle.py rules: a ruleset that counts the packets after the pause, which their DSCP tells from all others, per ct state
lib_idle.py expect: what it must count, a line "flow: state" for each rule that counts one
lib_idle.py send NEAR FAR: sends everything into these two interfaces, at its time; exit status 75: it was late
"""
import socket
import sys
import time

import lib_packet as p

ROUTER = b'\2\0\0\0\0\1'
SENDER = b'\2\0\0\0\0\x99'
STATES = ['new', 'established', 'invalid']
MARGIN_S = 0.4
SYSCTLS = {'tcp_timeout_syn_sent': 2, 'tcp_timeout_syn_recv': 1, 'tcp_timeout_established': 4, 'tcp_timeout_fin_wait': 1,
           'tcp_timeout_close_wait': 2, 'tcp_timeout_last_ack': 1, 'tcp_timeout_time_wait': 2, 'tcp_timeout_close': 1,
           'tcp_timeout_unacknowledged': 2, 'tcp_timeout_max_retrans': 3, 'udp_timeout': 3, 'udp_timeout_stream': 1,
           'icmp_timeout': 2, 'generic_timeout': 2}
GENERIC = 253


def segment(flags, seq, ack=0, data=b''):
    """From the client (seq around 1000) or the server (5000)."""
    def make(sport, dport):
        return p.TCP, p.tcp(sport, dport, flags, seq, ack, data)
    return ('>' if seq < 5000 else '<'), make


def other(direction, proto, payload):
    def make(sport, dport):
        return proto, payload(sport, dport)
    return direction, make


def datagram(direction):
    return other(direction, p.UDP, p.udp)


S, A, F, R = p.SYN, p.ACK, p.FIN, p.RST
OPEN = [segment(S, 1000), segment(S | A, 5000, 1001), segment(A, 1001, 5001)]
CLOSE = OPEN + [segment(F | A, 1001, 5001), segment(A, 5001, 1002), segment(F | A, 5001, 1002)]
ACK = segment(A, 1001, 5001)
# name, sysctl, what happens before the pause (a number: seconds later), the packet after it, its state when it was too long
FLOWS = [
    ('syn_sent', 'tcp_timeout_syn_sent', OPEN[:1], OPEN[1], 'invalid'),
    ('syn_recv', 'tcp_timeout_syn_recv', OPEN[:2], ACK, 'new'),
    ('established', 'tcp_timeout_established', OPEN, ACK, 'new'),
    ('unacknowledged', 'tcp_timeout_unacknowledged', OPEN + [segment(A, 1001, 5001, b'data')], segment(A, 1005, 5001), 'new'),
    ('picked_up', 'tcp_timeout_unacknowledged', [ACK], segment(A, 5001, 1001), 'new'),
    ('repeats', 'tcp_timeout_max_retrans', OPEN + [ACK] * 5, ACK, 'new'),
    ('fin_wait', 'tcp_timeout_fin_wait', CLOSE[:4], segment(A, 1002, 5001), 'new'),
    ('close_wait', 'tcp_timeout_close_wait', CLOSE[:5], segment(A, 1002, 5001), 'new'),
    ('last_ack', 'tcp_timeout_last_ack', CLOSE, segment(A, 1002, 5002), 'new'),
    ('time_wait', 'tcp_timeout_time_wait', CLOSE + [segment(A, 1002, 5002)], segment(A, 1002, 5002), 'new'),
    ('close', 'tcp_timeout_close', OPEN + [segment(R, 5001)], ACK, 'new'),
    ('udp', 'udp_timeout', [datagram('>')], datagram('<'), 'new'),
    ('udp_replied', 'udp_timeout', [datagram('>'), datagram('<')], datagram('>'), 'new'),
    ('udp_stream', 'udp_timeout_stream', [datagram('>'), datagram('<'), 2.2, datagram('>')], datagram('>'), 'new'),
    ('icmp', 'icmp_timeout', [other('>', p.ICMP, lambda s, d: p.echo(4, False, s))],
     other('<', p.ICMP, lambda s, d: p.echo(4, True, d)), 'invalid'),
    ('generic', 'generic_timeout', [other('>', GENERIC, lambda s, d: b'some'), other('<', GENERIC, lambda s, d: b'some')],
     other('>', GENERIC, lambda s, d: b'some'), 'new'),
]


def pauses():
    """Each flow twice: its number, from 1 on, which is its DSCP after the pause, and whether that was too long."""
    for i, flow in enumerate(FLOWS):
        yield i * 2 + 1, flow, False
        yield i * 2 + 2, flow, True


def frame(number, step, dscp):
    direction, make = step
    near, far, ports = f'10.77.1.{number}', f'10.78.1.{number}', (40000 + number, 80)
    if direction == '<':
        near, far, ports = far, near, ports[::-1]
    proto, payload = make(*ports)
    return direction, p.ethernet(ROUTER, SENDER, p.ETH_IP, p.packet(near, far, proto, payload, tos=dscp << 2))


def schedule():
    """(second, frame) in order of time."""
    out = []
    for number, (_, sysctl, before, after, _), late in pauses():
        at = 0.0
        for step in before:
            if isinstance(step, float):
                at += step
            else:
                out.append((at, frame(number, step, 0)))
                at += 0.01
        at += SYSCTLS[sysctl] - 0.01 + (MARGIN_S if late else -MARGIN_S)
        out.append((at, frame(number, after, number)))
    return sorted(out, key=lambda event: event[0])


def send(near, far):
    to = {}
    for direction, name in (('>', near), ('<', far)):
        to[direction] = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        to[direction].bind((name, 0))
    begin = time.monotonic() + 0.1
    for at, (direction, data) in schedule():
        time.sleep(max(0, begin + at - time.monotonic()))
        to[direction].send(data)
        if time.monotonic() > begin + at + MARGIN_S / 2:
            return 75
    return 0


def rules():
    print('table inet t {\n\tchain f {\n\t\ttype filter hook forward priority filter; policy accept;')
    for number, _, _ in pauses():
        for state in STATES:
            print(f'\t\tip dscp {number} ct state {state} counter accept')
    print('\t}\n}')


def expect():
    for _, flow, late in pauses():
        print(f'{flow[0]} {"over" if late else "under"}: {flow[4] if late else "established"}')


def counted(counts):
    """What counters say, in the order of rules(), as expect() does."""
    counts = [int(c) for c in counts]
    for i, (_, flow, late) in enumerate(pauses()):
        states = [s for s, n in zip(STATES, counts[i * 3:i * 3 + 3]) if n]
        print(f'{flow[0]} {"over" if late else "under"}: {" ".join(states)}')


def main():
    what, arguments = sys.argv[1], sys.argv[2:]
    if what == 'sysctls':
        for name, seconds in SYSCTLS.items():
            print(name, seconds)
    elif what == 'counted':
        counted(sys.stdin.read().split())
    else:
        return {'rules': rules, 'expect': expect, 'send': send}[what](*arguments)
    return 0


if __name__ == '__main__':
    sys.exit(main())
