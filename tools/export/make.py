"""Export a trained network as ONNX: ``python -m tools.export --ckpt logs/ckpts/<version>/best.pt``"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shlex
from collections.abc import Sequence
from pathlib import Path

from common.arguments import Parser, home_path
from common.errors import UserError
from common.files import atomic_write
from retrain.model import Trained, restore_alone
from tasks.base import Task
from tools.export.card import card
from tools.export.check import SIZES, Size, check, draw
from tools.export.graph import OPSET, SHOWN, Exportable, inputs_of, to_onnx

NEEDED = ("onnx", "onnxruntime")
ENDING = ".onnx"
EXAMPLE = "tools/use_onnx.py"


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, export, say how the file is used."""
    given = _parser().parse_args(arguments)
    if given.ckpt is None:
        raise UserError("nothing to export without CKPT=<the best.pt of a retraining>")
    out: Path = given.out or given.ckpt.with_suffix(ENDING)
    if out.suffix != ENDING:
        raise UserError(f"OUT={out} must be the name of a file that ends in {ENDING}")
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        remedy = "install them: .venv/bin/python -m pip install -e '.[export]'"
        raise UserError(f"make export needs the packages {' and '.join(missing)}; {remedy}")
    task, trained = restore_alone(given.ckpt, given.task)
    print(f"{given.ckpt}: {task.title}, width {trained.width}")
    written, names, off = _written(task, trained)
    beside = out.with_suffix(".json")
    facts = card(task, trained, out.name, inputs_of(task.region_width), names, off)
    facts["sha256"] = hashlib.sha256(written).hexdigest()  # tells a file that is not the one these facts are of
    with atomic_write(beside) as text, atomic_write(out, "wb") as file:
        json.dump(facts, text, indent=2, ensure_ascii=False)
        text.write("\n")
        text.flush()
        file.write(written)
    print(f"network  {out}  {len(written) / 1e6:.1f} MB, opset {OPSET}; off by {off:.1g} at most at {len(SIZES)} sizes")
    print(f"facts    {beside}")
    print(f"next: .venv/bin/python {EXAMPLE} {shlex.quote(str(out))} <image>.npz some words, which uses no torch")


def _written(task: Task, trained: Trained) -> tuple[bytes, list[str], float]:
    """The file, the inputs it has, and how far it is from torch."""
    import onnx

    network = Exportable(trained.model, task).eval()
    words, width = len(task.words), task.region_width
    inputs = inputs_of(width)
    written = to_onnx(network, inputs, draw(Size(*SHOWN), words, width, seed=len(SIZES)))
    off = check(written, network, words, width)
    return written, [one.name for one in onnx.load_from_string(written).graph.input], off


def _parser() -> Parser:
    parser = Parser(prog="python -m tools.export", description=__doc__)
    add = parser.add_argument
    add("--ckpt", type=home_path, metavar="FILE", help="the trained network, the best.pt of a retraining")
    add("--out", type=home_path, metavar="FILE", help="the ONNX file; the JSON beside it is called alike")
    add("--task", help="the task, if the checkpoint does not name it")
    return parser
