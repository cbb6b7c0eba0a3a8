#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Traffic of every kind between network namespaces that this makes and removes; with merlon among them, also what it saw.

  ping     flood ping                        hping3  SYNs as fast as hping3 sends them
  http     requests over kept connections    iperf3  one TCP stream, then UDP of 64 bytes
  flood    the packet generator: flows, sizes and rates are chosen by the options below
  mix      an hour of a small server, as fast as it goes: 1,200 web connections of 12 requests each, 600 DNS queries, 6 ssh
           sessions of 3,000 keystrokes, 4 transfers of 128 MB, 300 probed ports; packets as on a wire, no offloads
Without a kind: all but mix."""
import argparse
import http.client
import http.server
import json
import os
import random
import shutil
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, '..', '..', 'tests', 'bench'))
import hosts  # noqa: E402  pylint: disable=wrong-import-position,wrong-import-order

WEB, DNS, SSH, BULK = 80, 53, 22, 873
NAMES = {'input': ('host', hosts.HOST['from']), 'forward': ('to', '192.0.2.2')}
RULES = 'table inet traffic {\n' + ''.join(
    f'\tchain {chain} {{\n\t\ttype filter hook {chain} priority filter; policy drop;\n'
    '\t\tct state established,related accept\n\t\tmeta l4proto { icmp, icmpv6 } accept\n'
    f'\t\ttcp dport {{ {SSH}, {WEB}, {BULK}, {hosts.STREAM_PORT}, {hosts.PORT} }} accept\n'
    f'\t\tudp dport {{ {DNS}, {hosts.STREAM_PORT}, {hosts.PORT} }} accept\n\t}}\n' for chain in ('input', 'forward')) + '}\n'
MIX = {'web': (1200, 12), 'dns': (600,), 'ssh': (6, 3000), 'bulk': (4, 128 << 20), 'scan': (300,)}


class Web(http.server.BaseHTTPRequestHandler):
    """Answers with as many bytes as the path says."""
    protocol_version = 'HTTP/1.1'
    disable_nagle_algorithm = True

    def do_GET(self):  # pylint: disable=invalid-name
        body = bytes(int(self.path[1:]))
        self.send_response(200)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        while data := self.request.recv(4096):
            self.request.sendall(data)


class Sink(socketserver.BaseRequestHandler):
    def handle(self):
        while self.request.recv(1 << 20):
            pass


class Answer(socketserver.BaseRequestHandler):
    def handle(self):
        data, s = self.request
        s.sendto(data * 2, self.client_address)


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True
    request_queue_size = 128


def serve():
    servers = [Server(('', WEB), Web), Server(('', SSH), Echo), Server(('', BULK), Sink),
               socketserver.UDPServer(('', DNS), Answer)]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    print('serves', flush=True)
    sys.stdin.read()
    os._exit(0)


def web(address, connections, requests):
    r = random.Random(1)
    for _ in range(connections):
        c = http.client.HTTPConnection(address, WEB, timeout=10)
        for _ in range(requests):
            # most answers are small, some are not
            c.request('GET', f'/{min(int(r.lognormvariate(9.5, 1.3)), 2 << 20)}')
            c.getresponse().read()
        c.close()


def dns(address, queries):
    for i in range(queries):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(5)
            s.connect((address, DNS))
            s.send(b'%30d' % i)
            s.recv(512)


def ssh(address, sessions, keys):
    for _ in range(sessions):
        with socket.create_connection((address, SSH), timeout=10) as s:
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for _ in range(keys):
                s.sendall(b'x' * 36)
                s.recv(64)


def bulk(address, transfers, size):
    chunk = bytes(1 << 20)
    for _ in range(transfers):
        with socket.create_connection((address, BULK), timeout=30) as s:
            for _ in range(max(size >> 20, 1)):
                s.sendall(chunk)


def scan(address, probes):
    """Connections to ports that nobody serves, not waited for."""
    open_ones = []
    for port in range(10000, 10000 + probes):
        s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        s.setblocking(False)
        s.connect_ex((address, port))
        open_ones.append(s)
    time.sleep(0.5)


def act(address, kinds):
    """The client's part of the mix, all kinds at once; prints the seconds that each took."""
    failed, took = [], {}

    def one(kind, numbers):
        begin = time.monotonic()
        try:
            globals()[kind](address, *numbers)
            took[kind] = time.monotonic() - begin
        except OSError as e:
            failed.append(f'{kind}: {e}')
    threads = [threading.Thread(target=one, args=item) for item in kinds.items()]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if failed:
        sys.exit('; '.join(failed))
    print(json.dumps(took))


class Traffic:
    def __init__(self, host, args):
        self.host, self.args = host, args
        self.way = 'forward' if args.through else 'input'
        self.where, self.address = NAMES[self.way]

    def client(self, *argv):
        return hosts.run(*self.host.inside('from', *map(str, argv)))

    def python(self, where, *words):
        return self.host.inside(where, sys.executable, '-B', os.path.abspath(__file__), *map(str, words))

    def serving(self, *argv, **kw):
        return subprocess.Popen(self.host.inside(self.where, *argv), text=True, stdout=subprocess.PIPE, stdin=subprocess.PIPE, **kw)

    def ping(self):
        out = self.client('ping', '-f', '-q', '-w', self.args.seconds, self.address)
        return next(line for line in out.splitlines() if 'transmitted' in line)

    def hping3(self):
        # it says what it sent when it is interrupted
        r = subprocess.run(self.host.inside('from', 'timeout', '-s', 'INT', str(self.args.seconds), 'hping3', '-q', '-S', '--flood',
                                            '-p', str(WEB), self.address), text=True, capture_output=True, check=False)
        said = [line for line in (r.stdout + r.stderr).splitlines() if 'transmitted' in line]
        # answers it counts none of, and takes all packets for lost
        return said[0].split(',')[0] if said else sys.exit(f'hping3: exit {r.returncode}\n{r.stderr}')

    def iperf3(self):
        said = []
        with self.serving('iperf3', '-s', '-p', str(hosts.STREAM_PORT), '--forceflush') as server:
            try:
                while 'listening' not in (server.stdout.readline() or sys.exit('iperf3 -s does not start')):
                    pass
                for name, more in ('TCP', ()), ('UDP', ('-u', '-b', '0', '-l', '18')):
                    out = json.loads(self.client('iperf3', '-c', self.address, '-p', hosts.STREAM_PORT, '-t', self.args.seconds,
                                                 '-J', *more))['end']
                    total = out['sum_received'] if name == 'TCP' else out['sum']
                    said.append(f"{name} {total['bits_per_second'] / 1e9:.2f} Gbit/s")
            finally:
                server.kill()
        return ', '.join(said)

    def flood(self):
        a, packets = self.args, self.args.packets
        options = ['--flows', a.flows, '--size', a.size, '--packets', packets, '--proto', a.proto]
        took = self.host.flood(*options, *(['--pps', a.pps] if a.pps else []), way=self.way, live=a.live)
        return f"{took['sent']:,} {a.proto} packets of {a.size} bytes, {a.flows:,} flows, {1e9 / took['ns']:,.0f} a second"

    def with_server(self, kinds):
        with subprocess.Popen(self.python(self.where, '--serve'), text=True, stdout=subprocess.PIPE, stdin=subprocess.PIPE) as server:
            try:
                if not server.stdout.readline():
                    sys.exit('the servers do not start')
                return json.loads(hosts.run(*self.python('from', '--act', self.address, json.dumps(kinds))))
            finally:
                server.kill()

    def http(self):
        connections = int(1000 * self.args.scale) or 1
        took = self.with_server({'web': (connections, 10)})['web']
        return f'{10 * connections:,} requests, {10 * connections / took:,.0f} a second'

    def mix(self):
        def scaled(numbers):
            return max(int(numbers[0] * self.args.scale), 1), *numbers[1:]
        offloads(self.host, 0)
        try:
            took = self.with_server({kind: scaled(numbers) for kind, numbers in MIX.items()})
        finally:
            offloads(self.host, 1)
        return ', '.join(f'{kind} {s:.1f} s' for kind, s in took.items())


def offloads(host, on):
    script = os.path.join(os.path.dirname(os.path.abspath(hosts.__file__)), 'stream.py')
    for where, devices in ('from', ['up0']), ('host', ['in0', 'out0']), ('to', ['up0']):
        hosts.run(*host.inside(where, sys.executable, '-B', script, '--offloads', str(on), *devices))


SEEN = ('packets', 'session_hits', 'session_misses', 'new_sessions', 'drops', 'events', 'events_lost')


def between(before, now):
    """What merlon saw meanwhile; the hit rate as `merlon stats` has it."""
    seen = {k: now[k] - before[k] for k in SEEN}
    asked = seen['session_hits'] + seen['session_misses']
    return seen | {'hit_rate_pct': round(100 * seen['session_hits'] / asked, 3) if asked else None}


def tried(act):
    """What is to be said of it, and whether it came through: a ruleset may deny it."""
    try:
        return act(), True
    except SystemExit as e:
        if not isinstance(e.code, str):
            raise
        lines = [line for line in e.code.splitlines() if line]
        return next((line for line in lines if 'transmitted' in line), lines[-1]), False


def go(host, args, kinds):
    """How many kinds did not come through."""
    traffic, failed = Traffic(host, args), 0
    for kind in kinds:
        before = host.daemon.json('stats') if host.daemon else None
        said, well = tried(getattr(traffic, kind))
        failed += not well
        seen = between(before, host.daemon.json('stats')) if before else None
        if args.json:
            print(json.dumps({'kind': kind, 'said': said, 'well': well, 'merlon': seen}), flush=True)
            continue
        print(f"{kind:7} {'' if well else 'does not come through: '}{said}", flush=True)
        if seen:
            print(f"        merlon: {seen['packets']:,} packets judged, {seen['hit_rate_pct']} % of them by sessions, "
                  f"{seen['new_sessions']:,} new sessions, {seen['drops']:,} dropped, {seen['events']:,} events"
                  f" ({seen['events_lost']:,} lost)", flush=True)
    return failed


KINDS = ('ping', 'http', 'hping3', 'iperf3', 'flood', 'mix')
NEEDS = {'ping': 'ping', 'hping3': 'hping3', 'iperf3': 'iperf3'}


def chosen(kinds):
    """What is asked for; what is not installed is said."""
    given = kinds or [k for k in KINDS if k != 'mix']
    missing = [k for k in given if k in NEEDS and not shutil.which(NEEDS[k])]
    if missing:
        print(f"tools/traffic: {', '.join(missing)}: not installed; `tools/setup --traffic` does", file=sys.stderr)
        if kinds:
            sys.exit(1)
    return [k for k in given if k not in missing]


def parse():
    parser = argparse.ArgumentParser(prog='tools/traffic', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('kinds', nargs='*', metavar='KIND', help=', '.join(KINDS))
    parser.add_argument('--mix', action='store_true', help='the same as the kind mix')
    parser.add_argument('--merlon', action='store_true', help='merlon judges it, by rules that accept what is served')
    parser.add_argument('--ruleset', metavar='FILE', help='merlon judges it by this ruleset; the host is 10.77.0.1 on in0, and '
                        '192.0.2.1 on out0')
    parser.add_argument('--through', action='store_true', help='through the host, not to it')
    parser.add_argument('--seconds', type=int, default=3, help='of ping, hping3 and each of iperf3 (3)')
    parser.add_argument('--scale', type=float, default=1, help='of http and mix: so many times of it (1)')
    parser.add_argument('--json', action='store_true', help='a line of JSON for each kind')
    parser.add_argument('--build', default=os.environ.get('MERLON_BUILD', 'build'), help=argparse.SUPPRESS)
    flood = parser.add_argument_group('flood')
    flood.add_argument('--flows', type=int, default=1000, help='(1000)')
    flood.add_argument('--size', type=int, default=64, help='of a frame in bytes, its FCS included: 64 to 1518 (64)')
    flood.add_argument('--packets', type=int, default=1000000, help='(1000000)')
    flood.add_argument('--pps', type=int, help='at most so many a second')
    flood.add_argument('--proto', choices=('udp', 'tcp', 'syn'), default='udp', help='UDP, bare ACKs, or SYNs (udp)')
    flood.add_argument('--live', action='store_true', help='XDP live frames that come in at the host, not AF_PACKET')
    parser.add_argument('--serve', action='store_true', help=argparse.SUPPRESS)
    parser.add_argument('--act', nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    wrong = [k for k in args.kinds if k not in KINDS]
    if wrong:
        parser.error(f"there is no kind {wrong[0]}: {', '.join(KINDS)}")
    if not 64 <= args.size <= 1518 or min(args.flows, args.packets, args.seconds) < 1 or args.scale <= 0:
        parser.error('a number is out of its range: see --help')
    return args


def main():
    args = parse()
    if args.serve:
        return serve()
    if args.act:
        return act(args.act[0], json.loads(args.act[1]))
    hosts.ended_by_signals()
    kinds = chosen(args.kinds + ['mix'] * args.mix)
    system = 'merlon' if args.merlon or args.ruleset else 'none'
    with tempfile.TemporaryDirectory(prefix='merlon-traffic.') as work, \
            hosts.Hosts(os.path.abspath(args.build), work, (system,)) as stand:
        if system == 'merlon':
            stand['merlon'].enforce(RULES, args.ruleset)
        return 1 if go(stand[system], args, kinds) else 0


if __name__ == '__main__':
    sys.exit(main())
