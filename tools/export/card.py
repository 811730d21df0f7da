"""What whoever uses an exported network has to know, as JSON: words, how texts are cut, regions, inputs, outputs"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from retrain.model import Trained
from tasks.base import Task
from texts.tokens import PUNCTUATION, TYPOGRAPHY
from texts.words import PAD, UNK
from tools.export.check import SIZES
from tools.export.graph import OPSET, Input

FORMAT = 1
STEPS = [
    "Unicode normal form NFC",
    "every character that is a key of `typography` becomes its value",
    "lower case",
    "every character that is a key of `punctuation` becomes its value",
    "cut at white space",
    "at most the first `at_most` words, unless that is null",
    "a word that is a key of `misspelt` becomes its value",
    "each word's id is its place in `words`, `unknown` where it is not there; a text without words is [`unknown`]",
]


def card(
    task: Task, trained: Trained, file: str, inputs: Mapping[str, Input], read: Iterable[str], off: float
) -> dict[str, Any]:
    """What stands in the JSON.

    Args:
        task: what the network is for, as it knows it.
        trained: the network.
        file: name of the ONNX file.
        inputs: all inputs there could be.
        read: names of those that the file has; a network that reads no boxes has no input for them.
        off: how far the file is from torch.
    """
    import onnxruntime

    genotype, data = trained.genotype, task.data
    return {
        "format": FORMAT,
        "file": file,
        "opset": OPSET,
        "task": task.name,
        "title": task.title,
        "network": {"width": trained.width, "encoder": genotype.encoder, "decoder": genotype.decoder},
        "checked": {
            "torch": torch.__version__,
            "onnxruntime": onnxruntime.__version__,
            "sizes": [size._asdict() for size in SIZES],
            "largest_difference": off,
        },
        "inputs": {name: inputs[name]._asdict() for name in read},
        "outputs": {name: {"shape": one.shape, "meaning": one.meaning} for name, one in task.outputs.items()},
        **({"answers": task.labels} if task.labels else {}),
        "regions": {
            "at_most": trained.limits.get("regions"),
            "width": task.region_width,
            "order": "the best first; the network was trained with at most `at_most` of an image, null where that is "
            "not known",
            "precision": "it was trained on features rounded to float16",
            "extractor": trained.extractor or None,
        },
        "texts": {
            "steps": STEPS,
            "segmenter": getattr(data, "segmenter", None),
            "typography": _table(TYPOGRAPHY),
            "punctuation": _table(PUNCTUATION),
            "at_most": trained.limits.get("tokens"),
            "pad": PAD,
            "unknown": UNK,
            "misspelt": task.vocabulary.misspelt,
            "words": task.words,
        },
    }


def _table(table: Mapping[int, str | int | None]) -> dict[str, str]:
    """A table of ``str.translate`` whose keys JSON can hold."""
    return {chr(key): value or "" for key, value in table.items()}
