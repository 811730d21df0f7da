"""A weight step on several paths, each by one of the processes there are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from common.copies import apart
from common.crew import Crew, in_common
from engine.runtime import undrawn
from search.supernet import Supernet
from space.settings import Path

Piece = tuple[int, Path, Sequence[Any], float, int]  # number of the path, path, parts of the batch, share, seed


class Team:
    """Back-propagates on the paths of a step; the gradients are the same however many processes share them.

    On a CPU copies of the process help, which read the weights and leave gradients in memory they have in common. Where
    there are none, as on a GPU, gradients add up one path after the other.

    Args:
        supernet: whose weights learn.
        learn: back-propagates on the path that stands chosen, given the parts of a batch and the share of the losses
            that counts; the numbers to log.
    """

    def __init__(self, supernet: Supernet, learn: Callable[[Sequence[Any], float], dict[str, Tensor]]) -> None:
        self.supernet, self.learn_path = supernet, learn
        self.weights = supernet.weights
        self.gradients: list[list[Tensor]] = []  # of every path, of every weight
        self.crew: Crew[Piece, tuple[dict[str, Tensor], list[int]]] | None = None

    def learn(self, paths: Sequence[Path], parts: Sequence[Any]) -> dict[str, Tensor]:
        """The numbers of a step, averaged over the paths as the gradients are."""
        if len(paths) == 1:
            return self._run(paths[0], parts, 1.0)
        seed = int(torch.randint(2**62, ()))  # so that a path draws the same wherever it runs
        pieces = [(number, path, parts, 1 / len(paths), seed + number) for number, path in enumerate(paths)]
        found = self._together(pieces) if apart(len(paths)) else [*map(self._alone, pieces)]
        return {name: sum(one[name] for one in found) / len(paths) for name in found[0]}

    def dismiss(self) -> None:
        """Let the copies go until the next step."""
        self.crew = None

    def _run(self, path: Path, parts: Sequence[Any], share: float) -> dict[str, Tensor]:
        self.supernet.choose(path)
        return self.learn_path(parts, share)

    def _alone(self, piece: Piece) -> dict[str, Tensor]:
        _, path, parts, share, seed = piece
        with undrawn(self.supernet.device):
            torch.manual_seed(seed)
            return self._run(path, parts, share)

    def _together(self, pieces: Sequence[Piece]) -> list[dict[str, Tensor]]:
        if self.crew is None:
            self._meet(len(pieces))
        found = self.crew.do(pieces)
        for (_, reached), gradients in zip(found, self.gradients, strict=True):
            for number in reached:
                weight, gradient = self.weights[number], gradients[number]
                weight.grad = gradient if weight.grad is None else weight.grad.add_(gradient)
        return [numbers for numbers, _ in found]

    def _meet(self, paths: int) -> None:
        if not self.gradients:
            for weight in self.weights:
                weight.data = in_common(weight.data)
            self.gradients = [[in_common(weight.detach()) for weight in self.weights] for _ in range(paths)]
        self.crew = Crew(self._left, paths)

    def _left(self, piece: Piece) -> tuple[dict[str, Tensor], list[int]]:
        """Leave a path's gradients where all find them; its numbers, and which weights have one."""
        numbers = self._alone(piece)
        reached = [number for number, weight in enumerate(self.weights) if weight.grad is not None]
        for number in reached:
            self.gradients[piece[0]][number].copy_(self.weights[number].grad)
            self.weights[number].grad = None
        return numbers, reached
