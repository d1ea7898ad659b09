"""Processes that end with the test, however it ends, and waiting for conditions instead of hoping."""
import ctypes
import selectors
import signal
import subprocess
import sys
import time
from pathlib import Path

# Linux's own number (prctl(2)).
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)

# Where datadb-server and datadb-client lie.
PROGRAMS = Path(sys.argv[1]).resolve()


class Failed(Exception):
    """Something is not as it should be: in words."""


def die_with_the_test():
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def start(command, log, **options):
    """A process in the background whose stderr is appended to a file."""
    words = [str(word) for word in command]
    with open(log, "ab") as stderr:
        return subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=stderr, preexec_fn=die_with_the_test, **options)


def run(*command, seconds=300, **options):
    """Runs to the end, and gives what came of it, good or bad."""
    words = [str(word) for word in command]
    try:
        return subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds,
                              preexec_fn=die_with_the_test, **options)
    except subprocess.TimeoutExpired:
        raise Failed(f"no end within {seconds} s: {' '.join(words)}") from None


def must(*command, **options):
    """Runs what must succeed, and gives its stdout."""
    done = run(*command, **options)
    check(done.returncode == 0, f"{' '.join(str(word) for word in command)} ended with {done.returncode}: {done.stderr}")
    return done.stdout


def check(is_so, otherwise):
    if not is_so:
        raise Failed(otherwise)


def wait_for(what, is_so, seconds, every=0.05):
    """Waits until `is_so()` gives something true, and gives that."""
    deadline = time.monotonic() + seconds
    while not (found := is_so()):
        check(time.monotonic() < deadline, f"not within {seconds} s: {what}")
        time.sleep(every)
    return found


def first_line(process, seconds):
    """What a process says first on its stdout, a pipe of bytes that nobody has read from."""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        line = b""
        deadline = time.monotonic() + seconds
        while not line.endswith(b"\n"):
            check(selector.select(max(0, deadline - time.monotonic())), f"no word within {seconds} s")
            byte = process.stdout.read(1)
            if not byte:
                raise Failed(f"it ended before it was ready, with {process.wait()}")
            line += byte
    return line.decode()
