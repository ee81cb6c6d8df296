#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#
# A second reader of arenas, written from docs/abi.md and from nothing else, with none of the
# library's code: slow, and as straightforward as the document. It says what is in an arena file,
# a line for each thing, or "refused" with the reason, and must say the same as the library does.
#
# usage: arena_reader.py FILE
import os
import struct
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from core_reader import Image, read_array, read_blocks, read_tree, read_vmalloc  # noqa: E402
from fdt_reader import Fdt  # noqa: E402
from kho_bytes import Refused, check, crc6, crc16, crc32c, digest, round_up, shown, sparse_load  # noqa: E402
from slab_reader import FREED, LIVE, RESERVED, read_cache, read_large, read_slab  # noqa: E402

PAGE = 4096
FIXED_END = 0x3A000
SLOTS = (0x2000, 0x12000)
FDT_MAX = 0xF000
INTENTS, NR_INTENTS = 0x22000, 512
CELLS, NR_CELLS = 0x2A000, 1024
TYPES = {1: "FOLIO", 2: "PAGES", 3: "SLAB", 4: "LARGE", 5: "LARGE_PART", 6: "STRUCT",
         7: "VMALLOC", 8: "VMALLOC_CHUNK"}


class Arena:
    def __init__(self, data):
        self.data = data
        self.size = len(data)
        self.header()
        self.fdt_in_force()
        self.tree()
        self.descriptors()
        self.intents()

    def u64(self, pa):
        return struct.unpack_from("<Q", self.data, pa)[0]

    # ---- header -----------------------------------------------------------

    def checked_word(self, offset):
        word = self.u64(offset)
        check(word & 0xFFFF == crc16(word >> 16, offset), f"checked word at {offset}")
        return word >> 16

    def header(self):
        check(self.size >= 152, "truncated")
        (magic, header_size, version, _compat, _ro, incompat, shift, pad, _id, self.base, self.max,
         self.nodes, self.descs, self.data_pa, self.root, reserved, crc) = struct.unpack_from(
             "<QIIQQQII16sQQQQQQ12sI", self.data)
        check(magic == 0x414E455241204F4B, "magic")
        check(152 <= header_size <= 4096, "header_size")
        check(version == 1, "version")
        check(incompat == 0, "features_incompat")
        check(crc == crc32c(self.data[:124]), "crc")
        check(shift == 12 and pad == 0 and not any(reserved), "constants")
        self.regions()
        check(self.base and self.base % PAGE == 0 and self.base + self.max <= 1 << 47, "base")
        check(self.base % (256 << 10) == 0 and self.max % (256 << 10) == 0, "not the host's")
        check(self.data_pa <= self.size <= self.max and self.size % PAGE == 0, "file size")
        self.fdt = self.checked_word(128)
        check(self.fdt in SLOTS, "root_fdt")
        self.generation = self.checked_word(136)
        self.state = self.checked_word(144)
        check(1 <= self.state <= 4, "state")

    def regions(self):
        section = 128 << 20
        check(self.max % (section if self.max >= section else PAGE) == 0 and
              0 < self.max <= 1 << 47, "max_size")
        nodes = round_up(FIXED_END, 64 << 10)
        descs = nodes + PAGE * (2 * -(-self.max // section) + 226)
        data = round_up(descs + 2 * self.max // PAGE, 2 << 20 if self.max >= section else 64 << 10)
        check(data + (64 << 10) <= self.max, "max_size")
        check((self.nodes, self.descs, self.data_pa, self.root) == (nodes, descs, data, nodes),
              "regions")

    # ---- root FDT ---------------------------------------------------------

    def fdt_in_force(self):
        fdt = Fdt(self.data[self.fdt:self.fdt + FDT_MAX], self.size)
        self.subtrees = fdt.subtrees
        check(fdt.tree_root == self.root, "preserved-memory-map")
        for subtree in self.subtrees:
            if subtree.name == "kexec-metadata":
                check(subtree.type is None and subtree.size == 73 and
                      subtree.data == self.fdt + FDT_MAX, "kexec-metadata")
            elif subtree.type is not None:
                subtree.value = self.cell(subtree)
            else:
                check(subtree.data >= self.data_pa, f"blob of {subtree.name}")

    def cell(self, subtree):
        at = subtree.data - CELLS
        check(subtree.size == 64 and 0 <= at < 64 * NR_CELLS and at % 64 == 0,
              f"cell of {subtree.name}")
        value = self.u64(subtree.data)
        check(not value or self.base + self.data_pa <= value < self.base + self.size,
              f"value of {subtree.name}")
        return value

    # ---- tree -------------------------------------------------------------

    def tree(self):
        """Every block, by address. Nodes lie in their region, blocks in the data region inside the file."""
        self.image = Image(self.data, 12, self.max, self.data_pa, self.size)
        self.blocks = read_tree(self.image, self.root, self.nodes, self.descs)
        self.preserved = set(self.blocks)

    # ---- intent records ---------------------------------------------------

    def in_data(self, address):
        return self.base + self.data_pa <= address < self.base + self.size

    def object_ok(self, address):
        align = PAGE if address & 1 else 16
        return not address or (not (address & ~1) % align and self.in_data(address & ~1))

    def intents(self):
        self.pending = []
        for at in range(INTENTS, INTENTS + 64 * NR_INTENTS, 64):
            slot, value, new, old = struct.unpack_from("<4Q", self.data, at)
            if not slot:
                continue
            if slot & 1:
                pa = slot & ~1
                check(pa % PAGE == 0 and self.data_pa <= pa < self.size and value and
                      value <= (self.size - pa) // PAGE, f"run {slot:#x}")
                self.pending.append((slot, value, new, old))
                continue
            in_cell = CELLS <= slot < CELLS + 64 * NR_CELLS and (slot - CELLS) % 64 == 0
            check(slot % 8 == 0 and (in_cell or self.data_pa <= slot < self.size),
                  f"slot {slot:#x}")
            check(self.object_ok(new) and self.object_ok(old), f"record {at:#x}")
            self.pending.append((slot, value, new, old))

    # ---- what lies there --------------------------------------------------

    def descriptors(self):
        self.kinds = {}
        for pa, order in self.blocks:
            word = struct.unpack_from("<H", self.data, self.descs + 2 * (pa // PAGE))[0]
            check(word and word >> 10 == crc6(word & 0x3FF), f"descriptor of {pa:#x}")
            check(word & 0xF in TYPES and word >> 4 & 0x3F == order, f"descriptor of {pa:#x}")
            self.kinds[pa] = TYPES[word & 0xF]

    # ---- structures -------------------------------------------------------

    def structure_page(self, pa):
        return (pa, 0) in self.preserved and self.kinds[pa] == "STRUCT"

    def array(self, pa):
        check(pa % 8 == 0 and self.data_pa <= pa and pa + 64 <= self.size, "array's descriptor")
        array = read_array(self.image, pa)
        check(all(map(self.structure_page, array.pages)), "array's pages")
        return array

    def blocks_of(self, pa, size):
        """Addresses of the records of a block set."""
        check(0 < size <= PAGE - 16, "size of records")
        return read_blocks(self.image, size, pa, self.structure_page)

    def slab(self, pa, order):
        slab = read_slab(self.data[pa:pa + (PAGE << order)], pa, order)
        if slab.cache:
            _, _, _, size, flags = self.cache(slab.cache)
            check((size, flags) == (slab.size, slab.flags), "slab's cache")
        return slab

    def cache(self, pa):
        check(pa % 16 == 0 and self.data_pa <= pa and pa + 96 <= self.size, "cache's record")
        return read_cache(self.data[pa:pa + 96], pa)

    def large(self, pa):
        """Of an object that is aligned to 64 bytes or less: the one behind the first header."""
        return read_large(self.data, pa + 64, self.data_pa, self.size)


def say(arena):
    print(f"arena {arena.max:#x} {arena.base:#x} {arena.generation} {arena.state} {arena.fdt:#x}")
    for s in arena.subtrees:
        typed = "" if s.type is None else f" {shown(s.type)} {s.version or 0} {s.value:#x}"
        print(f"subtree {s.name} {s.data:#x} {s.size}{typed}")
    version, release, count = struct.unpack_from("<I65sI", arena.data, arena.fdt + FDT_MAX)
    if version == 1 and b"\0" in release:
        print(f"metadata {shown(release.split(bytes(1))[0])} {count}")
    for slot, value, new, old in arena.pending:
        print(f"intent {slot:#x} {value:#x} {new:#x} {old:#x}")
    for pa, order in arena.blocks:
        print(f"block {pa:#x} {order} {arena.kinds[pa]}")
        teller = {"SLAB": slab_told, "LARGE": large_told}.get(arena.kinds[pa])
        if teller:
            told(f"{arena.kinds[pa].lower()} {pa:#x}", teller, arena, pa, order)
    for s in arena.subtrees:
        tell_subtree(arena, s)


def told(what, teller, *args):
    """What a structure holds, or that it cannot be used."""
    try:
        print(what, teller(*args))
    except Refused:
        print(what, "refused")


def slab_told(arena, pa, order):
    slab = arena.slab(pa, order)
    states = " ".join(str(slab.states.count(state)) for state in (LIVE, FREED, RESERVED))
    return f"{slab.size} {states} {slab.flags} {slab.cache:#x}"


def large_told(arena, pa, _order):
    return "{:#x} {} {}".format(*arena.large(pa))


def array_told(arena, pa):
    array = arena.array(pa)
    words = [word for item in array.entries.items() for word in item]
    return f"{array.count} {len(array.pages)} {digest(words):016x}"


def blocks_told(arena, pa):
    """An object of two words: the first block, and the size of records."""
    check(pa % 8 == 0 and arena.data_pa <= pa and pa + 16 <= arena.size, "head")
    head, size = struct.unpack_from("<QQ", arena.data, pa)
    records, blocks = arena.blocks_of(head, size)
    sum_of = digest(b"".join(arena.data[at:at + size] for at in records))
    return f"{len(blocks)} {len(records)} {sum_of:016x}"


def area_told(arena, desc):
    first, total, flags, order = struct.unpack("<QIHH", desc)
    if not first:
        return "none"
    blocks, chunks = read_vmalloc(arena.image, desc, arena.preserved)
    return f"{total} {flags} {order} {len(chunks)} {digest(blocks):016x}"


def cache_told(arena, pa):
    return "{} {} {} {} {}".format(*arena.cache(pa))


def tell_subtree(arena, s):
    if s.name == "areas":
        for n in range(s.size // 16):
            told(f"area {n}", area_told, arena, arena.data[s.data + 16 * n:s.data + 16 * n + 16])
    tellers = {(b"array", 1): array_told, (b"log", 1): blocks_told, (b"kmem_cache", 1): cache_told}
    teller = tellers.get((s.type, s.version))
    if teller and s.value:
        told(f"{s.type.decode()} {s.name}", teller, arena, s.value - arena.base)


def main():
    path = sys.argv[1]
    if path.endswith(".sparse"):
        data = sparse_load(path)
    else:
        with open(path, "rb") as f:
            data = f.read()
    try:
        arena = Arena(data)
    except Refused as why:
        print("refused")
        print(f"arena_reader: {why}", file=sys.stderr)
        return 0
    say(arena)
    return 0


if __name__ == "__main__":
    sys.exit(main())
