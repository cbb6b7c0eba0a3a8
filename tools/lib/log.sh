# SPDX-License-Identifier: GPL-2.0-or-later
# What the tools print: one line a step, and on failure the end of the log with its place.
# shellcheck shell=bash

log_step() { printf '%s\n' "== $*"; }

log_fail() { # what, log file
	{
		printf '%s failed; the end of %s:\n' "$1" "$2"
		tail -n "${MERLON_TAIL:-40}" "$2" | sed 's/^/    /'
	} >&2
	exit 1
}

die() {
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	exit 1
}
