"""A network as ONNX, for any number of samples, regions and words.

It is torch's older way (``dynamo=False``). The newer one took 13 seconds of processor time where this takes 0.7, needs
another package, and keeps the number of words that it was shown unless the LSTM is written by hand. This one is called
deprecated; the versions of torch that we allow all have it. Its own weakness, what it was shown it may keep, is why
the network goes another way here (space/graphs.py) and why nothing is written before it was held against torch at other
sizes (tools/export/check.py).
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from common.errors import UserError, why
from space.inputs import Inputs
from space.network import Model
from tasks.base import Task

OPSET = 18
MOST_BYTES = 2 * 10**9  # of one file: Protocol Buffers, ONNX's format, end at 2 GiB
SHOWN = 3, 7, 5  # samples, regions and words that the network is shown; with one of any it may go another way


class Input(NamedTuple):
    """One input of the file."""

    shape: tuple[str | int, ...]
    meaning: str


class Exportable(nn.Module):
    """A network as the file holds it: a text and an image a sample, and outputs as users have them.

    Raises:
        UserError: its task says nothing of outputs.
    """

    def __init__(self, model: Model, task: Task) -> None:
        super().__init__()
        if not task.outputs:
            raise UserError(f"{task.title} cannot be exported; a task's `outputs` and its method `export` say how")
        self.model, self.task = model, task

    def forward(self, *parts: Tensor) -> tuple[Tensor, ...]:
        """The first six parts of ``Inputs`` -> what the task's ``outputs`` say."""
        inputs = Inputs(*parts)
        return self.task.export(self.model(inputs), inputs)


def inputs_of(region_width: int) -> dict[str, Input]:
    """The inputs by name, in their order."""
    return {
        "regions": Input(
            ("batch", "regions", region_width),
            "float32: features of regions, the best first; zeros at padding",
        ),
        "boxes": Input(
            ("batch", "regions", 4),
            "float32: x1 y1 x2 y2 of each region in pixels of the image, which the network normalises itself; zeros at "
            "padding",
        ),
        "image_hw": Input(("batch", 2), "float32: height and width of the image in pixels"),
        "regions_pad": Input(("batch", "regions"), "bool: true where there is no region; one at least is none"),
        "tokens": Input(("batch", "words"), "int64: ids of words, places in `words`; 0 at padding"),
        "tokens_pad": Input(("batch", "words"), "bool: true behind the end of a text; words come first, one at least"),
    }


def to_onnx(network: Exportable, inputs: Mapping[str, Input], sample: Inputs) -> bytes:
    """Write a network down.

    Args:
        network: in eval mode, on the CPU.
        inputs: as ``inputs_of`` gives them.
        sample: what it is shown, with padding, and no two sizes alike.

    Raises:
        UserError: it is too large for one file, or an operation of the user's own cannot be written as ONNX.
    """
    size = sum(one.numel() * one.element_size() for one in network.state_dict().values())
    if size > MOST_BYTES:
        raise UserError(
            f"the network's weights take {size / 1e9:.1f} GB, and an ONNX file holds at most 2; train one of less width"
        )
    outputs = network.task.outputs
    shapes = {name: one.shape for name, one in (*inputs.items(), *outputs.items())}
    free = {name: {axis: one for axis, one in enumerate(shape) if _varies(one)} for name, shape in shapes.items()}
    written = io.BytesIO()
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # that it is deprecated, and keeps what it is shown: the check sees to that
            torch.onnx.export(
                network,
                tuple(sample[: len(inputs)]),
                written,
                dynamo=False,
                opset_version=OPSET,
                input_names=[*inputs],
                output_names=[*outputs],
                dynamic_axes=free,
            )
    except Exception as error:  # of many kinds, as an operation has no counterpart or cannot be traced
        raise UserError(f"the network cannot be written as ONNX ({why(error)}); nothing is written") from error
    return written.getvalue()


def _varies(axis: str | int) -> bool:
    return axis in ("batch", "regions", "words")
