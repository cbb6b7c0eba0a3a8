# SPDX-License-Identifier: GPL-2.0-or-later
# Completion of merlon and merlond for fish.
complete -c merlon -f
complete -c merlon -n __fish_use_subcommand -l help -d 'print the commands'
complete -c merlon -n __fish_use_subcommand -l version -d 'print the version'
complete -c merlon -n __fish_use_subcommand -a check -d 'reads and compiles a ruleset, and reports on each rule'
complete -c merlon -n __fish_use_subcommand -a import -d 'turns any ruleset into nft text'
complete -c merlon -n __fish_use_subcommand -a apply -d 'puts a ruleset in force, in one step'
complete -c merlon -n __fish_use_subcommand -a status -d 'shows what is in force'
complete -c merlon -n __fish_use_subcommand -a stats -d 'shows what was counted'
complete -c merlon -n __fish_use_subcommand -a monitor -d 'shows denied and logged packets as they come'
complete -c merlon -n __fish_use_subcommand -a nft -d 'runs a command of nft on the policy'
complete -c merlon -n __fish_use_subcommand -a list -d 'shows the policy in force as nft text'
complete -c merlon -n __fish_use_subcommand -a sessions -d 'lists the flows that merlon tracks'
complete -c merlon -n __fish_use_subcommand -a why -d 'says which rule decides about a packet'
complete -c merlon -n __fish_use_subcommand -a config -d 'the settings of merlond'
complete -c merlon -n __fish_use_subcommand -a flush -d 'drops the policy'
complete -c merlon -n __fish_use_subcommand -a stop -d 'detaches from all interfaces'
complete -c merlon -n __fish_use_subcommand -a verify -d 'compares with nf_tables, packet by packet'

complete -c merlon -n '__fish_seen_subcommand_from check import apply verify' -F
complete -c merlon -n '__fish_seen_subcommand_from check import apply why verify' -l family -x -a 'ip ip6' -d 'of iptables-save files that do not say it'
complete -c merlon -n '__fish_seen_subcommand_from check import apply why verify' -l allow-partial -d 'leave refused rules out'
complete -c merlon -n '__fish_seen_subcommand_from check' -l host -d 'also what on this host would be judged wrong'
complete -c merlon -n '__fish_seen_subcommand_from import' -s o -l output -r -F -d 'write there'
complete -c merlon -n '__fish_seen_subcommand_from import' -l live -d 'the ruleset that this host runs now'
complete -c merlon -n '__fish_seen_subcommand_from apply' -l audit -d 'judge and report, but let everything pass'
complete -c merlon -n '__fish_seen_subcommand_from apply stop' -l configured -d 'as the configuration says'
complete -c merlon -n '__fish_seen_subcommand_from stop' -l force -d 'without merlond'
complete -c merlon -n '__fish_seen_subcommand_from stop' -l pin-dir -r -F -d 'where, with --force'
complete -c merlon -n '__fish_seen_subcommand_from why' -l file -r -F -d 'ask this ruleset'
complete -c merlon -n '__fish_seen_subcommand_from why' -a 'tcp udp icmp icmpv6 sctp iif oif hook state direction flags type code id mark length ttl tos mac'
complete -c merlon -n '__fish_seen_subcommand_from monitor' -l count -x -d 'end after so many'
complete -c merlon -n '__fish_seen_subcommand_from monitor' -l pcap -r -F -d 'write the packets'
complete -c merlon -n '__fish_seen_subcommand_from monitor' -a 'verdict hook state proto src dst host sport dport port iif oif chain'
complete -c merlon -n '__fish_seen_subcommand_from stats' -l prometheus -d 'as OpenMetrics text'
complete -c merlon -n '__fish_seen_subcommand_from stats' -l textfile -r -F -d 'write metrics for node_exporter'
complete -c merlon -n '__fish_seen_subcommand_from verify' -l packets -x -d 'how many'
complete -c merlon -n '__fish_seen_subcommand_from verify' -l seed -x -d 'of the random choices'
complete -c merlon -n '__fish_seen_subcommand_from verify' -l each -d 'every file is a ruleset of its own'
complete -c merlon -n '__fish_seen_subcommand_from nft' -s f -r -F -d 'read commands from a file'
complete -c merlon -n '__fish_seen_subcommand_from nft' -s D -x -d 'define a variable'
complete -c merlon -n '__fish_seen_subcommand_from nft' -s I -x -a '(__fish_complete_directories)' -d 'where includes are'
complete -c merlon -n '__fish_seen_subcommand_from nft' -s c -d 'check only'
complete -c merlon -n '__fish_seen_subcommand_from nft' -s o -d optimize
complete -c merlon -n '__fish_seen_subcommand_from nft' -s a -d handles
complete -c merlon -n '__fish_seen_subcommand_from nft' -s j -d JSON
complete -c merlon -n '__fish_seen_subcommand_from nft' -s n -d numbers
complete -c merlon -n '__fish_seen_subcommand_from nft' -s N -d 'names of addresses'
complete -c merlon -n '__fish_seen_subcommand_from nft' -s s -d 'no counters'
complete -c merlon -n '__fish_seen_subcommand_from nft' -s S -d 'names of services'
complete -c merlon -n '__fish_seen_subcommand_from nft' -s t -d 'no elements'
complete -c merlon -n '__fish_seen_subcommand_from nft' -s T -d 'times as numbers'
complete -c merlon -n '__fish_seen_subcommand_from nft' -s u -d 'users as names'
complete -c merlon -n '__fish_seen_subcommand_from nft' -s y -d 'priorities as numbers'
complete -c merlon -n '__fish_seen_subcommand_from nft' -s p -d 'protocols as numbers'
complete -c merlon -n '__fish_seen_subcommand_from nft' -s e -d echo
complete -c merlon -n '__fish_seen_subcommand_from nft' -s d -x -a 'scanner parser eval netlink mnl proto-ctx segtree all' -d debugging
complete -c merlon -n '__fish_seen_subcommand_from apply status stats monitor nft list sessions why config flush stop' -l socket -r -F -d 'of merlond'
complete -c merlon -n '__fish_seen_subcommand_from check import apply status stats monitor list sessions why config flush stop verify' -l json -d 'results as JSON'
complete -c merlon -n '__fish_seen_subcommand_from check import apply status stats monitor nft list sessions why config flush stop verify' -l help -d 'print a summary of the options'

complete -c merlond -f
complete -c merlond -l foreground -d 'stay in the foreground'
complete -c merlond -l socket -r -F -d 'where merlon finds it'
complete -c merlond -l pin-dir -r -F -d 'where the data plane is pinned'
complete -c merlond -l interfaces -x -a '(command ls /sys/class/net)' -d 'to filter'
complete -c merlond -l config -r -F -d configuration
complete -c merlond -l instance -x -d 'one of several'
complete -c merlond -l state-dir -r -F -d 'where the policy is kept'
complete -c merlond -l policy-netns -r -F -d 'where the policy namespace is'
complete -c merlond -l events -r -F -d 'write reports there'
complete -c merlond -l help -d 'print a summary of the options'
complete -c merlond -l version -d 'print the version'
