#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The main job on real input: one ruleset, two copies of a small network (client, host, server), the host of one
filtered by the kernel's nf_tables, that of the other by merlon; the same connections in both.

Exit status: 0 every verdict is the same; 1 one differs, or something failed; 3 merlon refuses the ruleset.
"""
import argparse
import fcntl
import json
import os
import resource
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
# what no rule fixes: addresses of the two links, by family
BASE = {'client': {4: '172.31.1.2', 6: 'fd00:31:1::2'}, 'server': {4: '172.31.2.2', 6: 'fd00:31:2::2'},
        'near': {4: '172.31.1.1', 6: 'fd00:31:1::1'}, 'far': {4: '172.31.2.1', 6: 'fd00:31:2::1'}}
LOOPBACK = {4: '127.0.0.1', 6: '::1'}
PREFIX = {4: 24, 6: 64}
HOST = {4: 32, 6: 128}
# An answer that comes while connect() still holds the socket is forgotten until the SYN is repeated, after a second.
PATIENCE = 1.4
# Where a demo has what is its own, in a directory that it holds locked while it lives; the namespaces are named after it.
RUN = '/run'
WORK = 'merlon-demo-'
KINDS = ('kernel', 'merlon')
HOSTS = ('client', 'host', 'server')
# Children go when the demo does, however it ends.
WITH_US = ('setpriv', '--pdeathsig', 'KILL')
WITHOUT_SHOWN = 12


class Failure(Exception):
    status = 1


class Refused(Failure):
    """Not a failure of the demo: merlon says why it does not enforce this ruleset."""
    status = 3


def run(*argv, check=True, **kw):
    r = subprocess.run(argv, text=True, capture_output=True, check=False, **kw)
    if check and r.returncode:
        raise Failure(f"{' '.join(argv)} failed: {(r.stderr or r.stdout).strip()}")
    return r


def merlon_said(status, text):
    """What a program of ours printed is a message already, with its place."""
    raise (Refused if status == 3 else Failure)(text.strip() or f'exit status {status}')


def namespaces(token):
    return {kind: {host: f'{WORK}{token}-{kind}-{host}' for host in HOSTS} for kind in KINDS}


class Place:
    """The demo's directory, and what earlier demos that were killed left of theirs."""

    def __init__(self):
        # demos that begin at once take turns here: a directory is never seen before it is locked
        turn = os.open(RUN, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(turn, fcntl.LOCK_EX)
            self.clean()
            self.path = tempfile.mkdtemp(prefix=WORK, dir=RUN)
            self.lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(self.lock, fcntl.LOCK_EX)
            with open(f'{self.path}/mounts', 'w', encoding='utf-8') as f:
                f.write(os.readlink('/proc/self/ns/mnt'))
        finally:
            os.close(turn)
        self.token = self.path.rpartition(WORK)[2]

    @classmethod
    def clean(cls):
        for name in os.listdir(RUN):
            path = f'{RUN}/{name}'
            if not name.startswith(WORK) or not cls.is_ours(path):
                continue
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                print(f'tools/demo: removing what a demo that was killed left: {path}', file=sys.stderr)
                cls.remove_all(path, name.removeprefix(WORK))
            except BlockingIOError:
                pass    # it lives
            finally:
                os.close(lock)

    @staticmethod
    def is_ours(path):
        """Root's own directory, of this mount namespace: only here its namespaces and mounts can be seen."""
        try:
            st = os.lstat(path)
            with open(f'{path}/mounts', encoding='utf-8') as f:
                return stat.S_ISDIR(st.st_mode) and st.st_uid == 0 and f.read() == os.readlink('/proc/self/ns/mnt')
        except OSError:
            return False

    @staticmethod
    def remove_all(path, token):
        for by_host in namespaces(token).values():
            for ns in by_host.values():
                if os.path.exists(f'/run/netns/{ns}'):
                    run('ip', 'netns', 'del', ns, check=False)
        if os.path.ismount(f'{path}/bpf'):
            run('umount', f'{path}/bpf', check=False)
        shutil.rmtree(path, ignore_errors=True)

    def remove(self):
        self.remove_all(self.path, self.token)
        os.close(self.lock)


class Plan:
    """Which probes can be made in this network, and from which host to which address."""

    def __init__(self, lines, most):
        told = [json.loads(line) for line in lines]
        self.restore = {t['file']: t['restore'] for t in told if 'restore' in t}
        self.without = {(t['place'], t['rule']): t['without'] for t in told if 'without' in t}
        specs = [t for t in told if 'hook' in t]
        self.near, self.far = self.interfaces(specs)
        self.owner = {}            # address -> host that has it
        self.probes, self.left = [], 0
        seen = {}                  # a probe -> the rules that ask for it
        for spec in specs:
            for probe in self.place(spec):
                key = tuple(probe[k] for k in ('hook', 'l4proto', 'from', 'saddr', 'daddr', 'dport'))
                probe['rules'] = seen.setdefault(key, set())
                if not probe['rules']:
                    self.probes.append(probe)
                probe['rules'].add(probe['why'])
        placed = set().union(*seen.values())
        # every rule keeps its first probes when there are too many
        if len(self.probes) > most:
            per_rule = {}
            for i, p in enumerate(self.probes):
                p['rank'] = per_rule[p['why']] = per_rule.get(p['why'], -1) + 1
                p['place'] = i
            self.left += len(self.probes) - most
            self.probes = sorted(sorted(self.probes, key=lambda p: (p['rank'], p['place']))[:most],
                                 key=lambda p: p['place'])
        kept = set().union(*(p.pop('rules') for p in self.probes))
        for rule in sorted({(s['place'], s['rule']) for s in specs if s['rule'] != 'policy'} - kept):
            self.without[rule] = f'there are more than {most} probes (--probes)' if rule in placed else \
                                 'its interfaces or addresses are none that this network has'
        used = {p[end] for p in self.probes for end in ('saddr', 'daddr')}
        self.owner = {address: host for address, host in self.owner.items() if address in used}

    @staticmethod
    def interfaces(specs):
        seen = {}
        for s in specs:
            for rank, name in ((0, s['iif']), (1, s['oif'])):
                if name and name != 'lo':
                    seen.setdefault(name, [0, 0])[rank] += 1
        # the first name is the way to the client: eth0 before eth1
        incoming = sorted(n for n in seen if seen[n][0])
        near = (incoming or sorted(seen) or ['eth0'])[0]
        rest = sorted((n for n in seen if n != near), key=lambda n: (-sum(seen[n]), n))
        far = rest[0] if rest else ('eth1' if near != 'eth1' else 'eth0')
        return near, far

    def side(self, interface, default):
        """The host behind an interface, and the filtered host's own address there."""
        if interface is None:
            return default
        return {self.near: 'client', self.far: 'server', 'lo': 'host'}.get(interface)

    def place(self, spec):
        f = spec['family']
        own = {'client': BASE['near'][f], 'server': BASE['far'][f], 'host': LOOPBACK[f]}
        ways = []
        if spec['hook'] == 'input':
            for peer in (['client', 'server'] if spec['iif'] is None else [self.side(spec['iif'], None)]):
                if peer:
                    ways.append((peer, BASE[peer][f] if peer != 'host' else LOOPBACK[f], 'host', own[peer]))
        elif spec['hook'] == 'output':
            for peer in (['client', 'server'] if spec['oif'] is None else [self.side(spec['oif'], None)]):
                if peer:
                    ways.append(('host', own[peer], peer, BASE[peer][f] if peer != 'host' else LOOPBACK[f]))
        else:
            i, o = self.side(spec['iif'], None), self.side(spec['oif'], None)
            for a, b in (('client', 'server'), ('server', 'client')):
                if (spec['iif'] is None or i == a) and (spec['oif'] is None or o == b):
                    ways.append((a, BASE[a][f], b, BASE[b][f]))
        if not ways:
            self.left += 1
        for src, saddr, dst, daddr in ways:
            saddr, daddr = spec['saddr'] or saddr, spec['daddr'] or daddr
            if not self.own(saddr, src) or not self.own(daddr, dst):
                self.left += 1
                continue
            yield {'hook': spec['hook'], 'family': f, 'l4proto': spec['l4proto'], 'from': src, 'to': dst,
                   'saddr': saddr, 'daddr': daddr, 'dport': spec['dport'], 'iif': spec['iif'],
                   'why': (spec['place'], spec['rule'])}

    def own(self, address, host):
        return self.owner.setdefault(address, host) == host

    def print_without(self):
        """What the probes do not show is said."""
        if self.without:
            print(f'Without a probe, or with some only: {counted(len(self.without), "rule")}')
        for (where, rule), why in list(self.without.items())[:WITHOUT_SHOWN]:
            print(f'  {where}: {rule}: {why}')
        if len(self.without) > WITHOUT_SHOWN:
            print(f'  ... {counted(len(self.without) - WITHOUT_SHOWN, "rule")} more')

    def ports(self, host, l4proto):
        return sorted({p['dport'] for p in self.probes if p['to'] == host and p['l4proto'] == l4proto})


class World:
    """client -- host -- server, with agents that open real sockets."""

    def __init__(self, kind, plan, token):
        self.kind, self.plan = kind, plan
        self.ns = namespaces(token)[kind]
        self.agent = {}

    def inside(self, host, *argv, **kw):
        return run('nsenter', f'--net=/run/netns/{self.ns[host]}', *argv, **kw)

    def batch(self, host, lines):
        r = run('ip', '-n', self.ns[host], '-force', '-batch', '-', input='\n'.join(lines) + '\n', check=False)
        if r.returncode:
            raise Failure(f'ip -batch in {self.ns[host]} failed: {r.stderr.strip()}')

    def make(self):
        near, far = self.plan.near, self.plan.far
        for ns in self.ns.values():
            run('ip', 'netns', 'add', ns)
        for host in self.ns:
            self.inside(host, 'sh', '-c', 'cd /proc/sys/net; for f in ipv4/conf/all/rp_filter ipv4/conf/default/rp_filter '
                        'ipv4/icmp_ratelimit ipv6/icmp/ratelimit ipv6/conf/all/accept_dad ipv6/conf/default/accept_dad; do echo 0 > $f; done; '
                        'echo 1 > ipv6/conf/all/forwarding; echo 1 > ipv4/ip_forward; echo "0 2147483647" > ipv4/ping_group_range; '
                        '{ echo 100000 > ipv4/icmp_msgs_per_sec; echo 10000 > ipv4/icmp_msgs_burst; } 2>/dev/null; true')
        for peer, name, link in (('client', near, 'near'), ('server', far, 'far')):
            run('ip', '-n', self.ns['host'], 'link', 'add', 'name', name, 'type', 'veth', 'peer', 'name', 'up0', 'netns', self.ns[peer])
            lines = ['link set lo up', 'link set up0 up']
            host = ['link set lo up', f'link set dev {name} up']
            for f in (4, 6):
                nodad = ' nodad' if f == 6 else ''
                lines += [f'addr add {BASE[peer][f]}/{PREFIX[f]} dev up0{nodad}', f'route add default via {BASE[link][f]}']
                host += [f'addr add {BASE[link][f]}/{PREFIX[f]} dev {name}{nodad}']
            self.batch(peer, lines)
            self.batch('host', host)
        self.neighbours()
        self.addresses()
        for host, ns in self.ns.items():
            # a terminal interrupts all of its processes at once: in a session of its own, a host has nothing to say to that
            self.agent[host] = subprocess.Popen([*WITH_US, 'nsenter', f'--net=/run/netns/{ns}', sys.executable, f'{HERE}/peer.py'],
                                                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)
        for host in self.ns:
            self.tell(host, {'listen': {'tcp': self.plan.ports(host, 'tcp'), 'udp': self.plan.ports(host, 'udp')}})
        for host in self.ns:
            self.hear(host)

    def neighbours(self):
        """Says who is who: a ruleset that drops neighbour discovery is to be seen in the probes, not before them."""
        def mac(host, device):
            return json.loads(run('ip', '-n', self.ns[host], '-j', 'link', 'show', 'dev', device).stdout)[0]['address']
        for peer, name, link in (('client', self.plan.near, 'near'), ('server', self.plan.far, 'far')):
            self.batch('host', [f'neigh add {a} lladdr {mac(peer, "up0")} dev {name}' for a in BASE[peer].values()])
            self.batch(peer, [f'neigh add {a} lladdr {mac("host", name)} dev up0' for a in BASE[link].values()])

    def addresses(self):
        """Gives each host the addresses that the probes need of it."""
        known = {a for by_family in BASE.values() for a in by_family.values()} | set(LOOPBACK.values())
        lines = {h: [] for h in self.ns}
        for address, owner in self.plan.owner.items():
            f = 6 if ':' in address else 4
            if address in known or address.startswith('127.'):
                continue
            device = {'client': 'up0', 'server': 'up0', 'host': 'lo'}[owner]
            lines[owner].append(f"addr add {address}/{HOST[f]} dev {device}{' nodad' if f == 6 else ''}")
            if owner != 'host':
                device = self.plan.near if owner == 'client' else self.plan.far
                lines['host'].append(f'route add {address}/{HOST[f]} via {BASE[owner][f]} dev {device}')
        for host, batch in lines.items():
            if batch:
                self.batch(host, batch)

    def tell(self, host, command):
        try:
            self.agent[host].stdin.write(json.dumps(command) + '\n')
            self.agent[host].stdin.flush()
        except BrokenPipeError:
            raise Failure(f'the agent in {self.ns[host]} died') from None

    def hear(self, host):
        line = self.agent[host].stdout.readline()
        if not line:
            raise Failure(f'the agent in {self.ns[host]} died')
        return json.loads(line)

    def remove(self):
        for agent in self.agent.values():
            agent.kill()
            agent.wait()
        for ns in self.ns.values():
            run('ip', 'netns', 'del', ns, check=False)


class Merlon:
    """merlond in the host's namespace, with pins and state of its own."""

    def __init__(self, build, world, work, family=None):
        self.build, self.world, self.work = build, world, work
        self.family = ['--family', family] if family else []
        self.daemon = None
        self.bpffs = f'{work}/bpf'
        self.socket = f'{work}/merlon.sock'

    def start(self):
        os.mkdir(self.bpffs)
        run('mount', '-t', 'bpf', '-o', 'mode=0700', 'bpf', self.bpffs)
        self.daemon = self.world_popen(f'{self.build}/src/merlond', '--foreground', '--socket', self.socket,
                                       '--pin-dir', f'{self.bpffs}/merlon', '--state-dir', f'{self.work}/state',
                                       '--events', f'{self.work}/events')
        for _ in range(100):
            if os.path.exists(self.socket):
                return
            if self.daemon.poll() is not None:
                break
            time.sleep(0.05)
        raise Failure('merlond did not start:\n' + open(f'{self.work}/merlond.log', encoding='utf-8').read())

    def world_popen(self, *argv):
        log = open(f'{self.work}/merlond.log', 'w', encoding='utf-8')
        return subprocess.Popen([*WITH_US, 'nsenter', f"--net=/run/netns/{self.world.ns['host']}", *argv], stdout=log, stderr=log)

    def cli(self, *argv, check=True):
        return run('nsenter', f"--net=/run/netns/{self.world.ns['host']}", f'{self.build}/src/merlon', argv[0],
                   *(['--socket', self.socket] if argv[0] not in ('check', 'import') else []), *argv[1:], check=check)

    def take(self, *argv):
        """A command that reads the ruleset."""
        r = self.cli(argv[0], *self.family, *argv[1:], check=False)
        if r.returncode:
            merlon_said(r.returncode, f'merlon {argv[0]}:\n{r.stdout}{r.stderr}')
        return r

    def places(self):
        """Which rule decided, by flow: from the sessions for what passed, from the events for what did not."""
        found = {}
        for o in json.loads(self.cli('sessions', '--json').stdout):
            found[flow(o['proto'], o['src'], o['dst'], o['sport'], o['dport'])] = \
                place(o['file'], o['line'], None, o['rule'])
        with open(f'{self.work}/events', encoding='utf-8') as events:
            for line in events:
                e = {k.removeprefix('MERLON_'): v for k, v in json.loads(line).items()}
                if e['VERDICT'] in ('drop', 'reject'):
                    key = flow(e['PROTO'].lower(), e['SRC'], e['DST'], int(e.get('SPORT', 0)), int(e.get('DPORT', 0)))
                    found[key] = place(e.get('RULE_FILE'), e.get('RULE_LINE'), e.get('CHAIN'), e.get('RULE'))
        return found

    def stop(self):
        if self.daemon:
            if self.daemon.poll() is None:
                self.cli('stop', check=False)
                self.daemon.terminate()
                try:
                    self.daemon.wait(5)
                except subprocess.TimeoutExpired:
                    self.daemon.kill()
                    self.daemon.wait()
        run('umount', self.bpffs, check=False)


def flow(proto, src, dst, sport, dport):
    return ('ping', src, dst, 0, 0) if proto in ('icmp', 'icmpv6') else (proto, src, dst, sport, dport)


def place(file, line, chain, rule):
    where = f'{os.path.basename(file)}:{line}' if file and line else chain
    return ' '.join(filter(None, (where, rule or 'policy')))


def traffic(worlds, plan):
    """All probes in both worlds at once, a few dozen at a time."""
    results = {w.kind: [None] * len(plan.probes) for w in worlds}
    size = 96
    for start in range(0, len(plan.probes), size):
        chunk = range(start, min(start + size, len(plan.probes)))
        asked = []
        for w in worlds:
            for host in w.ns:
                mine = [i for i in chunk if plan.probes[i]['from'] == host]
                if mine:
                    w.tell(host, {'probe': [plan.probes[i] for i in mine], 'timeout': PATIENCE})
                    asked.append((w, host, mine))
        for w, host, mine in asked:
            for i, result in zip(mine, w.hear(host)['results']):
                results[w.kind][i] = result
        print(f'\r  probes {chunk[-1] + 1}/{len(plan.probes)}', end='', file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return results


def load_kernel(world, files, restore):
    """The same files, as the admin loads them today; `restore`: by file, the program for iptables-save text, None: nft."""
    for file in files:
        tool = restore[file]
        r = world.inside('host', *((tool, '--noflush', file) if tool else ('nft', '-f', file)), check=False)
        if r.returncode:
            raise Failure(f'nf_tables does not take {file}:\n{(r.stderr or r.stdout).strip()}')


def counted(n, what):
    return f'{n} {what}' + ('' if n == 1 else 's')


def table(plan, results, places):
    differ = 0
    name = {'ping': 'ping'}
    rows = []
    for i, p in enumerate(plan.probes):
        k, m = results['kernel'][i], results['merlon'][i]
        same = k['outcome'] == m['outcome']
        differ += not same
        target = f"[{p['daddr']}]" if p['family'] == 6 else p['daddr']
        port = '' if p['l4proto'] == 'ping' else f":{p['dport']}"
        sport = 0 if p['l4proto'] == 'ping' else m['sport']
        key = (p['l4proto'], p['saddr'], p['daddr'], sport, 0 if p['l4proto'] == 'ping' else p['dport'])
        rows.append((p['hook'], f"{name.get(p['l4proto'], p['l4proto'])} {p['saddr']} > {target}{port}",
                     outcome(k), outcome(m), '' if same else 'DIFFERS', places.get(key, '')))
    widths = [max([len(r[c]) for r in rows] + [8]) for c in range(4)]
    head = ('hook', 'probe', 'nf_tables', 'merlon')
    print('  '.join(h.ljust(w) for h, w in zip(head, widths)) + '  decided by')
    for r in rows:
        print('  '.join(c.ljust(w) for c, w in zip(r, widths)) + ('  ' + r[4] if r[4] else '') + '  ' + r[5])
    return differ


def outcome(result):
    return result['outcome'] + (f" ({result['detail']})" if result['outcome'] in ('reject', 'error') else '')


def probes_of(args, files):
    r = run(f'{args.build}/tests/lib/probes', *(['--family', args.family] if args.family else []), *files, check=False)
    if r.returncode:
        merlon_said(1, r.stderr)
    plan = Plan(r.stdout.splitlines(), args.probes)
    if not plan.probes:
        plan.print_without()
        raise Failure('no probe can be made of these rules: they have no filter chain, or only matches that no new '
                      'TCP, UDP or echo flow of ours can meet')
    print(f'{counted(len(plan.probes), "probe")} from {", ".join(args.ruleset)}; {plan.left} more need other interfaces, '
          f'addresses or room. Host: {plan.near} to the client, {plan.far} to the server.')
    plan.print_without()
    return plan


def show(args, files, plan, worlds, merlon):
    """Both hosts filter; the probes, and what merlon knows of them. Whether a verdict differs."""
    load_kernel(worlds[0], files, plan.restore)
    merlon.start()
    print('$ merlon import ' + ' '.join(args.ruleset))
    said = merlon.take('import', '-o', f'{merlon.work}/imported.nft', *files).stderr
    # not where it wrote what stays with netfilter: that goes with the demo
    print('\n'.join(line for line in said.splitlines() if not line.startswith(merlon.work)))
    print('$ merlon apply ' + ' '.join(args.ruleset))
    print(merlon.take('apply', *files).stdout, end='')
    results = traffic(worlds, plan)
    differ = table(plan, results, merlon.places())
    for command in 'status', 'sessions', 'stats':
        print(f'\n$ merlon {command}')
        shown = merlon.cli(command).stdout.splitlines()
        print('\n'.join(shown[:24] + ([f'... {counted(len(shown) - 24, "line")} more'] if len(shown) > 24 else [])))
    print(f'\n{counted(len(plan.probes), "probe")}, {counted(differ, "difference")}', end='')
    return differ


def demo(args, files):
    began = time.monotonic()
    place, worlds, merlon = Place(), [], None
    try:
        plan = probes_of(args, files)
        worlds = [World(kind, plan, place.token) for kind in KINDS]
        for w in worlds:
            w.make()
        merlon = Merlon(args.build, worlds[1], place.path, args.family)
        differ = show(args, files, plan, worlds, merlon)
        print(f', {time.monotonic() - began:.1f} s')
        return 1 if differ else 0
    finally:
        if merlon:
            merlon.stop()
        for w in worlds:
            w.remove()
        place.remove()


def main():
    parser = argparse.ArgumentParser(prog='tools/demo', description=__doc__)
    parser.add_argument('--build', required=True, help=argparse.SUPPRESS)
    parser.add_argument('--probes', type=int, default=300, help='at most so many probes (300)')
    parser.add_argument('--family', choices=('ip', 'ip6'), help='of iptables-save files that do not say it themselves')
    parser.add_argument('ruleset', nargs='+')
    args = parser.parse_args()
    for ending in signal.SIGINT, signal.SIGTERM, signal.SIGHUP:
        signal.signal(ending, lambda *_: sys.exit(130))
    resource.setrlimit(resource.RLIMIT_NOFILE, (16384, max(16384, resource.getrlimit(resource.RLIMIT_NOFILE)[1])))
    try:
        return demo(args, [os.path.abspath(f) for f in args.ruleset])
    except Failure as e:
        sys.stdout.flush()
        print(e if str(e).partition('\n')[0].find(': error: ') > 0 else f'tools/demo: {e}', file=sys.stderr)
        return e.status
    except BrokenPipeError:     # who read the output has gone: no more is asked for
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as e:
        print(f'tools/demo: {e}', file=sys.stderr)
        return 1


if __name__ == '__main__':
    sys.exit(main())
