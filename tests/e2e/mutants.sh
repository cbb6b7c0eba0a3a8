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
refuses() { # what it must say, table
	printf '%s\n' "$2" >"$work/table"
	! mutants --no-verify --jobs 1 --table "$work/table" >"$work/out" 2>&1 && grep -q "$1" "$work/out"
}
check "verify finds mistakes, and none where there is none" finds --some "${MERLON_MUTANTS:-4}" --seed "$(date +%Y%m%d)"
check "the comparison with nf_conntrack finds mistakes of the trackers, and none where there is none" \
	finds --conntrack --some "${MERLON_MUTANTS:-4}"
check "text that is not in its file is a mistake of the table" refuses '0 times, not once' \
	"[a] compat/sets.c: nothing of the kind
- no such text
+ other text"
check "text that is there twice, too" refuses 'times, not once' "[a] compat/sets.c: often
- return
+ goto"
check "and what does not compile" refuses 'does not compile' "[a] compat/sets.c: no C
- nft_set_rbtree has starts
+ */ syntax error /*"
check "and what changes nothing" refuses 'the same with it' "[a] compat/sets.c: a comment
- nft_set_rbtree has starts
+ nft_set_rbtree has begins"
finish
