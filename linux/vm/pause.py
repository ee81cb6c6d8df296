#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""pause.py DIRECTORY KERNEL FILE: let a QEMU that waits (-S) run up to the jump, write the guest's physical
memory to a file, an ELF core, and let it run on.

DIRECTORY has QEMU's sockets: gdb (its debugger's protocol) and qmp (its monitor's). FILE.blocks gets what was
preserved, by a witness that knows nothing of any format: each call that adds a block to the tree or takes one out,
from the first instruction on, as a debugger sees it. Lines "ADDRESS ORDER"."""
import os
import sys

import guest

# The one function that all goes through: tree, what names the block, order.
WATCHED = (("khoc_radix_add", "khoc_radix_del", 1), ("kho_radix_add_page", "kho_radix_del_page", 4096))


def main():
    directory, name, path = sys.argv[1:]
    kernel = guest.Kernel(name)
    add, delete, unit = next(row for row in WATCHED if row[0] in kernel.symbols)
    add, delete = kernel.address(add), kernel.address(delete)
    debugger = guest.Debugger(os.path.join(directory, "gdb"))
    monitor = guest.Monitor(os.path.join(directory, "qmp"))
    blocks = set()

    # Ours has more trees than one: as what each block is preserved.
    preserved = kernel.symbols.get("kho_tree")

    def hit(at, tree, block, order):
        if preserved in (None, tree):
            (blocks.add if at == add else blocks.discard)((block * unit, order & 0xFFFFFFFF))
    debugger.watch((add, delete), kernel.address("machine_kexec"), hit)
    with open(path + ".blocks", "w", encoding="ascii") as file:
        file.writelines(f"{pa:#x} {order}\n" for pa, order in sorted(blocks))
    monitor.dump(path)
    debugger.leave()


try:
    main()
except guest.Failed as why:
    sys.exit(f"pause: {why}")
