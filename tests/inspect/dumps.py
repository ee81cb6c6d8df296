#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
"""Sources for kho inspect: memory dumps as QEMU and kdump write them, made from the golden images; kernels and
programs for kho check. From docs/abi.md, the ELF format and the boot protocol."""
import os
import struct
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, f"{HERE}/../reader")
from core_reader import key_of, tree_shape  # noqa: E402
from fdt_reader import Fdt  # noqa: E402
from kho_bytes import crc32c, round_up, sparse_load  # noqa: E402

GOLDEN = f"{HERE}/../golden"
X86_64, AARCH64 = 62, 183


def golden(name):
    return bytearray(sparse_load(f"{GOLDEN}/{name}.sparse"))


def note(name, body):
    name = name.encode() + b"\0"
    return struct.pack("<III", len(name), len(body), 0) + name.ljust(-(-len(name) // 4) * 4, b"\0") + \
        body.ljust(-(-len(body) // 4) * 4, b"\0")


def elf_core(segments, machine=X86_64, info=None, odd=0):
    """Segments: (physical address, bytes, size in memory). info: VMCOREINFO. odd: bytes before the first segment,
    as QEMU has them anywhere."""
    notes = note("VMCOREINFO", info.encode()) if info else b""
    nr = len(segments) + bool(notes)
    at = 64 + 56 * nr
    heads, body = b"", bytearray()
    if notes:
        heads += struct.pack("<IIQQQQQQ", 4, 0, at, 0, 0, len(notes), len(notes), 4)
        body += notes
    body += bytes(odd)
    for pa, data, memory in segments:
        heads += struct.pack("<IIQQQQQQ", 1, 0, at + len(body), 0, pa, len(data), memory, 0)
        body += data
    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    return ident + struct.pack("<HHIQQQIHHHHHH", 4, machine, 1, 0, 64, 0, 0, 64, 56, nr, 0, 0, 0) + heads + body


def dump_of(data, shift, without=(), **how):
    """The image of a golden file, with as much memory as it speaks of. without: pages whose bytes are left out as
    makedumpfile -E does it: a segment is longer in memory than in the file."""
    machine, page, start, segments = X86_64 if shift == 12 else AARCH64, 1 << shift, 0, []
    for pa in sorted(without):
        segments.append((start, bytes(data[start:pa]), pa + page - start))
        start = pa + page
    segments.append((start, bytes(data[start:]), (65536 << shift) - start))
    return elf_core(segments, machine, **how)


class Image:
    """A golden image that is changed."""

    def __init__(self, shift):
        self.data, self.shift, self.page = golden(f"linux-{shift}"), shift, 1 << shift
        self.root = self.page
        self.tree = self.word(self.data.index(b"\0\0\0\x03\0\0\0\x08", self.page) + 12)

    def word(self, at):
        return struct.unpack_from("<Q", self.data, at)[0]

    def put(self, at, value):
        struct.pack_into("<Q", self.data, at, value)

    def free(self):
        """A page with nothing in it."""
        used = getattr(self, "taken", set())
        for pa in range(len(self.data) - self.page, 0, -self.page):
            if pa not in used and not any(self.data[pa:pa + self.page]):
                self.taken = used | {pa}
                return pa
        raise SystemExit("no free page")

    def way(self, pa, order=0, make=True):
        """Addresses of the words that lead to a block, and of the byte with its bit."""
        _, table, bitmap, levels = tree_shape(self.shift)
        key, at = key_of(self.shift, pa, order), self.tree
        for level in range(levels - 1, 0, -1):
            word = at + (key >> bitmap + (level - 1) * table) % (1 << table) * 8
            if make and not self.word(word):
                self.put(word, self.free())
            yield word
            at = self.word(word)
        yield at + key % (1 << bitmap) // 8

    def preserve(self, pa, order=0):
        byte = list(self.way(pa, order))[-1]
        self.data[byte] |= 1 << key_of(self.shift, pa, order) % 8

    def preserved(self):
        """A page that is preserved."""
        pa = self.free()
        self.taken |= {pa}
        self.preserve(pa)
        return pa

    def write(self, at, data):
        self.data[at:at + len(data)] = data

    def array(self, base, entries):
        """Descriptor of an array whose one leaf has no keys."""
        leaf = self.preserved()
        words = [entries.get(base + i, 0) for i in range(510)]
        self.write(leaf, struct.pack("<QBBHHH510Q", base, 0, 0, 0, 0, len(entries), *words))
        return struct.pack("<IHBBQQQQQ16x", 0x4B415252, 1, 12, 0, leaf, len(entries), len(entries), 0, 0)

    def subtrees(self):
        """Name, address and size of each."""
        fdt = Fdt(bytes(self.data[self.root:self.root + self.page]), 65536 << self.shift)
        return [(s.name, s.data, s.size) for s in fdt.subtrees]

    def memfds(self, both=False):
        """Preserve the folios of its memory files, which have the same: without both, one is another handler's."""
        for i in range(300):
            self.preserve(0x1000 + 2 * i << self.shift)
        at = self.data.index(struct.pack("<Q", 7), self.data.index(b"memfd-v2".ljust(48, b"\0"))) - 56
        while self.data[at:at + 8] != b"memfd-v2":
            at = self.data.index(struct.pack("<Q", 7), at + 57) - 56
        if not both:
            self.data[at:at + 8] = b"other-v2"

    def dump(self, **how):
        return dump_of(self.data, self.shift, **how)


def u64(value):
    return struct.pack("<Q", value)


def root_fdt(tree, subtrees):
    """A root FDT; subtrees: name, address, size."""
    names = b"compatible\0preserved-memory-map\0preserved-data\0blob-size\0"

    def prop(name, value):
        at = names.index(name.encode() + b"\0")
        return struct.pack(">III", 3, len(value), at) + value.ljust(round_up(len(value), 4), b"\0")
    body = struct.pack(">II", 1, 0) + prop("compatible", b"kho-v4\0") + prop("preserved-memory-map", u64(tree))
    for name, pa, size in subtrees:
        named = name.encode() + b"\0"
        body += struct.pack(">I", 1) + named.ljust(round_up(len(named), 4), b"\0")
        body += prop("preserved-data", u64(pa)) + prop("blob-size", u64(size)) + struct.pack(">I", 2)
    body += struct.pack(">II", 2, 9)
    head = struct.pack(">10I", 0xD00DFEED, 56 + len(body) + len(names), 56, 56 + len(body), 40, 17, 16, 0,
                       len(names), len(body))
    return head + bytes(16) + body + names


def ours():
    """As a kernel of ours hands over: a memory file with holes, a slab of a cache, types of blocks, a list of formats.
    Return: the image, and where things are."""
    image = Image(12)
    image.data += bytes(1 << 20)
    image.preserve(image.root)
    image.memfds()
    at = {name: image.preserved() for name in ("file", "types", "slabs", "formats", "cache")}
    record_at = image.data.index(b"other-v2".ljust(48, b"\0"))
    image.data[record_at:record_at + 48] = b"sparsefd-v1".ljust(48, b"\0")
    image.put(record_at + 48, at["file"])
    at["folios"] = {0: (0x2000 << 12, 0), 2: (0x2010 << 12, 1)}
    for pa, order in at["folios"].values():
        image.preserve(pa, order)
    image.write(at["file"], struct.pack("<QQII", 5, 6 * 4096, 0, 0) +
                image.array(0, {i: pa << 1 | 1 for i, (pa, _) in at["folios"].items()}))
    at["slab"] = 0x80000
    image.preserve(at["slab"], 4)
    slab = struct.pack("<IHHIIIIQ28x", 0x42414C53, 1, 4, 64, 1007, 1088, 0, at["cache"])
    image.write(at["slab"], slab + struct.pack("<I", crc32c(slab + u64(at["slab"]))) + b"\xa5" * 3)
    cache = struct.pack("<IHHIIII64sI", 0x48434143, 1, 0, 60, 1, 64, 0, b"inodes", 0)
    image.write(at["cache"], cache + struct.pack("<I", crc32c(cache + u64(at["cache"]))))
    image.write(at["slabs"], struct.pack("<IHH", 0x424C534B, 1, 0) + image.array(8, {8: 4 << 1 | 1}) +
                image.array(0, {0: at["cache"]}))
    tree, image.tree = image.tree, image.free()
    types, image.taken = image.tree, image.taken | {image.tree}
    image.preserve(at["slab"], 4)
    image.tree = tree
    image.write(at["types"], struct.pack("<IHH16Q", 0x5059544B, 1, 0, *[types if i == 3 else 0 for i in range(16)]))
    body = b"".join(record(name, v, v, v) for name, v in LINUX)
    formats = struct.pack("<III4s", 4, len(body), 4, b"KHO\0") + body
    image.write(at["formats"], formats)
    image.write(image.root, root_fdt(tree, image.subtrees() + [
        ("kho-types", at["types"], 136), ("kho-slab", at["slabs"], 136),
        ("kho-formats", at["formats"], len(formats))]))
    return image, at


def sound(shift=12):
    """A golden image without what is wrong with it: the root and files' folios are preserved, no folio twice."""
    image = Image(shift)
    image.preserve(image.root)
    image.memfds()
    return image


# ---- for kho check ------------------------------------------------------------------------

def record(name, low, high, writes, oldest=0, flags=0):
    return name.encode().ljust(32, b"\0") + struct.pack("<5I", low, high, writes, oldest, flags)


LINUX = (("block", 1), ("kho", 4), ("luo", 5), ("memblock", 1), ("memfd", 2), ("radix", 1), ("vmalloc", 1))


def kernel(records):
    """A bzImage; None: without a list."""
    image = bytearray(0x1000)
    image[0x1f1] = 1
    struct.pack_into("<IH", image, 0x202, 0x53726448, 0x20f)
    struct.pack_into("<I", image, 0x268, 0x40)
    chunks = b""
    if records is not None:
        body = b"".join(records)
        body = struct.pack("<III4s", 4, len(body), 4, b"KHO\0") + body
        chunks = b"KHOF" + struct.pack("<I", len(body) + 8) + body
    struct.pack_into("<4sII", image, 0x440, b"LToP", 16, 16 + len(chunks))
    image[0x450:0x450 + len(chunks)] = chunks
    return bytes(image)


def program(records, kind=1):
    """An ELF file with notes of formats."""
    body = b"".join(records)
    body = struct.pack("<III4s", 4, len(body), kind, b"KHO\0") + body
    head = struct.pack("<IIQQQQQQ", 4, 0, 120, 0, 0, len(body), len(body), 4)
    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    return ident + struct.pack("<HHIQQQIHHHHHH", 2, X86_64, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0) + head + body


def write_samples(directory):
    """What docs/kernel-engineers.md looks at."""
    before, after, damaged = sound(12), sound(12), sound(12)
    after.preserve(0x500 << 12, 3)
    damaged.put(damaged.data.index(b"vm-1".ljust(64, b"\0")) + 72, 77)
    formats = [record(name, v, v, v) for name, v in LINUX]
    newer = [record("radix", 2, 2, 2) if r.startswith(b"radix") else r for r in formats]
    for name, data in (("before.core", before.dump(info="OSRELEASE=7.2.13\nPAGESIZE=4096\n")),
                       ("after.core", after.dump(info="OSRELEASE=7.2.13\nPAGESIZE=4096\n")),
                       ("damaged.core", damaged.dump()),
                       ("bzImage-old", kernel(formats)), ("bzImage-new", kernel(newer))):
        with open(os.path.join(directory, name), "wb") as file:
            file.write(data)


if __name__ == "__main__":
    write_samples(sys.argv[1])
