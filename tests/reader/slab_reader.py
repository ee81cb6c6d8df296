# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#
# A second reader of slab-v1 (slabs, named caches, large objects), written from docs/abi.md and from
# nothing else.
import re
import struct

from kho_bytes import check, crc32c

FREE, LIVE, FREED, RESERVED = 0, 0xA5, 0x5A, 0x3C
CLASSES = [16 * i for i in range(1, 9)] + [
    base + base // 4 * i for base in (128 << i for i in range(8)) for i in range(1, 5)]


def placed_crc(data, pa):
    return crc32c(data + struct.pack("<Q", pa))


def slab_order(shift, size):
    return (16 if size <= 4096 else 18) - shift


def slab_geometry(size, order, page=4096):
    """nr_objects and objects_off."""
    total, align = page << order, min(size & -size, page)
    nr = (total - 64) // (size + 1)
    while True:
        off = -(-(64 + nr) // align) * align
        if off + nr * size <= total:
            return nr, off
        nr -= 1


class Slab:
    """size, nr, off, flags, cache of a slab at @pa; states: its state bytes. @data: from its start on."""

    def __init__(self, data, pa, order, shift=12):
        magic, version, has_order, self.size, self.nr, self.off, self.flags, self.cache = \
            struct.unpack_from("<4sHHIIIIQ", data)
        check((magic, version, has_order) == (b"SLAB", 1, order), "slab")
        check(struct.unpack_from("<I", data, 60)[0] == placed_crc(data[:60], pa), "slab's crc")
        check(not self.flags & ~1 and (self.cache or not self.flags), "slab's flags")
        check(self.size % 16 == 0 and 16 <= self.size <= 32768, "slab's object size")
        check(self.cache or self.size in CLASSES, "slab's size class")
        check(order == slab_order(shift, self.size) and pa % (1 << shift + order) == 0, "slab's order")
        check((self.nr, self.off) == slab_geometry(self.size, order, 1 << shift), "slab's geometry")
        check(self.cache % 16 == 0 and not any(data[32:60]), "slab's cache, reserved")
        self.data, self.bytes = data, 1 << shift + order
        self.states = data[64:64 + self.nr]
        known = {FREE, LIVE, FREED} | ({RESERVED} if self.flags else set())
        check(set(self.states) <= known, "state")

    def free_bytes(self):
        """All that is in no object that is LIVE, RESERVED or FREED."""
        yield self.data[64 + self.nr:self.off]
        for i in range(self.nr):
            if self.states[i] == FREE:
                yield self.data[self.off + i * self.size:self.off + (i + 1) * self.size]
        yield self.data[self.off + self.nr * self.size:self.bytes]

    def check_free_bytes(self):
        check(not self.flags or not any(map(any, self.free_bytes())), "free bytes")

    def object(self, i):
        return self.data[self.off + i * self.size:self.off + (i + 1) * self.size]


def read_slab(data, pa, order, shift=12):
    """A whole slab."""
    slab = Slab(data, pa, order, shift)
    slab.check_free_bytes()
    return slab


def read_cache(data, pa):
    """(name, size, align, object_size, flags) of a record of 96 bytes."""
    magic, version, pad, size, align, object_size, flags, name, pad2, crc = struct.unpack(
        "<4sHHIIII64sII", data)
    check((magic, version, pad, pad2) == (b"CACH", 1, 0, 0) and not flags & ~1, "cache")
    check(crc == placed_crc(data[:92], pa), "cache's crc")
    check(align in [1 << i for i in range(13)] and 1 <= size <= 32768, "cache's size, alignment")
    step = max(align, 16)
    check(object_size == -(-size // step) * step, "cache's object size")
    check(re.fullmatch(rb"[A-Za-z0-9._+-]{1,63}\0+", name), "cache's name")
    return name.rstrip(b"\0").decode(), size, align, object_size, flags


def read_large(data, pa, lo, hi):
    """(run_pa, nr_pages, size) of the object at @pa of an arena, whose header is before it."""
    magic, version, pad, run, pages, size, crc = struct.unpack_from("<4sHHQQQI", data, pa - 64)
    check((magic, version) == (b"LARG", 1), "large object")
    check(crc == placed_crc(data[pa - 64:pa - 32], pa - 64), "large object's crc")
    check(run % 4096 == 0 and lo <= run < pa, "large object's run")
    check(run + pages * 4096 <= hi and pa + size == run + pages * 4096, "large object's end")
    return run, pages, size
