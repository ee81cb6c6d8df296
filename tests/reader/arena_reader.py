#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#
# A second reader of arenas, written from docs/abi.md and from nothing else, with none of the
# library's code: slow, and as straightforward as the document. It says what is in an arena file,
# a line for each thing, or "refused" with the reason, and must say the same as the library does.
#
# usage: arena_reader.py FILE
import re
import struct
import sys

PAGE = 4096
FIXED_END = 0x3A000
SLOTS = (0x2000, 0x12000)
FDT_MAX = 0xF000
INTENTS, NR_INTENTS = 0x22000, 512
CELLS, NR_CELLS = 0x2A000, 1024
NAME_CHARS = frozenset(
    b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789,._+-")
TYPES = {1: "FOLIO", 2: "PAGES", 3: "SLAB", 4: "LARGE", 5: "LARGE_PART", 6: "STRUCT",
         7: "VMALLOC", 8: "VMALLOC_CHUNK"}


def compat_parts(string):
    """Base and parts of a compatibility string as (name, version, optional), or None."""
    if not 0 < len(string) < 512:
        return None
    texts, parts = string.split(b";"), []
    for i, part in enumerate(texts):
        match = re.fullmatch(rb"([A-Za-z0-9_,+-]{1,31})-v([1-9][0-9]{0,9})(\??)", part)
        if not match or int(match[2]) >= 1 << 32 or (not i and match[3]):
            return None
        parts.append((match[1], int(match[2]), bool(match[3])))
    if len(texts) > 33 or texts[1:] != sorted(texts[1:]):
        return None
    return parts if len({p[0] for p in parts[1:]}) == len(parts) - 1 else None


class Refused(Exception):
    pass


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


class Arena:
    def __init__(self, data):
        self.data = data
        self.size = len(data)
        self.header()
        self.fdt_in_force()
        self.tree()
        self.descriptors()
        self.intents()

    def u64(self, pa):
        return struct.unpack_from("<Q", self.data, pa)[0]

    # ---- header -----------------------------------------------------------

    def checked_word(self, offset):
        word = self.u64(offset)
        check(word & 0xFFFF == crc16(word >> 16, offset), f"checked word at {offset}")
        return word >> 16

    def header(self):
        check(self.size >= 152, "truncated")
        (magic, header_size, version, _compat, _ro, incompat, shift, pad, _id, self.base, self.max,
         self.nodes, self.descs, self.data_pa, self.root, reserved, crc) = struct.unpack_from(
             "<QIIQQQII16sQQQQQQ12sI", self.data)
        check(magic == 0x414E455241204F4B, "magic")
        check(152 <= header_size <= 4096, "header_size")
        check(version == 1, "version")
        check(incompat == 0, "features_incompat")
        check(crc == crc32c(self.data[:124]), "crc")
        check(shift == 12 and pad == 0 and not any(reserved), "constants")
        self.regions()
        check(self.base and self.base % PAGE == 0 and self.base + self.max <= 1 << 47, "base")
        check(self.base % (256 << 10) == 0 and self.max % (256 << 10) == 0, "not the host's")
        check(self.data_pa <= self.size <= self.max and self.size % PAGE == 0, "file size")
        self.fdt = self.checked_word(128)
        check(self.fdt in SLOTS, "root_fdt")
        self.generation = self.checked_word(136)
        self.state = self.checked_word(144)
        check(1 <= self.state <= 4, "state")

    def regions(self):
        section = 128 << 20
        check(self.max % (section if self.max >= section else PAGE) == 0 and
              0 < self.max <= 1 << 47, "max_size")
        nodes = round_up(FIXED_END, 64 << 10)
        descs = nodes + PAGE * (2 * -(-self.max // section) + 226)
        data = round_up(descs + 2 * self.max // PAGE, 2 << 20 if self.max >= section else 64 << 10)
        check(data + (64 << 10) <= self.max, "max_size")
        check((self.nodes, self.descs, self.data_pa, self.root) == (nodes, descs, data, nodes),
              "regions")

    # ---- root FDT ---------------------------------------------------------

    def fdt_in_force(self):
        fdt = Fdt(self.data[self.fdt:self.fdt + FDT_MAX], self.size)
        self.subtrees = fdt.subtrees
        check(fdt.tree_root == self.root, "preserved-memory-map")
        for subtree in self.subtrees:
            if subtree.name == "kexec-metadata":
                check(subtree.type is None and subtree.size == 73 and
                      subtree.data == self.fdt + FDT_MAX, "kexec-metadata")
            elif subtree.type is not None:
                subtree.value = self.cell(subtree)
            else:
                check(subtree.data >= self.data_pa, f"blob of {subtree.name}")

    def cell(self, subtree):
        at = subtree.data - CELLS
        check(subtree.size == 64 and 0 <= at < 64 * NR_CELLS and at % 64 == 0,
              f"cell of {subtree.name}")
        value = self.u64(subtree.data)
        check(not value or self.base + self.data_pa <= value < self.base + self.size,
              f"value of {subtree.name}")
        return value

    # ---- tree -------------------------------------------------------------

    def tree(self):
        """Every block, in the order of the keys; shift 12: six levels, 512 words, 2^15 bits."""
        seen, self.blocks = set(), []
        todo = [(self.root, 5, 0)]
        while todo:
            pa, level, key = todo.pop()
            check(pa and pa % PAGE == 0 and self.nodes <= pa < self.descs, f"node {pa:#x}")
            check(pa not in seen, f"node {pa:#x} twice")
            seen.add(pa)
            if level:
                words = struct.unpack_from("<512Q", self.data, pa)
                shift = 15 + (level - 1) * 9
                for i, child in enumerate(words):
                    if child:
                        first = key | i << shift
                        check(first < 1 << 53, f"word {i} of {pa:#x}")
                        todo.append((child, level - 1, first))
            else:
                self.leaf(pa, key)
        self.blocks.sort()

    def leaf(self, pa, key):
        bits = int.from_bytes(self.data[pa:pa + PAGE], "little")
        while bits:
            low = bits & -bits
            bits ^= low
            self.block(key | low.bit_length() - 1)

    def block(self, key):
        check(0 < key < 1 << 53, f"key {key:#x}")
        order = 52 - (key.bit_length() - 1)
        pa = (key ^ 1 << 52 - order) << 12 + order
        check(pa + (PAGE << order) <= self.max, f"key {key:#x}")
        check(pa >= self.data_pa and pa + (PAGE << order) <= self.size, f"block {pa:#x}")
        self.blocks.append((pa, order))

    # ---- intent records ---------------------------------------------------

    def in_data(self, address):
        return self.base + self.data_pa <= address < self.base + self.size

    def object_ok(self, address):
        align = PAGE if address & 1 else 16
        return not address or (not (address & ~1) % align and self.in_data(address & ~1))

    def intents(self):
        self.pending = []
        for at in range(INTENTS, INTENTS + 64 * NR_INTENTS, 64):
            slot, value, new, old = struct.unpack_from("<4Q", self.data, at)
            if not slot:
                continue
            if slot & 1:
                pa = slot & ~1
                check(pa % PAGE == 0 and self.data_pa <= pa < self.size and value and
                      value <= (self.size - pa) // PAGE, f"run {slot:#x}")
                self.pending.append((slot, value, new, old))
                continue
            in_cell = CELLS <= slot < CELLS + 64 * NR_CELLS and (slot - CELLS) % 64 == 0
            check(slot % 8 == 0 and (in_cell or self.data_pa <= slot < self.size),
                  f"slot {slot:#x}")
            check(self.object_ok(new) and self.object_ok(old), f"record {at:#x}")
            self.pending.append((slot, value, new, old))

    # ---- what lies there --------------------------------------------------

    def descriptors(self):
        self.kinds = {}
        for pa, order in self.blocks:
            word = struct.unpack_from("<H", self.data, self.descs + 2 * (pa // PAGE))[0]
            check(word and word >> 10 == crc6(word & 0x3FF), f"descriptor of {pa:#x}")
            check(word & 0xF in TYPES and word >> 4 & 0x3F == order, f"descriptor of {pa:#x}")
            self.kinds[pa] = TYPES[word & 0xF]


    # ---- vmalloc-v1 -------------------------------------------------------

    def vmalloc(self, desc):
        """The blocks that a descriptor stands for."""
        first, total, flags, order = struct.unpack("<QIHH", desc)
        preserved = set(self.blocks)

        def part(pa, part_order):
            size = PAGE << part_order
            check(pa % size == 0, "aligned")
            check(pa and self.data_pa <= pa and pa + size <= self.size, "where data lies")
            check((pa, part_order) in preserved, "preserved by its own order")

        check(not flags & ~3 and order <= 31 and total % (1 << order) == 0, "flags, order")
        check(0 < total <= (self.size - self.data_pa) // PAGE, "total_pages")
        found, chunk = [], first
        while chunk:
            part(chunk, 0)
            following, *words = struct.unpack_from("<512Q", self.data, chunk)
            nr = words.index(0) if 0 in words else len(words)
            check(not any(words[nr:]) and (nr == len(words) or not following), "chunk")
            found += words[:nr]
            check(len(found) <= total >> order, "more blocks than total_pages")
            chunk = following
        for pa in found:
            part(pa, order)
        check(len(found) == total >> order, "fewer blocks than total_pages")
        return found


class Subtree:
    def __init__(self, name):
        self.name = name
        self.data = self.size = self.type = self.version = self.value = None


class Fdt:
    """A bounded walk: header, reservations, structure."""

    def __init__(self, data, image_size):
        self.image_size = image_size
        self.tree_root = None
        self.compatible = None
        self.subtrees = []
        check(len(data) >= 40, "FDT")
        (magic, total, structure, strings, reservations, version, compatible, _cpu, strings_len,
         structure_len) = struct.unpack_from(">10I", data)
        check(magic == 0xD00DFEED and version >= 17 and compatible <= 17, "FDT header")
        check(40 <= total <= len(data), "FDT totalsize")
        for start, length in ((structure, structure_len), (strings, strings_len),
                              (reservations, 0)):
            check(40 <= start and start + length <= total, "FDT block")
        check(structure % 4 == 0 and reservations % 8 == 0, "FDT alignment")
        self.data = data[:total]
        self.strings = data[strings:strings + strings_len]
        self.read_reservations(reservations)
        self.at, self.end = structure, structure + structure_len
        self.read_structure()

    def read_reservations(self, at):
        while True:
            check(at + 16 <= len(self.data), "FDT reservations")
            if not any(self.data[at:at + 16]):
                return
            at += 16

    def token(self):
        check(self.at + 4 <= self.end, "FDT token")
        token = struct.unpack_from(">I", self.data, self.at)[0]
        self.at += 4
        return token

    def node_name(self):
        end = self.data.find(b"\0", self.at, self.end)
        check(end >= 0, "FDT name")
        name = self.data[self.at:end]
        self.at = round_up(end + 1, 4)
        check(self.at <= self.end, "FDT name")
        return name

    def property(self):
        check(self.at + 8 <= self.end, "FDT property")
        length, name_at = struct.unpack_from(">II", self.data, self.at)
        check(length <= self.end - self.at - 8, "FDT value")
        value = self.data[self.at + 8:self.at + 8 + length]
        self.at = round_up(self.at + 8 + length, 4)
        check(self.at <= self.end and name_at < len(self.strings), "FDT property")
        end = self.strings.find(b"\0", name_at)
        check(end >= 0, "FDT property name")
        return self.strings[name_at:end], value

    def read_structure(self):
        check(self.token() == 1 and self.node_name() == b"", "FDT root")
        self.read_node(None)
        token = self.token()
        while token == 4:
            token = self.token()
        check(token == 9, "FDT end")
        check(self.tree_root is not None and self.compatible is not None, "FDT root's properties")

    def read_node(self, subtree):
        children = False
        while True:
            token = self.token()
            if token == 4:
                continue
            if token == 2:
                break
            if token == 3:
                check(not children, "FDT property after a child")
                self.take(subtree, *self.property())
            else:
                check(token == 1 and subtree is None, "FDT token")
                children = True
                self.read_child()
        if subtree is not None:
            check(subtree.data is not None and subtree.size is not None, "FDT subtree")

    def read_child(self):
        name = self.node_name()
        check(1 <= len(name) <= 63 and all(c in NAME_CHARS for c in name), "FDT subtree's name")
        name = name.decode()
        check(all(s.name != name for s in self.subtrees), "FDT name twice")
        child = Subtree(name)
        self.read_node(child)
        check(child.size <= self.image_size and child.data <= self.image_size - child.size,
              "FDT blob")
        check(child.data or not child.size, "FDT blob at 0")
        self.subtrees.append(child)

    def take(self, subtree, name, value):
        if subtree is None:
            self.take_root(name, value)
            return
        if name in (b"preserved-data", b"blob-size"):
            check(len(value) == 8, "FDT property's length")
            field = "data" if name == b"preserved-data" else "size"
            check(getattr(subtree, field) is None, "FDT property twice")
            setattr(subtree, field, struct.unpack("<Q", value)[0])
        elif name == b"kho,type":
            check(subtree.type is None and len(value) > 1 and value.find(b"\0") == len(value) - 1,
                  "FDT type")
            subtree.type = value[:-1]
        elif name == b"kho,type-version":
            check(subtree.version is None and len(value) == 4, "FDT type's version")
            subtree.version = struct.unpack("<I", value)[0]

    def take_root(self, name, value):
        if name == b"compatible":
            check(self.compatible is None and value.endswith(b"\0"), "FDT compatible")
            self.compatible = value[:-1].split(b"\0")
            composites = [c for c in self.compatible if c.startswith(b"kho-v4;")]
            for composite in composites:
                check(compat_parts(composite) is not None, "FDT compatible")
            check(composites or b"kho-v4" in self.compatible, "FDT compatible")
            known = {b"arena": 1, b"array": 1, b"block": 1, b"handover": 1, b"radix": 1, b"slab": 1, b"vmalloc": 1}
            for part, number, optional in compat_parts(composites[0])[1:] if composites else []:
                check(optional or known.get(part) == number, "FDT compatible")
        elif name == b"preserved-memory-map":
            check(self.tree_root is None and len(value) == 8, "FDT preserved-memory-map")
            self.tree_root = struct.unpack("<Q", value)[0]
            check(0 < self.tree_root < self.image_size, "FDT preserved-memory-map")


def text(data):
    """Text that came in: on one line, whatever it is."""
    return "".join(chr(c) if 0x20 < c < 0x7F else f"\\x{c:02x}" for c in data)


def say(arena):
    print(f"arena {arena.max:#x} {arena.base:#x} {arena.generation} {arena.state} {arena.fdt:#x}")
    for s in arena.subtrees:
        typed = "" if s.type is None else f" {text(s.type)} {s.version or 0} {s.value:#x}"
        print(f"subtree {s.name} {s.data:#x} {s.size}{typed}")
    version, release, count = struct.unpack_from("<I65sI", arena.data, arena.fdt + FDT_MAX)
    if version == 1 and b"\0" in release:
        print(f"metadata {text(release.split(bytes(1))[0])} {count}")
    for slot, value, new, old in arena.pending:
        print(f"intent {slot:#x} {value:#x} {new:#x} {old:#x}")
    for pa, order in arena.blocks:
        kind = arena.kinds[pa]
        print(f"block {pa:#x} {order} {kind}")
    for s in arena.subtrees:
        if s.name == "areas":
            for n in range(s.size // 16):
                say_area(arena, n, arena.data[s.data + 16 * n:s.data + 16 * n + 16])


def say_area(arena, n, desc):
    first, total, flags, order = struct.unpack("<QIHH", desc)
    try:
        what = "none"
        if first:
            blocks = "".join(f" {pa:#x}" for pa in arena.vmalloc(desc))
            what = f"{total} {flags} {order}{blocks}"
    except Refused:
        what = "refused"
    print(f"area {n} {what}")


def main():
    with open(sys.argv[1], "rb") as f:
        data = f.read()
    try:
        arena = Arena(data)
    except Refused as why:
        print("refused")
        print(f"arena_reader: {why}", file=sys.stderr)
        return 0
    say(arena)
    return 0


if __name__ == "__main__":
    sys.exit(main())
