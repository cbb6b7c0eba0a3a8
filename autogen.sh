#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Makes configure and its companions; needed once in a fresh clone, and when configure.ac changes.
set -e
cd "$(dirname "$0")"
exec autoreconf --install --force
