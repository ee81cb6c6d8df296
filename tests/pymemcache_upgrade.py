#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
"""Another language's client across an upgrade: random keys and values go in, the server is
upgraded in the middle, everything comes out again over the same connection.

    pymemcache_upgrade.py [--quick] [--keys N] [--bin DIR]

Needs Debian's python3-pymemcache. KHO_SEED sets the seed.
"""
import argparse
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time

from pymemcache.client.base import Client

KEY_CHARS = [chr(c) for c in range(33, 127)]  # all that the protocol allows


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Server:
    """build/cached-v1 under kho run, in a directory of its own."""

    args = ["-t", "2", "-m", "512", "-c", "100", "--healthy-after=200"]

    def __init__(self, bindir):
        self.bin = os.path.abspath(bindir)
        self.dir = tempfile.mkdtemp(prefix="kho-")
        self.name = "py-%d" % os.getpid()
        self.port = free_port()
        self.env = dict(os.environ, KHO_RUNDIR=self.dir, KHO_ARENA_MAX="1G")

    def __enter__(self):
        self.log = open(os.path.join(self.dir, "log"), "wb+")
        self.process = subprocess.Popen(
            [self.bin + "/kho", "run", "--name", self.name,
             "--listen", "127.0.0.1:%d" % self.port, "--", self.bin + "/cached-v1"] + self.args,
            env=self.env, cwd=self.dir, stdout=self.log, stderr=self.log,
            stdin=subprocess.DEVNULL)
        return self

    def kho(self, *args):
        return subprocess.run([self.bin + "/kho", *args], env=self.env, timeout=60,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def pid(self):
        return json.loads(self.kho("status", self.name, "--json").stdout)["pid"]

    def upgrade(self, build):
        before = self.pid()
        run = self.kho("upgrade", "--exec", self.bin + "/" + build, self.name, "--", *self.args)
        if run.returncode or self.pid() == before:
            raise SystemExit("upgrade failed (%d): %s" % (run.returncode, run.stdout))

    def __exit__(self, kind, *_):
        if kind:
            self.log.seek(0)
            sys.stderr.write(self.log.read().decode(errors="replace")[-2000:])
        self.kho("stop", self.name)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.terminate()
            self.process.wait(10)
        self.log.close()
        shutil.rmtree(self.dir)


def wait_for(port):
    for _ in range(500):
        try:
            client = Client(("127.0.0.1", port), timeout=30, no_delay=True)
            return client, client.version()
        except OSError:
            time.sleep(0.02)
    raise SystemExit("the server does not answer")


def make(rng, nr):
    """Keys of 1 to 250 characters; values of 0 to 2000 bytes of any kind, few of 100 kB."""
    pairs = {}
    while len(pairs) < nr:
        key = "".join(rng.choices(KEY_CHARS, k=rng.choice((rng.randint(4, 30), rng.randint(4, 250)))))
        size = rng.randint(0, 300) if rng.random() < 0.9 else rng.randint(0, 2000)
        if rng.random() < 0.0005:
            size = 100000
        pairs[key] = rng.randbytes(size)
    return pairs


def put(client, pairs):
    failed = client.set_many(pairs, noreply=False)
    if failed:
        raise SystemExit("%d keys were not stored" % len(failed))


def compare(client, pairs, keys):
    wrong = 0
    for at in range(0, len(keys), 500):
        part = keys[at:at + 500]
        got = client.get_many(part)
        wrong += sum(got.get(key) != pairs[key] for key in part)
    return wrong


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="3,000 keys")
    parser.add_argument("--keys", type=int)
    parser.add_argument("--bin", default=os.path.join(os.path.dirname(__file__), "../build"))
    options = parser.parse_args()
    nr = options.keys or (3000 if options.quick else 100000)
    seed = int(os.environ.get("KHO_SEED") or random.SystemRandom().getrandbits(32))
    print("KHO_SEED=%d" % seed)
    rng = random.Random(seed)
    pairs = make(rng, nr)
    keys = list(pairs)
    half = nr // 2

    with Server(options.bin) as server:
        client, old = wait_for(server.port)
        put(client, {key: pairs[key] for key in keys[:half]})
        # What is changed, added to and taken away must arrive as well.
        changed = rng.sample(keys[:half], half // 10)
        for key in changed:
            pairs[key] = rng.randbytes(rng.randint(0, 500))
        put(client, {key: pairs[key] for key in changed})
        gone = "gone-after-all"
        client.set(gone, b"x", noreply=False)
        client.delete(gone, noreply=False)
        client.set("counter", b"41", noreply=False)
        token = client.gets(keys[0])[1]
        server.upgrade("cached-v2")
        # The same connection, the same objects.
        new = client.version()
        put(client, {key: pairs[key] for key in keys[half:]})
        wrong = compare(client, pairs, keys)
        wrong += client.get(gone) is not None
        wrong += client.incr("counter", 1) != 42
        wrong += client.cas(keys[0], pairs[keys[0]], token, noreply=False) is not True
        server.upgrade("cached-v1")
        wrong += compare(client, pairs, keys)
        client.close()
    print("%d keys, %s to %s and back, %d wrong" % (nr, old.decode(), new.decode(), wrong))
    return 1 if wrong or old == new else 0


if __name__ == "__main__":
    sys.exit(main())
