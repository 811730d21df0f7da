"""Ways back written by hand, against autograd's own and finite differences; states without padding."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from space.by_hand import feed_forward, residual_norm
from space.dropout import drop
from space.padding import Padding, rounded
from space.weigh import weigh, weigh_folded

HEADS, WIDTH = 2, 8


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def layers(*sizes: int) -> nn.ModuleList:
    torch.manual_seed(0)
    return nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes)).double()


def normed(p: float) -> tuple[Callable[..., Tensor], Callable[..., Tensor], list[Tensor]]:
    norm = nn.LayerNorm(WIDTH).double()

    def plain(x: Tensor, change: Tensor, *_: Tensor) -> Tensor:
        return norm(x + fallen(change, p))

    given = [numbers(3, 5, WIDTH), numbers(3, 5, WIDTH, seed=1), norm.weight, norm.bias]
    return lambda x, change, *_: residual_norm(x, change, norm, p), plain, given


def fed(p: float) -> tuple[Callable[..., Tensor], Callable[..., Tensor], list[Tensor]]:
    two = layers(WIDTH, 16, 16, WIDTH)

    def plain(x: Tensor, *_: Tensor) -> Tensor:
        for layer in two[:-1]:
            x = fallen(layer(x).relu(), p)
        return two[-1](x)

    return lambda x, *_: feed_forward(x, two, p), plain, [numbers(3, 5, WIDTH), *two.parameters()]


def textbook(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, p: float) -> Tensor:
    q, k, v = (part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in (q, k, v))
    logits = q @ k.mT / q.shape[-1] ** 0.5
    weights = (logits if bias is None else logits + bias).softmax(-1)
    return (fallen(weights.flatten(0, 1), p).view(weights.shape) @ v).transpose(1, 2).flatten(2)


def attending(p: float, biased: bool = True) -> tuple[Callable[..., Tensor], Callable[..., Tensor], list[Tensor]]:
    given = [numbers(3, 5, 3 * WIDTH), *([numbers(3, HEADS, 5, 5, seed=1)] if biased else [])]
    return (
        lambda x, bias=None: weigh(x, None, HEADS, bias, p),
        lambda x, bias=None: textbook(*x.chunk(3, -1), bias, p),
        given,
    )


def asking(p: float) -> tuple[Callable[..., Tensor], Callable[..., Tensor], list[Tensor]]:
    def plain(x: Tensor, answers: Tensor, bias: Tensor) -> Tensor:
        return textbook(x, *answers.chunk(2, -1), bias, p)

    given = [numbers(3, 5, WIDTH), numbers(3, 4, 2 * WIDTH, seed=1), numbers(3, 1, 1, 4, seed=2)]
    return lambda x, answers, bias: weigh(x, answers, HEADS, bias, p), plain, given


def folded(p: float) -> tuple[Callable[..., Tensor], Callable[..., Tensor], list[Tensor]]:
    bias = numbers(3, 1, 1, 4, seed=2).detach()

    def plain(x: Tensor, answers: Tensor, query: Tensor, merge: Tensor) -> Tensor:
        return textbook(x @ query.t(), *answers.chunk(2, -1), bias, p) @ merge.t()

    sides = numbers(3, 5, 6), numbers(3, 4, 2 * WIDTH, seed=1), numbers(WIDTH, 6, seed=3), numbers(6, WIDTH, seed=4)
    return lambda x, answers, *ways: weigh_folded(x, answers, *ways, HEADS, bias, p), plain, list(sides)


def fallen(x: Tensor, p: float) -> Tensor:
    if not p:
        return x
    _, kept, scale = drop(x.detach(), p)
    return x * kept.to(x.dtype) * scale


CASES = {"norm": normed, "feed forward": fed, "self": attending, "asking": asking, "folded": folded}


@pytest.mark.parametrize("p", [0.0, 0.3])
@pytest.mark.parametrize("name", [name for name in CASES if name != "folded"])
def test_as_autograd_has_it(name: str, p: float) -> None:
    by_hand, plain, given = CASES[name](p)
    torch.manual_seed(1)
    made = by_hand(*given)
    torch.manual_seed(1)
    wanted = plain(*given)
    torch.testing.assert_close(made, wanted)
    up = torch.randn(made.shape, dtype=torch.float64)
    gradients = (torch.autograd.grad(out, given, up) for out in (made, wanted))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(("name", "p"), [(name, p) for name in ("norm", "feed forward") for p in (0.0, 0.3)])
def test_the_calls_of_a_gpu_come_to_the_same(name: str, p: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "is_cpu", False, raising=False)
    test_as_autograd_has_it(name, p)


@pytest.mark.parametrize("name", CASES)
def test_as_finite_differences_have_it(name: str) -> None:
    by_hand, plain, given = CASES[name](0.0)
    torch.testing.assert_close(by_hand(*given), plain(*given))
    assert torch.autograd.gradcheck(by_hand, given)


def test_attention_without_a_bias() -> None:
    by_hand, plain, given = attending(0.0, biased=False)
    torch.testing.assert_close(by_hand(*given), plain(*given))
    assert torch.autograd.gradcheck(by_hand, given)


def test_the_way_back_of_folded_attention_drops_what_the_way_there_dropped() -> None:
    by_hand, _, given = folded(0.3)

    def seeded(*given: Tensor) -> Tensor:
        torch.manual_seed(1)
        return by_hand(*given)

    assert torch.autograd.gradcheck(seeded, given)


@pytest.mark.parametrize("name", ["feed forward", "folded"])
def test_weights_that_do_not_learn_cost_no_gradient(name: str) -> None:
    by_hand, _, (x, *others) = CASES[name](0.0)
    weights, taken = others if name == "feed forward" else others[1:], []
    for learns in (True, False):
        for weight in weights:
            weight.requires_grad_(learns).grad = None
        out = by_hand(x, *others)
        with FlopCounterMode(display=False) as counter:
            out.sum().backward()
        taken.append(counter.get_total_flops())
        assert all((weight.grad is not None) == learns for weight in weights)
    assert taken[1] < 0.8 * taken[0]


def test_few_numbers_of_rows_occur_in_bf16_and_none_is_an_eighth_too_large() -> None:
    assert all(rounded(rows) == rows for rows in range(1, 3000))
    with torch.autocast("cpu"):
        for rows in range(1, 3000):
            assert rows <= rounded(rows) <= rows * 9 / 8
        assert [rounded(rows) for rows in (1, 15, 16, 17, 511, 513)] == [1, 15, 16, 18, 512, 576]
        assert len({rounded(rows) for rows in range(512, 1024)}) == 9


@contextlib.contextmanager
def poisoned() -> Iterator[None]:
    """New memory holds no numbers, which by luck it often does: zeros."""
    torch.use_deterministic_algorithms(True)
    try:
        assert torch.utils.deterministic.fill_uninitialized_memory and torch.empty(1).isnan()
        yield
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("bf16", [True, False])
@pytest.mark.parametrize("lengths", [[3, 1, 5, 2], [4, 4], [9, 12, 2], [1]])
def test_states_without_padding_come_back_where_they_were(lengths: list[int], bf16: bool) -> None:
    pad = torch.arange(max(lengths)) >= torch.tensor(lengths)[:, None]
    padding = Padding(pad)
    x = numbers(*pad.shape, WIDTH)
    with poisoned(), torch.autocast("cpu", enabled=bf16):
        packed, real = padding.pack(x), sum(lengths)
    assert (padding.rows > real) == (bf16 and real == 23)
    assert packed.shape == (padding.rows, WIDTH) and torch.equal(padding.alone(x), x[~pad])
    assert torch.equal(packed[:real], x[~pad]) and not packed[real:].any()
    assert torch.equal(padding.spread(packed)[~pad], x[~pad])
    weight = torch.randn(x.shape, dtype=torch.float64).masked_fill(pad[..., None], 0)
    packed, spread = packed.detach().requires_grad_(), padding.spread
    with poisoned():
        (of_packed,) = torch.autograd.grad((spread(packed) * weight).sum(), packed)
    assert torch.equal(of_packed[:real], weight[~pad]) and not of_packed[real:].any()
    for pack in (padding.pack, padding.alone):
        (of_x,) = torch.autograd.grad((spread(pack(x)) * weight).sum(), x)
        assert torch.equal(of_x, weight)
    hidden = torch.zeros(pad.shape) if padding.bias is None else padding.bias[:, 0, 0]
    assert torch.equal(hidden < 0, pad) and (padding.bias is None) == (not pad.any())
    assert torch.equal(F.softmax(hidden, -1) == 0, pad)
