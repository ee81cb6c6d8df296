#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""pause.py DIRECTORY ADDRESS FILE: let a QEMU that waits (-S) run up to an address, write the
guest's physical memory to a file, an ELF core, and let it run on.

DIRECTORY has QEMU's sockets: gdb (its debugger's protocol) and qmp (its monitor's)."""
import json
import os
import socket
import sys
import time


def connect(path):
    for _ in range(300):
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.connect(path)
            return sock
        except OSError:
            sock.close()
            time.sleep(0.1)
    sys.exit(f"pause: nobody listens at {path}")


class Debugger:
    """Packets are $BODY#SUM; each is acknowledged by a plus."""

    def __init__(self, path):
        self.file = connect(path).makefile("rwb", buffering=0)

    def ask(self, body):
        self.file.write(b"$%s#%02x" % (body, sum(body) & 0xFF))
        return self.answer()

    def answer(self):
        while True:
            byte = self.file.read(1)
            if not byte:
                sys.exit("pause: the guest has ended")
            if byte == b"$":
                break
        body = b""
        while (byte := self.file.read(1)) != b"#":
            body += byte
        self.file.read(2)
        self.file.write(b"+")
        return body


class Monitor:
    def __init__(self, path):
        self.file = connect(path).makefile("rw")
        self.file.readline()
        self.ask("qmp_capabilities")

    def ask(self, command, **arguments):
        json.dump({"execute": command, "arguments": arguments}, self.file)
        self.file.write("\n")
        self.file.flush()
        while line := self.file.readline():
            reply = json.loads(line)
            if "error" in reply:
                sys.exit(f"pause: {command}: {reply['error']['desc']}")
            if "return" in reply:
                return reply["return"]
        sys.exit("pause: the guest has ended")


def main():
    directory, address, path = sys.argv[1:]
    debugger = Debugger(os.path.join(directory, "gdb"))
    monitor = Monitor(os.path.join(directory, "qmp"))
    place = b"1,%x,1" % int(address, 16)
    if debugger.ask(b"Z" + place) != b"OK":
        sys.exit("pause: no breakpoint")
    stopped = debugger.ask(b"c")
    if not stopped.startswith((b"T05", b"S05")):
        sys.exit(f"pause: stopped with {stopped!r}")
    monitor.ask("dump-guest-memory", paging=False, protocol="file:" + path)
    debugger.ask(b"z" + place)
    debugger.ask(b"D")


main()
