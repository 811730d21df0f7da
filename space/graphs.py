"""Whether the network runs to be written down as a graph, in which no value may be looked at and no size relied on"""

from __future__ import annotations

import torch
from torch import Tensor


def in_graph() -> bool:
    """Whether torch writes down what the network does (``torch.jit.trace``): one way, for whatever comes later."""
    return torch.jit.is_tracing()


def readable(x: Tensor) -> bool:
    """Whether x's values may be looked at: a GPU would have to be waited for, and a graph keeps what was seen."""
    return x.is_cpu and not in_graph()
