#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
"""Upgrades, failed upgrades and crashes under kho run: upgrade.py [ROUNDS]

Connections are in the middle of everything that they can be in the middle of, while a loader
keeps asking on its own.
"""
import os
import random
import selectors
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True
from server import BUILD, free_port
from talk import Talk, must

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 1
THREADS = 2
ARGS = ["-t", str(THREADS), "-m", "64", "--debug", "--healthy-after=100"]
DATA = os.urandom(600000)

# How a successor fails, and what kho upgrade has to say about it.
MODES = {
    "exit": "refused before the hand-over",
    "hang": "did not say READY in time",
    "layout": "we write version 1, the successor reads version 99",
    "crash": "rolled back",
    "hang-granted": "showed no sign of life for 1000 ms",
}


class Supervised:
    def __init__(self):
        self.port = free_port()
        self.name = "cached-test-%d" % os.getpid()

    def __enter__(self):
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            [BUILD + "/kho", "run", "--name", self.name, "--listen", "127.0.0.1:%d" % self.port,
             "--restarts", "100/1", "--", BUILD + "/cached-v1", *ARGS],
            stdout=self.log, stderr=self.log)
        for _ in range(500):
            try:
                if Talk(self).stats():
                    return self
            except OSError:
                pass
            time.sleep(0.01)
        raise SystemExit("cached does not start")

    def __exit__(self, kind, *_):
        self.process.terminate()
        status = self.process.wait(20)
        must(kind or status == 0, "kho run ended with status", status)
        if kind:
            self.log.seek(0)
            print(self.log.read().decode(errors="replace")[-4000:])

    def upgrade(self, program, *args, way=(), ready=20000):
        result = subprocess.run([BUILD + "/kho", "upgrade", "--exec", BUILD + "/" + program,
                                 *way, "--ready-timeout", str(ready), "--healthy-timeout", "10000", self.name,
                                 "--", *args, *ARGS], capture_output=True, text=True, timeout=60)
        self.said = result.stdout + result.stderr
        return result.returncode

    def pid(self):
        return int(Talk(self).stats()[b"pid"])


class Loader(threading.Thread):
    """Sets and gets on one connection; what was answered has to be so."""
    def __init__(self, server, number):
        super().__init__()
        self.server, self.number = server, number
        self.running, self.error, self.done = True, None, 0
        self.start()

    def run(self):
        rng, model, talk = random.Random(self.number), {}, Talk(self.server)
        try:
            while self.running:
                key = b"load%d_%d" % (self.number, rng.randrange(500))
                value = b"%d" % rng.randrange(10 ** 9) * rng.randrange(1, 300)
                if rng.randrange(3):
                    talk.lines(b"set %s 0 0 %d\r\n%s\r\n" % (key, len(value), value), b"STORED")
                    model[key] = value
                else:
                    found = talk.get(key)
                    must(key not in model or found == model[key], key, "is", found)
                self.done += 1
        except BaseException as error:
            self.error = error

    def stop(self):
        self.running = False
        self.join()
        must(self.error is None, "loader:", self.error)
        must(self.done > 20, "loader did", self.done)


class Middle:
    """Connections that stop half-way; finish() goes on with each."""
    def __init__(self, server):
        self.idle, self.line, self.value = Talk(server), Talk(server), Talk(server)
        self.large, self.unread, self.swallow = Talk(server), Talk(server), Talk(server)
        self.idle.lines(b"set heavy 0 0 600000\r\n" + DATA + b"\r\n", b"STORED")
        self.line.lines(b"set line 1 0 2\r\nok\r\nget li", b"STORED")
        self.value.lines(b"delete nothing\r\nset value 2 0 10\r\n01234", b"NOT_FOUND")
        self.large.send(b"gets nothing\r\nset large 3 0 600000\r\n" + DATA[:400000])
        self.large.lines(b"", b"END")
        self.unread.send(b"get heavy heavy\r\n" * 20 + b"get line\r\nversion\r\n")
        self.swallow.lines(b"set toolarge 0 0 2000000\r\n" + DATA, b"SERVER_ERROR object too large for cache")
        time.sleep(0.1)

    def finish(self):
        self.idle.lines(b"delete nothing\r\n", b"NOT_FOUND")
        self.line.lines(b"ne\r\n", b"VALUE line 1 2", b"ok", b"END")
        self.value.lines(b"56789\r\n", b"STORED")
        must(self.idle.get(b"value") == b"0123456789", "value in two halves")
        self.large.lines(DATA[400000:] + b"\r\n", b"STORED")
        must(self.idle.get(b"large") == DATA, "large value in two halves")
        for _ in range(20):
            for _ in range(2):
                self.unread.lines(b"", b"VALUE heavy 0 600000")
                must(self.unread.file.read(600002) == DATA + b"\r\n", "unread output")
            self.unread.lines(b"", b"END")
        must(self.unread.value() == b"ok", "the last get")
        must(self.unread.file.readline().startswith(b"VERSION"), "no version")
        self.swallow.lines(DATA + DATA + DATA[:200000] + b"\r\ndelete nothing\r\n", b"NOT_FOUND")


def sound(server):
    talk = Talk(server)
    time.sleep(0.1)
    while talk.stats()[b"counting"] != b"0":
        time.sleep(0.01)
    check, stats = talk.stats(b"check"), talk.stats()
    must(check[b"check:result"] == b"sound", check)
    must(check[b"check:bytes"] == stats[b"bytes"], check, stats)
    must(check[b"check:items"] == stats[b"curr_items"], check, stats)
    must(check[b"check:objects"] == check[b"check:live_objects"], check)


def cas_id(server):
    talk = Talk(server)
    talk.send(b"set cas 0 0 1\r\n1\r\ngets cas\r\n")
    talk.lines(b"", b"STORED")
    number = int(talk.file.readline().split()[4])
    talk.lines(b"", b"1", b"END")
    return number


def upgrades(server):
    for program, way in (("cached-v2", ()), ("cached-v1", ()), ("cached-v2", ("--in-place",))) * ROUNDS:
        loaders = [Loader(server, i) for i in range(2)]
        middle, before, cas, old = Middle(server), Talk(server), cas_id(server), server.pid()
        sets = int(before.stats()[b"cmd_set"])
        must(server.upgrade(program, way=way) == 0, "upgrade failed:", server.said)
        must((server.pid() == old) == bool(way), "pid", old, server.pid())
        must(int(before.stats()[b"cmd_set"]) >= sets, "counters went back")
        must(cas_id(server) > cas, "an id came again")
        middle.finish()
        [loader.stop() for loader in loaders]
        sound(server)


def failures(server):
    for mode in [*MODES] * ROUNDS:
        granted = mode in ("crash", "hang-granted")
        loaders = [Loader(server, i + 10) for i in range(2)]
        middle, cas, old = Middle(server), cas_id(server), server.pid()
        ready = 700 if mode == "hang" else 20000
        must(server.upgrade("cached-bad", "--misbehave=" + mode, ready=ready) == 1, mode, "did not fail")
        must(MODES[mode] in server.said, mode, server.said)
        must(server.pid() == old, mode, "another program serves")
        must(not granted or cas_id(server) > cas, "an id came again")
        middle.finish()
        [loader.stop() for loader in loaders]
        sound(server)


class Crowd(threading.Thread):
    """Many connections, each with a request under way that keeps a worker busy for a while."""
    PATIENCE = 2 # seconds that no request may wait, ever
    REQUEST = b"get nothing\r\n" * 3000 + b"get crowd\r\n"

    def __init__(self, server, nr):
        super().__init__()
        self.server, self.error, self.running = server, None, True
        self.answers, self.closed = 0, 0
        Talk(server).lines(b"set crowd 0 0 600\r\n" + DATA[:600] + b"\r\n", b"STORED")
        self.want = b"END\r\n" * 3000 + b"VALUE crowd 0 600\r\n" + DATA[:600] + b"\r\nEND\r\n"
        self.selector = selectors.DefaultSelector()
        self.asked = {}
        for _ in range(nr):
            self.open()
        self.start()

    def open(self):
        sock = socket.create_connection(("127.0.0.1", self.server.port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.selector.register(sock, selectors.EVENT_READ, bytearray())
        self.ask(sock)

    def ask(self, sock):
        self.asked[sock] = time.monotonic()
        sock.sendall(self.REQUEST)

    def hang_up(self, sock):
        del self.asked[sock]
        self.selector.unregister(sock)
        sock.close()

    def hear(self, sock, got):
        try:
            data = sock.recv(1 << 16)
            got += data
            if len(got) >= len(self.want):
                must(got == self.want, "crowd got", bytes(got))
                got.clear()
                self.answers += 1
                self.ask(sock)
        except ConnectionError:
            data = b""
        if not data:
            self.hang_up(sock)
            self.closed += 1
            self.open()

    def run(self):
        try:
            while self.running:
                for key, _ in self.selector.select(0.1):
                    self.hear(key.fileobj, key.data)
                now = time.monotonic()
                slow = [sock for sock in self.asked if now - self.asked[sock] > self.PATIENCE]
                must(not slow, len(slow), "connections were neither answered nor closed")
        except BaseException as error:
            self.error = error
        for sock in list(self.asked):
            self.hang_up(sock)

    def stop(self):
        self.running = False
        self.join()
        must(self.error is None, "crowd:", self.error)


def lost_requests(server):
    """What a successor read and did not answer before it died, the predecessor answers."""
    crowd = Crowd(server, 48)
    for _ in range(10):
        closed, answers = crowd.closed, crowd.answers
        must(server.upgrade("cached-bad", "--misbehave=crash") == 1, "crash did not fail")
        must(MODES["crash"] in server.said, server.said)
        time.sleep(0.2)
        must(crowd.error is None, "crowd:", crowd.error)
        must(crowd.closed == closed, crowd.closed - closed, "connections were closed")
        must(crowd.answers - answers > 100, "crowd got", crowd.answers - answers, "answers")
    time.sleep(Crowd.PATIENCE)
    crowd.stop()
    sound(server)


def crashes(server):
    for _ in range(3 * ROUNDS):
        loaders = [Loader(server, i + 20) for i in range(2)]
        middle, cas = Middle(server), cas_id(server)
        time.sleep(random.random() / 5)
        os.kill(server.pid(), 9)
        must(cas_id(server) > cas, "an id came again")
        middle.finish()
        [loader.stop() for loader in loaders]
        sound(server)


with Supervised() as supervised:
    upgrades(supervised)
    failures(supervised)
    lost_requests(supervised)
    crashes(supervised)
    upgrades(supervised)
