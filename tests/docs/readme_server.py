#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#
# The server of README.md does what README.md says: it counts on over a kill -9 and an upgrade.
#
# usage: readme_server.py KHO SERVER DIRECTORY
import os
import re
import signal
import socket
import subprocess
import sys
import time

kho, server, directory = sys.argv[1:]
path = f"{directory}/listen"
os.environ["KHO_RUNDIR"] = f"{directory}/run"
DEADLINE = time.monotonic() + 60


def ask():
    """One answer; while the server is being restarted it may take more than one try."""
    while True:
        try:
            with socket.socket(socket.AF_UNIX) as s:
                s.settimeout(5)
                s.connect(path)
                answer = s.recv(100)
            if answer:
                return int(answer)
        except OSError:
            pass
        if time.monotonic() > DEADLINE:
            sys.exit("readme_server: no answer")
        time.sleep(0.02)


def run(*args):
    return subprocess.run([kho, *args], check=True, capture_output=True, text=True, timeout=30).stdout


def pid():
    return int(re.search(r"^pid (\d+)$", run("status", "readme"), re.M)[1])


def expect(what, got, want):
    if got != want:
        sys.exit(f"readme_server: {what}: {got}, expected {want}")


supervisor = subprocess.Popen(
    [kho, "run", "--name", "readme", "--listen", f"unix:{path}", "--arena-max", "256M", "--", server],
    stderr=subprocess.DEVNULL)
try:
    expect("first answer", ask(), 1)
    expect("second answer", ask(), 2)
    os.kill(pid(), signal.SIGKILL)
    expect("after kill -9", ask(), 3)
    before = pid()
    run("upgrade", "--exec", server, "readme")
    expect("after an upgrade", ask(), 4)
    if pid() == before:
        sys.exit("readme_server: the upgrade left the old process")
    run("stop", "readme")
    expect("exit status of kho run", supervisor.wait(30), 0)
finally:
    if supervisor.poll() is None:
        supervisor.terminate()
        supervisor.wait(30)
