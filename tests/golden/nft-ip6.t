# In a table ip6: no family to ask for.
= nft ip6
ip6 saddr 2001:db8::1 accept ; ok ; ip6 saddr 2001:db8::1 accept
ip6 saddr 2001:db8::1 ip6 daddr 2001:db8::2 accept ; ok ; ip6 saddr 2001:db8::1 ip6 daddr 2001:db8::2 accept
tcp dport 22 accept ; ok ; tcp dport 22 accept
icmpv6 type echo-request accept ; ok ; icmpv6 type echo-request accept
icmpv6 type 1 icmpv6 code 4 accept ; ok ; icmpv6 type destination-unreachable icmpv6 code 4 accept
meta protocol ip6 accept ; ok ; accept
ip6 nexthdr tcp accept ; ok ; ip6 nexthdr tcp accept
ip6 hoplimit 1 accept ; ok ; ip6 hoplimit 1 accept
ip6 dscp 0x3f accept ; ok ; ip6 dscp 0x3f accept
reject ; ok ; reject with icmpv6 port-unreachable
reject with icmpv6 addr-unreachable ; ok ; reject with icmpv6 addr-unreachable
reject with tcp reset ; ok ; meta l4proto tcp reject with tcp reset
meta l4proto ipv6-icmp reject with icmpv6 policy-fail ; ok ; meta l4proto ipv6-icmp reject with icmpv6 policy-fail
