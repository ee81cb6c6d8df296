#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
"""What all commands have in common: --help, exit statuses as kho(1) and kho-inspect(1) say, JSON that is JSON, and
a full disk that is told of."""
import json
import os
import re
import subprocess

import dumps
from run import BUILD, DIRECTORY, kho, must, run_tests, save

COMMANDS = re.findall(r"^  ([a-z]+) ", kho("--help")[0], re.M)
# What each wants, at least; nothing is there under these names.
WANTS = {"run": ["nothing-of-this-name"], "upgrade": ["nobody"], "preserve": ["nobody"], "stop": ["nobody"],
         "status": ["nobody"], "clear": ["nobody"], "save": ["nobody", "file"], "load": ["nothing"],
         "inspect": ["nothing"], "map": ["nothing"], "diff": ["nothing", "nothing"], "verify": ["nothing"],
         "check": ["nothing", "nothing"]}
NO_SERVERS = {"KHO_RUNDIR": f"{DIRECTORY.name}/none"}
INSPECTORS = "inspect", "map", "diff", "verify", "check"


def helps():
    must(sorted(COMMANDS) == sorted(WANTS), COMMANDS)
    for command in COMMANDS:
        text, err = kho(command, "--help")
        must(text.startswith(f"usage: kho {command} ") and not err, text, err)
        must(text.endswith("\n") and all(len(line) <= 85 for line in text.splitlines()), text)
    must(kho("help") == kho("--help"), "help")
    with open("Makefile", encoding="utf-8") as f:
        version = re.search(r"^KHO_VERSION := (.*)", f.read(), re.M).group(1)
    must(kho("--version") == (f"kho {version}\n", ""), kho("--version"))


def wrong_usage():
    """Status 2, words on stderr alone."""
    for args in [], ["nonsense"], ["--nonsense"], *([c, "--nonsense"] for c in COMMANDS), \
            *([c] for c in COMMANDS if c != "status"), \
            *([c, *WANTS[c], "one-too-many"] for c in COMMANDS if c not in ("run", "upgrade")):
        out, err = kho(*args, want=2)
        must(not out and err, args, out, err)


def nothing_there():
    """What can be told apart from wrong usage: 1, or 2 of those whose 1 has another meaning."""
    for command in COMMANDS:
        out, err = kho(command, *WANTS[command], want=2 if command in INSPECTORS else 1, env=NO_SERVERS)
        must(not out and err.startswith("kho: "), command, out, err)


def options_end_at_two_dashes():
    """What follows is a name, whatever it looks like; before them options may stand anywhere."""
    for command in COMMANDS:
        want = 2 if command in INSPECTORS else 1
        plain = kho(command, *WANTS[command], want=want, env=NO_SERVERS)
        must(kho(command, "--", *WANTS[command], want=want, env=NO_SERVERS) == plain, command)
    for command, option in ("preserve", "--cancel"), ("status", "--json"):
        for args in (option, "--", "-x"), ("--", "-x"), (option, "nobody"), ("nobody", option):
            _, err = kho(command, *args, want=1, env=NO_SERVERS)
            must(err.startswith(f"kho: no kho run of the name {'-x' if '-x' in args else 'nobody'}:"), command, args, err)


def sources():
    save("sound", dumps.sound(12).dump())
    save("ours", dumps.ours()[0].dump())
    bad = dumps.sound(16)
    bad.put(bad.data.index(b"vm-1".ljust(64, b"\0")) + 72, 77)
    at = bad.data.index(b"other-v2")
    bad.data[at:at + 8] = b"\xff\"\\\n\x01\xc3(x"  # nothing that JSON or a terminal takes as it is
    save("bad", bad.dump())
    for name in "arena-v1", "structures-v1", "sessions-v1":
        save(name, dumps.golden(name))
    save("kernel", dumps.kernel(None))
    save("program", dumps.program([dumps.record("items", 1, 2, 2)]))


def json_is_json():
    sources()
    names = "sound", "ours", "bad", "arena-v1", "structures-v1", "sessions-v1"
    runs = [["inspect", "--json", n] for n in names] + [["inspect", "--json", "--blocks", n] for n in names]
    runs += [["verify", "--json", n] for n in names] + [["diff", "--json", "--contents", "sound", n] for n in names]
    runs += [["check", "--json", "kernel", "kernel"], ["check", "--json", "program", "program"]]
    for args in runs:
        found = json.loads(kho(*args, want=(0, 1))[0], object_pairs_hook=no_twins)
        must(found["schema"] == f"kho-{args[0]}-1", args, found["schema"])
    must(json.loads(kho("status", "--json", env=NO_SERVERS)[0]) == [], "status")


def no_twins(pairs):
    must(len(dict(pairs)) == len(pairs), "a member twice", pairs)
    return dict(pairs)


def exit_statuses():
    sources()
    for want, *args in (0, "inspect", "sound"), (1, "inspect", "bad"), (0, "verify", "sound"), (1, "verify", "bad"), \
            (0, "map", "sound"), (0, "map", "bad"), (0, "diff", "sound", "sound"), (1, "diff", "sound", "bad"), \
            (0, "check", "kernel", "kernel"), (2, "check", "kernel", "program"):
        kho(*args, want=want)
    must(kho("verify", "--quiet", "bad", want=1) == ("", ""), "quiet")
    must(kho("check", "--quiet", "program", "program") == ("", ""), "quiet")


def full_disk():
    """Of what was asked for a part is none."""
    sources()
    saved = os.path.join(dumps.HERE, "../save/v1.save")
    for want, *args in (2, "inspect", "sound"), (2, "inspect", "--json", "sound"), (2, "map", "sound"), \
            (2, "map", "--svg", "-", "sound"), (2, "map", "--svg", "/dev/full", "sound"), \
            (2, "diff", "sound", "bad"), (2, "verify", "sound"), \
            (2, "check", "kernel", "kernel"), (1, "status"), (1, "status", "--json"), (1, "load", saved), \
            (2, "--help"), (2, "--version"), *((2, c, "--help") for c in COMMANDS):
        with open("/dev/full", "wb") as full:
            done = subprocess.run([f"{BUILD}/kho", *args], stdout=full, stderr=subprocess.PIPE, cwd=DIRECTORY.name,
                                  env={**os.environ, **NO_SERVERS}, timeout=60, check=False)
        must(done.returncode == want and b"written" in done.stderr, args, done.returncode, done.stderr)


def fdt_of_an_arena():
    """It is not looked for: whoever gives one is told."""
    sources()
    said = kho("inspect", "--fdt", "0x1000", os.path.join(dumps.HERE, "../save/v1.save"))[1]
    must("--fdt is not used" in said, said)


run_tests([helps, fdt_of_an_arena, wrong_usage, nothing_there, options_end_at_two_dashes, json_is_json, exit_statuses,
           full_disk])
