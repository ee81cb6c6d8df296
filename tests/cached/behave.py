#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
"""What clients do to servers: input in crumbs, output that nobody reads, memory that runs out."""
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True
from server import BUILD, Server
from talk import Talk, must

PROGRAM = BUILD + "/cached"


def sound(talk):
    check = talk.stats(b"check")
    must(check[b"check:result"] == b"sound", check)
    must(check[b"check:bytes"] == talk.stats()[b"bytes"], check, "bytes")
    must(check[b"check:objects"] == check[b"check:live_objects"], check, "leak")


def crumbs(server):
    """One byte at a time, and cuts at every place of a pipeline."""
    talk = Talk(server)
    for byte in b"set crumb 1 0 5\r\nhello\r\nget crumb\r\n":
        talk.send(bytes([byte]))
        time.sleep(0.001)
    talk.lines(b"", b"STORED", b"VALUE crumb 1 5", b"hello", b"END")
    line = b"set cut 1 0 5 noreply\r\nhello\r\nappend cut 0 0 1\r\n!\r\ngets cut\r\nincr cut 1\r\n"
    for cut in range(1, len(line)):
        talk.send(line[:cut])
        time.sleep(0.001)
        talk.send(line[cut:])
        talk.lines(b"", b"STORED")
        must(talk.file.readline().startswith(b"VALUE cut 1 6 "), "cut at", cut)
        talk.lines(b"", b"hello!", b"END",
                   b"CLIENT_ERROR cannot increment or decrement non-numeric value")


def large_values(server):
    """Received into the item, in pieces of all sizes, replaced and cut off."""
    talk = Talk(server)
    for size in (2000, 2046, 2047, 2048, 4096, 65000, 65536, 200000, 1000000):
        data = os.urandom(size)
        for piece in (size, 60000, 1000 if size < 70000 else 50001):
            talk.send(b"set large 3 0 %d\r\n" % size)
            for i in range(0, size, piece):
                talk.send(data[i:i + piece])
                time.sleep(0.0005)
            talk.lines(b"\r\n", b"STORED")
            must(talk.get(b"large") == data, "large value of", size, piece)
    broken = Talk(server)
    broken.send(b"set large 0 0 500000\r\n" + b"x" * 400000)
    time.sleep(0.05)
    broken.file.close()
    broken.sock.close()
    must(talk.get(b"large") == data, "a set that was cut off changed something")
    talk.lines(b"set large 0 0 100000\r\n" + b"y" * 100002, b"CLIENT_ERROR bad data chunk")
    must(talk.get(b"large") == data, "a bad data chunk changed something")
    time.sleep(0.05)
    sound(talk)


def too_large(server):
    talk = Talk(server)
    for i in range(3):
        talk.lines(b"set big 0 0 1\r\n1\r\n", b"STORED")
        talk.lines(b"set big 0 0 3000000\r\n" + b"z" * 3000000 + b"\r\n",
                   b"SERVER_ERROR object too large for cache")
        must(talk.get(b"big") is None, "a value that could not be replaced stays")


def nobody_reads(server):
    """Far more output than the socket takes; others are served meanwhile; then all of it comes."""
    talk, other = Talk(server), Talk(server)
    data = os.urandom(900000)
    talk.lines(b"set heavy 0 0 900000\r\n" + data + b"\r\n", b"STORED")
    request = b"get heavy missing heavy\r\n" * 20 + b"get " + b"heavy " * 10 + b"\r\nversion\r\n"
    sender = threading.Thread(target=talk.send, args=(request,))
    sender.start()
    time.sleep(0.2)
    must(other.get(b"missing") is None, "others wait")
    for _ in range(20):
        for _ in range(2):
            talk.lines(b"", b"VALUE heavy 0 900000")
            must(talk.file.read(900002) == data + b"\r\n", "not what was stored")
        talk.lines(b"", b"END")
    for _ in range(10):
        talk.lines(b"", b"VALUE heavy 0 900000")
        must(talk.file.read(900002) == data + b"\r\n", "not what was stored")
    talk.lines(b"", b"END")
    must(talk.file.readline().startswith(b"VERSION"), "no version")
    sender.join()
    lost = Talk(server)
    lost.send(b"get heavy\r\n" * 40)
    time.sleep(0.1)
    lost.sock.close()


def many_keys(server):
    talk = Talk(server)
    keys = [b"key_%d_%s" % (i, b"x" * 200) for i in range(3000)]
    talk.send(b"".join(b"set %s 0 0 5 noreply\r\n%05d\r\n" % (k, i) for i, k in enumerate(keys)))
    talk.send(b"gets " + b" ".join(keys) + b"\r\n")
    for i, key in enumerate(keys):
        must(talk.file.readline().startswith(b"VALUE " + key + b" 0 5 "), "key", i)
        talk.lines(b"", b"%05d" % i)
    talk.lines(b"", b"END")
    talk.send(b"gat 1000 " + b" ".join(keys) + b"\r\n")
    for i, key in enumerate(keys):
        talk.lines(b"", b"VALUE %s 0 5" % key, b"%05d" % i)
    talk.lines(b"", b"END")


def expiry(server):
    talk = Talk(server)
    talk.lines(b"set gone 0 1 1\r\n1\r\n", b"STORED")
    talk.lines(b"set later 0 %d 1\r\n1\r\n" % (time.time() + 1), b"STORED")
    talk.lines(b"set stays 0 0 1\r\n1\r\n", b"STORED")
    talk.lines(b"set kept 0 1 1\r\n1\r\n", b"STORED")
    talk.lines(b"touch kept 100\r\n", b"TOUCHED")
    talk.lines(b"flush_all 4\r\n", b"OK")
    talk.lines(b"set after 0 0 1\r\n1\r\n", b"STORED")
    time.sleep(2.1)
    must([talk.get(k) for k in (b"gone", b"later", b"stays", b"kept")] == [None, None, b"1", b"1"], "expiry")
    time.sleep(2.2)
    must([talk.get(k) for k in (b"stays", b"kept", b"after")] == [None, None, None], "delayed flush")
    talk.lines(b"set new 0 0 1\r\n1\r\n", b"STORED")
    must(talk.get(b"new") == b"1", "an item after the flush")
    sound(talk)


def memory_limit():
    """Several times the limit: the limit holds, what is used stays, large ones find room."""
    with Server(PROGRAM, "-m", "8", "-t", "2", "--debug", "-I", "1m") as server:
        talk = Talk(server)
        talk.lines(b"set precious 0 0 4\r\ngold\r\n", b"STORED")
        for i in range(300):
            talk.send(b"".join(b"set k%d_%d 0 0 400 noreply\r\n%s\r\n" % (i, j, b"v" * 400)
                               for j in range(200)))
            must(talk.get(b"precious") == b"gold", "evicted although used, at", i)
        for i in range(40):
            talk.lines(b"set large%d 0 0 1000000\r\n" % i + b"v" * 1000000 + b"\r\n", b"STORED")
        stats = talk.stats()
        must(int(stats[b"evictions"]) > 30000, stats[b"evictions"])
        must(int(stats[b"bytes"]) <= 8 << 20, "over the limit", stats[b"bytes"])
        must(int(stats[b"bytes"]) > 5 << 20, "much less than the limit", stats[b"bytes"])
        must(talk.get(b"large39") is not None, "the newest is gone")
        sound(talk)


def threads():
    """All workers on few keys: a counter loses nothing, cas lets one win."""
    with Server(PROGRAM, "-t", "4", "--debug") as server:
        first = Talk(server)
        first.lines(b"set n 0 0 1\r\n0\r\n", b"STORED")

        def count():
            talk = Talk(server)
            talk.send(b"incr n 1\r\n" * 2000)
            for _ in range(2000):
                talk.file.readline()
            done = 0
            while done < 200:
                talk.send(b"gets c\r\n")
                words = talk.file.readline().split()
                if words == [b"END"]:
                    talk.send(b"add c 0 0 1\r\n1\r\n")
                    done += talk.file.readline() == b"STORED\r\n"
                    continue
                value = b"%d" % (int(talk.file.readline()) + 1)
                talk.file.readline()
                talk.send(b"cas c 0 0 %d %s\r\n%s\r\n" % (len(value), words[4], value))
                done += talk.file.readline() == b"STORED\r\n"

        crowd = [threading.Thread(target=count) for _ in range(8)]
        [t.start() for t in crowd]
        [t.join() for t in crowd]
        must(first.get(b"n") == b"16000", "counter", first.get(b"n"))
        must(first.get(b"c") == b"1600", "cas", first.get(b"c"))
        sound(first)


def connections():
    with Server(PROGRAM, "-c", "5") as server:
        time.sleep(0.1) # the first was Server's
        talks = [Talk(server) for _ in range(5)]
        [t.lines(b"delete x\r\n", b"NOT_FOUND") for t in talks]
        must(Talk(server).file.readline() == b"ERROR Too many open connections\r\n", "a sixth")
        talks.pop().sock.shutdown(socket.SHUT_RDWR)
        time.sleep(0.1)
        Talk(server).lines(b"delete x\r\n", b"NOT_FOUND")


def unix_socket():
    with tempfile.TemporaryDirectory() as directory:
        path = directory + "/socket"
        process = subprocess.Popen([PROGRAM, "-s", path])
        try:
            for _ in range(500):
                if os.path.exists(path):
                    break
                time.sleep(0.01)
            time.sleep(0.05)
            Talk(path, socket.AF_UNIX).lines(b"delete x\r\n", b"NOT_FOUND")
        finally:
            process.terminate()
            must(process.wait(10) == 0, "status", process.returncode)


def options():
    def run(*args):
        return subprocess.run([PROGRAM, *args], capture_output=True, text=True, timeout=10)
    must(run("--help").returncode == 0 and "usage" in run("--help").stdout, "--help")
    must(run("--version").stdout.startswith("cached "), "--version")
    for args, words in ((["-p", "x"], "not a number"), (["-p", "65536"], "between"), (["-q"], "unknown option '-q'"),
                        (["-t", "0"], "between"), (["-t", "65"], "between"), (["-m"], "needs a value"),
                        (["-I", "1g"], "not a number"), (["-I", "5"], "1k"), (["--nonsense"], "unknown option"),
                        (["stray"], "unexpected 'stray'"), (["-m", "1", "-I", "1m"], "half of -m"),
                        (["-s", "/nonexistent/directory/x"], "cannot listen"), (["-l", "999.1.1.1"], "cannot listen")):
        result = run(*args)
        must(result.returncode not in (0, None) and result.returncode > 0 and words in result.stderr, args, result)


def main():
    with Server(PROGRAM, "-m", "256", "-t", "2", "--debug") as server:
        for test in (crumbs, large_values, too_large, nobody_reads, many_keys, expiry):
            test(server)
    for test in (memory_limit, threads, connections, unix_socket, options):
        test()


main()
