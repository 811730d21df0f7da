"""Which library multiplies matrices of fp32 on a CPU: the one that makes most of the processor"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from common import processor

SHAPES = ((1, 64, 128, 384), (1, 768, 128, 512), (512, 36, 16, 36))  # batch, rows, summed over, columns
LOST = 1e-5  # of the largest number: bf16 loses a thousandth, fp32 some ten millionths


def let_the_faster_multiply() -> None:
    """Let oneDNN multiply matrices of fp32 instead of MKL on AMD's processors with AVX-512, to the same precision.

    MKL makes do with AVX2 there (docs/performance.md). Torch asks oneDNN only where products may be rounded to bf16,
    which oneDNN does in matrix units alone, and these processors have none. Should one of its kernels round after all,
    nothing is changed, nor where somebody has chosen. From then on torch refuses the older
    ``torch.get_float32_matmul_precision``, which has no word for this.
    """
    choice = _choice()
    if choice is None or not _left_to_mkl(processor.facts()) or choice.fp32_precision != "none":
        return
    choice.fp32_precision, lost = "bf16", LOST
    try:
        lost = _lost()
    finally:
        if lost >= LOST:
            choice.fp32_precision = "none"


@contextlib.contextmanager
def as_torch_comes() -> Iterator[None]:
    """Multiply by the library that torch takes by itself, until the end of the block."""
    choice = _choice()
    if choice is None:
        yield
        return
    before = choice.fp32_precision
    choice.fp32_precision = "ieee"
    try:
        yield
    finally:
        choice.fp32_precision = before


def _choice() -> Any:
    """Where torch keeps it; older versions have none."""
    return getattr(torch.backends.mkldnn, "matmul", None)


def _left_to_mkl(facts: str) -> bool:
    return "AuthenticAMD" in facts and "avx512_bf16" in facts and "amx_" not in facts


def _lost() -> float:
    """The largest error of products of several shapes, as a share of their largest number."""
    generator = torch.Generator().manual_seed(0)
    lost = []
    for batch, rows, inner, columns in SHAPES:
        x = torch.randn(batch, rows, inner, generator=generator)
        y = torch.randn(batch, columns, inner, generator=generator)
        for left, right in ((x, y.mT), (x.mT, x), (y[0], x[0].mT)):
            exact = left.double() @ right.double()
            lost.append(float((left @ right - exact).abs().max() / exact.abs().max()))
    return max(lost)
