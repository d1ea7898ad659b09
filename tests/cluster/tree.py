"""A tree of files that changes from backup to backup, and what must be the same of it when it comes back."""
import hashlib
import os
import random
import stat

SMALL_FILES = 3000
LARGE_BYTES = 12 << 20


def write(path, data, mode=0o644):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_bytes(data)
    path.chmod(mode)


class Tree:
    def __init__(self, root):
        self.root, self.chance, self.round = root, random.Random(7), 0
        for number in range(SMALL_FILES):
            self.small(f"dir{number % 60:02}/file{number}")
        for number in range(3):
            write(root / f"large{number}", self.chance.randbytes(LARGE_BYTES))
        write(root / "names" / "with space, ümlaut\n and line", b"one")
        write(root / "names" / "empty", b"", 0o600)
        (root / "names" / "link").symlink_to("../large0")
        (root / "no files").mkdir(mode=0o750)

    def small(self, name):
        mode = self.chance.choice((0o644, 0o600, 0o755, 0o440))
        write(self.root / name, self.chance.randbytes(int(self.chance.expovariate(1 / 4000))), mode)

    def change(self):
        """Some new files, some that change, one that goes, another mode, another name, a large file changed in its middle."""
        self.round += 1
        for number in range(40):
            self.small(f"dir{number % 60:02}/new{self.round}-{number}")
            self.small(f"dir{number % 60:02}/file{number + 60 * (self.round % 10)}")
        (self.root / f"dir50/file{50 + 60 * self.round}").unlink()
        (self.root / f"dir51/file{51 + 60 * self.round}").chmod(0o500 + self.round % 8)
        (self.root / f"dir52/file{52 + 60 * self.round}").rename(self.root / f"dir53/moved{self.round}")
        with open(self.root / "large1", "r+b") as large:
            large.seek(self.chance.randrange(LARGE_BYTES - 100_000))
            large.write(self.chance.randbytes(100_000))

    def change_little(self):
        """What makes a small backup."""
        self.round += 1
        self.small(f"dir00/little{self.round}")


def scan(root):
    """Every entry below a directory by its path: kind, mode, time, and content or target."""
    found = {}
    for base, dirs, files in os.walk(os.fsencode(root)):
        for name in dirs + files:
            path = os.path.join(base, name)
            meta = os.lstat(path)
            if stat.S_ISLNK(meta.st_mode):
                content = os.readlink(path)
            elif stat.S_ISREG(meta.st_mode):
                with open(path, "rb") as file:
                    content = hashlib.sha256(file.read()).hexdigest()
            else:
                content = None
            found[os.path.relpath(path, os.fsencode(root))] = (oct(meta.st_mode), meta.st_mtime_ns, content)
    return found


def differences(kept, back):
    """In words; empty if there are none."""
    return [f"{path}: {kept.get(path)} became {back.get(path)}" for path in sorted(kept.keys() | back.keys())
            if kept.get(path) != back.get(path)]
