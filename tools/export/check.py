"""An exported network held against torch before anybody gets it: at other sizes than it was shown, with padding."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from common.errors import UserError, why
from common.progress import track
from space.inputs import Inputs
from texts.words import UNK
from tools.export.graph import Exportable

TOLERANCE = 1e-5  # of the largest number of an output, or of 1 where all are smaller


class Size(NamedTuple):
    """Of a batch that both sides are given."""

    batch: int
    regions: int
    words: int
    padded: bool = True


# One sample and several, few regions and many, short texts and long ones, with padding and without.
SIZES = (
    Size(1, 1, 1, padded=False),
    Size(1, 36, 9, padded=False),
    Size(1, 4, 30),
    Size(2, 100, 1),
    Size(2, 2, 50),
    Size(5, 23, 14),
)


def draw(size: Size, words: int, region_width: int, seed: int) -> Inputs:
    """A batch drawn at random: numbers of regions and words from one to the most.

    Args:
        size: of the batch; where it is padded, the first of several fills it and the last has one of each.
        words: size of the vocabulary.
        region_width: D.
        seed: of the drawing.
    """
    rng = np.random.default_rng(seed)
    hw = rng.uniform(100, 900, (size.batch, 1, 2))
    ends = np.sort(rng.uniform(0, 1, (size.batch, 2, size.regions, 2)), 1) * (hw[:, None, :, ::-1] - 1)
    regions_pad, tokens_pad = (_pad(rng, size, most) for most in (size.regions, size.words))
    regions = rng.normal(size=(size.batch, size.regions, region_width))
    tokens = rng.integers(UNK, words, (size.batch, size.words))
    return Inputs(
        torch.from_numpy(np.where(regions_pad[..., None], 0, regions)).float(),
        torch.from_numpy(np.where(regions_pad[..., None], 0, np.concatenate((ends[:, 0], ends[:, 1]), -1))).float(),
        torch.from_numpy(hw[:, 0]).float(),
        torch.from_numpy(regions_pad),
        torch.from_numpy(np.where(tokens_pad, 0, tokens)),
        torch.from_numpy(tokens_pad),
    )


def _pad(rng: np.random.Generator, size: Size, most: int) -> np.ndarray:
    real = rng.integers(1, most + 1, size.batch) if size.padded else np.full(size.batch, most)
    if size.padded:
        real[0], real[-1] = most, 1
    return np.arange(most) >= real[:, None]


def check(written: bytes, network: Exportable, words: int, region_width: int) -> float:
    """Hold a file against torch at all SIZES.

    Args:
        written: the file.
        network: what it was made of.
        words: size of the vocabulary.
        region_width: D.

    Returns:
        The largest difference of all outputs, as a share of the largest number of its output, or of 1.

    Raises:
        UserError: the file cannot be run, gives other shapes, or differs by more than TOLERANCE.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()  # beside other runs no more than torch takes
    try:
        session = onnxruntime.InferenceSession(written, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # of kinds of its own
        raise UserError(f"onnxruntime cannot read what torch wrote ({why(error)}); nothing is written") from error
    found = 0.0
    for seed, size in enumerate(track(SIZES, "holding the file against torch")):
        inputs = draw(size, words, region_width, seed)
        with torch.no_grad():
            wanted = network(*inputs[:6])
        try:
            given = session.run(None, {one.name: getattr(inputs, one.name).numpy() for one in session.get_inputs()})
        except Exception as error:
            raise UserError(f"{_at(size)} onnxruntime stops ({why(error)}); nothing is written") from error
        for (name, output), one, other in zip(network.task.outputs.items(), wanted, given, strict=True):
            unsure = None if output.unsure is None else output.unsure(*wanted)
            off = difference(one, torch.from_numpy(other), unsure)
            if not off <= TOLERANCE:
                raise UserError(
                    f"{_at(size)} the output {name} of the ONNX file differs from torch by {off:.2g} of its size, more "
                    f"than the {TOLERANCE:.0e} allowed; nothing is written"
                )
            found = max(found, off)
    return found


def difference(wanted: Tensor, given: Tensor, unsure: Tensor | None = None) -> float:
    """The largest difference as a share of the largest wanted number, or of 1; infinite where shapes differ.

    Args:
        wanted: (B,...).
        given: the same of the other side.
        unsure: (B,) bool, samples that are not compared; None for none.
    """
    if wanted.shape != given.shape:
        return float("inf")
    off = (wanted - given).abs()
    off = off if unsure is None else off[~unsure]
    return float(off.max() / wanted.abs().max().clamp(min=1)) if off.numel() else 0.0


def _at(size: Size) -> str:
    return f"at {size.batch} samples, {size.regions} regions and {size.words} words"
