"""A batch in parts and among processes, by hand: what adds up, what is a mean, and who only keeps company."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from engine.distributed import Ranks
from engine.learning import add_up, learn, whole_totals


class Part(NamedTuple):
    """Some numbers."""

    x: Tensor
    totals: Mapping[str, float]
    share: float


def part(x: list[float], share: float) -> Part:
    return Part(torch.tensor(x), {"above": float(sum(one > 0 for one in x))}, share)


class Beside(Ranks):
    """A process of two, the other one of which has certain numbers."""

    def __init__(self, *others: float) -> None:
        super().__init__(0, 2)
        self.others = others

    def add(self, *arrays: np.ndarray) -> None:
        for array in arrays:
            array += np.array(self.others)

    def add_tensors(self, tensors: list[Tensor]) -> None:
        for tensor in tensors:
            tensor += torch.tensor(self.others)


@pytest.mark.parametrize("parts", [[part([1, -2, 3, 4], 1.0)], [part([1, -2, 3], 0.75), part([4], 0.25)]])
@pytest.mark.parametrize("company", [[], [part([9], 0.0)]])
def test_a_batch_comes_to_the_same_however_it_is_divided(parts: list[Part], company: list[Part]) -> None:
    weight = nn.Parameter(torch.tensor(2.0))

    def losses_of(given: Part) -> dict[str, Tensor]:
        summed, divided = weight * given.x.sum(), weight * given.x.sum() / given.totals["above"]
        return {"loss": summed + divided, "box_loss": divided, "accuracy": (given.x > 0).float().mean()}

    whole = whole_totals([*parts, *company], Ranks())
    found = learn(whole, losses_of, lambda loss: loss.backward())
    # By hand: the numbers add up to 6, three of four are above 0.
    assert {name: float(value) for name, value in found.items()} == pytest.approx(
        {"loss": 2 * 6 + 2 * 6 / 3, "box_loss": 2 * 6 / 3, "accuracy": 0.75}
    )
    assert float(weight.grad) == pytest.approx(6 + 6 / 3)
    assert not any(value.requires_grad for value in found.values())


def test_totals_and_numbers_are_those_of_all_processes() -> None:
    (told,) = whole_totals([part([1, -2, 3, 4], 0.5)], Beside(2.0))
    assert told.totals == {"above": 5.0}
    assert [one.totals for one in whole_totals([Part(torch.ones(1), {}, 1.0)], Beside())] == [{}]
    found = add_up({"loss": torch.tensor(1.0), "accuracy": torch.tensor(0.5)}, Beside(2.0, 0.25))
    assert {name: float(value) for name, value in found.items()} == {"loss": 3.0, "accuracy": 0.75}
