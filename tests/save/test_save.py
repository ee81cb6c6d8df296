#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#
# kho save, load, run --load, clear and status --prometheus with a cache in between: what is saved comes back, under
# load as of one instant; what is damaged, cut off or made up is refused with the reason; and a kho save that is
# killed leaves a server that goes on.
#
# usage: test_save.py KHO CACHED KHO-ON-A-BAD-DISK; KHO_SEED=N repeats
import errno
import json
import os
import random
import re
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import time

import save_file

kho, cached, no_sync = (os.path.abspath(p) for p in sys.argv[1:])
seed = int(os.environ.get("KHO_SEED") or random.randrange(1 << 32))
rng = random.Random(seed)
HERE = os.path.dirname(os.path.abspath(__file__))


def fail(text):
    sys.exit(f"test_save: seed {seed}: {text}")


def run(*args, status=0):
    done = subprocess.run([kho, *args], capture_output=True, encoding="utf-8", errors="surrogateescape", timeout=60)
    if done.returncode != status:
        fail(f"kho {args}: status {done.returncode}, expected {status}: {done.stdout}{done.stderr}")
    return done.stdout + done.stderr


class Server:
    def __init__(self, name, *options):
        self.name, self.path = name, os.path.abspath(f"{name}.sock")
        self.process = subprocess.Popen(
            [kho, "run", "--name", name, "--listen", f"unix:{self.path}", "--arena-max", "256M", *options, "--",
             cached, "-m", "64", "-t", "2"], stderr=open(f"{name}.log", "w"))
        self.stream = None

    def connect(self):
        for _ in range(1000):
            try:
                s = socket.socket(socket.AF_UNIX)
                s.settimeout(20)
                s.connect(self.path)
                self.stream = s.makefile("rwb")
                return
            except OSError:
                time.sleep(0.02)
        fail(f"{self.name} does not listen: {open(self.name + '.log').read()}")

    def ask(self, line):
        if not self.stream:
            self.connect()
        self.stream.write(line.encode() + b"\r\n")
        self.stream.flush()
        return self.stream.readline().decode().strip()

    def set(self, key, value):
        got = self.ask(f"set {key} 0 0 {len(value)}\r\n{value}")
        if got != "STORED":
            fail(f"set {key}: {got}")

    def get(self, key):
        if self.ask(f"get {key}") == "END":
            return None
        value = self.stream.readline().decode().strip()
        self.stream.readline()
        return value

    def status(self, key):
        return re.search(rf"^{key} ?(.*)$", run("status", self.name), re.M)[1]

    def stop(self):
        self.stream = None
        run("stop", self.name)
        self.process.wait(30)


def value_of(key):
    return f"{key}-" + chr(97 + key % 26) * (key % 300)


def expect_all(server, keys):
    for key in range(keys):
        if server.get(f"k{key}") != value_of(key):
            fail(f"{server.name}: k{key} is {server.get(f'k{key}')!r}")


def refused(data, reason, file="bad"):
    with open(file, "wb") as f:
        f.write(data)
    said = run("load", file, status=1)
    if not re.search(reason, said) or said.count("\n") != 1:
        fail(f"refused with {said!r}, expected {reason!r}")
    return said


def check_round_trip():
    a = Server("a")
    for key in range(2000):
        a.set(f"k{key}", value_of(key))
    run("save", "a", "plain")
    expect_all(a, 2000)
    if "is there already" not in run("save", "a", "plain", status=1):
        fail("a file is replaced without --force")
    os.mkfifo("pipe")
    os.symlink("pipe", "link")
    for file in ("pipe", "link", "."):
        if "not an ordinary file" not in run("save", "--force", "a", file, status=1):
            fail(f"{file} is replaced")
    if not os.path.islink("link") or not stat.S_ISFIFO(os.stat("link").st_mode):
        fail("what is no file is replaced")
    run("save", "--force", "--zstd", a.status("pid"), "squeezed")
    expect_all(a, 2000)
    a.stop()
    for file in ("plain", "squeezed"):
        said = run("load", "--arena", f"{file}.arena", file)
        if f"compression {'zstd' if file == 'squeezed' else 'none'}" not in said:
            fail(said)
        b = Server("b", "--load", file)
        expect_all(b, 2000)
        b.set("more", "x")
        os.kill(int(b.status("pid")), signal.SIGKILL)
        b.stream = None
        expect_all(b, 2000)
        if b.get("more") != "x":
            fail("what was written after the load is gone")
        b.stop()
    if os.path.getsize("squeezed") * 2 > os.path.getsize("plain"):
        fail("compression does not compress")
    if oct(os.stat("plain").st_mode & 0o777) != "0o600":
        fail("others can read what is saved")


# The name of a file lasts when its directory does.
def check_sync():
    a = Server("synced")
    a.set("k", "v")
    os.mkdir("dir")
    for error, status in ((errno.EIO, 1), (errno.EINVAL, 0)):
        for file in ("here", "dir/there", os.path.abspath("dir/full")):
            os.environ["KHO_TEST_NO_SYNC"] = str(error)
            done = subprocess.run([no_sync, "save", "--force", "synced", file], capture_output=True, text=True)
            del os.environ["KHO_TEST_NO_SYNC"]
            said = f"directory {os.path.dirname(file) or '.'} cannot be synced: Input/output error"
            if done.returncode != status or (said in done.stderr) != (status == 1):
                fail(f"{file}: {done.returncode}, {done.stderr}")
            run("load", file)
    long = run("save", "synced", "d/" * 2100 + "f", status=1)
    if "too long" not in long:
        fail(f"a long name: {long!r}")
    a.stop()
    if [f for f in os.listdir("dir") if f not in ("there", "full")]:
        fail(f"left behind: {os.listdir('dir')}")


def check_reader():
    """The second reader makes the same arena, and the first reads what the second writer writes."""
    data = open("plain", "rb").read()
    arena_id, size, max_size, pages, zeroes = save_file.read(data)
    whole = open("plain.arena", "rb").read()
    if len(whole) != size or whole[48:64] != arena_id:
        fail("kho load --arena made another arena")
    made = bytearray(size)
    for pa, body in pages.items():
        made[pa:pa + len(body)] = body
    if made != whole:
        fail("kho load --arena and the second reader differ")
    if os.stat("plain.arena").st_blocks * 512 > sum(map(len, pages.values())) + sum(n for _, n in zeroes) + (1 << 20):
        fail("what kho load --arena made is not sparse")
    chunks = [save_file.chunk(pa, body) for pa, body in sorted(pages.items())]
    again = save_file.file_of(save_file.head(arena_id, size, max_size), chunks, size)
    with open("again", "wb") as f:
        f.write(again)
    run("load", "--arena", "again.arena", "again")
    if open("again.arena", "rb").read() != whole:
        fail("a file of the second writer is another arena")
    return data, (arena_id, size, max_size, pages)


def check_golden():
    """Files of the first version, made by the first kho that could: the same arena in both."""
    made = []
    for file in ("v1.save", "v1-zstd.save"):
        run("load", "--arena", file + ".arena", f"{HERE}/{file}")
        made.append(open(file + ".arena", "rb").read())
    _, size, _, pages, _ = save_file.read(open(f"{HERE}/v1.save", "rb").read())
    whole = bytearray(size)
    for pa, body in pages.items():
        whole[pa:pa + len(body)] = body
    if made[0] != whole or made[1] != whole:
        fail("a file of version 1 is another arena now")
    looked = [run("inspect", file) for file in (f"{HERE}/v1-zstd.save", "v1.save.arena")]
    if looked[0].split("\n", 1)[1] != looked[1].split("\n", 1)[1] or "counter" not in looked[0]:
        fail(f"kho inspect of what is saved: {looked}")


def check_hostile(data, known):
    arena_id, size, max_size, pages = known
    first = save_file.chunk(0, pages[0][:4096])
    good = save_file.head(arena_id, size, max_size)

    def made(*chunks, front=good, end=size):
        return save_file.file_of(front, list(chunks), end)

    page = bytes(range(256)) * 16
    refused(b"", r"at byte 0: the file ends in the middle")
    refused(b"KHO SAVE", r"at byte 8: the file ends in the middle")
    refused(b"\x7fELF" + bytes(100), r"at byte 0: this is not a file of kho save")
    refused(save_file.head(arena_id, size, max_size, version=2), r"at byte 8: version 2")
    refused(save_file.head(arena_id, size, max_size, compression=2), r"at byte 12: compression 2")
    refused(save_file.head(arena_id, size, max_size, reserved=b"x" * 12), r"at byte 32: an arena")
    refused(save_file.head(arena_id, size, size - 4096), r"at byte 32: an arena of")
    refused(save_file.head(arena_id, size + 1, max_size), r"at byte 32: an arena of")
    refused(save_file.head(arena_id, 1 << 63, 1 << 63), r"at byte 32: an arena of")
    refused(save_file.head(arena_id, 4096, max_size), r"at byte 32: an arena of")
    refused(made(save_file.chunk(0x1000, page)), r"at byte 64: a chunk has the owner's page")
    refused(made(save_file.chunk(0, page * 2)), r"at byte 64: a chunk has the owner's page")
    refused(made(save_file.chunk(size, page)), r"at byte 64: a chunk for")
    refused(made(save_file.chunk((1 << 64) - 4096, page)), r"at byte 64: a chunk for")
    refused(made(save_file.chunk(8, page)), r"at byte 64: a chunk for 0x8")
    refused(made(save_file.chunk(0x4000, page), save_file.chunk(0x4000, page)), r"at byte 4184: a chunk for 0x4000")
    refused(made(save_file.chunk(0x4000, page), save_file.chunk(0x2000, page)), r"at byte 4184: a chunk for 0x2000")
    refused(made(save_file.chunk(0, page[:100])), r"at byte 64: a chunk of 100 bytes")
    refused(made(save_file.chunk(0, page[:100], length=4096)), r"at byte 64: a chunk of 4096 bytes in 100")
    refused(made(save_file.chunk(0, page, length=2048)), r"at byte 64: a chunk of 2048 bytes in 4096")
    refused(made(save_file.chunk(0x4000, b"", length=2 << 20, stored=0)), r"at byte 64: a chunk of 2097152")
    refused(made(save_file.chunk(0x4000, page, crc=1)), r"at byte 88: the checksum of the chunk for 0x4000")
    refused(made(save_file.chunk(0x4000, b"", length=4096, stored=0, crc=1)), r"the checksum of the chunk for 0x4000")
    refused(made(save_file.chunk(0x4000, b"junk", length=4096, crc=0),
                 front=save_file.head(arena_id, size, max_size, compression=1)), r"at byte 88: .*decompress")
    refused(made(first, end=size - 4096), r"chunks are missing")
    refused(good + first + save_file.chunk(size, length=0, stored=0, crc=7), r"chunks are missing")
    refused(made(first) + b"x", r"there is something behind the end")
    refused(data[:-24], r"the file ends in the middle")
    # Sound as a file, and no arena, or another one than it says: seen when the arena is put together.
    for bad, reason in ((made(), "arena"), (made(save_file.chunk(0, page)), "arena"),
                        (made(first, front=save_file.head(b"y" * 16, size, max_size)), "at byte 16: it does not")):
        with open("bad", "wb") as f:
            f.write(bad)
        if not re.search(reason, run("load", "--arena", "bad.arena", "bad", status=1)) or os.path.exists("bad.arena"):
            fail("a file without a sound arena is taken")
        if reason not in run("run", "--name", "bad", "--load", "bad", "--", cached, status=1):
            fail("kho run takes a file without a sound arena")
    # More than there is memory for, in a small file.
    large = 1 << 45
    descs = 0x40000 + 4096 * (2 * (large >> 27) + 226)
    front = bytearray(pages[0][:4096])
    struct.pack_into("<QQQQQ", front, 72, large, 0x40000, descs, -(-(descs + large // 2048) >> 21) << 21, 0x40000)
    struct.pack_into("<I", front, 124, save_file.crc32c(front[:124]))
    bomb = made(save_file.chunk(0, bytes(front)), *(save_file.chunk((i + 1) << 20, b"", length=1 << 20, stored=0) for i in range(300000)),
                front=save_file.head(arena_id, large, large), end=large)
    with open("bad", "wb") as f:
        f.write(bomb)
    if "are available" not in run("run", "--name", "bad", "--load", "bad", "--", cached, status=1):
        fail("a file may ask for more memory than there is")
    # Changed at random: any bit is under some checksum.
    squeezed = open("squeezed", "rb").read()
    for i in range(200):
        source = data if i % 4 == 0 else squeezed
        at = rng.randrange(len(source)) if i % 2 else rng.randrange(min(len(source), 4096))
        bad = bytearray(source)
        bad[at] ^= 1 << rng.randrange(8)
        refused(bad, r"at byte \d+: ")
    for _ in range(50):
        refused(squeezed[:rng.randrange(len(squeezed))], r"at byte \d+: the file ends in the middle")


def check_under_load():
    """What was acknowledged before the save is in it, and of two keys written in turn no more than one is behind."""
    a = Server("busy")
    a.set("first", "0")
    a.set("second", "0")
    acknowledged, over = [0], threading.Event()

    def write():
        while not over.is_set():
            n = acknowledged[0] + 1
            a.set("first", str(n))
            a.set("second", str(n))
            acknowledged[0] = n

    writer = threading.Thread(target=write)
    writer.start()
    low = []
    for i in range(5):
        time.sleep(0.05)
        low.append(acknowledged[0])
        run("save", "busy", f"busy.{i}")
    over.set()
    writer.join()
    # A kill, or a signal, at any time leaves nobody standing still.
    for i in range(20):
        saver = subprocess.Popen([kho, "save", "--force", "busy", "killed"], stderr=subprocess.DEVNULL)
        time.sleep(rng.random() * 0.03)
        saver.send_signal(signal.SIGKILL if i % 2 else signal.SIGINT)
        saver.wait()
        a.set("third", str(i))
    state = open(f"/proc/{a.status('pid')}/stat").read().rpartition(")")[2].split()[0]
    if state == "T":
        fail("the server stands still")
    # Who was stopped before stays so.
    pid = int(a.status("pid"))
    os.kill(pid, signal.SIGSTOP)
    while open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0] != "T":
        time.sleep(0.01)
    time.sleep(0.1)
    run("save", "busy", "stopped")
    if open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0] != "T":
        fail("kho save lets a server go on that somebody else had stopped")
    os.kill(pid, signal.SIGCONT)
    a.stop()
    for i, least in enumerate(low):
        b = Server("after", "--load", f"busy.{i}")
        first, second = int(b.get("first")), int(b.get("second"))
        if not least <= second <= first <= second + 1:
            fail(f"save {i}: {first} and {second}, {least} were acknowledged before")
        b.stop()


def check_clear():
    a = Server("dies", "--restarts", "1/1000")
    a.set("key", "value")
    if "has not failed" not in run("clear", "dies", status=1):
        fail("a running server is cleared")
    os.kill(int(a.status("pid")), signal.SIGKILL)
    for _ in range(500):
        if a.status("state") == "failed":
            break
        time.sleep(0.01)
    run("save", "dies", "dead")
    a.stream = None
    run("clear", "dies")
    if a.get("key") is not None:
        fail("kho clear leaves what there was")
    text = run("status", "--prometheus")
    check_prometheus(text)
    for line in ('kho_server_up{name="dies"} 1', 'kho_restarts_total{name="dies"} 1', 'kho_listening_sockets{name="dies"} 1'):
        if line not in text:
            fail(f"{line} is not in {text}")
    check_prometheus(run("status", "--prometheus", "dies"))
    a.stop()
    b = Server("dead", "--load", "dead")
    if b.get("key") != "value":
        fail("what a dead server left was not saved")
    b.stop()
    for args in (("run", "--load", "dead", "--fresh", "--", cached), ("run", "--load", "dead", "--adopt", "--", cached),
                 ("run", "--name", "123", "--", cached), ("save", "dead"), ("load",), ("clear",), ("save", "--nothing", "a", "b")):
        run(*args, status=2)
    for args in (("save", "nobody", "file"), ("save", str(os.getpid()), "file"), ("load", "/dev/null"), ("load", "none")):
        run(*args, status=1)
    if os.path.exists("file"):
        fail("a save that failed leaves a file")


def check_odd_names():
    """Lines of a status are those of its keys, whatever a program is called."""
    odd = b'odd "\\\n' + b"state held\nrestarts 77 \xff\xe2\x82 \xe2\x82\xac"
    os.mkdir(odd)
    program = odd + b"/cached"
    os.symlink(cached, program)
    path = os.path.abspath("odd.sock")
    server = subprocess.Popen([kho, "run", "--name", "odd", "--listen", f"unix:{path}", "--", program, "-m", "64"])
    try:
        for _ in range(500):
            if os.path.exists("run/odd.sock") and '"state": "running"' in run("status", "--json", "odd"):
                break
            time.sleep(0.02)
        if not re.search(r"^state running$.*^restarts 0$", run("status", "odd"), re.M | re.S):
            fail("a program's name says how the server is")
        found = json.loads(run("status", "--json", "odd"))
        if (found["state"], found["restarts"]) != ("running", 0) or not found["program"].endswith("€/cached"):
            fail(f"status of an odd program: {found}")
        text = run("status", "--prometheus", "odd")
        check_prometheus(text)
        text.encode("utf-8")
        if 'state="running",program="odd \\"\\\\?state held?restarts 77 ??? €/cached"' not in text:
            fail(f"Prometheus' text of an odd program: {text}")
    finally:
        server.terminate()
        server.wait(30)


def check_prometheus(text):
    """Each metric: HELP, TYPE, samples; nothing else."""
    name, seen = None, set()
    for line in text.splitlines():
        m = re.fullmatch(r"# (HELP|TYPE) (\w+) (.+)", line)
        if m and m[1] == "HELP":
            name = m[2]
            if name in seen:
                fail(f"{name} comes twice")
            seen.add(name)
        elif m and (m[2] != name or m[3] not in ("gauge", "counter")):
            fail(line)
        elif not m and not re.fullmatch(name + r'\{\w+="([^"\\\n]|\\.)*"(,\w+="([^"\\\n]|\\.)*")*\} \d+(\.\d+)?', line):
            fail(line)
    if len(seen) < 6:
        fail("few metrics")


with tempfile.TemporaryDirectory() as d:
    os.chdir(d)
    os.environ["KHO_RUNDIR"] = f"{d}/run"
    started = []
    init = Server.__init__

    def tracked(self, *args):
        init(self, *args)
        started.append(self)
    Server.__init__ = tracked
    try:
        check_round_trip()
        check_sync()
        check_golden()
        check_hostile(*check_reader())
        check_under_load()
        check_clear()
        check_odd_names()
    finally:
        for s in started:
            if s.process.poll() is None:
                s.process.terminate()
                s.process.wait(30)
