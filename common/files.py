"""Files that are either whole or absent, and readers whose errors name the place."""

from __future__ import annotations

import codecs
import contextlib
import errno
import json
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from common.errors import UserError

# Open at once: of a run alone, and for each loader process its pipes and what waits in them.
OPEN_FILES, OPEN_FILES_OF_A_WORKER = 64, 32


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str], mode: str = "w") -> Iterator[IO[Any]]:
    """Open a neighbour of ``path`` for writing and rename it into place once everything has reached the disk.

    A crash, a full disk or a kill leaves the old file (or none), never half a file.

    Raises:
        UserError: the folder cannot be written, or the disk is full.
    """
    path = Path(path)
    aside = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        aside = Path(name)
        # mkstemp makes private files; results are meant to be shared like any other file.
        os.chmod(aside, 0o666 & ~_umask())
        with os.fdopen(handle, mode, **({} if "b" in mode else {"encoding": "utf-8"})) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except OSError as error:
        remedy = "raise `ulimit -n`" if error.errno in (errno.EMFILE, errno.ENFILE) else _room(path.parent, aside)
        raise UserError(f"cannot write {path}: {error.strerror or error}; {remedy} or choose another folder") from error
    finally:
        if aside is not None:
            aside.unlink(missing_ok=True)


def _room(folder: Path, aside: Path | None) -> str:
    """What to free, and how much is known to be wanted."""
    with contextlib.suppress(OSError):
        if aside is not None and (written := aside.stat().st_size) >= 1e6:
            return f"free the disk that holds {folder} by more than the {written / 1e6:,.0f} MB that fitted"
    return f"free the disk that holds {folder}"


def leftovers(folder: Path) -> list[Path]:
    """What kills inside ``atomic_write`` left in a folder where nobody writes now."""
    return sorted(folder.glob(f".*.{'[a-z0-9_]' * 8}"))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_json(path: str | os.PathLike[str], value: Any, *, indent: int | None = 2) -> None:
    """Write ``value`` as JSON, whole or not at all."""
    with atomic_write(path) as file:
        json.dump(value, file, indent=indent, ensure_ascii=False)
        file.write("\n")


def read_text(path: str | os.PathLike[str], what: str) -> str:
    """Read a text file with any ends of lines, all of which become newlines.

    The text is UTF-8, or what a byte order mark at its beginning says (editors of Windows write UTF-16 so).

    Args:
        path: the file.
        what: what the file should have been, for an error to say.

    Raises:
        UserError: it is missing or cannot be read, or is no such text; the line is named.
    """
    return _plain_ends(_decoded(path, what))


def _plain_ends(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _decoded(path: str | os.PathLike[str], what: str) -> str:
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist; it should be {what}") from error
    except (OSError, ValueError) as error:  # the latter of a zero byte in the name
        raise UserError(f"cannot read {path} as {what}: {error}") from error
    encoding = next((name for mark, name in _MARKS.items() if content.startswith(mark)), "utf-8")
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path} line {line} holds bytes that are no {encoding.upper()} ({error.reason}); "
            f"it should be {what}: save it as UTF-8"
        ) from error


_STRAY = re.compile(r"\r(?!\n)")
# UTF-32's mark for little endian begins like that of UTF-16, so it is asked for first.
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def read_lines(path: str | os.PathLike[str], what: str) -> list[str]:
    """The lines of a text file as ``read_text`` reads it, without empty ones at its end.

    Only newlines end a line: ``str.splitlines`` would also cut at rarer characters that texts hold.

    Raises:
        UserError: as ``read_text``, or lines do not all end in one way, so that they cannot be counted.
    """
    text = _decoded(path, what)
    stray = _STRAY.search(text) if "\n" in text else None
    if stray or "\0" in text:
        at = stray.start() if stray else text.index("\0")
        held = "a carriage return" if stray else "a zero byte, as UTF-16 without a mark does,"
        line = text.count("\n", 0, at) + 1
        raise UserError(f"{path} line {line} holds {held} in its middle; it should be {what}: save it as UTF-8")
    lines = _plain_ends(text).rstrip("\n").split("\n")
    return [] if lines == [""] else lines


def read_json(path: str | os.PathLike[str], what: str) -> Any:
    """Read a JSON file; a malformed or truncated one is refused with its line and column."""
    try:
        return json.loads(read_text(path, what))
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise UserError(f"{path} is not valid JSON at {place} ({error.msg}); it should be {what}") from error
    except (ValueError, RecursionError) as error:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else "it holds a number of too many digits"
        raise UserError(f"cannot read {path}: {why}; it should be {what}") from error
