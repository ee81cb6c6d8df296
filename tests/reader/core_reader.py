# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#
# A second reader of radix-v1, array-v1, block-v1 and vmalloc-v1, for every page size, written from
# docs/abi.md and from nothing else: slow, and as straightforward as the document.
import struct

from kho_bytes import check

LAST = (1 << 64) - 1


class Image:
    """Bytes, the size of pages, and where data may lie: [lo, hi). @size: of the image; @data may end before."""

    def __init__(self, data, shift, size=None, lo=0, hi=None):
        self.data, self.shift, self.page = data, shift, 1 << shift
        self.size = len(data) if size is None else size
        self.lo, self.hi = lo, self.size if hi is None else hi

    def take(self, layout, pa):
        check(pa + struct.calcsize(layout) <= len(self.data), f"{pa:#x} is not in the image")
        return struct.unpack_from(layout, self.data, pa)


def place(image, pa, size, what, align=None):
    """Is this a place where data may lie?"""
    check(pa % (align or size) == 0, f"ALIGN: {what} {pa:#x}")
    check(pa and image.lo <= pa and pa + size <= min(image.hi, image.size), f"RANGE: {what} {pa:#x}")


# ---- radix-v1 -----------------------------------------------------------------

def tree_shape(shift):
    order0, table, bitmap = 64 - shift, shift - 3, shift + 3
    return order0, table, bitmap, -(-(order0 - bitmap + 1) // table) + 1


def key_of(shift, pa, order):
    return 1 << 64 - shift - order | pa >> shift + order


def read_block_key(image, key):
    """The block of a key, as (pa, order)."""
    order0 = 64 - image.shift
    check(key and key < 1 << order0 + 1, f"key {key:#x}")
    order = order0 - (key.bit_length() - 1)
    pa = (key ^ 1 << order0 - order) << image.shift + order
    check(pa + (image.page << order) <= image.size, f"key {key:#x}: in the image")
    check(image.lo <= pa and pa + (image.page << order) <= image.hi, f"block {pa:#x}: where data lies")
    return pa, order


def read_leaf(image, pa, first):
    bits = int.from_bytes(image.data[pa:pa + image.page], "little")
    while bits:
        low = bits & -bits
        bits ^= low
        yield read_block_key(image, first | low.bit_length() - 1)


def read_tree(image, root, nodes, nodes_end):
    """Every preserved block as (pa, order), by address."""
    order0, table, bitmap, levels = tree_shape(image.shift)
    seen, blocks, todo = set(), [], [(root, levels - 1, 0)]
    while todo:
        pa, level, key = todo.pop()
        check(pa % image.page == 0 and pa and nodes <= pa and pa + image.page <= nodes_end,
              f"node {pa:#x}")
        check(pa not in seen, f"node {pa:#x} twice")
        seen.add(pa)
        if not level:
            blocks += read_leaf(image, pa, key)
            continue
        for i, child in enumerate(image.take(f"<{1 << table}Q", pa)):
            if child:
                first = key | i << bitmap + (level - 1) * table
                check(first < 1 << order0 + 1, f"word {i} of {pa:#x}")
                todo.append((child, level - 1, first))
    return sorted(blocks)


# ---- array-v1 -----------------------------------------------------------------

def array_cap(shift, width):
    return ((1 << shift) - 16) // (8 + width)


class Array:
    """entries: {index: entry}; pages: those of its nodes, and of nodes that are being freed."""

    def __init__(self, image, desc):
        self.image, self.desc = image, desc
        self.pages, self.entries, self.leaves = set(), {}, set()
        self.count = self.read_desc(*image.take("<IHBBQQQQQQQ", desc))

    def read_desc(self, magic, version, shift, zero, root, count, following, slot, doomed, *zeros):
        check((magic, version, shift) == (0x4B415252, 1, self.image.shift), "array")
        check(not zero and not any(zeros), "reserved")
        changing = root and following != count
        if changing:
            count = self.settled(count, following, slot)
        if root:
            self.read_tree(root)
        check(not changing or any(slot in words for words in self.leaves), "slot_pa of no leaf")
        found = self.entries
        if doomed and doomed != root:
            self.entries = {}
            self.read_tree(doomed, doomed=True)
            self.entries = found
        check(not root or len(found) == count, "count")
        return count if root else 0

    def settled(self, count, following, slot):
        check(abs(following - count) == 1 or {count, following} == {0, LAST}, "next_count")
        check(slot % 8 == 0, "slot_pa")
        check(slot and self.image.lo <= slot and slot + 8 <= self.image.hi, "slot_pa")
        word, = self.image.take("<Q", slot)
        grows = following == (count + 1 & LAST)
        return following if bool(word) == grows else count

    def read_tree(self, root, doomed=False):
        level = root & 63
        check(level <= 23, "level of the root")
        todo = [(root & ~63, level, 0, LAST)]
        while todo:
            pa, level, lo, last = todo.pop()
            keys = self.read_node(pa, level, lo, last)
            if not level:
                for key, word in keys:
                    self.entry(key, word)
                continue
            check(doomed or (keys and keys[0][0] == lo), f"first separator of {pa:#x}")
            ends = [key - 1 for key, _ in keys[1:]] + [last]
            todo += [(word, level - 1, key, end) for (key, word), end in zip(keys, ends)]

    def page(self, pa):
        image = self.image
        place(image, pa, image.page, "array's page")
        check(pa + image.page <= self.desc or self.desc + 64 <= pa, "the descriptor's page")
        check(pa not in self.pages, f"array's page {pa:#x} twice")
        self.pages.add(pa)

    def read_node(self, pa, level, lo, last):
        """What counts of a node: (key, word), ascending."""
        self.page(pa)
        base, width, has_level, nr_sorted, nr_used, _live = self.image.take("<QBBHHH", pa)
        check(has_level == level and width in ((8,) if level else (0, 2, 4, 8)), f"node {pa:#x}")
        cap = array_cap(self.image.shift, width)
        words = self.image.take(f"<{cap}Q", pa + 16)
        if not level:
            self.leaves.add(range(pa + 16, pa + 16 + 8 * cap, 8))
        if width:
            check(nr_sorted <= nr_used <= cap and nr_used - nr_sorted <= 32, f"keys of {pa:#x}")
            letter = {2: "H", 4: "I", 8: "Q"}[width]
            keys = self.image.take(f"<{nr_used}{letter}", pa + 16 + 8 * cap)
            check(all(a < b for a, b in zip(keys[:nr_sorted], keys[1:nr_sorted])),
                  f"order of {pa:#x}")
        else:
            check(not nr_sorted and not nr_used and base + cap - 1 <= LAST, f"node {pa:#x}")
            keys = range(cap)
        base = 0 if level else base
        found = sorted((base + key, word) for key, word in zip(keys, words)
                       if lo <= base + key <= last and (word or not level))
        check(all(a[0] < b[0] for a, b in zip(found, found[1:])), f"a key of {pa:#x} twice")
        return [(key, word) for key, word in found if word]

    def entry(self, index, word):
        check(word & 1 or (word & 7 == 0 and word < self.image.size), f"entry of {index:#x}")
        self.entries[index] = word


def read_array(image, desc):
    """An Array, whose entries ascend."""
    array = Array(image, desc)
    array.entries = dict(sorted(array.entries.items()))
    return array


# ---- block-v1 -----------------------------------------------------------------

def read_blocks(image, size, pa, covered=None):
    """Addresses of the records of a chain, and of its blocks. covered(pa): is that page preserved?"""
    records, blocks, empty = [], [], False
    seen = set()
    while pa:
        check(pa not in seen, "CYCLE")
        check(len(seen) < 10000, "RANGE")
        check(pa % image.page == 0, "ALIGN")
        check(pa + image.page <= image.size, "RANGE")
        check(covered is None or covered(pa), "NOT_PRESERVED")
        following, count = image.take("<QQ", pa)
        check(count <= (image.page - 16) // size, "RANGE")
        check(not count or not empty, "FORMAT")
        empty = not count
        records += [pa + 16 + i * size for i in range(count)]
        seen.add(pa)
        blocks.append(pa)
        pa = following
    return records, blocks


# ---- vmalloc-v1 ---------------------------------------------------------------

def read_vmalloc(image, desc, preserved=None, alone=False):
    """
    The blocks that a descriptor (16 bytes) stands for, and the chunks that list them. @preserved: the tree's
    blocks, as a set of (pa, order), or None; @alone: no page may be in two of them.
    """
    first, total, flags, order = struct.unpack("<QIHH", desc)
    pages = set()

    def part(pa, part_order):
        size = image.page << part_order
        place(image, pa, size, "part")
        check(preserved is None or (pa, part_order) in preserved, f"NOT_PRESERVED: {pa:#x}")
        if alone:
            own = range(pa, pa + size, image.page)
            check(pages.isdisjoint(own), f"OVERLAP: {pa:#x}")
            pages.update(own)

    check(not flags & ~3, "VERSION")
    check(order <= 31 and total % (1 << order) == 0, "ORDER")
    check(0 < total <= (min(image.hi, image.size) - image.lo) // image.page, "RANGE")
    found, chunks, chunk = [], [], first
    part(chunk, 0)
    while chunk:
        check(chunk not in chunks, "CYCLE")
        following, *words = image.take(f"<{image.page // 8}Q", chunk)
        nr = words.index(0) if 0 in words else len(words)
        check(not any(words[nr:]) and (nr == len(words) or not following), "FORMAT")
        check(len(found) + nr <= total >> order, "RANGE")
        for pa in words[:nr]:
            part(pa, order)
        found += words[:nr]
        chunks.append(chunk)
        chunk = following
        if chunk:
            part(chunk, 0)
    check(len(found) == total >> order, "RANGE")
    return found, chunks
