#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What tools/profile does once all is built. Everything that it writes is explained in docs/profile.md."""
import argparse
import collections
import contextlib
import ctypes
import json
import os
import platform
import re
import signal
import struct
import subprocess
import sys
import tempfile
import time

import flame

RULES = 1000
FLOWS = 200000      # new ones of a measurement, at most
PACKETS = 3000000   # of the established one, likewise
FREQUENCY = 4999                                # samples a second and CPU; no multiple of the timer's
COUNTERS = 'cycles,instructions,cache-references,cache-misses'
BPF_PROG_GET_FD_BY_ID, BPF_OBJ_GET_INFO_BY_FD, BPF_ENABLE_STATS = 13, 15, 32
FUNCTIONS = 256                                 # of a program, at most
SYS_BPF = {'x86_64': 321, 'aarch64': 280, 'riscv64': 280, 's390x': 351, 'ppc64le': 361}
SYMBOL = re.compile(r'bpf_prog_([0-9a-f]{16})(?:_(\w+))?')


class Failed(Exception):
    status = 1


class Unable(Failed):
    """This machine has no perf, or does not let us have it."""
    status = 77


def finished(*argv):
    """A command's end. If ours comes first, it is asked to end: perf takes along what it runs."""
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            out, err = process.communicate()
        except BaseException:
            process.terminate()
            raise
    return subprocess.CompletedProcess(argv, process.returncode, out, err)


def run(*argv, check=True):
    r = finished(*argv)
    if check and r.returncode:
        raise Failed(f"{' '.join(argv)}: exit status {r.returncode}\n{r.stdout}{r.stderr}".strip())
    return r.stdout


def stop(signum, _frame):
    raise Failed(signal.Signals(signum).name)


@contextlib.contextmanager
def bpf_stats():
    """The kernel times BPF programs as long as a descriptor is open: whatever ends this process ends that, too."""
    attr = ctypes.create_string_buffer(128)
    fd = ctypes.CDLL(None, use_errno=True).syscall(SYS_BPF.get(platform.machine(), 280), BPF_ENABLE_STATS, attr, 128)
    if fd < 0:
        raise Failed(f'cannot have BPF programs timed: {os.strerror(ctypes.get_errno())}')
    try:
        yield
    finally:
        os.close(fd)


# --- what is loaded

class Loaded:
    """Programs and maps of a data plane: what is pinned, what those programs use, and what these jump to."""

    def __init__(self, pin_dir):
        self.programs, self.maps, self.tags, todo = {}, {}, set(), []
        for where, _, names in os.walk(pin_dir):
            for name in names:
                found = self.show('prog', 'pinned', f'{where}/{name}')
                if found:
                    todo.append(found)
        while todo:
            program = todo.pop()
            if program['id'] in self.programs:
                continue
            self.programs[program['id']] = program
            for number in program.get('map_ids', []):
                self.add_map(number, todo)
        if not self.programs:
            raise Failed(f'no data plane is pinned in {pin_dir}: nothing is in force here')
        for program in self.programs.values():
            program['verified'], functions = self.ask(program['id'])
            self.tags |= functions | {program['tag']}

    @staticmethod
    def show(kind, how, what):
        r = finished('bpftool', '-j', kind, 'show', how, str(what))
        with contextlib.suppress(ValueError):
            found = json.loads(r.stdout)
            if r.returncode == 0 and isinstance(found, dict) and ('tag' if kind == 'prog' else 'bytes_key') in found:
                return found
        return None

    def add_map(self, number, todo):
        found = None if number in self.maps else self.show('map', 'id', number)
        if not found:
            return
        self.maps[number] = found
        if found['type'] in ('prog_array', 'array_of_maps'):
            for entry in json.loads(run('bpftool', '-j', 'map', 'dump', 'id', str(number)) or '[]'):
                with contextlib.suppress(KeyError, TypeError, ValueError):
                    inner = int.from_bytes(bytes(int(b, 16) for b in entry['value']), sys.byteorder)
                    if found['type'] == 'array_of_maps':
                        self.add_map(inner, todo)
                    elif self.show('prog', 'id', inner):
                        todo.append(self.show('prog', 'id', inner))

    @staticmethod
    def ask(number):
        """Verified instructions, and tags of its functions as samples name them: what bpftool 7.1 does not print."""
        info, attr = ctypes.create_string_buffer(256), ctypes.create_string_buffer(128)
        tags = ctypes.create_string_buffer(8 * FUNCTIONS)
        syscall, bpf = ctypes.CDLL(None).syscall, SYS_BPF.get(platform.machine(), 280)
        attr[0:4] = struct.pack('=I', number)
        fd = syscall(bpf, BPF_PROG_GET_FD_BY_ID, attr, 128)
        if fd < 0:
            return 0, set()
        # of struct bpf_prog_info: nr_prog_tags and prog_tags, verified_insns
        info[180:192] = struct.pack('=IQ', FUNCTIONS, ctypes.addressof(tags))
        attr[0:16] = struct.pack('=IIQ', fd, 232, ctypes.addressof(info))
        r = syscall(bpf, BPF_OBJ_GET_INFO_BY_FD, attr, 128)
        os.close(fd)
        if r:
            return 0, set()
        n = min(struct.unpack('=I', info.raw[180:184])[0], FUNCTIONS)
        return struct.unpack('=I', info.raw[216:220])[0], {tags.raw[8 * i:8 * i + 8].hex() for i in range(n)}

    def runs(self):
        """{name: (how often, nanoseconds)} since the programs were loaded, as far as that was timed."""
        found = {}
        for number, program in self.programs.items():
            now = self.show('prog', 'id', number) or {}
            found[program['name']] = (now.get('run_cnt', 0), now.get('run_time_ns', 0))
        return found

    def write(self, output):
        with open(f'{output}/programs.txt', 'w', encoding='utf-8') as f:
            print(f"{'program':24} {'id':>7} {'tag':16} {'verified':>9} {'xlated':>8} {'jited':>8} {'memory':>8}", file=f)
            for p in sorted(self.programs.values(), key=lambda q: q['id']):
                print(f"{p['name']:24} {p['id']:>7} {p['tag']:16} {p['verified']:>9} {p.get('bytes_xlated', 0):>8} "
                      f"{p.get('bytes_jited', 0):>8} {p.get('bytes_memlock', 0):>8}", file=f)
        with open(f'{output}/maps.txt', 'w', encoding='utf-8') as f:
            print(f"{'map':24} {'id':>7} {'type':16} {'key':>5} {'value':>10} {'entries':>9} {'memory':>11}", file=f)
            for m in sorted(self.maps.values(), key=lambda q: -int(q.get('bytes_memlock', 0))):
                print(f"{m.get('name', '-'):24} {m['id']:>7} {m['type']:16} {m['bytes_key']:>5} {m['bytes_value']:>10} "
                      f"{m['max_entries']:>9} {int(m.get('bytes_memlock', 0)):>11}", file=f)
        for name, what in ('programs', self.programs), ('maps', self.maps):
            with open(f'{output}/{name}.json', 'w', encoding='utf-8') as f:
                json.dump(sorted(what.values(), key=lambda q: q['id']), f, indent=1)
        for p in self.programs.values():
            with open(f"{output}/{p['name']}.xlated", 'w', encoding='utf-8') as f:
                f.write(run('bpftool', 'prog', 'dump', 'xlated', 'id', str(p['id']), check=False))


# --- samples

def sampling_event():
    """What perf can sample here, and the reason if that is only the clock."""
    try:
        r = finished('perf', 'stat', '-x,', '-e', 'cycles', 'true')
    except FileNotFoundError as error:
        raise Unable('perf is not installed (Debian: linux-perf)') from error
    if r.returncode == 0 and not re.search('not (supported|counted)', r.stderr):
        return 'cycles', ''
    r = finished('perf', 'stat', '-x,', '-e', 'cpu-clock', 'true')
    if r.returncode:
        raise Unable(f'perf is not permitted here: {r.stderr.strip()}')
    return 'cpu-clock', 'no hardware counters (a virtual machine): samples are of the clock, and cache misses are not counted'


def stacks_of(data):
    """{(comm, outermost, ..., innermost): samples}."""
    stacks, frames, comm = collections.Counter(), [], ''
    text = run('perf', 'script', '-i', data, '-F', 'comm,ip,sym', '--max-stack', '127', check=False)
    for line in text.splitlines() + ['']:
        if not line.strip():
            if frames:
                stacks[(comm, *reversed(frames))] += 1
            frames = []
        elif line[0].isspace():
            frames.append(re.sub(r'\+0x[0-9a-f]+$', '', line.split(None, 1)[1]) if ' ' in line.strip() else '[unknown]')
        else:
            comm = line.strip()
    return stacks


def plain(frame):
    found = SYMBOL.match(frame)
    return (found.group(2) or found.group(1)) if found else frame


def kind_of(tags):
    def kind(frame):
        found = SYMBOL.match(frame)
        if not found:
            return 'user' if frame == '[unknown]' else 'kernel'
        return 'merlon' if found.group(1) in tags else 'bpf'
    return kind


def in_merlon(stacks, kind):
    """From the data plane's own program down; what it calls is above it."""
    inner = collections.Counter()
    for stack, n in stacks.items():
        first = next((i for i, frame in enumerate(stack) if i and kind(frame) == 'merlon'), None)
        if first:
            inner[stack[first:]] += n
    return inner


def table(stacks, kind, f):
    own, total = collections.Counter(), sum(stacks.values())
    within = collections.Counter()
    for stack, n in stacks.items():
        own[stack[-1]] += n
        for frame in set(stack):
            within[frame] += n
    print(f"{'itself':>8} {'with callees':>13}  function (of {total} samples)", file=f)
    for frame, n in sorted(within.items(), key=lambda item: (-own[item[0]], -item[1], item[0])):
        if n * 1000 >= total:
            print(f"{100 * own[frame] / total:>6.1f} % {100 * n / total:>11.1f} %  {plain(frame)}"
                  f"{'' if kind(frame) == 'kernel' else ' [' + kind(frame) + ']'}", file=f)


def renamed(stacks):
    together = collections.Counter()
    for stack, n in stacks.items():
        together[tuple(plain(frame) for frame in stack)] += n
    return together


def write_samples(stacks, name, loaded, event, output):
    """The table, the folded stacks and both flame graphs. Returns how many samples there were, and how many in merlon."""
    kind = kind_of(loaded.tags)
    inner, total = in_merlon(stacks, kind), sum(stacks.values())
    n = sum(inner.values())
    share = f'{n} of {total} samples of {event}' + (f', {100 * n / total:.1f} %' if total else '')
    with open(f'{output}/{name}.txt', 'w', encoding='utf-8') as f:
        print(f'In the data plane: {share}', file=f)
        if n:
            table(inner, kind, f)
    with open(f'{output}/{name}.folded', 'w', encoding='utf-8') as f:
        for stack, count in sorted(stacks.items()):
            print(';'.join(frame.replace(';', ':') for frame in stack), count, file=f)
    kinds = {plain(frame): kind(frame) for stack in stacks for frame in stack[1:]}
    for suffix, what, chosen in ('', 'the data plane', inner), ('-whole', 'all samples', stacks):
        with open(f'{output}/{name}{suffix}.svg', 'w', encoding='utf-8') as f:
            f.write(flame.svg(renamed(chosen), f'merlon, {name}: {what}', share, lambda frame: kinds.get(frame, 'user')))
    return total, n


def record(argv, output, event, everything):
    """Runs a command under perf: {stack: samples} of it, or of all CPUs."""
    data = f'{output}/perf.data'
    run('perf', 'record', '-q', '-e', event, '-F', str(FREQUENCY), '-g', *(['-a'] if everything else []), '-o', data, '--', *argv)
    stacks = stacks_of(data)
    for left in data, f'{data}.old':
        with contextlib.suppress(FileNotFoundError):
            os.remove(left)
    if everything:
        stacks = collections.Counter({s: n for s, n in stacks.items() if s[0] != 'swapper' and not s[0].startswith('perf')})
    return stacks


def count(argv):
    """{event: n} of the hardware while a command runs, on all CPUs; packets are its own business."""
    r = finished('perf', 'stat', '-a', '-x,', '-e', COUNTERS, '--', *argv)
    found = {}
    for line in r.stderr.splitlines():
        field = line.split(',')
        if len(field) > 2 and field[0].isdigit():
            found[field[2]] = int(field[0])
    return found


# --- traffic of our own

def rule_port(i):
    return 1024 + 31 * i % 50000


class Ground:
    """A host with merlond and a peer, in network namespaces."""

    def __init__(self, build, work):
        self.build, self.work, self.daemon, self.server, self.mounted, self.fresh = build, work, None, None, False, 0
        self.ns = {side: f'merlon-profile-{os.getpid()}-{side}' for side in ('host', 'peer')}
        self.pins = f'{work}/bpf/merlon'

    def inside(self, side, *argv):
        return ['nsenter', f'--net=/run/netns/{self.ns[side]}', *argv]

    def make(self):
        for ns in self.ns.values():
            run('ip', 'netns', 'add', ns)
        run('ip', '-n', self.ns['host'], 'link', 'add', 'in0', 'type', 'veth', 'peer', 'name', 'up0', 'netns', self.ns['peer'])
        for side, device, last in ('host', 'in0', 1), ('peer', 'up0', 2):
            run('ip', '-n', self.ns[side], 'addr', 'add', f'192.0.2.{last}/24', 'dev', device)
            run('ip', '-n', self.ns[side], 'link', 'set', device, 'up')
            run('ip', '-n', self.ns[side], 'link', 'set', 'lo', 'up')
        run('ip', '-n', self.ns['host'], 'route', 'add', 'default', 'via', '192.0.2.2')
        run(*self.inside('host', 'sh', '-c', 'echo 0 >/proc/sys/net/ipv4/conf/all/rp_filter; '
                         'echo 0 >/proc/sys/net/ipv4/conf/in0/rp_filter'))
        self.mac = json.loads(run('ip', '-n', self.ns['host'], '-j', 'link', 'show', 'in0'))[0]['address']
        self.write()
        self.start()
        self.establish()

    def write(self):
        rules = [f'\t\tip saddr 10.{i % 250}.{i % 199}.0/24 udp dport {rule_port(i)} accept' for i in range(RULES)]
        with open(f'{self.work}/ruleset.nft', 'w', encoding='utf-8') as f:
            f.write('table inet profile {\n\tchain input {\n\t\ttype filter hook input priority 0; policy drop;\n'
                    '\t\tct state established,related accept\n\t\tip saddr 192.0.2.2 udp dport 9000 accept\n'
                    + '\n'.join(rules) + '\n\t}\n}\n')
        with open(f'{self.work}/one', 'w', encoding='utf-8') as f:
            f.write('udp 192.0.2.2 40000 192.0.2.1 9000\n')

    def more_flows(self, n_flows):
        """Flows that no packet was of, in no order, and none twice: the step has no factor in common with their number."""
        self.fresh += 1
        with open(f'{self.work}/new', 'w', encoding='utf-8') as f:
            for n in range(min(n_flows, FLOWS)):
                port, i = divmod(n * 61861 % FLOWS, RULES)
                f.write(f'udp 10.{i % 250}.{i % 199}.{self.fresh} {1024 + port} 192.0.2.1 {rule_port(i)}\n')

    def merlon(self, *argv):
        return run(*self.inside('host', f'{self.build}/src/merlon', argv[0], '--socket', f'{self.work}/socket', *argv[1:]))

    def start(self):
        os.mkdir(f'{self.work}/bpf')
        run('mount', '-t', 'bpf', '-o', 'mode=0700', 'bpf', f'{self.work}/bpf')
        self.mounted = True
        with open(f'{self.work}/log', 'w', encoding='utf-8') as log:
            self.daemon = subprocess.Popen(
                self.inside('host', f'{self.build}/src/merlond', '--foreground', '--socket', f'{self.work}/socket',
                            '--pin-dir', self.pins, '--state-dir', f'{self.work}/state'), stdout=log, stderr=log)
        for _ in range(400):
            if os.path.exists(f'{self.work}/socket'):
                break
            if self.daemon.poll() is not None:
                with open(f'{self.work}/log', encoding='utf-8') as log:
                    raise Failed(f'merlond does not start: {log.read()}')
            time.sleep(0.05)
        self.merlon('apply', f'{self.work}/ruleset.nft')

    def establish(self):
        """A question, an answer, and a question: what comes now is of an established flow. The server stays, and reads nothing."""
        serve = ('import socket, time; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("192.0.2.1", 9000)); '
                 'print("bound", flush=True); data, who = s.recvfrom(99); s.sendto(data, who); time.sleep(3600)')
        ask = ('import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("192.0.2.2", 40000)); '
               's.settimeout(5); s.sendto(b"x", ("192.0.2.1", 9000)); s.recv(99); s.sendto(b"x", ("192.0.2.1", 9000))')
        self.server = subprocess.Popen(self.inside('host', 'python3', '-c', serve), stdout=subprocess.PIPE, text=True)
        if self.server.stdout.readline() != 'bound\n':
            raise Failed('there is no server to talk to')
        run(*self.inside('peer', 'python3', '-c', ask))

    def sender(self, file, packets):
        if file == 'new':
            self.more_flows(packets)
        return self.inside('peer', f'{self.build}/tests/bench/send', 'up0', self.mac, f'{self.work}/{file}', str(packets))

    def packets_in(self, seconds, file):
        """About as many as go in that time, by a trial."""
        ns = float(run(*self.sender(file, 20000)))
        return max(1000, min(FLOWS if file == 'new' else PACKETS, int(seconds * 1e9 / max(ns, 1))))

    def remove(self):
        for process in self.daemon, self.server:
            if process and process.poll() is None:
                process.kill()
                process.wait()
        if self.server:
            self.server.stdout.close()
        if self.mounted:
            subprocess.run(['umount', f'{self.work}/bpf'], check=False)
        for ns in self.ns.values():
            subprocess.run(['ip', 'netns', 'del', ns], capture_output=True, check=False)


def say(f, text):
    print(text, flush=True)
    print(text, file=f)


def say_runs(f, before, after):
    for name, (n, ns) in sorted(after.items()):
        n, ns = n - before.get(name, (0, 0))[0], ns - before.get(name, (0, 0))[1]
        if n:
            say(f, f'  {name}: {n:,} packets, {ns / n:.1f} ns each, the clock around it included')


def say_counts(f, found, packets):
    for event, n in found.items():
        say(f, f'  {event}: {n / packets:.2f} a packet, all CPUs' if packets else f'  {event}: {n:,}')


def profile_own(args, f, event):
    with tempfile.TemporaryDirectory(prefix='merlon-profile.') as work:
        ground = Ground(args.build, work)
        try:
            ground.make()
            loaded = Loaded(ground.pins)
            for name, file in ('established', 'one'), ('new-flows', 'new'):
                say(f, f'{name}:')
                n = ground.packets_in(args.seconds, file)
                ns = float(run(*ground.sender(file, n)))
                say(f, f'  {n:,} packets, {ns:.1f} ns each from the sender to the socket, all in all')
                before, sender = loaded.runs(), ground.sender(file, n)
                with bpf_stats():
                    run(*sender)
                say_runs(f, before, loaded.runs())
                if event == 'cycles':
                    say_counts(f, count(ground.sender(file, n)), n)
                stacks = record(ground.sender(file, n), args.output, event, False)
                total, inner = write_samples(stacks, name, loaded, event, args.output)
                say(f, f'  {inner:,} of {total:,} samples are in the data plane: {name}.txt, {name}.svg, {name}-whole.svg')
            loaded.write(args.output)
        finally:
            ground.remove()


def profile_live(args, f, event):
    loaded = Loaded(args.pin_dir)
    loaded.write(args.output)
    with bpf_stats() if args.stats else contextlib.nullcontext():
        before, wait = loaded.runs(), ('sleep', str(args.seconds))
        say(f, f'live, {args.seconds} s:')
        found = count(wait) if event == 'cycles' else run(*wait) or {}
        stacks = record(wait, args.output, event, True)
        after = loaded.runs()
    if after == before:
        say(f, '  how long programs run the kernel does not say: --stats turns its clock on meanwhile' if not args.stats else
            '  no packet came')
    say_runs(f, before, after)
    say_counts(f, found, 0)
    total, inner = write_samples(stacks, 'live', loaded, event, args.output)
    say(f, f'  {inner:,} of {total:,} samples are in the data plane: live.txt, live.svg, live-whole.svg')


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--build', required=True)
    parser.add_argument('--output', required=True)
    parser.add_argument('--seconds', type=int, default=3)
    parser.add_argument('--live', action='store_true')
    parser.add_argument('--stats', action='store_true')
    parser.add_argument('--pin-dir', default='/sys/fs/bpf/merlon')
    args = parser.parse_args()
    for number in signal.SIGTERM, signal.SIGHUP, signal.SIGINT:
        signal.signal(number, stop)
    try:
        os.makedirs(args.output, exist_ok=True)
        event, why = sampling_event()
        with open(f'{args.output}/summary.txt', 'w', encoding='utf-8') as f:
            say(f, f'Linux {os.uname().release}, {os.uname().machine}, {os.cpu_count()} CPUs, '
                   f'{time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())}')
            if why:
                say(f, why)
            if run('sysctl', '-n', 'net.core.bpf_jit_enable', check=False).strip() == '0':
                say(f, 'the BPF JIT is off (net.core.bpf_jit_enable): programs are interpreted, and samples name none of them')
            (profile_live if args.live else profile_own)(args, f, event)
            say(f, 'programs.txt, maps.txt: what is loaded. docs/profile.md: how to read each.')
        print(f'written to {args.output}')
    except (Failed, OSError) as error:
        print(f'tools/profile: {error}', file=sys.stderr)
        sys.exit(getattr(error, 'status', 1))


if __name__ == '__main__':
    main()
