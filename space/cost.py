"""What an architecture costs: parameters and FLOPs, counted from the modules of its blocks."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from space.backbone import Block
from space.geometry import Relation


def genotype_cost(
    encoder: Sequence[str],
    decoder: Sequence[str],
    *,
    width: int = 512,
    regions: int = 36,
    tokens: int = 14,
    head_scale: int = 1,
    relation_width: int = 64,
) -> dict[str, int]:
    """Cost of the backbone for one image and one text; embedding, LSTM and head, equal for all, are left out.

    Args:
        encoder: operations over the words.
        decoder: operations over the regions.
        width: H.
        regions: R.
        tokens: T.
        head_scale: see ModelSettings.
        relation_width: see ModelSettings.

    Returns:
        ``parameters``, ``flops`` (a multiplication and an addition are two; matrix products and convolutions only, as
        torch counts them) and the sizes they hold for.
    """
    sizes = {"width": width, "dropout": 0.0, "head_scale": head_scale, "relation_width": relation_width}
    with torch.device("meta"):
        words = [Block(name, **sizes) for name in encoder]
        images = [Block(name, **sizes) for name in decoder]
        shared = [Relation(relation_width)] if any(block.reads_boxes for block in images) else []
    flops = sum(block.op.flops(tokens, tokens) for block in words)
    flops += sum(block.op.flops(regions, tokens) for block in images)
    flops += sum(2 * regions**2 * relation.linear.weight.numel() for relation in shared)
    parameters = sum(p.numel() for module in (*words, *images, *shared) for p in module.parameters())
    return {"parameters": parameters, "flops": flops, "width": width, "regions": regions, "tokens": tokens}
