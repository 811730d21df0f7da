"""The table of trained architectures: how it is filled, and what is read off it."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from cells_inside import run_inside
from tiny_vgd import make_root

from benchmarks.tabular import compare, fill, grid
from benchmarks.tabular.__main__ import describe
from benchmarks.tabular.__main__ import main as show
from benchmarks.tabular.table import Search, Table, load
from common.errors import UserError
from search.selectors import SELECTORS
from space.settings import SideSettings, SpaceSettings

OPERATIONS = ["self_att_16", "guided_att_16", "feed_forward"]
# Of nine architectures the fourth is best and the largest of all worst.
SCORES = [50, 51, 52, 90, 70, 60, 55, 54, 40]
PICKING = {"argmax": 0.0, "exact": 60.0}
LEARNED = [[0.2, 0.7, 0.1], [0.6, 0.3, 0.1]]  # the most probable architecture is the fourth


def table(picks: list[int], losses: list[float] | None = None) -> Table:
    """A table whose searches all know the truth, unless losses are given, and pick what is said."""
    judged = [[loss - 1, loss + 1] for loss in losses or [-x for x in SCORES]]
    found = [
        Search("full", "alpha", seed, judged, LEARNED, {"argmax": 3, "exact": pick}, [], PICKING, 270.0, 310.0)
        for seed, pick in enumerate(picks)
    ]
    scores = [[value - 1, value + 1] for value in SCORES]
    return Table({"processor": "one"}, [], [OPERATIONS] * 2, [*range(9)], scores, 30.0, found)


def test_a_search_is_as_good_as_what_it_picks() -> None:
    argmax, exact = compare.rows(table([3, 4, 5]))
    assert (argmax.selector, argmax.regret, argmax.among_best) == ("argmax", 0, 1)
    assert exact.selector == "exact"
    assert exact.regret == 20  # the median of 0, 20 and 30
    assert exact.among_best == pytest.approx(1 / 3)
    assert exact.above_two == pytest.approx(2 / 3)  # the third is above the mean alone


def test_the_best_are_a_twentieth_and_whoever_ties_with_them() -> None:
    def best(scores: list[float]) -> list[int]:
        return np.flatnonzero(compare.Truth(np.array(scores), np.zeros(len(scores)), 1).best).tolist()

    assert best([*range(64)]) == [61, 62, 63]
    assert best([*range(61), 61, 61, 61]) == [61, 62, 63] and best([*range(60), 60, 60, 62, 63]) == [60, 61, 62, 63]


def test_equal_cost_counts_the_time_of_that_selector_alone() -> None:
    """40 seconds without selectors are one training more, 100 with this one three: the best of two and of four."""
    argmax, exact = compare.rows(table([4]))
    known = compare.truth(table([4]))
    assert known.at_cost(40) == pytest.approx(np.mean([max(pair) for pair in combinations(SCORES, 2)]))
    assert known.at_cost(40) < 70 < known.at_cost(100)
    assert (argmax.above_equal, exact.above_equal) == (1, 0)


def test_ranks_are_those_of_what_selects() -> None:
    """The losses know the truth, probabilities only a part of it."""
    by = {row.selector: row for row in compare.rows(table([3]))}
    assert by["exact"].tau == pytest.approx(1) == by["exact"].tau_within
    assert 0 < by["argmax"].tau < 1
    backwards = {row.selector: row for row in compare.rows(table([3], SCORES))}
    assert backwards["exact"].tau == pytest.approx(-1)
    turned = [52, 51, 50, 70, 90, 55, 60, 40, 54]  # every bin of FLOPs the other way round
    inside = {row.selector: row for row in compare.rows(table([3], [-x for x in turned]))}
    assert inside["exact"].tau > 0.3 and inside["exact"].tau_within == pytest.approx(-1)


def test_what_is_reached_without_a_search_is_told() -> None:
    known = table([3])
    lines = " ".join(describe(known, compare.truth(known)))
    pair, four = (np.mean([max(some) for some in combinations(SCORES, k)]) for k in (2, 4))
    assert (
        "scores 40.0 to 90.0, mean 58.0; the best 5 % begin at 90.0; Kendall's tau between two training seeds 1.00"
        in lines
    )
    assert f"best of k random ones, 1: 32.00, 2: {90 - pair:.2f}, 4: {90 - four:.2f}, 8: " in lines
    assert lines.endswith("of the one of most FLOPs 50.00")


def test_probabilities_are_laid_out_as_architectures_are() -> None:
    space = SpaceSettings(encoder=SideSettings(1, ["self_att_16"]), decoder=SideSettings(2, OPERATIONS))
    names = [one.decoder for one in grid.networks(space)]
    merit = compare._merit(table([3]).searches[0], "argmax")  # an encoder without a choice changes none of it
    wanted = [
        np.log(LEARNED[0][OPERATIONS.index(first)]) + np.log(LEARNED[1][OPERATIONS.index(second)])
        for first, second in names
    ]
    np.testing.assert_allclose(merit, wanted)
    assert merit.argmax() == 3


def test_bins_are_of_flops_and_of_equal_size() -> None:
    known = compare.Truth(np.arange(8.0), np.array([7, 6, 5, 4, 3, 2, 1, 0]), 1)
    assert [part.tolist() for part in known.bins] == [[7, 6], [5, 4], [3, 2], [1, 0]]


def test_a_foreign_file_is_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text('{"searches": []}')
    with pytest.raises(UserError, match=r"other\.json is no table"):
        load(tmp_path / "other.json")


def test_every_way_is_searched_and_the_usual_one_more_often() -> None:
    first, *others = grid.rounds(grid.Way("full", "alpha"))
    assert len(first) == grid.MANY and {way for way, _ in first} == {grid.Way("full", "alpha")}
    assert [{seed for _, seed in one} for one in others] == [{0}, {1}, {2}]
    assert all(len({way for way, _ in one}) == len(one) for one in others)


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """A space of three architectures, two trainings of each and two searches."""
    small = [
        "--task=vgd",
        "--space.encoder.blocks=1",
        "--space.encoder.candidates=[self_att_16]",
        "--space.decoder.blocks=1",
        f"--space.decoder.candidates=[{','.join(OPERATIONS)}]",
    ]
    monkeypatch.setattr(grid, "FLAGS", tuple(small))
    monkeypatch.setattr(grid, "rounds", lambda usual: [[(usual, 0)], [(grid.Way("none", "uniform"), 0)]])
    monkeypatch.chdir(tmp_path)
    return run_inside(monkeypatch)


def test_the_table_is_filled_and_gone_on_with(
    tmp_path: Path, ran: list[list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = (
        "retrain.width=16 search.width=16 retrain.epochs=1 search.epochs=2 search.alpha_start=1 search.alpha_every=1"
    )
    flags = [f"--{one}" for one in small.split()] + ["--search.selector=argmax", "--gpu=cpu", "--profile=demo"]
    argv = ["--out=table.json", f"--data.root={make_root(tmp_path / 'root')}", *flags]
    assert fill.main(argv) == 0
    made = load(tmp_path / "table.json")
    assert len(made.scores) == len(made.flops) == 3 and [len(one) for one in made.scores] == [2, 2, 2]
    usual, control = made.searches
    assert (control.estimator, control.sampler, control.probabilities[1]) == (
        "none",
        "uniform",
        pytest.approx([1 / 3] * 3),
    )
    assert len(usual.losses) == 3 and set(usual.picks) == set(SELECTORS)
    assert usual.picks["exact"] == int(np.argmin(np.mean(usual.losses, 1)))
    assert usual.rounds[0].keys() == {"0", "1", "2"} and len(usual.rounds) == 2  # three, then two
    assert str(usual.picks["halving"]) == min(usual.rounds[-1], key=usual.rounds[-1].get)
    assert usual.picks["argmax"] == int(np.argmax(usual.probabilities[1]))
    assert usual.picking["halving"] < usual.selecting
    assert usual.selecting < sum(usual.picking.values())  # in which judging counts three times
    assert len(ran) == 8
    assert fill.main(argv) == 0 and len(ran) == 8
    assert dataclasses.replace(load(tmp_path / "table.json"), made_with=made.made_with) == made
    capsys.readouterr()
    show(["--table", str(tmp_path / "table.json")])
    assert "3 architectures, each trained with 2 seeds" in capsys.readouterr().out
    assert json.loads((tmp_path / "table.json").read_text())["made_with"]["recipe"]["retrain:retrain.width"] == 16

    older = json.loads((tmp_path / "table.json").read_text())
    for stage in ("search", "retrain"):  # a setting that there was none of then
        del older["made_with"]["recipe"][f"{stage}:model.embedding_dropout"]
    (tmp_path / "table.json").write_text(json.dumps(older))
    other = ["--out=other.json", "--logs=elsewhere", f"--scores={tmp_path / 'table.json'}", *argv[1:]]
    with pytest.raises(UserError, match=r"table\.json are of retrain:retrain\.epochs=1, not 2"):
        fill.main([*other, "--retrain.epochs=2"])
    with pytest.raises(UserError, match=r"are of (search|retrain):model\.embedding_dropout=None, not 0\.1"):
        fill.main([*other, "--model.embedding_dropout=0.1"])
    monkeypatch.setattr(fill, "AGAIN", 4)
    # Of six trainings the first and the fifth; searches may go another way.
    assert fill.main([*other, "--search.alpha_lr=0.01"]) == 0 and len(ran) == 8 + 4
    taken = load(tmp_path / "other.json")
    assert (taken.scores, taken.flops, len(taken.searches)) == (made.scores, made.flops, 2)
    assert taken.again == [[0, 0, made.scores[0][0]], [1, 1, made.scores[1][1]]]  # bit for bit on one machine
    assert taken.made_with["scores"] == older["made_with"]
    show(["--table", str(tmp_path / "other.json")])
    assert "2 of these trainings done again where the searches ran" in capsys.readouterr().out


def test_it_is_started_as_a_module() -> None:
    said = subprocess.run([sys.executable, "-m", "benchmarks.tabular.fill", "--help"], capture_output=True, text=True)
    assert said.returncode == 0 and "--jobs" in said.stdout
