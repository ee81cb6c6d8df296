#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
"""units.py BUILD [ROOT]: the unit files of systemd/ under a real systemd, run as a user's manager.

ROOT is a tree with another systemd (tests/systemd/fetch). Without root, or a systemd, nothing is
tested, and that is said. The last line is "N passed, N failed"."""
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

UNIT = "kho@cached.service"
MANAGERS = ("/usr/lib/systemd/systemd", "/lib/systemd/systemd")


def skip(why):
    print(f"check-systemd: not tested: {why}")
    print("run-tests: 0 passed, 0 failed")
    sys.exit(0)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return sock.getsockname()[1]


PORT = free_port()


class Wrong(Exception):
    """Something is not as it has to be."""


def until(what, condition, seconds=30):
    end = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > end:
            raise Wrong(f"not within {seconds} s: {what}")
        time.sleep(0.02)
    return value


class Cache:
    """The server, as a client sees it."""

    @staticmethod
    def talk(words):
        with socket.create_connection(("127.0.0.1", PORT), timeout=5) as sock:
            sock.sendall(words)
            answer = b""
            while not answer.endswith((b"END\r\n", b"STORED\r\n")):
                if not (piece := sock.recv(4096)):
                    raise OSError("closed")
                answer += piece
            return answer

    def put(self, value):
        def attempt():
            try:
                return self.talk(b"set k 0 0 %d\r\n%s\r\n" % (len(value), value)) == b"STORED\r\n"
            except OSError:
                return False
        until("a value is stored", attempt)

    def has(self, value):
        found = []

        def attempt():
            try:
                found[:] = [self.talk(b"get k\r\n")]
            except OSError:
                return False
            return True
        until("the server answers", attempt)
        return found[0] == b"VALUE k 0 %d\r\n%s\r\nEND\r\n" % (len(value), value)


class Manager:
    """systemd --user in a mount namespace of our own, with /run to itself."""

    def __init__(self, build, root, drop_in):
        self.root = root
        self.directory = tempfile.mkdtemp(dir=os.path.join(root, "tmp"))
        self.inside = "/" + os.path.relpath(self.directory, root)
        self.install(build, drop_in)
        self.env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": self.inside, "LC_ALL": "C.UTF-8",
                    "XDG_RUNTIME_DIR": self.inside, "XDG_CONFIG_HOME": self.inside,
                    "LD_LIBRARY_PATH": self.inside, "SYSTEMD_LOG_TARGET": "console"}
        path = next(p for p in MANAGERS if os.path.exists(root + p))
        with open(os.path.join(self.directory, "log"), "wb") as log:
            self.process = subprocess.Popen([path, "--user", "--unit=idle.target"], stdout=log, stderr=log,
                                            stdin=subprocess.DEVNULL, env=self.env, preexec_fn=self.enter)
        until("systemd is up", lambda: self.ask("list-units").returncode == 0)

    def enter(self):
        if self.root != "/":
            os.chroot(self.root)
        os.chdir("/")

    def install(self, build, drop_in):
        units = os.path.join(self.directory, "systemd", "user")
        os.makedirs(os.path.join(units, UNIT + ".d"))
        os.makedirs(os.path.join(self.directory, "bin"))
        for name in ("kho", "cached"):
            shutil.copy(os.path.join(build, name), os.path.join(self.directory, "bin"))
        if self.root != "/":
            libraries = subprocess.run(["ldd", os.path.join(build, "kho")], stdout=subprocess.PIPE,
                                       check=True, text=True).stdout
            for path in re.findall(r"=> (/\S*libfdt\S*)", libraries):
                shutil.copy(path, self.directory)
        with open("systemd/kho@.service", encoding="ascii") as file:
            text = file.read()
        text = text.replace("/usr/bin/kho", self.inside + "/bin/kho").replace("/etc/kho/%i.conf", self.inside + "/conf")
        with open(os.path.join(units, "kho@.service"), "w", encoding="ascii") as file:
            file.write(text)
        with open(os.path.join(units, "idle.target"), "w", encoding="ascii") as file:
            # As an enabled unit is: what nobody refers to is forgotten when it stops, and its store.
            file.write(f"[Unit]\nDescription=default\nWants={UNIT}\n")
        with open(os.path.join(self.directory, "conf"), "w", encoding="ascii") as file:
            file.write(f"KHO_SERVER={self.inside}/bin/cached -m 64\nKHO_RUN=--listen 127.0.0.1:{PORT}\n")
        with open(os.path.join(units, UNIT + ".d", "test.conf"), "w", encoding="ascii") as file:
            file.write(f"[Service]\nWatchdogSec=3s\nStandardError=append:{self.inside}/log\n")
        if drop_in:
            shutil.copytree(f"systemd/{drop_in}/kho@.service.d", os.path.join(units, "kho@.service.d"))

    def ask(self, *words):
        return subprocess.run(["systemctl", "--user", *words], env=self.env, preexec_fn=self.enter, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, check=False)

    def do(self, *words):
        answer = self.ask(*words)
        if answer.returncode:
            raise Wrong(f"systemctl {' '.join(words)}: {answer.stdout.strip()}")

    def value(self, key):
        return self.ask("show", "--value", "-p", key, UNIT).stdout.strip()

    def main_pid(self):
        return int(self.value("MainPID"))

    def server_pid(self):
        with open(f"/proc/{self.main_pid()}/task/{self.main_pid()}/children", encoding="ascii") as file:
            return int(file.read().split()[0])

    def version(self):
        return int(re.match(r"systemd (\d+)", self.ask("--version").stdout)[1])

    def words(self):
        with open(os.path.join(self.directory, "log"), encoding="utf-8", errors="replace") as file:
            return file.read()

    def end(self):
        self.ask("stop", UNIT)
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)


def starts(systemd, cache):
    systemd.do("start", UNIT)  # returns when kho run has said READY
    if systemd.value("ActiveState") != "active":
        raise Wrong(systemd.value("ActiveState"))
    if not re.fullmatch(r"served by process \d+", systemd.value("StatusText")):
        raise Wrong(systemd.value("StatusText"))
    if systemd.value("NFileDescriptorStore") != "1":
        raise Wrong("the arena is not in the store")
    cache.put(b"first")


def server_crash(systemd, cache):
    cache.put(b"server")
    before = systemd.main_pid()
    os.kill(systemd.server_pid(), signal.SIGKILL)
    if not cache.has(b"server") or systemd.main_pid() != before:
        raise Wrong("the value is gone, or kho run is another")


def kho_run_crash(systemd, cache):
    cache.put(b"crash")
    before = systemd.main_pid()
    os.kill(before, signal.SIGKILL)
    until("it is started again", lambda: systemd.main_pid() not in (0, before))
    until("it is active", lambda: systemd.value("ActiveState") == "active")
    if not cache.has(b"crash"):
        raise Wrong("the value is gone")


def restart(systemd, cache):
    cache.put(b"restart")
    systemd.do("restart", UNIT)
    if not cache.has(b"restart"):
        raise Wrong("the value is gone")


def reload(systemd, cache):
    cache.put(b"reload")
    before = systemd.server_pid()
    systemd.do("reload", UNIT)
    until("the old server has gone", lambda: systemd.server_pid() != before)
    if not cache.has(b"reload"):
        raise Wrong("the value is gone")


def watchdog(systemd, cache):
    cache.put(b"watchdog")
    before = systemd.main_pid()
    os.kill(before, signal.SIGSTOP)
    until("the watchdog bites", lambda: systemd.main_pid() not in (0, before))
    until("it is active", lambda: systemd.value("ActiveState") == "active")
    if not cache.has(b"watchdog"):
        raise Wrong("the value is gone")


def stop_and_start(systemd, cache, kept):
    cache.put(b"stop")
    if systemd.value("NFileDescriptorStore") != "1":
        raise Wrong("the arena is not in the store")
    systemd.do("stop", UNIT)
    until("it is stopped", lambda: systemd.value("ActiveState") == "inactive")
    systemd.do("start", UNIT)
    if cache.has(b"stop") != kept:
        raise Wrong("the value is " + ("gone" if kept else "there"))


def no_left_overs(systemd, _):
    systemd.do("stop", UNIT)
    group = systemd.value("ControlGroup")
    if group:
        raise Wrong(f"something is left in {group}")


def run(build, root, drop_in, kept):
    """All tests under one manager. Return: passed, failed."""
    tests = [("starts", starts), ("crash of the server", server_crash), ("crash of kho run", kho_run_crash),
             ("restart", restart), ("reload", reload), ("watchdog", watchdog),
             ("stop and start", lambda s, c: stop_and_start(s, c, kept)), ("no left-overs", no_left_overs)]
    counts = [0, 0]
    systemd = Manager(build, root, drop_in)
    version = systemd.version()
    try:
        for name, test in tests:
            try:
                test(systemd, Cache())
                counts[0] += 1
            except (Wrong, OSError, ValueError, IndexError) as why:
                counts[1] += 1
                print(f"FAILED: systemd {version}, {drop_in or 'the unit alone'}, {name}: {why}")
                print("\n".join("| " + line for line in systemd.words().splitlines()[-20:]))
    finally:
        systemd.end()
    print(f"check-systemd: systemd {version}, {drop_in or 'the unit alone'}: {counts[0]} of {len(tests)}")
    return counts


def isolate(root):
    """/run of our own, which says that systemd has booted: its user's manager wants that."""
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", root + "/run"], check=True)
    os.makedirs(root + "/run/systemd/system")
    if root != "/":
        for what in ("proc", "dev"):
            subprocess.run(["mount", "--rbind", "/" + what, f"{root}/{what}"], check=True)
        subprocess.run(["mount", "-t", "sysfs", "sysfs", root + "/sys"], check=True)
        subprocess.run(["mount", "-t", "cgroup2", "cgroup2", root + "/sys/fs/cgroup"], check=True)
        os.chmod(root + "/tmp", 0o1777)


def version_of(root):
    answer = subprocess.run(["chroot", root, "systemctl", "--version"], stdout=subprocess.PIPE, text=True,
                            check=True).stdout
    return int(re.match(r"systemd (\d+)", answer)[1])


def main():
    build = os.path.abspath(sys.argv[1])
    root = os.path.abspath(sys.argv[2]) if len(sys.argv) > 2 else "/"
    if os.geteuid() != 0:
        skip("only root may make the namespace that it takes")
    if not any(os.path.exists(root + path) for path in MANAGERS):
        skip(f"there is no systemd in {root}")
    if not os.environ.get("KHO_TEST_NAMESPACE"):
        if subprocess.run(["unshare", "-m", "true"], check=False).returncode:
            skip("no namespace can be made")
        os.environ["KHO_TEST_NAMESPACE"] = "1"
        os.execvp("unshare", ["unshare", "-m", "--propagation", "private", sys.executable, *sys.argv])
    isolate(root)
    version = version_of(root)
    cases = [(None, False)] + [(drop_in, True) for drop_in in ("254", "261") if version >= int(drop_in)]
    counts = [0, 0]
    for drop_in, kept in cases:
        for i, nr in enumerate(run(build, root, drop_in, kept)):
            counts[i] += nr
    print(f"run-tests: {counts[0]} passed, {counts[1]} failed")
    sys.exit(1 if counts[1] else 0)


if __name__ == "__main__":
    main()
