"""Which library multiplies fp32: oneDNN on AMD's processors with AVX-512, if no digit is lost; else torch's own."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch

from common import processor, products

ZEN_5 = "vendor_id : AuthenticAMD\nflags : fpu avx2 avx512f avx512_bf16"
CHOICE = getattr(torch.backends.mkldnn, "matmul", None)
needs_choice = pytest.mark.skipif(CHOICE is None, reason="this torch leaves no choice")


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """The choice as it was, behind the test; without one until then."""
    before = getattr(CHOICE, "fp32_precision", None)
    if CHOICE is not None:
        CHOICE.fp32_precision = "none"
    yield
    if CHOICE is not None:
        CHOICE.fp32_precision = before


@needs_choice
@pytest.mark.parametrize(
    ("facts", "lost", "taken"),
    [
        (ZEN_5, 5e-7, "bf16"),
        (ZEN_5, 4e-3, "none"),  # a kernel rounds to bf16 after all
        (ZEN_5.replace(" avx512_bf16", ""), 5e-7, "none"),
        (f"{ZEN_5} amx_bf16", 5e-7, "none"),  # matrix units would round
        (ZEN_5.replace("AuthenticAMD", "GenuineIntel"), 5e-7, "none"),
        ("", 5e-7, "none"),
    ],
)
def test_onednn_multiplies_on_amd_processors_with_avx_512(
    monkeypatch: pytest.MonkeyPatch, facts: str, lost: float, taken: str
) -> None:
    CHOICE.fp32_precision = "none"
    monkeypatch.setattr(processor, "facts", lambda: facts)
    monkeypatch.setattr(products, "_lost", lambda: lost)
    products.let_the_faster_multiply()
    assert CHOICE.fp32_precision == taken


@needs_choice
@pytest.mark.parametrize("chosen", ["ieee", "bf16"])
def test_whoever_has_chosen_keeps_it(monkeypatch: pytest.MonkeyPatch, chosen: str) -> None:
    CHOICE.fp32_precision = chosen
    monkeypatch.setattr(processor, "facts", lambda: ZEN_5)
    monkeypatch.setattr(products, "_lost", lambda: 4e-3 if chosen == "bf16" else 5e-7)
    products.let_the_faster_multiply()
    assert CHOICE.fp32_precision == chosen


@needs_choice
def test_where_it_cannot_be_looked_at_nothing_is_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> float:
        raise MemoryError

    CHOICE.fp32_precision = "none"
    monkeypatch.setattr(processor, "facts", lambda: ZEN_5)
    monkeypatch.setattr(products, "_lost", full)
    with pytest.raises(MemoryError):
        products.let_the_faster_multiply()
    assert CHOICE.fp32_precision == "none"


@needs_choice
def test_torchs_own_library_for_a_while() -> None:
    CHOICE.fp32_precision = "bf16"

    @products.as_torch_comes()
    def inside() -> str:
        return CHOICE.fp32_precision

    assert [inside(), inside(), CHOICE.fp32_precision] == ["ieee", "ieee", "bf16"]


def test_a_torch_without_the_choice_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "facts", lambda: ZEN_5)
    monkeypatch.setattr(torch.backends, "mkldnn", SimpleNamespace())
    products.let_the_faster_multiply()
    with products.as_torch_comes():
        pass


def test_products_of_fp32_keep_their_digits_on_this_machine() -> None:
    products.let_the_faster_multiply()
    assert products._lost() < products.LOST


def test_a_loss_of_digits_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    class Rounded(torch.overrides.TorchFunctionMode):
        """Products of fp32 as bf16 has them."""

        def __torch_function__(self, func, types, args=(), kwargs=None):
            rounds = func is torch.Tensor.matmul and args[0].dtype == torch.float32
            return func(*(arg.bfloat16().float() if rounds else arg for arg in args), **(kwargs or {}))

    assert products._lost() < products.LOST
    with Rounded():
        assert products._lost() > products.LOST
