"""The data of the benches: two versions of a real source tree, fetched once from Debian."""
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

# Below it lie the trees, and the rivals that were built.
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "datadb" / "bench"


def run(*command, **options):
    return subprocess.run([str(word) for word in command], check=True, **options)


def linux_sources():
    """Two versions of Debian's linux-source-6.1, unpacked once into the cache."""
    found = sorted(path for path in CACHE.glob("linux-*") if (path / "ready").exists())
    if len(found) >= 2:
        return found[0] / "tree", found[-1] / "tree"
    policy = run("apt-cache", "policy", "linux-source-6.1", capture_output=True, text=True).stdout
    versions = list(dict.fromkeys(re.findall(r"^(?: \*\*\*|    ) (\S+)", policy, re.M)))
    if len(versions) < 2:
        sys.exit("apt knows no two versions of linux-source-6.1: name TREE and NEXT yourself")
    for version in (versions[0], versions[-1]):
        where = CACHE / f"linux-{version}"
        shutil.rmtree(where, ignore_errors=True)
        (where / "deb").mkdir(parents=True)
        run("apt-get", "download", "-qq", f"linux-source-6.1={version}", cwd=where)
        run("dpkg-deb", "-x", next(where.glob("*.deb")), where / "deb")
        run("tar", "-xf", next((where / "deb").glob("usr/src/*.tar.xz")), "-C", where)
        next(where.glob("linux-source-*/")).rename(where / "tree")
        shutil.rmtree(where / "deb")
        (where / "ready").touch()
    return linux_sources()
