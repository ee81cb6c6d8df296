# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#
# A second reader of pool-v1, written from docs/abi.md and from nothing else.
import struct

from kho_bytes import Refused, check
from slab_reader import LIVE, read_large

MAGIC, VERSION = 0x4C4F4F50204F484B, 1
RING, LINK = 16, 16


class Pool:
    """The pool at address @head of an arena. blocks: addresses of links, or None: one of them is damaged."""

    def __init__(self, arena, head):
        self.arena, self.head, self.ring = arena, head, head + RING
        self.mended = {}
        check(self.live(head) >= 64, "pool's object")
        magic, version, pad = struct.unpack_from("<QII", arena.data, head - arena.base)
        _, _, self.mending, self.updates, self.top, self.top_size = struct.unpack_from(
            "<6Q", arena.data, head - arena.base + 16)
        check((magic, version, pad) == (MAGIC, VERSION, 0), "pool")
        if self.mending:
            self.mend(self.mending)
        self.neighbours(self.ring)
        if self.top:
            block = self.top - LINK
            check(self.link(block), "top")
            check(self.top_size <= self.live(block) - LINK, "top_size")
            self.neighbours(block)
        self.blocks = self.walk()

    # ---- objects of the heap ----

    def live(self, address):
        """Bytes of the live object that begins there, or 0."""
        pa = address - self.arena.base
        for block, order in self.arena.blocks:
            if address % 16 or not block <= pa < block + (4096 << order):
                continue
            try:
                if self.arena.kinds[block] == "SLAB":
                    slab = self.arena.slab(block, order)
                    i, rest = divmod(pa - block - slab.off, slab.size)
                    return slab.size if not rest and 0 <= i < slab.nr and slab.states[i] == LIVE else 0
                return read_large(self.arena.data, pa, self.arena.data_pa, self.arena.size)[2] \
                    if self.arena.kinds[block] == "LARGE" else 0
            except Refused:
                return 0
        return 0

    # ---- links ----

    def link(self, address):
        return address == self.ring or self.live(address) >= LINK

    def next(self, link):
        return self.arena.u64(link - self.arena.base)

    def prev(self, link):
        return self.mended.get(link) or self.arena.u64(link - self.arena.base + 8)

    def neighbours(self, link):
        check(self.link(self.next(link)) and self.link(self.prev(link)), "neighbours")
        check(self.prev(self.next(link)) == link == self.next(self.prev(link)), "neighbours")

    def mend(self, m):
        check(self.link(m) and self.link(self.next(m)), "mending")
        n = self.next(m)
        check(self.link(self.next(n)), "mending")
        o = self.next(n)
        if m != self.ring:
            check(m != n and self.link(self.prev(m)) and self.next(self.prev(m)) == m, "mending")
        check(self.prev(o) == n or m == self.ring and (n == m or self.prev(n) == self.prev(o) == m), "mending")
        self.mended[n] = m
        self.mended[o] = n

    def walk(self):
        blocks, before, at = [], self.ring, self.next(self.ring)
        while at != self.ring:
            if not self.link(at) or at in blocks or self.prev(at) != before or not self.link(self.next(at)) or \
                    self.prev(self.next(at)) != at:
                return None
            blocks.append(at)
            before, at = at, self.next(at)
        return blocks


def pool_told(pool):
    end = "stays" if pool.blocks is None else f"freed {len(pool.blocks)}"
    return f"{int(pool.updates != 0)} {pool.top_size if pool.top else 0} {end}"
