"""Visual question answering: reading, batches, loss, score and submission, and what is said about bad files."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_vqa
import torch
from parity import load_reference, needs_reference

from common.errors import UserError
from genotypes.genotype import Genotype
from outcome.details import details
from readers.feature_pack import open_pack
from retrain.model import build
from retrain.run import main as retrain
from space.settings import ModelSettings
from tasks.base import Batch, Evaluation, eval_mode
from tasks.vqa import PARTS, VisualQuestionAnswering, VqaData, predict

REAL = Path(__file__).parents[2] / "shared" / "real" / "easyvqa"
QUESTIONS, ANNOTATIONS = "v2_OpenEnded_mscoco_{}_questions.json", "v2_mscoco_{}_annotations.json"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tiny_vqa.make_root(tmp_path / "root")


def make(root: Path, **settings: Any) -> VisualQuestionAnswering:
    return VisualQuestionAnswering(VqaData(root=str(root), **{"answer_min": 3, **settings}))


def small_model(task: VisualQuestionAnswering) -> torch.nn.Module:
    torch.manual_seed(0)
    return build(task, Genotype("vqa", ("self_att_64",), ("guided_att_64",)), ModelSettings(pool_hidden=16), 64)


def test_splits_and_vocabularies(root: Path) -> None:
    task = make(root)
    assert [len(task.split(name)) for name in ("train", "val", "test")] == [48, 16, 8]
    assert task.words == ["PAD", "UNK", "CLS", "color", "is", "it", "red", "what"]
    # 32 images of four colours: 24 times no; ties stand in alphabetical order.
    assert task.answers.words == ["no", "blue", "gray", "green", "red", "yes"]
    assert make(root, answer_min=8).answers.words == ["no"]
    assert task.test_splits == ["test"] and task.region_width == tiny_vqa.WIDTH


@pytest.mark.usefixtures("every_word_known")
def test_more_training_data(root: Path) -> None:
    both, all_three = make(root, split="train+val"), make(root, split="train+val+vg")
    assert len(both.split("train")) == 64 and len(both.split("val")) == 16
    assert len(all_three.split("train")) == 67
    assert both.words == make(root).words and set(all_three.words) - set(both.words) == {"hue", "has", "which"}
    assert all_three.answers.words == make(root).answers.words
    # Given vectors know words that nothing was trained on, so the vocabulary takes them all, as published.
    assert make(root, word_vectors="some").words == all_three.words
    batch = all_three.split("train").batch(np.arange(64, 67))
    assert batch.targets["scores"].argmax(1).tolist() == [3, 1, 3]  # green, blue, green
    assert not any("val is trained on" in line for line in make(root).remarks)
    assert any("val is trained on (SPLIT=train+val)" in line for line in both.remarks)
    model = small_model(both)
    with eval_mode(model):
        assert any("val is trained on" in note for note in both.evaluate(model, both.split("val"), 8).notes)


def test_a_batch_holds_every_image_once(root: Path) -> None:
    split = make(root).split("train")
    indices = np.array([5, 0, 4, 1, 30])
    inputs, targets, *_ = split.batch(indices)
    assert inputs.image_index.tolist() == [1, 0, 1, 0, 2] and inputs.text_index is None
    regions, *_, pad = split.store.gather(np.array([1, 3, 16]), 100)
    assert torch.equal(inputs.regions, regions) and torch.equal(inputs.regions_pad, pad)
    assert inputs.tokens.shape == (5, 4)
    # Eight said so and one with a full stop; "unsure" is no answer of the network's.
    words, scores = make(root).answers.words, targets["scores"]
    names = [["no"], ["green"], ["gray"], ["no"], ["red"]]
    assert [[words[i] for i in row.nonzero().flatten()] for row in scores] == names
    assert scores.max(1)[0].tolist() == [1] * 5


def test_regions_and_words_are_cut(root: Path) -> None:
    inputs = make(root, max_regions=1, max_tokens=2).split("train").batch(np.arange(8)).inputs
    assert inputs.regions.shape[1] == 1 and inputs.tokens.shape[1] == 2


def test_taken_samples_are_those_of_the_whole(root: Path) -> None:
    split = make(root).split("train")
    some = split.subset(np.array([7, 3])).subset(np.array([1]))
    assert some.image_ids.tolist() == [split.image_ids[3]] and len(some) == 1
    one, same = (
        some.batch(np.array([0])),
        split.batch(np.array([3])),
    )
    assert torch.equal(one.inputs.tokens, same.inputs.tokens)
    assert torch.equal(one.targets["scores"], same.targets["scores"])


def test_the_order_of_annotations_does_not_matter(root: Path) -> None:
    before = make(root).split("train")
    name = ANNOTATIONS.format("train2014")
    entries = tiny_vqa.read(root, name, "annotations")
    tiny_vqa.write(root, name, "annotations", [entries[i] for i in np.random.default_rng(0).permutation(len(entries))])
    after = make(root).split("train")
    rows = np.arange(48)
    assert torch.equal(before.samples.answers.targets(rows), after.samples.answers.targets(rows))
    assert after.samples.answer_types.tolist() == ["other", "yes/no"] * 24


def test_the_loss_by_hand() -> None:
    task = VisualQuestionAnswering.__new__(VisualQuestionAnswering)
    p, scores = torch.tensor([[0.9, 0.2, 0.4], [0.3, 0.6, 0.5]]), torch.tensor([[1.0, 0.3, 0.0], [0.0, 0.6, 1.0]])
    found = task.loss(lambda _: p.logit(), Batch(None, {"scores": scores}))
    wanted = -math.log(0.9) - 0.3 * math.log(0.2) - 0.7 * math.log(0.8) - math.log(0.6)
    wanted += -math.log(0.7) - 0.6 * math.log(0.6) - 0.4 * math.log(0.4) - math.log(0.5)
    assert float(found["loss"]) == pytest.approx(wanted, rel=1e-5)
    assert float(found["accuracy"]) == pytest.approx(100 * (1.0 + 0.6) / 2)


@needs_reference
def test_the_loss_of_the_reference() -> None:
    facts, tensors = load_reference("vqa")
    task = VisualQuestionAnswering.__new__(VisualQuestionAnswering)
    batch = Batch(None, {"scores": torch.from_numpy(tensors["targets/ans"])})
    loss = task.loss(lambda _: torch.from_numpy(tensors["outputs"]), batch)["loss"]
    assert float(loss) == pytest.approx(facts["loss"], rel=1e-5)


def test_scores_of_given_answers(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = make(root)
    split = task.split("val")
    given = np.full(len(split), task.answers.ids["no"])
    monkeypatch.setattr("tasks.vqa.predict", lambda *_: (given, np.full(len(given), 0.5)))
    found = task.evaluate(None, split, 8)
    # Six of eight images are not red.
    assert found.metrics == {"accuracy": 37.5, "other": 0.0, "yes/no": 75.0}
    assert found.details == {"is it": 75.0, "what color is": 0.0}
    assert found.notes == ["16 questions; always 'no' would score 37.50"]
    assert found.predictions[0] == {"question_id": 101000, "answer": "no"} and len(found.predictions) == 16


def answered(root: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change every annotation of train and val."""
    for part in ("train", "val"):
        name = ANNOTATIONS.format(f"{part}2014")
        entries = tiny_vqa.read(root, name, "annotations")
        for entry in entries:
            change(entry)
        tiny_vqa.write(root, name, "annotations", entries)


def evaluated(task: VisualQuestionAnswering, monkeypatch: pytest.MonkeyPatch, answer: str) -> Evaluation:
    """Val's score of a network that always gives this answer."""
    split = task.split("val")
    same = np.full(len(split), task.answers.ids[answer]), np.full(len(split), 0.5)
    monkeypatch.setattr("tasks.vqa.predict", lambda *_: same)
    return task.evaluate(None, split, 8)


def test_one_answer_a_question_counts_in_full(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answered(root, lambda one: one.update(answers=[one["multiple_choice_answer"].capitalize()]))
    task = make(root)
    found = evaluated(task, monkeypatch, "no")
    assert found.metrics == {"accuracy": 37.5, "other": 0.0, "yes/no": 75.0}
    assert not any("have 10 answers" in note for note in [*found.notes, *task.remarks])  # right or wrong, as anywhere
    assert task.split("train").batch(np.arange(48)).targets["scores"].max(1)[0].min() == 1


def test_letters_are_answers(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def letter(one: dict[str, Any]) -> None:
        told = {"no": "A", "yes": "b"}.get(one["multiple_choice_answer"], "The")
        one.update(multiple_choice_answer=told, answers=[{"answer": told}] * 10)

    answered(root, letter)
    task = make(root)
    assert task.answers.words == ["the", "a", "b"]
    found = evaluated(task, monkeypatch, "a")
    assert found.metrics["yes/no"] == 75.0 and {one["answer"] for one in found.predictions} == {"a"}


def test_what_annotations_do_not_say_is_not_scored(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def bare(one: dict[str, Any]) -> None:
        for name in ("multiple_choice_answer", "question_type", "answer_type"):
            del one[name]

    before = make(root).answers.words
    answered(root, bare)
    task = make(root)
    found = evaluated(task, monkeypatch, "no")
    assert task.answers.words == before and found.metrics == {"accuracy": 37.5} and found.details == {}


def test_few_known_answers_are_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = make(root, answer_min=20)
    assert task.answers.words == ["no"]
    said = "the known answers (1) cover 38 % of val's questions"
    assert any(said in note for note in evaluated(task, monkeypatch, "no").notes)
    assert any(said in line for line in task.remarks) and any("of train's questions" in line for line in task.remarks)
    assert not any("known answers" in line for line in make(root).remarks)


@pytest.mark.parametrize(
    ("split", "url", "val_size", "said"),
    [
        ("test", "http://visualqa.org", None, "warning: test has 8 questions, VQA v2 has 447,793"),
        ("test-dev", "http://visualqa.org", None, "warning: test-dev has 8 questions, VQA v2 has 107,394"),
        ("test", "", 16, "warning: test has 8 questions, VQA v2 has 447,793"),
        ("test", "http://my.set", None, None),
    ],
)
def test_part_of_vqa_s_test_is_told_before_and_after_training(
    root: Path, monkeypatch: pytest.MonkeyPatch, split: str, url: str, val_size: int | None, said: str | None
) -> None:
    asked = tiny_vqa.read(root, QUESTIONS.format("test2015"), "questions")
    content = json.dumps({"info": {"url": url}, "questions": asked})
    (root / "vqa" / QUESTIONS.format(f"{split}2015")).write_text(content)
    monkeypatch.setitem(PARTS, "val", PARTS["val"]._replace(size=val_size))
    monkeypatch.setattr("tasks.vqa.predict", lambda _, split, __: np.zeros((2, len(split)), np.int64))
    task = make(root, test_split=split)
    notes = task.evaluate(None, task.split(split), 8).notes
    for told in (notes, task.remarks):
        warnings = [line for line in told if line.startswith("warning")]
        assert len(warnings) == (said is not None) and all(said in line for line in warnings)


def test_predictions_stand_in_the_order_of_the_questions(root: Path) -> None:
    task = make(root)
    split, model = task.split("val"), small_model(task)
    split = split.subset(np.random.default_rng(0).permutation(16))
    with eval_mode(model):
        alone = [int(model(split.batch(np.array([i])).inputs).argmax(1)) for i in range(16)]
        assert predict(model, split, 5)[0].tolist() == alone


def test_training_without_test_files_then_a_submission(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("g.json").write_text('{"task": "vqa", "encoder": ["self_att_64"], "decoder": ["guided_att_64"]}')
    sizes = ["--model.pool_hidden=16", "--model.word_width=16", "--retrain.width=64", "--retrain.epochs=15"]
    rate = ["--retrain.lr=2e-3", "--retrain.batch_size=8", "--retrain.warmup_steps=10", "--retrain.val_every=5"]
    options = [f"--data.root={root}", "--gpu=cpu", "--data.answer_min=3", "--data.split=train+val", *sizes, *rate]
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    for path in (root / "coco_extract/test2015", root / "vqa" / QUESTIONS.format("test2015")):
        shutil.move(path, hidden)
    retrain(["--geno=g.json", "--version=a", *options])
    assert json.loads(Path("logs/ckpts/result_test/metrics_a.json").read_text())["metrics"] == {}, "val is no result"
    with pytest.raises(UserError, match="test2015 does not exist"):
        retrain(["--geno=g.json", "--run=test", "--ckpt=logs/ckpts/a/best.pt", *options])
    said = capsys.readouterr().out
    assert "val is trained on (SPLIT=train+val)" in said and f"DATA={root} SPLIT=train+val" in said.replace("\n", "")

    shutil.move(hidden / "test2015", root / "coco_extract")
    shutil.move(hidden / QUESTIONS.format("test2015"), root / "vqa")
    retrain(["--geno=g.json", "--run=test", "--ckpt=logs/ckpts/a/best.pt", "--version=b", *options])
    submitted = Path("logs/ckpts/result_test/result_run_b.json")
    assert str(submitted) in capsys.readouterr().out
    answers = {entry["question_id"]: entry["answer"] for entry in json.loads(submitted.read_text())}
    asked = tiny_vqa.read(root, QUESTIONS.format("test2015"), "questions")
    assert sorted(answers) == sorted(question["question_id"] for question in asked)
    assert sum(answers[1000 * image] == tiny_vqa.COLORS[image % 4] for image in range(201, 205)) >= 3
    assert json.loads(Path("logs/ckpts/result_test/metrics_b_test.json").read_text())["metrics"] == {"test": {}}

    again = ["--geno=g.json", "--run=val", "--ckpt=logs/ckpts/a/best.pt", "--version=c", *options]
    with pytest.raises(UserError, match="^leak audit: 8 of val's 8 images are train's .*; mend .* allow_leak=true"):
        retrain(again)
    retrain([*again, "--allow_leak=true"])
    assert len(json.loads(Path("logs/ckpts/result_test/result_run_c_val.json").read_text())) == 16
    numbers = json.loads(Path("logs/ckpts/result_test/metrics_c_val.json").read_text())
    scored = numbers["metrics"]["val"]
    assert scored["accuracy"] > 95 and numbers["audit"]["leaks"]
    assert set(scored) == {"accuracy", "other", "yes/no", "is it", "what color is"}


def test_test_dev(root: Path, tmp_path: Path) -> None:
    asked = tiny_vqa.read(root, QUESTIONS.format("test2015"), "questions")
    task = make(root, test_split="test-dev")
    assert task.test_splits == ["test-dev"] and task.final_splits == ["val"]
    with pytest.raises(UserError, match="test-dev2015_questions.json does not exist"):
        task.split("test-dev")
    tiny_vqa.write(root, QUESTIONS.format("test-dev2015"), "questions", asked[:3])
    assert task.final_splits == ["val", "test-dev"] and make(root).final_splits == ["val", "test"]
    split, model = task.split("test-dev"), small_model(task)
    assert len(split) == 3 and split.samples.answers is None
    with eval_mode(model):
        found = task.evaluate(model, split, 8)
    (path,) = task.save_predictions(found.predictions, tmp_path, "v", "test-dev")
    assert path.name == "result_run_v_test-dev.json" and len(json.loads(path.read_text())) == 3


def test_only_the_test_splits_need_the_features_of_test(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task, opened = make(root), []
    monkeypatch.setattr(
        "readers.feature_store.open_pack", lambda folder, *rest: opened.append(folder.name) or open_pack(folder, *rest)
    )
    assert task.features("train") is task.features("val") is task.store and opened == []
    store = task.features("test")
    assert task.split("test").store is task.features("test-dev") is store and opened.count("test2015") == 1
    assert store.fingerprint != task.fingerprint and len(store) == len(task.store) + 4


Change = Callable[[list[dict[str, Any]]], Any]


def _repeat(entries: list[dict[str, Any]]) -> None:
    entries[4]["question_id"] = entries[1]["question_id"]


Q, A = (QUESTIONS, "questions"), (ANNOTATIONS, "annotations")


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        (Q, _repeat, r"has question_id 1001 twice, in questions\[1\] and questions\[4\]"),
        (A, _repeat, r"has question_id 24000 twice, in annotations\[1\] and annotations\[4\]"),
        (Q, lambda e: e.pop(0), "1 question ids of .*annotations.json have no question in .*: 1000;"),
        (A, lambda e: e.pop(0), "1 question ids of .*questions.json have no annotation in .*: 24001"),
        (Q, lambda e: e.clear(), "has no questions; a file of VQA questions holds a list of them"),
        (Q, lambda e: e[3].pop("image_id"), r"questions\[3\]: 'image_id' is missing or not a whole number"),
        (Q, lambda e: e[3].update(question=5), r"questions\[3\]: 'question' is missing or not a text"),
        (A, lambda e: e[2].update(answer_type=5), r"annotations\[2\]: 'answer_type' is missing or not a text"),
        (
            A,
            lambda e: e[2].update(image_id=3),
            "the image_id of 1 questions in .* is not that in .*: question 23001 has 3",
        ),
        (A, lambda e: e[2]["answers"].clear(), r"annotations\[2\]: 'answers' is empty"),
        (
            A,
            lambda e: e[2]["answers"][3].pop("answer"),
            r"annotations\[2\]: answers\[3\] is .*; each of 'answers'",
        ),
    ],
)
def test_bad_files_are_named(root: Path, file: tuple[str, str], change: Change, said: str) -> None:
    name, key = file[0].format("train2014"), file[1]
    entries = tiny_vqa.read(root, name, key)
    change(entries)
    tiny_vqa.write(root, name, key, entries)
    with pytest.raises(UserError, match=said) as caught:
        make(root).split("train")
    assert name in str(caught.value)


def test_images_need_features(root: Path) -> None:
    (root / "coco_extract/train2014/COCO_train2014_000000000024.jpg.npz").unlink()
    with pytest.raises(UserError, match="1 of the 24 images of the questions of .* no features .*: 24"):
        make(root).split("train")


def test_other_bad_files(root: Path) -> None:
    path = root / "vqa" / QUESTIONS.format("val2014")
    whole = path.read_text()
    path.write_text(whole[:200])
    with pytest.raises(UserError, match="val2014_questions.json is not valid JSON at line 1, column"):
        make(root)
    path.write_text("{}")
    with pytest.raises(UserError, match="val2014_questions.json has no questions"):
        make(root)
    path.write_text(whole)
    (root / "vqa/VG_annotations.json").unlink()
    assert len(make(root).split("train")) == 48
    with pytest.raises(UserError, match="VG_annotations.json does not exist; it should be a file of VQA annotations"):
        make(root, split="train+val+vg").split("train")
    (root / "vqa" / ANNOTATIONS.format("val2014")).unlink()
    task = make(root)
    assert task.answers.words == ["no", "blue", "gray", "green", "red", "yes"]
    with pytest.raises(UserError, match="val2014_annotations.json does not exist"):
        task.split("val")


def test_unknown_names_are_refused(root: Path) -> None:
    with pytest.raises(UserError, match=r"SPLIT='train\+vg' is unknown .*did you mean"):
        make(root, split="train+vg")
    with pytest.raises(UserError, match="split='dev' is unknown to .*; choose one of train, val, test, test-dev"):
        make(root).split("dev")
    with pytest.raises(UserError, match="data.test_split='val' is unknown to .*; choose one of test, test-dev"):
        make(root, test_split="val")


@pytest.mark.skipif(not REAL.is_dir(), reason="the real data sets are not here")
def test_real_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a pack whose own folder cannot be written lies under logs
    for name in ("coco_extract", "vqa"):
        (tmp_path / name).symlink_to(REAL / name)
    task = make(tmp_path, answer_min=8)
    assert len(task.answers) == 13 and len(task.split("test")) > 0
    split = task.split("val")
    assert len(split) == 937 and split.samples.answers.best_constant(split.rows)[1] == pytest.approx(0.3767, abs=1e-4)


def test_every_score_of_a_kind_has_an_interval_and_baselines(root: Path) -> None:
    task = make(root)
    model = small_model(task)
    with eval_mode(model):
        found = task.evaluate(model, task.split("val"), 8)
    told = details("val", found.samples()).beside
    scores = {**found.metrics, **found.details}
    assert len(scores) > 3 and scores.keys() == told.keys()
    for name, value in scores.items():
        assert told[name].low <= value <= told[name].high, name
        assert told[name].baselines.keys() == {"guessing", "words alone"}
