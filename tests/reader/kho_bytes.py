# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#
# What all parts of the second reader share: refusing, checksums, sparse files. From docs/abi.md.
import struct


class Refused(Exception):
    """These bytes are not what docs/abi.md allows; the text says why."""


def check(ok, why):
    if not ok:
        raise Refused(why)


def crc32c_table():
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


CRC32C = crc32c_table()


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ CRC32C[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def crc16(value, salt):
    crc = salt
    for byte in struct.pack("<Q", value)[:6]:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ (0x1021 if crc & 0x8000 else 0)) & 0xFFFF
    return crc


def crc6(bits):
    crc = 0x3F
    for i in range(9, -1, -1):
        top = crc >> 5 & 1 ^ bits >> i & 1
        crc = crc << 1 & 0x3F ^ (3 if top else 0)
    return crc


def round_up(value, to):
    return -(-value // to) * to


def shown(data):
    """Text that came in: on one line, whatever it is."""
    return "".join(chr(c) if 0x20 < c < 0x7F else f"\\x{c:02x}" for c in data)


def digest(words):
    """One number for many: FNV-1a over words of 64 bits."""
    value = 0xCBF29CE484222325
    for word in words:
        value = (value ^ word) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value


# Images in small files, as tests/host/sparse.h: the size; then offset, length and bytes, of what is not 0.

def sparse_load(path):
    with open(path, "rb") as file:
        raw = file.read()
    size, at = struct.unpack_from("<Q", raw)[0], 8
    data = bytearray(size)
    while True:
        start, length = struct.unpack_from("<QQ", raw, at)
        if not length:
            return bytes(data)
        at += 16
        data[start:start + length] = raw[at:at + length]
        at += length


def sparse_save(path, data):
    out, at = bytearray(struct.pack("<Q", len(data))), 0
    while at < len(data):
        while at < len(data) and not data[at]:
            at += 1
        end = data.find(bytes(32), at)
        end = len(data) if end < 0 else end
        if at < end:
            out += struct.pack("<QQ", at, end - at) + data[at:end]
        at = end
    with open(path, "wb") as file:
        file.write(out + bytes(16))
