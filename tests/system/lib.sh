# SPDX-License-Identifier: GPL-2.0-or-later
# What the VM tests share: which kernels, and the guest's test points as this test's own.
# shellcheck shell=bash disable=SC2034

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$(cd "$here/../.." && pwd)
kernels=${MERLON_VM_KERNELS:-6.1}
export PATH=$PATH:/usr/sbin:/sbin

work=$(mktemp -d "${TMPDIR:-/tmp}/merlon-vmtest.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# Where iptables keeps its extensions.
xtables=$(find /usr/lib*/xtables /usr/lib/*/xtables -maxdepth 0 2>/dev/null | head -n 1)

points=0
failures=0
point() { # ok | not ok, name
	points=$((points + 1))
	echo "$1 $points - $2"
	[ "$1" = ok ] || failures=$((failures + 1))
}

# boot KERNEL PREFIX SCRIPT VM-OPTION...: runs SCRIPT in a VM; its points count here, under "PREFIX: ". A script without
# a point, or one that fails without a failed point, is a failure of its own. SERIES is set for the script.
boot() {
	local kernel=$1 prefix=$2 status=0 before=$points failed=$failures line name
	{ echo "SERIES=$kernel"; cat "$3"; } >"$work/script"
	shift 3
	"$here/vm" "$kernel" "$@" "$work/script" >"$work/out" 2>"$work/err" || status=$?
	if [ "$status" = 77 ]; then
		points=$((points + 1))
		echo "ok $points - $prefix # SKIP $(tail -n 1 "$work/err")"
		return
	fi
	while IFS= read -r line; do
		line=${line%$'\r'}
		name=$(sed -E 's/^(not )?ok *[0-9]* *-? *//' <<<"$line")
		case $line in
		"ok "*) point ok "$prefix: $name" ;;
		"not ok "*"# SKIP"*) point ok "$prefix: $name" ;;
		"not ok "*) point "not ok" "$prefix: $name" ;;
		[0-9]*..[0-9]*) ;;
		*) echo "# $line" ;;
		esac
	done <"$work/out"
	if [ "$points" = "$before" ] || { [ "$status" != 0 ] && [ "$failures" = "$failed" ]; }; then
		point "not ok" "$prefix: ends well (status $status)"
	fi
	[ "$failures" = "$failed" ] || sed 's/^/# /' "$work/err"
}

# The plan and the exit status.
finish() {
	echo "1..$points"
	[ "$failures" = 0 ]
}
