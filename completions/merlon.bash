# SPDX-License-Identifier: GPL-2.0-or-later
# Completion of merlon and merlond for bash.
# shellcheck shell=bash

_merlon_commands='check import apply status stats perf monitor nft list sessions why config flush stop verify'

# The options of a command; tests/lint/completions compares them with its --help.
_merlon_options() {
	case $1 in
	check) echo '--family --allow-partial --host --json --help' ;;
	import) echo '-o --output --live --family --allow-partial --json --help' ;;
	apply) echo '--family --audit --allow-partial --configured --socket --json --help' ;;
	stats) echo '--prometheus --textfile --socket --json --help' ;;
	perf) echo '-i --interface -d --duration -t --interval --socket --json --help' ;;
	monitor) echo '--count --pcap --socket --json --help' ;;
	config) echo '--reload --socket --json --help' ;;
	status | list | sessions | flush) echo '--socket --json --help' ;;
	nft) echo '-f -D -I -c -o -a -j -n -N -s -S -t -T -u -y -p -e -d --socket --help' ;;
	why) echo '--family --allow-partial --file --socket --json --help' ;;
	stop) echo '--configured --force --pin-dir --all --socket --json --help' ;;
	verify) echo '--family --allow-partial --packets --seed --each --json --help' ;;
	merlond) echo '--foreground --socket --pin-dir --bpf-fs --answers --interfaces --config --instance --state-dir --policy-netns --events --help --version' ;;
	esac
}

_merlon_words() { mapfile -t COMPREPLY < <(compgen -W "$1" -- "$cur"); }

_merlon_files() {
	compopt -o filenames 2>/dev/null
	mapfile -t COMPREPLY < <(compgen -f -- "$cur")
}

# The value of the option $2 of the command $1; fails where that takes none.
_merlon_value() {
	case $2 in
	--family) _merlon_words 'ip ip6' ;;
	--packets | --seed | --instance | --count | --duration | --interval) ;;
	--output | --file | --socket | --pin-dir | --bpf-fs | --answers | --config | --state-dir | --events) _merlon_files ;;
	--policy-netns) _merlon_files; [[ none != "$cur"* ]] || COMPREPLY+=(none) ;;
	--interfaces) _merlon_words "$(command ls /sys/class/net 2>/dev/null)" ;;
	--interface) _merlon_words "$(command ls /sys/class/net 2>/dev/null)" ;;
	-i) [ "$1" = perf ] || return 1; _merlon_words "$(command ls /sys/class/net 2>/dev/null)" ;;
	-t) [ "$1" = perf ] || return 1 ;;
	-o) [ "$1" = import ] || return 1; _merlon_files ;;
	-f | -I) [ "$1" = nft ] || return 1; _merlon_files ;;
	-D) [ "$1" = nft ] || return 1 ;;
	-d) [ "$1" != perf ] || return 0; [ "$1" = nft ] || return 1; _merlon_words 'scanner parser eval netlink mnl proto-ctx segtree all' ;;
	*) return 1 ;;
	esac
}

# What follows the options of `why`: protocol, source, destination, then words and values.
_merlon_why() {
	case $1 in
	iif | oif) _merlon_words "$(command ls /sys/class/net 2>/dev/null)" ;;
	hook) _merlon_words 'input forward output' ;;
	state) _merlon_words 'new established related invalid untracked' ;;
	direction) _merlon_words 'original reply' ;;
	why) _merlon_words 'tcp udp icmp icmpv6 sctp' ;;
	*) [ "$COMP_CWORD" -lt 5 ] || _merlon_words 'iif oif hook state direction flags type code id mark length ttl tos mac' ;;
	esac
}

# The words of `monitor`, each with a value.
_merlon_monitor() {
	case $1 in
	verdict) _merlon_words 'drop reject accept log' ;;
	proto) _merlon_words 'tcp udp icmp icmpv6 sctp gre' ;;
	hook | state | iif | oif) _merlon_why "$1" ;;
	src | dst | host | sport | dport | port | chain) ;;
	*) _merlon_words 'verdict hook state proto src dst host sport dport port iif oif chain' ;;
	esac
}

_merlon() {
	local cur=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} command=${COMP_WORDS[1]}
	COMPREPLY=()
	if [ "$COMP_CWORD" -le 1 ]; then
		_merlon_words "$_merlon_commands --help --version"
		return
	fi
	_merlon_value "$command" "$before" && return
	if [[ $cur == -* ]]; then
		_merlon_words "$(_merlon_options "$command")"
		return
	fi
	case $command in
	check | import | apply | verify) _merlon_files ;;
	why) _merlon_why "$before" ;;
	monitor) _merlon_monitor "$before" ;;
	nft) [ "$before" != nft ] || _merlon_words 'add create delete destroy flush insert list replace rename reset' ;;
	esac
}

_merlond() {
	local cur=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
	COMPREPLY=()
	_merlon_value merlond "$before" || _merlon_words "$(_merlon_options merlond)"
}

complete -F _merlon merlon
complete -F _merlond merlond
