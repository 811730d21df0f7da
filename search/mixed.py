"""A block of the supernet: several candidate operations, of which a step runs one, or all for the gates' sake."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from space.backbone import Block
from space.context import Context


class Memory(Protocol):
    """Knows what blocks gave before, as search/prefix.py has it."""

    def recall(self, block: MixedOp, run: Callable[[], Tensor]) -> Tensor:
        """What the block gives, known or run."""


class MixedOp(nn.Module):
    """A choice among candidate operations with architecture parameters alpha.

    In a weight step only the candidate ``active`` runs. Where ``gates`` is set, the candidates in ``running`` run and
    the output is sum_i g_i o_i, whose gradient towards gate i is <dL/do, o_i> (ProxylessNAS, arXiv 1812.00332, section
    3.2); those in ``learning`` run with a graph, the others only for their gate.
    """

    def __init__(self, candidates: Sequence[str], **sizes: float) -> None:
        super().__init__()
        self.candidates = nn.ModuleList(Block(name, **sizes) for name in candidates)
        self.alpha = nn.Parameter(torch.zeros(len(candidates)))
        self.active = 0
        self.running: Sequence[int] = ()
        self.learning: Sequence[int] = ()
        self.gates: Tensor | None = None  # (len(running),)
        self.memory: Memory | None = None

    @property
    def names(self) -> list[str]:
        """The candidates' names."""
        return [block.name for block in self.candidates]

    @property
    def probabilities(self) -> Tensor:
        """(candidates,) softmax of alpha, detached, on the CPU."""
        return self.alpha.detach().float().cpu().softmax(0)

    @property
    def reads_text(self) -> bool:
        """Whether what runs now needs the text states."""
        return any(block.reads_text for block in self._now())

    @property
    def reads_boxes(self) -> bool:
        """Whether what runs now needs the relations between boxes."""
        return any(block.reads_boxes for block in self._now())

    def open(self, running: Sequence[int], gates: Tensor, learning: Sequence[int]) -> None:
        """Run several candidates from now on."""
        self.running, self.gates, self.learning = running, gates, learning

    def close(self) -> None:
        """Run the active candidate alone again."""
        self.gates = None

    def _now(self) -> list[Block]:
        numbers = [self.active] if self.gates is None else self.running
        return [self.candidates[number] for number in numbers]

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """(B,N,H) -> (B,N,H)."""
        if self.gates is None:
            run = partial(self.candidates[self.active], x, context)
            return run() if self.memory is None else self.memory.recall(self, run)
        return _Sum.apply(self.gates, *(self._run(number, x, context) for number in self.running))

    def _run(self, number: int, x: Tensor, context: Context) -> Tensor:
        with torch.set_grad_enabled(torch.is_grad_enabled() and number in self.learning):
            return self.candidates[number](x, context)


class _Sum(torch.autograd.Function):
    """sum_i g_i o_i in a few calls, however many candidates there are."""

    @staticmethod
    def forward(ctx: Any, gates: Tensor, *outputs: Tensor) -> Tensor:
        outputs = torch.stack(outputs)
        gates = gates.to(outputs.dtype)
        ctx.save_for_backward(gates, outputs if ctx.needs_input_grad[0] else None)
        # Autocast would round states that are fp32 on purpose, such as those of LayerNorm on a GPU.
        with torch.autocast(outputs.device.type, enabled=False):
            return (outputs.flatten(1).t() @ gates).view(outputs.shape[1:])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        gates, outputs = ctx.saved_tensors
        wide = torch.promote_types(gates.dtype, torch.float32)  # alpha sees small differences of large sums
        of_gates = (outputs * gradient).flatten(1).sum(1, dtype=wide) if ctx.needs_input_grad[0] else None
        learns = ctx.needs_input_grad[1:]
        return of_gates, *(gate * gradient if learn else None for gate, learn in zip(gates, learns, strict=True))
