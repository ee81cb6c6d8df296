#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#
# Installs into a temporary directory and uses what is there as a user would: pkg-config,
# headers each on their own, the consumer with the static and with the shared library, the
# server of README.md (run, killed, upgraded), the steps of docs/guide.md, the manual pages, the
# unit files.
#
# usage: check_install.sh TOP MAKE-ARGUMENTS...; CC and SAN_FLAGS come from the environment
set -eu

top=$1
shift
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
prefix=$dir/usr

fail()
{
	echo "check_install: $*" >&2
	exit 1
}

make -C "$top" -s install PREFIX="$prefix" "$@" >"$dir/log" 2>&1 || {
	cat "$dir/log" >&2
	fail "make install"
}
export PKG_CONFIG_PATH="$prefix/lib/pkgconfig"
flags="-Wall -Wextra -Werror ${SAN_FLAGS:-} $(pkg-config --cflags libkho)"
shared=$(pkg-config --libs libkho)
static="$prefix/lib/libkho.a $(pkg-config --libs --static libkho | sed 's/-lkho//')"

for header in $(cd "$prefix/include" && find kho -name '*.h'); do
	echo "#include <$header>" | ${CC:-cc} $flags -x c -fsyntax-only - ||
		fail "$header does not compile on its own"
done
# The core's, <kho/kho.h>, are C alone and exported to nobody.
host_headers=$(find "$prefix/include/kho" -maxdepth 1 -name '*.h' ! -name kho.h)
if command -v c++ >/dev/null; then
	for header in $host_headers; do
		echo "#include <kho/${header##*/}>" | c++ $flags -x c++ -fsyntax-only - ||
			fail "kho/${header##*/} is not C++"
	done
	echo "#include <kho/allocator.hpp>" | c++ -std=c++17 $flags -x c++ -fsyntax-only - || fail "kho/allocator.hpp"
fi

${CC:-cc} $flags -o "$dir/static" "$top/tests/docs/consumer.c" $static
"$dir/static"
${CC:-cc} $flags -o "$dir/shared" "$top/tests/docs/consumer.c" $shared
LD_LIBRARY_PATH="$prefix/lib" "$dir/shared"

# Exactly what the host's headers declare, and do not define themselves.
nm -D --defined-only "$prefix/lib/libkho.so" | awk '$2 ~ /[TDBR]/ { sub(/@.*/, "", $3); print $3 }' |
	grep -v '^LIBKHO' | sort >"$dir/exported"
cat $host_headers | ${CC:-cc} $flags -E -P -x c - | tr '\n' ' ' | tr ';' '\n' |
	grep -v 'static inline' | grep -oE '\b(kho|luo_session|liveupdate)_[a-z_]* *\([^*]' |
	grep -oE '^[a-z_]*' | sort -u >"$dir/declared"
cmp -s "$dir/exported" "$dir/declared" || {
	diff "$dir/declared" "$dir/exported" >&2 || true
	fail "the shared library does not export just what its headers declare"
}

awk '/^```c$/ { on = 1; next } /^```$/ { on = 0 } on' "$top/README.md" >"$dir/server.c"
test "$(wc -l <"$dir/server.c")" -gt 20 || fail "README.md has no server"
${CC:-cc} $flags -o "$dir/server" "$dir/server.c" $shared
LD_LIBRARY_PATH="$prefix/lib" "$top/tests/docs/readme_server.py" "$prefix/bin/kho" "$dir/server" "$dir"

# Its reader compiles without sanitizers.
test -n "${SAN_FLAGS:-}" || "$top/tests/docs/guide.py" "$top/docs/guide.md" "$prefix" || fail "docs/guide.md"

for page in kho.1 libkho.7 kho_publish.3 kho_start.3 kho_kmem_cache_create.3 kho_free_pages.3; do
	test -s "$prefix/share/man/man${page##*.}/$page" || fail "$page is not installed"
done
if command -v mandoc >/dev/null; then
	mandoc -Tlint -W warning "$prefix"/share/man/man*/* || fail "manual pages"
fi

# The unit starts what was installed with it; each drop-in is beside its README.
unit=$prefix/lib/systemd/system/kho@.service
grep -q "^ExecStart=$prefix/bin/kho run " "$unit" || fail "kho@.service does not start the kho that was installed"
grep -q "^ExecReload=$prefix/bin/kho upgrade " "$unit" || fail "kho@.service does not reload by the kho that was installed"
for drop_in in $(sed -n 's/^\t\([^ \t]*kho.conf\)\t.*/\1/p' "$top/systemd/README"); do
	cmp -s "$top/systemd/$drop_in" "$prefix/share/doc/libkho/examples/systemd/$drop_in" || fail "$drop_in is not installed"
done
if command -v systemd-analyze >/dev/null; then
	systemd-analyze verify --man=no "$unit" >"$dir/log" 2>&1 || fail "kho@.service: $(cat "$dir/log")"
	! grep -q 'kho@' "$dir/log" || fail "kho@.service: $(cat "$dir/log")"
fi
