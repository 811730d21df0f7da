"""Draw a genotype: ``python -m tools.draw --geno mmnas_vqa``, a path, or ``path@50``; ``--out`` for one file."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from common.arguments import Parser, expanded, home_path
from common.errors import UserError, run
from genotypes.drawing import ENDINGS, draw
from genotypes.forms import split
from genotypes.genotype import Genotype, load, published
from space.cost import genotype_cost
from space.ops import OPS, check
from tasks.find import find_task

DRAWN = Path("logs/drawn")  # figures of genotypes in whose own folder there is no room for them


def default_paths(reference: str) -> list[Path]:
    """Where the figure goes by default: beside the file, or into ``DRAWN`` for a published one or an epoch."""
    path, epoch = split(reference)
    # Published genotypes belong to the program, and an epoch is one of many in its file; neither folder is for figures.
    if path in published() and not Path(path).exists():
        stem = DRAWN / path
    elif epoch is not None:
        stem = DRAWN / f"{Path(path).stem}-epoch{epoch}"
    else:
        stem = Path(path).with_suffix("")
    return [stem.with_name(stem.name + ending) for ending in (".svg", ".png")]


def title(reference: str) -> str | None:
    """What stands above the figure of a published genotype; None, which is the task, for others."""
    return reference.replace("_", " ").upper() if reference in published() and not Path(reference).exists() else None


def next_command(reference: str, genotype: Genotype) -> str:
    """The command that trains what was drawn."""
    task = "" if genotype.task else " TASK=<task>"
    return f"make retrain{task} GENO={shlex.quote(reference)}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and draw."""
    parser = Parser(prog="python -m tools.draw", description=__doc__)
    names = ", ".join(published())
    parser.add_argument("--geno", type=expanded, metavar="REF", help=f"a path, path@epoch, or one of {names}")
    parser.add_argument(
        "--out", type=home_path, metavar="FILE", help=f"the figure, ending in one of {', '.join(ENDINGS)}"
    )
    given = parser.parse_args(arguments)
    if given.geno is None:
        raise UserError(f"nothing to draw without GENO=<path, path@epoch, or {names}> (without make: --geno ...)")
    genotype = load(given.geno)
    if "." in (genotype.task or ""):
        find_task(genotype.task)  # the user's own module, which may bring operations
    check(genotype.encoder, "encoder")
    check(genotype.decoder, "decoder")
    if genotype.cost is None:
        genotype = genotype.replace(cost=genotype_cost(genotype.encoder, genotype.decoder))
    kinds = {name: operation.kind for name, operation in OPS.items()}
    for path in [given.out] if given.out else default_paths(given.geno):
        print(f"figure  {draw(genotype, path, kinds, title(given.geno))}")
    if genotype.provenance.get("moved") is False:
        print("note: no search found this genotype: it is where one began, and no alpha moved")
    print(f"next: {next_command(given.geno, genotype)}")


if __name__ == "__main__":
    run(main)
