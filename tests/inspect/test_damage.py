#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
"""Damaged sources are explained: kho verify names each fault, and nothing makes it crash or hang.

KHO_SEED: of the random damage; printed when something fails. KHO_INSPECT_MUTATIONS: how many (240)."""
import json
import os
import random
import struct

import dumps
from run import kho, must, run_tests, save

SEED = int(os.environ.get("KHO_SEED", random.SystemRandom().randrange(1 << 32)))
MUTATIONS = int(os.environ.get("KHO_INSPECT_MUTATIONS", 240))


def faults(image, want=1):
    return json.loads(kho("verify", "--json", save("damaged", image.dump()), want=want)[0])["faults"]


def told(image, structure, reason, address=None):
    found = faults(image)
    for fault in found:
        if fault["structure"] == structure and reason in fault["reason"]:
            if address is None or int(fault["address"], 16) == address:
                must(fault["remedy"] and fault["of"], fault)
                return
    raise AssertionError(f"{structure}: {reason}: not among {found}")


def sound_ones_are_sound():
    for shift in 12, 14, 16:
        must(not faults(dumps.sound(shift), want=0), shift)
    for name in "arena-v1", "structures-v1", "vmalloc-v1":
        text, _ = kho("verify", save(name, dumps.golden(name)))
        must(text.startswith("sound: "), text)


def tree_faults_are_all_found():
    image = dumps.sound()
    words = [pa for pa in range(image.tree, image.tree + image.page, 8) if image.word(pa)]
    other = list(image.way(image.root))
    image.put(other[-2], image.word(other[-2]) + 8)
    far = [pa for pa in range(image.tree, image.tree + image.page, 8) if not image.word(pa)][-1]
    image.put(far, 0xfffffffff000)
    found = {(f["address"], f["level"]) for f in faults(image) if f["structure"] == "tree table"}
    must((hex(far), 5) in found and (hex(other[-2]), 1) in found and words, found)


def structures_are_named():
    image = dumps.sound()
    header = image.data.index(b"luo-v5\0\0")
    image.data[header + 5:header + 6] = b"9"
    told(image, "LUO header", "does not take", header)
    image = dumps.sound()
    session = image.data.index(b"vm-1".ljust(64, b"\0"))
    image.put(session + 64, 0x123456789000)
    told(image, "block", "outside its limits", session + 64)
    image = dumps.sound()
    image.data[session:session + 64] = b"x" * 64
    told(image, "LUO session", "forbids", session)
    image = dumps.sound()
    image.put(image.data.index(b"memfd-v2".ljust(48, b"\0")) + 48, 0x7ffff001)
    must(faults(image), "a memfd outside memory")
    image = dumps.sound()
    start = image.data.index(struct.pack("<Q", 0x100 << 12) + b"\0\0\0\x03")
    image.put(start, 0x300 << 12)
    told(image, "reserve_mem FDT", "nothing is preserved there", 0x300 << 12)


def what_is_not_preserved_is_told():
    image = dumps.sound()
    metadata = image.data.index(struct.pack("<I65sI", 1, b"7.2.13-golden", 41))
    byte = list(image.way(metadata))[-1]
    image.data[byte] &= ~(1 << (metadata >> 12) % 8)
    told(image, "subtree", "nothing is preserved there", metadata)


def twice_claimed_pages_are_told():
    image = dumps.Image(12)
    image.preserve(image.root)
    image.memfds(both=True)
    found = [f for f in faults(image) if f["reason"].startswith("preserved memory overlaps")]
    must([f["address"] for f in found] == ["0x1000000", "0x1002000"], found)
    must(all("file 0x7" in f["of"] and "file 0x1" in f["of"] for f in found), found)


def damaged_arenas():
    data = dumps.golden("structures-v1")
    descs, = struct.unpack_from("<Q", data, 88)
    page = 0x15a
    data[descs + page * 2] ^= 1
    text, _ = kho("verify", save("desc", data), want=1)
    must("page descriptor" in text and f"{descs + page * 2:#x}" in text, text)
    data = dumps.golden("structures-v1")
    data[64] ^= 1
    must("checksum" in kho("verify", save("header", data), want=2)[1], "header")
    array = dumps.golden("structures-v1")
    array[0x130440 + 16] ^= 0xff  # count of the array "dense"
    text, _ = kho("verify", save("count", array), want=1)
    must("array" in text and "root dense" in text, text)


def cut_files():
    whole = bytes(dumps.sound().dump())
    for size in 0, 3, 8, 63, 64, 100, 119, 120, 4216, 70000, len(whole) - 1:
        out, why = kho("verify", save("cut", whole[:size]), want=(1, 2))
        must(out or why, size)
    text, _ = kho("verify", save("cut", whole[:-4096]), want=1)
    must("ends outside" in text and "take the dump" in text, text)


def other_files():
    for data, word in (b"KDUMP   " + bytes(100), "compressed"), (b"#!/bin/sh\n" + bytes(100), "neither an arena"), \
            (dumps.program([dumps.record("x", 1, 1, 1)]), "not a core"):
        must(word in kho("inspect", save("other", data), want=2)[1], word)
    must("neither a file" in kho("inspect", "/no/such/file", want=2)[1], "no file")
    must("none" in kho("inspect", "1999999999", want=2)[1], "no process")
    kho("inspect", "/proc/self/mem", want=2)
    kho("inspect", "/", want=2)


# ---- random ----

def place(rng, used):
    lo, hi = used[rng.randrange(len(used))]
    return rng.randrange(lo, hi)


def mutate(rng, data, used):
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        at = place(rng, used)
        kind = rng.randrange(5)
        if kind == 0:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[at] = rng.randrange(256)
        else:
            at &= ~7
            value = {2: rng.getrandbits(64), 3: place(rng, used) & ~4095,
                     4: rng.choice((0, 1, 4095, 4096, len(data), 1 << 32, 1 << 47, 1 << 63, (1 << 64) - 1))}[kind]
            struct.pack_into("<Q", data, at, value)


def in_use(data):
    """Ranges that are not zero, by 64 bytes."""
    return [(at, at + 64) for at in range(0, len(data) - 64, 64) if any(data[at:at + 64])]


COMMANDS = ("inspect", "--json", "--blocks"), ("verify",), ("inspect",), ("map",), ("map", "--svg", "-"), ("verify", "--json")


def random_damage():
    """The formats' bytes, and the ELF headers around them."""
    sources = [(name, dumps.golden(name), None) for name in ("arena-v1", "structures-v1")]
    sources += [(f"linux-{shift}", dumps.sound(shift).data, shift) for shift in (12, 14, 16)]
    used = {name: in_use(data) for name, data, _ in sources}
    for number in range(MUTATIONS):
        rng = random.Random(SEED * 1000003 + number)
        name, data, shift = sources[number % len(sources)]
        data = bytearray(data)
        if shift and number % 4 == 0:
            data = bytearray(dumps.dump_of(data, shift))
            mutate(rng, data, [(0, 300)])
        else:
            mutate(rng, data, used[name])
            data = dumps.dump_of(data, shift) if shift else data
        command = COMMANDS[number % len(COMMANDS)]
        try:
            out, why = kho(*command, save("mutant", data), want=(0, 1, 2, 3))
            must(out or why, "nothing said")
            if "--json" in command and out:
                json.loads(out)
        except (AssertionError, ValueError) as error:
            raise AssertionError(f"KHO_SEED={SEED}, mutation {number} of {name}, {command}: {error}") from error


run_tests([sound_ones_are_sound, tree_faults_are_all_found, structures_are_named, what_is_not_preserved_is_told,
           twice_claimed_pages_are_told, damaged_arenas, cut_files, other_files, random_damage])
