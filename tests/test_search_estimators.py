"""Every estimator's gradient on a tiny space against enumeration of all its paths, and against its own closed form."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from search.arch_step import arch_step
from search.contract import Estimator
from search.estimators import ESTIMATORS, Reinforce, Still
from search.mixed import MixedOp
from search.supernet import Supernet

CANDIDATES = (3, 2)  # of the blocks
WIDTH, SAMPLES = 4, 3
STEPS = {"darts": 2, "none": 2, "gdas": 320}  # that tell a fifth too much or too little; of the others 600


class Candidate(nn.Module):
    """tanh(x W), or x W."""

    reads_text = reads_boxes = False

    def __init__(self, weight: Tensor, curved: bool) -> None:
        super().__init__()
        self.weight, self.curved = nn.Parameter(weight), curved

    def forward(self, x: Tensor, context: None) -> Tensor:
        return (x @ self.weight).tanh() if self.curved else x @ self.weight


class Space:
    """Two blocks in a row with fixed weights, inputs and alphas; where it is not curved, L is linear in every gate."""

    def __init__(self, curved: bool = True) -> None:
        g = torch.Generator().manual_seed(3)

        def draw(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=g, dtype=torch.float64)

        self.curved = curved
        self.weights = [draw(count, WIDTH, WIDTH) for count in CANDIDATES]
        self.alphas = [draw(count) for count in CANDIDATES]
        self.x, self.target = draw(SAMPLES, WIDTH), 3 * draw(SAMPLES, WIDTH)
        self.p = [alpha.softmax(0) for alpha in self.alphas]
        self.paths = list(itertools.product(*map(range, CANDIDATES)))

    def distance(self, out: Tensor) -> Tensor:
        return (out - self.target).square().sum() if self.curved else (out * self.target).sum()

    def loss(self, gates: list[Tensor]) -> Tensor:
        """The loss with these gates, without any of the search's code."""
        x = self.x
        for weight, gate in zip(self.weights, gates, strict=True):
            outputs = (x @ weight).tanh() if self.curved else x @ weight
            x = torch.einsum("k,kbh->bh", gate, outputs)
        return self.distance(x)

    def binary(self, path: tuple[int, ...]) -> list[Tensor]:
        return [torch.eye(k, dtype=torch.float64)[i] for i, k in zip(path, CANDIDATES, strict=True)]

    def gate_gradients(self, path: tuple[int, ...]) -> list[Tensor]:
        """dL/dg at the binary gates of a path."""
        gates = [gate.requires_grad_() for gate in self.binary(path)]
        return list(torch.autograd.grad(self.loss(gates), gates))

    def probability(self, path: tuple[int, ...]) -> Tensor:
        return torch.stack([p[i] for p, i in zip(self.p, path, strict=True)]).prod()

    def supernet(self) -> Supernet:
        """The same space as the search has it."""
        blocks = []
        for weight, alpha in zip(self.weights, self.alphas, strict=True):
            block = MixedOp([])
            block.candidates = nn.ModuleList(Candidate(one.clone(), self.curved) for one in weight)
            block.alpha = nn.Parameter(alpha.clone())
            blocks.append(block)
        sides = SimpleNamespace(encoder=blocks[:1], decoder=blocks[1:])
        return Supernet(SimpleNamespace(network=SimpleNamespace(backbone=sides), parameters=lambda: []))


class Kept(torch.optim.SGD):
    """Keeps alpha's gradients and moves nothing."""

    def __init__(self, alphas: list[nn.Parameter]) -> None:
        super().__init__(alphas, lr=0.0)
        self.kept: list[Tensor] = []

    def step(self) -> None:
        self.kept.append(torch.cat([alpha.grad for alpha in self.param_groups[0]["params"]]))


def estimates(space: Space, estimator: Estimator, steps: int, progress: float = 0.0, beta_decay: float = 0.0) -> Tensor:
    """(steps, all candidates) gradients of so many architecture steps from the same alphas."""
    net, generator = space.supernet(), torch.Generator().manual_seed(0)
    kept = Kept(net.alphas)

    def loss() -> Tensor:
        x = space.x
        for block in net.blocks:
            x = block(x, None)
        return space.distance(x)

    for _ in range(steps):
        arch_step(net, [loss], estimator, kept, generator, progress, beta_decay)
    return torch.stack(kept.kept)


def hold(
    space: Space, estimator: Estimator, expected: Tensor, progress: float, steps: int, within: float = 0.2
) -> None:
    """An estimator's mean is the expected one up to four standard errors, which are a share of it and no more."""
    found = estimates(space, estimator, steps, progress)
    error = 4 * (found.std(0) / steps**0.5).norm()
    assert error <= within * expected.norm(), "too few steps to tell"
    off = (found.mean(0) - expected).norm()
    assert off <= error + 1e-12, f"off by {off}, of which chance explains {error}"


def through_softmax(alpha: Tensor, gradient: Tensor) -> Tensor:
    """A gradient of softmax(alpha), taken back to alpha by autograd."""
    alpha = alpha.clone().requires_grad_()
    return torch.autograd.grad(alpha.softmax(0), alpha, gradient)[0]


def exact(space: Space, progress: float = 0.0) -> Tensor:
    """The gradient of the expected loss of paths, sum over paths of P(path) L(path)."""
    alphas = [alpha.clone().requires_grad_() for alpha in space.alphas]
    p = [alpha.softmax(0) for alpha in alphas]
    expected = sum(
        torch.stack([q[i] for q, i in zip(p, path, strict=True)]).prod() * space.loss(space.binary(path))
        for path in space.paths
    )
    return torch.cat(torch.autograd.grad(expected, alphas))


def full(space: Space, progress: float = 0.0) -> Tensor:
    """The expectation over paths of the gates' gradients taken through the softmax."""
    return sum(
        space.probability(path) * torch.cat(list(map(through_softmax, space.alphas, space.gate_gradients(path))))
        for path in space.paths
    )


def two(space: Space, progress: float = 0.0) -> Tensor:
    """The expectation over a pair of every block, and over which of each pair is active."""
    choices = []  # of a block: (probability, pair, active)
    for p in space.p:
        pairs = [(i, j) for i in range(len(p)) for j in range(len(p)) if i != j]
        drawn = [(p[i] * p[j] / (1 - p[i]), [i, j]) for i, j in pairs]
        choices.append([(q * p[k] / p[pair].sum(), pair, k) for q, pair in drawn for k in pair])
    total = 0
    for combination in itertools.product(*choices):
        gradients = space.gate_gradients(tuple(active for _, _, active in combination))
        for block, (_, pair, _) in enumerate(combination):
            within = torch.zeros_like(gradients[block])
            within[pair] = through_softmax(space.alphas[block][pair], gradients[block][pair])
            gradients[block] = within
        total = total + torch.stack([q for q, _, _ in combination]).prod() * torch.cat(gradients)
    return total


def darts(space: Space, progress: float = 0.0) -> Tensor:
    """The gradient of the mixture's loss."""
    alphas = [alpha.clone().requires_grad_() for alpha in space.alphas]
    return torch.cat(torch.autograd.grad(space.loss([alpha.softmax(0) for alpha in alphas]), alphas))


def gdas(space: Space, progress: float = 0.0, samples: int = 400_000) -> Tensor:
    """The mean over Gumbel noise of its own of the path's gate gradients, taken through the relaxed softmax."""
    temperature = 10 - 9.9 * progress
    g = torch.Generator().manual_seed(2)
    uniform = [torch.rand(samples, count, generator=g, dtype=torch.float64) for count in CANDIDATES]
    logits = [alpha - (-u.log()).log() for alpha, u in zip(space.alphas, uniform, strict=True)]
    table = {path: space.gate_gradients(path) for path in space.paths}
    place = sum(one.argmax(1) * scale for one, scale in zip(logits, (CANDIDATES[1], 1), strict=True))
    means = []
    for block, one in enumerate(logits):
        soft = (one / temperature).softmax(1)
        gradient = torch.stack([table[path][block] for path in space.paths])[place]
        means.append((soft * (gradient - (gradient * soft).sum(1, keepdim=True))).mean(0) / temperature)
    return torch.cat(means)


def none(space: Space, progress: float = 0.0) -> Tensor:
    return torch.zeros(sum(CANDIDATES), dtype=torch.float64)


EXPECTED: dict[str, Callable[..., Tensor]] = {
    "full": full,
    "two": two,
    "darts": darts,
    "gdas": gdas,
    "reinforce": exact,
    "none": none,
}


@pytest.fixture(scope="module")
def space() -> Space:
    return Space()


@pytest.fixture(scope="module")
def linear() -> Space:
    return Space(curved=False)


def apart(one: Tensor, other: Tensor) -> float:
    """How far one gradient is from the other, as a share of the other."""
    return float((one - other).norm() / other.norm())


@pytest.mark.parametrize(("name", "progress"), [*((name, 0.9) for name in ESTIMATORS), ("gdas", 0.0), ("gdas", 0.5)])
def test_an_estimator_gives_what_it_is_known_to_estimate(name: str, progress: float, space: Space) -> None:
    hold(space, ESTIMATORS[name](), EXPECTED[name](space, progress), progress, STEPS.get(name, 600))


@pytest.mark.parametrize("factor", [-1.0, 0.5, 2.0])
@pytest.mark.parametrize("name", [name for name in ESTIMATORS if name != "none"])
def test_a_wrong_sign_or_factor_is_seen(name: str, factor: float, space: Space) -> None:
    class Wrong(ESTIMATORS[name]):
        def alpha_gradient(self, *arguments: object) -> Tensor:
            return factor * super().alpha_gradient(*arguments)

    steps = max(2, STEPS.get(name, 600) // 6)
    with pytest.raises(AssertionError, match="off by"):
        hold(space, Wrong(), EXPECTED[name](space, 0.9), 0.9, steps, within=1.0)


def test_a_sum_over_the_draws_instead_of_their_mean_is_seen(space: Space) -> None:
    class Summed(ESTIMATORS["gdas"]):
        def weigh(self, losses: Tensor) -> Tensor:
            return torch.ones_like(losses)

    with pytest.raises(AssertionError, match="off by"):
        hold(space, Summed(), gdas(space, 0.9), 0.9, STEPS["gdas"] // 6, within=2.0)


def test_the_baseline_follows_the_losses_of_steps_before_slowly() -> None:
    estimator = Reinforce()
    # By hand: first each draw against the other, then against 2, then against 0.9 * 2 + 0.1 * 4.
    for losses, wanted in (([1.0, 3.0], [-1.0, 1.0]), ([4.0, 4.0], [1.0, 1.0]), ([2.2, 4.2], [0.0, 1.0])):
        assert estimator.weigh(torch.tensor(losses)).tolist() == pytest.approx(wanted, abs=1e-6)


def test_the_score_function_is_unbiased_in_a_first_step_too(space: Space) -> None:
    class First(Reinforce):
        def weigh(self, losses: Tensor) -> Tensor:
            self.baseline = None
            return super().weigh(losses)

    hold(space, First(), exact(space), 0.0, 600)


def test_what_is_biased_is_so_only_where_the_loss_is_not_linear(space: Space, linear: Space) -> None:
    for estimate in (full, darts):
        assert apart(estimate(space), exact(space)) > 0.5
        assert apart(estimate(linear), exact(linear)) < 1e-12
    assert apart(two(linear), exact(linear)) > 0.2  # a block has three candidates


def test_the_bias_of_gdas_vanishes_with_its_temperature_where_the_loss_is_linear(linear: Space) -> None:
    bias = [apart(gdas(linear, progress), exact(linear)) for progress in (0.0, 0.5, 0.9, 1.0)]
    assert bias == sorted(bias, reverse=True)
    assert bias[0] > 0.8 and bias[-1] < 0.02


def test_beta_decay_equals_finite_differences(space: Space) -> None:
    def term(change: Tensor) -> Tensor:
        alphas = (torch.cat(space.alphas) + change).split(CANDIDATES)
        return 0.7 * sum(alpha.logsumexp(0) for alpha in alphas)

    found = estimates(space, Still(), 1, beta_decay=0.7)[0]
    steps = 1e-6 * torch.eye(sum(CANDIDATES), dtype=torch.float64)
    expected = torch.stack([(term(step) - term(-step)) / 2e-6 for step in steps])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_beta_decay_is_added_to_every_estimate(name: str, space: Space) -> None:
    plain, decayed = (estimates(space, ESTIMATORS[name](), 3, 0.5, beta_decay) for beta_decay in (0.0, 0.7))
    torch.testing.assert_close(decayed - plain, (0.7 * torch.cat(space.p)).expand(3, -1))
