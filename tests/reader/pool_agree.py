#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#
# Two readers, one image: pools that a random program left, and the same with random damage to pools, links and the
# states of the objects that they lie in, read by <kho/allocator.hpp> (pool_dump) and by pool_reader.py. Both must
# refuse, or both must say the same.
#
# usage: pool_agree.py POOL_DUMP [ARENAS [DAMAGES]]; KHO_SEED repeats a run
import collections
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from arena_reader import Arena  # noqa: E402  (beside this file)
from comparing import Comparison, run  # noqa: E402
from kho_bytes import Refused  # noqa: E402
from pool_reader import Pool, pool_told  # noqa: E402


def pools_of(arena):
    return [s for s in arena.subtrees if s.type == b"pool"]


def second_reading(data):
    arena, lines = Arena(data), []
    for s in sorted(pools_of(arena), key=lambda s: s.name):
        try:
            told = pool_told(Pool(arena, s.value))
        except Refused:
            told = "refused"
        lines.append(f"pool {s.name} {told}")
    return lines


def places(data):
    """Offsets of the words of pools and links, and of the states of their objects."""
    arena = Arena(data)
    words, states = [], []
    for s in pools_of(arena):
        pool = Pool(arena, s.value)
        words += range(s.value - arena.base, s.value - arena.base + 64, 8)
        for address in pool.blocks + [s.value]:
            pa = address - arena.base
            words += (pa, pa + 8)
            for block, order in arena.blocks:
                if arena.kinds[block] == "SLAB" and block <= pa < block + (4096 << order):
                    slab = arena.slab(block, order)
                    states.append(block + 64 + (pa - block - slab.off) // slab.size)
    return words, states


def damage(data, targets, rng):
    words, states = targets
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        at, kind = rng.choice(words), rng.randrange(6)
        if kind == 0:
            data[at + rng.randrange(8)] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[at + rng.randrange(8)] = rng.choice((0, 0xFF, rng.randrange(256)))
        elif kind == 2:
            data[rng.choice(states)] = rng.choice((0, 0xA5, 0x5A, 0x3C, rng.randrange(256)))
        elif kind == 3:
            data[at:at + 8] = bytes(8)
        else:
            there = rng.choice(words)
            data[at:at + 8] = data[there:there + 8]
    return bytes(data)


class Readings(Comparison):
    def __init__(self, dump, directory):
        super().__init__(dump, directory)
        self.failures, self.outcomes = 0, collections.Counter()

    def second_reading(self, data):
        return second_reading(data)

    def compare(self, what, first, second, why):
        for ours, theirs in zip(first.splitlines() + [None], second + [None]):
            if ours != theirs:
                self.failures += 1
                print(f"{what}: library {ours!r}, second reader {theirs!r}", file=sys.stderr)
            elif ours:
                words = ours.split()
                self.outcomes[words[4] if len(words) > 4 else words[2]] += 1


def main():
    comparison = run(Readings, places, damage, *sys.argv[1:])
    said = comparison.outcomes
    print(f"pools: {said['freed']} whole, {said['stays']} with a damaged block, {said['refused']} refused; "
          f"{comparison.failures} disagreements")
    return bool(comparison.failures) or not said["freed"] or not said["stays"] or not said["refused"]


if __name__ == "__main__":
    sys.exit(main())
