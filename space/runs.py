"""Samples in an order in which those of one text, and texts of similar length, stand side by side."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

TOGETHER = 16  # texts of a run at most: few enough to be of similar length


class Run(NamedTuple):
    """M texts that equally many samples share each, and these samples, text by text."""

    texts: Tensor  # (M,) rows of the texts
    words: int  # of the longest
    samples: slice


def by_text(text_index: Tensor | None, pad: Tensor) -> tuple[Tensor, list[Run]]:
    """Sort samples by the number of samples that share their text, then by their text's length, then by text.

    Args:
        text_index: (B,) row of the text of every sample; None = row b.
        pad: (Q,T) bool, True = padding of the texts.

    Returns:
        (B,) the samples in their new order, and the runs it falls into.
    """
    words = (~pad).sum(1)
    text_index = torch.arange(len(pad), device=pad.device) if text_index is None else text_index
    counts = text_index.bincount(minlength=len(pad))
    texts = (counts * (pad.shape[1] + 1) + words).argsort(stable=True)
    runs, start = [], 0
    for each in counts[counts > 0].unique().tolist():
        for some in texts[counts[texts] == each].split(TOGETHER):
            end = start + each * len(some)
            runs.append(Run(some, int(words[some[-1]]), slice(start, end)))
            start = end
    return texts.argsort()[text_index].argsort(stable=True), runs
