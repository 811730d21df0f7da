"""A task's model from its vocabulary, its features and a recipe for the blocks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from torch import nn

from space.backbone import Backbone
from space.network import Model, Network
from space.settings import ModelSettings
from tasks.base import Task


def assemble(
    task: Task,
    settings: ModelSettings,
    width: int,
    blocks: Callable[..., tuple[list[nn.Module], list[nn.Module]]],
    vectors: np.ndarray | None = None,
) -> Model:
    """Build a model.

    Args:
        task: gives vocabulary, the features' width and the head.
        settings: sizes.
        width: H.
        blocks: called with the sizes of an operation (``width, dropout, head_scale, relation_width``); returns the
            encoder's and the decoder's blocks.
        vectors: (words, d) vectors that the word embedding starts from; None to start from nothing.

    Raises:
        UserError: the sizes do not go with the task's data section.
    """
    task.check_model(settings)
    encoder, decoder = blocks(
        width=width,
        dropout=settings.dropout,
        head_scale=settings.head_scale,
        relation_width=settings.relation_width,
    )
    network = Network(
        Backbone(encoder, decoder),
        words=len(task.words),
        region_width=task.region_width,
        width=width,
        word_width=settings.word_width if vectors is None else vectors.shape[1],
        relation_width=settings.relation_width,
        bbox_features=settings.bbox_features,
        align_width=settings.align_width,
        embedding_dropout=settings.embedding_dropout,
    )
    if vectors is not None:
        network.start_from(vectors)
    return Model(network, task.head(width, settings.pool_hidden, settings.dropout))
