#!/usr/bin/env python3
"""The time machine beside `restic mount` and `borg mount`: the same tree and the same large file, in one run on one machine.

usage: mount.py PROGRAMS [TREE [LARGE]]

PROGRAMS is the directory with datadb-server, datadb-client and datadb-fuse. Without TREE one is made of small files,
without LARGE a file of incompressible bytes. Needs root, for restic Debian's fuse3, for borg
python3-llfuse. Variables:

  MOUNT_TOOLS=datadb,restic,borg   the tools; one that is not there is left out with a line
  ROUNDS=3                         repetitions, the tools in changing order; medians are printed
  LARGE_MIB=512                    size of the file that is made
  BENCH_JSON=FILE                  all figures of all rounds, for programs

Cold is a mount that was just made; the page cache holds the repositories, for all tools alike. DataDB goes through gRPC to a
server on the same machine, the others read their repository as a local directory. Bytes for one small file are what
crossed the connection to the server (DataDB), and what the mounting process read (the others, from /proc/PID/io), from the
open to the close; the names on the way to the file are part of it.
"""
import asyncio
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

PROGRAMS = Path(sys.argv[1]).resolve()
ROUNDS = int(os.environ.get("ROUNDS", "3"))
LARGE_MIB = int(os.environ.get("LARGE_MIB", "512"))
TOOLS = os.environ.get("MOUNT_TOOLS", "datadb,restic,borg").split(",")
PATIENCE_SECONDS = 120
RANDOM_READS = 1000
MIB = 1 << 20


def run(command, **options):
    return subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True, **options).stdout


def wait_until(what, is_so):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        if time.monotonic() > deadline:
            sys.exit(f"not within {PATIENCE_SECONDS} s: {what}")
        time.sleep(0.005)


class Counter:
    """A TCP proxy that counts what comes from the server."""

    def __init__(self, port):
        self.bytes = 0
        self.port = None
        self.target = port
        ready = threading.Event()
        threading.Thread(target=lambda: asyncio.run(self.serve(ready)), daemon=True).start()
        ready.wait()

    async def serve(self, ready):
        server = await asyncio.start_server(self.connect, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        async with server:
            await server.serve_forever()

    async def connect(self, reader, writer):
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        await asyncio.gather(self.carry(reader, far_writer, False), self.carry(far_reader, writer, True))

    async def carry(self, reader, writer, counts):
        try:
            while data := await reader.read(65536):
                self.bytes += len(data) if counts else 0
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        writer.close()


class Tool:
    """A backup program with a repository of its own, which holds one backup."""

    def __init__(self, place):
        self.place = place / self.name
        self.place.mkdir()
        self.mountpoint = self.place / "mnt"
        self.mountpoint.mkdir()
        self.repository = self.place / "repository"
        self.child = None

    def env(self):
        return {**os.environ, "HOME": str(self.place), "XDG_CACHE_HOME": str(self.place / "cache")}

    def mount(self):
        log = open(self.place / "mount.log", "w")
        self.child = subprocess.Popen([str(word) for word in self.mounting()], env=self.env(), stdout=log, stderr=log)
        wait_until(f"{self.name} mounts", lambda: self.child.poll() is not None or os.path.ismount(self.mountpoint))
        if self.child.poll() is not None:
            sys.exit(f"{self.name} does not mount:\n{(self.place / 'mount.log').read_text()}")

    def unmount(self):
        wait_until(f"{self.name} unmounts",
                   lambda: subprocess.run(["umount", self.mountpoint], capture_output=True).returncode == 0)
        self.child.wait(PATIENCE_SECONDS)

    def came(self):
        """Bytes that came from the repository so far."""
        lines = Path(f"/proc/{self.child.pid}/io").read_text().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("rchar")))

    def end(self):
        pass


class DataDb(Tool):
    name = "datadb"

    def back_up(self, paths):
        command = [PROGRAMS / "datadb-server", "--data-dir", self.repository, "--listen", "127.0.0.1:0", "--http", "off"]
        self.server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.url = self.server.stdout.readline().split("grpc ")[1].split(",")[0]
        self.counter = Counter(int(self.url.rsplit(":", 1)[1]))
        self.counted = False
        for path in paths:
            run([PROGRAMS / "datadb-client", "-q", "--server", self.url, "snapshot", path], env=self.env())

    def mounting(self):
        url = f"http://127.0.0.1:{self.counter.port}" if self.counted else self.url
        return [PROGRAMS / "datadb-fuse", "mount", self.mountpoint, "--server", url]

    def path(self, path):
        return self.mountpoint / "latest" / path.name

    def came(self):
        return self.counter.bytes

    def end(self):
        self.server.send_signal(signal.SIGTERM)
        self.server.wait()


class Restic(Tool):
    name = "restic"

    def env(self):
        return {**super().env(), "RESTIC_PASSWORD": "bench", "RESTIC_REPOSITORY": str(self.repository)}

    def back_up(self, paths):
        run(["restic", "init"], env=self.env())
        run(["restic", "backup", *paths], env=self.env())

    def mounting(self):
        return ["restic", "mount", self.mountpoint]

    def path(self, path):
        return self.mountpoint / "snapshots" / "latest" / str(path).lstrip("/")


class Borg(Tool):
    name = "borg"

    def env(self):
        return {**super().env(), "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes"}

    def back_up(self, paths):
        run(["borg", "init", "-e", "none", self.repository], env=self.env())
        run(["borg", "create", "-C", "zstd,1", f"{self.repository}::backup", *paths], env=self.env())

    def mounting(self):
        return ["borg", "mount", "--foreground", f"{self.repository}::backup", self.mountpoint]

    def path(self, path):
        return self.mountpoint / str(path).lstrip("/")


def is_there(tool):
    if tool.name == "datadb":
        return True
    if shutil.which(tool.name) is None:
        print(f"{tool.name} is not there and is left out", file=sys.stderr)
        return False
    if tool.name == "restic" and shutil.which("fusermount") is None:
        print("restic can't mount (fusermount, of Debian's fuse3) and is left out", file=sys.stderr)
        return False
    if tool.name == "borg" and subprocess.run(["borg", "mount", "--help"], capture_output=True).returncode != 0:
        print("borg can't mount (python3-llfuse) and is left out", file=sys.stderr)
        return False
    return True


def timed(work):
    before = time.monotonic()
    work()
    return time.monotonic() - before


def cat_all(top):
    run(["sh", "-c", 'find "$1" -type f -print0 | xargs -0 cat >/dev/null', "sh", top])


def read_in_order(path):
    with open(path, "rb", buffering=0) as file:
        while file.read(MIB):
            pass


def read_here_and_there(path):
    chance = random.Random(7)
    size = os.path.getsize(path)
    file = os.open(path, os.O_RDONLY)
    for _ in range(RANDOM_READS):
        os.pread(file, 4096, chance.randrange(size // 4096) * 4096)
    os.close(file)


def measure(tool, tree, large, small):
    figures = {}

    def on_a_new_mount(*steps):
        tool.mount()
        for name, work in steps:
            figures[name] = timed(work)
        tool.unmount()

    top = tool.path(tree)
    find = lambda: run(["find", top])
    on_a_new_mount(("cold find, s", find), ("warm find, s", find))
    on_a_new_mount(("cat of all files, s", lambda: cat_all(top)))
    on_a_new_mount(("large file in order, s", lambda: read_in_order(tool.path(large))))
    on_a_new_mount((f"{RANDOM_READS} random reads, s", lambda: read_here_and_there(tool.path(large))))
    tool.counted = True
    tool.mount()
    # What a mount itself takes is not the file's.
    os.listdir(tool.mountpoint)
    before = tool.came()
    (top / small).read_bytes()
    figures["one small file, bytes"] = tool.came() - before
    tool.unmount()
    tool.counted = False
    return figures


def make_tree(top):
    chance = random.Random(1)
    words = [f"word{number} " for number in range(500)]
    for directory in range(200):
        below = top / f"{directory % 20:02}" / f"{directory:03}"
        below.mkdir(parents=True)
        for number in range(40):
            (below / f"file{number:02}.txt").write_text("".join(chance.choices(words, k=chance.randrange(20, 2000))))


def table(results, tree, large, small_bytes):
    entries = sum(1 for _ in tree.rglob("*")) + 1
    print(f"\n{entries} entries; a large file of {os.path.getsize(large) / MIB:.0f} MiB; a small one of {small_bytes} bytes\n")
    tools = list(results)
    print("| | " + " | ".join(tools) + " | " + " | ".join(f"{tool} : datadb" for tool in tools[1:]) + " |")
    print("| --- |" + " ---: |" * (2 * len(tools) - 1))
    for step in results[tools[0]][0]:
        medians = [statistics.median(figures[step] for figures in results[tool]) for tool in tools]
        shown = [f"{value:,.0f}" if step.endswith("bytes") else f"{value:.2f}" for value in medians]
        ratios = [f"{value / max(medians[0], 1e-9):.1f}" for value in medians[1:]]
        print(f"| {step} | " + " | ".join(shown + ratios) + " |")
    seconds = statistics.median(figures["large file in order, s"] for figures in results[tools[0]])
    print(f"\ndatadb reads the large file at {os.path.getsize(large) / 1e6 / seconds:.0f} MB/s")


def main():
    if os.geteuid() != 0 or not os.path.exists("/dev/fuse"):
        sys.exit("this needs root and /dev/fuse")
    place = Path(tempfile.mkdtemp(prefix="mount-bench-", dir=os.environ.get("TMPDIR", "/var/tmp")))
    tools = []
    try:
        tree = Path(sys.argv[2]).resolve() if len(sys.argv) > 2 else place / "tree"
        large = Path(sys.argv[3]).resolve() if len(sys.argv) > 3 else place / "large"
        if len(sys.argv) <= 2:
            make_tree(tree)
        if len(sys.argv) <= 3:
            with open(large, "wb") as file:
                for _ in range(LARGE_MIB):
                    file.write(os.urandom(MIB))
        smalls = (path for path in sorted(tree.rglob("*")) if path.is_file() and not path.is_symlink())
        small = next(path for path in smalls if 500 < path.stat().st_size < 20_000)
        known = {tool.name: tool for tool in (DataDb, Restic, Borg)}
        for tool in (known[name] for name in TOOLS):
            if is_there(tool):
                tools.append(tool(place))
                tools[-1].back_up([tree, large])
        results = {tool.name: [] for tool in tools}
        for number in range(ROUNDS):
            for tool in tools[number % len(tools):] + tools[:number % len(tools)]:
                print(f"round {number + 1}: {tool.name}", file=sys.stderr)
                results[tool.name].append(measure(tool, tree, large, small.relative_to(tree)))
        table(results, tree, large, small.stat().st_size)
        if path := os.environ.get("BENCH_JSON"):
            Path(path).write_text(json.dumps(results, indent=1))
    finally:
        for tool in tools:
            subprocess.run(["umount", "-l", tool.mountpoint], capture_output=True)
            tool.end()
        shutil.rmtree(place, ignore_errors=True)


main()
