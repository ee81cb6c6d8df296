#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#
# Two readers, one image: random images of what Linux's live update orchestrator hands over, and the same
# with random damage, read by the library (luo_dump) and by luo_reader.py. Both must refuse, or both
# must say the same.
#
# usage: luo_agree.py LUO_DUMP [IMAGES [DAMAGES]]; KHO_SEED repeats a run
import os
import random
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import luo_reader  # noqa: E402  (beside this file)
from kho_bytes import Refused  # noqa: E402


class Maker:
    """An image: pages are handed out at random, page 0 is not."""

    def __init__(self, rng):
        self.rng, self.page = rng, 1 << rng.choice((7, 7, 8, 12))
        nr = 120 if self.page < 4096 else 24
        self.data = bytearray(nr * self.page)
        self.free = list(range(1, nr))
        rng.shuffle(self.free)

    def new(self):
        return self.free.pop() * self.page

    def chain(self, records, size):
        fit, rng, blocks = (self.page - 16) // size, self.rng, []
        while records:
            count = fit if rng.random() < 0.8 else rng.randint(1, fit)
            blocks.append(records[:count])
            records = records[count:]
        blocks += [[]] * (rng.random() < 0.1)
        places = [self.new() for _ in blocks]
        for place, block, after in zip(places, blocks, places[1:] + [0]):
            body = struct.pack("<QQ", after, len(block)) + b"".join(block)
            self.data[place:place + len(body)] = body
        return places[0] if places else 0

    def name(self, what, i, room):
        name = b"%s-%d" % (what, i) + b"x" * self.rng.choice((0, 0, 3, 30))
        rest = b"\0" + self.rng.randbytes(room) if self.rng.random() < 0.3 else b""
        return (name + rest).ljust(room, b"\0")[:room]

    def make(self):
        rng, at, sessions = self.rng, self.new(), []
        for i in range(rng.randint(0, 6)):
            files = [self.name(b"memfd", k % 2, 48) + struct.pack("<QQ", rng.getrandbits(64), t)
                     for k, t in enumerate(rng.sample(range(99), rng.randint(0, 5)))]
            sessions.append(self.name(b"vm", i, 64)
                            + struct.pack("<QQ", self.chain(files, 64), len(files)))
        flbs = 0
        if rng.random() < 0.8:
            flbs, count = self.new(), rng.randint(0, min(4, (self.page - 16) // 64))
            body = struct.pack("<QQ", 1, count) + b"".join(
                self.name(b"flb", i, 48) + struct.pack("<QQ", rng.getrandbits(64), i)
                for i in range(count))
            self.data[flbs:flbs + len(body)] = body
        struct.pack_into("<8sQQQ", self.data, at, b"luo-v5", rng.getrandbits(64),
                         self.chain(sessions, 80), flbs)
        return self.page, at, bytes(self.data)


def damage(data, page, rng):
    data = bytearray(data)
    used = [at for at in range(len(data)) if data[at]]
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        at, kind = rng.choice(used), rng.randrange(4)
        if kind == 0:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[at] = rng.choice((0, 0xFF, rng.randrange(256)))
        else:
            at &= ~7
            there = rng.choice(used) & ~7
            data[at:at + 8] = data[there:there + 8] if kind == 2 else \
                rng.choice((0, 1, rng.randrange(0, len(data), page))).to_bytes(8, "little")
    return bytes(data)


def second_reading(page, at, data):
    try:
        num, sessions, flbs = luo_reader.read_luo(data, page, at)
    except Refused:
        return "refused\n"
    lines = [f"luo {num}"]
    for name, files in sessions.items():
        lines.append(f"session {name.hex()} {len(files)}")
        lines += [f"file {handler.hex()} {value} {token}" for handler, value, token in files]
    lines += [f"flb {name.hex()} {value} {count}" for name, value, count in flbs]
    return "".join(line + "\n" for line in lines)


def main():
    dump = sys.argv[1]
    images, damages = (int(x) for x in (sys.argv[2:] + ["40", "40"])[:2])
    seed = int(os.environ.get("KHO_SEED", time.time_ns() % 10**9))
    print(f"KHO_SEED={seed}")
    cases = []
    for number in range(seed, seed + images):
        rng = random.Random(number)
        page, at, data = Maker(rng).make()
        cases.append((f"image {number}", page, at, data))
        cases += [(f"image {number}, damage {i}", page, at, damage(data, page, rng))
                  for i in range(damages)]
    with tempfile.NamedTemporaryFile() as file:
        for _, page, at, data in cases:
            file.write(struct.pack("<QQQ", page.bit_length() - 1, at, len(data)) + data)
        file.flush()
        out = subprocess.run([dump, file.name], capture_output=True, text=True, check=True).stdout
    readings, refused, failures = out.split("end\n")[:-1], 0, 0
    assert len(readings) == len(cases)
    for (what, page, at, data), first in zip(cases, readings):
        second = second_reading(page, at, data)
        refused += first == "refused\n"
        if first != second:
            failures += 1
            print(f"{what}: the readers disagree: library\n{first}second reader\n{second}",
                  file=sys.stderr)
    print(f"{len(cases) - refused} images accepted, {refused} refused, {failures} disagreements")
    return bool(failures) or not refused or refused == len(cases)


if __name__ == "__main__":
    sys.exit(main())
