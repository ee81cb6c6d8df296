#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""check_dump.py CORE BLOCKS: what kho(1) says of a handover of Linux in an ELF core of the guest's physical memory
(linux/vm/dump), held against what a debugger saw being preserved (pause.py: BLOCKS), and against what the guest is
known to have preserved; and that damage to this very image is noticed.

Exit status: 0 if all is as it must be; else the last line says what is not."""
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile

# Pages of the session's files, and those of them that were written to.
FILES = (16, 16), (1024, (1024 + 72) // 73), (1500, 1500), (32, 0), (0, 0)
KHO = os.path.join("build", "kho")
PAGE = 4096


class Failed(Exception):
    """It is not as it must be."""


def must(fact, why):
    if not fact:
        raise Failed(why)


def kho(*args, want=0):
    done = subprocess.run([KHO, *args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    must(done.returncode == want, f"kho {' '.join(args)}: exit status {done.returncode}: {done.stdout[-500:]}")
    return done.stdout


class Core:
    """The image's bytes by physical address, by a reader of its own."""

    def __init__(self, path):
        with open(path, "rb") as file:
            self.bytes = file.read()
        at, = struct.unpack_from("<Q", self.bytes, 32)
        size, nr = struct.unpack_from("<HH", self.bytes, 54)
        heads = [struct.unpack_from("<IIQQQQ", self.bytes, at + i * size) for i in range(nr)]
        self.segments = [(pa, offset, length) for kind, _, offset, _, pa, length in heads if kind == 1]

    def where(self, pa):
        return next(offset + pa - start for start, offset, length in self.segments if start <= pa < start + length)

    def page(self, pa):
        at = self.where(pa)
        return self.bytes[at:at + PAGE]


def expand(runs):
    return {(int(run["address"], 16) + i * (PAGE << run["order"]), run["order"])
            for run in runs for i in range(run["blocks"])}


def check_blocks(found, path):
    """Exactly those that were seen being preserved."""
    with open(path, encoding="ascii") as file:
        seen = {(int(pa, 16), int(order)) for pa, order in (line.split() for line in file)}
    blocks = expand(found["preserved"]["runs"])
    must(blocks == seen, f"{len(blocks - seen)} blocks that nobody preserved, {len(seen - blocks)} that are missing: "
         f"{sorted(blocks ^ seen)[:4]}")
    print(f"{len(blocks)} blocks: those that the debugger saw")
    return blocks


def check_owners(found):
    """Each preserved page is somebody's, and the sums are right."""
    owners = found["owners"]
    must(sum(o["pages"] for o in owners) == found["preserved"]["pages"], "owners' pages do not add up")
    must(not owners[0]["pages"], f"{owners[0]['pages']} pages are nobody's")
    files = [o["pages"] for o in owners if o["kind"] == "file"]
    print(f"files of the session have {files} pages, lists and headers included")


def check_known(found):
    names = {t["name"] for t in found["subtrees"]}
    must({"kexec-metadata", "LUO", "memblock", "kho_test"} <= names, f"a subtree is missing: {names}")
    must(all(t["preserved"] for t in found["subtrees"]), "a blob is not preserved")
    must(found["metadata"]["release"].startswith("7.2.") and found["metadata"]["count"] == 1,
         "kexec-metadata is not that of a first boot of 7.2")
    kept = [r for r in found["reserve_mem"] if r["name"] == "kept"]
    must(len(kept) == 1 and kept[0]["bytes"] == 2 << 20, "no region \"kept\" of 2 MiB")
    session, = found["live_update"]["sessions"]
    must(session["name"] == "libkho-dump-0" and session["nr_files"] == 5 == len(session["files"]), "not the session")
    for file, (pages, written) in zip(session["files"], FILES):
        # 7.2 fills holes; a kernel of ours may leave them.
        want = {"memfd-v2": pages, "sparsefd-v1": written}[file["handler"]]
        must(file["folios"] == want and file["bytes"] == pages * PAGE, f"not a file of {want} folios: {file}")
    must(all(file["sound_folios"] == file["folios"] for file in session["files"]), "a file is damaged")
    must(found["live_update"]["compatible"] == "luo-v5" and found["live_update"]["flbs"], "not luo-v5, or no FLBs")


def page_of(words):
    """File (numbered from 1) and page number of a page that linux/vm/cases.c filled in."""
    file, number = words[0] >> 56, words[0] << 8 >> 24 & (1 << 40) - 1
    return (file, number) if words == tuple(file << 56 | number << 16 | i for i in range(512)) else (0, 0)


def check_contents(core, blocks):
    """What the session's files contain is in preserved pages, each page of it once."""
    found = {1: set(), 2: set(), 3: set()}
    for pa, order in blocks:
        for at in range(pa, pa + (PAGE << order), PAGE):
            file, number = page_of(struct.unpack("<512Q", core.page(at)))
            if file in found:
                must(number not in found[file], f"page {number} of file {file} is there twice")
                found[file].add(number)
    counts = [len(found[file]) for file in (1, 2, 3)]
    must(counts == [16, (1024 + 72) // 73, 1500], f"the files' contents: {counts} pages")
    print(f"contents of files: {counts} pages")


def check_damage(core, path, found):
    """A word of the root table is changed: it is seen, with the value that it has."""
    tree = int(found["root"]["tree"], 16)
    words = struct.unpack("<512Q", core.page(tree))
    slot = next(i for i, word in enumerate(words) if word)
    with tempfile.TemporaryDirectory() as directory:
        copy = os.path.join(directory, "core")
        shutil.copyfile(path, copy)
        for value, reason in (words[slot] + 8, "aligned"), (1 << 51, "outside its limits"), (tree, "reached twice"):
            with open(copy, "r+b") as file:
                file.seek(core.where(tree + slot * 8))
                file.write(struct.pack("<Q", value))
            faults = json.loads(kho("verify", "--json", "--fdt", found["root"]["address"], copy, want=1))["faults"]
            must(any(f["address"] == hex(tree + slot * 8) and f["found"] == hex(value) and reason in f["reason"]
                     for f in faults), f"{value:#x} in place of {words[slot]:#x}: {faults[:1]}")
            print(f"damage: {reason}: is seen")


def main():
    path, blocks_path = sys.argv[1:]
    found = json.loads(kho("inspect", "--json", "--blocks", path))
    print(kho("inspect", path))
    kho("verify", path)
    core = Core(path)
    blocks = check_blocks(found, blocks_path)
    check_owners(found)
    check_known(found)
    check_contents(core, blocks)
    check_damage(core, path, found)


def run(program):
    try:
        program()
    except (Failed, KeyError, StopIteration, ValueError) as why:
        sys.exit(f"{type(why).__name__}: {why}" if not isinstance(why, Failed) else str(why))


if __name__ == "__main__":
    run(main)
