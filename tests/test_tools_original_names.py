"""Weights of the original under our names: what the two ways to normalise come to."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from tools.original.names import operation_state


def test_an_imported_norm_gives_what_the_original_s_gave() -> None:
    torch.manual_seed(0)
    x, scale, shift = (torch.randn(*shape, dtype=torch.float64) for shape in ((7, 6), (6,), (6,)))
    # The original divides by the standard deviation with n - 1 below, and adds 1e-6 to it.
    wanted = scale * (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + 1e-6) + shift
    ours = operation_state({"ln.a_2": scale, "ln.b_2": shift})
    found = F.layer_norm(x, (6,), ours["norm.weight"], ours["norm.bias"], eps=1e-12)
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0)
