"""How much memory there is, and a bound on what reading a file may take: formats can claim more in a few bytes."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator
from pathlib import Path

# What an honest file of containers and numbers becomes in memory is some ten times as large.
TIMES, AT_LEAST = 64, 2**28
_PAGES, _MACHINE, _GROUP = Path("/proc/self/statm"), Path("/proc/meminfo"), Path("/proc/self/cgroup")
_GROUPS = Path("/sys/fs/cgroup")


def free() -> int:
    """Bytes that the machine and this process's groups (cgroup v2) could still give; 0 where nothing tells."""
    if not _MACHINE.exists():
        return 0
    machine = _numbers(_MACHINE).get("MemAvailable:", 0) * 1024
    return max(0, min([machine, *_left_to_groups()]))


def _left_to_groups() -> Iterator[int]:
    """What each group that has a limit may still take; pages of files nobody reads just now would be given back."""
    groups = _GROUP.read_text(encoding="utf-8").splitlines() if _GROUP.exists() else []
    inner = _GROUPS / next((group[4:] for group in groups if group.startswith("0::/")), "")
    for group in (inner, *inner.parents):
        if not group.is_relative_to(_GROUPS):
            return
        with contextlib.suppress(OSError, ValueError):  # no limit, no such group from here, or none that tells
            most, taken = (int((group / name).read_text()) for name in ("memory.max", "memory.current"))
            yield most - taken + _numbers(group / "memory.stat").get("inactive_file", 0)


def _numbers(table: Path) -> dict[str, int]:
    """The first number of every line behind its name."""
    lines = (line.split() for line in table.read_text(encoding="utf-8").splitlines())
    return {line[0]: int(line[1]) for line in lines if len(line) > 1}


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
