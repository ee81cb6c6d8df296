#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
"""All tests that need a server: run.py CACHED. Says what is not installed."""
import importlib.util
import os
import shutil
import subprocess
import sys

from server import Server

HERE = os.path.dirname(os.path.abspath(__file__))
PROGRAM = sys.argv[1]


def script(name, *args):
    if subprocess.call([sys.executable, os.path.join(HERE, name), PROGRAM, *args]):
        sys.exit("%s failed" % name)


def memccapable():
    with Server(PROGRAM) as server:
        result = subprocess.run(["memccapable", "-h", "127.0.0.1", "-p", str(server.port), "-a", "-v"],
                                capture_output=True, text=True, timeout=60)
    if result.returncode or "All tests passed" not in result.stdout:
        sys.exit(result.stdout + result.stderr + "memccapable failed")


script("behave.py")
if shutil.which("memccapable"):
    memccapable()
else:
    print("left out: memccapable (libmemcached-tools)")
if importlib.util.find_spec("pymemcache"):
    script("roundtrip.py", "4000")
else:
    print("left out: round trip (python3-pymemcache)")
if shutil.which("memcached"):
    script("compare.py", shutil.which("memcached"))
else:
    print("left out: answers beside memcached's (memcached)")
