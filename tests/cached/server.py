# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
"""Start a server on a free port and stop it again. CACHED_BUILD: where the programs are."""
import os
import socket
import subprocess
import tempfile
import time

BUILD = os.path.abspath(os.environ.get("CACHED_BUILD", "build"))


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Server:
    def __init__(self, program, *args):
        self.port = free_port()
        self.args = [program, "-p", str(self.port), "-l", "127.0.0.1", *args]
        if os.path.basename(program) == "memcached":
            self.args += ["-u", "root"]

    def __enter__(self):
        self.errors = tempfile.TemporaryFile()
        self.process = subprocess.Popen(self.args, stderr=self.errors)
        for _ in range(500):
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return self
            except OSError:
                if self.process.poll() is not None:
                    break
                time.sleep(0.01)
        raise SystemExit("%s does not answer" % self.args[0])

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.status = self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise SystemExit("%s does not stop" % self.args[0])
        if self.status not in (0, -15):
            self.errors.seek(0)
            print(self.errors.read().decode(errors="replace"))
            raise SystemExit("%s ended with status %d" % (self.args[0], self.status))
