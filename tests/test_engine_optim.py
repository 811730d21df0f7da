"""Steps of the optimiser by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from engine.optim import adam, step


def parameter(values: list[float], gradient: list[float] | None) -> nn.Parameter:
    made = nn.Parameter(torch.tensor(values, dtype=torch.float64))
    made.grad = None if gradient is None else torch.tensor(gradient, dtype=torch.float64)
    return made


@pytest.mark.parametrize(("clip", "factor"), [(1.0, 0.2), (2.5, 0.5), (5.1, 1.0), (100.0, 1.0)])
def test_gradients_are_clipped_together_by_their_norm(clip: float, factor: float) -> None:
    one, other, still = parameter([1, 1], [3, 0]), parameter([1], [4]), parameter([1], None)
    norm = step(torch.optim.SGD([one, other, still], lr=9.0), 0.1, clip)
    assert float(norm) == pytest.approx(5)
    assert one.tolist() == pytest.approx([1 - 0.3 * factor, 1], rel=1e-5) and still.tolist() == [1]
    assert other.tolist() == pytest.approx([1 - 0.4 * factor], rel=1e-5) and one.grad is None


def test_adam_with_the_published_betas() -> None:
    moved = parameter([1.0], None)
    optimiser, value, first, second = adam([moved]), 1.0, 0.0, 0.0
    for number, gradient in enumerate((0.5, -0.25, 1.0, 1e-9), 1):
        moved.grad = torch.tensor([gradient], dtype=torch.float64)
        step(optimiser, 0.01, 1e9)
        first, second = 0.9 * first + 0.1 * gradient, 0.98 * second + 0.02 * gradient**2
        value -= 0.01 * first / (1 - 0.9**number) / (math.sqrt(second / (1 - 0.98**number)) + 1e-9)
        assert moved.item() == pytest.approx(value, rel=1e-12)
