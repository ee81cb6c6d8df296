#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""pause.py DIRECTORY ADDRESS FILE: let a QEMU that waits (-S) run up to an address, write the
guest's physical memory to a file, an ELF core, and let it run on.

DIRECTORY has QEMU's sockets: gdb (its debugger's protocol) and qmp (its monitor's)."""
import os
import sys

import guest


def main():
    directory, address, path = sys.argv[1:]
    debugger = guest.Debugger(os.path.join(directory, "gdb"))
    monitor = guest.Monitor(os.path.join(directory, "qmp"))
    debugger.run_to(int(address, 16))
    monitor.dump(path)
    debugger.leave()


try:
    main()
except guest.Failed as why:
    sys.exit(f"pause: {why}")
