"""DataDB's server over a config of stores, and all backups that were made with it."""
import json
import os
import shutil
import signal
import urllib.request

from processes import PROGRAMS, check, first_line, must, run, start
from tree import differences, scan

START_SECONDS = 120
STOP_SECONDS = 60


class Site:
    """A config, a data directory, a server when it runs, and each backup's id with what the tree was then."""

    def __init__(self, root, name, config, tree):
        self.root, self.name, self.config_text, self.tree = root / name, name, config, tree
        self.data, self.config, self.log = self.root / "data", self.root / "stores.toml", self.root / "log"
        self.process = self.http = None
        self.backups = {}
        self.root.mkdir()
        self.environment = dict(os.environ, DATADB_SERVER=f"unix:{self.root}/socket", XDG_CACHE_HOME=str(self.root / "cache"),
                                XDG_CONFIG_HOME=str(self.root / "no-config"))

    def use(self, endpoint):
        self.config.write_text(self.config_text.replace("ENDPOINT", endpoint))

    def command(self, name, data=None, **options):
        """A command of the server's program for this config."""
        return run(PROGRAMS / "datadb-server", name, "--data-dir", data or self.data, "--config", self.config, **options)

    def server_command(self, data, socket):
        return [PROGRAMS / "datadb-server", "--data-dir", data, "--config", self.config, "--listen", f"unix:{socket}",
                "--http", "127.0.0.1:0"]

    def start(self):
        command = self.server_command(self.data, self.root / "socket")
        self.process = start(command, self.log, stdout=-1, bufsize=0)
        self.http = first_line(self.process, START_SECONDS).split("http http://")[1].split(",")[0]

    def stop(self):
        self.process.terminate()
        code = self.process.wait(STOP_SECONDS)
        check(code == 0, f"the server ended with {code}")

    def end(self):
        """Whatever state it is in."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()

    def said(self):
        """All that the server wrote to its log so far."""
        return self.log.read_text(errors="replace")

    def vars(self):
        with urllib.request.urlopen(f"http://{self.http}/debug/vars", timeout=30) as page:
            return json.load(page)

    def requests(self, kind):
        """How many of a kind were made of the buckets since the server started."""
        return sum(self.vars()[f"s3-requests-{kind}"].values())

    def client(self, *words, **options):
        return run(PROGRAMS / "datadb-client", *words, env=self.environment, **options)

    def begin_snapshot(self):
        """One that runs beside the test; `finish_snapshot` takes it up again."""
        command = [PROGRAMS / "datadb-client", "--json", "snapshot", self.tree.root]
        return start(command, self.root / "client.log", stdout=-1, env=self.environment)

    def client_said(self):
        """All that such snapshots wrote to stderr so far."""
        return (self.root / "client.log").read_text(errors="replace")

    def finish_snapshot(self, process, seconds=300):
        said, _ = process.communicate(timeout=seconds)
        check(process.returncode == 0, f"the snapshot ended with {process.returncode}: {self.client_said()}")
        self.note(said)

    def snapshot(self):
        done = self.client("--json", "snapshot", self.tree.root)
        check(done.returncode == 0, f"the snapshot ended with {done.returncode}: {done.stderr}")
        self.note(done.stdout)

    def note(self, said):
        summary = json.loads(said.splitlines()[-1])
        check(summary["errors"] == 0, f"something could not be read: {summary}")
        self.backups[summary["id"]] = scan(self.tree.root)

    def check_backups(self, last=None):
        """All backups, or the last ones, come back as the tree was, and no other is listed; gives how many."""
        listed = self.client("--json", "snapshots")
        check(listed.returncode == 0, f"snapshots are not listed: {listed.stderr}")
        for id in self.backups:
            check(id in listed.stdout, f"backup {id} is gone")
        chosen = list(self.backups.items())[-(last or 0):]
        for id, kept in chosen:
            back = self.root / "back"
            must(PROGRAMS / "datadb-client", "restore", id, "--target", back, env=self.environment)
            unlike = differences(kept, scan(back))
            check(not unlike, f"backup {id} is not what it was: {unlike[:5]}")
            shutil.rmtree(back)
        return len(chosen)

    def lose_everything(self):
        """The data directory is gone; config, key and stores give all of it back."""
        self.stop()
        shutil.rmtree(self.data)
        said = self.command("rebuild")
        check(said.returncode == 0, f"rebuild ended with {said.returncode}: {said.stderr}")
        check(said.stdout.startswith("rebuilt the index"), said.stdout)
        self.start()
