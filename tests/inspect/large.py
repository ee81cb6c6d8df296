#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
"""large.py [GIB [DIRECTORY]]: how long kho inspect takes for a large dump in the page cache, and how much memory.

The dump has that many GiB (4.5) of memory, no page of it zero; a memory file has every other page of 2 GiB, so that
no two preserved pages are neighbours. Held against 2 s and 100 MiB, what is mapped of the file included."""
import os
import resource
import struct
import subprocess
import sys
import tempfile
import time

import dumps
from run import BUILD, must

NR = 1 << 18  # pages of the memory file
FIRST = 0x20000  # number of its first


class Large(dumps.Image):
    def __init__(self):
        super().__init__(12)
        self.data += bytes(16 << 20)  # room for the list and for leaves


def image():
    large = Large()
    large.preserve(large.root)
    start = 4 << 20
    entries = b"".join(struct.pack("<QQ", FIRST + 2 * i | 3 << 52, i) for i in range(NR))
    large.data[start:start + len(entries)] = entries
    chunk = start + len(entries)
    pages = [start + at for at in range(0, len(entries), 4096)]
    for i in range(0, len(pages) + 1, 511):
        part = pages[i:i + 511]
        after = chunk + 4096 if len(part) == 511 else 0
        struct.pack_into(f"<{len(part) + 1}Q", large.data, chunk, after, *part)
        large.preserve(chunk)
        chunk += 4096
    for pa in pages:
        large.preserve(pa)
    for i in range(NR):
        large.preserve(FIRST + 2 * i << 12)
    at = large.data.index(struct.pack("<Q", 1), large.data.index(b"memfd-v2".ljust(48, b"\0"))) - 56
    while large.data[at:at + 8] != b"memfd-v2":
        at = large.data.index(struct.pack("<Q", 1), at + 57) - 56
    header = large.word(at + 48)
    struct.pack_into("<QQIIQQIHH", large.data, header, 0, NR << 12, 0, 0, NR, start + len(entries), len(pages), 1, 0)
    first = large.data.index(struct.pack("<Q", 7), large.data.index(b"memfd-v2".ljust(48, b"\0"))) - 56
    large.data[first:first + 8] = b"other-v2"
    return bytes(large.data)


def write(path, size):
    data = image()
    filler = bytes(range(1, 256)) * 4112
    with open(path, "wb") as file:
        head = dumps.elf_core([(0, b"", size)])
        head = head[:64 + 32] + struct.pack("<Q", size) + head[64 + 40:]
        file.write(head)
        file.write(data)
        left = size - len(data)
        while left > 0:
            file.write(filler[:left])
            left -= len(filler)


def main():
    size = int(float(sys.argv[1] if len(sys.argv) > 1 else 4.5) * (1 << 30))
    with tempfile.TemporaryDirectory(dir=sys.argv[2] if len(sys.argv) > 2 else None) as directory:
        path = os.path.join(directory, "large")
        write(path, size)
        for command in (["inspect"], ["inspect", "--json"], ["verify"], ["map"]):
            best = None
            for _ in range(3):
                start = time.monotonic()
                done = subprocess.run([f"{BUILD}/kho", *command, path], stdout=subprocess.PIPE, check=False)
                seconds = time.monotonic() - start
                best = seconds if best is None else min(best, seconds)
            print(f"kho {' '.join(command)}: {best:.2f} s, exit status {done.returncode}, "
                  f"{len(done.stdout)} bytes of output")
            must(best <= 2 and done.returncode == 0, "longer than 2 s, or not sound")
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        print(f"{size / (1 << 30):.1f} GiB; at most {peak / 1024:.0f} MiB in memory")
        must(peak <= 100 << 10, "more than 100 MiB")


main()
