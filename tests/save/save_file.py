# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
"""A reader and a writer of "save-v1", from docs/abi.md alone."""
import struct

MAGIC = 0x45564153204f484b
CHUNK_MAX = 1 << 20
OWNER = 0x1000

TABLE = []
for n in range(256):
    for _ in range(8):
        n = n >> 1 ^ (0x82f63b78 if n & 1 else 0)
    TABLE.append(n)


def crc32c(data, crc=0):
    crc ^= 0xffffffff
    for byte in data:
        crc = TABLE[(crc ^ byte) & 255] ^ crc >> 8
    return crc ^ 0xffffffff


def head(arena_id, size, max_size, compression=0, version=1, magic=MAGIC, reserved=bytes(12)):
    data = struct.pack("<QII16sQQ12s", magic, version, compression, arena_id, size, max_size, reserved)
    return data + struct.pack("<I", crc32c(data))


def chunk(pa, data=b"", length=None, stored=None, crc=None):
    """Its head and what is stored; a check sum of what is not there is 0."""
    length = len(data) if length is None else length
    stored = len(data) if stored is None else stored
    crc = (crc32c(data) if stored else 0) if crc is None else crc
    front = struct.pack("<QIII", pa, length, stored, crc)
    return front + struct.pack("<I", crc32c(front)) + data


def file_of(front, chunks, size):
    """Beginning, chunks, and the end that belongs to them."""
    sums = front[60:64] + b"".join(c[20:24] for c in chunks)
    return front + b"".join(chunks) + chunk(size, length=0, stored=0, crc=crc32c(sums))


def read(data, decompress=None):
    """The arena of a file that is sound: (id, size, max_size, {pa: bytes}, zero ranges)."""
    magic, version, compression, arena_id, size, max_size, reserved, crc = struct.unpack_from("<QII16sQQ12sI", data)
    assert (magic, version, reserved, crc) == (MAGIC, 1, bytes(12), crc32c(data[:60]))
    pages, zeroes, at, end, sums = {}, [], 64, 0, data[60:64]
    while True:
        pa, length, stored, data_crc, crc = struct.unpack_from("<QIIII", data, at)
        assert crc == crc32c(data[at:at + 20])
        at += 24
        if not length:
            assert (pa, stored, data_crc, at) == (size, 0, crc32c(sums), len(data))
            return arena_id, size, max_size, pages, zeroes
        assert pa % 4096 == length % 4096 == 0 and end <= pa and pa + length <= size and length <= CHUNK_MAX
        assert not pa <= OWNER < pa + length
        sums += struct.pack("<I", crc)
        body = data[at:at + stored]
        at += stored
        end = pa + length
        if not stored:
            assert not data_crc
            zeroes.append((pa, length))
            continue
        crc = 0
        if stored < length:
            assert compression == 1
            crc, body = crc32c(body), decompress(body)
        assert len(body) == length and crc32c(body, crc) == data_crc
        pages[pa] = body
