#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#
# What the golden images contain, by rule, and without reading them: wrote core-SHIFT.txt and those of
# arenas. And images of
# what Linux 7.2 hands over, which the library reads and never writes, after docs/abi.md:
# linux-SHIFT.sparse, with linux-SHIFT.txt. Ran once, with the first release of these formats; the
# files stay for ever.
#
# usage: make.py DIRECTORY
import os
import struct
import sys

sys.path.insert(0, f"{os.path.dirname(os.path.abspath(__file__))}/../reader")
from core_reader import key_of, tree_shape  # noqa: E402
from kho_bytes import round_up, sparse_save  # noqa: E402

GOLDEN = 0x9E3779B97F4A7C15
SHIFTS = 6, 12, 14, 16


def integer(value):
    return value << 1 | 1


# ---- core: see make_core.c for how the library was asked to make it ---------------------

def arrays():
    yield {i: integer(i * i + 1) for i in range(300)}
    yield {i * GOLDEN % 2**64: integer(i) if i % 4 else 8 * i for i in range(1, 61) if i % 3}
    yield {10000 + i * 3 % 8 * 5000: integer(i) for i in range(8)}
    yield {}
    yield {5: integer(1), 6: integer(2), 7: integer(3)}
    yield {0: integer(2**63 - 1), 2**64 - 1: 0x48}


def split(pa, pages, page):
    """A range of pages as blocks."""
    while pages:
        order = 0
        while pa % (page << order + 1) == 0 and 2 << order <= pages:
            order += 1
        yield pa, order
        pa += page << order
        pages -= 1 << order


def core_text(shift):
    page, zone = 1 << shift, 4096 << shift
    lines = []
    areas = []
    for order, flags, nr, first in (0, 1, 4, 16), (3, 3, 10, 16), (1, 1, 7, 512):
        blocks = [zone + (first + i * 3 % nr * 2 << shift + order) for i in range(nr)]
        areas.append((order, flags, nr, blocks))
    blocks = [(zone + 5 * page, 0), (zone + 2048 * page, 11), (32768 * page, 15)]
    blocks += split(zone + 1539 * page, 13, page)
    blocks += [(pa, area[0]) for area in areas for pa in area[3]]
    lines += [f"block {pa:#x} {order}" for pa, order in sorted(set(blocks))]
    for n, entries in enumerate(arrays()):
        lines.append(f"array {n}")
        lines += [f"entry {index:#x} {entry:#x}" for index, entry in sorted(entries.items())]
    for n, size, nr in (0, 20, 13), (1, 8, 3):
        lines.append(f"set {n}")
        lines += ["record " + bytes((i * 20 + j) * 7 % 251 for j in range(size)).hex() for i in range(nr)]
    for n, (order, flags, nr, blocks) in enumerate(areas):
        lines.append(f"area {n} {nr << order} {flags} {order}")
        lines += [f"part {pa:#x}" for pa in blocks]
    return lines


# ---- structures in an arena: see make_structures.c ---------------------------------------

def arena_text():
    """See tests/host/make_golden.c. The last object of the list was not live yet: its record is settled."""
    return ["compatible kho-v4;arena-v1;radix-v1;slab-v1 kho-v4", "id " + bytes(range(0xA0, 0xB0)).hex(),
            "generation 7", "state 1", "metadata golden 1.0 3",
            "list 44 11 22 33", "cached 3 2 1", "big L E 40000", "blob GOLDEN",
            "run " + " ".join(str(0x1111 * i) for i in range(5)), "key " + "k" * 100, "key2 " + "m" * 100,
            "cache nodes 200 1 0", "cache keys 100 64 1", "states keys preserved handed-out preserved free"]


def vmalloc_text():
    """See tests/host/make_golden_vmalloc.c."""
    lines = ["compatible kho-v4;arena-v1;radix-v1;slab-v1;vmalloc-v1 kho-v4"]
    for n, pages in enumerate((1, 511, 512, 24)):
        lines.append(f"area {n} {pages}")
        lines += [f"page {n * 1000 + i}" for i in range(pages)]
    return lines


def structures_text():
    dense = {i: i * i + 1 for i in range(1000) if i < 500 or i % 5}
    scattered = {i * GOLDEN % 2**64: i for i in range(1, 101)}
    lines = ["compatible kho-v4;arena-v1;array-v1;block-v1;radix-v1;slab-v1;vmalloc-v1 kho-v4"]
    for name, entries in ("dense", dense), ("scattered", scattered), ("died", {7: 0, 8: 1, 9: 2}):
        lines.append(f"array {name}")
        lines += [f"entry {index:#x} {integer(value):#x}" for index, value in sorted(entries.items())]
        if name == "scattered":
            lines.append(f"entry {2**64 - 1:#x} OBJECT")
    lines.append("set log")
    lines += ["record " + bytes((i * 20 + j) * 7 % 251 for j in range(20)).hex() for i in range(500)]
    lines.append("set empty")
    for n, pages in (0, 10), (1, 33):
        lines.append(f"area {n} {pages}")
        lines += [f"page {n * 1000 + i}" for i in range(pages)]
    return lines


def sessions_text():
    """See make_sessions.c. Numbers count up with every file that comes."""
    lines = ["session empty", "session jobs of the day"]
    for token in 1, 2, 3:
        lines.append(f"file {token} job-v2;hints-v1? {130 + token} {token + 5} 1")
        lines.append("state " + bytes(token * 16 + i for i in range(24)).hex())
    lines += [f"file {2**64 - 1} fd-socket-v1 134 0 0", "session many"]
    lines += [f"file {i * i} fd-eventfd-v1 {i + 1} 0 0" for i in range(130) if not 10 <= i < 20]
    return lines + ["flb jobs of all jobs"]


def pool_text():
    """See tests/cpp/pools.cpp. What comes last is first; what a death left half done is done."""
    full = ["0 24", "1 8", "2 100", "3 1000", "4 40000", "5 0"][::-1]
    pools = (("full", 0, full), ("empty", 0, []), ("died-adding", 1, ["6 0"] + full),
             ("died-removing", 0, full[:2] + full[3:]), ("died-emptying", 0, []), ("died-updating", 1, full))
    lines = ["compatible kho-v4;arena-v1;radix-v1;slab-v1 kho-v4"]
    for name, torn, blocks in pools:
        lines.append(f"pool {name} {torn} {48 if blocks else 0}")
        lines += ["block " + block for block in blocks]
    return lines


# ---- what Linux hands over ----------------------------------------------------------------

class Writer:
    """An image: pages are handed out in an order that is not that of their addresses."""

    def __init__(self, shift):
        self.shift, self.page = shift, 1 << shift
        self.data = bytearray(96 << shift)
        self.next, self.blocks = 0, []

    def new(self):
        """A page of the upper half."""
        self.next += 1
        assert self.next <= 48
        return (48 + self.next * 29 % 48) << self.shift

    def preserved(self, order=0):
        pa = self.new()
        self.blocks.append((pa, order))
        return pa

    def put(self, pa, body):
        assert not any(self.data[pa:pa + len(body)])
        self.data[pa:pa + len(body)] = body

    def chain(self, size, records):
        """A chain of blocks of at most three records; the address of its first."""
        parts = [records[i:i + 3] for i in range(0, len(records), 3)]
        places = [self.preserved() for _ in parts]
        for pa, part, after in zip(places, parts, places[1:] + [0]):
            assert all(len(record) == size for record in part)
            self.put(pa, struct.pack("<QQ", after, len(part)) + b"".join(part))
        return places[0] if places else 0

    def vmalloc(self, body):
        """The bytes in scattered pages; the descriptor."""
        pages = [self.preserved() for _ in range(0, len(body), self.page)]
        for pa, at in zip(pages, range(0, len(body), self.page)):
            self.put(pa, body[at:at + self.page])
        per = self.page // 8 - 1
        parts = [pages[i:i + per] for i in range(0, len(pages) + 1, per)]
        chunks = [self.preserved() for _ in parts]
        for pa, part, after in zip(chunks, parts, chunks[1:] + [0]):
            self.put(pa, struct.pack(f"<{1 + len(part)}Q", after, *part))
        return struct.pack("<QIHH", chunks[0], len(pages), 1, 0)

    def tree(self):
        """The tree of all that is preserved; its root."""
        _, table, bitmap, levels = tree_shape(self.shift)
        root, nodes = self.new(), {}
        for pa, order in self.blocks:
            key, at = key_of(self.shift, pa, order), root
            for level in range(levels - 1, 0, -1):
                way = key >> bitmap + (level - 1) * table
                if (level, way) not in nodes:
                    nodes[level, way] = self.new()
                    struct.pack_into("<Q", self.data, at + way % (1 << table) * 8, nodes[level, way])
                at = nodes[level, way]
            bit = key % (1 << bitmap)
            self.data[at + bit // 8] |= 1 << bit % 8
        return root


def fdt(root, children):
    """A flattened device tree, as docs/abi.md has it: {name: value} and [(name, {name: value})]."""
    strings, names = bytearray(), {}

    def props(values):
        out = b""
        for name, value in values.items():
            if name not in names:
                names[name] = len(strings)
                strings.extend(name.encode() + b"\0")
            out += struct.pack(">III", 3, len(value), names[name]) + value.ljust(round_up(len(value), 4), b"\0")
        return out
    body = struct.pack(">II", 1, 0) + props(root)
    for name, values in children:
        named = name.encode() + b"\0"
        body += struct.pack(">I", 1) + named.ljust(round_up(len(named), 4), b"\0") + props(values)
        body += struct.pack(">I", 2)
    body += struct.pack(">II", 2, 9)
    at = 56 + len(body)
    head = struct.pack(">10I", 0xD00DFEED, at + len(strings), 56, at, 40, 17, 16, 0, len(strings), len(body))
    return head + bytes(16) + body + strings


def u64(value):
    return struct.pack("<Q", value)


FILES = ((b"memfd-v2", 7), (b"memfd-v2", 0xFFFFFFFFFFFFFFFF), (b"memfd-v2", 1), (b"iommufd-v1", 0x1234))
MEMFDS = ((100, 9, 4, ((3, 0), (3, 7))), (0, 1, 0, ()), (1 << 40, 2000, 0x3F, tuple((i % 4, 4 * i) for i in range(300))))


def memfds(writer):
    """Where each is, and its lines."""
    for n, (pos, pages, seals, folios) in enumerate(MEMFDS):
        pa, entries, size = writer.preserved(), [], pages * writer.page - n
        # Folios have no memory here: they are behind the image's.
        entries = [(0x1000 + 2 * i, flags, index) for i, (flags, index) in enumerate(folios)]
        body = b"".join(struct.pack("<QQ", pfn | flags << 52, index) for pfn, flags, index in entries)
        desc = writer.vmalloc(body) if folios else bytes(16)
        writer.put(pa, struct.pack("<QQIIQ", pos, size, seals, 0, len(entries)) + desc)
        lines = [f"memfd {pos} {size} {seals} {len(entries)}"]
        lines += [f"folio {pfn << writer.shift:#x} {flags} {index}" for pfn, flags, index in entries]
        yield pa, lines


def luo(writer):
    """The header's address, and lines."""
    found = list(memfds(writer))
    data = [pa for pa, _ in found] + [0xABCDEF]
    files = [(name, data[i], token) for i, (name, token) in enumerate(FILES)]
    sessions = [(b"vm-1", files[:3]), (b"idle", []), (b"x" * 63, files[3:]), (b"four", files[1:2])]
    records, lines = [], ["luo 5"]
    for name, of_it in sessions:
        chain = writer.chain(64, [what.ljust(48, b"\0") + struct.pack("<QQ", value, token)
                                  for what, value, token in of_it])
        records.append(name.ljust(64, b"\0") + struct.pack("<QQ", chain, len(of_it)))
        lines.append(f"session {name.decode()} {len(of_it)}")
        for what, value, token in of_it:
            lines.append(f"file {what.decode()} {token:#x}")
            lines += next((said for pa, said in found if pa == value), [])
    flbs, kinds = writer.preserved(), ((b"iommu-v1", 0x19000, 2), (b"other", 0, 1))
    writer.put(flbs, struct.pack("<QQ", 1, 2) + b"".join(
        name.ljust(48, b"\0") + struct.pack("<QQ", value, count) for name, value, count in kinds))
    lines += [f"flb {name.decode()} {value:#x} {count}" for name, value, count in kinds]
    header = writer.preserved()
    writer.put(header, struct.pack("<8sQQQ", b"luo-v5", 5, writer.chain(80, records), flbs))
    return header, lines


def linux(shift):
    """The image, whose page 1 is the root FDT, and lines."""
    writer = Writer(shift)
    page = writer.page
    header, lines = luo(writer)
    regions = (("oops", 0x100 * page, 2 * page), ("trace", 0x200 * page, page))
    memblock, metadata = writer.preserved(), writer.preserved()
    writer.put(memblock, fdt({"compatible": b"memblock-v1\0"}, [
        (name, {"compatible": b"reserve-mem-v1\0", "start": u64(start), "size": u64(size)})
        for name, start, size in regions]))
    writer.put(metadata, struct.pack("<I65sI", 1, b"7.2.13-golden", 41))
    writer.blocks += [(0x100 * page, 1), (0x200 * page, 0)]
    lines += [f"region {name} {start:#x} {size:#x}" for name, start, size in regions]
    lines.append("metadata 7.2.13-golden 41")
    blobs = [("kexec-metadata", metadata, 73), ("memblock", memblock, page), ("LUO", header, 32)]
    blocks = [f"block {pa:#x} {order}" for pa, order in sorted(writer.blocks)]
    root = writer.tree()
    writer.put(page, fdt({"compatible": b"kho-v4\0", "preserved-memory-map": u64(root)}, [
        (name, {"preserved-data": u64(pa), "blob-size": u64(size)}) for name, pa, size in blobs]))
    return bytes(writer.data), [f"subtree {name} {size}" for name, _, size in blobs] + blocks + lines


def write(path, what, lines):
    with open(path, "w", encoding="ascii") as file:
        file.write(f"# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only\n# {what}\n")
        file.write("\n".join(lines) + "\n")


def main():
    top = sys.argv[1]
    for name, text in ("arena", arena_text), ("vmalloc", vmalloc_text), ("structures", structures_text), \
            ("sessions", sessions_text), ("pool", pool_text):
        write(f"{top}/{name}-v1.txt", f"What is in {name}-v1.sparse.", text())
    for shift in SHIFTS:
        write(f"{top}/core-{shift}.txt", f"What is in core-{shift}.sparse.", core_text(shift))
        if shift >= 12:
            data, lines = linux(shift)
            sparse_save(f"{top}/linux-{shift}.sparse", data)
            write(f"{top}/linux-{shift}.txt", f"What is in linux-{shift}.sparse.", lines)


main()
