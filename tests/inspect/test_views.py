#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
"""What the commands print, against expected/*, which was read line by line when it was accepted; and what
must hold of pictures and options. KHO_EXPECT=write: accept what is printed now."""
import os
import re
import subprocess
import time
import xml.etree.ElementTree as xml

import dumps
from run import BUILD, DIRECTORY, kho, kho_json, must, run_tests, save

EXPECTED = f"{dumps.HERE}/expected"
COMMANDS = "inspect", "map", "diff", "verify", "check"


def expect(name, *args, want=0):
    text = kho(*args, want=want)[0]
    path = f"{EXPECTED}/{name}"
    if os.environ.get("KHO_EXPECT") == "write":
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    with open(path, encoding="utf-8") as file:
        wanted = file.read()
    pairs = zip(text.splitlines() + [None], wanted.splitlines() + [None])
    must(text == wanted, name, next(((a, b) for a, b in pairs if a != b), "its end"))


def sources():
    save("linux-12", dumps.sound(12).dump())
    save("linux-16", dumps.sound(16).dump(info="OSRELEASE=7.2.13\nPAGESIZE=65536\n"))
    damaged = dumps.sound(12)
    damaged.put(list(damaged.way(damaged.root))[-2], 0x12345)
    damaged.put(damaged.data.index(b"vm-1".ljust(64, b"\0")) + 72, 77)
    save("damaged", damaged.dump())
    for name in "arena-v1", "structures-v1", "vmalloc-v1":
        save(name, dumps.golden(name))
    for name, records in ("old", [dumps.record("items", 1, 1, 1), dumps.record("log", 1, 1, 1)]), \
            ("new", [dumps.record("items", 2, 2, 2), dumps.record("log", 1, 2, 2, 1)]):
        save(name, dumps.program(records))


def printed():
    sources()
    for name, status in ("linux-12", 0), ("linux-16", 0), ("arena-v1", 0), ("structures-v1", 0), ("damaged", 1):
        expect(f"inspect-{name}.txt", "inspect", name, want=status)
        expect(f"inspect-{name}.json", "inspect", "--json", name, want=status)
        expect(f"verify-{name}.txt", "verify", name, want=status)
        expect(f"map-{name}.txt", "map", name)
    expect("verify-damaged.json", "verify", "--json", "damaged", want=1)
    expect("blocks-structures-v1.txt", "inspect", "--blocks", "structures-v1")
    expect("map-arena-v1.svg", "map", "--svg", "-", "arena-v1")
    expect("diff.txt", "diff", "structures-v1", "vmalloc-v1", want=1)
    expect("diff.json", "diff", "--json", "structures-v1", "vmalloc-v1", want=1)
    expect("check.txt", "check", "old", "new", want=1)
    expect("check.json", "check", "--json", "old", "new", want=1)


def maps():
    sources()
    for width in 40, 61, 80, 200:
        text, _ = kho("map", "--width", str(width), "linux-12")
        rows = [line for line in text.splitlines() if re.match(r" *[0-9a-f]+  ", line)]
        must(rows and all(len(line) <= width for line in rows), width)
        must(any("\u2588" in line or "\u2591" in line for line in rows), text)
    must("\033[" in kho("map", "--colour", "always", "linux-12")[0], "colour")
    must("\033[" not in kho("map", "linux-12")[0], "a pipe has no colour")
    path = os.path.join(DIRECTORY.name, "map.svg")
    kho("map", "--svg", path, "structures-v1")
    root = xml.parse(path).getroot()
    titles = "".join(e.text or "" for e in root.iter("{http://www.w3.org/2000/svg}title"))
    must("array in root dense" in titles and "not preserved" in titles, titles[:200])
    text = "".join(e.text or "" for e in root.iter("{http://www.w3.org/2000/svg}text"))
    must("single pages" in text and "structures-v1" in text, text)


def differences():
    sources()
    must(kho("diff", "linux-12", "linux-12") == ("", ""), "the same")
    image = dumps.sound(12)
    image.preserve(0x500 << 12, 3)
    save("more", image.dump())
    text, _ = kho("diff", "linux-12", "more", want=1)
    must(text == "+ memory 0x500000, 8 pages: nobody\n", text)
    written = dumps.sound(12)
    release = written.data.index(b"7.2.13-golden")
    written.data[release] = ord("8")
    save("written", written.dump())
    must(kho("diff", "linux-12", "written") == ("", ""), "only contents differ")
    text, _ = kho("diff", "--contents", "linux-12", "written", want=1)
    must(text == f"! contents {release & ~4095:#x}, 1 page: subtree kexec-metadata\n", text)
    text, _ = kho("diff", "more", "linux-12", want=1)
    must(text == "- memory 0x500000, 8 pages: nobody\n", text)


def helps():
    whole, _ = kho("--help")
    for command in COMMANDS:
        must(f"  {command} " in whole, command)
        text, _ = kho(command, "--help")
        must(text.startswith(f"usage: kho {command} "), text)
        must(all(len(line) <= 85 for line in text.splitlines()), text)
        must("usage:" in kho(command, want=2)[1], command)
        must("usage:" in kho(command, "--nonsense", "x", want=2)[1], command)
    for bad in ("--width", "7"), ("--colour", "blue"), ("--page-size", "8K"):
        kho("map", *bad, "x", want=2)


def blocks_of(pid):
    """What the arena of a process takes, in blocks."""
    for name in os.listdir(f"/proc/{pid}/fd"):
        path = f"/proc/{pid}/fd/{name}"
        if os.readlink(path).startswith("/memfd:"):
            return os.stat(path).st_blocks
    return None


def running_server():
    """By name and by pid; it is not disturbed, and no hole of its arena is filled."""
    rundir = os.path.join(DIRECTORY.name, "run")
    os.mkdir(rundir, 0o700)
    env = {**os.environ, "KHO_RUNDIR": rundir}
    server = subprocess.Popen([f"{BUILD}/kho", "run", "--name", "shown", "--listen", "127.0.0.1:0", "--arena-max", "256M",
                               "--", f"{BUILD}/cached-v1"], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        pid = None
        for _ in range(300):
            status = kho("status", "--json", "shown", want=(0, 1), env=env)[0]
            found = re.search(r'"pid": ?"?(\d+)', status)
            if found and re.search("running", status):
                pid = found.group(1)
                break
            time.sleep(0.1)
        must(pid, "the server does not start", status)
        shown = kho_json("status", "--json", "shown", env=env)
        must(shown["name"] == "shown" and shown["pid"] == int(pid), shown)
        must([s["name"] for s in kho_json("status", "--json", env=env)] == ["shown"], "status of all")
        before = blocks_of(pid)
        by_name = kho_json("inspect", "--json", "shown", env=env)
        by_pid = kho_json("inspect", "--json", pid, env=env)
        must(by_name["arena"]["id"] == by_pid["arena"]["id"] and by_pid["source"]["pid"] == int(pid), by_pid["arena"])
        must(by_name["arena"]["holder"] == int(pid), by_name["arena"])
        save("shown", b"a file of that name")
        must(kho_json("inspect", "--json", "shown", env=env)["source"]["kind"] == "arena", "a name comes first")
        must("neither an arena" in kho("inspect", "./shown", env=env, want=2)[1], "./NAME is a file")
        must({"cache"} <= {t["name"] for t in by_name["subtrees"]}, by_name["subtrees"])
        must("sound" in kho("verify", "shown", env=env)[0], "verify")
        found = kho_json("check", "--json", "shown", f"{BUILD}/cached-v2", env=env)
        must(found["old_has"].startswith("kho-v4;arena-v1"), found)
        must([p["verdict"] for p in found["parts"] if p["part"] == "vmalloc"] == ["not written"], found)
        must(blocks_of(pid) == before, "holes were filled", before, blocks_of(pid))
    finally:
        server.terminate()
        server.wait(20)


run_tests([printed, maps, differences, helps, running_server])
