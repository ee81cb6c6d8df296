#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""check_makedumpfile.py CORE COMMAND: what makedumpfile, which is COMMAND, makes of the image that linux/vm/dump took,
and what kho(1) says of that: the same as of the image, as an ELF core; how many preserved pages were left out; and of
the formats that are no ELF core, what they are.

makedumpfile does not read QEMU's ELF cores (their program headers do not follow the ELF header). So it gets the same
memory with the headers that /proc/vmcore has: segments at the kernel's direct map, and the kernel's VMCOREINFO, from
its memory, as a note.

Exit status: 0 if all is as it must be; else the last line says what is not."""
import json
import os
import re
import struct
import subprocess
import sys
import tempfile

from check_dump import PAGE, Core, kho, must, run

# Without KASLR, by levels of page tables: four, five
DIRECT_MAP = {b"0": 0xffff888000000000, b"1": 0xff11000000000000}


def note(name, body):
    name += b"\0"
    return struct.pack("<III", len(name), len(body), 0) + name.ljust(-len(name) % 4 + len(name), b"\0") + \
        body.ljust(-len(body) % 4 + len(body), b"\0")


def write_vmcore(core, path):
    info = re.search(rb"OSRELEASE=[^\0\n]+\nBUILD-ID=[^\0]+", core.bytes)
    must(info, "no VMCOREINFO in the guest's memory")
    base = DIRECT_MAP[re.search(rb"NUMBER\(pgtable_l5_enabled\)=(\d)", info.group()).group(1)]
    notes = note(b"CORE", bytes(336)) + note(b"VMCOREINFO", info.group())
    # What QEMU has behind the guest's memory is its firmware.
    segments = [s for s in core.segments if s[2] > 1 << 20]
    headers = 64 + 56 * (1 + len(segments))
    at = -(-(headers + len(notes)) // PAGE) * PAGE
    head = b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + \
        struct.pack("<HHIQQQIHHHHHH", 4, 62, 1, 0, 64, 0, 0, 64, 56, 1 + len(segments), 0, 0, 0)
    head += struct.pack("<IIQQQQQQ", 4, 0, headers, 0, 0, len(notes), len(notes), 4)
    with open(path, "wb") as file:
        for pa, offset, length in segments:
            head += struct.pack("<IIQQQQQQ", 1, 7, at, base + pa, pa, length, length, 0)
            file.seek(at)
            file.write(core.bytes[offset:offset + length])
            at += length
        file.seek(0)
        file.write(head + notes)


def make(command, *args, source=None, to=None):
    """Run makedumpfile."""
    with open(source or os.devnull, "rb") as stdin, open(to or os.devnull, "wb") as stdout:
        done = subprocess.run([command, *args], stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, check=False)
    must(done.returncode == 0, f"makedumpfile {' '.join(args)}: {done.stderr[-300:].decode(errors='replace')}")


def inspect(path):
    """What kho inspect finds, without what it says of the file itself."""
    found = json.loads(kho("inspect", "--json", "--blocks", path))
    return {key: value for key, value in found.items() if key != "source"}


def preserved_pages(found):
    """Addresses, each once."""
    return {int(run["address"], 16) + at for run in found["preserved"]["runs"]
            for at in range(0, run["blocks"] * PAGE << run["order"], PAGE)}


def there(core, pages):
    return sum(any(start <= pa and pa + PAGE <= start + length for start, _, length in core.segments) for pa in pages)


def check_elf(path, want, name):
    found = inspect(path)
    pages = preserved_pages(found)
    without = len(pages) - there(Core(path), pages)
    said = found["preserved"].pop("pages_not_in_dump")
    must(said == without, f"{name}: {without} preserved pages are not in it, not {said}")
    must(found == want, f"{name}: not what is found in the image")
    must(kho("verify", path).startswith("sound: "), f"{name}: not sound")
    print(f"{name}: {os.path.getsize(path) >> 20} MiB, {len(pages)} pages preserved, {without} of them left out: "
          "the same is found")
    return without


def check_no_elf(path, words, name):
    said = kho("inspect", path, want=2)
    must(all(word in said for word in words), f"{name}: {said}")
    print(f"{name}: is named")


def check(core, command, directory):
    vmcore, out, flat = (os.path.join(directory, name) for name in ("vmcore", "out", "flat"))
    want = inspect(core)
    must(want["preserved"].pop("pages_not_in_dump") == 0, "pages are missing in QEMU's dump")
    write_vmcore(Core(core), vmcore)
    check_elf(vmcore, want, "as /proc/vmcore")
    without = {}
    for level in "0", "1", "31":
        make(command, "-E", "-d", level, "--message-level", "4", vmcore, out)
        without[level] = check_elf(out, want, f"makedumpfile -E -d {level}")
        os.unlink(out)
    # Preserved pages of zeros, and of files: of an ELF core, where there are 256 in a row. All that is read is there.
    must(without["31"] > without["1"] > without["0"] == 0, f"pages left out, by level: {without}")
    make(command, "-F", "-E", "-d", "31", "--message-level", "4", vmcore, to=flat)
    check_no_elf(flat, ("ELF core, flattened", "makedumpfile -R"), "makedumpfile -F -E")
    make(command, "-R", out, source=flat)
    check_elf(out, want, "makedumpfile -R")
    os.unlink(out)
    make(command, "-F", "-c", "-d", "31", "--message-level", "4", vmcore, to=flat)
    check_no_elf(flat, ("flattened", "kdump-compressed", "makedumpfile -E"), "makedumpfile -F -c")
    for how in ("-c",), ("-l",), ():
        make(command, *how, "-d", "31", "--message-level", "4", vmcore, out)
        check_no_elf(out, ("kdump-compressed", "makedumpfile -E"), " ".join(("makedumpfile", *how)))
        again = subprocess.run([command, "-E", "-d", "31", out, flat + ".elf"], stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, check=False)
        must(again.returncode, "makedumpfile can make an ELF core of a compressed dump: say so")
        os.unlink(out)


def main():
    core, command = sys.argv[1:]
    with tempfile.TemporaryDirectory(dir=os.path.dirname(core)) as directory:
        check(core, command, directory)


if __name__ == "__main__":
    run(main)
