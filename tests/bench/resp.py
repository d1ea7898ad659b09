#!/usr/bin/env python3
"""The sidecar beside a real redis-server: the same `redis-benchmark` against both, in turns, on one machine.

usage: resp.py PROGRAMS

PROGRAMS is the directory with datadb-server and datadb-resp. Variables: ROUNDS=3 (medians are printed), REQUESTS=200000 of a
pipelined test (a tenth of them one by one). redis-server keeps nothing on disk (`--save ''`, no append-only file) as Debian
starts it by hand; `redis, durable` syncs its append-only file before it answers, as DataDB does.
"""
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROGRAMS = Path(sys.argv[1]).resolve()
ROUNDS = int(os.environ.get("ROUNDS", "3"))
REQUESTS = int(os.environ.get("REQUESTS", "200000"))

# Name, arguments of redis-benchmark, whether many requests are under way at once.
TESTS = [
    (name, words, pipelined)
    for pipelined in (True, False)
    for name, words in (
        ("GET", ["get", "string"]),
        ("HGETALL (10 fields)", ["hgetall", "hash"]),
        ("SMEMBERS (10 members)", ["smembers", "set"]),
        ("SET", ["set", "key:__rand_int__", "0123456789"]),
        ("HSET", ["hset", "many", "field:__rand_int__", "0123456789"]),
    )
]


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def started(command, ready=None):
    child = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    if ready:
        return child, re.search(ready, child.stdout.readline())[1]
    return child, None


def wait_for(port):
    for _ in range(1000):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            time.sleep(0.01)
    sys.exit(f"nobody listens on {port}")


def redis(place, *options):
    port = free_port()
    child, _ = started(["redis-server", "--port", port, "--save", "", "--dir", place, *options])
    wait_for(port)
    return port, [child]


def datadb(place):
    server, url = started(
        [PROGRAMS / "datadb-server", "--data-dir", place / "data", "--listen", "127.0.0.1:0", "--http", "off"], r"(http://[^ ,]+)")
    sidecar, port = started([PROGRAMS / "datadb-resp", "--listen", "127.0.0.1:0", "--server", url], r":(\d+),")
    return int(port), [sidecar, server]


def filled(port):
    pairs = [word for number in range(10) for word in (f"field{number}", f"value{number}")]
    for words in (["set", "string", "0123456789"], ["hset", "hash", *pairs], ["sadd", "set", *pairs[::2]]):
        subprocess.run(["redis-cli", "-p", str(port), *words], check=True, stdout=subprocess.DEVNULL)


def rate(port, words, pipelined):
    requests = REQUESTS if pipelined else REQUESTS // 10
    command = ["redis-benchmark", "-p", port, "-n", requests, "-r", 100000, "-P", 16 if pipelined else 1, "--csv", *words]
    out = subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True).stdout
    return float(out.splitlines()[-1].split('","')[1].strip('"'))


def main():
    for program in ("redis-server", "redis-benchmark"):
        if not shutil.which(program):
            sys.exit(f"{program} is missing: apt-get install redis-server redis-tools")
    found = {}
    tools = {
        "DataDB": datadb,
        "redis": lambda place: redis(place, "--appendonly", "no"),
        "redis, durable": lambda place: redis(place, "--appendonly", "yes", "--appendfsync", "always"),
    }
    for _ in range(ROUNDS):
        for tool, start in tools.items():
            with tempfile.TemporaryDirectory(prefix="datadb-bench.", dir=os.environ.get("TMPDIR", "/var/tmp")) as place:
                port, children = start(Path(place))
                filled(port)
                for name, words, pipelined in TESTS:
                    found.setdefault((name, pipelined, tool), []).append(rate(port, words, pipelined))
                for child in children:
                    child.send_signal(signal.SIGTERM)
                    child.wait()
    print(f"| 1,000 commands/s | {' | '.join(tools)} | DataDB / redis |")
    print("| --- |" + " ---: |" * (len(tools) + 1))
    for name, _, pipelined in TESTS:
        medians = [statistics.median(found[name, pipelined, tool]) / 1000 for tool in tools]
        cells = " | ".join(f"{median:.0f}" for median in medians)
        print(f"| {name}{', 16 at once' if pipelined else ''} | {cells} | {medians[0] / medians[1]:.2f} |")


main()
