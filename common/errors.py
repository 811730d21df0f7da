"""The one exception that stands for a user's mistake, and the one place that turns it into a message."""

from __future__ import annotations

import difflib
import errno
import importlib
import os
import reprlib
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

from common.waiting import bound_waiting

SHOWN_CHARS = 60  # of a value
LONGEST = 600  # characters of a sentence, of which so many are its end
END = 250
SECONDS_TO_BE_ENDED = 20.0  # within which torchrun ends a process of a busy machine, once another one has failed
LEFT_ALONE = ("gloo", "NCCL")  # what stands in torch's words where another process of the run is gone
_BRIEF = reprlib.Repr()
_BRIEF.maxlevel, _BRIEF.maxstring, _BRIEF.maxother = 3, SHOWN_CHARS, SHOWN_CHARS


class UserError(Exception):
    """A mistake the user can mend. The text is one clear sentence: what is wrong, where, what to do.

    Whatever file names and values it was made of, it stays one line that a terminal and a log can take.
    """

    def __init__(self, text: str) -> None:
        line = text if text.isprintable() else "".join(map(_printable, text))
        super().__init__(line if len(line) <= LONGEST else f"{line[: LONGEST - END - 5]} ... {line[-END:]}")


def _printable(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode()


def brief(value: Any) -> str:
    """A value as an error shows it: never a whole page of it, nor the work of making one."""
    try:
        text = _BRIEF.repr(value)
    except ValueError:  # what Python says to a number of thousands of digits
        return f"a {type(value).__name__} of too many digits"
    return cut(text)


def why(error: BaseException) -> str:
    """What an error of a library says, in one line that is not too long."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][: 2 * SHOWN_CHARS]


def cut(text: str) -> str:
    """The beginning of a text that may be long."""
    return text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}..."


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the closest known word, or ``""`` where nothing is close."""
    names, word = list(known), word[:SHOWN_CHARS]
    close = [name for name in names if name.lower() == word.lower()] or difflib.get_close_matches(word, names, 1, 0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def check_known(flag: str, name: str, known: Iterable[str], title: str) -> None:
    """Make sure that a name is one of those known.

    Args:
        flag: what the name was given to, as the user wrote it: "DATASET", "data.split_by".
        name: the name.
        known: what it may be.
        title: for people, who it is that knows no other: "Visual grounding".

    Raises:
        UserError: it is none of them.
    """
    known = list(known)
    if name not in known:
        choice = f"{', '.join(known)}{did_you_mean(name, known)}"
        raise UserError(f"{flag}={brief(name)} is unknown to {title}; choose one of {choice}")


def run_module(name: str) -> None:
    """Run the ``main`` of a module as ``run`` does, its import included, which takes seconds where it needs torch."""
    bound_waiting()
    run(lambda: importlib.import_module(name).main())


def _tell(error: UserError) -> None:
    """Say a mistake, of the processes that torchrun started only once.

    The first one says it for all, and torchrun ends the others soon after; who alone has met one says it itself.
    """
    rank = os.environ.get("RANK", "0")
    if rank != "0":
        time.sleep(SECONDS_TO_BE_ENDED)
    print(f"{'' if rank == '0' else f'process {rank}: '}error: {error}", file=sys.stderr)


def run(main: Callable[[], int | None]) -> None:
    """Run a command's ``main`` and exit: 0 done, 2 a user's mistake (one sentence, no traceback), 130 Ctrl-C."""
    try:
        status = main() or 0
    except UserError as error:
        _tell(error)
        status = 2
    except OSError as error:
        # Asking whether a file of such a name is there already raises, wherever a path may be given.
        if error.errno != errno.ENAMETOOLONG:
            raise
        _tell(UserError(f"{brief(error.filename)} is too long for the name of a file; shorten it"))
        status = 2
    except RuntimeError as error:
        # Whoever is gone has said why, or torchrun does; it ends this process before there is more to say.
        if "RANK" in os.environ and any(sign in str(error) for sign in LEFT_ALONE):
            time.sleep(SECONDS_TO_BE_ENDED)
        raise
    except KeyboardInterrupt:
        if os.environ.get("RANK", "0") == "0":
            print("stopped", file=sys.stderr)
        status = 130
    # Only now: while an exception is handled, whatever was under way where it was raised, loader processes too, lives.
    sys.exit(status)
