"""A file that one process at a time holds: the kernel lets go of it when the process ends, in whatever way it ends"""

from __future__ import annotations

import contextlib
import datetime
import errno
import fcntl
import json
import os
import socket
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from common.errors import UserError

NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)  # what such file systems answer
SIGNED_BYTES = 4096  # of what a holder says of itself, at most
_open: weakref.WeakSet[IO[Any]] = weakref.WeakSet()


@contextlib.contextmanager
def held(path: Path, what: str, remedy: str, say: Callable[[str], None]) -> Iterator[IO[bytes]]:
    """Hold a file alone until the end of the block or of the process.

    Processes that are forked meanwhile, as loader processes are, do not hold it; programs that are given the open file
    do, and keep it held as long as one of them lives.

    Args:
        path: the file; its folder is there.
        what: is held, for an error to say: "the run 'a'".
        remedy: what whoever comes second can do besides waiting.
        say: is told where the file system has no locks, so that nothing is held.

    Raises:
        UserError: another process holds it, with who that is, or the file cannot be written.
    """
    try:
        file = path.open("a+b", buffering=0)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; see to that or choose another logs folder") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"{what} is held by {_holder(file)}; wait for it, stop it, or {remedy}") from error
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            say(f"note: the file system of {path.parent} has no locks; see to it that no second process takes {what}")
        _sign(file)
        yield kept_from_children(file)


def is_held(path: Path) -> bool:
    """Whether a process holds the file; as far as can be known, which is nothing on a file system without locks."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # there is no such file, or no locks
        pass
    return False


def _sign(file: IO[bytes]) -> None:
    """Say who holds the file; where there is no room left for that, it is held all the same."""
    now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    with contextlib.suppress(OSError):
        file.truncate(0)
        file.write(json.dumps({"process": os.getpid(), "host": socket.gethostname(), "since": now}).encode())


def _holder(file: IO[bytes]) -> str:
    file.seek(0)
    try:
        said = json.loads(file.read(SIGNED_BYTES))
        return f"process {said['process']} on {said['host']} since {said['since']}, or one that it started"
    except (ValueError, KeyError, TypeError):
        return "another process"


def kept_from_children(file: IO[Any]) -> IO[Any]:
    """The file, which processes that are forked from now on close at once, so that they hold no lock of it."""
    _open.add(file)
    return file


def _let_go() -> None:
    for file in [*_open]:
        file.close()


# A lock belongs to an open file and so to every copy of it, and loader processes outlive a run that is killed.
os.register_at_fork(after_in_child=_let_go)
