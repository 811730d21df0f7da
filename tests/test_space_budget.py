"""Budgets: expected cost and its gradient against enumeration and finite differences, and searches that keep to one."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from test_end_to_end import settings
from tiny import DECODER, ENCODER, SIZES, inputs, loss, supernet

from common.errors import UserError
from genotypes.genotype import load
from search.arch_step import arch_step
from search.estimators import ESTIMATORS
from search.run import main as search
from search.selectors import Evolution, Exact
from search.settings import BudgetSettings, SearchSettings
from space.budget import Budget
from space.cost import Prices, genotype_cost, prices
from space.settings import Path as Numbers
from space.settings import SideSettings, SpaceSettings

COUNTED = {"width": SIZES["width"], "regions": 50, "tokens": 40}
SPACE = SpaceSettings(SideSettings(1, list(ENCODER)), SideSettings(2, list(DECODER)))
PATHS = list(product(range(2), range(4), range(4)))


def budget(most: float, kind: str = "flops", weight: float = 1.0, space: SpaceSettings = SPACE) -> Budget:
    priced = prices(kind, space.encoder.candidates, space.decoder.candidates, **COUNTED)
    return Budget(kind, most, weight, space, priced)


def counted(path: Numbers, kind: str = "flops") -> int:
    """Of the whole architecture at once, as its genotype says it."""
    return genotype_cost([ENCODER[path[0]]], [DECODER[i] for i in path[1:]], **COUNTED)[kind]


def alphas(seed: int = 0) -> list[torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(size, generator=g, dtype=torch.float64) for size in (2, 4, 4)]


def mean_of_all(given: list[torch.Tensor], kind: str = "flops") -> float:
    """The expected cost by going through all architectures."""
    p = [alpha.softmax(0) for alpha in given]
    chances = [np.prod([float(p[place][i]) for place, i in enumerate(path)]) for path in PATHS]
    return float(np.dot(chances, [counted(path, kind) for path in PATHS]))


def between(share: float, given: list[torch.Tensor]) -> float:
    """A budget so far from the cheapest architecture to the mean one."""
    least = min(map(counted, PATHS))
    return least + share * (mean_of_all(given) - least)


def penalty(given: list[torch.Tensor], most: float) -> float:
    return max(0.0, float(np.log(mean_of_all(given) / most)))


@pytest.mark.parametrize("kind", ["parameters", "flops"])
def test_prices_add_up_to_what_a_genotype_costs(kind: str) -> None:
    some = budget(1e18, kind)
    assert [some.cost(path) for path in PATHS] == [counted(path, kind) for path in PATHS]
    assert some.cost(some.cheapest) == min(counted(path, kind) for path in PATHS)
    assert some.expected(alphas()) == pytest.approx(mean_of_all(alphas(), kind), rel=1e-9)


def test_the_cheapest_may_read_boxes_where_all_do_or_where_it_pays() -> None:
    space = SpaceSettings(SideSettings(1, ["relu"]), SideSettings(3, ["rel_self_att_64", "self_att_64"]))

    def cheapest(of_relations: float) -> Numbers:
        priced = Prices({"relu": 0.0}, {"rel_self_att_64": 1.0, "self_att_64": 2.0}, of_relations)
        return Budget("latency", 99.0, 1.0, space, priced).cheapest

    assert cheapest(2.9) == (0, 0, 0, 0) and cheapest(3.1) == (0, 1, 1, 1)


@pytest.mark.parametrize("share", [0.5, 0.999, 1.001])
def test_the_pull_equals_finite_differences_of_the_penalty(share: float) -> None:
    given, eps = alphas(), 1e-6
    most = between(share, given)
    pulls = budget(most).pull(given)
    assert any(pull.any() for pull in pulls) == (share < 1)
    for alpha, pull in zip(given, pulls, strict=True):
        for i in range(len(alpha)):
            values = []
            for sign in (1, -1):
                alpha[i] += sign * eps
                values.append(penalty(given, most))
                alpha[i] -= sign * eps
            assert float(pull[i]) == pytest.approx((values[0] - values[1]) / (2 * eps), abs=1e-7)


@pytest.mark.parametrize("name", [name for name in ESTIMATORS if name not in ("none", "two")])
def test_a_step_adds_the_pull_as_a_share_of_the_loss(name: str) -> None:
    def moved(some: Budget | None) -> tuple[list[torch.Tensor], float]:
        net, batch = supernet(1, 2), inputs()
        with torch.no_grad():
            for alpha, start in zip(net.alphas, alphas(), strict=True):
                alpha.copy_(start)
        descent, generator = torch.optim.SGD(net.alphas, 1.0), torch.Generator().manual_seed(0)
        value = arch_step(net, [lambda: loss(net.model, batch)], ESTIMATORS[name](), descent, generator, budget=some)
        return [alpha.detach() for alpha in net.alphas], float(value)

    most = between(0.3, alphas())
    without, value = moved(None)
    pulls = budget(most).pull([alpha.float() for alpha in alphas()])
    for far, near, pull in zip(moved(budget(most, weight=3.0))[0], without, pulls, strict=True):
        torch.testing.assert_close(near - far, (3.0 * value * pull).float(), rtol=1e-4, atol=1e-5)
    roomy = moved(budget(2 * mean_of_all(alphas())))[0]
    assert all(torch.equal(a, b) for a, b in zip(roomy, without, strict=True))


def test_alpha_ends_within_the_budget_where_the_loss_does_not_care() -> None:
    net, generator = supernet(1, 2), torch.Generator().manual_seed(0)
    some, flat = budget(between(0.5, [torch.zeros(n) for n in (2, 4, 4)])), torch.ones(())
    adam = torch.optim.Adam(net.alphas, lr=0.1, betas=(0.0, 0.999))
    for _ in range(60):
        arch_step(net, [lambda: flat], ESTIMATORS["reinforce"](), adam, generator, budget=some)
    assert some.expected(net.alphas) <= 1.02 * some.most


class Known:
    """A judge of losses that are known without a network."""

    def __init__(self, of: dict[Numbers, float]) -> None:
        self.of, self.judged = of, []

    def losses(self, paths: list[Numbers]) -> np.ndarray:
        self.judged += paths
        return np.array([[self.of[path]] for path in paths])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("selector", [Exact, Evolution])
def test_selectors_find_the_best_that_keeps_the_budget(selector: type, seed: int) -> None:
    rng, net = np.random.default_rng(seed), supernet(1, 2)
    known = dict(zip(PATHS, rng.random(len(PATHS)).tolist(), strict=True))
    most = float(np.quantile([counted(path) for path in PATHS], 0.3))
    affordable = [path for path in PATHS if counted(path) <= most]
    judge = Known(known)
    picked = selector(net, judge, torch.Generator().manual_seed(seed), None, budget(most)).pick()
    assert picked == min(affordable, key=known.__getitem__)
    assert set(judge.judged) <= set(affordable)


def test_paths_within_the_budget_are_left_as_they_are_and_draw_nothing() -> None:
    generator, most = torch.Generator().manual_seed(0), sorted(map(counted, PATHS))[5]
    before = generator.get_state()
    kept = [path for path in PATHS if counted(path) <= most]
    assert [budget(most).mend(path, generator) for path in kept] == kept
    assert torch.equal(before, generator.get_state())
    assert all(counted(budget(most).mend(path, generator)) <= most for path in PATHS)


def test_mending_changes_no_more_blocks_than_it_must_in_random_order() -> None:
    dearest = max(PATHS, key=counted)
    some, changed = budget(counted(dearest) - 1), []
    for seed in range(20):
        mended = some.mend(dearest, torch.Generator().manual_seed(seed))
        changed.append([place for place, (now, was) in enumerate(zip(mended, dearest, strict=True)) if now != was])
    assert all(len(places) == 1 for places in changed) and len({place for (place,) in changed}) > 1


def test_what_a_budget_says() -> None:
    path, cost = PATHS[-1], counted(PATHS[-1])
    priced = Prices(dict.fromkeys(ENCODER, 0.5e9), dict.fromkeys(DECODER, 0.605e9), 0.0)
    assert Budget("flops", 2e9, 1.0, SPACE, priced).verdict(path) == "budget 2.00 GFLOPs: met, 1.71 (86 %)"
    priced = Prices(dict.fromkeys(ENCODER, 0.5), {**dict.fromkeys(DECODER, 2.0), "relu": 0.1}, 0.0)
    space = SpaceSettings(SideSettings(1, list(ENCODER)), SideSettings(2, [*DECODER, "relu"]))
    said = Budget("latency", 3.0, 1.0, space, priced).verdict(path)
    assert said == "budget 3.00 ms a sample: missed, 4.50 (150 %), 1.50 too many"
    assert budget(cost).as_dict(path) == {"of": "flops", "most": cost, "cost": cost, "met": True}


def test_a_budget_below_the_cheapest_is_refused_with_its_cost() -> None:
    least = min(map(counted, PATHS))
    assert budget(least).cost(budget(least).cheapest) == least
    with pytest.raises(UserError, match=f"below the cheapest architecture of this space, which costs {least:,} FLOPs"):
        budget(least - 1)


def test_budgets_that_make_no_sense_are_refused() -> None:
    with pytest.raises(UserError, match="has parameters and flops, but a search keeps to one"):
        SearchSettings(budget=BudgetSettings(parameters=1.0, flops=1.0)).validate()
    with pytest.raises(UserError, match="so search.budget.flops would do nothing"):
        SearchSettings(budget=BudgetSettings(flops=1.0), estimator="none").validate()
    SearchSettings(budget=BudgetSettings(flops=1.0), estimator="none", selector="exact").validate()


def test_a_search_keeps_to_its_budget_or_says_that_it_does_not(
    demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    own = settings("search", "itm", demo, "refused")
    with pytest.raises(UserError, match="search.budget.flops=1000 is below the cheapest architecture"):
        search([*own, "--search.budget.flops=1e3"])
    with pytest.raises(UserError, match=r"latencies of logs/profile/itm.json, which is not there; make profile"):
        search([*own, "--search.budget.latency=1"])
    assert list(tmp_path.iterdir()) == []

    # As dear as can be, and alpha stays there.
    lead = {"encoder": ["feed_forward"], "decoder": ["feed_forward", "feed_forward"]}
    Path("lead.json").write_text(json.dumps(lead))
    found = {}
    for selector in ("argmax", "exact"):
        more = ["--search.start=lead.json", "--search.alpha_lr=1e-9", f"--search.selector={selector}"]
        search([*settings("search", "itm", demo, selector), *more, "--search.budget.parameters=7.5e4"])
        found[selector] = load(f"genotypes/searched/itm/{selector}.json")
        kept, said = found[selector].provenance["budget"], capsys.readouterr().out
        assert kept["cost"] == found[selector].cost["parameters"] and kept["most"] == 7.5e4
        assert kept["met"] == (kept["cost"] <= 7.5e4) == (selector == "exact")
        assert f"budget 75.00 k parameters: {'met' if kept['met'] else 'missed'}, " in " ".join(said.split())
    shares = [json.loads(line) for line in Path("logs/log/argmax/metrics.jsonl").read_text().splitlines()]
    assert any(line.get("search/budget_share", 0) > 100 for line in shares)
