# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# bash completion of kho(1). Commands and options are those that kho --help and kho COMMAND --help tell of,
# servers those that run under kho run.
# shellcheck shell=bash

_kho_options() {
	"$1" "$2" --help 2>/dev/null | grep -oE -- '(^  |[[|])--[a-z][a-z-]*' | grep -oE -- '--[a-z-]+'
	echo --help
}

_kho() {
	local kho=${COMP_WORDS[0]} cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
	local command=${COMP_WORDS[1]} words

	kho=${kho/#\~\//$HOME/}
	COMPREPLY=()
	if ((COMP_CWORD == 1)); then
		words="$("$kho" --help 2>/dev/null | awk '/^  [a-z]/ { print $1 }') --help --version"
		mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
		return
	fi
	case $prev in
	--exec)
		mapfile -t COMPREPLY < <(compgen -c -- "$cur"; compgen -f -- "$cur")
		return
		;;
	esac
	if [[ $cur == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$(_kho_options "$kho" "$command" | sort -u)" -- "$cur")
		return
	fi
	case $command in
	run)
		mapfile -t COMPREPLY < <(compgen -c -- "$cur"; compgen -f -- "$cur")
		;;
	stop | upgrade | status | clear)
		words=$("$kho" status 2>/dev/null | awk 'NR > 1 { print $1 }')
		mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
		;;
	*)
		words=$("$kho" status 2>/dev/null | awk 'NR > 1 { print $1 }')
		mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur"; compgen -f -- "$cur")
		;;
	esac
}

complete -o filenames -F _kho kho
