"""A cluster of three garage nodes on this machine, each with every object, that can be killed and come back."""
import json
import os
import secrets
import signal
import socket
import sys
from pathlib import Path

from processes import Failed, check, must, run, start, wait_for

if "GARAGE" not in os.environ:
    sys.exit("GARAGE does not name garage: run `make test-cluster`")
GARAGE = Path(os.environ["GARAGE"]).resolve()
NODES = 3
BUCKET = "backups"
START_SECONDS = 60
REPAIR_SECONDS = 120

CONFIG = """
metadata_dir = "{dir}/meta"
data_dir = "{dir}/data"
db_engine = "lmdb"
replication_factor = 3
rpc_bind_addr = "{rpc}"
rpc_public_addr = "{rpc}"
rpc_secret = "{secret}"
[s3_api]
api_bind_addr = "{s3}"
s3_region = "us-east-1"
"""


def free_ports(address, count):
    """Ports of an address that are free, all at once."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind((address, 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


class Node:
    def __init__(self, root, address, secret):
        self.dir, self.log, self.process = root, root / "log", None
        rpc, s3 = (f"{address}:{port}" for port in free_ports(address, 2))
        self.endpoint = f"http://{s3}"
        root.mkdir()
        (root / "config.toml").write_text(CONFIG.format(dir=root, rpc=rpc, s3=s3, secret=secret))

    def __str__(self):
        return self.dir.name

    def tell(self, *words):
        """A command of garage, to this node."""
        return must(GARAGE, "-c", self.dir / "config.toml", *words, seconds=60)

    def ask(self, what, question=None):
        """A question of garage's admin API, to this node."""
        return json.loads(self.tell("json-api", what, *([json.dumps(question)] if question else [])))

    def start(self):
        self.process = start([GARAGE, "-c", self.dir / "config.toml", "server"], self.log)

        def answers():
            check(self.process.poll() is None, f"{self} ended at its start")
            return run(GARAGE, "-c", self.dir / "config.toml", "status").returncode == 0

        wait_for(f"{self} answers", answers, START_SECONDS)

    def kill(self):
        """As a machine dies: nothing is said, nothing is finished."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def blocks(self):
        """Names of all blocks that lie in its data directory."""
        names = (path.name.split(".")[0] for path in (self.dir / "data").rglob("*") if path.suffix != ".tmp" and path.is_file())
        return {name for name in names if len(name) == 64}

    def needs(self, block):
        """Whether an object that is there has this block, as far as this node knows."""
        told = run(GARAGE, "-c", self.dir / "config.toml", "block", "info", block)
        return any(line.startswith("active") for line in told.stdout.splitlines())


class Cluster:
    def __init__(self, root):
        # Addresses of its own: what it listens on stays free while a node is away, whoever opens connections meanwhile.
        net = f"127.{secrets.randbelow(254) + 1}.{secrets.randbelow(254) + 1}"
        secret = secrets.token_hex(32)
        root.mkdir()
        self.nodes = [Node(root / f"node{number}", f"{net}.{number}", secret) for number in range(1, NODES + 1)]

    def start(self):
        """All nodes, which know each other; gives the id and the secret of a key that may read and write the bucket."""
        for node in self.nodes:
            node.start()
        first = self.nodes[0]
        for number, node in enumerate(self.nodes, 1):
            address = node.tell("node", "id", "-q").strip()
            if node is not first:
                first.tell("node", "connect", address)
            first.tell("layout", "assign", "-z", f"zone{number}", "-c", "10GB", address.split("@")[0])
        first.tell("layout", "apply", "--version", "1")
        self.wait_until_up(NODES)
        key = first.ask("CreateKey", {"name": BUCKET})
        first.tell("bucket", "create", BUCKET)
        first.tell("bucket", "allow", "--read", "--write", BUCKET, "--key", BUCKET)
        return key["accessKeyId"], key["secretAccessKey"]

    def stop(self):
        for node in self.nodes:
            if node.is_running():
                node.kill()

    def running(self):
        return [node for node in self.nodes if node.is_running()]

    def wait_until_up(self, count):
        """Until every node that runs is connected to so many, itself included."""
        def is_so():
            return all(node.ask("GetClusterHealth")["storageNodesUp"] == count for node in self.running())
        wait_for(f"{count} nodes know of each other", is_so, START_SECONDS, every=0.2)

    def back(self, *nodes):
        """These nodes come back, and all others know."""
        for node in nodes:
            node.start()
        self.wait_until_up(len(self.running()))

    def repair(self, node):
        """garage itself gives a node that was away what it lacks; gives the number of its blocks before and after."""
        before = len(node.blocks())
        # Each node sends what it has; none asks for what it lacks.
        node.tell("repair", "--all-nodes", "--yes", "tables")
        others = [other for other in self.running() if other is not node]

        def missing():
            lacked = set.union(*(other.blocks() for other in others)) - node.blocks()
            # Blocks of objects that are gone stay for ten minutes where they are. To ask takes a while: not for many.
            return lacked if len(lacked) > 5 else {block for block in lacked if any(other.needs(block) for other in others)}

        def is_whole():
            # A block that it learned of would be fetched after ten minutes, and to ask for it makes that no sooner, unless
            # the queue is cleared first.
            for what in ("clear-resync-queue", "blocks") if missing() else ():
                node.tell("repair", "--yes", what)
            return not missing()

        try:
            wait_for(f"{node} has every block", is_whole, REPAIR_SECONDS, every=5)
        except Failed as failed:
            raise Failed(f"{failed}; {len(missing())} are missing\n{node.tell('worker', 'list')}") from None
        return before, len(node.blocks())

    def objects(self):
        """How many objects the bucket has."""
        return self.running()[0].ask("GetBucketInfo", {"globalAlias": BUCKET})["objects"]
