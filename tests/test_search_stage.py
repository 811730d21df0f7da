"""The search as a run: training data split by image, an early stop, the same numbers with loader processes."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from test_end_to_end import metrics, settings
from torch import Tensor

from common.errors import UserError
from engine import checkpoint
from genotypes.genotype import load
from search.contract import Opening
from search.estimators import ESTIMATORS, Full
from search.run import main as search
from search.settings import SearchSettings
from search.stage import TOGETHER, SearchStage, split_by_image
from search.tuning import Tuned
from tasks.itm import ImageTextMatching, ItmData


@pytest.mark.parametrize("share", [0.01, 0.5, 0.8, 0.99])
def test_the_halves_never_meet(demo: Path, share: float) -> None:
    split = ImageTextMatching(ItmData(root=str(demo))).split("train")
    weights, alphas = split_by_image(split, share, np.random.default_rng(0))
    images = [set(half.image_ids.tolist()) for half in (weights, alphas)]
    assert all(images) and not images[0] & images[1]
    assert len(weights) + len(alphas) == len(split)
    for half, own in ((weights, images[0]), (alphas, images[1])):
        assert len(own) >= 2
        captions, rows = half.negatives.draw(np.arange(len(half)), np.random.default_rng(1))
        drawn = {*half.image_ids[captions].tolist(), *half.negatives.images[rows].tolist()}
        assert drawn <= own


def test_a_settled_search_stops_early(demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("lead.json").write_text('{"encoder": ["self_att_64"], "decoder": ["self_att_64", "guided_att_64"]}')
    still = ["--search.alpha_start=0", "--search.alpha_lr=1e-12", "--search.start=lead.json"]
    still += ["--search.epochs=9", "--search.patience=2"]
    search([*settings("search", "itm", demo, "still"), *still])
    assert max(record["epoch"] for record in metrics("still")) == 3


def test_patience_counts_epochs_with_architecture_steps(
    demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("lead.json").write_text('{"encoder": ["self_att_64"], "decoder": ["self_att_64", "guided_att_64"]}')
    # 120 captions make 4 steps an epoch: an architecture step comes in the epochs 2, 4, 6 and 8.
    seldom = ["--search.alpha_start=0", "--search.alpha_every=8", "--search.alpha_lr=1e-12", "--search.start=lead.json"]
    search([*settings("search", "itm", demo, "still"), *seldom, "--search.epochs=9", "--search.patience=2"])
    assert max(record["epoch"] for record in metrics("still")) == 6


@pytest.mark.parametrize(
    ("epochs", "start", "every", "steps", "fits"),
    [(3, 1, 5, 1, False), (3, 1, 5, 2, True), (3, 2, 6, 3, False), (3, 2, 7, 3, True), (3, 2, 10, 3, False)],
)
def test_a_search_without_an_architecture_step_is_refused(
    epochs: int, start: int, every: int, steps: int, fits: bool
) -> None:
    chosen = SearchSettings(epochs=epochs, alpha_start=start, alpha_every=every)
    # Weight steps are numbered from 1 through all epochs; every so many of them one of the architecture follows.
    assert fits == any(n % every == 0 and (n - 1) // steps >= start for n in range(1, epochs * steps + 1))
    if fits:
        chosen.arch_steps(steps)
    else:
        with pytest.raises(UserError, match=f"no architecture step fits .* search.alpha_every={every}; lower"):
            chosen.arch_steps(steps)


def test_it_is_refused_before_anything_is_written(demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    never = ["--search.epochs=3", "--search.alpha_start=1", "--search.alpha_every=5", "--search.batch_size=512"]
    with pytest.raises(UserError, match=r"take 2 steps \(1 an epoch\)"):
        search([*settings("search", "itm", demo, "never"), *never])
    assert list(tmp_path.iterdir()) == []


def test_a_search_that_moves_no_alpha_says_so_when_it_goes_on_too(
    demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Full, "alpha_gradient", lambda self, alpha, opening, gradient: torch.zeros_like(alpha))
        search(settings("search", "itm", demo, "dead"))
        assert "THIS GENOTYPE WAS NOT FOUND" in capsys.readouterr().out
        search([*settings("search", "itm", demo, "dead"), "--resume=true"])
        said = capsys.readouterr().out
        assert "THIS GENOTYPE WAS NOT FOUND" in said and "next: make retrain" not in said
        path = "genotypes/searched/itm/dead.json"
        assert load(path).provenance["moved"] is False and load(path).provenance["architecture_steps"] > 0
    search([*settings("search", "itm", demo, "dead"), "--resume=true", "--search.epochs=3"])
    assert f"next: make retrain GENO={path}" in capsys.readouterr().out
    assert load(path).provenance["moved"] is True
    epochs = [load(f"logs/ckpts/arch/dead.alphas.json@{epoch}").provenance["moved"] for epoch in range(3)]
    assert epochs == [False, False, True]


def test_blocks_whose_alpha_never_moved_are_named(
    demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    gradient = Full.alpha_gradient

    def of_the_encoder(self: Full, alpha: Tensor, opening: Opening, gate_gradient: Tensor) -> Tensor:
        return gradient(self, alpha, opening, gate_gradient) * (len(alpha) == 2)

    monkeypatch.setattr(Full, "alpha_gradient", of_the_encoder)
    search(settings("search", "itm", demo, "half"))
    assert "note: alpha of decoder 1, decoder 2 never moved" in capsys.readouterr().out


def test_a_space_without_a_choice_is_refused(demo: Path) -> None:
    one = ["--space.encoder.candidates=[self_att_64]", "--space.decoder.candidates=[guided_att_64]"]
    with pytest.raises(UserError, match="nothing to search"):
        search([*settings("search", "itm", demo, "one"), *one])


def test_an_architecture_batch_in_parts_is_the_same_step(
    demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = []
    for together in (1000, 8):
        monkeypatch.setitem(TOGETHER, "cpu", together)
        version = f"by{together}"
        search([*settings("search", "vqa", demo, version), "--model.dropout=0", "--search.alpha_start=0"])
        sides = json.loads(Path(f"genotypes/searched/vqa/{version}.json").read_text())["probabilities"]
        found.append([p for side in sides.values() for block in side for p in block.values()])
    assert max(found[0]) > 0.6  # alpha has moved
    np.testing.assert_allclose(*found, atol=0.01)


def test_loader_processes_change_no_number(demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for workers in (0, 2):
        search([*settings("search", "itm", demo, f"w{workers}"), f"--workers={workers}", "--data.hard_from=1"])
    assert metrics("w0") == metrics("w2")


def test_measuring_threads_moves_nothing_and_a_run_keeps_its_number(
    demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    rehearsed = []

    def settled(step: Callable[[], None], most: int) -> int:
        rehearsed.extend(step() for _ in range(3))
        return 1

    monkeypatch.setattr("engine.loop.free_to_choose", lambda: True)
    monkeypatch.setattr("engine.loop.settle", settled)
    for version, said in (("measured", []), ("said", ["--threads=1"])):
        search([*settings("search", "itm", demo, version), "--model.dropout=0.1", *said])
    assert len(rehearsed) == 3 and metrics("measured") == metrics("said")
    assert "threads: 1 of 1, the fastest now" in capsys.readouterr().out
    assert checkpoint.load(Path("logs/ckpts/measured/last.pt"))["threads"] == 1

    # One that goes on does not measure again.
    longer = [*settings("search", "itm", demo, "measured"), "--model.dropout=0.1", "--search.epochs=3"]
    search([*longer, "--resume=true"])
    assert len(rehearsed) == 3


def test_ctrl_c_saves_and_says_how_to_go_on(
    demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    step = SearchStage.train_step

    def interrupted(self: SearchStage, *arguments: object) -> object:
        signal.raise_signal(signal.SIGINT)
        return step(self, *arguments)

    monkeypatch.setattr(SearchStage, "train_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        search(settings("search", "itm", demo, "stopped"))
    assert (
        "saved in epoch 1/2, step 1; go on with the same command and RESUME=1 VERSION=stopped"
        in capsys.readouterr().out
    )
    monkeypatch.setattr(SearchStage, "train_step", step)
    search([*settings("search", "itm", demo, "stopped"), "--resume=true"])
    search(settings("search", "itm", demo, "whole"))
    assert metrics("stopped") == metrics("whole")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_while_it_picks_is_gone_on_with(
    number: signal.Signals,
    demo: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    step, taken = Tuned.step, []

    def stopped(self: Tuned) -> Tensor:
        taken.append(self.taken)
        if len(taken) == 3:
            signal.raise_signal(number)
        return step(self)

    flags = {version: [*settings("search", "itm", demo, version), "--search.selector=halving"] for version in "ab"}
    search(flags["a"])
    monkeypatch.setattr(Tuned, "step", stopped)
    with pytest.raises(KeyboardInterrupt):
        search(flags["b"])
    assert "all epochs are saved; go on with the same command and RESUME=1 VERSION=b" in capsys.readouterr().out
    monkeypatch.setattr(Tuned, "step", step)
    search([*flags["b"], "--resume=true"])
    whole, again = (load(f"genotypes/searched/itm/{version}.json") for version in "ab")
    assert whole == again and (whole.swaps, whole.supernet) == (again.swaps, again.supernet)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("epoch", [0, 1])
def test_a_stop_while_an_epoch_is_scored_is_obeyed(
    number: int,
    epoch: int,
    demo: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    end = SearchStage.end_epoch

    def interrupted(self: SearchStage, now: int, validate: bool) -> object:
        if now == epoch:
            signal.raise_signal(number)
        return end(self, now, validate)

    with monkeypatch.context() as patch:
        patch.setattr(SearchStage, "end_epoch", interrupted)
        with pytest.raises(KeyboardInterrupt):
            search(settings("search", "itm", demo, "stopped"))
    said = capsys.readouterr().out
    assert f"saved after epoch {epoch + 1}/2; go on with the same command and RESUME=1 VERSION=stopped" in said
    assert "next:" not in said and len({record["epoch"] for record in metrics("stopped")}) == epoch + 1
    search([*settings("search", "itm", demo, "stopped"), "--resume=true"])
    search(settings("search", "itm", demo, "whole"))
    assert metrics("stopped") == metrics("whole")


@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_estimator_searches_and_goes_on_to_the_same_alphas(
    name: str, demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    chosen = [f"--search.estimator={name}", "--search.epochs=1", "--search.alpha_start=0"]
    chosen += [] if name == "none" else ["--search.beta_decay=0.1"]
    search([*settings("search", "itm", demo, "whole"), *chosen])
    said = capsys.readouterr().out
    assert ("search.estimator=none left alpha where the search began" in said) == (name == "none")
    assert "next: make retrain GENO=" in said and "NOT FOUND" not in said
    assert load("genotypes/searched/itm/whole.json").provenance["moved"] == (name != "none")

    step = SearchStage.train_step

    def interrupted(self: SearchStage, *arguments: object) -> object:
        if self.weight_steps == 1:
            signal.raise_signal(signal.SIGINT)
        return step(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(SearchStage, "train_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            search([*settings("search", "itm", demo, "stopped"), *chosen])
    search([*settings("search", "itm", demo, "stopped"), *chosen, "--resume=true"])
    whole, stopped = (checkpoint.load(Path(f"logs/ckpts/{run}/last.pt"))["stage"] for run in ("whole", "stopped"))
    assert whole["steps"] == stopped["steps"] == [4, 0 if name == "none" else 4]
    assert whole["estimator"] == stopped["estimator"]
    assert torch.equal(whole["generator"], stopped["generator"])
    alphas = [key for key in whole["model"] if key.endswith("alpha")]
    assert alphas and all(torch.equal(whole["model"][key], stopped["model"][key]) for key in alphas)


def test_an_estimator_is_told_how_far_the_search_is(
    demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    told = []

    class Told(Full):
        def open(self, alpha: Tensor, generator: torch.Generator, progress: float) -> Opening:
            told.append(progress)
            return super().open(alpha, generator, progress)

    monkeypatch.setitem(ESTIMATORS, "told", Told)
    search([*settings("search", "itm", demo, "told"), "--search.estimator=told"])
    assert told == [step / 3 for step in range(4) for _ in range(3)]  # blocks


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"estimator": "drats"}, "search.estimator='drats' is unknown to the search; choose one of full, two.*darts"),
        (
            {"estimator": "none", "beta_decay": 0.1},
            "estimator=none leaves alpha .* search.beta_decay=0.1 would do nothing",
        ),
        ({"alpha_start": 100}, "alpha_start=100 leaves no epoch"),
    ],
)
def test_settings_with_which_nothing_can_be_searched_are_refused(wrong: dict[str, object], why: str) -> None:
    with pytest.raises(UserError, match=why):
        SearchSettings(**wrong).validate()


def test_a_control_needs_no_room_for_architecture_steps() -> None:
    control = SearchSettings(estimator="none", epochs=1, alpha_start=5)
    control.validate()
    assert control.arch_steps(1) == 0


@pytest.mark.parametrize(("start", "every", "after"), [(0, 1, range(1, 13)), (1, 2, (6, 8, 10, 12)), (2, 3, (9, 12))])
def test_architecture_steps_come_when_they_are_due_and_from_their_own_half(
    start: int, every: int, after: Sequence[int], demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done: list[int] = []

    def noted(stage: SearchStage) -> None:
        own, others = (set(half.image_ids.tolist()) for half in (stage.arch_split, stage.split))
        assert stage.arch_batches.split is stage.arch_split and not own & others
        assert len(own) < len(others)  # 40 scenes, of which one fifth is the architecture's
        stage.arch_steps += 1
        done.append(stage.weight_steps)

    monkeypatch.setattr(SearchStage, "_arch_step", noted)
    few = [f"--search.alpha_start={start}", f"--search.alpha_every={every}", "--search.epochs=3"]
    # 4 weight steps an epoch.
    search([*settings("search", "itm", demo, "a"), *few, "--search.selector=argmax"])
    assert done == list(after)


def test_alpha_goes_by_the_gradient_at_hand_alone(demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    moved: list[float] = []
    gradient, step = Full.alpha_gradient, SearchStage._arch_step

    def of_the_first_step(self: Full, alpha: Tensor, opening: Opening, gate_gradient: Tensor) -> Tensor:
        return gradient(self, alpha, opening, gate_gradient) * (not moved)

    def noted(stage: SearchStage) -> None:
        before = [alpha.detach().clone() for alpha in stage.supernet.alphas]
        step(stage)
        after = [alpha.detach() for alpha in stage.supernet.alphas]
        moved.append(max(float((a - b).abs().max()) for a, b in zip(after, before, strict=True)))

    monkeypatch.setattr(Full, "alpha_gradient", of_the_first_step)
    monkeypatch.setattr(SearchStage, "_arch_step", noted)
    search([*settings("search", "itm", demo, "a"), "--search.epochs=1", "--search.alpha_start=0"])
    # Adam's first beta is 0, as in ProxylessNAS (arXiv 1812.00332): no step is gone on with in the next.
    assert len(moved) == 4 and moved[0] > 0 and not any(moved[1:])
