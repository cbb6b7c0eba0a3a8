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
+ map verdicts2 { type ipv4_addr . inet_service : verdict; flags interval; elements = { 10.0.0.1 . 22 : jump other, 10.0.0.0/8 . 1-1024 : drop, * : return }; }
+ map states { type ct_state : verdict; elements = { established : accept, new : goto other }; }
+ map every { type ipv4_addr : verdict; flags interval; elements = { 10.0.0.0/8 : accept, * : drop }; }
+ map nothing { type ipv4_addr : verdict; }
+ map soon { type ipv6_addr : verdict; flags timeout; timeout 1h; elements = { ::1 : accept, ::2 timeout 2h : jump other }; }
+ set nopairs { type ipv4_addr . inet_service; flags interval; }
+ set timedpairs { type ipv4_addr . inet_service; flags interval,timeout; elements = { 10.0.0.0/8 . 22 timeout 1h, 11.0.0.1 . 80 }; }
+ set ranges { type ipv4_addr; flags interval,timeout; elements = { 10.0.0.0/24, 10.0.2.0/24 timeout 2h }; }
+ set stays { type ipv4_addr; flags timeout; elements = { 10.0.0.1 }; }
+ set later { type ipv4_addr; flags timeout; timeout 3h; elements = { 10.0.0.1 expires 30m, 10.0.0.2 timeout 4h expires 1h }; }
+ set macs { type ether_addr; elements = { 02:00:00:00:00:01, 02:00:00:00:00:05 }; }
+ set nics { type ifname . ipv4_addr; elements = { "eth0" . 10.0.0.1, "eth1" . 10.0.0.1 }; }
+ set stars { type ifname . ipv4_addr . mark; flags interval; elements = { "eth*" . 10.0.0.1 . 1-5 }; }
+ set indexes { type iface_index . inet_proto; elements = { lo . tcp }; }
+ map data { type ipv4_addr : mark; elements = { 10.0.0.1 : 5 }; }
+ chain other { }
accept ; ok ; accept
drop ; ok ; drop
continue ; ok ; continue
return ; ok ; return
jump other ; ok ; jump other
goto other ; ok ; goto other
ip saddr 10.0.0.1 accept ; ok ; ip saddr 10.0.0.1 accept
ip saddr 10.0.0.0/8 accept ; ok ; ip saddr 10.0.0.0/8 accept
ip saddr 10.0.0.0/7 accept ; ok ; ip saddr 10.0.0.0/7 accept
ip saddr 10.1.2.128/25 accept ; ok ; ip saddr 10.1.2.128/25 accept
ip saddr != 10.0.0.0/9 accept ; ok ; ip saddr != 10.0.0.0/9 accept
ip saddr 0.0.0.0/0 accept ; ok ; ip saddr 0.0.0.0/0 accept
ip saddr 10.0.0.1-10.0.0.9 accept ; ok ; ip saddr 10.0.0.1-10.0.0.9 accept
ip saddr != 10.0.0.1-10.0.0.9 accept ; ok ; ip saddr != 10.0.0.1-10.0.0.9 accept
ip saddr > 10.0.0.1 accept ; ok ; ip saddr 10.0.0.2-255.255.255.255 accept
ip saddr < 10.0.0.1 accept ; ok ; ip saddr 0.0.0.0-10.0.0.0 accept
ip saddr { 10.0.0.1, 10.0.0.3, 10.0.1.0/24 } accept ; ok ; ip saddr { 10.0.0.1, 10.0.0.3, 10.0.1.0/24 } accept
ip saddr != { 10.0.0.1, 10.0.0.3 } accept ; ok ; ip saddr != { 10.0.0.1, 10.0.0.3 } accept
ip saddr @nets accept ; ok ; ip saddr @nets accept
ip saddr != @nets accept ; ok ; ip saddr != @nets accept
ip saddr @hosts accept ; ok ; ip saddr @hosts accept
ip saddr & 255.255.255.250 == 10.0.0.0 accept ; ok ; ip saddr { 10.0.0.0/31, 10.0.0.4/31 } accept
ip saddr & 0.0.0.255 != 1 accept ; refused ; expression `ip saddr` with a mask of more than 4096 intervals
ip saddr & 85.85.85.85 == 0 accept ; refused ; expression `ip saddr` with a mask of more than 4096 intervals
ip saddr 10.0.0.1 ip daddr 10.0.0.2 accept ; ok ; ip saddr 10.0.0.1 ip daddr 10.0.0.2 accept
ip saddr 10.0.0.0/8 ip daddr 10.0.0.2 ip protocol tcp accept ; ok ; ip saddr 10.0.0.0/8 ip daddr 10.0.0.2 meta l4proto tcp accept
ip saddr & 255.255.255.254 @hosts accept ; ok ; ip saddr 10.0.0.2/31 accept
meta mark & 0xff @marks accept ; ok ; meta mark & 0xff == 0x1-0x2 accept
ip6 saddr 2001:db8::1 accept ; ok ; ip6 saddr 2001:db8::1 accept
ip6 saddr 2001:db8::/32 ip6 daddr ::1 accept ; ok ; ip6 saddr 2001:db8::/32 ip6 daddr ::1 accept
ip6 saddr 2001:db8::/33 accept ; ok ; ip6 saddr 2001:db8::/33 accept
ip6 saddr @nets6 accept ; ok ; ip6 saddr @nets6 accept
ip6 daddr 2001:db8::1-2001:db8::ff accept ; ok ; ip6 daddr 2001:db8::1-2001:db8::ff accept
meta nfproto ipv4 accept ; ok ; meta nfproto ipv4 accept
meta nfproto ipv6 tcp dport 22 accept ; ok ; meta nfproto ipv6 tcp dport 22 accept
meta nfproto { ipv4, ipv6 } accept ; ok ; accept
meta protocol ip6 accept ; ok ; meta nfproto ipv6 accept
meta l4proto tcp accept ; ok ; meta l4proto tcp accept
meta l4proto { tcp, udp } th dport 53 accept ; ok ; meta l4proto { tcp, udp } th dport 53 accept
meta l4proto != tcp accept ; ok ; meta l4proto != tcp accept
meta l4proto 50 accept ; ok ; meta l4proto 50 accept
ip protocol icmp accept ; ok ; meta nfproto ipv4 meta l4proto icmp accept
ip protocol != { tcp, udp } accept ; ok ; meta nfproto ipv4 meta l4proto != { tcp, udp } accept
ip6 nexthdr udp udp dport 53 accept ; ok ; ip6 nexthdr udp udp dport 53 accept
ip6 nexthdr 0 accept ; ok ; ip6 nexthdr 0 accept
tcp dport 22 accept ; ok ; tcp dport 22 accept
tcp dport 22-25 accept ; ok ; tcp dport 22-25 accept
tcp dport != 22 accept ; ok ; tcp dport != 22 accept
tcp dport != 22-25 accept ; ok ; tcp dport != 22-25 accept
tcp dport { 22, 80, 443-445 } accept ; ok ; tcp dport { 22, 80, 443-445 } accept
tcp dport @ports accept ; ok ; tcp dport @ports accept
tcp sport 1024-65535 tcp dport 22 accept ; ok ; tcp sport 1024-65535 tcp dport 22 accept
tcp sport 5 tcp dport 6 accept ; ok ; tcp sport 5 tcp dport 6 accept
tcp dport >= 1024 accept ; ok ; tcp dport 1024-65535 accept
tcp dport & 0xff00 == 0x100 accept ; ok ; tcp dport 256-511 accept
tcp dport 0-65535 accept ; ok ; tcp dport 0-65535 accept
udp sport 53 accept ; ok ; udp sport 53 accept
udplite dport 7 accept ; ok ; udplite dport 7 accept
sctp dport 7 accept ; ok ; sctp dport 7 accept
dccp sport 7 accept ; ok ; dccp sport 7 accept
th dport 53 accept ; ok ; th dport 53 accept
th sport 53 th dport 53 accept ; ok ; th sport 53 th dport 53 accept
tcp flags syn accept ; ok ; tcp flags & (syn) != 0x0 accept
tcp flags & (fin|syn|rst|ack) == syn accept ; ok ; tcp flags & (fin|syn|rst|ack) == syn accept
tcp flags & (fin|syn|rst|ack) != syn accept ; ok ; tcp flags & (fin|syn|rst|ack) != syn accept
tcp flags == syn accept ; ok ; tcp flags == syn accept
tcp flags != syn accept ; ok ; tcp flags != syn accept
tcp flags { syn, syn|ack } accept ; ok ; tcp flags == { syn, syn|ack } accept
tcp flags & (syn|ack) == { syn, ack } accept ; ok ; tcp flags & (syn|ack) == { syn, ack } accept
icmp type echo-request accept ; ok ; icmp type echo-request accept
icmp type { 0, 3, 8-12 } accept ; ok ; icmp type { echo-reply, destination-unreachable, 8-12 } accept
icmp type != 8 accept ; ok ; icmp type != echo-request accept
icmp type 3 icmp code 4 accept ; ok ; icmp type destination-unreachable icmp code 4 accept
icmp code 4 accept ; ok ; icmp code 4 accept
icmpv6 type nd-neighbor-solicit accept ; ok ; icmpv6 type nd-neighbor-solicit accept
icmpv6 type 1 icmpv6 code { 0, 3 } accept ; ok ; icmpv6 type destination-unreachable icmpv6 code { 0, 3 } accept
ct state new accept ; ok ; ct state new accept
ct state established,related accept ; ok ; ct state established,related accept
ct state != new accept ; ok ; ct state invalid,established,related,untracked accept
ct state { invalid, untracked } drop ; ok ; ct state invalid,untracked drop
ct state new ct state established accept ; ok ; ct state new ct state established accept
ct direction original accept ; ok ; ct direction original accept
ct direction reply accept ; ok ; ct direction reply accept
iif lo accept ; ok ; iif "lo" accept
iif != lo accept ; ok ; iif != "lo" accept
oif { lo } accept ; ok ; oif "lo" accept
iifname eth0 accept ; ok ; iifname "eth0" accept
iifname "eth*" accept ; ok ; iifname "eth*" accept
iifname != "eth*" accept ; ok ; iifname != "eth*" accept
oifname { eth0, eth1 } accept ; ok ; oifname { "eth0", "eth1" } accept
oifname != { eth0, eth1 } accept ; ok ; oifname != { "eth0", "eth1" } accept
iifname @names accept ; ok ; iifname @names accept
iifname @plain accept ; ok ; iifname @plain accept
iifname "eth\*" accept ; ok ; iifname "eth\*" accept
meta mark 7 accept ; ok ; meta mark 0x7 accept
meta mark != 7 accept ; ok ; meta mark != 0x7 accept
meta mark 1-5 accept ; ok ; meta mark 0x1-0x5 accept
meta mark { 1-5, 9 } accept ; ok ; meta mark { 0x1-0x5, 0x9 } accept
meta mark @marks accept ; ok ; meta mark @marks accept
meta mark & 0xff == 0x10 accept ; ok ; meta mark & 0xff == 0x10 accept
meta mark set 5 ; ok ; meta mark set 0x5
meta mark set meta mark or 0x10 ; ok ; meta mark set meta mark & 0xffffffef ^ 0x10
meta mark set meta mark and 0xff xor 0x3 ; ok ; meta mark set meta mark & 0xff ^ 0x3
meta length 40-100 accept ; ok ; meta length 40-100 accept
meta length != 40 accept ; ok ; meta length != 40 accept
ip length 40 accept ; ok ; meta nfproto ipv4 meta length 40 accept
ip ttl 1 accept ; ok ; ip ttl 1 accept
ip ttl < 5 accept ; ok ; ip ttl 0-4 accept
ip6 hoplimit 255 accept ; ok ; ip6 hoplimit 255 accept
ip dscp cs1 accept ; ok ; ip dscp 0x8 accept
ip dscp != cs1 accept ; ok ; ip dscp != 0x8 accept
ip dscp { cs1, cs2 } accept ; ok ; ip dscp { 0x8, 0x10 } accept
ip6 dscp cs1 accept ; ok ; ip6 dscp 0x8 accept
meta pkttype broadcast drop ; ok ; meta pkttype broadcast drop
meta pkttype { broadcast, multicast } drop ; ok ; meta pkttype { broadcast, multicast } drop
meta pkttype != host drop ; ok ; meta pkttype != host drop
counter ; ok ; counter
counter packets 5 bytes 600 accept ; ok ; counter packets 5 bytes 600 accept
limit rate 5/second accept ; ok ; limit rate 5/second burst 5 packets accept
limit rate 3/minute burst 7 packets accept ; ok ; limit rate 3/minute burst 7 packets accept
limit rate over 10/hour drop ; ok ; limit rate over 10/hour burst 5 packets drop
limit rate 1000 bytes/second accept ; ok ; limit rate 1000 bytes/second accept
limit rate over 10 mbytes/second burst 9000 bytes drop ; ok ; limit rate over 10485760 bytes/second burst 9000 bytes drop
tcp dport 22 limit rate 1/day counter accept ; ok ; tcp dport 22 limit rate 1/day burst 5 packets counter accept
log ; ok ; log level warn
log prefix "hello: " level info ; ok ; log prefix "hello: " level info
log prefix "x" flags all ; ok ; log prefix "x" level warn flags tcp sequence flags tcp options flags ip options flags skuid flags ether
log flags tcp sequence,options flags skuid ; ok ; log level warn flags tcp sequence flags tcp options flags skuid
log level debug ; ok ; log level debug
log group 3 prefix "nflog" ; ok ; log prefix "nflog" group 3
log group 3 snaplen 128 ; refused ; expression `log with snaplen or queue-threshold`: not supported yet
log level audit ; refused ; expression `log level audit`: not supported yet
reject ; ok ; reject with icmpx port-unreachable
reject with icmpx host-unreachable ; ok ; reject with icmpx host-unreachable
reject with icmpx admin-prohibited ; ok ; reject with icmpx admin-prohibited
reject with icmp port-unreachable ; ok ; meta nfproto ipv4 reject with icmpx port-unreachable
reject with icmp host-prohibited ; ok ; meta nfproto ipv4 reject with icmp host-prohibited
reject with icmpv6 addr-unreachable ; ok ; meta nfproto ipv6 reject with icmpv6 addr-unreachable
reject with tcp reset ; ok ; meta l4proto tcp reject with tcp reset
ip saddr 10.0.0.1 reject ; ok ; ip saddr 10.0.0.1 reject with icmpx port-unreachable
ip6 saddr ::1 reject with icmpv6 no-route ; ok ; ip6 saddr ::1 reject with icmpv6 no-route
accept comment "a comment" ; ok ; accept comment "a comment"
tcp dport 22 accept comment "with 'quotes'" ; ok ; tcp dport 22 accept comment "with 'quotes'"
@th,0,16 53 accept ; ok ; th sport 53 accept
meta l4proto icmp meta nfproto ipv4 @th,0,16 0x0800 accept ; ok ; meta l4proto icmp meta nfproto ipv4 icmp type echo-request icmp code 0 accept
@th,0,8 5 accept ; refused ; expression `raw payload @th,0,8`: not supported yet
@nh,8,8 5 accept ; refused ; expression `raw payload @nh,8,8`: not supported yet
meta nfproto ipv4 @nh,8,8 0x10 accept ; ok ; meta nfproto ipv4 @nh,8,8 0x10 accept
meta nfproto ipv4 @nh,8,8 & 0x1c == 0x10 accept ; ok ; meta nfproto ipv4 @nh,8,8 & 0x1c == 0x10 accept
meta nfproto ipv6 @nh,4,8 & 0x1c == 0x10 accept ; refused ; expression `bitwise shift`: not supported yet
@ll,0,16 5 accept ; refused ; expression `raw payload @ll,0,16`: not supported yet
ip id 5 accept ; refused ; expression `ip id`: not supported yet
ip frag-off & 0x1fff != 0 drop ; refused ; expression `ip frag-off`: not supported yet
ip6 flowlabel 5 accept ; refused ; expression `raw payload @nh,8,24`: not supported yet
udp length 8 accept ; refused ; expression `udp length`: not supported yet
tcp window 5 accept ; refused ; expression `tcp window`: not supported yet
meta skuid 0 accept ; refused ; expression `meta skuid`: not supported yet
meta cpu 0 accept ; refused ; expression `meta cpu`: not supported yet
ct status dnat accept ; refused ; expression `ct status`: not supported yet
ct mark 5 accept ; refused ; expression `ct mark`: not supported yet
ct mark set 5 ; refused ; expression `ct set`: not supported yet
fib saddr . iif oif missing drop ; refused ; expression `fib saddr . iif oif`: not supported yet
rt type 0 drop ; ok ; rt type 0 drop
rt type != 2 accept ; ok ; rt type != 2 accept
rt type { 0, 2-4 } drop ; ok ; rt type { 0, 2-4 } drop
rt type != { 0, 2-4 } drop ; ok ; rt type != { 0, 2-4 } drop
rt type 1-3 drop ; ok ; rt type 1-3 drop
rt type > 4 drop ; ok ; rt type 5-255 drop
rt type & 0xf0 == 0x10 drop ; ok ; rt type 16-31 drop
meta nfproto ipv6 rt type 0 drop ; ok ; rt type 0 drop
ip6 saddr ::1 rt type 0 drop ; ok ; ip6 saddr ::1 rt type 0 drop
udp dport 53 rt type 0 drop ; ok ; meta nfproto ipv6 udp dport 53 rt type 0 drop
rt type 0 udp dport 53 drop ; ok ; rt type 0 udp dport 53 drop
meta l4proto ipv6-icmp rt type 0 drop ; ok ; meta nfproto ipv6 meta l4proto ipv6-icmp rt type 0 drop
meta nfproto ipv6 meta l4proto tcp rt type 0 drop ; ok ; meta nfproto ipv6 meta l4proto tcp rt type 0 drop
rt type . ip6 nexthdr { 0 . 43 } drop ; ok ; rt type . ip6 nexthdr { 0 . 43 } drop
rt type . udp dport { 0-2 . 53 } drop ; ok ; rt type . udp dport { 0-2 . 53 } drop
rt type vmap { 0 : drop, 2 : accept } ; ok ; rt type vmap { 0 : drop, 2 : accept }
exthdr rt exists drop ; ok ; exthdr rt exists drop
exthdr rt != missing drop ; ok ; exthdr rt exists drop
exthdr rt missing drop ; refused ; expression `exthdr rt missing`: not supported yet
rt nexthdr tcp drop ; refused ; expression `rt nexthdr`: not supported yet
rt hdrlength 2 drop ; refused ; expression `rt hdrlength`: not supported yet
rt seg-left 1 drop ; refused ; expression `rt seg-left`: not supported yet
rt0 addr[1] ::1 drop ; refused ; expression `extension header or option`: not supported yet
exthdr frag exists drop ; refused ; expression `extension header or option`: not supported yet
tcp option maxseg size 5 accept ; refused ; expression `extension header or option`: not supported yet
ip saddr @timed accept ; ok ; ip saddr @timed accept
ip saddr != @timed accept ; ok ; ip saddr != @timed accept
ip saddr @ranges accept ; ok ; ip saddr @ranges accept
ip saddr @stays accept ; ok ; ip saddr @stays accept
ip saddr @later accept ; ok ; ip saddr @later accept
ip saddr . tcp dport @pairs accept ; ok ; ip saddr . tcp dport @pairs accept
ip saddr . tcp dport != @pairs accept ; ok ; ip saddr . tcp dport != @pairs accept
ip saddr . tcp dport @nopairs accept ; ok ; ip saddr . tcp dport @nopairs accept
ip saddr . tcp dport @timedpairs accept ; ok ; ip saddr . tcp dport @timedpairs accept
ip saddr . tcp dport { 10.0.0.1 . 22 } accept ; ok ; ip saddr . tcp dport { 10.0.0.1 . 22 } accept
ip saddr . tcp dport { 10.0.0.0/8 . 22-25, 10.1.0.1-10.1.0.9 . 80 } counter accept ; ok ; ip saddr . tcp dport { 10.0.0.0/8 . 22-25, 10.1.0.1-10.1.0.9 . 80 } counter accept
ip saddr . tcp dport != { 10.0.0.1 . 22, 10.0.0.2 . 23 } drop ; ok ; ip saddr . tcp dport != { 10.0.0.1 . 22, 10.0.0.2 . 23 } drop
ip saddr . ip daddr { 10.0.0.0/8 . 10.0.0.1-10.0.0.9 } accept ; ok ; ip saddr . ip daddr { 10.0.0.0/8 . 10.0.0.1-10.0.0.9 } accept
ip6 saddr . udp dport { 2001:db8::/32 . 53 } accept ; ok ; ip6 saddr . udp dport { 2001:db8::/32 . 53 } accept
ip6 saddr . ip6 daddr . tcp dport { ::1 . ::2 . 22 } accept ; ok ; ip6 saddr . ip6 daddr . tcp dport { ::1 . ::2 . 22 } accept
iifname . ip saddr @nics accept ; ok ; iifname . ip saddr @nics accept
iifname . ip saddr { "eth*" . 10.0.0.1, lo . 127.0.0.1 } accept ; ok ; iifname . ip saddr { "eth*" . 10.0.0.1, "lo" . 127.0.0.1 } accept
iifname . ip saddr . meta mark @stars accept ; ok ; iifname . ip saddr . meta mark @stars accept
iif . meta l4proto @indexes accept ; ok ; iif . meta l4proto @indexes accept
iif . tcp dport { lo . 22 } accept ; ok ; iif . tcp dport { "lo" . 22 } accept
iifname . oifname { eth0 . eth1, eth1 . eth0 } accept ; ok ; iifname . oifname { "eth0" . "eth1", "eth1" . "eth0" } accept
ct state . ip saddr { established . 10.0.0.0/8 } accept ; ok ; ct state . ip saddr { established . 10.0.0.0/8 } accept
ct state . meta l4proto { new . tcp } accept ; ok ; ct state . meta l4proto { new . tcp } accept
meta l4proto . th dport { tcp . 53, udp . 53 } accept ; ok ; meta l4proto . th dport { tcp . 53, udp . 53 } accept
meta nfproto . th dport { ipv4 . 53 } accept ; ok ; meta nfproto . th dport { ipv4 . 53 } accept
ip saddr . meta mark { 10.0.0.1 . 1-7 } accept ; ok ; ip saddr . meta mark { 10.0.0.1 . 0x1-0x7 } accept
icmp type . ip saddr { echo-request . 10.0.0.1 } accept ; ok ; icmp type . ip saddr { echo-request . 10.0.0.1 } accept
icmp type . icmp code { echo-request . 0 } accept ; ok ; icmp type . icmp code { echo-request . 0 } accept
ip saddr . ip protocol . th sport . th dport { 10.0.0.1 . tcp . 1-2 . 3-4 } accept ; ok ; ip saddr . meta l4proto . th sport . th dport { 10.0.0.1 . tcp . 1-2 . 3-4 } accept
ip saddr . meta pkttype { 10.0.0.1 . broadcast } drop ; ok ; ip saddr . meta pkttype { 10.0.0.1 . broadcast } drop
ip saddr . tcp flags { 10.0.0.1 . syn } drop ; ok ; ip saddr . tcp flags { 10.0.0.1 . 0x2 } drop
tcp sport . tcp dport { 22 . 0-65535, 0-21 . 22, 23-65535 . 22 } accept ; ok ; tcp sport . tcp dport { 22 . 0-65535, 0-21 . 22, 23-65535 . 22 } accept
tcp sport . tcp dport { 22 . 0-65535, 0-21 . 22 } accept ; ok ; tcp sport . tcp dport { 22 . 0-65535, 0-21 . 22 } accept
ip saddr & 255.255.255.0 . tcp dport { 10.0.0.0 . 22 } accept ; ok ; ip saddr . tcp dport { 10.0.0.0/24 . 22 } accept
ip saddr vmap @verdicts ; ok ; ip saddr vmap @verdicts
ip saddr . tcp dport vmap @verdicts2 ; ok ; ip saddr . tcp dport vmap @verdicts2
ip saddr vmap { 10.0.0.1 : accept, 10.0.0.0 : continue, 10.0.1.0/24 : jump other, 10.0.2.0-10.0.2.9 : goto other, 10.0.3.1 : return } ; ok ; ip saddr vmap { 10.0.0.0 : continue, 10.0.0.1 : accept, 10.0.1.0/24 : jump other, 10.0.2.0-10.0.2.9 : goto other, 10.0.3.1 : return }
ip saddr vmap @every ; ok ; ip saddr vmap @every
ip saddr vmap @nothing ; ok ; ip saddr vmap @nothing
ip6 saddr vmap @soon ; ok ; ip6 saddr vmap @soon
ip6 daddr vmap { ::1 : accept, 2001:db8::/126 : drop } ; ok ; ip6 daddr vmap { ::1 : accept, 2001:db8::/126 : drop }
ct state vmap { new : drop, established : accept } ; ok ; ct state vmap { established : accept, new : drop }
ct state vmap { established : accept, related : accept, invalid : drop, untracked : jump other } ; ok ; ct state vmap { invalid : drop, established : accept, related : accept, untracked : jump other }
ct state vmap @states ; ok ; ct state vmap @states
ct direction vmap { original : accept, reply : drop } ; ok ; ct direction vmap { original : accept, reply : drop }
meta l4proto vmap { tcp : jump other, udp : goto other, 50 : accept } ; ok ; meta l4proto vmap { tcp : jump other, udp : goto other, 50 : accept }
meta nfproto vmap { ipv4 : jump other, ipv6 : drop } ; ok ; meta nfproto vmap { ipv4 : jump other, ipv6 : drop }
meta protocol vmap { ip : jump other, ip6 : drop, arp : drop } ; ok ; meta nfproto vmap { ipv4 : jump other, ipv6 : drop }
meta mark vmap { 1 : accept, 5-7 : drop } ; ok ; meta mark vmap { 0x1 : accept, 0x5-0x7 : drop }
meta pkttype vmap { broadcast : drop, multicast : drop } ; ok ; meta pkttype vmap { broadcast : drop, multicast : drop }
iif vmap { lo : accept } ; ok ; iif vmap { "lo" : accept }
iifname vmap { eth0 : accept, lo : jump other } ; ok ; iifname vmap { "eth0" : accept, "lo" : jump other }
oifname vmap { "eth*" : accept, wg0 : jump other } ; ok ; oifname vmap { "eth*" : accept, "wg0" : jump other }
iifname . oifname vmap { eth0 . eth1 : accept, "wg*" . eth0 : jump other } ; ok ; iifname . oifname vmap { "eth0" . "eth1" : accept, "wg*" . "eth0" : jump other }
icmp type vmap { echo-request : accept, 3-4 : drop } ; ok ; icmp type vmap { 3-4 : drop, echo-request : accept }
icmpv6 type vmap { echo-request : accept, 133 : drop } ; ok ; icmpv6 type vmap { echo-request : accept, nd-router-solicit : drop }
icmp code vmap { 0 : accept } ; ok ; icmp code vmap { 0 : accept }
tcp flags vmap { syn : accept, syn|ack : drop } ; ok ; tcp flags vmap { 0x2 : accept, 0x12 : drop }
ip dscp vmap { cs1 : accept, cs2 : drop } ; ok ; meta nfproto ipv4 @nh,8,8 vmap { 0x20-0x23 : accept, 0x40-0x43 : drop }
ip6 dscp vmap { cs1 : accept } ; ok ; meta nfproto ipv6 @nh,4,8 vmap { 0x20-0x23 : accept }
ip ttl vmap { 1 : drop, 64-128 : accept } ; ok ; ip ttl vmap { 1 : drop, 64-128 : accept }
ip6 hoplimit vmap { 255 : accept } ; ok ; ip6 hoplimit vmap { 255 : accept }
ip6 nexthdr vmap { tcp : accept } ; ok ; ip6 nexthdr vmap { tcp : accept }
meta length vmap { 40 : drop, 100-200 : accept } ; ok ; meta length vmap { 40 : drop, 100-200 : accept }
ip saddr & 255.255.255.0 vmap { 10.0.0.0 : accept } ; ok ; ip saddr vmap { 10.0.0.0/24 : accept }
tcp dport vmap { 22 : accept, 80-90 : drop } ; ok ; tcp dport vmap { 22 : accept, 80-90 : drop }
th dport vmap { 22 : accept } ; ok ; th dport vmap { 22 : accept }
counter tcp dport vmap { 22 : accept } ; ok ; counter tcp dport vmap { 22 : accept }
limit rate 5/second tcp dport . ip saddr vmap { 22 . 10.0.0.1 : accept } comment "both" ; ok ; limit rate 5/second burst 5 packets tcp dport . ip saddr vmap { 22 . 10.0.0.1 : accept } comment "both"
ether saddr 02:00:00:00:00:01 accept ; ok ; ether saddr { 02:00:00:00:00:01 } accept
ether saddr != 02:00:00:00:00:01 accept ; ok ; ether saddr != { 02:00:00:00:00:01 } accept
ether saddr { 02:00:00:00:00:01, 02:00:00:00:00:02 } accept ; ok ; ether saddr { 02:00:00:00:00:01-02:00:00:00:00:02 } accept
ether saddr 02:00:00:00:00:01-02:00:00:00:00:09 accept ; ok ; ether saddr { 02:00:00:00:00:01-02:00:00:00:00:09 } accept
ether saddr != 02:00:00:00:00:01-02:00:00:00:00:09 accept ; ok ; ether saddr != { 02:00:00:00:00:01-02:00:00:00:00:09 } accept
ether saddr @macs accept ; ok ; ether saddr @macs accept
ether saddr { 02:00:00:00:00:01-02:00:00:02:00:03, 04:00:00:00:00:00 } accept ; ok ; ether saddr { 02:00:00:00:00:01-02:00:00:00:ff:ff, 02:00:00:01:00:00-02:00:00:01:ff:ff, 02:00:00:02:00:00-02:00:00:02:00:03, 04:00:00:00:00:00 } accept
ether saddr . ip saddr { 02:00:00:00:00:01 . 10.0.0.1 } accept ; ok ; ether saddr . ip saddr { 02:00:00:00:00:01 . 10.0.0.1 } accept
ether saddr 02:00:00:00:00:01 ip saddr 10.0.0.1 accept ; ok ; ether saddr { 02:00:00:00:00:01 } ip saddr 10.0.0.1 accept
ether saddr vmap { 02:00:00:00:00:01 : drop } ; ok ; ether saddr vmap { 02:00:00:00:00:01 : drop }
fib daddr type local accept ; ok ; fib daddr type local accept
fib saddr type { local, broadcast, multicast } drop ; ok ; fib saddr type { local, broadcast, multicast } drop
fib daddr type != local drop ; ok ; fib daddr type != local drop
fib saddr type != { local, multicast } drop ; ok ; fib saddr type != { local, multicast } drop
meta nfproto ipv4 fib saddr type { unicast, anycast } accept ; ok ; meta nfproto ipv4 fib saddr type { unicast, anycast } accept
fib daddr type unicast accept ; refused ; `fib daddr type` of types that for IPv6 depend on more than local addresses: not supported yet
fib saddr type anycast drop ; refused ; `fib saddr type` of types that for IPv6 depend on more than local addresses: not supported yet
fib saddr . iif type local accept ; refused ; expression `fib saddr . iif type`: not supported yet
fib daddr type vmap { local : accept } ; refused ; expression `fib daddr type`: not supported yet
fib daddr type . tcp dport { local . 22 } accept ; refused ; expression `fib daddr type`: not supported yet
continue counter ; ok ; counter
ip saddr vmap { 10.0.0.1 : continue } counter ; refused ; more statements behind a verdict map: not supported yet
meta mark set ip saddr map @data ; refused ; map `data`: not supported yet
meta skuid . tcp dport { 0 . 22 } accept ; refused ; expression `meta skuid`: not supported yet
meta mark & 0xff vmap { 1 : accept } ; refused ; expression `meta mark` with a mask of more than 4096 intervals
meta iiftype ether accept ; refused ; expression `meta iiftype`: not supported yet
ether daddr 02:00:00:00:00:01 accept ; refused ; expression `raw payload @ll,0,48`: not supported yet
ip saddr @dyn accept ; refused ; dynamic set `dyn`: not supported yet
add @dyn { ip saddr } ; refused ; expression `add or update of a set`: not supported yet
ct count 5 accept ; refused ; expression `ct count`: not supported yet
numgen inc mod 2 0 accept ; refused ; expression `numgen`: not supported yet
quota 5 bytes accept ; refused ; expression `quota`: not supported yet
meta nftrace set 1 ; refused ; expression `meta nftrace set`: not supported yet
ip ttl set 5 accept ; refused ; expression `payload set`: not supported yet
meta nfproto ipv6 @nh,0,16 & 0x3f0 == 0x100 accept ; ok ; meta nfproto ipv6 @nh,0,16 & 0x3f0 == 0x100 accept
meta nfproto ipv6 @nh,0,16 & 0x3f0 != 0x100 accept ; ok ; meta nfproto ipv6 @nh,0,16 & 0x3f0 != 0x100 accept
meta nfproto ipv6 @nh,4,8 != 0x10 accept ; ok ; meta nfproto ipv6 @nh,4,8 != 0x10 accept
ip dscp . ip saddr { cs1 . 10.0.0.0/8 } accept ; ok ; @nh,8,8 . ip saddr { 0x20-0x23 . 10.0.0.0/8 } accept
ip6 dscp . ip6 saddr { cs1 . ::1 } accept ; refused ; expression `bitwise shift`: not supported yet
meta l4proto { 6-17, 50 } accept ; ok ; meta l4proto { 6-17, 50 } accept
ip saddr . meta l4proto { 10.0.0.1 . 6-17 } accept ; ok ; ip saddr . meta l4proto { 10.0.0.1 . 6-17 } accept
ct state . ip saddr { 0-9 . 10.0.0.0/8 } accept ; ok ; ct state . ip saddr { invalid . 10.0.0.0/8, established . 10.0.0.0/8, related . 10.0.0.0/8, new . 10.0.0.0/8 } accept
tcp sport != 53 tcp dport != 53 accept ; ok ; tcp sport . tcp dport != { 53 . 53 } accept
tcp sport != 0 tcp dport != 0 accept ; ok ; tcp sport . tcp dport != { 0 . 0 } accept
icmp type != 8 icmp code != 0 accept ; ok ; meta nfproto ipv4 meta l4proto icmp @th,0,16 != 0x800 accept
ip saddr != 10.0.0.1 ip daddr != 10.0.0.2 accept ; ok ; ip saddr != 10.0.0.1 ip daddr != 10.0.0.2 accept
ip6 nexthdr != 6 ip6 hoplimit != 5 accept ; ok ; ip6 nexthdr . ip6 hoplimit != { tcp . 5 } accept
ip6 hoplimit != 5 ip6 daddr != ::1 accept ; ok ; ip6 hoplimit != 5 ip6 daddr != ::1 accept
