"""Contrast within a batch: the loss against the formula; negatives are never one's own, and rather the hard ones."""

from __future__ import annotations

import math

import torch

from matching.contrast import contrastive_loss, hard_negatives


def test_the_loss_counts_all_of_ones_own_equally() -> None:
    similarity = torch.tensor([[1.0, 0.0, 2.0], [0.0, 3.0, 0.5]])
    own = torch.tensor([[True, False, True], [False, True, False]])
    first = math.log(math.e + 1 + math.e**2) - (1.0 + 2.0) / 2
    second = math.log(1 + math.e**3 + math.e**0.5) - 3.0
    assert math.isclose(float(contrastive_loss(similarity, own)), first + second, rel_tol=1e-5)


def test_the_loss_falls_where_ones_own_come_closer() -> None:
    similarity = torch.zeros(4, 4, requires_grad=True)
    contrastive_loss(similarity, torch.eye(4, dtype=torch.bool)).backward()
    off = ~torch.eye(4, dtype=torch.bool)
    assert (similarity.grad.diagonal() < 0).all() and (similarity.grad[off] > 0).all()


def test_negatives_are_never_ones_own_and_hard_ones_come_more_often() -> None:
    torch.manual_seed(0)
    similarity = torch.tensor([[9.0, 0.0, math.log(3.0), 8.0]]).expand(4000, -1)
    own = torch.tensor([[True, False, False, True]]).expand(4000, -1)
    drawn = hard_negatives(similarity, own)
    assert set(drawn.tolist()) == {1, 2}
    assert abs(float((drawn == 2).float().mean()) - 0.75) < 0.03
