#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
"""kho check: pairs of programs and kernels, and what is to be said of each."""
import json

import dumps
from dumps import record
from run import BUILD, kho, kho_json, must, run_tests, save

OPTIONAL, LATER, PART = 1, 2, 4


def kernels():
    ours = [record(name, v, v, v) for name, v in dumps.LINUX]
    with_array = sorted(ours + [record("array", 1, 1, 1, 0, PART)])
    hints = sorted(ours + [record("hints", 1, 2, 2, 0, OPTIONAL)])
    newer = [record("radix", 1, 2, 2) if r.startswith(b"radix") else r for r in ours]
    no_luo = [r for r in ours if not r.startswith(b"luo")]
    return {"linux": dumps.kernel(None), "ours": dumps.kernel(ours), "array": dumps.kernel(with_array),
            "hints": dumps.kernel(hints), "newer": dumps.kernel(newer), "noluo": dumps.kernel(no_luo),
            "vmlinux": dumps.program(ours, 4), "vmlinux2": dumps.program(newer, 4)}


def programs():
    def cached(low, high, writes, oldest=0, flags=0):
        return dumps.program([record("items", low, high, writes, oldest, flags)])
    return {"v1": cached(1, 1, 1), "v2": cached(1, 2, 2, 1), "v2only": cached(2, 2, 2),
            "reads2": cached(1, 2, 1), "cache": cached(1, 1, 1, 0, OPTIONAL), "cache9": cached(9, 9, 9, 0, OPTIONAL)}


# old, new, exit status, the part that is refused
PAIRS = [
    ("linux", "linux", 0, None), ("linux", "ours", 0, None), ("ours", "linux", 0, None), ("ours", "array", 0, None),
    ("array", "linux", 0, None),  # an array is refused if there is one
    ("hints", "ours", 0, None), ("ours", "newer", 0, None), ("newer", "ours", 1, "radix"),
    ("newer", "linux", 1, "radix"), ("ours", "noluo", 1, "luo"), ("noluo", "ours", 0, None),
    ("linux", "vmlinux", 0, None), ("vmlinux", "newer", 0, None), ("vmlinux2", "vmlinux", 1, "radix"),
    ("v1", "v1", 0, None), ("v1", "v2", 0, None), ("v2", "v1", 0, None),  # it can write version 1
    ("v1", "v2only", 1, "items"), ("v2only", "v1", 1, "items"), ("v2only", "v2", 0, None), ("v1", "reads2", 0, None),
    ("cache", "cache9", 0, None), ("cache9", "v1", 1, "items"),
]


def pairs():
    files = {name: save(name, data) for name, data in {**kernels(), **programs()}.items()}
    for old, new, status, part in PAIRS:
        found = kho_json("check", "--json", files[old], files[new], want=status)
        refused = [p["part"] for p in found["parts"] if p["refused"]]
        must(refused == ([part] if part else []), old, new, found)
        must(found["taken"] == (not status), found)
        text, _ = kho("check", files[old], files[new], want=status)
        must(not part or any(line.startswith(part) and "REFUSED" in line for line in text.splitlines()), text)
        must(kho("check", "--quiet", files[old], files[new], want=status) == ("", ""), "quiet")


def real_programs():
    v1, v2 = f"{BUILD}/cached-v1", f"{BUILD}/cached-v2"
    for old, new in (v1, v2), (v2, v1):
        found = kho_json("check", "--json", old, new)
        names = {p["part"] for p in found["parts"]}
        must({"arena", "cached-items", "cached-conns", "kho", "radix", "slab"} <= names, names)
        must(not [p for p in found["parts"] if p["verdict"] != "taken"], found)
    must(kho_json("check", "--json", v1, save("other", programs()["v1"]), want=1)["taken"] is False, "another program")


def refused_inputs():
    files = {name: save(name, data) for name, data in {**kernels(), **programs()}.items()}
    must("a kernel and the other a program" in kho("check", files["linux"], files["v1"], want=2)[1], "mixed")
    must("neither a program" in kho("check", save("text", b"hello" * 500), files["linux"], want=2)[1], "text")
    damaged = bytearray(kernels()["ours"])
    damaged[0x454] = 0xff
    must("kernel_info" in kho("check", save("bad", damaged), files["linux"], want=2)[1], "damaged")
    cut = programs()["v1"][:-9]
    must("ELF" in kho("check", save("cut", cut), files["v1"], want=2)[1], "cut")
    kho("check", files["linux"], want=2)
    json.dumps(files)


run_tests([pairs, real_programs, refused_inputs])
