# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
"""One connection to a server."""
import socket


def must(fact, *what):
    if not fact:
        raise SystemExit(" ".join(repr(x)[:300] for x in what))


class Talk:
    def __init__(self, server, family=socket.AF_INET):
        self.sock = socket.socket(family)
        self.sock.connect(server if family == socket.AF_UNIX else ("127.0.0.1", server.port))
        if family == socket.AF_INET:
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.settimeout(20)
        self.file = self.sock.makefile("rb")

    def send(self, data):
        self.sock.sendall(data)

    def lines(self, data, *want):
        self.send(data)
        for line in want:
            got = self.line()
            must(got == line + b"\r\n", data, "gave", got, "not", line)

    def line(self):
        got = self.file.readline()
        if not got.endswith(b"\n"):
            raise EOFError("the server hung up")
        return got

    def get(self, key):
        self.send(b"get " + key + b"\r\n")
        return self.value()

    def value(self):
        head = self.line().split()
        if head == [b"END"]:
            return None
        must(head[:1] == [b"VALUE"], head)
        data = self.file.read(int(head[3]) + 2)
        must(self.line() == b"END\r\n", "no END")
        return data[:-2]

    def stats(self, what=b""):
        self.send(b"stats " + what + b"\r\n")
        found = {}
        while True:
            words = self.line().split(None, 2)
            if words == [b"END"]:
                return found
            must(words[0] == b"STAT", words)
            found[words[1]] = words[2].strip()
