"""What runs out while processes make batches is said in one sentence, and whatever else fails is left alone."""

from __future__ import annotations

import resource

import pytest

from common.errors import UserError
from common.files import OPEN_FILES, OPEN_FILES_OF_A_WORKER
from engine.shortages import allow_files, shortages_told


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            OSError(24, "Too many open files"),
            "too many open files; raise .* `ulimit -n 4096` or use fewer",
        ),
        (RuntimeError("received 0 items of ancdata"), "too many open files"),
        (
            RuntimeError("unable to open shared memory object </torch_1> in read-write mode: Too many open files (24)"),
            "too many open files",
        ),
        (RuntimeError("unable to open shared memory object </torch_1> in read-write mode"), "shared memory"),
        (RuntimeError("unable to write to file </torch_1_2>: No space left on device (28)"), "shared memory"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error. It is"), "shared memory"),
        (OSError(28, "No space left on device", "logs/log/a"), "disk .* is full; free it"),
        (BlockingIOError(11, "Resource temporarily unavailable"), "starts no more processes; raise .* `ulimit -u`"),
        (OSError(12, "Cannot allocate memory"), "lack of memory; use a smaller batch"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."), "lack of memory"),
    ],
)
def test_a_shortage_is_one_sentence(error: Exception, said: str) -> None:
    with pytest.raises(UserError, match=said), shortages_told():
        raise error


def test_other_failures_stay_what_they_are() -> None:
    with pytest.raises(RuntimeError, match="shapes"), shortages_told():
        raise RuntimeError("shapes cannot be multiplied")
    with shortages_told():
        pass


def test_files_are_allowed_for_as_far_as_the_system_lets(monkeypatch: pytest.MonkeyPatch) -> None:
    needed, granted = OPEN_FILES + 4 * OPEN_FILES_OF_A_WORKER, []
    monkeypatch.setattr(resource, "setrlimit", lambda what, limits: granted.append(limits))

    def limits(soft: int, hard: int) -> None:
        monkeypatch.setattr(resource, "getrlimit", lambda what: (soft, hard))

    limits(64, 64)
    allow_files(0)
    with pytest.raises(UserError, match=f"need {needed} open files and the system allows 64; raise"):
        allow_files(4)
    limits(needed, needed)
    allow_files(4)
    assert granted == []
    limits(64, 4096)
    allow_files(4)
    limits(64, resource.RLIM_INFINITY)
    allow_files(4)
    assert granted == [(needed, 4096), (needed, resource.RLIM_INFINITY)]
