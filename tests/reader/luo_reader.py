# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#
# A second reader of what Linux hands over beside the root: luo-v5, memfd-v2 and kexec-metadata;
# written from docs/abi.md and from nothing else. (memblock-v1 is in fdt_reader.py.)
import struct

from core_reader import Image, read_blocks, read_vmalloc
from kho_bytes import check


def text(data, at, room):
    raw = data[at:at + room]
    check(raw[0] and 0 in raw, "FORMAT")
    return raw[:raw.index(0)]


def unique(items):
    check(len(set(items)) == len(items), "DUPLICATE")
    return items


def read_flbs(data, page, pa):
    if not pa:
        return []
    check(pa % page == 0, "ALIGN")
    check(pa + page <= len(data), "RANGE")
    pgcnt, count = struct.unpack_from("<QQ", data, pa)
    check(pgcnt == 1 and count <= (page - 16) // 64, "RANGE")
    places = [pa + 16 + 64 * i for i in range(count)]
    unique([text(data, p, 48) for p in places])
    return [(text(data, p, 48), *struct.unpack_from("<QQ", data, p + 48)) for p in places]


def read_luo(data, page, at):
    """[live updates, {session: [(handler, data, token)]}, [(FLB, data, count)]]"""
    check(at + 32 <= len(data), "RANGE")
    compatible, num, sessions_pa, flbs_pa = struct.unpack_from("<8sQQQ", data, at)
    check(compatible.partition(b"\0")[0] == b"luo-v5", "INCOMPATIBLE")
    image = Image(data, page.bit_length() - 1)
    records, _ = read_blocks(image, 80, sessions_pa)
    names = unique([text(data, r, 64) for r in records])
    sessions = {}
    for name, record in zip(names, records):
        files_pa, count = struct.unpack_from("<QQ", data, record + 64)
        files, _ = read_blocks(image, 64, files_pa)
        check(len(files) == count, "RANGE")
        sessions[name] = [(text(data, f, 48), *struct.unpack_from("<QQ", data, f + 48))
                          for f in files]
        unique([token for _, _, token in sessions[name]])
    return [num, sessions, read_flbs(data, page, flbs_pa)]


def read_memfd(image, pa):
    """(pos, size, seals, [(page's address, flags, index)]) of a memory file."""
    pos, size, seals, flags, nr, desc = image.take("<QQIIQ16s", pa)
    pages = -(-size // image.page)
    check(size <= 0xFFFFFFFF * image.page and nr <= pages, "RANGE")
    check(not seals & ~0x3F, "INCOMPATIBLE")
    check(not flags, "VERSION")
    if not nr:
        return pos, size, seals, []
    blocks, _ = read_vmalloc(image, desc)
    order = struct.unpack("<QIHH", desc)[3]
    room = b"".join(bytes(image.data[at:at + (image.page << order)]) for at in blocks)
    check(nr * 16 <= len(room), "RANGE")
    folios, after = [], 0
    for word, index in struct.iter_unpack("<QQ", room[:nr * 16]):
        at = (word & (1 << 52) - 1) * image.page
        check(at and at + image.page <= image.size, "RANGE")
        check(not word >> 54, "VERSION")
        check(index < pages, "RANGE")
        check(index >= after, "FORMAT")
        after = index + 1
        folios.append((at, word >> 52, index))
    return pos, size, seals, folios


def read_metadata(data):
    """(release, count), or None: it is to be ignored."""
    check(len(data) >= 73, "TRUNCATED")
    version, release, count = struct.unpack_from("<I65sI", data)
    if version != 1:
        return None
    check(0 in release, "FORMAT")
    return release[:release.index(0)], count
