#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#
# C++ containers in a kho::pool: they are there after kill -9 and upgrades, a death inside an update is seen and
# dropped without a leak, and random kills in the middle of changes leave a ring that is whole.
#
# usage: allocator.py KHO SERVER; KHO_SEED=N repeats
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time

kho, server = (os.path.abspath(p) for p in sys.argv[1:])
seed = int(os.environ.get("KHO_SEED") or random.randrange(1 << 32))
rng = random.Random(seed)
directory = tempfile.TemporaryDirectory()
path = f"{directory.name}/listen"
os.environ["KHO_RUNDIR"] = f"{directory.name}/run"
DEADLINE = time.monotonic() + 100


def ask(line, patient=True):
    while time.monotonic() < DEADLINE:
        try:
            with socket.socket(socket.AF_UNIX) as s:
                s.settimeout(20)
                s.connect(path)
                s.sendall(line.encode())
                answer = s.recv(500).decode().strip()
            if answer or not patient:
                return answer
        except OSError:
            if not patient:
                return ""
        time.sleep(0.01)
    sys.exit(f"allocator: seed {seed}: no answer to {line}")


def expect(line, want):
    got = ask(line)
    if got != want:
        sys.exit(f"allocator: seed {seed}: {line}: {got!r}, expected {want!r}")


def run(*args):
    return subprocess.run([kho, *args], check=True, capture_output=True, text=True, timeout=60).stdout


def kill():
    os.kill(int(re.search(r"^pid (\d+)$", run("status", "names"), re.M)[1]), signal.SIGKILL)


def whole():
    """The ring is as long in both directions; what the heap has besides is the pool itself."""
    forth, back, live = map(int, ask("blocks").split())
    if forth != back or live != forth + 1:
        sys.exit(f"allocator: seed {seed}: {forth} blocks forwards, {back} backwards, {live} objects")
    return forth


supervisor = subprocess.Popen([kho, "run", "--name", "names", "--listen", f"unix:{path}", "--arena-max", "256M",
                               "--restarts", "0/1", "--", server], stderr=subprocess.DEVNULL)
try:
    expect("count", "0")
    for key in range(100):
        expect(f"set {key} value-{key}-{'x' * (key % 40)}", "set")
    expect("scratch", "ok")
    kill()
    expect("count", "100")
    expect("get 77", f"value-77-{'x' * 37}")
    run("upgrade", "--exec", server, "names")
    expect("del 77", "deleted")
    expect("get 77", "-")
    expect("count", "99")
    expect("torn", "no")
    expect("check", "ok")
    whole()
    for death in ("die-adding", "die-removing"):
        ask(death, patient=False)
        whole()
        expect("check", "ok")
    # A death inside an update.
    ask("abort 5000", patient=False)
    expect("torn", "yes")
    expect("count", "torn")
    kill()
    expect("torn", "yes")
    expect("drop", "dropped")
    if whole():
        sys.exit("allocator: drop() left blocks")
    expect("count", "0")
    # Random ones.
    torn = 0
    for _ in range(30):
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(path)
            s.sendall(f"churn {rng.randrange(10**8, 10**9)}".encode())
            time.sleep(rng.random() * 0.03)
            kill()
        if ask("torn") == "yes":
            torn += 1
            whole()
            expect("drop", "dropped")
        expect("check", "ok")
        whole()
    if not torn:
        sys.exit(f"allocator: seed {seed}: no kill fell into an update")
    run("stop", "names")
    supervisor.wait(30)
finally:
    if supervisor.poll() is None:
        supervisor.terminate()
        supervisor.wait(30)
