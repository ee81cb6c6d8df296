# SPDX-License-Identifier: GPL-2.0-only
# Reaching a suite of Debian's that the machine does not use: apt configurations of our own, made
# from the machine's entry for Debian. Only the suite differs, and the system's settings stay as
# they are. Sourced after lib.sh; DIR is where they are kept.
# shellcheck shell=sh disable=SC2154

# entry SUITE: the machine's first entry for Debian proper, with that suite instead of its own.
entry() {
	for file in /etc/apt/sources.list.d/*.sources; do
		[ -f "$file" ] || continue
		awk -v suite="$1" 'BEGIN { RS = ""; FS = "\n" }
			done || /Enabled: *no/ || !/(^|\n)Types:[^\n]*deb/ { next }
			!/(^|\n)Suites: *(bookworm|trixie|forky|sid|stable|testing|unstable)( |\n)/ { next }
			{ sub(/(^|\n)Suites:[^\n]*/, "\nSuites: " suite); print; done = 1 }' "$file" |
			grep . && return 0
	done >"$DIR/apt/debian.sources"
	[ ! -s "$DIR/apt/debian.sources" ] || return 0
	cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null |
		sed -n 's/^\(deb  *\(\[[^]]*\]  *\)\{0,1\}[^ ]*\)  *\(bookworm\|trixie\|forky\|sid\|stable\)  *.*/\1/p' |
		sed -n "1s/\$/ $1 main/p" >"$DIR/apt/debian.list"
	[ -s "$DIR/apt/debian.list" ]
}

# apt SUITE COMMAND...: apt-get with our own configuration.
apt() {
	suite=$1
	shift
	apt-get -q -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts="$DIR/apt" \
		-o Dir::State::Lists="$DIR/lists-$suite" -o Dir::Cache="$DIR/apt-cache" \
		-o APT::Sandbox::User=root -o Acquire::Languages=none "$@"
}
