#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""boot_bench.py FILE [CASE...]: what it costs a kernel to take over preserved memory when it boots,
in instructions; and what it costs to preserve memory. Writes rows as JSON, and prints them.

  RUNS=N          how often (1); the figures of a case are the same each time, to 0.1 %
  KERNELS='A B'   which kernels (theirs, and ours if there is one)

A guest with one processor under -icount counts instructions, and QEMU tells how many there were while it records
the run (the record itself is thrown away). The guest preserves (linux/vm/module), jumps to a kernel of the same kind,
and is stopped at the entry of kho_memory_init(), at the return of memblock_free_all() and at the start of the first
program. Then it goes on, and every block must have arrived. Its clock would not do: a stop winds it on to the next
tick, 55 million instructions away.

  isolated   65,536 order-0 pages, no two beside each other
  mixed      65,536 blocks of orders 0 to 9, no two beside each other, drawn by a fixed seed
  runs       1 million order-0 pages in 16,384 runs
  many       700,000 isolated order-0 pages; for ours alone: Linux 7.2 needs too long
  few        4,096 isolated order-0 pages; only if it is named: is the measure what it is to be?
  speed      preserve and unpreserve: pages that stand alone, ranges of 64 pages that begin at an odd
             page; instructions with one processor, and the time with one and with two

"instructions" is up to the return of memblock_free_all(), "instructions_to_init" up to the first
program: work that was moved to later is in it, and so is all else that a boot does."""
import os
import re
import sys

import guest

MEMORY = "8G"
SUBJECTS = {"theirs": "linux-7.2", "ours": "libkho"}
# Blocks, what the module does, seconds, for whom.
CASES = {
    "isolated": (65536, "do=isolated,nr=65536", 1800, ("theirs", "ours")),
    "mixed": (65536, "do=mixed,nr=65536,seed=20", 1800, ("theirs", "ours")),
    "runs": (1000000, "do=runs,nr=1000000", 5400, ("theirs", "ours")),
    "many": (700000, "do=isolated,nr=700000", 1800, ("ours",)),
    "few": (4096, "do=isolated,nr=4096", 600, ()),
}
SPEED = "do=speed,nr=32768"
SPEED_LINE = re.compile(r"kho_vm: speed (\w+) cpus (\d) calls (\d+) ns (\d+) cycles (\d+)")


class Rows:
    def __init__(self):
        self.rows = {}

    def add(self, case, subject, metric, unit, value):
        self.rows.setdefault((case, subject, metric, unit), []).append(value)

    def summary(self):
        for (case, subject, metric, unit), values in self.rows.items():
            values = sorted(values)
            count = len(values)
            yield {"case": case, "subject": subject, "metric": metric, "unit": unit, "n": count,
                   "min": values[0], "median": values[(count - 1) // 2],
                   "p99": values[(count - 1) * 99 // 100], "max": values[-1]}


def launch(case, chain, what, processors, counted):
    """QEMU's command line, and the console's file."""
    words, console = guest.command(case, chain, "nokaslr", f"vm.do={what}", KHO_ACCEL="tcg", KHO_CPU="max",
                                   KHO_QEMU=f"-m {MEMORY} -smp {processors}")
    if counted:
        words[words.index("tcg,thread=multi")] = "tcg,thread=single"
        words += ["-icount", f"shift=0,rr=record,rrfile={console}.record"]
    return words, console


def finish(machine, words, console, seconds):
    """Let it come to its end, which must be a good one. Return: the console."""
    machine.debugger.leave()
    ended = machine.wait(seconds)
    for path in words[words.index("-initrd") + 1], f"{console}.record":
        if os.path.exists(path):
            os.unlink(path)
    with open(console, encoding="ascii", errors="replace") as file:
        log = file.read()
    if not ended or not re.search("^VM: end", log, re.M):
        why = re.search(r"^.*(?:VM: fail|kho_vm: .* skipped|Kernel panic).*", log, re.M)
        raise guest.Failed(f"{console}: {why.group(0) if why else 'does not come to its end'}")
    return log


def boot(case, name, what, seconds):
    """Return: instructions up to the return of memblock_free_all(), and to the first program."""
    kernel = guest.Kernel(name)
    words, console = launch(case, f"{name}>{name}", what, 1, True)
    counts = []
    with guest.Guest(words) as machine:
        debugger = machine.debugger

        def count():
            counts.append(machine.monitor.ask("query-replay")["icount"])

        debugger.run_to(kernel.address("machine_kexec"))
        debugger.run_to(kernel.address("kho_memory_init"))
        count()
        debugger.run_to(kernel.address("memblock_free_all"))
        _, registers = debugger.registers()
        debugger.run_to(int.from_bytes(debugger.read(registers[debugger.RSP], 8), "little"))
        count()
        debugger.run_to(kernel.address("run_init_process"))
        count()
        log = finish(machine, words, console, seconds)
    if not re.search(r"kho_vm: \d+ blocks checked, 0 faults", log):
        raise guest.Failed(f"{console}: not all that was preserved has arrived")
    return counts[1] - counts[0], counts[2] - counts[0]


def speed(rows, name, processors, counted):
    words, console = launch("speed", name, SPEED, processors, counted)
    with guest.Guest(words) as machine:
        log = finish(machine, words, console, 1800)
    found = SPEED_LINE.findall(log)
    if len(found) != 4 * processors:
        raise guest.Failed(f"{console}: {len(found)} results")
    for what, used, calls, nanoseconds, cycles in found:
        if counted:
            rows.add(what, SUBJECTS[name], "instructions_per_call", "instructions",
                     int(cycles) / int(calls))
        else:
            rows.add(f"{what}/{used}", SUBJECTS[name], "calls_per_ms", "1/ms",
                     int(calls) * 1e6 / int(nanoseconds))


def main(path, *names):
    kernels = os.environ.get("KERNELS", "").split() or [
        name for name in SUBJECTS if os.path.exists(os.path.join(guest.cache(), name, "obj/key"))]
    rows = Rows()
    for run in range(int(os.environ.get("RUNS", "1"))):
        for case in names or [*CASES, "speed"]:
            for kernel in kernels:
                if case == "speed":
                    speed(rows, kernel, 1, True)
                    speed(rows, kernel, 2, False)
                    continue
                blocks, what, seconds, who = CASES[case]
                if kernel not in who and not (case == "few" and names):
                    continue
                print(f"{case}, {kernel}, run {run + 1}", file=sys.stderr, flush=True)
                taken, to_init = boot(case, kernel, what, seconds)
                subject = SUBJECTS[kernel]
                if case in ("isolated", "mixed"):
                    rows.add(case, subject, "instructions_per_page", "instructions", taken / blocks)
                rows.add(case, subject, "instructions", "instructions", taken)
                rows.add(case, subject, "instructions_to_init", "instructions", to_init)
    guest.write_rows(path, list(rows.summary()))


try:
    main(*sys.argv[1:])
except guest.Failed as error:
    sys.exit(f"boot_bench: {error}")
