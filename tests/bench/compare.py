#!/usr/bin/env python3
"""DataDB beside its rivals, in one run on one machine, on the same data.

usage: compare.py PROGRAMS [TREE [NEXT_VERSION]]

PROGRAMS is the directory with datadb-server and datadb-client. Without TREE the data are Debian's linux-source-6.1 in two
of its versions. TREE is copied to a working directory below TMPDIR (default /var/tmp), so that the next version can take
its place under the same path. Variables:

  BENCH=tree,image,link,growth   the parts to run (all of them by default)
  BENCH_TOOLS=datadb,restic,...  the tools (datadb, restic, borg; with BENCH_ALL=1 also bupstash and rustic)
  ROUNDS=3                       repetitions, the tools in changing order; medians are printed
  GROWTH=10000,100000            numbers of small files (with BENCH_ALL=1 also 1000000)
  BENCH_JSON=FILE                all figures of all rounds, for programs
  BENCH_PLOT=FILE.svg            the plot of the growth

Wall and CPU seconds are those of whole processes, the server's CPU counted in; peak memory is the largest resident set (of
DataDB's client and server apart); the store is `du -s` of the repository while the server runs. Page caches are warm for
all; before each restore the caches are emptied and the repository is read (as root). `floor` is `tar` through
`zstd -1 -T2`, and back.
"""
import json
import os
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from data import CACHE, linux_sources

HERE = Path(__file__).resolve().parent
PROGRAMS = Path(sys.argv[1]).resolve()
TICKS = os.sysconf("SC_CLK_TCK")
ROUNDS = int(os.environ.get("ROUNDS", "3"))
ALL = os.environ.get("BENCH_ALL") == "1"
# A cache doubts files that changed less than two seconds before.
SETTLE_SECONDS = 3


def run(command, **options):
    return subprocess.run([str(word) for word in command], check=True, **options)


def output(command):
    return run(command, capture_output=True, text=True).stdout


def du_mib(path):
    return int(output(["du", "-s", "--block-size=1M", path]).split()[0])


class Figures(dict):
    """wall_s, cpu_s, client_mib, and what else a step tells."""


def timed(command, env, acceptable=(0,)):
    """Runs a command and measures it with everything that it starts."""
    os.sync()
    before = time.monotonic()
    child = subprocess.Popen([str(word) for word in command], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    text = child.stdout.read().decode(errors="replace")
    _, status, used = os.wait4(child.pid, 0)
    wall = time.monotonic() - before
    code = os.waitstatus_to_exitcode(status)
    if code not in acceptable:
        sys.exit(f"{command}: exit code {code}\n{text}")
    return Figures(wall_s=wall, cpu_s=used.ru_utime + used.ru_stime, client_mib=used.ru_maxrss / 1024), text


class Tool:
    """A backup program with a repository of its own."""

    name = ""

    def __init__(self, place):
        self.place = place / self.name
        self.place.mkdir()
        self.store = self.place / "store"
        self.env = {**os.environ, "XDG_CACHE_HOME": str(self.place / "cache"), "HOME": str(self.place)}
        self.start()

    def start(self):
        pass

    def stop(self):
        pass

    def measure(self, command, acceptable=(0,)):
        figures, _ = timed(command, self.env, acceptable)
        figures["store_mib"] = du_mib(self.store) if self.store.exists() else 0
        return figures


class DataDB(Tool):
    name = "datadb"
    server = None

    def start(self):
        command = [PROGRAMS / "datadb-server", "--data-dir", self.store, "--listen", "127.0.0.1:0", "--http", "off"]
        log = open(self.place / "server.log", "a")
        self.server = subprocess.Popen([str(w) for w in command], stdout=subprocess.PIPE, stderr=log, text=True)
        ready = self.server.stdout.readline()
        self.url = re.search(r"http://[^ ,]+", ready)[0]
        self.env["DATADB_SERVER"] = self.url

    def stop(self):
        self.server.send_signal(signal.SIGTERM)
        self.server.wait()

    def server_cpu(self):
        fields = Path(f"/proc/{self.server.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def measure(self, command, acceptable=(0, 3)):
        Path(f"/proc/{self.server.pid}/clear_refs").write_text("5")
        before = self.server_cpu()
        figures = super().measure(command, acceptable)
        figures["cpu_s"] += self.server_cpu() - before
        status = Path(f"/proc/{self.server.pid}/status").read_text()
        figures["server_mib"] = int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024
        return figures

    def client(self, *words):
        return [PROGRAMS / "datadb-client", "-q", *words]

    def backup(self, path):
        return self.measure(self.client("snapshot", path))

    def restore(self, target, path):
        return self.measure(self.client("restore", "latest", "--target", target)), target

    def counted(self, path):
        """fsyncs of the server and requests of the client for a backup into a new repository; a run of its own, traced."""
        self.stop()
        counts = self.place / "fsyncs"
        tracer = ["strace", "-f", "--seccomp-bpf", "-c", "-e", "trace=fsync,fdatasync,sync_file_range", "-o", counts]
        store = self.place / "counted"
        command = [*tracer, PROGRAMS / "datadb-server", "--data-dir", store, "--listen", "127.0.0.1:0", "--http", "off"]
        server = subprocess.Popen([str(w) for w in command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        env = {**self.env, "DATADB_SERVER": re.search(r"http://[^ ,]+", server.stdout.readline())[0]}
        found = []
        for _ in range(2):
            text = run([PROGRAMS / "datadb-client", "--json", "snapshot", path], env=env, capture_output=True).stdout
            found.append(json.loads(text.splitlines()[-1]).get("requests"))
        traced = int(output(["pgrep", "-P", str(server.pid)]).split()[0])
        os.kill(traced, signal.SIGTERM)
        server.wait()
        rows = [line.split() for line in counts.read_text().splitlines()]
        syncs = sum(int(row[3]) for row in rows if row and row[-1] in ("fsync", "fdatasync", "sync_file_range"))
        shutil.rmtree(store)
        self.start()
        return {"requests_first": found[0], "requests_unchanged": found[1], "fsyncs_of_both": syncs}


class Restic(Tool):
    name = "restic"

    def start(self):
        self.env |= {"RESTIC_PASSWORD": "bench", "RESTIC_PROGRESS_FPS": "0.001"}
        self.command = ["restic", "-r", self.store, "--cache-dir", self.place / "cache"]
        if not self.store.exists():
            run([*self.command, "init", "-q"], env=self.env)

    def backup(self, path):
        return self.measure([*self.command, "backup", "-q", path])

    def restore(self, target, path):
        return self.measure([*self.command, "restore", "-q", "latest", "--target", target]), Path(f"{target}{path}")


class Borg(Tool):
    name = "borg"
    number = 0

    def start(self):
        self.env |= {"BORG_BASE_DIR": str(self.place), "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes"}
        run(["borg", "init", "--encryption=none", self.store], env=self.env)

    def backup(self, path):
        self.number += 1
        return self.measure(["borg", "create", "--compression", "zstd,1", f"{self.store}::{self.number}", path])

    def restore(self, target, path):
        target.mkdir()
        command = ["sh", "-c", f"cd '{target}' && exec borg extract --sparse '{self.store}::{self.number}'"]
        return self.measure(command), Path(f"{target}{path}")


class Bupstash(Tool):
    name = "bupstash"

    def start(self):
        binary = shutil.which("bupstash") or CACHE / "rivals/bin/bupstash"
        self.command = [binary]
        self.env |= {"BUPSTASH_REPOSITORY": str(self.store), "BUPSTASH_KEY": str(self.place / "key")}
        run([binary, "new-key", "-o", self.place / "key"], env=self.env)
        run([binary, "init"], env=self.env)

    def backup(self, path):
        figures, text = timed([*self.command, "put", "-q", path], self.env)
        self.id = text.split()[-1]
        return figures | {"store_mib": du_mib(self.store)}

    def restore(self, target, path):
        target.mkdir()
        if path.is_dir():
            return self.measure([*self.command, "restore", "-q", "--into", target, f"id={self.id}"]), target
        command = f"exec '{self.command[0]}' get -q id={self.id} >'{target / path.name}'"
        return self.measure(["sh", "-c", command]), target


class Rustic(Tool):
    name = "rustic"

    def start(self):
        binary = shutil.which("rustic") or CACHE / "rivals/bin/rustic"
        self.env |= {"RUSTIC_PASSWORD": "bench", "RUSTIC_NO_PROGRESS": "true"}
        self.command = [binary, "-r", self.store, "--cache-dir", self.place / "cache", "--log-level", "error"]
        run([*self.command, "init"], env=self.env, stdout=subprocess.DEVNULL)

    def backup(self, path):
        return self.measure([*self.command, "backup", path])

    def restore(self, target, path):
        return self.measure([*self.command, "restore", f"latest:{path}", target]), target


class Floor(Tool):
    """No backup program: what reading, compressing and writing cost at least."""

    name = "floor"

    def backup(self, path):
        return self.measure(["sh", "-c", f"tar -c -C '{path.parent}' '{path.name}' | zstd -q -1 -T2 -f -o '{self.store}'"])

    def restore(self, target, path):
        target.mkdir()
        return self.measure(["sh", "-c", f"zstd -q -dc '{self.store}' | tar -x -C '{target}'"]), target / path.name


TOOLS = {tool.name: tool for tool in (DataDB, Restic, Borg, Bupstash, Rustic, Floor)}


def chosen():
    rivals = ["restic", "borg"] + (["bupstash", "rustic"] if ALL else []) + ["floor"]
    names = os.environ.get("BENCH_TOOLS", ",".join(["datadb", *rivals])).split(",")
    programs = {"floor": "zstd", "datadb": str(PROGRAMS / "datadb-client")}
    for name in names:
        program = programs.get(name, name)
        if not shutil.which(program) and not (CACHE / "rivals/bin" / program).exists():
            if name in ("bupstash", "rustic"):
                build_rival(name)
            else:
                sys.exit(f"{name} is missing: apt-get install {program}{'backup' if name == 'borg' else ''}")
    return names


def build_rival(name):
    """Once, into the cache; minutes."""
    package = {"bupstash": ["bupstash"], "rustic": ["rustic-rs"]}[name]
    if name == "bupstash" and subprocess.run(["pkg-config", "--exists", "libsodium"]).returncode != 0:
        sys.exit("bupstash needs libsodium: apt-get install libsodium-dev pkg-config")
    print(f"building {name} into {CACHE / 'rivals'} (once)", file=sys.stderr)
    run(["cargo", "install", *package, "--locked", "--root", CACHE / "rivals"])


def settled_copy(source, target):
    """Takes the place of what is there, every file newly written, as after unpacking an archive."""
    if target.is_dir():
        shutil.rmtree(target)
    run(["cp", "-a", "--sparse=always", source, target])
    time.sleep(SETTLE_SECONDS)


class Table:
    """Figures by step and tool over all rounds."""

    def __init__(self, title):
        self.title = title
        self.rounds = {}

    def add(self, step, tool, figures):
        self.rounds.setdefault((step, tool), []).append(figures)
        words = " ".join(f"{key}={value:.2f}" for key, value in figures.items() if value is not None)
        print(f"  {self.title}: {step}, {tool}: {words}", file=sys.stderr)

    def median(self, step, tool):
        rounds = self.rounds[step, tool]
        keys = [key for key in rounds[0] if rounds[0][key] is not None]
        return {key: statistics.median(figures[key] for figures in rounds) for key in keys}

    def print(self):
        tools = list(dict.fromkeys(tool for _, tool in self.rounds))
        steps = list(dict.fromkeys(step for step, _ in self.rounds))
        print(f"\n### {self.title}\n")
        print("Wall s / CPU s / store MiB, and peak MiB (of DataDB client + server); in brackets wall as a multiple of DataDB's.\n")
        print("| tool |" + "".join(f" {step} |" for step in steps) + " peak |")
        print("| --- |" + " --- |" * (len(steps) + 1))
        for tool in tools:
            cells, peak = [], "-"
            for step in steps:
                if (step, tool) not in self.rounds:
                    cells.append("-")
                    continue
                m = self.median(step, tool)
                own = self.rounds.get((step, "datadb")) and self.median(step, "datadb")["wall_s"]
                ratio = f" ({m['wall_s'] / own:.1f}x)" if own and tool != "datadb" else ""
                store = f" / {m['store_mib']:.0f}" if m.get("store_mib") and step != "restore" else ""
                cells.append(f"{m['wall_s']:.2f} / {m['cpu_s']:.1f}{store}{ratio}")
            of = lambda key: max((self.median(s, tool).get(key, 0) for s in steps if (s, tool) in self.rounds), default=0)
            peak = f"{of('client_mib'):.0f}" + (f" + {of('server_mib'):.0f}" if of("server_mib") else "")
            print(f"| {tool} | " + " | ".join(cells) + f" | {peak} |")

    def as_json(self):
        return [{"step": s, "tool": t, "rounds": r, "median": self.median(s, t)} for (s, t), r in self.rounds.items()]


def four_steps(title, names, source, following, place):
    """First backup, unchanged, next version, restore."""
    table = Table(title)
    counts = {}
    for round_number in range(ROUNDS):
        order = names[round_number % len(names):] + names[:round_number % len(names)]
        with tempfile.TemporaryDirectory(dir=place) as scratch:
            scratch = Path(scratch)
            data = scratch / "data"
            tools = {name: TOOLS[name](scratch) for name in order}
            settled_copy(source, data)
            for step in ("first", "unchanged"):
                for name in order:
                    if (step, name) != ("unchanged", "floor"):
                        table.add(step, name, tools[name].backup(data))
            if following:
                settled_copy(following, data)
                for name in order:
                    if name != "floor":
                        table.add("next version", name, tools[name].backup(data))
            for name in order:
                # The floor holds the first version; what a restore costs is nearly the same.
                ready_to_restore(tools[name])
                figures, back = tools[name].restore(scratch / f"back-{name}", data)
                table.add("restore", name, figures)
                if name != "floor" or not following:
                    same(data, back)
                # rustic makes a file of a file.
                run(["rm", "-rf", scratch / f"back-{name}"])
            if round_number == 0 and "datadb" in tools and shutil.which("strace"):
                counts = tools["datadb"].counted(data)
            for tool in tools.values():
                tool.stop()
    table.print()
    if counts:
        print("\nDataDB: " + ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in counts.items()))
    return table.as_json() + ([{"counts": counts}] if counts else [])


def ready_to_restore(tool):
    """Nothing in the caches but the repository. ext4 takes no inode again that was freed minutes ago as long as its table
    is cached, and looks at each of them: after a large tree was deleted whoever makes files next would pay for it."""
    run(["sync"])
    if os.geteuid() == 0:
        Path("/proc/sys/vm/drop_caches").write_text("3")
    run(["find", tool.store, "-type", "f", "-exec", "cat", "{}", "+"], stdout=subprocess.DEVNULL)


def same(source, back):
    if source.is_dir():
        differing = subprocess.run(["diff", "-r", "--no-dereference", source, back], capture_output=True, text=True)
    else:
        back = back / source.name if back.is_dir() else back
        differing = subprocess.run(["cmp", source, back], capture_output=True, text=True)
    if differing.returncode != 0:
        sys.exit(f"{back} differs from {source}: {differing.stdout[:2000]}")


def images(tree, following):
    """A sparse image of a file system in two versions, the second changed through a loop mount."""
    first, second = CACHE / "image-1", CACHE / "image-2"
    if not (second.exists() and first.exists()):
        parts = [name for name in ("drivers/net", "fs", "include", "kernel", "Documentation") if (tree / name).is_dir()]
        with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
            seed = Path(scratch) / "seed"
            for part in parts or ["."]:
                (seed / part).parent.mkdir(parents=True, exist_ok=True)
                run(["cp", "-a", tree / part, seed / part])
            image = Path(scratch) / "image"
            run(["truncate", "-s", "3G", image])
            run(["mke2fs", "-q", "-F", "-t", "ext4", "-d", seed, image])
            run(["cp", "--sparse=always", image, first])
            mount = Path(scratch) / "mount"
            mount.mkdir()
            run(["mount", "-o", "loop", image, mount])
            try:
                for part in (parts or ["."])[:2]:
                    run(["cp", "-a", "--remove-destination", following / part, (mount / part).parent])
            finally:
                run(["umount", mount])
            run(["cp", "--sparse=always", image, second])
    return first, second


class Link:
    """link.py in front of a port."""

    def __init__(self, to):
        self.child = subprocess.Popen([sys.executable, HERE / "link.py", to], stdout=subprocess.PIPE, text=True)
        self.port = int(self.child.stdout.readline().split()[-1])

    def stop(self):
        self.child.terminate()
        return [int(n) for n in re.findall(r"(\d+) bytes", self.child.communicate()[0])]


def over_a_link(names, tree, place):
    """First, unchanged, one small file, restore, over 50 ms and 200 Mbit/s; restic speaks to a REST server."""
    table = Table("over a link of 50 ms and 200 Mbit/s")
    for _ in range(min(ROUNDS, 2)):
        for name in [name for name in names if name in ("datadb", "restic")]:
            with tempfile.TemporaryDirectory(dir=place) as scratch:
                scratch = Path(scratch)
                data, small = scratch / "data", scratch / "small"
                settled_copy(tree, data)
                small.mkdir()
                (small / "file").write_text("one small file\n")
                time.sleep(SETTLE_SECONDS)
                tool = TOOLS[name](scratch)
                rest = None
                if name == "datadb":
                    link = Link(tool.url.removeprefix("http://"))
                    tool.env["DATADB_SERVER"] = f"http://127.0.0.1:{link.port}"
                else:
                    command = ["rclone", "serve", "restic", "--addr", "127.0.0.1:18765", scratch / "rest"]
                    rest = subprocess.Popen([str(w) for w in command], stderr=subprocess.DEVNULL, env=tool.env)
                    time.sleep(2)
                    link = Link("127.0.0.1:18765")
                    tool.command[2] = f"rest:http://127.0.0.1:{link.port}/"
                    tool.store = scratch / "rest"
                    run([*tool.command, "init", "-q"], env=tool.env)
                for step, what in (("first", data), ("unchanged", data), ("one small file", small)):
                    table.add(step, name, tool.backup(what))
                if name == "datadb":
                    figures = tool.measure(tool.client("restore", "latest", "--path", data, "--target", scratch / "back"))
                else:
                    figures = tool.measure([*tool.command, "restore", "-q", "latest", "--path", data, "--target", scratch / "back"])
                table.add("restore", name, figures)
                there, back = link.stop()
                print(f"  {name}: {there / 1e6:.0f} MB there, {back / 1e6:.0f} MB back", file=sys.stderr)
                if rest:
                    rest.terminate()
                    rest.wait()
                tool.stop()
    table.print()
    return table.as_json()


def growth(place):
    """Time, memory and index per file as the number of small files grows."""
    default = "10000,100000" + (",1000000" if ALL else "")
    rows = []
    for count in [int(n) for n in os.environ.get("GROWTH", default).split(",")]:
        with tempfile.TemporaryDirectory(dir=place) as scratch:
            scratch = Path(scratch)
            data = scratch / "data"
            for number in range(count):
                if number % 1000 == 0:
                    directory = data / f"{number // 100_000:03}" / f"{number // 1000:04}"
                    directory.mkdir(parents=True)
                (directory / f"file-{number:07}").write_text(f"{number} " * (20 + number % 200))
            time.sleep(SETTLE_SECONDS)
            tool = DataDB(scratch)
            row = {"files": count}
            for step in ("first", "unchanged"):
                figures = tool.backup(data)
                row |= {f"{step}_{key}": value for key, value in figures.items()}
            tool.stop()
            index = sum(f.stat().st_size for f in (tool.store / "index").rglob("*") if f.is_file())
            row["index_bytes_per_file"] = index / count
            rows.append(row)
            print(f"  growth: {row}", file=sys.stderr)
    print("\n### growth\n")
    print("| files | first µs/file | unchanged µs/file | client MiB | server MiB | index bytes/file |")
    print("| --- | --- | --- | --- | --- | --- |")
    for row in rows:
        per_file = [row[f"{step}_wall_s"] / row["files"] * 1e6 for step in ("first", "unchanged")]
        memory = [max(row[f"{step}_{side}_mib"] for step in ("first", "unchanged")) for side in ("client", "server")]
        print(f"| {row['files']:,} | {per_file[0]:.0f} | {per_file[1]:.1f} | {memory[0]:.0f} | {memory[1]:.0f} | {row['index_bytes_per_file']:.0f} |")
    if "BENCH_PLOT" in os.environ:
        Path(os.environ["BENCH_PLOT"]).write_text(plot(rows))
    return rows


def plot(rows):
    """Time per file, memory, and index per file over the number of files, each as a multiple of its first value."""
    lines = {
        "first backup, time per file": [row["first_wall_s"] / row["files"] for row in rows],
        "unchanged, time per file": [row["unchanged_wall_s"] / row["files"] for row in rows],
        "client memory": [row["first_client_mib"] for row in rows],
        "server memory": [row["first_server_mib"] for row in rows],
        "index bytes per file": [row["index_bytes_per_file"] for row in rows],
    }
    width, height, left, top = 640, 320, 60, 20
    highest = max(2.0, max(max(values) / values[0] for values in lines.values()))
    x = lambda i: left + i * (width - left - 220) / max(1, len(rows) - 1)
    y = lambda value: height - 40 - value / highest * (height - 40 - top)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="11">',
             f'<rect width="{width}" height="{height}" fill="white"/>']
    for step in range(int(highest) + 1):
        parts.append(f'<line x1="{left}" x2="{x(len(rows) - 1)}" y1="{y(step):.0f}" y2="{y(step):.0f}" stroke="#ddd"/>')
        parts.append(f'<text x="{left - 8}" y="{y(step) + 4:.0f}" text-anchor="end">{step}x</text>')
    for i, row in enumerate(rows):
        parts.append(f'<text x="{x(i):.0f}" y="{height - 20}" text-anchor="middle">{row["files"]:,}</text>')
    for number, ((name, values), colour) in enumerate(zip(lines.items(), ["#1b6", "#17c", "#c33", "#a3a", "#c80"])):
        points = " ".join(f"{x(i):.0f},{y(value / values[0]):.0f}" for i, value in enumerate(values))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<text x="{width - 200}" y="{top + 16 * number + 10}" fill="{colour}">{name}</text>')
    return "\n".join(parts + ["</svg>", ""])


def main():
    parts = os.environ.get("BENCH", "tree,image,link,growth").split(",")
    names = chosen()
    CACHE.mkdir(parents=True, exist_ok=True)
    place = Path(os.environ.get("TMPDIR", "/var/tmp"))
    tree, following = [Path(word).resolve() for word in sys.argv[2:4]] + [None] * (4 - len(sys.argv)) \
        if len(sys.argv) > 2 else linux_sources()
    version = output([PROGRAMS / "datadb-client", "--version"]).strip()
    machine = f"{os.cpu_count()} cores, {platform.system()} {platform.release()}"
    entries = int(output(["sh", "-c", f"find '{tree}' | wc -l"]))
    print(f"{version}; {machine}; the tree has {entries:,} entries and {du_mib(tree)} MiB; {ROUNDS} rounds, medians")
    with tempfile.TemporaryDirectory(prefix="datadb-bench.", dir=place) as scratch:
        scratch = Path(scratch)
        results = {"machine": machine, "version": version, "entries": entries}
        if "tree" in parts:
            results["tree"] = four_steps("tree", names, tree, following, scratch)
        if "image" in parts and os.geteuid() == 0 and following:
            results["image"] = four_steps("image, 3 GiB sparse", names, *images(tree, following), scratch)
        if "link" in parts:
            results["link"] = over_a_link(names, tree, scratch)
        if "growth" in parts:
            results["growth"] = growth(scratch)
    if "BENCH_JSON" in os.environ:
        Path(os.environ["BENCH_JSON"]).write_text(json.dumps(results, indent=1))


main()
