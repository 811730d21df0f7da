"""Region features of pictures: ``python -m tools.features --pictures folder --data root``; stopped, it goes on."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from common.arguments import Parser, home_path
from common.errors import UserError, run
from common.processor import cores
from engine.runtime import one_device
from pictures.contract import Extractor
from pictures.extraction import Extracted, extract_folder
from pictures.finding import PICTURES
from pictures.listing import Folder, list_pictures
from pictures.registry import find_extractor
from tools.dataset.layouts import OWN
from tools.dataset.made import made_for

USUAL = "features"  # the folder of features of a root that no data set was made in
LARGE = 20_000  # pictures from which on networks of the published size are worth their time
MOST_SHOWN = 20
MOST_WORKERS = 4


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, extract folder by folder, sum up."""
    given = _parser().parse_args(arguments)
    root: Path = given.data
    task = made_for(root)
    pictures = given.pictures or (root / PICTURES if task else None)
    if pictures is None and not root.is_dir():
        raise UserError(f"the data root {root} does not exist; name another as DATA, or say PICTURES=<their folder>")
    if pictures is None:
        raise UserError("no pictures without PICTURES=<their folder>")
    if given.bs is not None and given.bs < 1:
        raise UserError(f"BS={given.bs}: it takes 1 picture at once, or more")
    if given.nw is not None and given.nw < 0:
        raise UserError(f"NW={given.nw}: it takes 0 processes, or more")
    base = root / (given.features or (OWN[task].features if task else USUAL))
    if not base.is_relative_to(root):
        raise UserError(f"FEATURES={given.features} must be the name of a folder below {root}")
    folders = list_pictures(pictures)
    extractor = find_extractor(given.extractor, one_device(given.gpu))
    extractor.batch = given.bs or extractor.batch
    workers = min(MOST_WORKERS, cores() - 1) if given.nw is None else given.nw
    told = [_extract(folder, extractor, base, workers, given.npz) for folder in folders]
    refused = [line for lines in told for line in lines]
    if refused:
        print(f"refused: {len(refused)} of {sum(len(f.pictures) + len(f.twins) for f in folders)} pictures")
        print(
            *refused[:MOST_SHOWN],
            *([f"... and {len(refused) - MOST_SHOWN} more"] * (len(refused) > MOST_SHOWN)),
            sep="\n",
        )
    more = OWN[task].arguments if task else f" ARGS=data.features={base.relative_to(root)}"
    small = "PROFILE=mini " if sum(len(folder.pictures) for folder in folders) < LARGE else ""
    print(f"next: make search TASK={task or '...'} {small}DATA={root}{more}")


def _extract(folder: Folder, extractor: Extractor, base: Path, workers: int, npz: bool) -> list[str]:
    """Extract one folder and say what stands. Returns a line for each picture that was refused."""
    target = base / folder.place
    done: Extracted = extract_folder(folder, extractor, target, workers, npz)
    pack = done.pack
    again = f", {done.before:,} of them before" if done.before else ""
    size = (
        f"{len(pack):,} pictures{again}, {len(pack.boxes):,} regions of width {pack.width}, {pack.bytes / 1e6:.1f} MB"
    )
    print(f"{target}: {size} in {pack.path}")
    for one in done.noted[:MOST_SHOWN]:
        print(f"note: {one.stem}: {one.note}", file=sys.stderr)
    twins = [f"{path}: another picture of this folder has this name with another ending" for path in folder.twins]
    return [one.refused for one in done.refused] + twins


def _parser() -> Parser:
    parser = Parser(prog="python -m tools.features", description=__doc__)
    add = parser.add_argument
    add("--pictures", type=home_path, help="folder of pictures; each folder below it gets features of its own")
    add("--data", type=home_path, default=Path("data"), help="the data root that gets the features")
    add("--extractor", default="grid", help="grid, transformers:<folder or name>, or a class of yours, module:Class")
    add("--features", help="folder of the features below the root, instead of the data set's own")
    add("--npz", action="store_true", help="also write a file of features per picture")
    add("--gpu", default="", help="number of the GPU, or cpu")
    add("--nw", type=int, help="processes that read pictures")
    add("--bs", type=int, help="pictures at once")
    return parser


if __name__ == "__main__":
    run(main)
