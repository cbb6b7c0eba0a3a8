# Rules in nft's language, in a chain of a table inet. "rule ; ok ; as printed", "rule ; refused ; reason".
= nft inet
+ set nets { type ipv4_addr; flags interval; elements = { 10.0.0.0/8, 192.168.1.5 }; }
+ set hosts { type ipv4_addr; elements = { 10.0.0.1, 10.0.0.2 }; }
+ set nets6 { type ipv6_addr; flags interval; elements = { 2001:db8::/32, ffff::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff }; }
+ set ports { type inet_service; flags interval; elements = { 22, 80-90, 60000-65535 }; }
+ set names { type ifname; flags interval; elements = { "eth*", lo }; }
+ set plain { type ifname; elements = { eth0, eth1 }; }
+ set marks { type mark; elements = { 1, 2 }; }
+ set timed { type ipv4_addr; flags timeout; elements = { 10.0.0.1 timeout 1h }; }
+ set dyn { type ipv4_addr; flags dynamic; size 100; }
+ set pairs { type ipv4_addr . inet_service; elements = { 10.0.0.1 . 22 }; }
+ map verdicts { type ipv4_addr : verdict; elements = { 10.0.0.1 : accept }; }
+ chain other { }
accept
drop
continue
return
jump other
goto other
ip saddr 10.0.0.1 accept
ip saddr 10.0.0.0/8 accept
ip saddr 10.0.0.0/7 accept
ip saddr 10.1.2.128/25 accept
ip saddr != 10.0.0.0/9 accept
ip saddr 0.0.0.0/0 accept
ip saddr 10.0.0.1-10.0.0.9 accept
ip saddr != 10.0.0.1-10.0.0.9 accept
ip saddr > 10.0.0.1 accept
ip saddr < 10.0.0.1 accept
ip saddr { 10.0.0.1, 10.0.0.3, 10.0.1.0/24 } accept
ip saddr != { 10.0.0.1, 10.0.0.3 } accept
ip saddr @nets accept
ip saddr != @nets accept
ip saddr @hosts accept
ip saddr & 255.255.255.250 == 10.0.0.0 accept
ip saddr & 0.0.0.255 != 1 accept
ip saddr & 85.85.85.85 == 0 accept
ip saddr 10.0.0.1 ip daddr 10.0.0.2 accept
ip saddr 10.0.0.0/8 ip daddr 10.0.0.2 ip protocol tcp accept
ip6 saddr 2001:db8::1 accept
ip6 saddr 2001:db8::/32 ip6 daddr ::1 accept
ip6 saddr 2001:db8::/33 accept
ip6 saddr @nets6 accept
ip6 daddr 2001:db8::1-2001:db8::ff accept
meta nfproto ipv4 accept
meta nfproto ipv6 tcp dport 22 accept
meta nfproto { ipv4, ipv6 } accept
meta protocol ip6 accept
meta l4proto tcp accept
meta l4proto { tcp, udp } th dport 53 accept
meta l4proto != tcp accept
meta l4proto 50 accept
ip protocol icmp accept
ip protocol != { tcp, udp } accept
ip6 nexthdr udp udp dport 53 accept
ip6 nexthdr 0 accept
tcp dport 22 accept
tcp dport 22-25 accept
tcp dport != 22 accept
tcp dport != 22-25 accept
tcp dport { 22, 80, 443-445 } accept
tcp dport @ports accept
tcp sport 1024-65535 tcp dport 22 accept
tcp sport 5 tcp dport 6 accept
tcp dport >= 1024 accept
tcp dport & 0xff00 == 0x100 accept
tcp dport 0-65535 accept
udp sport 53 accept
udplite dport 7 accept
sctp dport 7 accept
dccp sport 7 accept
th dport 53 accept
th sport 53 th dport 53 accept
tcp flags syn accept
tcp flags & (fin|syn|rst|ack) == syn accept
tcp flags & (fin|syn|rst|ack) != syn accept
tcp flags == syn accept
tcp flags != syn accept
tcp flags { syn, syn|ack } accept
tcp flags & (syn|ack) == { syn, ack } accept
icmp type echo-request accept
icmp type { 0, 3, 8-12 } accept
icmp type != 8 accept
icmp type 3 icmp code 4 accept
icmp code 4 accept
icmpv6 type nd-neighbor-solicit accept
icmpv6 type 1 icmpv6 code { 0, 3 } accept
ct state new accept
ct state established,related accept
ct state != new accept
ct state { invalid, untracked } drop
ct state new ct state established accept
ct direction original accept
ct direction reply accept
iif lo accept
iif != lo accept
oif { lo } accept
iifname eth0 accept
iifname "eth*" accept
iifname != "eth*" accept
oifname { eth0, eth1 } accept
oifname != { eth0, eth1 } accept
iifname @names accept
iifname @plain accept
iifname "eth\*" accept
meta mark 7 accept
meta mark != 7 accept
meta mark 1-5 accept
meta mark { 1-5, 9 } accept
meta mark @marks accept
meta mark & 0xff == 0x10 accept
meta mark set 5
meta mark set meta mark or 0x10
meta mark set meta mark and 0xff xor 0x3
meta length 40-100 accept
meta length != 40 accept
ip length 40 accept
ip ttl 1 accept
ip ttl < 5 accept
ip6 hoplimit 255 accept
ip dscp cs1 accept
ip dscp != cs1 accept
ip dscp { cs1, cs2 } accept
ip6 dscp cs1 accept
meta pkttype broadcast drop
meta pkttype { broadcast, multicast } drop
meta pkttype != host drop
counter
counter packets 5 bytes 600 accept
limit rate 5/second accept
limit rate 3/minute burst 7 packets accept
limit rate over 10/hour drop
limit rate 1000 bytes/second accept
limit rate over 10 mbytes/second burst 9000 bytes drop
tcp dport 22 limit rate 1/day counter accept
log
log prefix "hello: " level info
log prefix "x" flags all
log flags tcp sequence,options flags skuid
log level debug
log group 3 prefix "nflog"
log group 3 snaplen 128
log level audit
reject
reject with icmpx host-unreachable
reject with icmpx admin-prohibited
reject with icmp port-unreachable
reject with icmp host-prohibited
reject with icmpv6 addr-unreachable
reject with tcp reset
ip saddr 10.0.0.1 reject
ip6 saddr ::1 reject with icmpv6 no-route
accept comment "a comment"
tcp dport 22 accept comment "with 'quotes'"
@th,0,16 53 accept
meta l4proto icmp meta nfproto ipv4 @th,0,16 0x0800 accept
@th,0,8 5 accept
@nh,8,8 5 accept
meta nfproto ipv4 @nh,8,8 0x10 accept
meta nfproto ipv4 @nh,8,8 & 0x1c == 0x10 accept
meta nfproto ipv6 @nh,4,8 & 0x1c == 0x10 accept
@ll,0,16 5 accept
ether saddr 02:00:00:00:00:01 accept
ip id 5 accept
ip frag-off & 0x1fff != 0 drop
ip6 flowlabel 5 accept
udp length 8 accept
tcp window 5 accept
meta skuid 0 accept
meta cpu 0 accept
ct status dnat accept
ct mark 5 accept
ct mark set 5
fib daddr type local accept
fib saddr . iif oif missing drop
rt type 0 drop
exthdr frag exists drop
tcp option maxseg size 5 accept
ip saddr @timed accept
ip saddr @dyn accept
ip saddr . tcp dport @pairs accept
ip saddr . tcp dport { 10.0.0.1 . 22 } accept
ip saddr vmap @verdicts
ct state vmap { new : drop, established : accept }
add @dyn { ip saddr }
ct count 5 accept
numgen inc mod 2 0 accept
quota 5 bytes accept
meta nftrace set 1
ip ttl set 5 accept
