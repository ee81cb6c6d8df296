#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""check_damages.py CORE: every damage of linux/vm/damages that can be done to an image, done to this one, which
linux/vm/dump made: kho verify tells a fault of what a kernel is to refuse, and takes the rest somehow.

Exit status: 0 if all is as it must be; else the last line says what is not."""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

from check_dump import KHO, PAGE, Core, must, run

HERE = os.path.dirname(os.path.abspath(__file__))


def table():
    with open(f"{HERE}/damages", encoding="ascii") as file:
        for line in file:
            if line.strip() and not line.startswith("#"):
                name, when, place, width, value, expect, structure = line.split()[:7]
                if when == "jump" and not place.startswith("scratch"):
                    yield name, place, int(width, 0), value, expect, structure


class Places:
    def __init__(self, path):
        text = subprocess.run(["build/vm/locate", path], stdout=subprocess.PIPE, text=True, check=True).stdout
        self.all = {}
        for line in text.splitlines():
            name, at = line.split()
            self.all.setdefault(name, []).append(int(at, 16))

    def resolve(self, words):
        """PLACE[+OFFSET], or %PLACE[+OFFSET]: its page. Return: addresses; [] if it is not in an image."""
        page, name, offset = re.fullmatch(r"(%?)([^+]+)(?:\+(-?\w+))?", words).groups()
        mask = ~(PAGE - 1) if page else ~0
        return [(at & mask) + int(offset or "0", 0) for at in self.all.get(name, [])]

    def value(self, text, old):
        """As linux/vm/damages says it. None: it names what is not in an image."""
        if text.startswith("fill:"):
            return bytes([int(text[5:], 0)]) * len(old)
        was = int.from_bytes(old, "little")
        if text[0] in "@%" or text.startswith("pfn:"):
            found = self.resolve(text.removeprefix("@").removeprefix("pfn:"))
            if not found:
                return None
            number = found[0] >> 12 | 3 << 52 if text.startswith("pfn:") else found[0]
        elif text[0] in "+^":
            number = was + int(text[1:], 0) if text[0] == "+" else was ^ int(text[1:], 0)
        else:
            number = int(text, 0)
        return (number & (1 << 8 * len(old)) - 1).to_bytes(len(old), "little")


def verify(path, root):
    done = subprocess.run([KHO, "verify", "--json", "--fdt", root, path], capture_output=True, text=True, timeout=60,
                          check=False)
    must(done.returncode in (0, 1, 2), f"exit status {done.returncode}: {done.stderr[-300:]}")
    if done.returncode == 2:
        return [{"structure": "none", "reason": done.stderr, "address": "0"}]
    return json.loads(done.stdout)["faults"]


def damage(file, core, places, row):
    """Do it. Return: how to undo it, or None if it cannot be done to an image."""
    _, place, width, text, _, _ = row
    undo = []
    for at in places.resolve(place):
        where = core.where(at)
        old = core.bytes[where:where + width]
        new = places.value(text, old)
        if new is None:
            return None
        undo.append((where, old))
        file.seek(where)
        file.write(new)
    file.flush()
    return undo


def main():
    path, = sys.argv[1:]
    core, places = Core(path), Places(path)
    root = hex(places.resolve("root")[0])
    counts = {}
    with tempfile.TemporaryDirectory() as directory:
        copy = os.path.join(directory, "core")
        shutil.copyfile(path, copy)
        must(not verify(copy, root), "the image itself is not sound")
        with open(copy, "r+b") as file:
            for row in table():
                name, expect = row[0], row[4]
                undo = damage(file, core, places, row)
                if not undo:
                    continue
                faults = verify(copy, root)
                for where, old in undo:
                    file.seek(where)
                    file.write(old)
                file.flush()
                said = faults[0]["structure"] + ": " + faults[0]["reason"] if faults else "sound"
                print(f"damage {name}: {expect}: {len(faults)}: {said}")
                must(faults or expect != "refuse", f"{name}: no fault is told")
                key = expect, bool(faults)
                counts[key] = counts.get(key, 0) + 1
    must(sum(counts.values()) >= 40, f"only {counts} damages were done")
    for (expect, told), number in sorted(counts.items()):
        print(f"{expect}: {number} {'told' if told else 'sound'}")


run(main)
