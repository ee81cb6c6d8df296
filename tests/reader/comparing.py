# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#
# Arenas that a random program left, and the same with random damage, read by a program (DUMP make SEED FILE,
# DUMP read FILE...) and once more in Python.
import os
import random
import subprocess
import tempfile
import time

BATCH = 50


class Comparison:
    """What one who compares adds: second_reading(data), and compare(what, first, second, why)."""

    def __init__(self, dump, directory):
        self.dump, self.directory, self.pending = dump, directory, []

    def add(self, what, data):
        path = os.path.join(self.directory, f"{len(self.pending)}.arena")
        with open(path, "wb") as f:
            f.write(data)
        self.pending.append((what, path, self.second_reading(data)))
        if len(self.pending) == BATCH:
            self.flush()

    def flush(self):
        if not self.pending:
            return
        done = subprocess.run([self.dump, "read", *(path for _, path, _ in self.pending)],
                              capture_output=True, encoding="latin1", check=True)
        why = dict(line.split(": ", 1) for line in done.stderr.splitlines() if ": " in line)
        for (what, path, second), first in zip(self.pending, done.stdout.split("end\n")):
            self.compare(what, first, second, why.get(path, "accepted"))
        self.pending = []


def run(kind, targets, damage, dump, arenas=12, damages=40):
    """@damages of each: damage(data, targets(data), rng) is data with some. Return: a @kind, all compared."""
    seed = int(os.environ.get("KHO_SEED", time.time_ns() % 10**9))
    print(f"KHO_SEED={seed}", flush=True)
    with tempfile.TemporaryDirectory() as directory:
        comparison = kind(dump, directory)
        for number in range(seed, seed + int(arenas)):
            path = os.path.join(directory, "made")
            subprocess.run([dump, "make", str(number), path], check=True)
            with open(path, "rb") as f:
                data = f.read()
            comparison.add(f"arena {number}", data)
            rng, places = random.Random(number), targets(data)
            for i in range(int(damages)):
                comparison.add(f"arena {number}, damage {i}", damage(data, places, rng))
        comparison.flush()
    return comparison
