# SPDX-License-Identifier: GPL-2.0-only
# Shared by the scripts of this directory: where things are, and how a message looks.
# Sourced after scripts/lib.sh, which has gone to linux/: we go on to the tree's root.
# shellcheck shell=sh disable=SC2034

cd ..
OUT=$PWD/build/vm
CACHE=${KHO_CACHE:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/libkho}
SERIES=7.2

die() {
	say "$(basename "$0"): $*"
	exit 1
}

# sum FILE...: one checksum of their contents.
sum() {
	cat "$@" | sha256sum | cut -c1-64
}

# spread CHAIN: its kernels in the order in which they are booted.
spread() {
	case $1 in
	*\**)
		echo "$1" | awk -F '[*]' '{
			n = split($1, list, ">")
			for (hop = 0; hop <= $2; hop++)
				printf "%s%s", hop ? " " : "", list[hop % n + 1]
			print ""
		}'
		;;
	*) echo "$1" | tr '>' ' ' ;;
	esac
}
