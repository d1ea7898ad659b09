#!/usr/bin/env python3
"""DataDB over a real distributed S3 store: three garage nodes, of which some go away, also in the middle of a snapshot.

usage: run.py PROGRAMS

PROGRAMS is the directory with datadb-server and datadb-client. Variables:

  GARAGE=PATH   garage, which `make test-cluster` builds once

A line for each step that is as it should be; the first that is not ends the run with exit code 1. All that was started
ends with it.
"""
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from datadb import Site
from garage import BUCKET, NODES, Cluster
from processes import PROGRAMS, Failed, check, must, run, wait_for
from tree import Tree, write

S3 = f"""type = "s3"
bucket = "{BUCKET}"
prefix = "PREFIX"
endpoint = "ENDPOINT"
path_style = true
access_key_file = "ROOT/access"
secret_key_file = "ROOT/secret"
merge_after_seconds = 10
"""
SEALED = '[blobs]\ntype = "encrypt"\nkey_file = "ROOT/key"\n[blobs.inner]\n' + S3
MIRROR = '[blobs]\ntype = "mirror"\nack = "local"\n[[blobs.sides]]\ntype = "blobsfile"\npath = "blobs"\n[[blobs.sides]]\n' + S3

# Much more than a node takes in while another one is being killed.
LARGE_BYTES = 160 << 20

# From there on small packs are merged; some more backups than that.
SMALL_BACKUPS = 20

# After ten seconds without writes, that is; the server looks every ten seconds.
MERGE_SECONDS = 120

# DataDB asks a store that answers again and again for a minute before it says that it can't go on.
PATIENCE_SECONDS = 180


class Steps:
    def __init__(self, root):
        self.root, self.began = root, time.monotonic()
        self.cluster = Cluster(root / "garage")
        self.sites = []
        self.site = None

    def ok(self, what):
        now = time.monotonic()
        print(f"ok {now - self.began:6.1f} s  {what}", flush=True)
        self.began = now

    def new_site(self, name, config):
        config = config.replace("ROOT", str(self.root)).replace("PREFIX", name)
        site = Site(self.root, name, config, Tree(self.root / f"{name}-tree"))
        site.use(self.cluster.nodes[0].endpoint)
        self.sites.append(site)
        return site

    def run(self):
        access, secret = self.cluster.start()
        (self.root / "access").write_text(access)
        (self.root / "secret").write_text(secret)
        must(PROGRAMS / "datadb-server", "keygen", self.root / "key")
        self.ok(f"{NODES} garage nodes, each with every object")
        self.site = self.new_site("sealed", SEALED)
        self.config_is_tried()
        self.backups_come_back()
        self.a_second_server_is_refused()
        self.a_node_dies_in_mid_snapshot()
        self.two_nodes_are_away_for_a_moment()
        self.two_nodes_are_away_for_long()
        self.a_node_comes_back_and_another_dies()
        self.the_data_directory_is_lost()
        self.small_packs_are_merged()
        self.a_mirror_goes_on_without_the_cluster()

    def config_is_tried(self):
        tried = self.site.command("check-config")
        check(tried.returncode == 0, f"check-config ended with {tried.returncode}: {tried.stdout}{tried.stderr}")
        check("written, read, removed; it knows no conditional writes" in tried.stdout, tried.stdout)
        self.site.start()
        check("does not honour conditional writes" in self.site.said(), f"the server does not warn:\n{self.site.said()}")
        self.ok("check-config and the server say that this store knows no conditional writes, and work")

    def backups_come_back(self):
        for _ in range(3):
            self.site.snapshot()
            self.site.tree.change()
        count = self.site.check_backups()
        self.ok(f"{count} backups of a changing tree come back as it was")

    def a_second_server_is_refused(self):
        command = self.site.server_command(self.root / "other", self.root / "other-socket")
        refused = run(*command, seconds=60)
        check(refused.returncode == 1, f"a second server ended with {refused.returncode}: {refused.stderr}")
        holder = f"(process {self.site.process.pid}, since "
        check(holder in refused.stderr and "two servers must not write one prefix" in refused.stderr, refused.stderr)
        said = next(line for line in refused.stderr.splitlines() if holder in line)
        self.site.snapshot()
        self.ok(f"a second server on the prefix is refused: {said}")

    def snapshot_without(self, node, more_parts):
        """A node is killed when the parts of a large pack are on their way; gives the snapshot, which still runs."""
        tree, site = self.site.tree, self.site
        tree.change()
        write(tree.root / "huge", tree.chance.randbytes(LARGE_BYTES))
        before = site.requests("part")
        snapshot = site.begin_snapshot()
        sent = wait_for("parts are sent", lambda: (now := site.requests("part") - before) >= more_parts and now, 60, every=0)
        check(snapshot.poll() is None, "the snapshot was over too early")
        node.kill()
        return snapshot, before + sent

    def a_node_dies_in_mid_snapshot(self):
        third, site = self.cluster.nodes[2], self.site
        snapshot, sent = self.snapshot_without(third, 3)
        site.finish_snapshot(snapshot)
        later = site.requests("part") - sent
        check(later > 0, "the node died too late to be missed")
        self.ok(f"{third} is killed in mid-snapshot, which succeeds: {sent} parts were sent before, {later} after")
        site.stop()
        site.start()
        site.tree.change()
        site.snapshot()
        count = site.check_backups()
        self.ok(f"with {third} away {count} backups come back, a new one among them")

    def two_nodes_are_away_for_a_moment(self):
        second, site = self.cluster.nodes[1], self.site
        retries = site.requests("retries")
        snapshot, _ = self.snapshot_without(second, 3)
        made = wait_for("requests are made again", lambda: (now := site.requests("retries") - retries) >= 3 and now, 60)
        check(snapshot.poll() is None, "the snapshot did not wait")
        self.cluster.back(second)
        site.finish_snapshot(snapshot)
        site.check_backups(2)
        self.ok(f"{second} is killed, too, in mid-snapshot, which waits ({made} retries so far) and succeeds once it is back")

    def two_nodes_are_away_for_long(self):
        second, site = self.cluster.nodes[1], self.site
        second.kill()
        (site.tree.root / "huge").unlink()
        site.tree.change()
        known = len(site.said())
        snapshot = site.begin_snapshot()

        def words():
            said = [line for line in site.said()[known:].splitlines() if "a commit failed" in line]
            return said and said[0]

        said = wait_for("the server says why it can't", words, PATIENCE_SECONDS, every=0.5)
        check("the store is busy" in said or "can't be reached" in said, said)
        wait_for("the client says that it asks again", lambda: "asked again: " in site.client_said(), 30, every=0.5)
        check(snapshot.poll() is None, "the client did not ask again")
        snapshot.terminate()
        check(snapshot.wait(60) != 0, "a snapshot without a commit counts as made")
        self.ok(f"with two nodes away no backup is made, in words: ... {said.split('next commit: ')[-1][:120]}")
        self.cluster.back(second)
        site.snapshot()
        count = site.check_backups()
        self.ok(f"one of them is back, the same command succeeds, and {count} backups come back")

    def a_node_comes_back_and_another_dies(self):
        first, _, third = self.cluster.nodes
        site = self.site
        self.cluster.back(third)
        before, now = self.cluster.repair(third)
        self.ok(f"{third} is back and repaired by garage: {now} blocks, {now - before} of them new")
        first.kill()
        site.end()
        site.use(third.endpoint)
        site.start()
        count = site.check_backups()
        site.tree.change()
        site.snapshot()
        self.ok(f"{first} and the server are killed; through {third} {count} backups come back, and a new one is made")

    def the_data_directory_is_lost(self):
        self.site.lose_everything()
        count = self.site.check_backups()
        self.ok(f"config, key and bucket give {count} backups back after the data directory is lost, with a node away")
        self.cluster.back(self.cluster.nodes[0])
        self.cluster.repair(self.cluster.nodes[0])

    def small_packs_are_merged(self):
        site = self.site
        for _ in range(SMALL_BACKUPS):
            site.tree.change_little()
            site.snapshot()
        before = self.cluster.objects()
        # Those of the blobs, and those of the log.
        wait_for("small packs are merged", lambda: self.cluster.objects() <= before - 2 * (SMALL_BACKUPS - 5), MERGE_SECONDS, every=1)
        now, deleted = self.cluster.objects(), site.requests("delete")
        site.lose_everything()
        count = site.check_backups()
        self.ok(f"{before} objects were merged into {now} ({deleted} deleted), which give {count} backups back")
        site.stop()

    def a_mirror_goes_on_without_the_cluster(self):
        site = self.new_site("mirror", MIRROR)
        site.start()
        site.snapshot()
        away = self.cluster.nodes[1:]
        for node in away:
            node.kill()
        site.tree.change()
        began = time.monotonic()
        site.snapshot()
        took = time.monotonic() - began
        count = site.check_backups()
        self.ok(f"a mirror of disk and cluster makes a backup with two nodes away, in {took:.0f} s; {count} come back")
        self.cluster.back(*away)
        sides = lambda: [side for sides in site.vars()["mirror"].values() for side in sides]
        wait_for("all sides are level", lambda: all(side["state"] == "level" for side in sides()), PATIENCE_SECONDS)
        site.lose_everything()
        count = site.check_backups()
        self.ok(f"its side on the cluster has caught up, and gives {count} backups back after the disk is lost")
        site.stop()

    def end(self):
        for site in self.sites:
            site.end()
        self.cluster.stop()

    def logs(self):
        """The last lines of everybody, for whoever has to find out."""
        for log in sorted(self.root.glob("*/log")) + sorted(self.root.glob("*/*/log")):
            print(f"--- {log.relative_to(self.root)}", *log.read_text(errors="replace").splitlines()[-20:], sep="\n", file=sys.stderr)


def main():
    # The same end for whoever is told to go as for whoever is interrupted.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    began = time.monotonic()
    root = Path(tempfile.mkdtemp(prefix="datadb-cluster-"))
    steps = None
    try:
        steps = Steps(root)
        steps.run()
        print(f"all is well, in {time.monotonic() - began:.0f} s")
    except Failed as failed:
        print(f"FAILED: {failed}", file=sys.stderr)
        steps and steps.logs()
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        steps and steps.end()
        shutil.rmtree(root, ignore_errors=True)


main()
