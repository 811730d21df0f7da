"""Imported networks of the original implementation: the same outputs on the task's own batches, or a clear refusal."""

from __future__ import annotations

import itertools
import json
import math
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tiny_vqa
import torch
from older_root import WORDS, answer, make_root, options, word
from parity import REFERENCE, needs_reference, reference
from torch import Tensor

from common.errors import UserError
from genotypes.genotype import Genotype, load
from matching.scores import score_matrix
from retrain.model import restore
from retrain.run import main as retrain
from space.inputs import Inputs
from tasks.base import Task, eval_mode
from tasks.find import find_task
from tasks.vqa import VisualQuestionAnswering, VqaData
from tools.original import lists
from tools.original.convert import EMBEDDING, OUTPUTS, fit
from tools.original.convert import main as import_weights

TASKS = ("itm", "vqa", "vgd")
EXACT = 1e-4  # what float32 allows through 30 blocks
HALVES = 1e-3  # features are kept in half precision, whose relative step is 2^-11; measured here: 2e-4
# What that does to a box that is written with two decimals, and to its certainty with four; measured: 0.006 and 4e-5.
PIXELS, CERTAINTY = 0.02, 2e-4
RESULTS = Path("logs/ckpts/result_test")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def checkpoint(name: str) -> Path:
    return REFERENCE / name / "checkpoint.pkl"


def genotype(name: str) -> Path:
    """The genotype of a reference network, as a file."""
    sides = reference(name).facts["genotype"]
    flat = {ours: [block[0] for block in sides[older]] for ours, older in (("encoder", "enc"), ("decoder", "dec"))}
    return Genotype(name, **flat).save(f"{name}.json")


def imported(name: str, path: Path | None = None, more: Sequence[str] = ()) -> Path:
    """Import a reference network over a data root made around it."""
    out = Path(f"{name}.pt")
    data = make_root(Path("root").absolute(), name, reference(name), more)
    geno = f"--geno={genotype(name)}"
    import_weights([str(path or checkpoint(name)), geno, *options(name, data), f"--out={out}"])
    return out


def task_over(name: str) -> Task:
    cls, _ = find_task(name)
    return cls(cls.Data(root="root", **({"answer_min": 0} if name == "vqa" else {})))


def places(name: str, ours: list[str], spell: Callable[[int], str]) -> Tensor:
    """Where each of ours stands in the reference."""
    older = [spell(number) for number in range(len(ours))]
    return torch.tensor([older.index(word) for word in ours])


def compared(name: str, made: object, given: SimpleNamespace, task: Task) -> list[tuple[Tensor, Tensor]]:
    """Our outputs and the reference's, in one order."""
    wanted, pad = given.tensors, given.inputs.regions_pad
    if name == "itm":
        return [(made.view(3, -1)[0].sigmoid(), wanted["outputs"])]
    if name == "vqa":
        return [(made, wanted["outputs"][:, places(name, task.labels, answer)])]
    # The reference normalises its scores over padded regions too; ours are compared where there is a region.
    scores = [
        part.masked_fill(pad, -torch.inf).log_softmax(-1)[~pad] for part in (made[0], wanted["outputs/pred_scores"])
    ]
    return [(scores[0], scores[1]), (made[1][~pad], wanted["outputs/pred_reg"][~pad])]


def own_batch(name: str, task: Task) -> Inputs:
    """The reference's four samples as the task itself makes them."""
    indices = np.arange(4) * (5 if name == "itm" else 1)
    split = task.split("val")
    return split.batch(split.draw(indices, np.random.default_rng(0))).inputs


@needs_reference
@pytest.mark.parametrize("name", TASKS)
def test_the_original_s_outputs_on_the_task_s_own_batches(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    out = imported(name)
    said = capsys.readouterr().out
    task, given = task_over(name), reference(name)
    assert task.words[3:] != [word(token) for token in range(3, WORDS)]  # rows had to be put in order
    trained = restore(out, task, load(f"{name}.json"))
    assert trained.epoch == 13 and f"next: make retrain RUN=val CKPT={out} DATA=" in said
    assert "used     network.embedding.weight  100 x 300\n" in said and "none missing" in said
    inputs = own_batch(name, task)
    with eval_mode(trained.model):
        halves = compared(name, trained.model(inputs), given, task)
        exact = compared(name, trained.model(inputs._replace(regions=given.inputs.regions)), given, task)
    for (half, wanted), (ours, _) in zip(halves, exact, strict=True):
        torch.testing.assert_close(half, wanted, atol=HALVES, rtol=0)
        torch.testing.assert_close(ours, wanted, atol=EXACT, rtol=0)


def rewrite(path: Path, change: Callable[[object], None]) -> None:
    """Change a JSON file in place."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


Expected = tuple[dict[str, object], list[dict[str, object]] | None]  # metrics and predictions of val


def expected_answers(given: SimpleNamespace, out: Path) -> Expected:
    """The reference's best answers; of ten people so many are made to agree that right and wrong ones count."""
    best = [answer(int(number)) for number in given.tensors["outputs"].argmax(1)]
    agreeing, worth = (10, 3, 2, 0), (100, 90, 60, 0)  # by the official formula, each annotator left out in turn

    def asked(content: dict[str, list[dict[str, object]]]) -> None:
        for entry, said, count in zip(content["annotations"], best, agreeing, strict=True):
            entry["answers"] = [{"answer": said}] * count + [{"answer": "nothing known"}] * (10 - count)

    rewrite(Path("root/vqa/v2_mscoco_val2014_annotations.json"), asked)
    predictions = [{"question_id": number, "answer": said} for number, said in enumerate(best)]
    return {"accuracy": pytest.approx(np.mean(worth)), "other": pytest.approx(np.mean(worth))}, predictions


def moved_box(box: Tensor, offsets: Tensor, image_hw: Tensor) -> list[float]:
    """A region moved by what the head gave for it, within its image (R-CNN, arXiv 1311.2524, appendix C)."""
    ends = []
    for axis in (0, 1):
        low, side = float(box[axis]), float(box[axis + 2] - box[axis]) + 1
        centre = low + side / 2 + 0.1 * float(offsets[axis]) * side
        side *= math.exp(0.2 * float(offsets[axis + 2]))
        ends.append(
            [min(max(x, 0.0), float(image_hw[1 - axis]) - 1) for x in (centre - side / 2, centre + side / 2 - 1)]
        )
    return [ends[axis][end] for end in (0, 1) for axis in (0, 1)]


def expected_boxes(given: SimpleNamespace, out: Path) -> Expected:
    """The reference's best regions, moved by its offsets; two of the four phrases are made to mean them."""
    scores = given.tensors["outputs/pred_scores"].masked_fill(given.inputs.regions_pad, -torch.inf).softmax(-1)
    certainty, best = scores.max(1)
    boxes = [
        moved_box(given.inputs.boxes[row, place], given.tensors["outputs/pred_reg"][row, place], hw)
        for row, (place, hw) in enumerate(zip(best.tolist(), given.inputs.image_hw, strict=True))
    ]

    def meant(content: list[dict[str, object]]) -> None:
        for entry, (x1, y1, x2, y2), there in zip(content, boxes, (True, False, True, False), strict=True):
            entry["bbox"] = [x1, y1, x2 - x1 + 1, y2 - y1 + 1] if there else [0, 0, 3, 3]

    rewrite(Path("root/refs/refcoco/val.json"), meant)
    predictions = [
        {"box": pytest.approx(box, abs=PIXELS), "score": pytest.approx(score, abs=CERTAINTY)}
        for box, score in zip(boxes, certainty.tolist(), strict=True)
    ]
    return {"accuracy": 50.0}, predictions


def reference_pairs(given: SimpleNamespace, out: Path) -> np.ndarray:
    """Probabilities (image, text): the reference's own and rolled pairs; the others by the network, one by one."""
    own, rolled = np.arange(4), (np.arange(4) - 1) % 4
    found = np.full((4, 4), np.nan)
    for key, images, texts in (("pos", own, own), ("negc", own, rolled), ("negi", rolled, own)):
        found[images, texts] = given.tensors[f"loss_outputs/{key}"]
    images, texts = (torch.from_numpy(part) for part in np.nonzero(np.isnan(found)))
    assert len(images) == 4
    task = task_over("itm")
    network = restore(out, task, None).model
    inputs = own_batch("itm", task)
    with eval_mode(network):
        for image, text in zip(images, texts, strict=True):
            # The batch begins with each text beside its own image.
            one = inputs._replace(
                image_index=inputs.image_index[image.view(1)], text_index=inputs.text_index[text.view(1)]
            )
            found[image, text] = float(network(one).sigmoid())
    return found


def expected_ranks(given: SimpleNamespace, out: Path) -> Expected:
    """Recalls and ranks from the pairs' probabilities; each text stands five times as its image's captions."""
    pairs = reference_pairs(given, out)
    own = pairs.diagonal()
    ranks = {"i2t": 1 + 5 * (pairs > own[:, None]).sum(1), "t2i": 1 + (pairs > own[None]).sum(0)}
    metrics: dict[str, float] = {}
    for way, rank in ranks.items():
        metrics |= {f"{way}_r{k}": 100 * np.mean(rank <= k) for k in (1, 5, 10)}
        metrics |= {f"{way}_median": np.median(rank), f"{way}_mean": np.mean(rank)}
    metrics["rsum"] = sum(value for key, value in metrics.items() if "_r" in key)
    return {key: pytest.approx(value) for key, value in metrics.items()}, None


EXPECTED = {"itm": expected_ranks, "vqa": expected_answers, "vgd": expected_boxes}


def score(name: str, out: Path) -> dict[str, object]:
    """What RUN=val writes about a network, in full precision."""
    run = ["--run=val", f"--ckpt={out}", "--version=v", "--gpu=cpu", "--precision=fp32"]
    run.append("--allow_leak=true")  # the few images stand in every split
    retrain([f"--geno={name}.json", *options(name, Path("root")), *run])
    summary = RESULTS / "metrics_v_val.json"
    return json.loads(summary.read_text())


@needs_reference
@pytest.mark.parametrize("name", TASKS)
def test_the_next_command_scores_it_as_the_original_would(name: str) -> None:
    out = imported(name)
    metrics, predictions = EXPECTED[name](reference(name), out)
    found = score(name, out)
    assert (found["epoch"], found["task"]) == (13, name)
    assert {key: found["metrics"]["val"][key] for key in metrics} == metrics
    if predictions is not None:
        assert json.loads((RESULTS / "result_run_v_val.json").read_text()) == predictions


@needs_reference
def test_it_scores_every_pair_as_the_original_would(monkeypatch: pytest.MonkeyPatch) -> None:
    out, matrices = imported("itm"), []

    def noted(*which: Any) -> np.ndarray:
        matrices.append(score_matrix(*which))
        return matrices[-1]

    monkeypatch.setattr("tasks.itm.score_matrix", noted)
    score("itm", out)
    (matrix,) = matrices
    wanted = reference_pairs(reference("itm"), out).repeat(5, axis=1)
    np.testing.assert_allclose(1 / (1 + np.exp(-matrix)), wanted, atol=HALVES, rtol=0)


def held(name: str) -> dict[str, Tensor]:
    return torch.load(checkpoint(name), weights_only=True)["state_dict"]


@needs_reference
def test_a_bare_state_dict_and_useless_tensors() -> None:
    state = {name.removeprefix("module."): value for name, value in held("vgd").items()}
    torch.save({**state, "linear_x_rel.weight": torch.zeros(2)}, "bare.pkl")
    bare = imported("vgd", Path("bare.pkl"))
    torch.save(held("vgd") | {"module.linear_x_rel.bias": torch.zeros(2)}, "bare2.pkl")
    one = torch.load(bare, weights_only=True)["model"]
    import_weights(["bare2.pkl", "--geno=vgd.json", *options("vgd", Path("root")), "--out=other.pt"])
    other = torch.load("other.pt", weights_only=True)["model"]
    assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@needs_reference
@pytest.mark.parametrize("name", TASKS)
def test_another_vocabulary_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="knows 100 words but the data root gives 101; .* check data.root"):
        imported(name, more=["another"])
    assert not Path(f"{name}.pt").exists()


@needs_reference
def test_other_answers_are_refused() -> None:
    root = make_root(Path("root"), "vqa", reference("vqa"))
    with pytest.raises(UserError, match="knows 50 answers but the data root gives 4; .* data.answer_min"):
        # Only val's four questions share their answers with training ones.
        import_weights(
            [
                str(checkpoint("vqa")),
                f"--geno={genotype('vqa')}",
                "--task=vqa",
                f"--data.root={root}",
                "--data.answer_min=1",
            ]
        )


@needs_reference
def test_a_network_is_not_read_with_other_answers() -> None:
    out = imported("vqa")
    task = task_over("vqa")
    task.answers.words.reverse()
    with pytest.raises(UserError, match="knows 50 answers, the data gives 50 others; use the annotations"):
        restore(out, task, None)


def letters(root: Path, *answers: str) -> VisualQuestionAnswering:
    """A task whose questions have these most common answers in turn, the network knowing those of more than four."""
    for part in ("train2014", "val2014"):
        name = f"v2_mscoco_{part}_annotations.json"
        entries = tiny_vqa.read(root, name, "annotations")
        told = zip(entries, itertools.cycle(answers), strict=False)
        tiny_vqa.write(root, name, "annotations", [one | {"multiple_choice_answer": text} for one, text in told])
    entries = tiny_vqa.read(root, "v2_OpenEnded_mscoco_val2014_questions.json", "questions")
    tiny_vqa.write(root, "v2_OpenEnded_mscoco_test2015_questions.json", "questions", entries)
    return VisualQuestionAnswering(VqaData(root=str(root), answer_min=4))


def test_answers_without_an_official_form_take_the_row_of_the_original_s_empty_one() -> None:
    task = letters(tiny_vqa.make_root(Path("tiny")), "red", "a", "?", "gray", "red", "red")
    assert lists.answers(task) == ["red", "", "gray"] and task.labels == ["red", "?", "a", "gray"]
    state = {EMBEDDING: torch.zeros(len(lists.words(task)), 2), **{name: torch.arange(3.0) for name in OUTPUTS}}
    fitted = fit(Path("x.pkl"), state, task)
    assert [fitted[name].tolist() for name in OUTPUTS] == [[0, 1, 1, 2]] * 2


def test_the_original_counts_by_the_most_common_answer() -> None:
    task = letters(tiny_vqa.make_root(Path("tiny")), "red")
    name = "v2_mscoco_val2014_annotations.json"
    entries = tiny_vqa.read(Path("tiny"), name, "annotations")
    del entries[2]["multiple_choice_answer"]
    tiny_vqa.write(Path("tiny"), name, "annotations", entries)
    with pytest.raises(
        UserError, match=r"val2014_annotations.json, annotations\[2\]: 'multiple_choice_answer' is missing"
    ):
        lists.answers(task)


def spoiled(name: str, **sides: tuple[str, ...]) -> str:
    """A genotype that is not the checkpoint's."""
    return str(load(f"{name}.json").replace(**sides).save("spoiled.json"))


@needs_reference
def test_another_genotype_is_refused_by_the_tensors() -> None:
    imported("itm")
    kept = load("itm.json")
    arguments = [str(checkpoint("itm")), *options("itm", Path("root")), "--out=none.pt"]
    longer = spoiled("itm", encoder=(*kept.encoder, "feed_forward"))
    with pytest.raises(UserError, match=r"it lacks network.backbone.encoder.12\S*, .* and \d more"):
        import_weights([*arguments, f"--geno={longer}"])
    shorter = spoiled("itm", decoder=kept.decoder[:-1])
    with pytest.raises(UserError, match=r"it has besides network.backbone.decoder.17\S*, "):
        import_weights([*arguments, f"--geno={shorter}"])
    with pytest.raises(UserError, match="of another shape are network.backbone.decoder.3"):
        import_weights([*arguments, "--geno=itm.json", "--model.head_scale=2"])
    assert not Path("none.pt").exists()


@needs_reference
def test_other_checkpoints_are_refused() -> None:
    data = make_root(Path("root"), "itm", reference("itm"))
    arguments = [f"--geno={genotype('itm')}", *options("itm", data)]
    search = REFERENCE / "search_itm" / "checkpoint.pkl"
    for path, said in (
        (search, "is the network of a search"),
        (checkpoint("vgd"), r"it lacks .* more; it has besides .* more"),
    ):
        with pytest.raises(UserError, match=said):
            import_weights([str(path), *arguments])
    torch.save({**held("itm"), "module.backnone.cells_enc.1.dag.0.0.ln.a_2": torch.ones(128)}, "deep.pkl")
    with pytest.raises(UserError, match="tensors that no network of the original has: module.backnone.cells_enc.1"):
        import_weights(["deep.pkl", *arguments])
    torch.save({"epoch": 3}, "none.pkl")
    with pytest.raises(UserError, match="none.pkl is no checkpoint of the original implementation"):
        import_weights(["none.pkl", *arguments])


class Harm:
    """Leaves a file behind where a pickle is trusted."""

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path("harmed"),)


@needs_reference
def test_files_that_ask_for_code_or_are_cut_short_are_refused() -> None:
    data = make_root(Path("root"), "itm", reference("itm"))
    arguments = [f"--geno={genotype('itm')}", *options("itm", data)]
    torch.save({"state_dict": held("itm"), "extra": Harm()}, "new.pkl")
    Path("old.pkl").write_bytes(pickle.dumps({"state_dict": Harm()}, protocol=2))
    for name in ("new.pkl", "old.pkl"):
        with pytest.raises(UserError, match="holds more than tensors and plain values, so it is not loaded"):
            import_weights([name, *arguments])
    assert not Path("harmed").exists()
    Path("cut.pkl").write_bytes(checkpoint("itm").read_bytes()[:100_000])
    with pytest.raises(UserError, match="cut.pkl is damaged"):
        import_weights(["cut.pkl", *arguments])
    with pytest.raises(UserError, match="away.pkl does not exist"):
        import_weights(["away.pkl", *arguments])


def test_what_must_be_given() -> None:
    for arguments in ([], ["x.pkl", "--task=itm"], ["--geno=mmnas_itm"]):
        with pytest.raises(UserError, match=r"the command is python -m tools.original FILE.pkl --geno="):
            import_weights(arguments)
