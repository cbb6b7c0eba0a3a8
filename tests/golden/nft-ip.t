# In a table ip: no family to ask for.
= nft ip
ip saddr 10.0.0.1 accept ; ok ; ip saddr 10.0.0.1 accept
ip saddr 10.0.0.1 ip daddr 10.0.0.2 accept ; ok ; ip saddr 10.0.0.1 ip daddr 10.0.0.2 accept
ip protocol tcp accept ; ok ; meta l4proto tcp accept
ip ttl 1 ip protocol icmp accept ; ok ; ip ttl 1 meta l4proto icmp accept
tcp dport 22 accept ; ok ; tcp dport 22 accept
icmp type echo-request accept ; ok ; icmp type echo-request accept
meta protocol ip accept ; ok ; accept
reject ; ok ; reject with icmp port-unreachable
reject with icmp host-unreachable ; ok ; reject with icmp host-unreachable
reject with tcp reset ; ok ; meta l4proto tcp reject with tcp reset
fib daddr type unicast accept ; ok ; fib daddr type unicast accept
fib saddr type { broadcast, anycast } drop ; ok ; fib saddr type { broadcast, anycast } drop
ip saddr . tcp dport { 10.0.0.1 . 22 } accept ; ok ; ip saddr . tcp dport { 10.0.0.1 . 22 } accept
ip saddr . icmp type vmap { 10.0.0.1 . echo-request : accept } ; ok ; ip saddr . icmp type vmap { 10.0.0.1 . echo-request : accept }
ether saddr 02:00:00:00:00:01 accept ; ok ; ether saddr { 02:00:00:00:00:01 } accept
ct state vmap { new : drop } ; ok ; ct state vmap { new : drop }
