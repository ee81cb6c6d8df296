# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#
# A second reader of compatibility strings, root FDTs (kho-v4) and regions of reserved memory
# (memblock-v1), written from docs/abi.md and from nothing else.
import re
import struct

from kho_bytes import check, round_up

NAME_CHARS = frozenset(
    b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789,._+-")


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


class Subtree:
    def __init__(self, name):
        self.name = name
        self.data = self.size = self.type = self.version = self.value = None


class FdtBytes:
    """Header and blocks of a flattened device tree, and bounded steps through its structure."""

    def __init__(self, data):
        check(len(data) >= 40, "FDT")
        (magic, total, structure, strings, self.reservations, version, compatible, _cpu, strings_len,
         structure_len) = struct.unpack_from(">10I", data)
        check(magic == 0xD00DFEED and version >= 17 and compatible <= 17, "FDT header")
        check(40 <= total <= len(data), "FDT totalsize")
        for start, length in ((structure, structure_len), (strings, strings_len),
                              (self.reservations, 0)):
            check(40 <= start and start + length <= total, "FDT block")
        check(structure % 4 == 0 and self.reservations % 8 == 0, "FDT alignment")
        self.data = data[:total]
        self.strings = data[strings:strings + strings_len]
        self.at, self.end = structure, structure + structure_len

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


class Fdt(FdtBytes):
    """A root FDT."""

    def __init__(self, data, image_size):
        super().__init__(data)
        self.image_size = image_size
        self.tree_root = None
        self.compatible = None
        self.subtrees = []
        self.read_reservations(self.reservations)
        self.read_structure()

    def read_reservations(self, at):
        while True:
            check(at + 16 <= len(self.data), "FDT reservations")
            if not any(self.data[at:at + 16]):
                return
            at += 16

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
            known = {b"arena": 1, b"array": 1, b"block": 1, b"handover": 1, b"radix": 1,
                     b"session": 1, b"slab": 1, b"vmalloc": 1}
            for part, number, optional in compat_parts(composites[0])[1:] if composites else []:
                check(optional or known.get(part) == number, "FDT compatible")
        elif name == b"preserved-memory-map":
            check(self.tree_root is None and len(value) == 8, "FDT preserved-memory-map")
            self.tree_root = struct.unpack("<Q", value)[0]
            check(0 < self.tree_root < self.image_size, "FDT preserved-memory-map")


def read_memblock(data, image_size):
    """{name: (start, size)} of the regions."""
    fdt = FdtBytes(data)
    check(fdt.token() == 1 and fdt.node_name() == b"", "FDT root")
    regions = {}
    props, token = read_properties(fdt)
    check(any(b"memblock-v1" in listed(value) for value in props.get(b"compatible", ())), "INCOMPATIBLE")
    while token == 1:
        name = fdt.node_name()
        props, token = read_properties(fdt)
        check(token == 2 and 1 <= len(name) <= 15 and name not in regions, "region's name")
        for key in b"compatible", b"start", b"size":
            check(len(props.get(key, ())) == 1, f"{key.decode()}, once")
        check(b"reserve-mem-v1" in listed(props[b"compatible"][0]), "INCOMPATIBLE")
        check(len(props[b"start"][0]) == 8 and len(props[b"size"][0]) == 8, "start, size")
        start, size = (struct.unpack("<Q", props[key][0])[0] for key in (b"start", b"size"))
        check(size and start + size <= image_size and len(regions) < 8, "RANGE")
        check(all(start + size <= at or at + bytes_there <= start
                  for at, bytes_there in regions.values()), "OVERLAP")
        regions[name] = start, size
        token = next_token(fdt)
    check(token == 2 and next_token(fdt) == 9, "FDT end")
    return regions


def listed(value):
    """Entries of a list of strings, each with its NUL."""
    return value.split(b"\0")[:-1]


def next_token(fdt):
    token = fdt.token()
    while token == 4:
        token = fdt.token()
    return token


def read_properties(fdt):
    """Properties up to the next token that is none, each with all its values; and that token."""
    props = {}
    token = next_token(fdt)
    while token == 3:
        name, value = fdt.property()
        props.setdefault(name, []).append(value)
        token = next_token(fdt)
    return props, token
