#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
"""kernel_engineers.py PAGE BUILD: every command of docs/kernel-engineers.md prints what stands below it, where a
line "..." stands for any lines; and every option that the text names is one. What wants a kernel that hands over is
not run, and said."""
import os
import re
import subprocess
import sys
import tempfile
import textwrap

page, build = sys.argv[1], os.path.abspath(sys.argv[2])
TOP = os.getcwd()


def sections(text):
    """Of each command: itself, and what stands below it."""
    for _, body in re.findall(r"^( *)```console\n(.*?)^\1```$", text, re.S | re.M):
        for part in re.split(r"^\$ ", textwrap.dedent(body), flags=re.M)[1:]:
            command, _, below = part.partition("\n")
            yield command, below


def pattern(below):
    return "".join("(?:.*\n)*?" if line == "..." else re.escape(line) + "\n" for line in below.splitlines())


def main():
    with open(page, encoding="utf-8") as file:
        text = file.read()
    commands, failed = list(sections(text)), []
    env = {**os.environ, "PATH": f"{build}:{os.environ['PATH']}", "COLUMNS": "80", "LC_ALL": "C.UTF-8"}
    with tempfile.TemporaryDirectory(prefix="kho-page-") as directory:
        for command, below in commands:
            run = re.sub(r"^tests/", f"{TOP}/tests/", command)
            done = subprocess.run(["bash", "-c", run], cwd=directory, env=env, capture_output=True, text=True,
                                  timeout=30, check=False)
            if done.stderr or not re.fullmatch(pattern(below), done.stdout):
                failed.append(f"$ {command}: status {done.returncode}\n{done.stderr}{done.stdout}")
    for name, option in re.findall(r"`kho ([a-z]+) (--[a-z-]+)", text):
        done = subprocess.run([f"{build}/kho", name, "--help"], capture_output=True, text=True, check=False)
        if option not in done.stdout:
            failed.append(f"kho {name} has no {option}")
    wanting = re.findall(r"^ +(?:#|\(qemu\)) (\S+)", text, re.M)
    print(f"{page}: not run, for want of a kernel that hands over: {', '.join(wanting)}")
    if len(commands) < 8:
        failed.append(f"{page}: only {len(commands)} commands were found")
    sys.exit("\n".join(failed) or None)


main()
