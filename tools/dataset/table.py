"""Tables as people keep them, CSV, TSV or JSON: rows with their line, and columns by the names they may have."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from common.errors import UserError, cut
from common.files import read_text
from tools.dataset.collections import read_entries

WHAT = "a table with a header (.csv, .tsv), JSON objects, one a line (.jsonl), or one JSON (.json)"
DELIMITERS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
LINES = (".jsonl", ".ndjson")
WHOLE = ".json"


class Row(NamedTuple):
    """A row of a table."""

    line: int  # or the number of its entry, in a file that is one JSON
    values: dict[str, Any]  # by column in lower case; texts where the table is CSV or TSV
    fault: str = ""  # why it cannot be read


class Table(NamedTuple):
    """A table as read."""

    path: Path
    columns: list[str]  # in lower case
    rows: list[Row]
    unit: str = "line"  # what rows are counted by

    def column(self, names: Sequence[str]) -> str | None:
        """The first of several names that is a column."""
        return next((name for name in names if name in self.columns), None)

    def need(self, what: str, names: Sequence[str]) -> str:
        """The column of something.

        Raises:
            UserError: there is none.
        """
        found = self.column(names)
        if found is None:
            held = cut(", ".join(self.columns))
            raise UserError(f"{self.path} has no column of {what}: call one {' or '.join(names)} (it has {held})")
        return found


def read_table(path: Path) -> Table:
    """Read a table; its ending says of which kind it is.

    Raises:
        UserError: it is missing, of no known kind, empty, or has no header.
    """
    ending = path.suffix.lower()
    if ending in DELIMITERS:
        rows = list(_cells(path, read_text(path, WHAT), DELIMITERS[ending]))
    elif ending in LINES:
        rows = list(_lines(read_text(path, WHAT)))
    elif ending == WHOLE:
        rows = [Row(n, _lower(values.items()), fault) for n, (values, fault) in enumerate(read_entries(path), 1)]
    else:
        raise UserError(f"TABLE={path} must be {WHAT}")
    if not rows:
        raise UserError(f"{path} has no rows; it should be {WHAT}")
    # Rows that cannot be read name no columns, unless there is no other.
    held = [row.values for row in rows if not row.fault] or [rows[0].values]
    columns = list(dict.fromkeys(name for values in held for name in values))
    return Table(path, columns, rows, "entry" if ending == WHOLE else "line")


def _lines(text: str) -> Iterator[Row]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except (ValueError, RecursionError):
            values = None
        if isinstance(values, dict):
            yield Row(number, _lower(values.items()))
        else:
            yield Row(number, {}, "it is no JSON object on a line of its own")


def _cells(path: Path, text: str, delimiter: str) -> Iterator[Row]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    start = 1
    try:
        header = next(reader, [])
        names = [name.strip().lower() for name in header]
        if len(set(names)) < len(names) or not all(names):
            raise UserError(f"{path} line 1 must name every column, each once; it is {cut(delimiter.join(header))}")
        start = reader.line_num + 1
        none = dict.fromkeys(names, "")  # one for all rows that are wrong, or a short row could cost a whole header
        for cells in reader:
            if cells:
                wrong = len(cells) != len(names)
                fault = f"it has {len(cells)} cells and the header {len(names)}" if wrong else ""
                yield Row(start, none if wrong else dict(zip(names, cells, strict=True)), fault)
            start = reader.line_num + 1
    except csv.Error as error:
        # Where a quote is never closed nobody can say where the next row begins.
        raise UserError(f"{path} cannot be read from line {start} on ({error}); mend the quotes there") from error


def _lower(items: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    return {name.strip().lower(): value for name, value in items}
