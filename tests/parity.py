"""Reference tensors of the original implementation, where a developer has them beside the project."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from space.inputs import Inputs
from space.network import Model
from tools.older_names import network_state

REFERENCE = Path(__file__).parents[2] / "shared" / "parity"
needs_reference = pytest.mark.skipif(not REFERENCE.is_dir(), reason="the reference tensors are not here")


@cache
def load_reference(name: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Facts and tensors of one part of the reference."""
    facts = json.loads((REFERENCE / name / "facts.json").read_text())
    with np.load(REFERENCE / name / "tensors.npz") as file:
        return facts, {key: file[key] for key in file.files}


def reference(name: str) -> SimpleNamespace:
    """Facts, tensors and a batch of one part of the reference."""
    facts, tensors = load_reference(name)
    as_torch = {key: torch.from_numpy(value) for key, value in tensors.items()}
    regions, tokens = as_torch["inputs/frcn_feat"], as_torch["inputs/tok_ix"].long()
    inputs = Inputs(regions, as_torch["boxes"], as_torch["image_hw"], (regions == 0).all(-1), tokens, tokens == 0)
    return SimpleNamespace(facts=facts, tensors=as_torch, inputs=inputs)


def matching_loss(model: Model, inputs: Inputs) -> torch.Tensor:
    """The loss of image-text matching with the captions, then the images, rolled by one as negatives."""
    own, rolled = torch.arange(4), (torch.arange(4) - 1) % 4
    text, image = torch.cat((own, rolled, own)), torch.cat((own, own, rolled))
    logits = model(inputs._replace(text_index=text, image_index=image)).view(3, 4)
    return (2 * F.softplus(-logits[0]) + F.softplus(logits[1]) + F.softplus(logits[2])).sum()


def pairs(model: Model, older: dict[str, Any]) -> list[tuple[str, torch.Tensor]]:
    """Parameters of ours by the reference's names."""
    ours = dict(model.named_parameters())
    return [(name, ours[next(iter(network_state({name: torch.zeros(2)})[0]))]) for name in older]


def unfold(older: str, value: torch.Tensor, inverse: bool = False) -> torch.Tensor:
    """What the reference's LayerNorm would have where ours has its weight (or the gradient of it)."""
    if not older.endswith(".a_2"):
        return value
    n = value.numel()
    return value * ((n - 1) / n) ** (-0.5 if inverse else 0.5)
