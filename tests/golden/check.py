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
from core_reader import Image, read_array, read_blocks, read_tree, read_vmalloc  # noqa: E402
from fdt_reader import Fdt, read_memblock  # noqa: E402
from kho_bytes import check, sparse_load  # noqa: E402

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


def main():
    failed = 0
    for name, reader in [(f"core-{shift}", core) for shift in (6, 12, 14, 16)] + \
            [(f"linux-{shift}", linux) for shift in (12, 14, 16)]:
        found = reader(sparse_load(f"{HERE}/{name}.sparse"), int(name.rpartition("-")[2]))
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
