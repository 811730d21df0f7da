"""Architecture steps on real operations: gates against finite differences, what moves and what does not."""

from __future__ import annotations

import pytest
import torch
from tiny import inputs, loss, supernet
from torch.utils.flop_counter import FlopCounterMode

from search.arch_step import arch_step, open_gates
from search.contract import Opening
from search.estimators import ESTIMATORS, Full, Two
from search.mixed import MixedOp


def optimiser(net) -> torch.optim.Optimizer:
    return torch.optim.Adam(net.alphas, lr=0.1, betas=(0.0, 0.999))


def randomise(net) -> None:
    g = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for alpha in net.alphas:
            alpha.copy_(torch.randn(alpha.shape, generator=g))


def open_all(net) -> list[Opening]:
    """Open every block as ``full`` does."""
    generator = torch.Generator().manual_seed(0)
    openings = [Full().open(block.alpha.detach(), generator, 0.0) for block in net.blocks]
    open_gates(net, openings)
    return openings


def gate_gradients(net, batch) -> list[torch.Tensor]:
    return list(torch.autograd.grad(loss(net.model, batch), [block.gates for block in net.blocks]))


def test_gate_gradient_equals_finite_differences() -> None:
    net, batch = supernet().model.double(), inputs()
    batch = batch._replace(regions=batch.regions.double(), boxes=batch.boxes.double(), image_hw=batch.image_hw.double())
    from search.supernet import Supernet

    net = Supernet(net)
    randomise(net)
    open_all(net)
    gradients = gate_gradients(net, batch)
    eps = 1e-6
    for block, gradient in zip(net.blocks, gradients, strict=True):
        for i in range(len(block.gates)):
            values = []
            for sign in (1, -1):
                block.gates.data[i] += sign * eps
                values.append(loss(net.model, batch).item())
                block.gates.data[i] -= sign * eps
            assert abs((values[0] - values[1]) / (2 * eps) - float(gradient[i])) < 1e-5


def test_full_alpha_gradient_equals_the_softmax_jacobian() -> None:
    net, batch = supernet(), inputs()
    randomise(net)
    openings = open_all(net)
    gradients = gate_gradients(net, batch)
    for block, opening, gradient in zip(net.blocks, openings, gradients, strict=True):
        alpha = block.alpha.detach()
        jacobian = torch.autograd.functional.jacobian(lambda a: a.softmax(0), alpha)
        ours = Full().alpha_gradient(alpha, opening, gradient)
        torch.testing.assert_close(ours, gradient @ jacobian)


def test_full_gate_gradient_is_the_inner_product_with_each_candidates_output() -> None:
    net, batch = supernet(1, 2), inputs()
    open_all(net)
    seen = {}
    block: MixedOp = net.decoder[0]

    def keep(_module, args, out) -> None:
        out.retain_grad()
        seen["out"], seen["args"] = out, args

    handle = block.register_forward_hook(keep)
    gradient = torch.autograd.grad(loss(net.model, batch), block.gates, retain_graph=True)[0]
    loss(net.model, batch).backward()
    handle.remove()
    outputs = [candidate(*seen["args"]) for candidate in block.candidates]
    expected = torch.stack([(seen["out"].grad * out).sum() for out in outputs])
    torch.testing.assert_close(gradient, expected.detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_an_architecture_step_moves_alpha_and_leaves_weights_alone(name: str) -> None:
    net, batch = supernet(), inputs()
    weights = [w.detach().clone() for w in net.weights]
    before = [a.detach().clone() for a in net.alphas]
    estimator, generator = ESTIMATORS[name](), torch.Generator().manual_seed(0)
    arch_step(net, [lambda: loss(net.model, batch)], estimator, optimiser(net), generator)
    assert all(torch.equal(a, b) for a, b in zip(weights, net.weights, strict=True))
    assert all(w.grad is None for w in net.weights)
    assert all(torch.equal(a, b) == (name == "none") for a, b in zip(before, net.alphas, strict=True))
    assert all(block.gates is None for block in net.blocks)
    assert all(weight.requires_grad for weight in net.weights)


@pytest.mark.parametrize("name", [name for name in ESTIMATORS if name != "none"])
def test_parts_of_an_architecture_batch_add_up(name: str) -> None:
    def moved(*shares: float) -> torch.Tensor:
        net, batch = supernet(), inputs()
        losses = [lambda share=share: share * loss(net.model, batch) for share in shares]
        descent, generator = torch.optim.SGD(net.alphas, 1.0), torch.Generator().manual_seed(0)
        arch_step(net, losses, ESTIMATORS[name](), descent, generator)
        return torch.cat([alpha.detach() for alpha in net.alphas])

    whole = moved(1.0)
    assert whole.any()
    torch.testing.assert_close(moved(0.25, 0.75), whole)


def test_two_runs_two_candidates_and_keeps_their_mass() -> None:
    net, batch = supernet(), inputs()
    randomise(net)
    before = [b.probabilities for b in net.blocks]
    arch_step(net, [lambda: loss(net.model, batch)], Two(), optimiser(net), torch.Generator().manual_seed(0))
    for block, p in zip(net.blocks, before, strict=True):
        now, two = block.probabilities, list(block.running)
        assert len(two) == 2
        rest = [i for i in range(len(p)) if i not in two]
        torch.testing.assert_close(now[two].sum(), p[two].sum())
        torch.testing.assert_close(now[rest], p[rest])


@pytest.mark.parametrize("name", ["full", "darts", "gdas", "reinforce"])
def test_a_descent_on_alpha_finds_the_better_operation(name: str) -> None:
    """One block of four candidates: the most probable one ends among the two with the lowest loss."""
    net, batch = supernet(1, 1), inputs()
    losses = []
    for operation in net.decoder[0].names:
        net.follow(["self_att_64"], [operation])
        losses.append(loss(net.model, batch).item())
    alpha_optimiser, generator, estimator = optimiser(net), torch.Generator().manual_seed(0), ESTIMATORS[name]()
    for step in range(150):
        arch_step(net, [lambda: loss(net.model, batch)], estimator, alpha_optimiser, generator, step / 149)
    assert losses[int(net.decoder[0].alpha.argmax())] < sorted(losses)[2]


def test_an_architecture_step_works_out_no_gradient_of_weights() -> None:
    net, batch, taken = supernet(), inputs(), []
    with FlopCounterMode(display=False) as counter:
        arch_step(net, [lambda: loss(net.model, batch)], Full(), optimiser(net), torch.Generator().manual_seed(0))
    taken.append(counter.get_total_flops())
    open_all(net)
    with FlopCounterMode(display=False) as counter:
        loss(net.model, batch).backward()
    assert taken[0] < 0.8 * counter.get_total_flops()


def test_candidates_that_were_not_drawn_run_without_a_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    net, batch, ran, run = supernet(), inputs(), set(), MixedOp._run

    def noted(block: MixedOp, number: int, *given: object) -> torch.Tensor:
        out = run(block, number, *given)
        ran.add((number in block.learning, out.requires_grad))
        return out

    monkeypatch.setattr(MixedOp, "_run", noted)
    arch_step(net, [lambda: loss(net.model, batch)], Full(), optimiser(net), torch.Generator().manual_seed(0))
    # In the first block nothing that is drawn has one either: no gate stands before it.
    assert ran == {(True, True), (True, False), (False, False)}
