"""What a run can run short of, for loader processes above all, in one sentence instead of torch's many."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator

from common.errors import UserError
from common.files import OPEN_FILES, OPEN_FILES_OF_A_WORKER

FEWER = "fewer loader processes (NW, without make --workers)"
# Torch and the system say it in their own words, at several places, from workers only as text: what stands in them, in
# the order in which it is looked for, what it means, what to do.
SIGNS = (
    (
        ("CUDA out of memory",),
        "the memory of the GPU is full",
        "let batches go through in parts (BS=auto or search.accumulate=auto, retrain.accumulate=auto), or choose a "
        "smaller width or precision=bf16",
    ),
    (
        ("Too many open files", "ancdata"),
        "too many open files",
        f"raise the limit with `ulimit -n 4096` or use {FEWER}",
    ),
    (
        ("out of shared memory", "shared memory object", "allocate shared memory", "Bus error", "</torch_"),
        "no room is left in shared memory (/dev/shm)",
        f"give it more (in a container --shm-size=8g) or use {FEWER}",
    ),
    (("No space left on device",), "a disk that the run writes to is full", "free it or choose another logs folder"),
    (
        ("Resource temporarily unavailable", "can't start new thread"),
        "the system starts no more processes",
        f"raise the limit with `ulimit -u` or use {FEWER}",
    ),
    (
        ("Cannot allocate memory", "DataLoader worker"),
        "a loader process could not go on, most often for lack of memory",
        f"use a smaller batch or {FEWER}",
    ),
)


def allow_files(workers: int) -> None:
    """Let this process open as many files as it needs with so many workers.

    Those that lack one fail on their own, with tracebacks or in silence, so it is settled before they start.

    Raises:
        UserError: the system's limit is below that and cannot be raised from here.
    """
    needed = OPEN_FILES + OPEN_FILES_OF_A_WORKER * workers
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if workers == 0 or allowed == resource.RLIM_INFINITY or allowed >= needed:
        return
    if most != resource.RLIM_INFINITY and most < needed:
        raise UserError(
            f"{workers} loader processes need {needed} open files and the system allows {most}; "
            f"raise the limit with `ulimit -n {max(4096, needed)}` or use {FEWER}"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, most))


@contextlib.contextmanager
def shortages_told() -> Iterator[None]:
    """Turn what the system or torch's loader raises for want of files, memory or processes into a user's error.

    Raises:
        UserError: what ran out and what to do.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        told = _told(str(error))
        if told is None:
            raise
        raise UserError(told) from error


def _told(text: str) -> str | None:
    return next((f"{what}; {remedy}" for signs, what, remedy in SIGNS if any(sign in text for sign in signs)), None)
