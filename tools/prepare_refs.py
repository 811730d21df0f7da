"""Write referring expressions as one JSON per split: ``python -m tools.prepare_refs --data data``.

Nothing needs this: grounding reads the data sets' own files. It is for people who want to look at them, or to hand
them to other tools, without loading a pickle.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from common.errors import UserError, run
from common.files import write_json
from tasks.refs import Expression, read_expressions
from tasks.vgd import DATASETS


def prepare(folder: Path, split_by: str, splits: Sequence[str]) -> list[Path]:
    """Write ``<split_by>/<split>.json`` into the folder of a data set; returns the files.

    Raises:
        UserError: the data set's files are missing or malformed.
    """
    expressions = read_expressions(folder, split_by, splits)
    written = []
    for split in splits:
        path = folder / split_by / f"{split}.json"
        if entries := [entry(one) for one in expressions if one.split == split]:
            write_json(path, entries, indent=None)
            written.append(path)
    return written


def entry(one: Expression) -> dict[str, object]:
    """An expression as other tools write it; the box is x, y, width, height as in COCO."""
    x1, y1, x2, y2 = one.box
    return {
        "ref_id": one.ref_id,
        "sent_id": one.sent_id,
        "image_id": one.image,
        "split": one.split,
        "tokens": one.tokens,
        "bbox": [x1, y1, x2 - x1 + 1, y2 - y1 + 1],
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Prepare every data set and division that is there."""
    parser = argparse.ArgumentParser(prog="python -m tools.prepare_refs", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data"), help="data root with the folder refs")
    root = parser.parse_args(arguments).data
    written = []
    for name, dataset in DATASETS.items():
        for split_by, splits in dataset.divisions.items():
            if (root / "refs" / name / f"refs({split_by}).p").exists():
                written += prepare(root / "refs" / name, split_by, splits)
    if not written:
        raise UserError(f"{root / 'refs'} holds no refs(unc).p, refs(google).p or refs(umd).p; see data/README.md")
    print("\n".join(map(str, written)))
    print(f"next: make search TASK=vgd DATA={root}")


if __name__ == "__main__":
    run(main)
