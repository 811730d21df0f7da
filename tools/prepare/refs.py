"""Referring expressions as plain JSON, a file per split: ``python -m tools.prepare.refs --data data``.

Reads the pickles of RefCOCO, RefCOCO+ and RefCOCOg under refs/ (without trusting them) and writes train.json, val.json,
testA.json, ... beside them; those of RefCOCOg's division by Google go to refs/refcocog/google/. An entry is a sentence:
{"tokens", "image_id", "bbox" (x, y, width, height in pixels), "split", "ref_id", "sent_id"}, and "width" and "height"
of the image where instances.json has them. The task reads the pickles by itself: this is for other programs, and for
machines that should hold no pickles.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common.arguments import Parser, home_path
from common.errors import UserError, run
from common.files import write_json
from readers.expressions import DIVISIONS, Expression, RefFiles, files_of, read_expressions


def entry(one: Expression) -> dict[str, Any]:
    """An expression as the JSON files have it."""
    ids = {"ref_id": one.ref_id, "sent_id": one.sent_id}
    size = dict(zip(("width", "height"), one.size or (), strict=False))
    return {"tokens": one.tokens, "image_id": one.image, "bbox": one.bbox, "split": one.split, **ids, **size}


def convert(files: RefFiles) -> dict[Path, int]:
    """Write a JSON file for every split of a division that has sentences. Returns the number of sentences by file.

    Raises:
        UserError: the pickle is broken, unsafe, or does not fit its instances.json.
    """
    expressions, counts = read_expressions(files), {}
    for split, path in files.by_split.items():
        entries = [entry(one) for one in expressions if one.split == split]
        if entries:
            write_json(path, entries, indent=None)
            counts[path] = len(entries)
    return counts


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and convert every pickle there is."""
    parser = Parser(prog="python -m tools.prepare.refs", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", type=home_path, default=Path("data"), help="the data root, which has the pickles in refs/"
    )
    root = parser.parse_args(arguments).data
    divisions = [files_of(root, name, split_by) for name, known in DIVISIONS.items() for split_by in known]
    found = [files for files in divisions if files.pickle.exists()]
    if not found:
        raise UserError(f"none of {', '.join(str(files.pickle) for files in divisions)} is there; see data/README.md")
    for files in found:
        for path, count in convert(files).items():
            print(f"{path}: {count:,} sentences")
    print(f"next: make search TASK=vgd DATA={root}")


if __name__ == "__main__":
    run(main)
