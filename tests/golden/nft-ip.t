# In a table ip: no family to ask for.
= nft ip
ip saddr 10.0.0.1 accept
ip saddr 10.0.0.1 ip daddr 10.0.0.2 accept
ip protocol tcp accept
ip ttl 1 ip protocol icmp accept
tcp dport 22 accept
icmp type echo-request accept
meta protocol ip accept
reject
reject with icmp host-unreachable
reject with tcp reset
