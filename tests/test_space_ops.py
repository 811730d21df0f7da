"""Every operation: the reference's numbers, shapes, padding, gradients."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from parity import REFERENCE, load_reference, needs_reference
from torch.utils.flop_counter import FlopCounterMode

from common.errors import UserError
from space.context import Context
from space.cost import genotype_cost
from space.dropout import dropout
from space.ops import OPS, build, check
from space.relations import Relations
from space.text_groups import group_by_text
from tools.original.names import operation_state

WIDTH = 256
SIZES = {"dropout": 0.0, "head_scale": 1, "relation_width": 64}


def surroundings(n: int = 7, t: int = 5, batch: int = 2, seed: int = 0) -> tuple[torch.Tensor, Context]:
    """States and a context with real padding in the last sample."""
    g = torch.Generator().manual_seed(seed)
    pad, text_pad = torch.zeros(batch, n, dtype=torch.bool), torch.zeros(batch, t, dtype=torch.bool)
    pad[-1, n - 2 :], text_pad[-1, t - 2 :] = True, True
    relation = torch.randn(batch, n, n, 64, generator=g).relu()
    text = torch.randn(batch, t, WIDTH, generator=g)
    return torch.randn(batch, n, WIDTH, generator=g), Context(pad, text, text_pad, relations=given(relation))


def given(features: torch.Tensor) -> Relations:
    """Relations whose features are these."""
    return Relations(features, torch.nn.Identity())


@needs_reference
@pytest.mark.parametrize("name", OPS)
def test_numbers_of_the_reference(name: str) -> None:
    facts, tensors = load_reference("ops")
    width = facts[name]["width"]
    x, text, relation = (torch.from_numpy(tensors[f"{part}{width}"]) for part in ("x", "y", "rel"))
    pad, text_pad = (torch.from_numpy(tensors[f"{part}_pad{width}"]) for part in ("x", "y"))
    if name.startswith(("uniimg", "sep_conv", "std_conv")):
        # The reference lets these read padding as if it were content; ours does not, and agrees where there is none.
        pad, text_pad = torch.zeros_like(pad), torch.zeros_like(text_pad)
    op = build(name, width=width, **SIZES).eval()
    assert sum(p.numel() for p in op.parameters()) == facts[name]["parameters"]
    state = torch.load(REFERENCE / "ops" / "state_dict.pkl", weights_only=True)
    op.load_state_dict(operation_state({k[len(name) + 1 :]: v for k, v in state.items() if k.startswith(name + ".")}))
    with torch.no_grad():
        out = op(x, Context(pad, text, text_pad, relations=given(relation)))
    torch.testing.assert_close(out, torch.from_numpy(tensors[f"out/{name}"]), atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", OPS)
def test_padding_changes_nothing_and_shapes_stay(name: str) -> None:
    torch.manual_seed(0)
    op = build(name, width=WIDTH, **SIZES).eval()
    x, context = surroundings()
    wider = Context(
        torch.nn.functional.pad(context.pad, (0, 3), value=True),
        torch.nn.functional.pad(context.text, (0, 0, 0, 2), value=9.0),
        torch.nn.functional.pad(context.text_pad, (0, 2), value=True),
        relations=given(torch.nn.functional.pad(context.relations.geometry, (0, 0, 0, 3, 0, 3), value=9.0)),
    )
    with torch.no_grad():
        out, padded = op(x, context), op(torch.nn.functional.pad(x, (0, 0, 0, 3), value=9.0), wider)
    assert out.shape == x.shape and padded.shape == (2, 10, WIDTH)
    torch.testing.assert_close(out[~context.pad], padded[:, :7][~context.pad], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", OPS)
def test_gradients_reach_every_weight_and_what_the_operation_says_it_reads(name: str) -> None:
    torch.manual_seed(0)
    op = build(name, width=WIDTH, **SIZES)
    x, context = surroundings()
    text, relation = context.text.requires_grad_(), context.relations.geometry.requires_grad_()
    weight = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    ((op(x.requires_grad_(), context) * weight).sum() + 0 * (text.sum() + relation.sum())).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in op.parameters())
    assert bool(text.grad.any()) == OPS[name].reads_text
    assert bool(relation.grad.any()) == OPS[name].reads_boxes


@pytest.mark.parametrize("name", [name for name in OPS if name.startswith("guided")])
def test_samples_grouped_by_their_texts_get_the_same_for_less(name: str) -> None:
    torch.manual_seed(0)
    op = build(name, width=WIDTH, **SIZES).eval()
    text_index = torch.tensor([2, 0, 3, 2, 0, 2, 3])  # text 1 goes unread; 0 and 3, of other lengths, are one run
    _, context = surroundings(batch=4)
    x, text = torch.randn(7, 20, WIDTH, requires_grad=True), context.text.requires_grad_()
    order, groups = group_by_text(text_index, context.text_pad)
    assert [len(group.texts) for group in groups] == [2, 1]
    plain = replace(context, pad=torch.zeros(7, 20, dtype=torch.bool), text_index=text_index)
    grouped = replace(plain, text_index=text_index[order], text_groups=groups)
    inputs, weight, found = (x, text, *op.parameters()), torch.randn(x.shape), []
    for forward in (lambda: op(x, plain), lambda: op(x[order], grouped)[order.argsort()]):
        with FlopCounterMode(display=False) as counter:
            out = forward()
        found.append((counter.get_total_flops(), out, *torch.autograd.grad((out * weight).sum(), inputs)))
    assert found[1][0] < found[0][0]
    for made, wanted in zip(found[1][1:], found[0][1:], strict=True):
        torch.testing.assert_close(made, wanted, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", OPS)
def test_cost_equals_torchs_own_counter(name: str) -> None:
    op = build(name, width=WIDTH, **SIZES).eval()
    x, padded = surroundings(batch=1)
    context = replace(padded, pad=torch.zeros_like(padded.pad), text_pad=torch.zeros_like(padded.text_pad))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        op(x, context)
    assert op.flops(7, 5) == counter.get_total_flops()


def test_cost_of_a_genotype_is_the_sum_of_its_blocks() -> None:
    encoder, decoder = ("self_att_64", "feed_forward"), ("rel_self_att_64", "guided_att_64")
    cost = genotype_cost(encoder, decoder, width=WIDTH, regions=7, tokens=5)
    blocks = {name: build(name, width=WIDTH, **SIZES) for name in encoder + decoder}
    relation = 2 * 7 * 7 * 4 * 64
    flops = sum(blocks[n].flops(5, 5) for n in encoder) + sum(blocks[n].flops(7, 5) for n in decoder) + relation
    weights = sum(p.numel() for block in blocks.values() for p in block.parameters()) + 5 * 64
    assert (cost["flops"], cost["parameters"]) == (flops, weights)


def test_operations_in_wrong_places_are_refused() -> None:
    with pytest.raises(UserError, match="'self_at_64' is unknown; did you mean 'self_att_64'"):
        build("self_at_64", width=WIDTH, **SIZES)
    with pytest.raises(UserError, match="'guided_att_64' cannot stand in the encoder"):
        check(["guided_att_64"], "encoder")
    with pytest.raises(UserError, match="heads of 256 do not divide a width of 128"):
        build("self_att_256", width=128, **SIZES)
    with pytest.raises(UserError, match="heads of 128 do not divide a width of 192"):
        build("self_att_64", width=192, dropout=0.0, head_scale=2, relation_width=64)


@pytest.mark.parametrize("p", [0.1, 0.5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_zeroes_its_share_and_keeps_the_mean(p: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x = torch.ones(1001, 999, dtype=dtype, requires_grad=True)
    out = dropout(x, p)
    kept, p = out != 0, round(256 * p) / 256
    assert float(kept.float().mean()) == pytest.approx(1 - p, abs=2e-3)
    assert out.detach().float().mean().item() == pytest.approx(1, abs=5e-3)
    # Neighbours fall independently: both of a pair stay as often as two coins say.
    assert float((kept[:, 1:] & kept[:, :-1]).float().mean()) == pytest.approx((1 - p) ** 2, abs=2e-3)
    out.sum().backward()
    assert torch.equal(x.grad, out.detach())
    assert not torch.equal(dropout(x, p) != 0, kept)


def test_dropout_of_nothing_and_of_everything() -> None:
    x = torch.ones(10, 10)
    assert torch.equal(dropout(x, 0.0), x) and not dropout(x, 1.0).any()
