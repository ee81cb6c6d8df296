#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
"""Dumps from which pages were left out, as makedumpfile's -d does: what is not in the dump is said to be that, and is no
fault of the handover. And what makedumpfile writes that is no ELF core: it is named, with the way out."""
import json
import struct

import dumps
from run import kho, kho_json, must, run_tests, save


def gapped(image, *pages, **how):
    """A dump without some pages. A kernel's own note says what its pages are: with a gap the tree cannot."""
    return save("gaps", image.dump(without=pages, info=f"PAGESIZE={image.page}\n", **how))


def used(image):
    return [pa for pa in range(0, len(image.data), image.page) if any(image.data[pa:pa + image.page])]


def verify(path, want):
    found = kho_json("verify", "--json", path, want=want)
    must(found["sound"] is (want == 0), found)
    return found["faults"], found["not_in_dump"]


def nothing_left_out_is_nothing_told():
    for shift in 12, 14, 16:
        image = dumps.sound(shift)
        faults, gaps = verify(gapped(image), 0)
        must(not faults and not gaps, faults, gaps)
        must(kho_json("inspect", "--json", gapped(image))["preserved"]["pages_not_in_dump"] > 0, "folios without bytes")


def any_page_may_be_left_out():
    """One page at a time, of each image: no fault is told, and what is told to be missing is that page."""
    told = set()
    for image in *(dumps.sound(shift) for shift in (12, 14, 16)), dumps.ours()[0]:
        for pa in used(image):
            path = gapped(image, pa)
            if pa == image.root:
                must("left out" in kho("verify", path, want=2)[1], "no root")
                continue
            found = json.loads(kho("verify", "--json", path, want=(0, 3))[0])
            must(not found["faults"], hex(pa), found["faults"])
            must(found["sound"] is not bool(found["not_in_dump"]), found)
            for gap in found["not_in_dump"]:
                must(pa <= int(gap["missing"], 16) < pa + image.page, hex(pa), gap)
                told.add(gap["structure"])
    must(told >= {"tree table", "block", "LUO header", "LUO FLB page", "memfd", "vmalloc descriptor", "reserve_mem FDT",
                  "kexec-metadata", "array node", "slab", "block types"}, told)


def a_gap_in_the_tree():
    """Every table and leaf on the way to a page: the word that leads to it is named, and nothing is called unpreserved."""
    for shift in 12, 14, 16:
        image = dumps.sound(shift)
        way = list(image.way(image.root, make=False))
        for word in way[:-1]:
            child = image.word(word)
            faults, gaps = verify(gapped(image, child), 3)
            must(not faults and [g["address"] for g in gaps] == [hex(word)], faults, gaps)
        for child in image.tree, image.word(way[0]):
            text, _ = kho("inspect", gapped(image, child), want=3)
            must("NOT PRESERVED" not in text and "preserved or not" in text, text)
        found = kho_json("inspect", "--json", gapped(image, image.word(way[-2])), want=3)
        must({s["preserved"] for s in found["subtrees"]} <= {True, None}, found["subtrees"])
        must(found["preserved"]["readable"] and not found["preserved"]["complete"], found["preserved"])
        must(len(found["live_update"]["sessions"]) == 4, "what hangs from the rest is shown")
        text, _ = kho("inspect", gapped(image, image.word(way[-2])), want=3)
        must("NOT PRESERVED" not in text and "not in the dump" in text and "fault of" in text, text)
        must("outside its limits" not in text, text)


def with_an_older_root():
    """Of a kernel before, whole, with a tree of its own. Return: the image, and the pages on the way to the live root."""
    image = dumps.sound()
    name, pa, size = next(subtree for subtree in image.subtrees() if subtree[0] == "kexec-metadata")
    count, = struct.unpack_from("<I", image.data, pa + size - 4)
    metadata, root, live = image.preserved(), image.free(), image.tree
    image.write(metadata, image.data[pa:pa + size])
    image.data[metadata + size - 4:metadata + size] = struct.pack("<I", count - 1)
    image.tree = image.free()
    image.preserve(root)
    image.write(root, dumps.root_fdt(image.tree, [(name, metadata, size)]))
    image.tree = live
    return image, [live] + [image.word(word) for word in list(image.way(image.root, make=False))[:-1]]


def the_newest_root_is_taken_whatever_its_tree_lacks():
    image, tree = with_an_older_root()
    for pages in [], *([pa] for pa in tree):
        found = kho_json("inspect", "--json", gapped(image, *pages), want=3 if pages else 0)
        must(found["root"]["address"] == hex(image.root), found["root"], [hex(pa) for pa in pages])


def faults_beside_a_gap_stay_faults():
    image = dumps.sound()
    session = image.data.index(b"vm-1".ljust(64, b"\0"))
    files, = struct.unpack_from("<Q", image.data, session + 64)
    other = image.data.index(b"four".ljust(64, b"\0"))
    image.put(other + 64, 0x123456789000)
    faults, gaps = verify(gapped(image, files & -4096), 1)
    must([(f["address"], f["found"]) for f in faults] == [(hex(other + 64), "0x123456789000")], faults)
    must([g["address"] for g in gaps] == [hex(session + 64)], gaps)
    out, _ = kho("verify", gapped(image, files & -4096), want=1)
    must("1 structure is not in the dump" in out and "1 fault\n" in out, out)


def a_page_that_no_machine_has_is_a_fault():
    """Memory ends at 256 MiB: behind it nothing was left out."""
    image = dumps.sound()
    session = image.data.index(b"vm-1".ljust(64, b"\0"))
    image.put(session + 64, 65536 << 12)
    faults, gaps = verify(gapped(image, 0x3a000), 1)
    must(faults and not gaps, faults, gaps)


def bytes_that_are_not_there_are_counted():
    image = dumps.sound()
    pages = [image.preserved() for _ in range(5)]
    for pa in pages:
        image.write(pa, b"contents")
    was = kho_json("inspect", "--json", gapped(image))["preserved"]
    now = kho_json("inspect", "--json", gapped(image, *pages[1:4]))["preserved"]
    must(now["pages_not_in_dump"] == was["pages_not_in_dump"] + 3 and now["pages"] == was["pages"], was, now)
    text, _ = kho("inspect", gapped(image, *pages[1:4]))
    must(f"not in the dump: the bytes of {now['pages_not_in_dump']} pages\n" in text, text)


def contents_are_compared_where_both_have_them():
    """Pages beside a gap, in the same piece that is read at once."""
    image = dumps.sound()
    first = 0x80000
    image.data += bytes(1 << 20)
    for i in range(4):
        image.preserve(first + i * 4096)
    old = save("old", image.dump(info="PAGESIZE=4096\n"))
    for i in range(4):
        image.write(first + i * 4096, b"new")
    out, _ = kho("diff", "--contents", old, gapped(image, first + 4096), want=1)
    must(f"contents {first:#x}, 1 page" in out and f"contents {first + 0x2000:#x}, 2 pages" in out, out)


def flattened(data, *first):
    """As makedumpfile -F writes it: a header, then records of where bytes belong. The first need not be that of the file's
    beginning."""
    records = b"".join(struct.pack(">qq", at, len(part)) + part for at, part in (*first, (0, data)))
    return (b"makedumpfile\0\0\0\0" + struct.pack(">qq", 1, 1)).ljust(4096, b"\0") + records + struct.pack(">qq", -1, -1)


def other_formats_are_named():
    """A name of what it is; what to do; what not to say."""
    core = dumps.sound().dump()
    kdump = b"KDUMP   " + struct.pack("<i", 6) + bytes(5000)
    for data, want, never in (
            (kdump, ("kdump-compressed", "cannot make an ELF core", "makedumpfile -E"), "-R"),
            (b"DISKDUMP" + bytes(5000), ("kdump-compressed", "makedumpfile -E"), "-R"),
            (flattened(core, (64, b"x" * 952), (8192, b"")), ("an ELF core, flattened", "makedumpfile -R"), "cannot make"),
            (flattened(core), ("an ELF core, flattened", "makedumpfile -R"), "cannot make"),
            (flattened(kdump, (8192, b"x")), ("flattened", "kdump-compressed", "makedumpfile -E"), "give OUT"),
            (flattened(core)[:4096], ("flattened", "makedumpfile -R"), "kdump-compressed"),
            (flattened(core)[:40], ("flattened", "makedumpfile -R"), "kdump-compressed"),
            (flattened(core, (64, b"")).replace(bytes(8) + struct.pack(">q", len(core)), b"\x7f" * 16),
             ("flattened", "makedumpfile -R"), "kdump-compressed")):
        for command in "inspect", "map", "verify":
            out, why = kho(command, save("other", data), want=2)
            must(not out and all(word in why for word in want) and never not in why, why)


run_tests([nothing_left_out_is_nothing_told, any_page_may_be_left_out, a_gap_in_the_tree,
           the_newest_root_is_taken_whatever_its_tree_lacks, faults_beside_a_gap_stay_faults,
           a_page_that_no_machine_has_is_a_fault, bytes_that_are_not_there_are_counted,
           contents_are_compared_where_both_have_them, other_formats_are_named])
