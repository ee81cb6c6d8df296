# SPDX-License-Identifier: GPL-2.0-only
"""A QEMU that is driven from outside: its debugger's protocol (RSP) and its monitor's (QMP).

The scripts beside it import this. A guest's directory has QEMU's sockets: gdb and qmp."""
import json
import mmap
import os
import re
import shutil
import socket
import struct
import subprocess
import tempfile
import time

PIECE = 1024  # bytes; as hexadecimal digits they fit in one of the debugger's packets


class Failed(Exception):
    """Something went otherwise than a test needs it."""


def connect(path):
    for _ in range(300):
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.connect(path)
            return sock
        except OSError:
            sock.close()
            time.sleep(0.1)
    raise Failed(f"nobody listens at {path}")


class Debugger:
    """Packets are $BODY#SUM; each is acknowledged by a plus."""

    # Of the answer to "g": rax rbx rcx rdx rsi rdi rbp rsp r8..r15 rip, 8 bytes each.
    RAX, RDX, RSP, RIP = 0, 3, 7, 16

    def __init__(self, path):
        self.file = connect(path).makefile("rwb", buffering=0)
        self.left = b""

    def byte(self):
        if not self.left:
            self.left = self.file.read(65536)
        byte, self.left = self.left[:1], self.left[1:]
        return byte

    def ask(self, body):
        self.file.write(b"$%s#%02x" % (body, sum(body) & 0xFF))
        return self.answer()

    def answer(self):
        while True:
            byte = self.byte()
            if not byte:
                raise Failed("the guest has ended")
            if byte == b"$":
                break
        body = b""
        while (byte := self.byte()) != b"#":
            if not byte:
                raise Failed("the guest has ended")
            body += byte
        self.byte()
        self.byte()
        self.file.write(b"+")
        return body

    def expect_ok(self, body):
        answer = self.ask(body)
        if answer != b"OK":
            raise Failed(f"the debugger says {answer!r} to {body[:40]!r}")

    def run_to(self, address):
        """Run on until the processor is about to execute what is at the (virtual) address."""
        place = b"1,%x,1" % address
        self.expect_ok(b"Z" + place)
        stopped = self.ask(b"c")
        if not stopped.startswith((b"T05", b"S05")):
            raise Failed(f"stopped with {stopped!r}")
        self.expect_ok(b"z" + place)

    def watch(self, addresses, end, hit):
        """Run up to @end, and call hit(address, rdi, rsi, rdx) whenever one of @addresses is reached. For a
        guest with one processor: another would run past a breakpoint that is stepped over."""
        places = {at: b"1,%x,1" % at for at in (*addresses, end)}
        for place in places.values():
            self.expect_ok(b"Z" + place)
        while True:
            stopped = self.ask(b"c")
            if not stopped.startswith((b"T05", b"S05")):
                raise Failed(f"stopped with {stopped!r}")
            _, numbers = self.registers()
            at = numbers[self.RIP]
            if at == end:
                break
            if at not in places:
                raise Failed(f"stopped at {at:#x}")
            hit(at, numbers[5], numbers[4], numbers[self.RDX])
            self.expect_ok(b"z" + places[at])
            self.ask(b"s")
            self.expect_ok(b"Z" + places[at])
        for place in places.values():
            self.expect_ok(b"z" + place)

    def physical(self, on):
        self.expect_ok(b"Qqemu.PhyMemMode:%d" % on)

    def read(self, address, size):
        data = b""
        while len(data) < size:
            piece = min(PIECE, size - len(data))
            answer = self.ask(b"m%x,%x" % (address + len(data), piece))
            if len(answer) != 2 * piece:
                raise Failed(f"{address + len(data):#x} cannot be read: {answer!r}")
            data += bytes.fromhex(answer.decode())
        return data

    def write(self, address, data):
        for at in range(0, len(data), PIECE):
            piece = data[at:at + PIECE]
            self.expect_ok(b"M%x,%x:%s" % (address + at, len(piece), piece.hex().encode()))

    def registers(self):
        """Raw, and the first 17 as numbers."""
        raw = bytes.fromhex(self.ask(b"g").decode())
        return raw, struct.unpack_from("<17Q", raw)

    def leave(self):
        """Let it run, and listen no more."""
        self.ask(b"D")


class Monitor:
    def __init__(self, path):
        self.file = connect(path).makefile("rw")
        self.file.readline()
        self.ask("qmp_capabilities")

    def ask(self, command, **arguments):
        try:
            self.file.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
            self.file.flush()
            while line := self.file.readline():
                reply = json.loads(line)
                if "error" in reply:
                    raise Failed(f"{command}: {reply['error']['desc']}")
                if "return" in reply:
                    return reply["return"]
        except ConnectionError:
            pass
        raise Failed("the guest has ended")

    def dump(self, path):
        """The guest's physical memory, as an ELF core."""
        self.ask("dump-guest-memory", paging=False, protocol="file:" + path)

    def save(self, path):
        """All of a stopped guest, for load()."""
        self.ask("migrate-set-parameters", **{"max-bandwidth": 1 << 40})
        self.ask("migrate", uri=f"exec:cat >'{path}'")
        self._migrated()
        # QEMU says why it was stopped (a field of 100 bytes), and takes "debug" from nobody.
        with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as state:
            at = state.find(b"debug".ljust(100, b"\0"))
            if at < 0:
                raise Failed("the saved state is not as expected")
            state[at:at + 7] = b"paused\0"

    def load(self, path):
        self.ask("migrate-incoming", uri=f"exec:cat '{path}'")
        self._migrated()

    def _migrated(self):
        for _ in range(1200):
            status = self.ask("query-migrate").get("status")
            if status == "completed":
                return
            if status == "failed":
                break
            time.sleep(0.05)
        raise Failed(f"saving or loading the guest: {status}")


class Guest:
    """QEMU with the given command line, stopped before the first instruction. To be used by "with":
    it has ended at the end of that."""

    def __init__(self, command, *more):
        # Sockets have short names: their whole path must fit 107 bytes.
        self.directory = tempfile.mkdtemp()
        self.process = subprocess.Popen(
            [*command, "-S",
             "-gdb", f"unix:{self.directory}/gdb,server=on,wait=off",
             "-qmp", f"unix:{self.directory}/qmp,server=on,wait=off", *more],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def __enter__(self):
        self.monitor = Monitor(f"{self.directory}/qmp")
        self.debugger = Debugger(f"{self.directory}/gdb")
        return self

    def wait(self, seconds):
        """Until it has powered off. Return: has it?"""
        try:
            return self.process.wait(seconds) == 0
        except subprocess.TimeoutExpired:
            return False

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        _, said = self.process.communicate()
        self.said = said.decode(errors="replace").strip()
        shutil.rmtree(self.directory)


class Kernel:
    """What a kernel that was built says of itself."""

    def __init__(self, name):
        self.obj = os.path.join(cache(), name, "obj")
        with open(os.path.join(self.obj, "System.map"), encoding="ascii") as file:
            lines = (line.split() for line in file)
            self.symbols = {name: int(at, 16) for at, _, name in lines}

    def address(self, symbol):
        if symbol not in self.symbols:
            raise Failed(f"the kernel has no {symbol}")
        return self.symbols[symbol]


def write_rows(path, rows):
    """The rows of a benchmark, as JSON to a file, and as a table to stdout."""
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path, "w", encoding="ascii") as file:
        json.dump({"rows": rows}, file, indent=1)
        file.write("\n")
    print(f"{'case':<24} {'subject':<16} {'metric':<22} {'unit':<13} {'n':>3} {'median':>16} {'p99':>16}")
    for row in rows:
        if "median" in row:
            print(f"{row['case']:<24} {row['subject']:<16} {row['metric']:<22} {row['unit']:<13} "
                  f"{row['n']:>3} {row['median']:>16.2f} {row['p99']:>16.2f}")


def cache():
    home = os.environ.get("HOME", "/tmp")
    return os.environ.get("KHO_CACHE") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.join(home, ".cache"), "libkho")


def command(test, chain, *parameters, **environment):
    """Make a test's initramfs. Return: QEMU's command line, and the console's file."""
    run = os.path.join(os.path.dirname(os.path.abspath(__file__)), "run")
    words = subprocess.run([run, test, chain, "0", *parameters], check=True, text=True,
                           env={**os.environ, **environment, "KHO_PRINT": "1"},
                           stdout=subprocess.PIPE).stdout.splitlines()
    return words, re.sub("^file:", "", words[words.index("-serial") + 1])
