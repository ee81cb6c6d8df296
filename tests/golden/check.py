#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#
# The second reader on the golden images: it finds what their .txt say, which make.py wrote without
# reading them. test_formats.c is the same with the library.
#
# usage: check.py
import os
import struct
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, f"{HERE}/../reader")
import luo_reader  # noqa: E402
from arena_reader import Arena  # noqa: E402
from core_reader import Image, read_array, read_blocks, read_tree, read_vmalloc  # noqa: E402
from fdt_reader import Fdt, read_memblock  # noqa: E402
from kho_bytes import check, sparse_load  # noqa: E402
from pool_reader import Pool  # noqa: E402
from slab_reader import FREE, LIVE, RESERVED, read_large  # noqa: E402

NR_ARRAYS, SET_SIZES, NR_AREAS = 6, (20, 8), 3


def core(data, shift):
    """See core_image.h for what lies where."""
    page = 1 << shift
    image = Image(data, shift, 65536 << shift, page)
    here = Image(data, shift, 65536 << shift, page, len(data))  # has memory
    words = struct.unpack_from("<3Q", data, page)
    preserved = read_tree(image, words[0], page, len(data))
    pages = set()
    lines = [f"block {pa:#x} {order}" for pa, order in preserved if pa >= len(data)]
    for n in range(NR_ARRAYS):
        array = read_array(here, (4 + n) * page)
        lines.append(f"array {n}")
        lines += [f"entry {index:#x} {entry:#x}" for index, entry in array.entries.items()]
        pages |= array.pages
    for n, size in enumerate(SET_SIZES):
        records, blocks = read_blocks(here, size, words[1 + n])
        lines.append(f"set {n}")
        lines += ["record " + data[at:at + size].hex() for at in records]
        pages |= set(blocks)
    for n in range(NR_AREAS):
        desc = data[2 * page + 16 * n:2 * page + 16 * n + 16]
        blocks, chunks = read_vmalloc(image, desc, set(preserved), True)
        lines.append("area {} {} {} {}".format(n, *struct.unpack("<QIHH", desc)[1:]))
        lines += [f"part {pa:#x}" for pa in blocks]
        pages |= set(chunks)
    check({(pa, 0) for pa in pages} == {block for block in preserved if block[0] < len(data)},
          "pages that are preserved and pages that are used")
    return lines


def linux_file(image, name, value, token):
    lines = [f"file {name.decode()} {token:#x}"]
    if name == b"memfd-v2":
        pos, size, seals, folios = luo_reader.read_memfd(image, value)
        lines.append(f"memfd {pos} {size} {seals} {len(folios)}")
        lines += [f"folio {pa:#x} {flags} {index}" for pa, flags, index in folios]
    return lines


def linux(data, shift):
    page, size = 1 << shift, 65536 << shift
    fdt = Fdt(data[page:2 * page], size)
    blobs = {s.name: data[s.data:s.data + s.size] for s in fdt.subtrees}
    lines = [f"subtree {s.name} {s.size}" for s in fdt.subtrees]
    image = Image(data, shift, size)
    lines += [f"block {pa:#x} {order}" for pa, order in
              read_tree(Image(data, shift, size, page), fdt.tree_root, page, len(data))]
    header = next(s.data for s in fdt.subtrees if s.name == "LUO")
    number, sessions, flbs = luo_reader.read_luo(data, page, header)
    lines.append(f"luo {number}")
    for name, files in sessions.items():
        lines.append(f"session {name.decode()} {len(files)}")
        for item in files:
            lines += linux_file(image, *item)
    lines += [f"flb {name.decode()} {value:#x} {count}" for name, value, count in flbs]
    lines += [f"region {name.decode()} {at:#x} {length:#x}"
              for name, (at, length) in read_memblock(blobs["memblock"], size).items()]
    release, count = luo_reader.read_metadata(blobs["kexec-metadata"])
    return lines + [f"metadata {release.decode()} {count}"]


def compatible(arena, data):
    strings = Fdt(data[arena.fdt:arena.fdt + 0xF000], len(data)).compatible
    return "compatible " + b" ".join(strings).decode()


def nodes(arena, value):
    """Numbers of a list of objects: where the next is, and a number."""
    while value:
        value, number = struct.unpack_from("<QQ", arena.data, value - arena.base)
        yield str(number)


def arena_v1(data, _shift):
    arena = Arena(data)
    blobs = {s.name: data[s.data:s.data + s.size] for s in arena.subtrees}
    values = {s.name: s.value for s in arena.subtrees if s.type}
    release, count = luo_reader.read_metadata(blobs["kexec-metadata"])
    lines = [compatible(arena, data), "id " + data[48:64].hex(), f"generation {arena.generation}",
             f"state {arena.state}", f"metadata {release.decode()} {count}"]
    lines += [f"{name} " + " ".join(nodes(arena, values[name])) for name in ("list", "cached")]
    big = values["big"] - arena.base
    check(read_large(data, big, arena.data_pa, len(data))[2] >= 40000, "big")
    lines += [f"big {data[big]:c} {data[big + 39999]:c} 40000", "blob " + blobs["blob"][:6].decode()]
    lines.append("run " + " ".join(str(struct.unpack_from("<Q", blobs["run"], 4096 * i)[0]) for i in range(5)))
    lines += [f"{name} {blobs[name].decode()}" for name in ("key", "key2")]
    for name in "nodes", "keys":
        lines.append("cache {} {} {} {}".format(*(arena.cache(values[f"cache,{name}"] - arena.base)[i]
                                                  for i in (0, 1, 2, 4))))
    slab = next(arena.slab(pa, order) for pa, order in arena.blocks if arena.kinds[pa] == "SLAB" and
                arena.slab(pa, order).cache == values["cache,keys"] - arena.base)
    words = {LIVE: "preserved", RESERVED: "handed-out", FREE: "free"}
    lines.append("states keys " + " ".join(words[state] for state in slab.states[:4]))
    new = [data[arena.pending[0][0]:][:8], struct.pack("<Q", arena.pending[0][1])]
    check(len(arena.pending) == 1 and new[0] == new[1], "a record to be settled")
    return lines


def areas_of(arena):
    areas, lines = next(s for s in arena.subtrees if s.name == "areas"), []
    for n in range(areas.size // 16):
        desc = arena.data[areas.data + 16 * n:areas.data + 16 * n + 16]
        blocks, _ = read_vmalloc(arena.image, desc, arena.preserved)
        _, total, _, order = struct.unpack("<QIHH", desc)
        lines.append(f"area {n} {total}")
        pages = [pa + 4096 * i for pa in blocks for i in range(1 << order)]
        lines += [f"page {struct.unpack_from('<Q', arena.data, pa)[0]}" for pa in pages]
    return lines


def vmalloc_v1(data, _shift):
    arena = Arena(data)
    return [compatible(arena, data)] + areas_of(arena)


def structures(data, _shift):
    arena = Arena(data)
    values = {s.name: s.value - arena.base for s in arena.subtrees if s.type}
    lines = [compatible(arena, data)]
    for name in "dense", "scattered", "died":
        lines.append(f"array {name}")
        for index, entry in arena.array(values[name]).entries.items():
            what = f"{entry:#x}"
            if entry == values["object"]:
                what = data[entry:data.index(0, entry)].decode()
            lines.append(f"entry {index:#x} {what}")
    for name in "log", "empty":
        head, size = struct.unpack_from("<QQ", data, values[name])
        lines.append(f"set {name}")
        lines += ["record " + data[at:at + size].hex() for at in arena.blocks_of(head, size)[0]]
    return lines + areas_of(arena)


def object_of(data, at, magic):
    """(number, data, flbs, state) of what a record leads to."""
    found, length, number, value, flbs = struct.unpack_from("<IIQQQ", data, at)
    check(at % 16 == 0 and found == magic and length <= 1024, "object")
    return number, value, flbs, data[at + 32:at + 32 + length]


def sessions(data, _shift):
    """session-v1; the program died in the middle of a change: counts of files are not looked at."""
    arena = Arena(data)
    head = next(s for s in arena.subtrees if s.name == "LUO")
    root = next(s for s in arena.subtrees if s.name == "kho,session")
    check(root.value - arena.base == head.data and head.size == 32, "root")
    _, _, sessions_pa, flbs_pa, changes, dead = struct.unpack_from("<8s5Q", data, head.data)
    check(changes % 2 == 1, "changes")
    lines, objects = [], []
    for record in sorted(read_blocks(arena.image, 80, sessions_pa)[0], key=lambda at: data[at:at + 64]):
        lines.append("session " + luo_reader.text(data, record, 64).decode())
        files = read_blocks(arena.image, 64, struct.unpack_from("<Q", data, record + 64)[0])[0]
        for at in sorted(files, key=lambda at: struct.unpack_from("<Q", data, at + 56)):
            where, token = struct.unpack_from("<QQ", data, at + 48)
            number, value, flbs, state = object_of(data, where, 0x3146534B)
            objects.append(where)
            lines.append(f"file {token} {luo_reader.text(data, at, 48).decode()} {number} {value} {flbs}")
            lines += ["state " + state.hex()] if state else []
    check(len(set(objects)) == len(objects) and dead in objects, "dead")
    for name, where, _ in luo_reader.read_flbs(data, 4096, flbs_pa):
        lines.append(f"flb {name.decode()} " + object_of(data, where, 0x3142534B)[3].rstrip(b"\0").decode())
    return lines


def marked(data, number, size, nth):
    """Where the program's bytes of that block lie, in the @nth pool that got one: found without any link."""
    mark, at = b"A BLOCK\0" + struct.pack("<QQ", number, size), -1
    for _ in range(nth + 1):
        at = data.find(mark, at + 1)
    check(at > 0, f"block {number}")
    return at


def pool_bytes(arena, name, at, nth):
    """Every byte of a pool at @at and its links, from docs/abi.md and what pools.h says of it: {address: bytes}."""
    numbers = {"died-adding": (6, 5, 4, 3, 2, 1, 0), "died-removing": (5, 4, 2, 1, 0)}.get(name, (5, 4, 3, 2, 1, 0))
    # The third block, removed, became the last pool's; the sixth is in one alone.
    nths = {3: min(nth, 2), 6: 0}
    inner = [arena.base + marked(arena.data, n, POOL_SIZES[n], nths.get(n, nth)) for n in numbers]
    ring = [at + 16] + [address - (64 if n == 3 else 16) for n, address in zip(numbers, inner)]
    # Once around; what came or went last, the one behind it does not know.
    links = [[ring[(i + 1) % len(ring)], ring[i - 1]] for i in range(len(ring))]
    if name == "died-adding":
        links[2][1] = ring[0]
    if name == "died-removing":
        links[3][1] = arena.base + marked(arena.data, 3, POOL_SIZES[3], nth) - 64
    mending = {"died-adding": ring[0], "died-removing": ring[2]}.get(name, 0)
    head = struct.pack("<QIIQQQQQQ", 0x4C4F4F50204F484B, 1, 0, *links[0], mending,
                       name in ("died-adding", "died-updating"), inner[-1], 48)
    return {at: head, **{where: struct.pack("<QQ", *link) for where, link in zip(ring[1:], links[1:])}}


POOL_SIZES = (24, 8, 100, 1000, 40000, 0, 0)


def pools(data, _shift):
    arena = Arena(data)
    lines, nth = [compatible(arena, data)], 0
    for s in sorted((s for s in arena.subtrees if s.type == b"pool"), key=lambda s: s.data):
        pool = Pool(arena, s.value)
        lines.append(f"pool {s.name} {int(pool.updates)} {pool.top_size if pool.top else 0}")
        for link in pool.blocks:
            at = next(at for at in (16, 64) if data[link - arena.base + at:][:8] == b"A BLOCK\0")
            lines.append("block {} {}".format(*struct.unpack_from("<QQ", data, link - arena.base + at + 8)))
        if pool.blocks:
            for at, expected in pool_bytes(arena, s.name, s.value, nth).items():
                check(data[at - arena.base:][:len(expected)] == expected, f"bytes of pool {s.name} at {at:#x}")
            nth += 1
    return lines


def main():
    failed = 0
    for name, reader in [
            ("arena-v1", arena_v1), ("vmalloc-v1", vmalloc_v1), ("structures-v1", structures),
            ("sessions-v1", sessions), ("pool-v1", pools)] + [(f"core-{shift}", core) for shift in (6, 12, 14, 16)] + \
            [(f"linux-{shift}", linux) for shift in (12, 14, 16)]:
        found = reader(sparse_load(f"{HERE}/{name}.sparse"), int(name.rpartition("-")[2].lstrip("v")))
        with open(f"{HERE}/{name}.txt", encoding="ascii") as file:
            expected = [line for line in file.read().splitlines() if not line.startswith("#")]
        if found != expected:
            failed += 1
            both = zip(found + [None], expected + [None])
            first = next((a, b) for a, b in both if a != b)
            print(f"check.py: {name}: found {first[0]}, expected {first[1]}", file=sys.stderr)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
