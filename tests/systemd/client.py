# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
"""Clients of the test server under a systemd of its own: kills it, restarts it, counts what is stored.

client.py RESULT: writes "passed", or what was wrong.
"""
import os
import signal
import socket
import subprocess
import sys
import time
import traceback

CONNS = 20
KINDS = 7


def connect():
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(10)
    s.connect("/run/listen")
    return s


def ask(s, request):
    s.sendall(request.encode())
    return s.recv(200).decode().split()


def stored():
    out = subprocess.run(
        ["systemctl", "show", "-P", "NFileDescriptorStore", "server.service"],
        capture_output=True, text=True, check=True)
    return int(out.stdout)


def restarts():
    out = subprocess.run(["systemctl", "show", "-P", "NRestarts", "server.service"],
                         capture_output=True, text=True, check=True)
    return int(out.stdout)


def await_stored(number):
    for _ in range(300):
        if stored() == number:
            return
        time.sleep(0.01)
    raise AssertionError(f"{stored()} fds are stored, not {number}")


def main():
    conns = [connect() for _ in range(CONNS)]
    pids = {int(ask(s, "?")[2]) for s in conns}
    assert len(pids) == 1, pids
    fds = ask(conns[0], "n")
    await_stored(1 + KINDS + CONNS)
    count = CONNS
    for round in range(4):
        if round == 3:
            assert restarts() == 3
            subprocess.run(["systemctl", "restart", "server.service"], check=True)
        else:
            os.kill(pids.pop(), signal.SIGKILL)
        for s in conns:
            answer = ask(s, "?")
            count += 1
            assert int(answer[0]) == count, (answer, count)
            pids.add(int(answer[2]))
        assert len(pids) == 1 + (round == 3), pids
        assert ask(conns[0], "k") == ["0"], "a file is not what it was"
        assert ask(conns[0], "c") == [str(CONNS)]
        assert ask(conns[0], "n") == fds
        await_stored(1 + KINDS + CONNS)
    for s in conns[1:]:
        s.close()
    await_stored(1 + KINDS + 1)
    assert ask(conns[0], "d") == ["0"]
    await_stored(1 + KINDS)
    # Nobody pings any more: the watchdog kills it, and all is there again.
    os.kill(int(ask(conns[0], "?")[2]), signal.SIGSTOP)
    count += 1
    answer = ask(conns[0], "?")
    assert int(answer[0]) == count + 1, (answer, count)


try:
    main()
    text = "passed"
except Exception:
    text = traceback.format_exc()
with open(sys.argv[1], "w") as f:
    f.write(text + "\n")
