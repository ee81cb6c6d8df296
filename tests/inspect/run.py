# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
"""Running kho, and the little that tests need. KHO_BUILD: where the programs are."""
import json
import os
import subprocess
import sys
import tempfile

BUILD = os.path.abspath(os.environ.get("KHO_BUILD", "build"))
DIRECTORY = tempfile.TemporaryDirectory(prefix="kho-inspect-")


def must(fact, *what):
    if not fact:
        raise AssertionError(" ".join(str(x) if isinstance(x, str) else repr(x)[:2000] for x in what))


def save(name, data):
    path = os.path.join(DIRECTORY.name, name)
    with open(path, "wb") as file:
        file.write(data)
    return path


def kho(*args, want=0, env=None, seconds=60):
    """What it says on stdout and stderr. want: its exit status, or several."""
    done = subprocess.run([f"{BUILD}/kho", *args], capture_output=True, timeout=seconds, cwd=DIRECTORY.name,
                          env={**os.environ, "COLUMNS": "80", **(env or {})}, check=False)
    wanted = want if isinstance(want, tuple) else (want,)
    must(done.returncode in wanted, "kho", *args, "exit status", done.returncode,
         done.stderr.decode(errors="replace"), done.stdout[:500])
    must(b"Sanitizer" not in done.stderr and b"runtime error" not in done.stderr, done.stderr.decode())
    return done.stdout.decode(), done.stderr.decode()


def kho_json(*args, **how):
    return json.loads(kho(*args, **how)[0])


def run_tests(tests):
    """The names of tests to run, or all; then lines as cmocka has them, which scripts/check counts."""
    names, failed = sys.argv[1:], 0
    chosen = [test for test in tests if not names or test.__name__ in names]
    for test in chosen:
        try:
            test()
        except (AssertionError, subprocess.SubprocessError, ValueError, KeyError, OSError) as why:
            failed += 1
            print(f"{test.__name__}: {type(why).__name__}: {why}")
    print(f"[  PASSED  ] {len(chosen) - failed} test(s).")
    if failed:
        print(f"[  FAILED  ] {failed} test(s), listed below:")
    sys.exit(bool(failed))
