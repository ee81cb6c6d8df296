#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
"""libmemcached's own conformance test of the text protocol."""
import shutil
import subprocess
import sys

sys.dont_write_bytecode = True
from server import BUILD, Server

if not shutil.which("memccapable"):
    print("left out: memccapable is not installed (libmemcached-tools)")
    sys.exit(0)
with Server(BUILD + "/cached") as server:
    result = subprocess.run(["memccapable", "-h", "127.0.0.1", "-p", str(server.port), "-a", "-v"],
                            capture_output=True, text=True, timeout=60)
if result.returncode or "All tests passed" not in result.stdout:
    sys.exit(result.stdout + result.stderr + "memccapable failed")
