#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
"""Tables of a campaign of damage, for docs/limits-corruption.md, from build/mutate.json; or from
several such files, if it was run in parts (KHO_MUTATE_FROM).

	tests/host/mutate_table.py FILE...
"""
import json
import sys

OUTCOMES = ("detected", "harmless", "lost")


def share(part, whole):
    """Percent, such that only none at all is 0 and only all is 100."""
    if not part:
        return "0"
    if part == whole:
        return "100 %"
    return "%.2f %%" % min(max(100 * part / whole, 0.01), 99.99)


def table(heading, rows, lost):
    print("| %s | changes | detected | harmless | lost |%s" %
          (heading, " share of all that is lost |" if lost else ""))
    print("|---|---:|---:|---:|---:|" + ("---:|" if lost else ""))
    for name, row in rows:
        cells = [name, "{:,}".format(row["tried"])] + [share(row[o], row["tried"])
                                                      for o in OUTCOMES]
        if lost:
            cells.append(share(row["lost"], lost))
        print("| " + " | ".join(cells) + " |")
    print()


def main(paths):
    sums = {}
    for path in paths:
        with open(path, encoding="utf-8") as file:
            for row in json.load(file)["rows"]:
                kept = sums.setdefault((row["by"], row["name"]), {})
                for key in ("tried",) + OUTCOMES:
                    kept[key] = kept.get(key, 0) + row.get(key, 0)
    every = sums[("all", "all")]
    rows = [(name, row) for (by, name), row in sums.items() if by == "structure"]
    kinds = [(name, row) for (by, name), row in sums.items() if by == "kind"]
    told = [(name, row["tried"]) for (by, name), row in sums.items() if by == "told of"]
    table("structure that was changed", rows + [("all", every)], every["lost"])
    table("kind of change", kinds, 0)
    print("Told of: " + ", ".join("%s (%s)" % (name, share(nr, every["detected"]))
                                  for name, nr in sorted(told, key=lambda t: -t[1])) + ".")
    print("Signals, hangs, accesses outside: %d."
          % sum(row["tried"] for (by, _), row in sums.items() if by == "failures"))


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(sys.argv[1:])
