"""How much memory there is: what the machine has, or less where a group of processes has a limit."""

from __future__ import annotations

from pathlib import Path

import pytest

from common import memory


def group(folder: Path, most: str, taken: int, unread: int) -> None:
    """A group of cgroup v2 as the kernel shows it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{most}\n")
    (folder / "memory.current").write_text(f"{taken}\n")
    (folder / "memory.stat").write_text(f"anon 7\ninactive_file {unread}\nactive_file 5\n")


@pytest.mark.parametrize(
    ("own", "outer", "left"),
    [
        (("max", 900, 50), ("max", 900, 50), 4_096_000),
        (("5000", 900, 50), ("max", 900, 50), 4150),  # pages of files that nobody reads are given back
        (("5000", 900, 50), ("3000", 2900, 100), 200),  # the job's limit, not the step's
        (("5000", 5100, 0), ("max", 5100, 0), 0),
        (("9000000", 900, 50), ("max", 900, 50), 4_096_000),
        (None, ("3000", 2900, 100), 200),
        (None, None, 4_096_000),
    ],
)
def test_the_narrowest_limit_counts(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    own: tuple[str, int, int] | None,
    outer: tuple[str, int, int] | None,
    left: int,
) -> None:
    machine, mine, groups = tmp_path / "meminfo", tmp_path / "cgroup", tmp_path / "groups"
    machine.write_text("MemTotal:        9000 kB\nMemAvailable:    4000 kB\nHugePages_Total:       0\n")
    mine.write_text("4:memory:/elsewhere\n0::/job/step\n")
    for name, path in (("_MACHINE", machine), ("_GROUP", mine), ("_GROUPS", groups)):
        monkeypatch.setattr(memory, name, path)
    for folder, limit in ((groups / "job" / "step", own), (groups / "job", outer)):
        if limit is not None:
            group(folder, *limit)
    assert memory.free() == left


def test_where_nothing_tells_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_MACHINE", tmp_path / "meminfo")
    assert memory.free() == 0


def test_this_machine_tells() -> None:
    assert memory.peak() > 0 and (memory.free() > 0) == Path("/proc/meminfo").exists()
