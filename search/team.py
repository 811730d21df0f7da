"""A weight step on several paths, each by one of the processes there are"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from common.copies import apart, processes
from common.crew import Crew, common_zeros, in_common
from engine.runtime import undrawn
from search.draws import draw_from
from search.supernet import Supernet
from space.settings import Path

Numbers = dict[str, Tensor]  # to log, detached


class Piece(NamedTuple):
    """A path of a step."""

    number: int
    path: Path
    parts: Sequence[Any]  # of the batch
    share: float  # of the step's loss
    seed: int


class Team:
    """Back-propagates on the paths of a step; a path draws from a seed of its own, wherever it runs.

    On a CPU copies of the process help, which read the weights and leave gradients in memory they have in common; the
    numbers are the same however many there are. Where processes are not copied, as on a GPU, gradients add up one path
    after the other, with all threads.

    Args:
        supernet: whose weights learn.
        learn: back-propagates on the path that stands chosen, given the parts of a batch and the share of the losses
            that counts; the numbers to log.
    """

    def __init__(self, supernet: Supernet, learn: Callable[[Sequence[Any], float], Numbers]) -> None:
        self.supernet, self.learn_path = supernet, learn
        self.weights = supernet.weights
        self.shared = False  # whether the weights are in memory in common
        self.gradients: list[list[Tensor]] = []  # of each path, or of the one that runs now: of every weight
        self.crew: Crew[Piece, tuple[Numbers, list[int]]] | None = None

    def learn(self, paths: Sequence[Path], parts: Sequence[Any]) -> Numbers:
        """The numbers of a step, averaged over the paths as the gradients are."""
        if len(paths) == 1:
            return self._run(paths[0], parts, 1.0)
        seed = int(torch.randint(2**62, ()))
        pieces = [Piece(number, path, parts, 1 / len(paths), seed + number) for number, path in enumerate(paths)]
        found = self._together(pieces) if apart(len(pieces)) else [*map(self._seeded, pieces)]
        return {name: sum(one[name] for one in found) / len(paths) for name in found[0]}

    def dismiss(self) -> None:
        """End the copies; the next step makes others, which know what this process then knows."""
        if self.crew is not None:
            self.crew.dismiss()
        self.crew, self.gradients = None, []

    def _run(self, path: Path, parts: Sequence[Any], share: float) -> Numbers:
        self.supernet.choose(path)
        return self.learn_path(parts, share)

    def _seeded(self, piece: Piece) -> Numbers:
        with undrawn(self.supernet.device):
            draw_from(piece.seed)
            return self._run(piece.path, piece.parts, piece.share)

    def _together(self, pieces: Sequence[Piece]) -> list[Numbers]:
        if self.crew is None or 1 < len(self.gradients) < len(pieces):
            self._meet(len(pieces))
        found: list[Numbers] = []
        total: dict[int, Tensor] = {}
        for numbers, reached in self.crew.do(pieces):
            gradients = self.gradients[len(found) % len(self.gradients)]
            found.append(numbers)
            for number in reached:
                known = total.get(number)
                total[number] = gradients[number].clone() if known is None else known.add_(gradients[number])
        for number, gradient in total.items():
            self.weights[number].grad = gradient
        return found

    def _meet(self, paths: int) -> None:
        self.dismiss()
        size = processes(paths)
        try:
            if size > 1 and not self.shared:
                for weight in self.weights:
                    weight.data = in_common(weight.data)
                self.shared = True
            self.gradients = [self._room() for _ in range(paths if size > 1 else 1)]
        except OSError:  # as much memory in common is not to be had
            size = 1
            self.gradients = [[torch.empty_like(weight) for weight in self.weights]]
        self.crew = Crew(self._leave, size)

    def _room(self) -> list[Tensor]:
        sizes = [weight.numel() for weight in self.weights]
        room = common_zeros(sum(sizes), self.weights[0].dtype).split(sizes)
        return [one.view(weight.shape) for one, weight in zip(room, self.weights, strict=True)]

    def _leave(self, piece: Piece) -> tuple[Numbers, list[int]]:
        """Leave a path's gradients where all find them; its numbers, and which weights have one."""
        numbers = self._seeded(piece)
        reached = [number for number, weight in enumerate(self.weights) if weight.grad is not None]
        for number in reached:
            self.gradients[piece.number % len(self.gradients)][number].copy_(self.weights[number].grad)
            self.weights[number].grad = None
        return numbers, reached
