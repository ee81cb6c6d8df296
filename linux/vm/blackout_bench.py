#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""blackout_bench.py FILE: bench/blackout in a guest with one processor whose clock counts instructions, one to a
nanosecond (QEMU's -icount), so that nothing else on this machine is in the figures, however busy it is. Writes rows
as JSON, and prints them.

  SIZES="16MiB 1GiB"    of the state
  N=N                   upgrades of each size; else 200, 100, 50, 20, 6 from 16MiB to 12GiB, and 50 of others
  SUBJECTS=a,b          as blackout-bench has them
  KERNELS=theirs        the guest's

It is not the time that a machine takes, which executes several instructions in a nanosecond, waits for memory, and
has more processors than one: here server, client and whatever else take turns. It is the same each time."""
import json
import os
import re
import subprocess
import sys

import guest

GIB = 1 << 30
COUNTS = {"16MiB": 200, "256MiB": 100, "1GiB": 50, "4GiB": 20, "12GiB": 6}
UNITS = {"M": GIB >> 10, "G": GIB}
SUBJECTS = "libkho,noise-floor,libkho-realtime,noise-realtime"


def bytes_of(name):
    match = re.fullmatch(r"(\d+)([MG])iB", name)
    if not match:
        raise guest.Failed(f"{name} is not a size such as 16MiB")
    return int(match.group(1)) * UNITS[match.group(2)]


def measure(name, kernel, subjects):
    """One size. Return: its rows."""
    state = bytes_of(name)
    count = os.environ.get("N") or COUNTS.get(name, 50)
    # What launch_need_once() wants to see available, and the system's own.
    memory = (state * 5 // 4 + GIB // 2 + GIB) * 9 // 8 >> 20
    words, console = guest.command("blackout", kernel, "nokaslr", f"vm.do={name}:{count}:{subjects}",
                                   KHO_ACCEL="tcg", KHO_QEMU=f"-m {memory} -smp 1")
    words[words.index("tcg,thread=multi")] = "tcg,thread=single"
    # Where all wait for a time to come, it has come.
    words += ["-icount", "shift=0,sleep=off"]
    print(f"{name}: a guest of {memory} MiB, {count} upgrades; its console is {console}", file=sys.stderr,
          flush=True)
    ended = subprocess.run(words, stdin=subprocess.DEVNULL, check=False).returncode == 0
    os.unlink(words[words.index("-initrd") + 1])
    with open(console, encoding="ascii", errors="replace") as file:
        log = file.read()
    rows = [json.loads(row) for row in re.findall(r"^VM: row (\{.*\}),?\s*$", log, re.M)]
    if not ended or not rows or not re.search("^VM: end", log, re.M):
        why = re.search(r"^.*(?:VM: fail|Kernel panic).*", log, re.M)
        raise guest.Failed(f"{console}: {why.group(0) if why else 'does not come to its end'}")
    return rows


def main(path):
    rows = []
    for name in os.environ.get("SIZES", "").split() or ["16MiB", "256MiB", "1GiB"]:
        rows += measure(name, os.environ.get("KERNELS", "theirs").split()[0],
                        os.environ.get("SUBJECTS") or SUBJECTS)
        guest.write_rows(path, rows)


try:
    main(sys.argv[1])
except guest.Failed as error:
    sys.exit(f"blackout_bench: {error}")
