#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What tests/e2e/doors.sh sends to merlond's socket, and the traffic that it watches meanwhile.

doors.py serve ADDRESS            answers on UDP 7001; what comes to UDP 7003 is written to the file `leaked`
doors.py watch ADDRESS            sends to both all the time; a line on standard input asks for "ANSWERED LOST"
doors.py garbage SOCKET           each way to say nonsense; prints which connections were closed, then stays
doors.py unread SOCKET            asks without reading; prints when it was cut off
doors.py turns SOCKET UID         NFT requests of that user and then one of root's; prints how many were answered before root's
doors.py keep SOCKET UID          asks for listings and keeps them; prints whether the last is whole and few of those before are
doors.py hoard SOCKET UID          asks for large texts and reads none but the last; prints whether some were not kept for it
doors.py sink SOCKET FILE         a journald that reads nothing until FILE is there, and then into it
doors.py many SOCKET N [UID...]   N connections that say nothing, of these users; says when they are there, then stays
"""
import array
import os
import resource
import signal
import socket
import struct
import sys
import threading
import time

AUTH = b'\0AUTH EXTERNAL\r\nDATA\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n'


NFT = '{"output":0,"debug":0,"check":false,"optimize":false,"include":[],"define":[],"text":"list ruleset","cwd":"/"}'


def padded(data, size):
    return data + b'\0' * (-len(data) % size)


def message(member, serial=1, order='<', body=b'', fields_size=None, body_size=None, kind=1, signature=''):
    """A call of org.merlon.Control1, or one that only looks like it."""
    def field(code, signature, value):
        text = value.encode()
        if signature == 'g':
            return struct.pack('BB', code, 1) + b'g\0' + struct.pack('B', len(text)) + text + b'\0'
        return struct.pack('BB', code, 1) + signature.encode() + b'\0' + struct.pack(order + 'I', len(text)) + text + b'\0'
    fields = b''
    for f in (field(1, 'o', '/org/merlon/Control1'), field(2, 's', 'org.merlon.Control1'), field(3, 's', member)):
        fields = padded(fields, 8) + f
    if signature:
        fields = padded(fields, 8) + field(8, 'g', signature)
    head = struct.pack(order + 'cBBBII', b'l' if order == '<' else b'B', kind, 0, 1,
                       len(body) if body_size is None else body_size, serial)
    return padded(head + struct.pack(order + 'I', len(fields) if fields_size is None else fields_size) + fields, 8) + body


def connected(path):
    s = socket.socket(socket.AF_UNIX)
    s.connect(path)  # waits for its turn, which a socket with a time limit does not
    s.settimeout(10)
    return s


def authenticated(path):
    s = connected(path)
    s.sendall(AUTH)
    got = b''
    while b'AGREE_UNIX_FD\r\n' not in got:
        more = s.recv(4096)
        if not more:
            raise ConnectionError(got)
        got += more
    return s


def is_closed(s, seconds=10):
    """Whether the other end closes it, whatever it answers before."""
    end = time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            s.settimeout(max(0.01, end - time.monotonic()))
            if not s.recv(65536):
                return True
    except socket.timeout:
        return False
    except OSError:
        return True
    return False


# What is wrong at once; and what may still become right, so that the connection stays.
WRONG = {
    'random bytes': lambda p: (connected(p), bytes(range(1, 256)) * 16),
    'another protocol': lambda p: (connected(p), b'GET / HTTP/1.1\r\n\r\n'),
    'a line without end': lambda p: (connected(p), b'\0AUTH EXTERNAL ' + b'3' * 200000),
    'another byte order': lambda p: (authenticated(p), b'X' + message('Status')[1:]),
    'a giant body': lambda p: (authenticated(p), message('Status', body_size=0xffffffff)),
    'a giant header': lambda p: (authenticated(p), message('Status', fields_size=0xfffffff0)),
    'a header that ends amid a field': lambda p: (authenticated(p), message('Status', fields_size=20)),
}
HALF = {
    'nothing': lambda p: (connected(p), b''),
    'half a greeting': lambda p: (connected(p), b'\0AUTH EXT'),
    'a greeting that does not begin': lambda p: (connected(p), b'\0AUTH EXTERNAL\r\nDATA\r\n'),
    'half a header': lambda p: (authenticated(p), message('Status')[:9]),
    'half a message': lambda p: (authenticated(p), message('Status')[:-8]),
    'a body that does not come': lambda p: (authenticated(p), message('Apply', body_size=100 << 20)),
}
ANSWERED = {
    'big-endian': lambda p: (authenticated(p), message('Status', order='>')),
    'no such method': lambda p: (authenticated(p), message('Frobnicate')),
    'another version': lambda p: (authenticated(p), message('Status')[:3] + b'\x09' + message('Status')[4:] + message('Status')),
    'no type': lambda p: (authenticated(p), message('Status', kind=0) + message('Status')),
    'no request': lambda p: (authenticated(p), message('Apply')),
}


def send(s, data):
    try:
        s.sendall(data)
    except OSError:
        pass


def send_descriptors(path, held):
    """A descriptor with each byte of a message that is never whole."""
    s = authenticated(path)
    held.append(s)
    with open('/dev/null', 'rb') as null:
        for byte in message('Status', body_size=1000):
            try:
                s.sendmsg([bytes([byte])], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [null.fileno()] * 8))])
            except OSError:
                return


def garbage(path):
    held = []
    for name, how in HALF.items():
        s, data = how(path)
        send(s, data)
        held.append(s)
    send_descriptors(path, held)
    for name, how in WRONG.items():
        s, data = how(path)
        send(s, data)
        print('closed' if is_closed(s) else 'open', name, flush=True)
    for name, how in ANSWERED.items():
        s, data = how(path)
        send(s, data)
        s.settimeout(10)
        print('answered' if s.recv(1) else 'silent', name, flush=True)
    print('there', flush=True)
    signal.pause()


def unread(path):
    s = authenticated(path)
    asked = message('Stats') * 64
    try:
        for _ in range(10000):
            s.sendall(asked)
        print('never cut off', flush=True)
    except socket.timeout:
        print('kept waiting', flush=True)
    except OSError:
        print('cut off', flush=True)


def raise_limit(n):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(n, hard), hard))


def text(value):
    return struct.pack('<I', len(value)) + value.encode() + b'\0'


def by(uid, path):
    os.seteuid(uid)
    try:
        return authenticated(path)
    finally:
        os.seteuid(0)


def listing(s):
    """The descriptor that comes with the next answer."""
    descriptors = array.array('i')
    while not descriptors:
        data, control, _, _ = s.recvmsg(65536, socket.CMSG_SPACE(descriptors.itemsize))
        if not data:
            raise ConnectionError
        for _, _, value in control:
            descriptors.frombytes(value)
    return descriptors[0]


def turns(path, uid, n=20):
    reader, root = by(uid, path), authenticated(path)
    for serial in range(1, n + 1):
        reader.sendall(message('Nft', serial=serial, body=text(NFT), signature='s'))
    os.close(listing(reader))  # all of them wait for their turn
    root.sendall(message('Nft', body=text(NFT), signature='s'))
    os.close(listing(root))
    reader.setblocking(False)
    answered = 1
    try:
        while True:
            os.close(listing(reader))
            answered += 1
    except BlockingIOError:
        print(answered, flush=True)


def keep(path, uid, n=100):
    reader, kept = by(uid, path), []
    for _ in range(n):
        reader.sendall(message('List'))
        kept.append(listing(reader))
    whole = sum(os.fstat(fd).st_size > 0 for fd in kept)
    print('bounded' if whole <= 32 and os.fstat(kept[-1]).st_size else f'{whole} of {n} are kept', flush=True)


def hoard(path, uid, n=14):
    readers, last = [by(uid, path), by(uid, path)], by(uid, path)
    for reader in readers:
        for serial in range(1, n + 1):
            reader.sendall(message('Stats', serial=serial))
    last.settimeout(60)
    for serial in range(1, 4):  # the second one has its turn behind all of the others'
        last.sendall(message('Stats', serial=serial))
        head = last.recv(16, socket.MSG_WAITALL)
        size, fields = struct.unpack_from('<I', head, 4)[0], struct.unpack_from('<I', head, 12)[0]
        left = size + fields + -fields % 8
        while left:
            left -= len(last.recv(min(left, 1 << 20), socket.MSG_WAITALL))
    if 2 * n * size < 300 << 20:
        print(f'{size} bytes are too few')
    else:
        print('bounded' if any([is_closed(reader, 5) for reader in readers]) else 'kept', flush=True)


def sink(path, out):
    journal = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    journal.bind(path)
    while not os.path.exists(out):
        time.sleep(0.05)
    with open(out, 'ab', buffering=0) as f:
        while True:
            f.write(journal.recv(1 << 20))


def many(path, n, uids):
    raise_limit(n + 100)
    held = []
    for i in range(n):
        os.seteuid(0)
        if uids:
            os.seteuid(int(uids[i % len(uids)]))
        try:
            held.append(connected(path))
        except OSError as error:
            print(error, len(held), flush=True)
            return
    print('there', flush=True)
    signal.pause()


def serve(address):
    allowed, denied = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    allowed.bind((address, 7001))
    denied.bind((address, 7003))

    def leak():
        while True:
            data = denied.recv(100)
            with open('leaked', 'ab') as f:
                f.write(data + b'\n')
    threading.Thread(target=leak, daemon=True).start()
    print('ready', flush=True)
    while True:
        data, sender = allowed.recvfrom(100)
        allowed.sendto(data, sender)


def watch(address):
    count = {'answered': 0, 'lost': 0}

    def go():
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        number = 0
        while True:
            number += 1
            data = str(number).encode()
            # from another port each time: a new connection is what the rules are asked about
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as new:
                new.settimeout(5)
                s.sendto(data, (address, 7003))
                new.sendto(data, (address, 7003))
                new.sendto(data, (address, 7001))
                try:
                    count['answered' if new.recv(100) == data else 'lost'] += 1
                except OSError:
                    count['lost'] += 1
            time.sleep(0.02)
    threading.Thread(target=go, daemon=True).start()
    print('ready', flush=True)
    for _ in sys.stdin:
        before = count['answered'] + count['lost']
        # what was on its way and one more
        while count['answered'] + count['lost'] < before + 2:
            time.sleep(0.01)
        print(count['answered'], count['lost'], flush=True)


if __name__ == '__main__':
    what, rest = sys.argv[1], sys.argv[2:]
    if what == 'many':
        many(rest[0], int(rest[1]), rest[2:])
    elif what in ('turns', 'keep', 'hoard'):
        {'turns': turns, 'keep': keep, 'hoard': hoard}[what](rest[0], int(rest[1]))
    elif what == 'sink':
        sink(rest[0], rest[1])
    else:
        {'serve': serve, 'watch': watch, 'garbage': garbage, 'unread': unread}[what](rest[0])
