#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#
# docs/guide.md as its reader would follow it: its program is saved, changed by each difference and compiled against
# an installed library, and every command prints what stands below it. The port is another one.
#
# usage: guide.py GUIDE PREFIX
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile

guide, prefix = sys.argv[1], os.path.abspath(sys.argv[2])
LIMIT = 60
MARK = "----- command %d: "


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def steps(text):
    """Blocks in their order: shell lines that make the files, and commands with what they print."""
    script, commands = [], []
    for kind, name, body in re.findall(r"^```(console|diff|c)\b ?(\S*)\n(.*?)^```$", text, re.S | re.M):
        if kind == "console":
            for line in body.splitlines():
                if line.startswith("$ "):
                    script.append(f"echo '{MARK % len(commands)}'\n{line[2:]}")
                    commands.append((line[2:], []))
                else:
                    commands[-1][1].append(line)
            continue
        end = "END_OF_THE_BLOCK"
        apply = f"cat >{name}" if kind == "c" else f"patch -s {name}"
        script.append(f"{apply} <<'{end}' || exit 1\n{body}{end}")
    return script, commands


def main():
    text = open(guide).read().replace("7000", str(free_port()))
    script, commands = steps(text)
    if len(commands) < 30 or sum(bool(want) for _, want in commands) < 15:
        sys.exit("guide: not all of it was found")
    env = dict(os.environ)
    for name in ("LD_LIBRARY_PATH", "PKG_CONFIG_PATH"):
        env.pop(name, None)
    with tempfile.TemporaryDirectory() as d, open(f"{d}/out", "w+") as out, open(f"{d}/err", "w+") as err:
        env.update(KHO_RUNDIR=f"{d}/run", HOME=f"{d}/home")
        os.mkdir(f"{d}/home")
        os.symlink(prefix, f"{d}/home/.local")
        shell = subprocess.Popen(["bash", "-c", "\n".join(script)], cwd=d, env=env, stdin=subprocess.DEVNULL,
                                 stdout=out, stderr=err, start_new_session=True)
        try:
            shell.wait(LIMIT)
        except subprocess.TimeoutExpired:
            print(f"guide: more than {LIMIT} s", file=sys.stderr)
        finally:
            try:
                os.killpg(shell.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        out.seek(0)
        err.seek(0)
        printed = re.split(r"^----- command \d+: \n", out.read(), flags=re.M)[1:]
        failed = len(printed) != len(commands)
        for (command, want), got in zip(commands, printed):
            if got.splitlines() != want:
                failed = True
                print(f"guide: $ {command}\nprinted:  {got.splitlines()}\nexpected: {want}", file=sys.stderr)
        if failed:
            print(f"guide: {len(printed)} of {len(commands)} commands ran\n{err.read()}", file=sys.stderr)
        return failed


sys.exit(main())
