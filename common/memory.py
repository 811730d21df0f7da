"""How much memory there is, and a bound on what reading a file may take: formats can claim more in a few bytes."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator
from pathlib import Path

# What an honest file of containers and numbers becomes in memory is some ten times as large.
TIMES, AT_LEAST = 64, 2**28
_PAGES, _MACHINE = Path("/proc/self/statm"), Path("/proc/meminfo")


def free() -> int:
    """Bytes that the machine could still give; 0 where the system does not tell."""
    if not _MACHINE.exists():
        return 0
    lines = _MACHINE.read_text(encoding="utf-8").splitlines()
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")), 0)


def peak() -> int:
    """Bytes that this process has held at most, on Linux."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@contextlib.contextmanager
def bounded(file_bytes: int) -> Iterator[None]:
    """Let memory grow by 64 times a file's size meanwhile (256 MB for small ones); beyond that is a MemoryError.

    Only where the system tells how much is taken, as Linux does. To be used where one thread works.

    Args:
        file_bytes: size of the file.
    """
    if not _PAGES.exists():
        yield
        return
    taken = int(_PAGES.read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = taken + max(AT_LEAST, TIMES * file_bytes)
    resource.setrlimit(resource.RLIMIT_AS, (most if soft == resource.RLIM_INFINITY else min(soft, most), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
