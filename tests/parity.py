"""Reference tensors of the original implementation, where a developer has them beside the project."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
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
from tools.original.names import network_state

REFERENCE = Path(__file__).parents[2] / "shared" / "parity"
Stats = Mapping[str, list[float]]  # sum and norm of every parameter, by the reference's name
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


def pairs(model: Model, older: Iterable[str]) -> list[tuple[str, torch.Tensor]]:
    """Parameters of ours by the reference's names: every one of ours, and all of its that have a use."""
    ours = dict(model.named_parameters())
    places = {name: next(iter(network_state({name: torch.zeros(2)})[0]), None) for name in older}
    # The supernet of the reference has a relation projection on the text side, which nothing uses.
    assert all(place or "linear_x_rel" in name for name, place in places.items())
    # Its statistics are of weights; architecture parameters are compared with tensors.
    assert set(places.values()) >= {name for name in ours if not name.endswith(".alpha")}
    return [(name, ours[place]) for name, place in places.items() if place]


def unfold(older: str, value: torch.Tensor, inverse: bool = False) -> torch.Tensor:
    """What the reference's LayerNorm would have where ours has its weight (or the gradient of it)."""
    if not older.endswith(".a_2"):
        return value
    n = value.numel()
    return value * ((n - 1) / n) ** (-0.5 if inverse else 0.5)


def check_gradients(model: Model, wanted: Stats, total: float) -> None:
    """Hold sums and norms of all gradients against the reference's; ``total`` is the norm of them together."""
    # Terms of a gradient's sum cancel, so what float32 leaves of it is a share of the norm, not of the sum; only where
    # all terms lean one way is the sum the larger of the two. Below 1e-7 of all gradients nothing is left but rounding:
    # a softmax does not see the bias before it.
    floor = 1e-7 * total
    for older, parameter in pairs(model, wanted):
        if parameter.grad is None:  # an operation off the path, for which the reference has zeros
            assert wanted[older] == [0.0, 0.0], older
            continue
        gradient, (whole, norm) = unfold(older, parameter.grad).double(), wanted[older]
        assert float(gradient.norm()) == pytest.approx(norm, rel=1e-3, abs=floor), older
        assert float(gradient.sum()) == pytest.approx(whole, rel=1e-3, abs=1e-3 * norm + floor), older


def check_step(model: Model, wanted: Stats, lr: float) -> None:
    """Hold sums and norms of all weights against the reference's after its first step."""
    for older, parameter in pairs(model, wanted):
        moved, (whole, norm) = unfold(older, parameter.detach(), inverse=True).double(), wanted[older]
        # The first step of Adam moves every element by lr along the sign of its gradient. Where that is rounding the
        # sign is chance: there is room for the one bias before a softmax, and for one element in two thousand.
        room = 2 * lr * (1.1 + moved.numel() / 2000)
        assert float(moved.sum()) == pytest.approx(whole, rel=0, abs=room), older
        assert float(moved.norm()) == pytest.approx(norm, rel=0, abs=room / moved.numel() ** 0.5), older
