# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#
# A second reader of block-v1 and luo-v5, written from docs/abi.md and from nothing else.
import struct


class Fault(Exception):
    pass


def read_blocks(data, page, size, pa):
    """Addresses of the records of a chain, and how many blocks it has."""
    records, seen, empty = [], set(), False
    while pa:
        if pa in seen:
            raise Fault("CYCLE")
        if len(seen) == 10000:
            raise Fault("RANGE")
        if pa % page:
            raise Fault("ALIGN")
        if pa + page > len(data):
            raise Fault("RANGE")
        pa_next, count = struct.unpack_from("<QQ", data, pa)
        if count > (page - 16) // size:
            raise Fault("RANGE")
        if count and empty:
            raise Fault("FORMAT")
        empty = not count
        records += [pa + 16 + i * size for i in range(count)]
        seen.add(pa)
        pa = pa_next
    return records, len(seen)


def text(data, at, room):
    raw = data[at:at + room]
    if not raw[0] or 0 not in raw:
        raise Fault("FORMAT")
    return raw[:raw.index(0)]


def unique(items):
    if len(set(items)) != len(items):
        raise Fault("DUPLICATE")
    return items


def read_flbs(data, page, pa):
    if not pa:
        return []
    if pa % page:
        raise Fault("ALIGN")
    if pa + page > len(data):
        raise Fault("RANGE")
    pgcnt, count = struct.unpack_from("<QQ", data, pa)
    if pgcnt != 1 or count > (page - 16) // 64:
        raise Fault("RANGE")
    places = [pa + 16 + 64 * i for i in range(count)]
    unique([text(data, p, 48) for p in places])
    return [(text(data, p, 48), *struct.unpack_from("<QQ", data, p + 48)) for p in places]


def read_luo(data, page, at):
    """[live updates, {session: [(handler, data, token)]}, [(FLB, data, count)]]"""
    if at + 32 > len(data):
        raise Fault("RANGE")
    compatible, num, sessions_pa, flbs_pa = struct.unpack_from("<8sQQQ", data, at)
    if compatible.partition(b"\0")[0] != b"luo-v5":
        raise Fault("INCOMPATIBLE")
    records, _ = read_blocks(data, page, 80, sessions_pa)
    names = unique([text(data, r, 64) for r in records])
    sessions = {}
    for name, record in zip(names, records):
        files_pa, count = struct.unpack_from("<QQ", data, record + 64)
        files, _ = read_blocks(data, page, 64, files_pa)
        if len(files) != count:
            raise Fault("RANGE")
        sessions[name] = [(text(data, f, 48), *struct.unpack_from("<QQ", data, f + 48))
                          for f in files]
        unique([token for _, _, token in sessions[name]])
    return [num, sessions, read_flbs(data, page, flbs_pa)]
