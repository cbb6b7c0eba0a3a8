# Rules as ip6tables-save writes them.
= ip6tables
-s 2001:db8::/32 -j ACCEPT
-s fe80::/10 -d fe80::/10 -p udp -m udp --sport 547 --dport 546 -j ACCEPT
-p ipv6-icmp -j ACCEPT
-p ipv6-icmp -m icmp6 --icmpv6-type 128 -j ACCEPT
-p ipv6-icmp -m icmp6 --icmpv6-type 1/3 -j ACCEPT
-p ipv6-icmp -m icmp6 ! --icmpv6-type 128 -j ACCEPT
-p ipv6-icmp -m icmp6 --icmpv6-type 134 -m hl --hl-eq 255 -j ACCEPT
-j REJECT
-j REJECT --reject-with icmp6-adm-prohibited
-j REJECT --reject-with icmp6-addr-unreachable
-p tcp -j REJECT --reject-with tcp-reset
-m iprange --src-range 2001:db8::1-2001:db8::9 -j ACCEPT
-m rt --rt-type 0 -j DROP
-m frag --fragmore -j DROP
