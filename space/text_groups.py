"""Samples in an order in which those of one text, and texts of similar length, stand side by side."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

TEXTS_OF_A_GROUP = 16  # at most: few enough to be of similar length


class TextGroup(NamedTuple):
    """Texts that equally many samples share each."""

    texts: Tensor  # (M,) rows of the texts
    words: int  # of the longest
    samples: int  # of all of them, text by text


def group_by_text(text_index: Tensor, pad: Tensor) -> tuple[Tensor, list[TextGroup]]:
    """Sort samples by the number of samples that share their text, then by their text's length, then by text.

    Args:
        text_index: (B,) row of the text of every sample.
        pad: (Q,T) bool, True = padding of the texts, each of which has a word.

    Returns:
        (B,) the samples in their new order, and the groups it falls into.
    """
    words = (~pad).sum(1)
    shared_by = text_index.bincount(minlength=len(pad))
    texts = (shared_by * (pad.shape[1] + 1) + words).argsort(stable=True)
    groups = [
        TextGroup(group, int(words[group[-1]]), count * len(group))
        for count in shared_by[shared_by > 0].unique().tolist()
        for group in texts[shared_by[texts] == count].split(TEXTS_OF_A_GROUP)
    ]
    return texts.argsort()[text_index].argsort(stable=True), groups
