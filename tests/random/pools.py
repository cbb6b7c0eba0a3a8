# SPDX-License-Identifier: GPL-2.0-or-later
"""What random rulesets draw from: weighted choices, and values that overlap, touch and miss each other by one."""
import ipaddress

NETS = {4: ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', '192.0.2.0/24', '198.51.100.0/24', '203.0.113.0/24',
            '127.0.0.0/8', '224.0.0.0/4', '169.254.0.0/16'],
        6: ['2001:db8::/32', 'fd00:1::/48', 'fe80::/10', 'ff00::/8', '2001:db8:1::/64', '::/96']}
CORNERS = {4: ['0.0.0.0', '255.255.255.255', '127.0.0.1', '10.255.255.255', '128.0.0.0', '224.0.0.251', '223.255.255.255'],
           6: ['::', '::1', 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff', 'fe80::1', 'ff02::fb', 'fe80::ffff:ffff:ffff:ffff',
               '2001:db8:0:0:ffff:ffff:ffff:ffff', '2001:db8:0:1::']}
BITS = {4: 32, 6: 128}
PORTS = [20, 21, 22, 23, 25, 53, 67, 68, 80, 110, 111, 123, 137, 138, 139, 143, 161, 389, 443, 445, 465, 514, 546, 547, 587, 993,
         995, 1194, 1900, 3306, 3389, 5353, 5432, 6379, 8000, 8080, 8443, 9090, 51820]
PORT_CORNERS = [0, 1, 255, 256, 1023, 1024, 32767, 32768, 49152, 65534, 65535]
INTERFACES = ['eth0', 'eth1', 'eth10', 'eth', 'wlan0', 'docker0', 'br-lan', 'tun0', 'lo', 'e', 'enp0s31f6']


def pick(rng, weighted):
    """One of [(weight, value), ...]."""
    return rng.choices([v for _, v in weighted], [w for w, _ in weighted])[0]


def chance(rng, percent):
    return rng.random() * 100 < percent


def disjoint(rng, lo, hi, n, touch=30, narrow=None):
    """At most n closed intervals in [lo, hi], sorted, of which none overlap; some touch. `narrow`: the widest one."""
    result, points = [], sorted({rng.randint(lo, hi) for _ in range(n * 2)})
    for a, b in zip(points[::2], points[1::2]):
        if narrow and b - a >= narrow:
            b = a + rng.randrange(narrow)
        if result and chance(rng, touch):
            a = result[-1][1] + 1
        kind = rng.random()
        result.append((a, a if kind < 0.3 else b))
    return result


class Pool:
    """The addresses, ports and interfaces of one ruleset: few, so that its rules meet."""

    def __init__(self, rng):
        self.rng = rng
        self.nets = {f: [ipaddress.ip_network(n) for n in rng.sample(NETS[f], min(4, len(NETS[f])))] for f in NETS}
        self.ports = rng.sample(PORTS, 10) + rng.sample(PORT_CORNERS, 4)
        self.interfaces = rng.sample(INTERFACES, rng.randint(2, 6))

    def host(self, family):
        if chance(self.rng, 8):
            return ipaddress.ip_address(self.rng.choice(CORNERS[family]))
        net = self.rng.choice(self.nets[family])
        size = min(net.num_addresses, 1 << self.rng.choice([2, 4, 8, 16, 30]))
        offset = self.rng.choice([0, size - 1, self.rng.randrange(size), self.rng.randrange(size)])
        return net[offset]

    def prefix(self, family):
        host, bits = self.host(family), BITS[family]
        length = pick(self.rng, [(1, 0), (1, 1), (6, bits), (3, bits - 1), (10, bits * 3 // 4), (6, bits // 2), (4, bits // 4),
                                 (6, self.rng.randint(1, bits))])
        return ipaddress.ip_network((host, length), strict=False)

    def span(self, family):
        """Two addresses, the first below the second."""
        lo = int(self.host(family))
        top = (1 << BITS[family]) - 1
        hi = min(top, lo + 1 + self.rng.choice([0, 1, 7, 254, 255, 256, self.rng.randrange(1 << 20)]))
        lo = min(lo, hi - 1)
        return address(family, lo), address(family, hi)

    def spans(self, family, n):
        """Closed intervals of addresses, disjoint, as text: single ones, prefixes, ranges."""
        net = self.rng.choice(self.nets[family])
        lo = int(net[0])
        hi = lo + min(net.num_addresses, 1 << self.rng.choice([6, 10, 16, 40])) - 1
        result = []
        for a, b in disjoint(self.rng, lo, hi, n):
            result.append(interval(family, a, b))
        return result

    def hosts(self, family, n):
        return sorted({str(self.host(family)) for _ in range(n)})

    def port(self):
        r = self.rng.random()
        if r < 0.8:
            return self.rng.choice(self.ports)
        if r < 0.9:
            return max(0, min(65535, self.rng.choice(self.ports) + self.rng.choice([-1, 1])))
        return self.rng.randrange(65536)

    def port_span(self):
        lo = min(self.port(), 65534)
        hi = pick(self.rng, [(5, lo + 1), (5, lo + self.rng.randint(1, 200)), (2, 65535), (3, max(self.port(), lo + 1))])
        return (0, 65535) if chance(self.rng, 2) else (lo, min(65535, hi))

    def port_list(self, n, spans=True):
        if spans and chance(self.rng, 50):
            return [f'{a}' if a == b else f'{a}-{b}' for a, b in disjoint(self.rng, 0, 65535, n, narrow=1000)]
        return [str(p) for p in sorted({self.port() for _ in range(n)})]

    def interface(self):
        return self.rng.choice(self.interfaces)

    def wildcard(self):
        """The beginning of some names, and perhaps of none of them."""
        name = self.interface()
        return name[:self.rng.randint(1, len(name))]


def address(family, value):
    return str(ipaddress.IPv4Address(value) if family == 4 else ipaddress.IPv6Address(value))


def interval(family, lo, hi):
    size = hi - lo + 1
    if size == 1:
        return address(family, lo)
    if size & (size - 1) == 0 and lo % size == 0:
        return f'{address(family, lo)}/{BITS[family] - size.bit_length() + 1}'
    return f'{address(family, lo)}-{address(family, hi)}'
