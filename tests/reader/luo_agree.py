#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#
# Two readers, one image: random images of what Linux hands over (sessions, files, FLBs, memory files,
# reserved memory, metadata), and the same with random damage, read by the library (luo_dump) and by
# luo_reader.py and fdt_reader.py. Of each part both must refuse, or both must say the same.
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
from core_reader import Image  # noqa: E402
from fdt_reader import read_memblock  # noqa: E402
from kho_bytes import Refused, digest, round_up  # noqa: E402


def fdt(root, children, rng):
    """A flattened device tree with a NOP here and there."""
    strings = bytearray()

    def prop(name, value):
        at = strings.find(name + b"\0")
        if at < 0:
            at = len(strings)
            strings.extend(name + b"\0")
        nop = struct.pack(">I", 4) * (rng.random() < 0.1)
        return nop + struct.pack(">III", 3, len(value), at) + value.ljust(round_up(len(value), 4), b"\0")
    body = struct.pack(">II", 1, 0) + b"".join(prop(*item) for item in root)
    for name, props in children:
        body += struct.pack(">I", 1) + name.ljust(round_up(len(name) + 1, 4), b"\0")
        body += b"".join(prop(*item) for item in props) + struct.pack(">I", 2)
    body += struct.pack(">II", 2, 9)
    at = 56 + len(body)
    return struct.pack(">10I", 0xD00DFEED, at + len(strings), 56, at, 40, 17, 16, 0, len(strings),
                       len(body)) + bytes(16) + body + strings



class Maker:
    """An image: pages are handed out at random, page 0 is not."""

    def __init__(self, rng):
        self.rng, self.page = rng, 1 << rng.choice((7, 7, 8, 12))
        nr = 200 if self.page < 4096 else 64
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

    def put(self, body):
        pa = self.new()
        self.data[pa:pa + len(body)] = body
        return pa

    def memfd(self):
        rng = self.rng
        pages = rng.choice((0, 1, 9, rng.randint(1, 1 << 20)))
        indices = sorted(rng.sample(range(pages), min(pages, rng.choice((0, 1, 7, 20)))))
        entries = b"".join(struct.pack("<QQ", rng.randint(1, len(self.data) // self.page - 1)
                                       | rng.randrange(4) << 52, index) for index in indices)
        desc = rng.randbytes(16)
        if entries:
            parts = [entries[at:at + self.page] for at in range(0, len(entries), self.page)]
            blocks = [self.put(part) for part in parts]
            last = rng.random() < 0.3 and len(blocks) == self.page // 8 - 1
            chunk = self.put(struct.pack(f"<{1 + len(blocks)}Q", self.new() if last else 0, *blocks))
            desc = struct.pack("<QIHH", chunk, len(blocks), 1, 0)
        size = max(0, pages * self.page - rng.choice((0, 0, rng.randrange(self.page))))
        return self.put(struct.pack("<QQIIQ", rng.getrandbits(40), size, rng.randrange(64), 0,
                                    len(indices)) + desc)

    def memblock(self):
        """At most a page."""
        rng, at, regions = self.rng, 0, []
        for i in range(0 if self.page < 256 else rng.randint(0, 9 if self.page > 256 else 1)):
            at += rng.randrange(self.page)
            size = rng.randint(1, self.page)
            regions.append((b"r%d" % i, [(b"compatible", b"reserve-mem-v1\0"),
                                         (b"start", struct.pack("<Q", at)),
                                         (b"size", struct.pack("<Q", size))]))
            at += size
        rng.shuffle(regions)
        body = fdt([(b"compatible", b"memblock-v1\0")], regions, rng)
        return self.put(body) if len(body) <= self.page else self.new()

    def metadata(self):
        release = self.rng.choice((b"7.2.%d" % self.rng.randrange(99), b"", b"x" * 64, b"y" * 65))
        version = self.rng.choice((1, 1, 1, 2))
        return self.put(struct.pack("<I65sI", version, release, self.rng.getrandbits(32)))

    def make(self):
        rng, at, sessions = self.rng, self.new(), []
        for i in range(rng.randint(0, 6)):
            files = [b"memfd-v2".ljust(48, b"\0") + struct.pack("<QQ", self.memfd(), t)
                     if k % 3 == 0 else
                     self.name(b"other", k % 2, 48) + struct.pack("<QQ", rng.getrandbits(64), t)
                     for k, t in enumerate(rng.sample(range(99), rng.randint(0, 4)))]
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
        return self.page, (at, self.memblock(), self.metadata()), bytes(self.data)


def damage(data, used, page, rng):
    """@used: places of bytes that are not 0."""
    data = bytearray(data)
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


def told(what, lines_of):
    try:
        return lines_of()
    except Refused:
        return [f"{what} refused"]


def memfd_lines(image, pa):
    pos, size, seals, folios = luo_reader.read_memfd(image, pa)
    words = digest(word for folio in folios for word in folio)
    return [f"memfd {pos} {size} {seals} {len(folios)} {words:016x}"]


def luo_lines(image, at):
    num, sessions, flbs = luo_reader.read_luo(image.data, image.page, at)
    lines = [f"luo {num}"]
    for name, files in sessions.items():
        lines.append(f"session {name.hex()} {len(files)}")
        for handler, value, token in files:
            lines.append(f"file {handler.hex()} {value} {token}")
            if handler == b"memfd-v2":
                lines += told("memfd", lambda: memfd_lines(image, value))
    return lines + [f"flb {name.hex()} {value} {count}" for name, value, count in flbs]


def memblock_lines(image, pa):
    regions = read_memblock(image.data[pa:pa + image.page], image.size)
    return ["memblock"] + [f"region {name.hex()} {start} {size}" for name, (start, size) in regions.items()]


def metadata_lines(image, pa):
    found = luo_reader.read_metadata(image.data[pa:pa + 73])
    return [f"metadata {found[0].hex()} {found[1]}" if found else "metadata ignored"]


def second_reading(page, places, data):
    image = Image(data, page.bit_length() - 1)
    return told("luo", lambda: luo_lines(image, places[0])) + \
        told("memblock", lambda: memblock_lines(image, places[1])) + \
        told("metadata", lambda: metadata_lines(image, places[2]))


class Tally:
    """What of which kind was accepted and refused; and images of which the readers say different things."""

    def __init__(self):
        self.images, self.kinds, self.failures = 0, {}, 0

    def compare(self, what, first, second):
        self.images += 1
        for line in first:
            self.kinds.setdefault(line.split()[0], [0, 0])[line.endswith(" refused")] += 1
        if first == second:
            return
        self.failures += 1
        if self.failures <= 10:
            print(f"{what}: the readers disagree: library {[x for x in first if x not in second][:4]}, "
                  f"second reader {[x for x in second if x not in first][:4]}", file=sys.stderr)


def one_image(dump, number, nr_damages, tally):
    rng = random.Random(number)
    page, places, data = Maker(rng).make()
    used = [at for at in range(len(data)) if data[at]]
    cases = [data] + [damage(data, used, page, rng) for _ in range(nr_damages)]
    with tempfile.NamedTemporaryFile() as file:
        for case in cases:
            file.write(struct.pack("<5Q", page.bit_length() - 1, *places, len(case)) + case)
        file.flush()
        out = subprocess.run([dump, file.name], stdout=subprocess.PIPE, text=True, check=True).stdout
    readings = out.split("end\n")[:-1]
    assert len(readings) == len(cases)
    for i, (case, first) in enumerate(zip(cases, readings)):
        tally.compare(f"image {number}, damage {i}", first.splitlines(), second_reading(page, places, case))


def main():
    images, nr_damages = (int(x) for x in (sys.argv[2:] + ["40", "40"])[:2])
    seed = int(os.environ.get("KHO_SEED", time.time_ns() % 10**9))
    print(f"KHO_SEED={seed}")
    tally = Tally()
    for number in range(seed, seed + images):
        one_image(sys.argv[1], number, nr_damages, tally)
    kinds = [f"{kind} {tally.kinds.get(kind, [0, 0])[0]}/{tally.kinds.get(kind, [0, 0])[1]}"
             for kind in ("luo", "memfd", "memblock", "metadata")]
    print(f"{tally.images} images, accepted/refused: {' '.join(kinds)}; {tally.failures} disagreements")
    return bool(tally.failures) or any("/0" in kind or " 0/" in kind for kind in kinds)


if __name__ == "__main__":
    sys.exit(main())
