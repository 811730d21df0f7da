"""Weights of the original implementation (MILVLG/mmnas) under our names, its LayerNorm folded into the fused one."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from torch import Tensor

# In order: the first pattern that matches a name renames it. Ours first the frame and the heads, then operations.
_PLACES = (
    (r"(embedding|lstm)\.", r"network.\1."),
    (r"imgfeat_linear\.", "network.region_projection."),
    (r"bboxfeat_linear\.", "network.box_projection."),
    (r"linear_y_rel\.", "network.relation.linear."),
    (r"backnone\.cells_enc\.0\.dag\.(\d+)\.0\.alpha_prob", r"network.backbone.encoder.\1.alpha"),
    (r"backnone\.cells_dec\.0\.dag\.(\d+)\.0\.alpha_prob", r"network.backbone.decoder.\1.alpha"),
    (
        r"backnone\.cells_enc\.0\.dag\.(\d+)\.0\.candidate_ops\.(\d+)\.",
        r"network.backbone.encoder.\1.candidates.\2.op.",
    ),
    (
        r"backnone\.cells_dec\.0\.dag\.(\d+)\.0\.candidate_ops\.(\d+)\.",
        r"network.backbone.decoder.\1.candidates.\2.op.",
    ),
    (r"backnone\.cells_enc\.0\.dag\.(\d+)\.0\.(?!alpha)", r"network.backbone.encoder.\1.op."),
    (r"backnone\.cells_dec\.0\.dag\.(\d+)\.0\.(?!alpha)", r"network.backbone.decoder.\1.op."),
    (r"attflat_x\.", "head.text."),
    (r"attflat_y\.", "head.regions."),
    (r"attfc_y\.", "head.regions."),
    (r"proj_norm\.", "head.norm."),
    (r"proj_scores\.", "head.score."),
    (r"proj_reg\.", "head.offsets."),
    (r"proj\.", "head.out."),
)
_POOLING = (
    (r"mlp\.fc\.linear\.", "score.0."),
    (r"mlp\.linear\.", "score.3."),
    (r"linear_merge\.", "merge."),
)
_OPERATION = (
    (r"mhatt\.linear_v\.", "inner.value."),
    (r"mhatt\.linear_k\.", "inner.key."),
    (r"mhatt\.linear_q\.", "inner.query."),
    (r"mhatt\.linear_r\.", "inner.relation."),
    (r"mhatt\.linear_merge\.", "inner.merge."),
    (r"(?:depthwise_conv|conv)\.", "inner.convolution."),
    (r"pointwise_conv\.", "inner.pointwise."),
    (r"(?:unit|unit_0)\.linear\.", "inner.layers.0."),
    (r"unit_1\.linear\.", "inner.layers.1."),
    (r"ln\.", "norm."),
)
_FEED_FORWARD = ((r"mlp\.fc\.linear\.", "inner.layers.0."), (r"mlp\.linear\.", "inner.layers.1."))
_FEED_FORWARD_DEEP = (
    (r"fc\.linear\.", "inner.layers.0."),
    (r"mlp\.fc\.linear\.", "inner.layers.1."),
    (r"mlp\.linear\.", "inner.layers.2."),
)


def operation_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of one operation, such as ``mhatt.linear_q.weight``, under our names."""
    feed_forward = _FEED_FORWARD_DEEP if "fc.linear.weight" in state else _FEED_FORWARD
    return dict(_entry(_rename(name, _OPERATION + feed_forward) or name, value) for name, value in state.items())


def network_state(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """The weights of a whole network under our names.

    Args:
        state: as in a checkpoint of the original implementation, with or without the prefix ``module.``.

    Returns:
        Our state dict, and the names that have no place in ours.
    """
    ours: dict[str, Tensor] = {}
    unknown: list[str] = []
    blocks: dict[str, dict[str, Tensor]] = {}
    for full, value in state.items():
        name = _rename(full.removeprefix("module."), _PLACES)
        if name is None:
            unknown.append(full)
        elif ".op." in name:
            block, _, rest = name.partition(".op.")
            blocks.setdefault(f"{block}.op.", {})[rest] = value
        else:
            new, value = _entry(name, value)
            pooling = re.match(r"head\.(text|regions)\.", new)
            tail = _rename(new[pooling.end() :], _POOLING) if pooling else None
            ours[new if tail is None else f"{new[: pooling.end()]}{tail}"] = value
    for block, held in blocks.items():
        ours.update({block + name: value for name, value in operation_state(held).items()})
    return ours, unknown


def _rename(name: str, rules: tuple[tuple[str, str], ...]) -> str | None:
    for pattern, new in rules:
        if re.match(pattern, name):
            return re.sub(f"^{pattern}", new, name)
    return None


def _entry(name: str, value: Tensor) -> tuple[str, Tensor]:
    """The older LayerNorm divides by the unbiased standard deviation; its weight takes up the ratio."""
    if name.endswith(".a_2"):
        n = max(1, value.numel())
        return f"{name[:-4]}.weight", value * math.sqrt((n - 1) / n)
    return (f"{name[:-4]}.bias" if name.endswith(".b_2") else name), value
