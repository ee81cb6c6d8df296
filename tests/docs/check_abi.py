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
from arena_reader import crc6, crc16, crc32c  # noqa: E402
import luo_reader  # noqa: E402  (another directory's)

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
            "slab", "vmalloc"])
    documents = [f"{top}/README.md", f"{top}/CHANGELOG.md", f"{top}/CONTRIBUTING.md"]
    documents += glob.glob(f"{top}/docs/*.md") + glob.glob(f"{top}/docs/man/*")
    for path in documents:
        for string in re.findall(r"\b((?:%s)-v\d+)\b" % "|".join(versions), open(path).read()):
            expect(f"{path}: version string", string, versions[string.rpartition("-v")[0]])
    text = open(f"{top}/docs/abi.md").read()
    for string in versions.values():
        if string not in text:
            failures.append(f"docs/abi.md: {string} is not mentioned")


# ---- the second reader: bit by bit, as docs/abi.md has it ------------------------

def tree_shape(shift):
    order0, table, bitmap = 64 - shift, shift - 3, shift + 3
    return order0, table, bitmap, -(-(order0 - bitmap + 1) // table) + 1


def tree_blocks(data, root, shift):
    """All blocks of a tree, from the bytes."""
    order0, table, bitmap, levels = tree_shape(shift)
    found, todo = [], [(root, levels - 1, 0)]
    while todo:
        pa, level, key = todo.pop()
        if level:
            words = struct.unpack_from(f"<{1 << table}Q", data, pa)
            for i, child in enumerate(words):
                if child:
                    todo.append((child, level - 1, key | i << (bitmap + (level - 1) * table)))
            continue
        for bit in range(1 << bitmap):
            if data[pa + bit // 8] >> bit % 8 & 1:
                order = order0 - ((key | bit).bit_length() - 1)
                found.append((((key | bit) ^ 1 << order0 - order) << shift + order, order))
    return sorted(found)


def check_radix(doc):
    for shift, order0, table, bitmap, levels in (map(int, r) for r in rows(doc["radix-geometry"])):
        expect(f"geometry of shift {shift}", (order0, table, bitmap, levels), tree_shape(shift))
    for row in rows(doc["radix-keys"]):
        shift, order, pa, key = (int(x, 0) for x in row)
        expect(f"key of {row}", key, 1 << 64 - shift - order | pa >> shift + order)
    data = image(doc["radix-tree"])
    expect("blocks of the tree", tree_blocks(data, 0x400, 6),
           [(0x1000, 0), (0x1040, 0), (0x1200, 3)])


def array_cap(shift, width):
    return ((1 << shift) - 16) // (8 + width)


def array_node(data, pa, shift, level, lo, last):
    """What counts of a node: (key, word), ascending."""
    base, width, has_level, nr_sorted, nr_used, _ = struct.unpack_from("<QBBHHH", data, pa)
    expect(f"node at {pa:#x}: level", has_level, level)
    cap = array_cap(shift, width)
    words = struct.unpack_from(f"<{cap}Q", data, pa + 16)
    if width:
        letter = {2: "H", 4: "I", 8: "Q"}[width]
        keys = struct.unpack_from(f"<{nr_used}{letter}", data, pa + 16 + 8 * cap)
        expect(f"node at {pa:#x}: order", list(keys[:nr_sorted]), sorted(set(keys[:nr_sorted])))
        expect(f"node at {pa:#x}: tail", 0 <= nr_used - nr_sorted <= 32 and nr_used <= cap, True)
    else:
        keys = range(cap)
    found = [(key + (0 if level else base), word) for key, word in zip(keys, words)]
    return sorted((key, word) for key, word in found if word and lo <= key <= last)


def array_entries(data, pa, shift):
    """All entries, and the number that the descriptor says, from the bytes."""
    magic, version, has_shift, zero, root, count, following, slot, doomed = struct.unpack_from(
        "<IHBBQQQQQ", data, pa)
    expect("array", (magic, version, has_shift, zero), (0x4B415252, 1, shift, 0))
    if following != count:
        word, = struct.unpack_from("<Q", data, slot)
        if bool(word) == (following > count):
            count = following
    found, todo = [], [(root & ~63, root & 63, 0, 2**64 - 1)] if root else []
    while todo:
        pa, level, lo, last = todo.pop()
        keys = array_node(data, pa, shift, level, lo, last)
        if not level:
            found += keys
            continue
        expect(f"node at {pa:#x}: first separator", keys[0][0], lo)
        ends = [key - 1 for key, _ in keys[1:]] + [last]
        todo += [(word, level - 1, key, end) for (key, word), end in zip(keys, ends)]
    return sorted(found), count if root else 0


def check_array(doc):
    for shift, *caps in (map(int, r) for r in rows(doc["array-capacity"])):
        expect(f"capacities of shift {shift}", caps, [array_cap(shift, w) for w in (0, 2, 4, 8)])
    entries = [tuple(int(x, 0) for x in r) for r in rows(doc["array-entries"])]
    expect("entries of the array", array_entries(image(doc["array"]), 0x40, 6),
           (entries, len(entries)))
    expect("entries", entries,
           [(7, 42 << 1 | 1), (8, 0x3C0), (1000000, 3), (1000100, 7), (1 << 40, 9),
            (2**64 - 1, 0x3C8)])


def read_fdt(data):
    magic, total, structure, strings, reserved, version, last, _, _, size = struct.unpack_from(
        ">10I", data)
    expect("FDT header", (magic, total, version, last <= 17), (0xD00DFEED, len(data), 17, True))
    expect("FDT reservations", data[reserved:reserved + 16], bytes(16))
    at, path, props = structure, [], {}
    while True:
        token, = struct.unpack_from(">I", data, at)
        at += 4
        if token == 1:
            name = data[at:data.index(0, at)].decode()
            path.append(name)
            at += len(name) + 4 & ~3
        elif token == 2:
            path.pop()
        elif token == 3:
            length, off = struct.unpack_from(">II", data, at)
            at += 8
            name = data[strings + off:data.index(0, strings + off)].decode()
            props["/".join(path[1:] + [name])] = data[at:at + length]
            at += length + 3 & ~3
        else:
            expect("last token", token, 9)
            expect("end of the structure", at, structure + size)
            return props


def compat_parts(string):
    """Base and parts of a compatibility string as (name, version, optional), or None."""
    parts = []
    if not 0 < len(string) < 512:
        return None
    for i, text in enumerate(string.split(b";")):
        match = re.fullmatch(rb"([A-Za-z0-9_,+-]{1,31})-v([1-9][0-9]{0,9})(\??)", text)
        if not match or int(match[2]) >= 1 << 32 or (not i and match[3]):
            return None
        parts.append((match[1], int(match[2]), bool(match[3])))
    order = string.split(b";")[1:]
    if len(order) > 32 or order != sorted(order) or len({p[0] for p in parts[1:]}) != len(order):
        return None
    return parts


def check_compat(doc):
    for string, size, aligned in rows(doc["compat-strings"]):
        string = string.strip('"').encode()
        expect(f"parts of {string}", bool(compat_parts(string)), True)
        expect(f"bytes of {string}", (int(size), int(aligned)), (len(string) + 1, len(string) // 8 * 8 + 8))
    for string in b"", b"kho", b"kho-v0", b"kho-v4;", b"kho-v4;b-v1;a-v1", b"kho-v4;a-v1;a-v2", b"kho-v4?":
        expect(f"parts of {string}", compat_parts(string), None)
    expect("parts", compat_parts(b"kho-v4;a-b-v2?;c-v1"), [(b"kho", 4, False), (b"a-b", 2, True), (b"c", 1, False)])
    first = read_fdt(image(doc["root-fdt"]))["compatible"].split(b"\0")[0]
    expect("what the arena is made of", compat_parts(first),
           [(b"kho", 4, False), (b"arena", 1, False), (b"radix", 1, False), (b"slab", 1, False)])


def check_root(doc):
    props = read_fdt(image(doc["root-fdt"]))
    want = {
        "compatible": b"kho-v4;arena-v1;radix-v1;slab-v1\0kho-v4\0",
        "preserved-memory-map": struct.pack("<Q", 0x40000),
        "kexec-metadata/preserved-data": struct.pack("<Q", 0x11000),
        "kexec-metadata/blob-size": struct.pack("<Q", 73),
        "table/preserved-data": struct.pack("<Q", 0x2A000),
        "table/blob-size": struct.pack("<Q", 64),
        "table/kho,type": b"mycache-table\0",
        "table/kho,type-version": struct.pack("<I", 1),
    }
    expect("properties of the root FDT", props, want)
    version, release, count = struct.unpack("<I65sI", image(doc["metadata"]))
    expect("metadata", (version, release.rstrip(b"\0"), count), (1, b"mycache 1.4", 3))


def vmalloc_blocks(data, desc, shift, image_size):
    """The addresses that a descriptor stands for, or the name of the fault."""
    first, total, flags, order = struct.unpack("<QIHH", desc)
    page, per = 1 << shift, (1 << shift - 3) - 1
    if flags & ~3:
        return "VERSION"
    if order > 31 or total % (1 << order):
        return "ORDER"
    if not total or total > image_size >> shift:
        return "RANGE"
    found, chunk, seen = [], first, set()
    while True:
        if chunk % page:
            return "ALIGN"
        if not chunk or chunk + page > image_size:
            return "RANGE"
        if chunk in seen:
            return "CYCLE"
        seen.add(chunk)
        following, *words = struct.unpack_from(f"<{per + 1}Q", data, chunk)
        nr = (words + [0]).index(0)
        if any(words[nr:]) or following and nr < per:
            return "FORMAT"
        for pa in words[:nr]:
            if pa % (page << order):
                return "ALIGN"
            if pa + (page << order) > image_size:
                return "RANGE"
            found.append(pa)
        if len(found) > total >> order:
            return "RANGE"
        if not following:
            return found if len(found) == total >> order else "RANGE"
        chunk = following


def check_vmalloc(doc):
    expect("blocks in a chunk", [[int(x) for x in r] for r in rows(doc["vmalloc-per-chunk"])],
           [[s, (1 << s - 3) - 1] for s in (6, 12, 14, 16)])
    desc, data = image(doc["vmalloc-desc"]), image(doc["vmalloc-chunks"])
    want = [0x1000 + i * 3 % 10 * 128 for i in range(10)]
    expect("blocks of the area", vmalloc_blocks(data, desc, 6, 8192), want)
    for fault, at, value in (("VERSION", 12, 7), ("ORDER", 8, 19), ("RANGE", 8, 18),
                             ("RANGE", 8, 22), ("ALIGN", 0, desc[0] + 8)):
        bad = bytearray(desc)
        bad[at] = value
        expect(f"descriptor with {value} at {at}", vmalloc_blocks(data, bytes(bad), 6, 8192), fault)
    first = struct.unpack_from("<Q", desc)[0]
    for fault, at, value in (("CYCLE", 0, first), ("FORMAT", 8 * 4, 0), ("ALIGN", 8, 0x1040),
                             ("RANGE", 8, 0x2000), ("RANGE", 0, 0)):
        bad = bytearray(data)
        struct.pack_into("<Q", bad, first + at, value)
        expect(f"chunk with {value:#x} at {at}", vmalloc_blocks(bytes(bad), desc, 6, 8192), fault)


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


def slab_geometry(size, order):
    total, align = 4096 << order, min(size & -size, 4096)
    nr = (total - 64) // (size + 1)
    while True:
        off = -(-(64 + nr) // align) * align
        if off + nr * size <= total:
            return nr, off
        nr -= 1


def read_slab(data, pa):
    """Header and states, as a reader has to check them."""
    magic, version, order, size, nr, off, flags, cache = struct.unpack_from("<4sHHIIIIQ", data)
    expect("slab", (magic, version, order), (b"SLAB", 1, 4 if size <= 4096 else 6))
    expect("slab's geometry", (nr, off), slab_geometry(size, order))
    expect("slab's flags", flags & ~1 or flags and not cache, 0)
    expect("slab's sizes", (size % 16, 16 <= size <= 32768, cache % 16, pa % (4096 << order)),
           (0, True, 0, 0))
    expect("slab's reserved bytes", data[32:60], bytes(28))
    expect("slab's crc", struct.unpack_from("<I", data, 60)[0],
           crc32c(data[:60] + struct.pack("<Q", pa)))
    expect("states", set(data[64:64 + nr]) - {0, 0xA5, 0x5A} - ({0x3C} if flags & 1 else set()),
           set())
    return size, nr, off, flags, cache


def free_bytes(data, nr, off, size):
    """Of a SINGLE slab: all that is in no object that is LIVE, RESERVED or FREED."""
    yield data[64 + nr:off]
    for i in range(nr):
        if not data[64 + i]:
            yield data[off + i * size:off + (i + 1) * size]
    yield data[off + nr * size:]


def read_cache(data, pa):
    magic, version, pad, size, align, object_size, flags, name, pad2, crc = struct.unpack(
        "<4sHHIIII64sII", data)
    expect("cache", (magic, version, pad, pad2, flags & ~1), (b"CACH", 1, 0, 0, 0))
    expect("cache's alignment", align in {1 << i for i in range(13)}, True)
    step = max(align, 16)
    expect("cache's object size", object_size, -(-size // step) * step)
    expect("cache's name", bool(re.fullmatch(rb"[A-Za-z0-9._+-]{1,63}\0+", name)), True)
    expect("cache's crc", crc, crc32c(data[:92] + struct.pack("<Q", pa)))
    return object_size, flags, name.rstrip(b"\0")


def check_cache(doc):
    record_pa, slab_pa, first = (int(x, 0) for x in rows(doc["cache-place"])[0])
    expect("cache", read_cache(image(doc["cache-record"]), record_pa), (32, 1, b"keys"))
    data = image(doc["single-slab"])
    size, nr, off, flags, cache = read_slab(data, slab_pa)
    expect("slab of the cache", (size, flags, cache), (32, 1, record_pa))
    expect("first object", first, slab_pa + off)
    expect("states", data[64:64 + nr], bytes([0xA5, 0x3C] + [0] * (nr - 2)))
    expect("free bytes", any(map(any, free_bytes(data, nr, off, size))), False)
    expect("objects", data[off:off + 64],
           (b"\xa0" * 20).ljust(32, b"\0") + (b"\xa1" * 20).ljust(32, b"\0"))


def check_slab(doc):
    sizes = [16 * i for i in range(1, 9)]
    sizes += [base + base // 4 * i for base in (128 << i for i in range(8)) for i in range(1, 5)]
    expect("size classes", [int(r[0]) for r in rows(doc["slab-geometry"])], sizes)
    for size, order, nr, off in ([int(x) for x in r] for r in rows(doc["slab-geometry"])):
        expect(f"slab of {size}", (order, nr, off),
               (4 if size <= 4096 else 6, *slab_geometry(size, order)))
    data = image(doc["slab-header"])
    pa, first, second = (int(x, 0) for x in rows(doc["slab-place"])[0])
    size, nr, off, flags, cache = read_slab(data, pa)
    expect("slab", (size, flags, cache), (3072, 0, 0))
    expect("objects", (first, second), (pa + off, pa + off + size))
    expect("states", data[64:], bytes([0, 0xA5] + [0] * (nr - 2)))
    slot, value, new, old = struct.unpack_from("<QQQQ", image(doc["intent"]))
    expect("intent", (slot, value, new, old),
           (0, 0x550000000000 + second, 0x550000000000 + second, 0))


def check_large(doc):
    data = image(doc["large-header"])
    pa = int(rows(doc["large-place"])[0][0], 0)
    magic, version, pad, run, pages, size, crc = struct.unpack_from("<4sHHQQQI", data)
    expect("large object", (magic, version, pad, run, pages), (b"LARG", 1, 0, pa - 64, 25))
    expect("large object's end", pa + size, run + pages * 4096)
    expect("large object's crc", crc, crc32c(data[:32] + struct.pack("<Q", pa - 64)))


# ---- block-v1, luo-v5, memblock-v1 ------------------------------------------------

def check_blocks(doc):
    data = image(doc["blocks"])
    records, blocks = luo_reader.read_blocks(data, 64, 20, 0x1000)
    expect("blocks", blocks, 2)
    expect("records", [data[r:r + 20] for r in records], [b"a" * 20, b"b" * 20, b"c" * 20])
    expect("live update", luo_reader.read_luo(image(doc["luo"]), 128, 0x100),
           [2, {b"vm-1": [(b"memfd-v2", 0x17000, 1), (b"memfd-v2", 0x18000, 42)], b"idle": []},
            [(b"iommu-v1", 0x19000, 2)]])
    folios = struct.unpack("<4Q", image(doc["memfd-folios"]))
    expect("folios of a memory file", [(word & (1 << 52) - 1, word >> 52, index)
                                       for word, index in zip(folios[::2], folios[1::2])],
           [(0x2000, 3, 0), (0x123456789, 3, 7)])


def check_memblock(doc):
    data = image(doc["reserve-mem"])
    head = struct.unpack_from(">10I", data)
    expect("memblock's FDT", (head[0], head[1]), (0xD00DFEED, len(data)))
    at, strings, nodes, depth = head[2], head[3], {}, 0
    while True:
        token, = struct.unpack_from(">I", data, at)
        at += 4
        if token == 1:
            name = data[at:data.index(0, at)]
            nodes[name] = props = {}
            at += len(name) + 4 & ~3
            depth += 1
        elif token == 2:
            depth -= 1
        elif token == 3:
            size, name_at = struct.unpack_from(">II", data, at)
            name_at += strings
            props[data[name_at:data.index(0, name_at)]] = data[at + 8:at + 8 + size]
            at += 8 + (size + 3 & ~3)
        elif token == 9:
            break
    expect("memblock's depth", depth, 0)
    expect("regions", nodes, {
        b"": {b"compatible": b"memblock-v1\0"},
        b"oops": {b"compatible": b"reserve-mem-v1\0", b"start": struct.pack("<Q", 0x1000),
                  b"size": struct.pack("<Q", 0x800)}})


def check_messages(doc):
    data = image(doc["msg-hello"])
    expect("HELLO", struct.unpack("<4sHH32s32sII32sIIIII", data),
           (b"KHO1", 1, len(data) - 8, b"mycache".ljust(32, b"\0"), b"1.4".ljust(32, b"\0"),
            4711, 1, b"mycache".ljust(32, b"\0"), 1, 2, 2, 1, 2))
    expect("GRANT", struct.unpack("<4sHHQ", image(doc["msg-grant"])), (b"KHO1", 6, 8, 4))


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
    versions = [("arena", 1, 0), ("array", 1, 4), ("block", 1, 4), ("handover", 1, 0), ("kho", 4, 0), ("radix", 1, 0),
                ("slab", 1, 0), ("vmalloc", 1, 4)]
    expect("notes of the library's headers", [f for f in found if f[0] == 3],
           [(3, name, version, version, version, 0, flags) for name, version, flags in versions])


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
                      check_memblock, check_messages):
            check(doc)
        check_notes(doc, examples)
    for failure in failures:
        print(f"check_abi: {failure}", file=sys.stderr)
    return bool(failures)


sys.exit(main())
