#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#
# Holds docs/abi.md against the code, three ways:
#
#   examples   every fenced block "hexdump NAME" or "values NAME" is what abi_examples prints
#   layouts    every table "struct X (N bytes)" says what the assertions of include/kho/abi/ say,
#              and every table of types or states what the enums there say
#   reader     a second reader, written from docs/abi.md and from nothing else, comes to the
#              same values: so the document is enough to write one
#
# and version strings in all documents against the macros.
#
# usage: check_abi.py TOP EXAMPLES, where EXAMPLES is the program abi_examples
import glob
import os
import re
import struct
import subprocess
import sys

sys.path.insert(0, f"{os.path.dirname(os.path.abspath(__file__))}/../reader")
import luo_reader  # noqa: E402  (another directory's)
from core_reader import (Image, array_cap, key_of, read_array, read_blocks, read_tree,  # noqa: E402
                         read_vmalloc, tree_shape)
from fdt_reader import Fdt, compat_parts, read_memblock  # noqa: E402
from kho_bytes import Refused, crc6, crc16, crc32c  # noqa: E402
from slab_reader import CLASSES, Slab, read_cache, read_large, slab_geometry, slab_order  # noqa: E402

failures = []


def expect(what, got, want):
    if got != want:
        failures.append(f"{what}: {got!r}, expected {want!r}")


def blocks_of(text):
    found = {}
    for kind, name, body in re.findall(r"^```(hexdump|values) (\S+)\n(.*?)^```", text, re.S | re.M):
        if name in found:
            failures.append(f"block {name}: there twice")
        found[name] = (kind, body)
    return found


def compare_blocks(doc, real):
    for name in sorted(set(doc) | set(real)):
        if name not in real:
            failures.append(f"block {name}: no code makes it")
        elif name not in doc:
            failures.append(f"block {name}: not in docs/abi.md")
        elif doc[name] != real[name]:
            failures.append(f"block {name}: docs/abi.md has\n{doc[name][1]}the code makes\n{real[name][1]}")


def rows(block):
    return [line.split() for line in block[1].splitlines()[1:]]


def image(block):
    """Bytes of a hex dump; lines left out are zeros."""
    data = bytearray()
    for line in block[1].splitlines():
        if line == "*":
            continue
        at, _, rest = line.partition(" ")
        data += bytes(int(at, 16) - len(data))
        data += bytes.fromhex(rest)
    return bytes(data)


# ---- layouts ------------------------------------------------------------------

def check_layouts(top, text):
    sizes, fields = {}, {}
    for path in glob.glob(f"{top}/include/kho/abi/*.h"):
        source = open(path).read()
        for name, size in re.findall(r"^KHO_ABI_SIZE\(struct (\w+), (\d+)\)", source, re.M):
            sizes[name] = int(size)
        for name, field, off in re.findall(
                r"^KHO_ABI_OFFSET\(struct (\w+), (\w+), (\d+)\)", source, re.M):
            fields.setdefault(name, {})[field] = int(off)
    seen = set()
    for name, size, body in re.findall(
            r"^### struct (\w+) \((\d+) bytes\)\n(.*?)(?=^#|^---|\Z)", text, re.S | re.M):
        seen.add(name)
        expect(f"struct {name}: size", int(size), sizes.get(name))
        end, doc = 0, {}
        for off, width, field in re.findall(r"^\| (\d+) \| (\d+) \| `(\w+)` \|", body, re.M):
            expect(f"struct {name}.{field}: offset, after the field before it", int(off), end)
            end = int(off) + int(width)
            doc[field] = int(off)
        expect(f"struct {name}: end of the last field", end, int(size))
        for field, off in fields.get(name, {}).items():
            expect(f"struct {name}.{field}: offset", doc.get(field), off)
    expect("structures without a table in docs/abi.md", sorted(set(sizes) - seen), [])
    for section in re.split(r"^## ", text, flags=re.M)[1:]:
        if "### struct" in section and "```hexdump" not in section:
            failures.append(f"section {section.splitlines()[0]}: no worked example")


def check_numbers(top, text):
    """Tables of named numbers: message types, descriptor types, states."""
    for path, prefix, table in (
            ("handover.h", "KHO_MSG_", r"^\| type \| name \| direction .*?\n\n"),
            ("arena.h", "KHO_ABI_DESC_", r"^\| type \| name \| what .*?\n\n"),
            ("arena.h", "KHO_ABI_STATE_", r"^\| state \| name \| meaning .*?\n\n")):
        source = open(f"{top}/include/kho/abi/{path}").read()
        want = {name: int(value) for name, value in
                re.findall(rf"^\t{prefix}(\w+) =\s+(\d+)", source, re.M) if int(value)}
        found = re.search(table, text, re.S | re.M)
        got = {name: int(value) for value, name in
               re.findall(r"^\| (\d+) \| (\w+) \|", found[0] if found else "", re.M)}
        expect(f"{prefix}* in docs/abi.md", got, want)


def check_versions(top):
    versions = {}
    for path in glob.glob(f"{top}/include/kho/abi/*.h"):
        for string in re.findall(r'_COMPATIBLE "([a-z]+-v\d+)"', open(path).read()):
            versions[string.rpartition("-v")[0]] = string
    expect("formats with a version string", sorted(versions),
           ["arena", "array", "block", "handover", "kho", "luo", "memblock", "memfd", "radix",
            "session", "slab", "sparsefd", "types", "vmalloc"])
    documents = [f"{top}/README.md", f"{top}/CHANGELOG.md", f"{top}/CONTRIBUTING.md"]
    documents += glob.glob(f"{top}/docs/*.md") + glob.glob(f"{top}/docs/man/*")
    for path in documents:
        for string in re.findall(r"\b((?:%s)-v\d+)\b" % "|".join(versions), open(path).read()):
            expect(f"{path}: version string", string, versions[string.rpartition("-v")[0]])
    text = open(f"{top}/docs/abi.md").read()
    for string in versions.values():
        section = re.search(rf"^## {string}\n(.*?)(?=^## |\Z)", text, re.S | re.M)
        if not section or "```hexdump" not in section[1]:
            failures.append(f"docs/abi.md: no section {string} with a worked example")


# ---- the second reader: bit by bit, as docs/abi.md has it ------------------------

def check_radix(doc):
    for shift, order0, table, bitmap, levels in (map(int, r) for r in rows(doc["radix-geometry"])):
        expect(f"geometry of shift {shift}", (order0, table, bitmap, levels), tree_shape(shift))
    for row in rows(doc["radix-keys"]):
        shift, order, pa, key = (int(x, 0) for x in row)
        expect(f"key of {row}", key, key_of(shift, pa, order))
    data = image(doc["radix-tree"])
    expect("blocks of the tree", read_tree(Image(data, 6, 0x2000, 0x1000), 0x400, 0x400, 0x1000),
           [(0x1000, 0), (0x1040, 0), (0x1200, 3)])


def check_death(doc):
    """The same array with index 9 set, as a death before the last store leaves it."""
    data = bytearray(image(doc["array"]))
    at, word = (int(x, 0) for x in rows(doc["array-died-word"])[0])
    data[0x40:0x80] = image(doc["array-died"])
    struct.pack_into("<Q", data, at, word)
    node = at & ~63  # the leaf of 7, 8 and 1000000, to which a fourth key was written behind the others
    struct.pack_into("<HH", data, node + 10, 3, 4)
    struct.pack_into("<I", data, node + 16 + 8 * array_cap(6, 4) + 4 * 3, 9)
    array = read_array(Image(data, 6), 0x40)
    expect("array after a death", (array.count, array.entries.get(9)), (7, word))


def check_array(doc):
    for shift, *caps in (map(int, r) for r in rows(doc["array-capacity"])):
        expect(f"capacities of shift {shift}", caps, [array_cap(shift, w) for w in (0, 2, 4, 8)])
    entries = [tuple(int(x, 0) for x in r) for r in rows(doc["array-entries"])]
    array = read_array(Image(image(doc["array"]), 6), 0x40)
    expect("entries of the array", (list(array.entries.items()), array.count), (entries, len(entries)))
    expect("pages of the array", sorted(array.pages), [0x80, 0x100, 0x140])
    check_death(doc)
    expect("entries", entries,
           [(7, 42 << 1 | 1), (8, 0x3C0), (1000000, 3), (1000100, 7), (1 << 40, 9),
            (2**64 - 1, 0x3C8)])


def check_compat(doc):
    for string, size, aligned in rows(doc["compat-strings"]):
        string = string.strip('"').encode()
        expect(f"parts of {string}", bool(compat_parts(string)), True)
        expect(f"bytes of {string}", (int(size), int(aligned)), (len(string) + 1, len(string) // 8 * 8 + 8))
    for string in b"", b"kho", b"kho-v0", b"kho-v4;", b"kho-v4;b-v1;a-v1", b"kho-v4;a-v1;a-v2", b"kho-v4?":
        expect(f"parts of {string}", compat_parts(string), None)
    expect("parts", compat_parts(b"kho-v4;a-b-v2?;c-v1"), [(b"kho", 4, False), (b"a-b", 2, True), (b"c", 1, False)])
    first = Fdt(image(doc["root-fdt"]), 1 << 30).compatible[0]
    expect("what the arena is made of", compat_parts(first),
           [(b"kho", 4, False), (b"arena", 1, False), (b"radix", 1, False), (b"slab", 1, False)])


def check_root(doc):
    data = image(doc["root-fdt"])
    fdt = Fdt(data, 1 << 30)
    expect("compatible", fdt.compatible, [b"kho-v4;arena-v1;radix-v1;slab-v1", b"kho-v4"])
    expect("size, tree", (struct.unpack_from(">I", data, 4)[0], fdt.tree_root), (len(data), 0x40000))
    expect("subtrees", [(s.name, s.data, s.size, s.type, s.version) for s in fdt.subtrees],
           [("kexec-metadata", 0x11000, 73, None, None), ("table", 0x2A000, 64, b"mycache-table", 1)])
    expect("metadata", luo_reader.read_metadata(image(doc["metadata"])), (b"mycache 1.4", 3))


def vmalloc_blocks(data, desc):
    """The addresses that a descriptor stands for, or the name of the fault."""
    try:
        return read_vmalloc(Image(data, 6, 0x2000), bytes(desc))[0]
    except Refused as why:
        return str(why).partition(":")[0]


def check_vmalloc(doc):
    expect("blocks in a chunk", [[int(x) for x in r] for r in rows(doc["vmalloc-per-chunk"])],
           [[s, (1 << s - 3) - 1] for s in (6, 12, 14, 16)])
    desc, data = image(doc["vmalloc-desc"]), image(doc["vmalloc-chunks"])
    want = [0x1000 + i * 3 % 10 * 128 for i in range(10)]
    expect("blocks of the area", vmalloc_blocks(data, desc), want)
    for fault, at, value in (("VERSION", 12, 7), ("ORDER", 8, 19), ("RANGE", 8, 18),
                             ("RANGE", 8, 22), ("ALIGN", 0, desc[0] + 8)):
        bad = bytearray(desc)
        bad[at] = value
        expect(f"descriptor with {value} at {at}", vmalloc_blocks(data, bad), fault)
    first = struct.unpack_from("<Q", desc)[0]
    for fault, at, value in (("CYCLE", 0, first), ("FORMAT", 8 * 4, 0), ("ALIGN", 8, 0x1040),
                             ("RANGE", 8, 0x2000), ("RANGE", 0, 0)):
        bad = bytearray(data)
        struct.pack_into("<Q", bad, first + at, value)
        expect(f"chunk with {value:#x} at {at}", vmalloc_blocks(bytes(bad), desc), fault)


def geometry(max_size):
    small = max_size < 128 << 20
    align = 0x10000 if small else 0x200000
    descs = 0x40000 + 4096 * (2 * -(-max_size // (128 << 20)) + 226)
    return 0x40000, descs, -(-(descs + 2 * max_size // 4096) // align) * align


def check_arena(doc):
    expect("crc32c", [int(r[1], 0) for r in rows(doc["crc32c"])], [crc32c(b"123456789")])
    for salt, value, word in ([int(x, 0) for x in r] for r in rows(doc["checked-words"])):
        expect(f"checked word {value:#x}, salt {salt}", word, value << 16 | crc16(value, salt))
    for kind, order, desc in ([int(x, 0) for x in r] for r in rows(doc["descriptors"])):
        bits = order << 4 | kind
        expect(f"descriptor {kind}, {order}", desc, bits | crc6(bits) << 10 if kind else 0)
    for row in rows(doc["arena-geometry"]):
        max_size, *got = (int(x, 0) for x in row)
        expect(f"geometry of {max_size:#x}", tuple(got), geometry(max_size))
    data = image(doc["arena-header"])
    expect("magic", data[:8], b"KO ARENA")
    expect("header_size, version", struct.unpack_from("<II", data, 8), (152, 1))
    expect("base, max_size", struct.unpack_from("<QQ", data, 64), (0x550000000000, 1 << 30))
    expect("regions", struct.unpack_from("<QQQQ", data, 80), (*geometry(1 << 30), 0x40000))
    expect("header's crc", struct.unpack_from("<I", data, 124)[0], crc32c(data[:124]))
    for offset, value in (128, 0x12000), (136, 3), (144, 1):
        expect(f"word at {offset}", struct.unpack_from("<Q", data, offset)[0],
               value << 16 | crc16(value, offset))


def check_cache(doc):
    record_pa, slab_pa, first = (int(x, 0) for x in rows(doc["cache-place"])[0])
    expect("cache", read_cache(image(doc["cache-record"]), record_pa), ("keys", 20, 1, 32, 1))
    data = image(doc["single-slab"])
    slab = Slab(data, slab_pa, 4)
    expect("slab of the cache", (slab.size, slab.flags, slab.cache), (32, 1, record_pa))
    expect("first object", first, slab_pa + slab.off)
    expect("states", slab.states, bytes([0xA5, 0x3C] + [0] * (slab.nr - 2)))
    expect("free bytes", any(map(any, slab.free_bytes())), False)
    expect("objects", (slab.object(0), slab.object(1)),
           ((b"\xa0" * 20).ljust(32, b"\0"), (b"\xa1" * 20).ljust(32, b"\0")))


def check_slab(doc):
    expect("size classes", [int(r[0]) for r in rows(doc["slab-geometry"])], CLASSES)
    for size, order, nr, off in ([int(x) for x in r] for r in rows(doc["slab-geometry"])):
        expect(f"slab of {size}", (order, nr, off),
               (slab_order(12, size), *slab_geometry(size, slab_order(12, size))))
    pa, first, second = (int(x, 0) for x in rows(doc["slab-place"])[0])
    slab = Slab(image(doc["slab-header"]), pa, 4)
    expect("slab", (slab.size, slab.flags, slab.cache), (3072, 0, 0))
    expect("objects", (first, second), (pa + slab.off, pa + slab.off + slab.size))
    expect("states", slab.states, bytes([0, 0xA5] + [0] * (slab.nr - 2)))
    slot, value, new, old = struct.unpack_from("<QQQQ", image(doc["intent"]))
    expect("intent", (slot, value, new, old),
           (0, 0x550000000000 + second, 0x550000000000 + second, 0))


def check_large(doc):
    pa = int(rows(doc["large-place"])[0][0], 0)
    data = bytes(pa - 64) + image(doc["large-header"])
    expect("large object", read_large(data, pa, 0x200000, 0x300000), (pa - 64, 25, 25 * 4096 - 64))


# ---- block-v1, luo-v5, memblock-v1 ------------------------------------------------

def check_blocks(doc):
    data = image(doc["blocks"])
    records, blocks = read_blocks(Image(data, 6), 20, 0x1000)
    expect("blocks", blocks, [0x1000, 0x1080])
    expect("records", [data[r:r + 20] for r in records], [b"a" * 20, b"b" * 20, b"c" * 20])
    expect("live update", luo_reader.read_luo(image(doc["luo"]), 128, 0x100),
           [2, {b"vm-1": [(b"memfd-v2", 0x17000, 1), (b"memfd-v2", 0x18000, 42)], b"idle": []},
            [(b"iommu-v1", 0x19000, 2)]])
    # The list's place, as the text says: its chunk at 0x2000, which leads to a page of our choice.
    data = bytearray(0x4000)
    data[0x1000:0x1030] = image(doc["memfd"])
    struct.pack_into("<QQ", data, 0x2000, 0, 0x3000)
    data[0x3000:0x3020] = image(doc["memfd-folios"])
    expect("memory file", luo_reader.read_memfd(Image(data, 12, 1 << 50), 0x1000),
           (100, 9 * 4096, 4, [(0x2000 << 12, 3, 0), (0x123456789 << 12, 3, 7)]))


def check_memblock(doc):
    expect("regions", read_memblock(image(doc["reserve-mem"]), 0x2000), {b"oops": (0x1000, 0x800)})


def check_types(doc):
    data = image(doc["block-types"])
    expect("types", struct.unpack("<4sHH16Q", data),
           (b"KTYP", 1, 0, 0, 0, 0x1000, 0, 0, 0, 0x1040) + (0,) * 9)


def check_sparse(doc):
    data = image(doc["sparse-memfd"])
    expect("file", struct.unpack_from("<QQII", data), (77, 0xa800, 5, 0))
    expect("folios", (struct.unpack_from("<4sHBB", data, 24), struct.unpack_from("<QQ", data, 32)),
           ((b"RRAK", 1, 12, 0), (0x2000, 2)))


def check_messages(doc):
    data = image(doc["msg-hello"])
    expect("HELLO", struct.unpack("<4sHH32s32sII32sIIIII", data),
           (b"KHO1", 1, len(data) - 8, b"mycache".ljust(32, b"\0"), b"1.4".ljust(32, b"\0"),
            4711, 1, b"mycache".ljust(32, b"\0"), 1, 2, 2, 1, 2))
    expect("GRANT", struct.unpack("<4sHHQ", image(doc["msg-grant"])), (b"KHO1", 6, 8, 4))
    listening = 0xFFFFFFFF00000000
    expect("FD", struct.unpack("<4sHHIIQQ", image(doc["msg-fds"])), (b"KHO1", 2, 24, 2, 0, 7, listening))
    data = image(doc["msg-upgrade"])
    expect("CTL_UPGRADE", struct.unpack_from("<4sHH7I", data),
           (b"KHO1", 64, len(data) - 8, 30000, 0, 0, 0, 4, 0, 500))
    expect("CTL_UPGRADE's argv", data[36:].split(b"\0"), [b"cached", b"-p80", b""])
    expect("CTL_PRESERVE", struct.unpack("<4sHHII", image(doc["msg-preserve"])), (b"KHO1", 69, 8, 1, 0))
    data = image(doc["msg-result"])
    expect("UPGRADED", struct.unpack_from("<4sHHiI", data), (b"KHO1", 35, len(data) - 8, -110, 2))
    expect("UPGRADED's text", data[16:], b"time is over")
    expect("REGISTER", struct.unpack("<4sHHIIQ32s32s", image(doc["msg-register"])),
           (b"KHO1", 32, 80, 4711, 0, 3, b"mycache".ljust(32, b"\0"), b"1.4".ljust(32, b"\0")))
    expect("HOLDS", struct.unpack("<4sHHII", image(doc["msg-holds"])), (b"KHO1", 39, 8, 19700, 0))
    expect("HOLD_SYNC", struct.unpack("<4sHHII", image(doc["msg-sync"])), (b"KHO1", 42, 8, 1, 0))
    expect("fds over exec", list(struct.iter_unpack("<QiI", image(doc["exec-fds"]))),
           [(7, 12, 0), (listening, 5, 0)])


def check_owner(doc):
    futex, pad, pid, start, boot, comm, ns, heir, pad2 = struct.unpack(
        "<IIQQ16s32sQII", image(doc["owner"]))
    expect("owner", (futex & (1 << 30) - 1, futex >> 30, pid, start, comm.rstrip(b"\0"), heir, pad, pad2),
           (4713, 2, 4711, 123456, b"mycache", 0, 0, 0))
    expect("owner's boot and namespace", (boot, ns), (bytes(range(0xB0, 0xC0)), 4026531836))
    following, *objects = struct.unpack("<64Q", image(doc["journal"]))
    expect("journal", (following, [o for o in objects if o]), (0, [0x550000201000, 0x550000204000]))


def elf_notes(data):
    """Formats of the notes of an ELF file as (type, record)."""
    found = []
    if data[:6] != b"\x7fELF\2\1":
        return found
    phoff, phnum = struct.unpack_from("<Q", data, 32)[0], struct.unpack_from("<H", data, 56)[0]
    for i in range(phnum):
        kind, _, offset, _, _, size, _, align = struct.unpack_from("<IIQQQQQQ", data, phoff + 56 * i)
        if kind != 4:
            continue
        pad, at, end = 8 if align == 8 else 4, offset, offset + size
        while end - at >= 16:
            name_size, note_size, kind = struct.unpack_from("<III", data, at)
            if not name_size:
                at += 4
                continue
            records = at + -(-(12 + name_size) // pad) * pad
            if data[at + 12:at + 12 + name_size] == b"KHO\0" and 1 <= kind <= 3:
                for record in range(records, records + note_size, 52):
                    name, *rest = struct.unpack_from("<32sIIIII", data, record)
                    found.append((kind, name.rstrip(b"\0").decode(), *rest))
            at = -(-(records + note_size) // pad) * pad
    return found


def check_notes(doc, program):
    data = image(doc["elf-note"])
    expect("note", struct.unpack("<III4s32sIIIII", data),
           (4, 52, 1, b"KHO\0", b"mycache".ljust(32, b"\0"), 1, 2, 2, 1, 2))
    found = elf_notes(open(program, "rb").read())
    expect("notes of the application", [f for f in found if f[0] == 1], [(1, "mycache", 1, 2, 2, 1, 2)])
    versions = [("arena", 1, 0), ("array", 1, 4), ("block", 1, 4), ("handover", 1, 0), ("kho", 4, 0), ("radix", 1, 0), ("session", 1, 4),
                ("slab", 1, 0), ("vmalloc", 1, 4)]
    expect("notes of the library's headers", [f for f in found if f[0] == 3],
           [(3, name, version, version, version, 0, flags) for name, version, flags in versions])


def kernel_list(note):
    """The records of a kernel's list, as {name: rest}."""
    head = struct.unpack_from("<III4s", note)
    expect("head of the list", head, (4, len(note) - 16, 4, b"KHO\0"))
    found = [struct.unpack_from("<32sIIIII", note, at) for at in range(16, len(note), 52)]
    names = [name.rstrip(b"\0").decode() for name, *_ in found]
    expect("names of the list", names, sorted(set(names)))
    return {name: tuple(rest) for name, (_, *rest) in zip(names, found)}


def check_kernel_info(doc):
    data = image(doc["kernel-info"])
    magic, size, total = struct.unpack_from("<4sII", data)
    expect("kernel_info", (magic, size, total), (b"LToP", 16, len(data)))
    magic, size = struct.unpack_from("<4sI", data, size)
    expect("chunk", (magic, size), (b"KHOF", len(data) - 16))
    expect("list", kernel_list(data[24:]),
           {"hints": (1, 3, 2, 0, 1), "kho": (4, 4, 4, 0, 0), "radix": (1, 1, 1, 0, 0)})


def check_save(doc):
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../save"))
    import save_file
    expect("saved arena", save_file.read(image(doc["save"])),
           (bytes(range(0xa0, 0xb0)), 3 << 20, 1 << 30, {}, [(0x200000, 4096)]))


def main():
    top, examples = sys.argv[1:]
    text = open(f"{top}/docs/abi.md").read()
    doc = blocks_of(text)
    compare_blocks(doc, blocks_of(subprocess.check_output([examples], text=True)))
    check_layouts(top, text)
    check_numbers(top, text)
    check_versions(top)
    if not failures:
        for check in (check_compat, check_radix, check_array, check_root, check_vmalloc,
                      check_arena, check_slab, check_cache, check_large, check_blocks,
                      check_memblock, check_types, check_sparse, check_messages,
                      check_owner, check_kernel_info, check_save):
            check(doc)
        check_notes(doc, examples)
    for failure in failures:
        print(f"check_abi: {failure}", file=sys.stderr)
    return bool(failures)


sys.exit(main())
