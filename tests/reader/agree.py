#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#
# Two readers, one image: arenas that a random program left, and the same with random damage, read
# by the library (arena_dump) and by arena_reader.py. Both must refuse, or both must say the same.
#
# usage: agree.py ARENA_DUMP [ARENAS [DAMAGES]]; KHO_SEED repeats a run
import contextlib
import io
import os
import struct
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import arena_reader  # noqa: E402  (beside this file)
from comparing import Comparison, run  # noqa: E402

STRUCTURES = "array ", "log ", "area ", "slab ", "large ", "kmem_cache "


def second_reading(data):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        try:
            arena_reader.say(arena_reader.Arena(data))
        except arena_reader.Refused:
            return "refused\n"
    return out.getvalue()


def structures(arena):
    """Places of arrays, block sets, slabs, large objects and cache records."""
    found = {}
    for s in arena.subtrees:
        if s.type not in (b"array", b"log", b"kmem_cache") or not s.value:
            continue
        pa = s.value - arena.base
        found[f"root {s.name}"] = (pa, pa + 96)
        pages = arena.array(pa).pages if s.type == b"array" else ()
        if s.type == b"log":
            pages = arena.blocks_of(*struct.unpack_from("<QQ", arena.data, pa))[1]
        for page in sorted(pages)[:20]:
            found[f"{s.type.decode()} {page:#x}"] = (page, page + 4096)
            found[f"{s.type.decode()}'s head {page:#x}"] = (page, page + 16)
    for pa, order in arena.blocks:
        if arena.kinds[pa] in ("SLAB", "LARGE"):
            found[f"slab {pa:#x}"] = (pa, pa + 64)
            found[f"states {pa:#x}"] = (pa + 64, pa + 512)
    return found


def targets(data):
    """Where damage is worth while: the fixed part, the tree's nodes, descriptors, structures in data."""
    nodes, descs, start = (int.from_bytes(data[at:at + 8], "little") for at in (80, 88, 96))
    used = [pa for pa in range(nodes, descs, 4096) if any(data[pa:pa + 4096])]
    arena = arena_reader.Arena(data)
    areas = next(s.data for s in arena.subtrees if s.name == "areas")
    chunks = {int.from_bytes(data[at:at + 8], "little") for at in range(areas, areas + 256, 16)}
    chunks = {pa for pa in chunks if start <= pa <= len(data) - 4096}
    return {"fixed": (0, 0x3A000), "header": (0, 152), "fdt": (0x2000, 0x2400),
            "other-fdt": (0x12000, 0x12400), "intents": (0x22000, 0x22200),
            "cells": (0x2A000, 0x2A400), "descs": (descs + start // 2048, descs + len(data) // 2048),
            "data": (start, len(data)), "areas": (areas, areas + 256),
            **{f"chunk {pa:#x}": (pa, pa + 256) for pa in chunks},
            **{f"node {pa:#x}": (pa, pa + 4096) for pa in used}, **structures(arena)}


def damage(data, places, rng):
    data = bytearray(data)
    kinds = sorted({name.split()[0] for name in places})
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        kind = rng.choice(kinds)
        lo, hi = places[rng.choice([name for name in places if name.split()[0] == kind])]
        used = [at for at in range(lo, min(hi, lo + 4096)) if data[at]]
        at = rng.choice(used) if used and rng.random() < 0.7 else rng.randrange(lo, hi)
        kind = rng.randrange(4)
        if kind == 0:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[at] = rng.choice((0, 0xFF, rng.randrange(256)))
        elif kind == 2:
            at &= ~7
            data[at:at + 8] = (rng.randrange(len(data)) & ~4095).to_bytes(8, "little")
        else:
            there = rng.randrange(0, len(data) - 8) & ~7
            at &= ~7
            data[at:at + 8] = data[there:there + 8]
    return bytes(data)


class Readings(Comparison):
    def __init__(self, dump, directory):
        super().__init__(dump, directory)
        self.accepted, self.refused, self.failures = 0, 0, []
        self.structures, self.refused_structures = 0, 0

    def second_reading(self, data):
        return second_reading(data)

    def compare(self, what, first, second, why):
        self.refused += first == "refused\n"
        self.accepted += first != "refused\n"
        lines = [line for line in first.splitlines() if line.startswith(STRUCTURES)]
        self.structures += len(lines)
        self.refused_structures += sum(line.endswith("refused") for line in lines)
        if first != second:
            self.failures.append((f"{what} ({why})", first, second))


def show(failure):
    what, first, second = failure
    print(f"{what}: the readers disagree", file=sys.stderr)
    theirs, ours = second.splitlines(), first.splitlines()
    for line in [f"  library only: {x}" for x in ours if x not in theirs][:5] + \
            [f"  second reader only: {x}" for x in theirs if x not in ours][:5]:
        print(line, file=sys.stderr)


def main():
    comparison = run(Readings, targets, damage, *sys.argv[1:])
    for failure in comparison.failures[:10]:
        show(failure)
    print(f"{comparison.accepted} arenas accepted, {comparison.refused} refused; in the former "
          f"{comparison.structures} structures, {comparison.refused_structures} refused; "
          f"{len(comparison.failures)} disagreements")
    return bool(comparison.failures) or not comparison.refused_structures or not comparison.refused


if __name__ == "__main__":
    sys.exit(main())
