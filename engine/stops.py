"""Ctrl-C and SIGTERM where they are obeyed at once: nothing is under way that the last checkpoint does not hold"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from typing import Any

from engine.log import RunLog, Silence
from engine.run import RunFiles


@contextlib.contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """Treat SIGTERM, as batch systems send it, like Ctrl-C, and Ctrl-C alike wherever a shell started the program."""

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def told_how_to_go_on(files: RunFiles, log: RunLog | Silence) -> Iterator[None]:
    """Of a run whose epochs are over and saved: whoever stops what comes after them reads how to go on.

    Raises:
        KeyboardInterrupt: the run was told to stop.
    """
    try:
        with terminated_as_interrupted():
            yield
    except KeyboardInterrupt:
        log.info(f"all epochs are saved; {files.go_on}")
        raise
