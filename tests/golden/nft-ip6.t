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
rt type 0 drop ; ok ; rt type 0 drop
exthdr rt exists drop ; ok ; exthdr rt exists drop
ip6 dscp 0x3f accept ; ok ; ip6 dscp 0x3f accept
reject ; ok ; reject with icmpv6 port-unreachable
reject with icmpv6 addr-unreachable ; ok ; reject with icmpv6 addr-unreachable
reject with tcp reset ; ok ; meta l4proto tcp reject with tcp reset
meta l4proto ipv6-icmp reject with icmpv6 policy-fail ; ok ; meta l4proto ipv6-icmp reject with icmpv6 policy-fail
fib daddr type { local, multicast } accept ; ok ; fib daddr type { local, multicast } accept
fib saddr type unicast drop ; refused ; `fib saddr type` of types that for IPv6 depend on more than local addresses: not supported yet
ip6 saddr . tcp dport { ::1 . 22 } accept ; ok ; ip6 saddr . tcp dport { ::1 . 22 } accept
icmpv6 type vmap { 135-136 : accept } ; ok ; icmpv6 type vmap { 135-136 : accept }
ether saddr 02:00:00:00:00:01 accept ; ok ; ether saddr { 02:00:00:00:00:01 } accept
meta l4proto . th dport vmap { tcp . 22 : drop } ; ok ; meta l4proto . th dport vmap { tcp . 22 : drop }
