#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
"""Random keys and values through pymemcache: roundtrip.py [NUMBER]"""
import os
import random
import sys
import time

sys.dont_write_bytecode = True
from server import BUILD, Server

try:
    from pymemcache.client.base import Client
except ImportError:
    print("left out: pymemcache is not installed (python3-pymemcache)")
    sys.exit(0)


def main():
    seed = int(os.environ.get("KHO_SEED", time.time_ns()))
    rng = random.Random(seed)
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 4000
    model = {}

    def fail(what):
        sys.exit("roundtrip: KHO_SEED=%d: %s" % (seed, what))

    def key():
        length = rng.choice((1, 2, 10, 30, 250))
        return bytes(rng.randrange(33, 127) for _ in range(length))

    def value():
        return rng.randbytes(rng.choice((0, 1, 10, 100, 1000, rng.randrange(3000))))

    with Server(BUILD + "/cached", "-m", "1024", "--debug") as server:
        client = Client(("127.0.0.1", server.port), default_noreply=False)
        keys = [key() for _ in range(number)]
        for k in keys:
            model[k] = value()
            if not client.set(k, model[k]):
                fail("set %r" % k)
        for k in rng.sample(keys, number // 4):
            choice = rng.randrange(5)
            if choice == 0:
                if client.delete(k) != (model.pop(k, None) is not None):
                    fail("delete %r" % k)
            elif choice == 1:
                if client.append(k, b"tail") != (k in model):
                    fail("append %r" % k)
                if k in model:
                    model[k] += b"tail"
            elif choice == 2:
                client.set(k, b"%d" % rng.randrange(1 << 60))
                model[k] = b"%d" % client.incr(k, rng.randrange(1 << 60))
            elif choice == 3:
                found, cas = client.gets(k)
                if found != model.get(k):
                    fail("gets %r" % k)
                if found is not None:
                    if client.cas(k, b"other", b"%d" % (int(cas) + 1)) is not False:
                        fail("cas with another id %r" % k)
                    model[k] = value()
                    if client.cas(k, model[k], cas) is not True:
                        fail("cas %r" % k)
            else:
                if client.add(k, b"new") != (k not in model):
                    fail("add %r" % k)
                model.setdefault(k, b"new")
        for first in range(0, number, 500):
            some = keys[first:first + 500]
            found = client.get_many(some)
            if found != {k: model[k] for k in some if k in model}:
                fail("get_many at %d" % first)
        stats = client.stats()
        if stats[b"curr_items"] != len(model):
            fail("curr_items %d, not %d" % (stats[b"curr_items"], len(model)))
        check = client.stats("check")
        if check[b"check:result"] != b"sound" or int(check[b"check:items"]) != len(model):
            fail(check)
        if int(check[b"check:bytes"]) != int(stats[b"bytes"]):
            fail("bytes %s, not %s" % (stats[b"bytes"], check[b"check:bytes"]))


main()
