"""Progress for anything that may take more than two seconds: what, how far, at what rate, how long still."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

T = TypeVar("T")
QUIET_SECONDS = 2.0
LINE_EVERY_SECONDS = 15.0
REFRESH_SECONDS = 0.25  # facts may have to wait for a GPU


hushed = False


def hush() -> None:
    """From now on this process shows no progress, as another one does that for it."""
    global hushed
    hushed = True


class _Rate(ProgressColumn):
    """Items a second, averaged by rich over the recent past."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.3g}/s" if task.speed else "-/s", style="cyan")


def bar(console: Console | None = None) -> Progress:
    """A progress bar in the one look that all commands share; extra facts go into the field ``facts``."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[facts]}"),
        console=console or Console(stderr=True),
        transient=True,
    )


def track(
    items: Iterable[T],
    what: str,
    total: int | None = None,
    start: int = 0,
    facts: Callable[[], str] = str,
) -> Iterator[T]:
    """Yield ``items``; once two seconds have passed show a bar, or on a plain stream a line now and then.

    Args:
        items: anything iterable.
        what: what is being done, for example ``"reading region features"``.
        total: number of items where ``len(items)`` does not say.
        start: items that were done before.
        facts: gives a few words to show beside the bar, such as the loss.
    """
    if hushed or os.environ.get("RANK", "0") != "0":  # of the processes that torchrun started, the first one speaks
        yield from items
        return
    total = total if total is not None else len(items)  # type: ignore[arg-type]
    began = said = time.monotonic()
    live = None
    try:
        for done, item in enumerate(items, start):
            now = time.monotonic()
            if sys.stderr.isatty():
                if live is None and now - began > QUIET_SECONDS:
                    live = bar()
                    live.start()
                    row = live.add_task(what, total=total, completed=done, facts=facts())
                elif live is not None and now - said > REFRESH_SECONDS:
                    live.update(row, completed=done, facts=facts())
                    said = now
            elif now - said > LINE_EVERY_SECONDS:
                rate = (done - start) / (now - began)
                left = (total - done) / rate if rate else float("inf")
                line = f"{what}: {done}/{total}  {rate:.3g}/s  {left:.0f} s left  {facts()}"
                print(line.rstrip(), file=sys.stderr, flush=True)
                said = now
            yield item
    finally:
        if live is not None:
            live.stop()
