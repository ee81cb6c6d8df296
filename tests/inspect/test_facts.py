#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
"""kho inspect finds in dumps and arenas what the golden images' texts, written without it, say is in them."""
import os
import random
import struct
import subprocess

import dumps
from arena_reader import Arena
from run import BUILD, DIRECTORY, kho, kho_json, must, run_tests, save

SHIFTS = 12, 14, 16


def facts(name):
    with open(f"{dumps.GOLDEN}/{name}.txt", encoding="ascii") as file:
        return [line for line in file.read().splitlines() if not line.startswith("#")]


def said(found):
    """What kho inspect says, in the words of the golden texts."""
    lines = [f"subtree {t['name']} {t['bytes']}" for t in found["subtrees"]]
    blocks = [(int(run["address"], 16) + i * (found["source"]["page_size"] << run["order"]), run["order"])
              for run in found["preserved"]["runs"] for i in range(run["blocks"])]
    lines += [f"block {pa:#x} {order}" for pa, order in sorted(blocks)]
    luo = found["live_update"]
    lines.append(f"luo {luo['number']}")
    for session in luo["sessions"]:
        lines.append(f"session {session['name']} {session['nr_files']}")
        for file in session["files"]:
            lines.append(f"file {file['handler']} {file['token']}")
            if "folios" in file:
                lines.append("memfd {position} {bytes} {seals} {folios}".format(**file))
    lines += [f"flb {f['name']} {f['data']} {f['count']}" for f in luo["flbs"]]
    lines += [f"region {r['name']} {r['address']} {r['bytes']:#x}" for r in found["reserve_mem"]]
    return lines + ["metadata {release} {count}".format(**found["metadata"])]


def dumps_of_every_page_size():
    for shift in SHIFTS:
        image = dumps.Image(shift)
        for name, how in ("plain", {}), ("odd", {"odd": 5}), ("info", {"info": f"PAGESIZE={1 << shift}\nOSRELEASE=7.2\n"}):
            found = kho_json("inspect", "--json", "--blocks", save(f"{name}-{shift}", image.dump(**how)), want=1)
            must(found["source"]["page_size"] == 1 << shift, found["source"])
            # Golden texts have a line for each folio, which kho inspect has not.
            wanted = [line for line in facts(f"linux-{shift}") if not line.startswith("folio ")]
            lines = said(found)
            must(lines == wanted, shift, [pair for pair in zip(lines + [None], wanted + [None]) if pair[0] != pair[1]][:1])


def segments_in_pieces():
    """Cut anywhere, in any order, overlapping: it is the same memory."""
    image = dumps.Image(12)
    data, memory = bytes(image.data), 65536 << 12
    cuts = [0, 4096, 5000, 90000, 131072, len(data)]
    parts = [(a, data[a:b], b - a) for a, b in zip(cuts, cuts[1:])] + [(4096, data[4096:20480], 16384)]
    parts.append((len(data), b"", memory - len(data)))
    one = kho_json("inspect", "--json", "--blocks", save("one", image.dump()), want=1)
    many = kho_json("inspect", "--json", "--blocks", save("many", dumps.elf_core(parts[::-1])), want=1)
    for found in one, many:
        del found["source"]
    must(one == many, "in pieces it is something else")


def arrays_sets_and_areas():
    lines, counts = facts("structures-v1"), {}
    for line in lines:
        what, _, rest = line.partition(" ")
        if what in ("array", "set", "area"):
            key = f"{what} {rest.split()[0]}"
            counts[key] = 0
        elif what in ("entry", "record", "page"):
            counts[key] += 1
    found = kho_json("inspect", "--json", save("structures", dumps.golden("structures-v1")))
    names = {o["owner"]: o["name"] for o in found["owners"]}
    for array in found["arrays"]:
        name = names[array["owner"]].rpartition(" ")[2]
        must(array["sound"] and array["entries"] == counts[f"array {name}"], array)
    for blocks in found["block_sets"]:
        name = names[blocks["owner"]].rpartition(" ")[2]
        must(blocks["sound"] and blocks["records"] == counts[f"set {name}"], blocks)
    for i, area in enumerate(found["vmalloc"]):
        must(area["sound"] and area["pages"] == counts[f"area {i}"], area)
    must(len(found["arrays"]) == 3 and len(found["block_sets"]) == 2 and len(found["vmalloc"]) == 2, found)
    # Everything that is preserved is somebody's.
    must(found["owners"][0]["pages"] == 0 and not found["faults"], found["owners"][0])


def heap_of_an_arena():
    found = kho_json("inspect", "--json", save("arena", dumps.golden("arena-v1")))
    caches = {s["cache"]: s for s in found["slabs"] if s["cache"]}
    must(caches["nodes"]["live"] == 3 and caches["keys"]["live"] == 2 and caches["keys"]["reserved"] == 1, caches)
    must(found["arena"]["generation"] == 7 and found["arena"]["state"] == "running", found["arena"])
    must(found["arena"]["id"] == "a0a1a2a3a4a5a6a7a8a9aaabacadaeaf" and found["arena"]["unsettled"] == 1, found["arena"])
    must(found["large_objects"]["objects"] == 1 and found["large_objects"]["bytes"] >= 40000, found["large_objects"])


def same_as_the_second_reader(seed):
    """An arena as a kill leaves it: sound, and what tests/reader finds in it, which was written from docs/abi.md."""
    path = os.path.join(DIRECTORY.name, "random")
    subprocess.run([f"{BUILD}/tests/reader/arena_dump", "make", str(seed), path], check=True)
    kho("verify", path)
    found = kho_json("inspect", "--json", "--blocks", path)
    with open(path, "rb") as file:
        arena = Arena(file.read())
    blocks = {(int(run["address"], 16) + i * (4096 << run["order"]), run["order"])
              for run in found["preserved"]["runs"] for i in range(run["blocks"])}
    must(blocks == set(arena.blocks), sorted(blocks ^ set(arena.blocks))[:3])
    must(found["arena"]["unsettled"] == len(arena.pending), found["arena"])
    entries = {a["address"]: a["entries"] for a in found["arrays"]}
    for root in arena.subtrees:
        if root.type in ("array", b"array") and root.value:
            at = root.value - arena.base
            must(entries[hex(at)] == len(arena.array(at).entries), root.name, entries)
    slabs = [arena.slab(pa, order) for pa, order in arena.blocks if arena.kinds[pa] == "SLAB"]
    must(sum(s["slabs"] for s in found["slabs"]) == len(slabs), found["slabs"])


def random_arenas():
    seed = int(os.environ.get("KHO_SEED", random.SystemRandom().randrange(1 << 32)))
    for i in range(int(os.environ.get("KHO_INSPECT_ARENAS", 6))):
        try:
            same_as_the_second_reader(seed + i)
        except AssertionError as why:
            raise AssertionError(f"KHO_SEED={seed + i}: {why}") from why


def sessions_of_an_arena():
    """See make_sessions.c; and the golden image, in which a count was not stored yet."""
    path = save("golden", dumps.golden("sessions-v1"))
    kho("verify", path)
    found = {s["name"]: [(int(f["token"], 16), f["handler"]) for f in s["files"]]
             for s in kho_json("inspect", "--json", path)["live_update"]["sessions"]}
    wanted, name = {}, None
    for what, *words in (line.split(" ") for line in facts("sessions-v1")):
        if what == "session":
            name = " ".join(words)
            wanted[name] = []
        elif what == "file" and name is not None:
            wanted[name].append((int(words[0]), words[1]))
    must({name: sorted(files) for name, files in found.items()} ==
         {name: sorted(files) for name, files in wanted.items()}, found)
    path = os.path.join(DIRECTORY.name, "sessions")
    subprocess.run([f"{BUILD}/tests/inspect/make_sessions", path], check=True)
    kho("verify", path)
    found = kho_json("inspect", "--json", path)
    sessions = {s["name"]: s["files"] for s in found["live_update"]["sessions"]}
    must(set(sessions) == {"first", "empty", "many"}, sessions)
    for name, nr, token in ("first", 3, 7), ("empty", 0, 0), ("many", 200, 1 << 40):
        files = [(int(f["token"], 16), f["handler"]) for f in sessions[name]]
        must(files == [(token + i, ("fd-memory-v1", "fd-eventfd-v1")[i % 2]) for i in range(nr)], name, files)
    must(not found["owners"][0]["pages"], found["owners"])


def what_a_kernel_of_ours_adds():
    image, at = dumps.ours()
    path = save("ours", image.dump())
    kho("verify", path)
    found = kho_json("inspect", "--json", path)
    file, = [f for s in found["live_update"]["sessions"] for f in s["files"] if f["handler"] == "sparsefd-v1"]
    must((file["bytes"], file["position"], file["folios"], file["sound_folios"]) == (6 * 4096, 5, 2, 2), file)
    owners = {o["name"]: o["pages"] for o in found["owners"]}
    must(owners["session vm-1, file 0x7"] == 5, owners)  # header, leaf, folios of 1 and 2 pages
    slab, = found["slabs"]
    must(slab["cache"] == "inodes" and (slab["live"], slab["free"]) == (3, 1004), slab)
    must(owners["cache inodes"] == 16, owners)
    must([t["blocks"] for t in found["types"] if t["type"] == "slab"] == [1], found["types"])
    must(found["kernel_writes"] == "kho-v4;block-v1;luo-v5;memblock-v1;memfd-v2;radix-v1;vmalloc-v1", found["kernel_writes"])
    image.put(at["slab"] + 8, 65)
    must("slab at 0x80000" in kho("verify", save("ours", image.dump()), want=1)[0], "a damaged slab")
    image, at = dumps.ours()
    image.put(at["types"] + 8 + 3 * 8, image.tree)
    kho("verify", save("ours", image.dump()))  # the preserved blocks are all slabs then, by what it says
    image.put(at["types"] + 8 + 3 * 8, image.tree + 8)
    must("kho-types" in kho("verify", save("ours", image.dump()), want=1)[0], "a damaged tree of types")


def two_roots(shift, marked):
    """A second root FDT beside the first; those of @marked are preserved in the tree."""
    image = dumps.Image(shift)
    other = image.free()
    image.data[other:other + image.page] = image.data[image.root:image.root + image.page]
    for pa in [image.root, other][:0] + [pa for pa, want in zip((image.root, other), marked) if want]:
        image.preserve(pa)
    return image, other


def live_root_marks_its_own_page():
    for shift in SHIFTS:
        for which in (0, 1):
            image, other = two_roots(shift, (which == 0, which == 1))
            live = (image.root, other)[which]
            found = kho_json("inspect", "--json", save("two", image.dump()), want=1)
            must(found["root"]["address"] == hex(live), found["root"], hex(live))
            must([(c["address"], c["chosen"], c["marks_itself"]) for c in found["candidates"]] ==
                 [(hex(pa), pa == live, pa == live) for pa in (image.root, other)], found["candidates"])


def newest_root_is_live():
    image, other = two_roots(12, (True, True))
    metadata = image.data.index(struct.pack("<I65sI", 1, b"7.2.13-golden", 41))
    newer = image.free()
    image.data[newer:newer + 73] = struct.pack("<I65sI", 1, b"7.2.13-golden", 42)
    image.preserve(newer)
    at = image.data.index(struct.pack("<Q", metadata), other)
    image.put(at, newer)
    path = save("newer", image.dump())
    found = kho_json("inspect", "--json", path, want=1)
    must(found["root"]["address"] == hex(other) and found["metadata"]["count"] == 42, found["root"])
    must(f"{hex(image.root)}: 3 subtrees, older by its count" in kho("inspect", path, want=1)[0], "older")
    said = kho("inspect", "--fdt", hex(image.root), path, want=1)[0]
    must(f"{hex(other)}: 3 subtrees, newer by its count" in said, said)


def root_can_be_named():
    image, other = two_roots(12, (True, True))
    path = save("twins", image.dump())
    _, why = kho("inspect", path, want=2)
    must("choose with --fdt" in why and hex(other) in why, why)
    found = kho_json("inspect", "--json", "--fdt", hex(other), path, want=1)
    must(found["root"]["address"] == hex(other), found["root"])
    copy = save("fdt", image.data[other:other + image.page])
    found = kho_json("inspect", "--json", "--fdt", copy, path, want=1)
    must(found["root"]["address"] == hex(image.root), found["root"])  # the first that is the same
    _, why = kho("inspect", "--fdt", "0x7fffffff000", path, want=2)
    must("that is not in" in why, why)


def no_root():
    image = dumps.Image(12)
    image.data[image.root] = 0
    path = save("none", image.dump())
    must("no root FDT" in kho("inspect", path, want=2)[1], "no root")
    found = kho_json("inspect", "--json", "--fdt", hex(image.root), path, want=1)
    must(found["faults"][0]["structure"] == "root FDT" and not found["root"]["readable"], found["faults"])


run_tests([dumps_of_every_page_size, segments_in_pieces, arrays_sets_and_areas, heap_of_an_arena, random_arenas, sessions_of_an_arena,
           what_a_kernel_of_ours_adds,
           live_root_marks_its_own_page, newest_root_is_live, root_can_be_named, no_root])
