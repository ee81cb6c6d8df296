#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#
# Two readers, one image: random trees, arrays, block sets and vmalloc areas in pages of 64 bytes to
# 64 KiB, and the same with random damage, read by the library (core_dump) and by core_reader.py. Of
# each structure both must refuse, or both must say the same.
#
# usage: core_agree.py CORE_DUMP [IMAGES [DAMAGES]]; KHO_SEED repeats a run
import os
import random
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from core_reader import Image, read_array, read_blocks, read_tree, read_vmalloc  # noqa: E402
from kho_bytes import Refused, digest  # noqa: E402

SHIFTS = 6, 12, 14, 16
NR_AREAS, NR_SETS = 4, 3


class Dump:
    """A file of core_dump: what its head says, and the structures in it."""

    def __init__(self, raw):
        head = struct.unpack_from("<9Q", raw)
        self.shift, self.size, self.backed, self.nodes, self.lo, self.root = head[:6]
        self.entry_sizes = head[6:]
        self.data = bytearray(raw[72:])
        self.page = 1 << self.shift

    def image(self, hi=None):
        return Image(self.data, self.shift, self.size, self.lo, hi)

    def tree(self):
        return set(read_tree(self.image(), self.root, self.nodes, self.lo))

    def array(self):
        return read_array(self.image(self.backed), self.page)

    def set(self, n, tree):
        def covered(pa):
            return any((pa & -(self.page << order), order) in tree for order in orders)
        orders = {order for _, order in tree or ()}
        head, = struct.unpack_from("<Q", self.data, 3 * self.page + 8 * n)
        return read_blocks(self.image(), self.entry_sizes[n], head, covered if tree is not None else None)

    def area(self, n, tree):
        desc = bytes(self.data[2 * self.page + 16 * n:2 * self.page + 16 * n + 16])
        return desc, None if not any(desc[:8]) else read_vmalloc(self.image(), desc, tree, True)


def said(what, say):
    try:
        return say()
    except Refused:
        return [f"{what} refused"]


def say_array(dump):
    array = dump.array()
    words = [word for item in array.entries.items() for word in item]
    return [f"array {array.count} {len(array.pages)} {digest(words):016x}"]


def say_set(dump, n, tree):
    records, blocks = dump.set(n, tree)
    size = dump.entry_sizes[n]
    sum_of = digest(b"".join(dump.data[at:at + size] for at in records))
    return [f"set {n} {len(blocks)} {len(records)} {sum_of:016x}"]


def say_area(dump, n, tree):
    desc, found = dump.area(n, tree)
    if not found:
        return [f"area {n} none"]
    blocks, chunks = found
    per, words = (dump.page >> 3) - 1, []
    for i, chunk in enumerate(chunks):
        words += [chunk, 1] + [word for pa in blocks[i * per:i * per + per] for word in (pa, 0)]
    _, total, flags, order = struct.unpack("<QIHH", desc)
    return [f"area {n} {total} {flags} {order} {digest(words):016x}"]


def second_reading(dump):
    tree = None
    try:
        tree = dump.tree()
        lines = [f"block {pa:#x} {order}" for pa, order in sorted(tree)]
    except Refused:
        lines = ["tree refused"]
    lines += said("array", lambda: say_array(dump))
    for n in range(NR_SETS):
        lines += said(f"set {n}", lambda: say_set(dump, n, tree))
    for n in range(NR_AREAS):
        lines += said(f"area {n}", lambda: say_area(dump, n, tree))
    return lines


def targets(dump):
    """Where damage is worth while: descriptors, heads of nodes and blocks, chunks."""
    page, found = dump.page, {}
    for n in (1, 2, 3):
        found[f"page {n}"] = (n * page, n * page + min(page, 64))
    found["root"] = (dump.root, dump.root + page)
    for pa in range(dump.nodes, dump.lo, page):
        if any(dump.data[pa:pa + page]) and len(found) < 12:
            found[f"node {pa:#x}"] = (pa, pa + page)
    for pa in sorted(dump.array().pages)[:40]:
        found[f"array {pa:#x}"] = (pa, pa + page)
        found[f"array's head {pa:#x}"] = (pa, pa + 16)
    tree = dump.tree()
    for n in range(NR_SETS):
        for pa in dump.set(n, tree)[1]:
            found[f"set {pa:#x}"] = (pa, pa + 16)
    for n in range(NR_AREAS):
        try:
            chunks = (dump.area(n, tree)[1] or ((), ()))[1]
        except Refused:
            continue  # its blocks were taken back by something else
        for pa in chunks:
            found[f"chunk {pa:#x}"] = (pa, pa + page)
    return found


def damages(dump, places, rng):
    """Words to change, as {offset: bytes}."""
    words, data = {}, dump.data
    kinds = sorted({name.split()[0] for name in places})
    for _ in range(rng.choice((1, 1, 1, 1, 2, 4))):
        kind = rng.choice(kinds)
        lo, hi = places[rng.choice([name for name in places if name.split()[0] == kind])]
        used = [at for at in range(lo, min(hi, lo + 2048)) if data[at]]
        at = rng.choice(used) if used and rng.random() < 0.8 else rng.randrange(lo, hi)
        offset = at & ~7
        word = bytearray(words.get(offset, data[offset:offset + 8]))
        how = rng.randrange(6)
        if how < 2:
            word[at - offset] ^= 1 << rng.randrange(8)
        elif how == 2:
            word[at - offset] = rng.choice((0, 1, 2, 4, 8, 0xFF, rng.randrange(256)))
        elif how == 3:
            word[:] = (rng.randrange(dump.backed) & -dump.page).to_bytes(8, "little")
        elif how == 4:
            lo, hi = places[rng.choice(list(places))]
            there = rng.randrange(lo, hi) & ~7
            word[:] = data[there:there + 8]
        else:
            value = int.from_bytes(word, "little") + rng.choice((-1, 1, 8, -8, dump.page, -dump.page))
            word[:] = (value & (1 << 64) - 1).to_bytes(8, "little")
        words[offset] = bytes(word)
    return words


class Tally:
    def __init__(self):
        self.images = self.failures = 0
        self.accepted, self.refused = {}, {}

    def count(self, lines):
        for line in lines:
            what = line.split()[0]
            if line.endswith("refused"):
                self.refused[what] = self.refused.get(what, 0) + 1
            elif not line.endswith("none") and what != "block":
                self.accepted[what] = self.accepted.get(what, 0) + 1
        if lines[0] != "tree refused":
            self.accepted["tree"] = self.accepted.get("tree", 0) + 1

    def compare(self, what, first, second):
        self.images += 1
        self.count(second)
        if first == second:
            return
        self.failures += 1
        if self.failures <= 10:
            print(f"{what}: the readers disagree", file=sys.stderr)
            for name, ours, theirs in (("library", first, second), ("second reader", second, first)):
                for line in [x for x in ours if x not in theirs][:5]:
                    print(f"  {name} only: {line}", file=sys.stderr)


def one_image(tool, number, shift, nr_damages, directory, tally):
    path, patches = os.path.join(directory, "image"), os.path.join(directory, "patches")
    subprocess.run([tool, "make", str(number), str(shift), path], check=True)
    with open(path, "rb") as file:
        dump = Dump(file.read())
    rng, places = random.Random(number), targets(dump)
    cases = [{}] + [damages(dump, places, rng) for _ in range(nr_damages)]
    with open(patches, "w", encoding="ascii") as file:
        for words in cases:
            file.write(" ".join(f"{at:x}:{int.from_bytes(word, 'little'):x}"
                                for at, word in words.items()) + "\n")
    out = subprocess.run([tool, "read", path, patches], stdout=subprocess.PIPE, text=True, check=True).stdout
    readings = out.split("end\n")[:-1]
    assert len(readings) == len(cases)
    for i, (words, first) in enumerate(zip(cases, readings)):
        before = {at: bytes(dump.data[at:at + 8]) for at in words}
        for at, word in words.items():
            dump.data[at:at + 8] = word
        tally.compare(f"image {number}, pages of {dump.page}, damage {i}: {words}",
                      first.splitlines(), second_reading(dump))
        for at, word in before.items():
            dump.data[at:at + 8] = word


def main():
    tool = sys.argv[1]
    images, nr_damages = (int(x) for x in (sys.argv[2:] + ["16", "40"])[:2])
    seed = int(os.environ.get("KHO_SEED", time.time_ns() % 10**9))
    print(f"KHO_SEED={seed}")
    tally = Tally()
    with tempfile.TemporaryDirectory() as directory:
        for number in range(seed, seed + images):
            one_image(tool, number, SHIFTS[number % 4], nr_damages, directory, tally)
    kinds = " ".join(f"{what} {tally.accepted.get(what, 0)}/{tally.refused.get(what, 0)}"
                     for what in ("tree", "array", "set", "area"))
    print(f"{tally.images} images, accepted/refused: {kinds}; {tally.failures} disagreements")
    return bool(tally.failures) or not all(tally.refused.get(k) and tally.accepted.get(k)
                                           for k in ("tree", "array", "set", "area"))


if __name__ == "__main__":
    sys.exit(main())
