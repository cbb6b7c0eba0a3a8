# Rules as ip6tables-save writes them.
= ip6tables
-s 2001:db8::/32 -j ACCEPT ; ok ; ip6 saddr 2001:db8::/32 counter accept
-s fe80::/10 -d fe80::/10 -p udp -m udp --sport 547 --dport 546 -j ACCEPT ; ok ; meta l4proto udp ip6 saddr fe80::/10 ip6 daddr fe80::/10 udp sport 547 udp dport 546 counter accept
-p ipv6-icmp -j ACCEPT ; ok ; meta l4proto ipv6-icmp counter accept
-p ipv6-icmp -m icmp6 --icmpv6-type 128 -j ACCEPT ; ok ; icmpv6 type echo-request counter accept
-p ipv6-icmp -m icmp6 --icmpv6-type 1/3 -j ACCEPT ; ok ; icmpv6 type destination-unreachable icmpv6 code 3 counter accept
-p ipv6-icmp -m icmp6 ! --icmpv6-type 128 -j ACCEPT ; ok ; meta l4proto ipv6-icmp @th,0,16 != 0x8000-0x80ff counter accept
-p ipv6-icmp -m icmp6 --icmpv6-type 134 -m hl --hl-eq 255 -j ACCEPT ; ok ; icmpv6 type nd-router-advert ip6 hoplimit 255 counter accept
-j REJECT ; ok ; counter reject with icmpv6 port-unreachable
-j REJECT --reject-with icmp6-adm-prohibited ; ok ; counter reject with icmpv6 admin-prohibited
-j REJECT --reject-with icmp6-addr-unreachable ; ok ; counter reject with icmpv6 addr-unreachable
-p tcp -j REJECT --reject-with tcp-reset ; ok ; meta l4proto tcp counter reject with tcp reset
-m iprange --src-range 2001:db8::1-2001:db8::9 -j ACCEPT ; ok ; ip6 saddr 2001:db8::1-2001:db8::9 counter accept
-m rt --rt-type 0 -j DROP ; refused ; match `rt`: not supported yet
-m frag --fragmore -j DROP ; refused ; match `frag`: not supported yet
