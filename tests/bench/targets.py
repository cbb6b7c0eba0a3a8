# SPDX-License-Identifier: GPL-2.0-or-later
"""What is measured, in the order of the report, and what it should be."""


class Target:
    """`bound`: '<=', '>=', '<' or '>', None: nothing was promised; `limit`: a number, or a function of all values by figure."""

    def __init__(self, figure, what, bound=None, limit=None):
        self.figure, self.what, self.bound, self._limit = figure, what, bound, limit

    def limit(self, values):
        """None: there is none, or what it depends on was not measured."""
        return self._limit(values) if callable(self._limit) else self._limit

    def met(self, values):
        limit, value = self.limit(values), values.get(self.figure)
        if limit is None or value is None:
            return None
        return {'<=': value <= limit, '>=': value >= limit, '<': value < limit, '>': value > limit}[self.bound]


def twice(figure):
    return lambda values: 2 * values[figure] if figure in values else None


def classification():
    limits = {'1k': (350, 250), '100k': (900, 450), '400k': (1200, 600)}
    for rules, (shuffled, warm) in limits.items():
        for family in 'few', 'many', 'mixed':
            for ip in 'v4', 'v6':
                name = f'classify_{family}_{rules}_{ip}'
                what = f'classification, {family} wildcards, {rules} rules, IP{ip}'
                yield Target(f'{name}_shuffled_ns', f'{what}, shuffled', '<=', shuffled)
                yield Target(f'{name}_warm_ns', f'{what}, warm', '<=', warm)
                yield Target(f'{name}_p99_ns', f'{what}, 99 of 100 packets', '<=', twice(f'{name}_shuffled_ns'))


TARGETS = [
    Target('hot_path_v4_warm_ns', 'established packet above an empty program, IPv4, warm', '<=', 30),
    Target('hot_path_v6_warm_ns', 'the same, IPv6', '<=', 40),
    Target('hot_path_v4_100k_shuffled_ns', 'the same, IPv4, with 100,000 sessions, shuffled', '<=', 90),
    Target('input_pps_ratio_1', 'packets a second to the host, 1 flow, to no firewall', '>=', .95),
    Target('input_pps_ratio_10k', 'the same, 10,000 flows', '>=', .95),
    Target('forward_pps_ratio_1', 'packets a second through the host, 1 flow, to no firewall', '>=', .9),
    Target('forward_pps_ratio_10k', 'the same, 10,000 flows', '>=', .9),
    Target('tcp_stream_ratio', 'TCP stream, to no firewall', '>=', .98),
    Target('tcp_stream_gbps_per_core', 'TCP stream, for each processor used', '>', 10),
    *classification(),
    Target('pipapo_100k_ratio', "100,000 intervals, above no rules: nft's set (pipapo) to merlon", '>=', 4),
    Target('hash_100k_ratio', "100,000 exact entries, above no rules: nft's hash set to merlon", '>=', 1),
    Target('nft_linear_10k_ratio', '10,000 rules, above none: a chain of nft to merlon', '>=', 60),
    Target('iptables_10k_ratio', '10,000 rules, above none: a chain of iptables, legacy or nft, to merlon', '>=', 60),
    Target('new_flow_100k_rules_ns', 'new flow above no firewall, 100,000 rules, shuffled', '<=', 1300),
    Target('image_bytes_per_rule_100k', "kernel memory a rule beyond nf_tables' own, 100,000 rules", '<', 250),
    Target('kernel_bytes_per_rule_100k', "the same, with nf_tables' own"),
    Target('apply_100k_ratio_nft', 'merlon apply, 100,000 rules, to nft -f', '<=', 2),
    Target('apply_100k_ratio_iptables', 'merlon apply, 100,000 rules, to iptables-nft-restore', '<=', 2),
    Target('element_add_100k_ms', 'one element into a set of 100,000, until enforced', '<=', 20),
    Target('program_load_ms', 'loading the programs', '<', 200),
    Target('verified_insns_max', 'instructions verified, the largest program'),
    Target('verified_insns_all', 'instructions verified, all programs', '<', 300000),
    Target('blocklist_100k_drop_ns', 'denied packet, 100,000 networks blocked, shuffled', '<=', 300),
    Target('event_flood_ratio', 'denied packet with events, to a silent drop', '<=', 1.3),
    Target('daemon_cpu_idle_pct', 'merlond, idle, of a processor', '<', .1),
    Target('daemon_cpu_10k_flows_pct', 'merlond, 100,000 sessions and 10,000 new flows a second', '<', 2),
    Target('hit_rate_pct', "packets that sessions answered, of an hour's mix", '>', 99),
    Target('aa_ratio', 'no firewall to no firewall: noise of the ratios'),
    Target('rules_noise_ns', 'no firewall above no firewall: noise of what rules cost'),
]
