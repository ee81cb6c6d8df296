# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# Shared by the scripts: where the tree is, and installing what is missing (scripts/packages).
# Sourced by POSIX sh; works with a bare PATH, without HOME and without a terminal.
# shellcheck shell=sh

PATH="${PATH:+$PATH:}/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
export PATH
LC_ALL=C.UTF-8
export LC_ALL
cd "$(dirname "$0")/.." || exit 1

say() {
	printf '%s\n' "$*" >&2
}

# Is a probe's thing there?
probe() {
	case $1 in
	cmd:*) command -v "${1#cmd:}" >/dev/null 2>&1 ;;
	hdr:*) [ -e "/usr/include/${1#hdr:}" ] || [ -e "/usr/local/include/${1#hdr:}" ] ;;
	file:*) [ -e "${1#file:}" ] ;;
	py:*) /usr/bin/python3 -c "import ${1#py:}" >/dev/null 2>&1 ;;
	*) return 1 ;;
	esac
}

# need GROUP...: install the groups' packages that are missing, or say which they are.
need() {
	missing=
	while read -r package group how what; do
		case $package in '' | '#'*) continue ;; esac
		case " $* " in *" $group "*) ;; *) continue ;; esac
		probe "$how" && continue
		say "missing: $package ($what)"
		missing="$missing $package"
	done <scripts/packages
	[ -n "$missing" ] || return 0
	if [ "$(id -u)" != 0 ]; then
		say "Please install, as root: apt-get install$missing"
		exit 1
	fi
	if ! command -v apt-get >/dev/null 2>&1; then
		say "There is no apt-get here: please install the equivalents of$missing"
		exit 1
	fi
	say "installing:$missing"
	log=$(mktemp) || exit 1
	# shellcheck disable=SC2086 # a list of words
	if ! { DEBIAN_FRONTEND=noninteractive apt-get -qq update &&
		DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install \
			$missing; } >"$log" 2>&1 </dev/null; then
		cat "$log" >&2
		rm -f "$log"
		say "apt-get could not install:$missing"
		exit 1
	fi
	rm -f "$log"
}

jobs() {
	nproc 2>/dev/null || echo 1
}

# build TARGET...: quiet, unless it fails.
build() {
	log=$(mktemp) || exit 1
	if make -j"$(jobs)" "$@" >"$log" 2>&1 </dev/null; then
		rm -f "$log"
		return 0
	fi
	cat "$log" >&2
	rm -f "$log"
	return 1
}
