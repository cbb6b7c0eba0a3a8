#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# `merlon verify` finds mistakes: some of tests/mutants/table, others each day; `tests/mutants/run` builds all of them.
# tests/bpf/test_conntrack finds those of tests/mutants/table.conntrack; here always the same. MERLON_MUTANTS (4) is how many.
set -u
top=${MERLON_TOP_SRCDIR:?} build=${MERLON_TOP_BUILDDIR:?}
# shellcheck source=tests/lib/points.sh
. "$top/tests/lib/points.sh"
mutants() { python3 -B "$top/tests/mutants/run" --build "$build" "$@"; }
finds() { # option...
	mutants "$@" | sed 's/^[0-9]* of [0-9]* mutants/figure: &/'
	return "${PIPESTATUS[0]}"
}
refuses() { # table, what it must say...
	local said
	printf '%s\n' "$1" >"$work/table"
	shift
	! mutants --no-verify --jobs 1 --table "$work/table" >"$work/out" 2>&1 || return 1
	for said; do
		grep -q "$said" "$work/out" || { cat "$work/out"; return 1; }
	done
}
check "verify finds mistakes, and none where there is none" finds --some "${MERLON_MUTANTS:-4}" --seed "$(date +%Y%m%d)"
check "the comparison with nf_conntrack finds mistakes of the trackers, and none where there is none" \
	finds --conntrack --some "${MERLON_MUTANTS:-4}"
check "text that is not in its file is a mistake of the table" refuses "[a] compat/sets.c: nothing of the kind
- no such text
+ other text" '0 times, not once'
check "text that is there twice, too" refuses "[a] compat/sets.c: often
- return
+ goto" 'times, not once'
check "and what does not compile, and what changes nothing" refuses "[a] compat/sets.c: no C
- nft_set_rbtree has starts
+ */ syntax error /*
[b] compat/sets.c: a comment
- nft_set_rbtree has starts
+ nft_set_rbtree has begins" 'a: it does not compile' 'b: the program is the same with it'
finish
