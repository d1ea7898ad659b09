#!/usr/bin/env python3
"""Snapshot and restore of a tree through each stack of stores, beside plain BlobsFile, as ratios of wall time.

usage: stores.py PROGRAMS [TREE]

PROGRAMS is the directory with datadb-server and datadb-client. Without TREE it is Debian's linux-source-6.1. Variables:

  S3_SERVER=PATH   s3s-fs; without it the stacks with a bucket are left out with a line
  ROUNDS=3         repetitions, the stacks in changing order; medians are printed
  BENCH_JSON=FILE  all figures of all rounds, for programs

Each round has a new repository and a new client. `again` is a snapshot of the unchanged tree. Requests are those that the
server made of the bucket, retries included.
"""
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from data import linux_sources

PROGRAMS = Path(sys.argv[1]).resolve()
ROUNDS = int(os.environ.get("ROUNDS", "3"))
S3_SERVER = os.environ.get("S3_SERVER")
KEYS = ("DATADBBENCHACCESSKEY", "of the bench alone")
STEPS = ("first", "again", "restore")

DISK = '{ type = "blobsfile", path = "%s" }'
S3 = '{ type = "s3", bucket = "bench", endpoint = "ENDPOINT", path_style = true, access_key_file = "ROOT/id", secret_key_file = "ROOT/secret" }'
SEALED = '{ type = "encrypt", key_file = "ROOT/key", inner = %s }'
STACKS = {
    "blobsfile": DISK % "blobs",
    "encrypt(blobsfile)": SEALED % (DISK % "blobs"),
    "mirror(blobsfile, blobsfile)": '{ type = "mirror", sides = [%s, %s] }' % (DISK % "blobs", DISK % "ROOT/second"),
    "s3": S3,
    "encrypt(s3)": SEALED % S3,
    "mirror(blobsfile, encrypt(s3))": '{ type = "mirror", sides = [%s, %s] }' % (DISK % "blobs", SEALED % S3),
}


def run(*command, **options):
    return subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True, **options).stdout


class Bucket:
    def __init__(self, root):
        (root / "buckets" / "bench").mkdir(parents=True)
        keys = ["--access-key", KEYS[0], "--secret-key", KEYS[1]]
        command = [S3_SERVER, "--host", "127.0.0.1", "--port", "0", *keys, str(root / "buckets")]
        environment = dict(os.environ, RUST_LOG="s3s_fs=info")
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment)
        line = next(line for line in self.process.stdout if "running at http://" in line)
        self.endpoint = "http://" + "".join(c for c in line.split("running at http://")[1] if c.isdigit() or c in ".:")

    def stop(self):
        self.process.terminate()
        self.process.wait()


def requests_of(http):
    """How many of each kind, over all buckets."""
    with urllib.request.urlopen(f"http://{http}/debug/vars") as page:
        found = json.load(page)
    kinds = {key.removeprefix("s3-requests-"): sum(by.values()) for key, by in found.items() if key.startswith("s3-requests-")}
    return {kind: count for kind, count in kinds.items() if count}


def ready_to_restore(root):
    """Nothing in the caches but what the stores hold. ext4 takes no inode again that was freed minutes ago as long as its
    table is cached, and looks at each of them: after a tree was deleted whoever makes files next would pay for it."""
    run("sync")
    if os.geteuid() == 0:
        Path("/proc/sys/vm/drop_caches").write_text("3")
    for path in root.rglob("*.pack"):
        path.read_bytes()


def measure(stack, tree, root):
    bucket = Bucket(root) if "ENDPOINT" in STACKS[stack] else None
    (root / "id").write_text(KEYS[0])
    (root / "secret").write_text(KEYS[1])
    run(PROGRAMS / "datadb-server", "keygen", root / "key")
    config = root / "stores.toml"
    text = STACKS[stack].replace("ROOT", str(root)).replace("ENDPOINT", bucket.endpoint if bucket else "")
    config.write_text(f"blobs = {text}\n")
    command = [PROGRAMS / "datadb-server", "--data-dir", root / "data", "--config", config]
    command += ["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"]
    server = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        ready = server.stdout.readline()
        grpc, http = (ready.split(f"{what} http://")[1].split(",")[0].strip() for what in ("grpc", "http"))
        environment = dict(os.environ, DATADB_SERVER=f"http://{grpc}", XDG_CACHE_HOME=str(root / "cache"))
        seconds, requests = {}, {}
        for step in STEPS:
            words = ["restore", "latest", "--target", root / "back"] if step == "restore" else ["snapshot", tree]
            if step == "restore":
                ready_to_restore(root)
            before = requests_of(http)
            began = time.monotonic()
            run(PROGRAMS / "datadb-client", *words, env=environment)
            seconds[step] = time.monotonic() - began
            requests[step] = {kind: count - before.get(kind, 0) for kind, count in requests_of(http).items()}
        return {"seconds": seconds, "requests": requests}
    finally:
        server.terminate()
        server.wait()
        if bucket:
            bucket.stop()


def main():
    stacks = [name for name, text in STACKS.items() if S3_SERVER or "ENDPOINT" not in text]
    if len(stacks) < len(STACKS):
        print("stacks with a bucket are left out: S3_SERVER does not name s3s-fs", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="datadb-stores-", dir=os.environ.get("BENCH_DIR")) as scratch:
        scratch = Path(scratch)
        tree = Path(sys.argv[2]).resolve() if len(sys.argv) > 2 else linux_sources()[0]
        found = {name: [] for name in stacks}
        for number in range(ROUNDS):
            for name in stacks[number % len(stacks):] + stacks[:number % len(stacks)]:
                root = scratch / "round"
                root.mkdir()
                found[name].append(measure(name, tree, root))
                shutil.rmtree(root)
    plain = {step: statistics.median(one["seconds"][step] for one in found["blobsfile"]) for step in STEPS}
    print("| stack | " + " | ".join(f"{step} s | ratio" for step in STEPS) + " | requests of the first, again, restore |")
    print("| --- |" + " --- | --- |" * len(STEPS) + " --- |")
    for name in stacks:
        medians = {step: statistics.median(one["seconds"][step] for one in found[name]) for step in STEPS}
        figures = " | ".join(f"{medians[step]:.2f} | {medians[step] / plain[step]:.2f}" for step in STEPS)
        spent = found[name][-1]["requests"]
        told = [" ".join(f"{count} {kind}" for kind, count in sorted(spent[step].items()) if count) or "-" for step in STEPS]
        print(f"| {name} | {figures} | {'; '.join(told) if any(spent.values()) else ''} |")
    if where := os.environ.get("BENCH_JSON"):
        Path(where).write_text(json.dumps(found, indent=1))


main()
