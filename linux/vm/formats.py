#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""What a kernel says that it reads and writes of a handover: a reader of its own.

    formats.py BZIMAGE VMLINUX          the list in both, which must be the same bytes
    formats.py --none BZIMAGE VMLINUX   there is none in either

Written from docs/abi.md ("Kernels", "ELF notes"); it uses nothing of the core.
"""
import struct
import sys


class Bad(Exception):
    pass


def in_image(data):
    """The chunks "KHOF" of a bzImage's kernel_info."""
    if data[0x202:0x206] != b"HdrS" or struct.unpack_from("<H", data, 0x206)[0] < 0x20F:
        raise Bad("no bzImage of protocol 2.15")
    info = ((data[0x1F1] or 4) + 1) * 512 + struct.unpack_from("<I", data, 0x268)[0]
    magic, at, total = struct.unpack_from("<4sII", data, info)
    if magic != b"LToP":
        raise Bad("no kernel_info")
    found = []
    while at < total:
        magic, size = struct.unpack_from("<4sI", data, info + at)
        if size < 8 or at + size > total:
            raise Bad(f"a chunk of {size} bytes")
        if magic == b"KHOF":
            found.append(data[info + at + 8:info + at + size])
        at += size
    return found


def in_elf(data):
    """The notes of type 4 and owner KHO of an ELF file, whole."""
    if data[:6] != b"\x7fELF\2\1":
        raise Bad("no ELF file")
    table, entry, count = struct.unpack_from("<Q", data, 32)[0], *struct.unpack_from("<HH", data, 54)
    found = []
    for nr in range(count):
        kind, _, at, _, _, size, _, _ = struct.unpack_from("<IIQQQQQQ", data, table + entry * nr)
        end = at + size
        while kind == 4 and at < end:
            name, size, what = struct.unpack_from("<III", data, at)
            head = 12 + (name + 3 & ~3)
            if data[at + 12:at + 12 + name] == b"KHO\0" and what == 4:
                found.append(data[at:at + head + size])
            at += head + (size + 3 & ~3)
    return found


def describe(note):
    for at in range(16, len(note), 52):
        name, low, high, writes, _, flags = struct.unpack_from("<32sIIIII", note, at)
        yield f"{name.rstrip(bytes(1)).decode()} reads {low}..{high} writes {writes} flags {flags}"


def main():
    none = sys.argv[1] == "--none"
    image, elf = (open(path, "rb").read() for path in sys.argv[-2:])
    lists = in_image(image), in_elf(elf)
    if none:
        return any(lists) and "there is a list"
    if [len(found) for found in lists] != [1, 1]:
        return f"{len(lists[0])} lists in the image, {len(lists[1])} in the ELF file"
    if lists[0] != lists[1]:
        return "the image and the ELF file say different things"
    print("\n".join(describe(lists[0][0])))
    return 0


try:
    sys.exit(main())
except (Bad, struct.error) as why:
    sys.exit(str(why))
