"""A data set of pictures and a table: the tasks read what it writes, and every wrong row is told by its line."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tiny_pictures

from common.errors import UserError
from tasks.find import find_task
from tools import features
from tools.dataset.divide import divide
from tools.dataset.make import main
from tools.pack import main as pack

COUNT = 12
ROWS = {
    "itm": ("image,caption", lambda n: f'{n:03d}.png,"a picture, number {n}"'),
    "vqa": ("image,question,answers", lambda n: f"{n:03d}.png,what is it?,{'yes|yes|no' if n % 2 else 'no'}"),
    "vgd": ("image,phrase,x1,y1,x2,y2", lambda n: f"{n:03d}.png,the left one,0,0,{20 + n % 3},15"),
}


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tools.sheet.DPI", 30)
    return tiny_pictures.folder(tmp_path / "pictures", COUNT)


def table(task: str, *more: str, name: str = "t.csv") -> Path:
    header, row = ROWS[task]
    path = Path(name)
    path.write_text("\n".join([header, *map(row, range(COUNT)), *more]) + "\n", encoding="utf-8")
    return path


def make(task: str, path: Path, *more: str, root: str = "root") -> Path:
    main([f"--task={task}", "--pictures=pictures", f"--table={path}", f"--data={root}", *more])
    return Path(root)


def task_on(task: str, root: Path):
    kind, _ = find_task(task)
    own = {"vqa": {"answer_min": 0}, "vgd": {"dataset": "refcocog"}}.get(task, {})
    return kind(kind.Data(root=str(root), word_vectors=None, **own))


@pytest.mark.parametrize(
    "task,content",
    {
        "itm": {
            "images": [{"id": 7 + n, "file_name": f"{n:03d}.png"} for n in range(COUNT)],
            "annotations": [{"image_id": 7 + n, "caption": f"a picture, number {n}", "id": n} for n in range(COUNT)],
        },
        "vgd": [
            {"id": n, "regions": [{"phrase": "the left one", "x": 0, "y": 0, "width": 20 + n % 3, "height": 15}]}
            for n in range(COUNT)
        ],
        "vqa": [
            {"Image": f"{n:03d}.png", "question": "what is it?", "answer": ["yes", "no"][n % 2]} for n in range(COUNT)
        ],
    }.items(),
)
def test_one_json_gives_what_a_table_gives(
    task: str, content: object, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if task == "vgd":  # Visual Genome's pictures lie in two folders, called by their number
        for number in range(COUNT):
            below = pictures / ("VG_100K" if number % 2 else "VG_100K_2")
            below.mkdir(exist_ok=True)
            (pictures / f"{number:03d}.png").rename(below / f"{number}.jpg")
    Path("t.json").write_text(json.dumps(content))
    root = make(task, Path("t.json"))
    features.main([f"--data={root}", "--extractor=tiny_pictures:Quarters", "--nw=0", "--gpu=cpu"])
    assert len(task_on(task, root).split("train")) == 8
    assert ", entry " in capsys.readouterr().out


def test_entries_that_are_wrong_are_told_by_their_number(pictures: Path) -> None:
    images = [{"id": n, "file_name": f"{n:03d}.png"} for n in range(COUNT)]
    texts = [{"image_id": n, "caption": "a picture"} for n in range(COUNT)]
    Path("t.json").write_text(json.dumps({"images": images, "annotations": [*texts, {"image_id": [1]}, 5]}))
    root = make("itm", Path("t.json"), "--skip-bad")
    assert json.loads((root / "dataset.json").read_text())["refused"] == [
        "t.json entry 13: image_id [1] is none of its images",
        "t.json entry 14: it is no JSON object",
    ]
    Path("t.json").write_text('{"captions": []}')
    with pytest.raises(UserError, match=r"t.json should be COCO captions \(images, annotations\), Visual Genome's"):
        make("itm", Path("t.json"))
    (pictures / "a").mkdir()
    (pictures / "b").mkdir()
    for below in "ab":
        (pictures / below / "one.png").write_bytes((pictures / "000.png").read_bytes())
    root = make("itm", table("itm", "one.png,which"), "--skip-bad")
    (refused,) = json.loads((root / "dataset.json").read_text())["refused"]
    assert "pictures/a/one.png and pictures/b/one.png are both called one.png; say in the table which" in refused


@pytest.mark.parametrize("task", ROWS)
def test_what_is_made_is_read_by_the_task(task: str, pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = make(task, table(task))
    features.main([f"--data={root}", "--extractor=tiny_pictures:Quarters", "--nw=0", "--gpu=cpu"])
    made = task_on(task, root)
    counts = {name: len(made.split(name)) for name in ("train", "val", *made.test_splits)}
    assert counts == {"train": 8, "val": 2, "test": 2}
    assert made.features("train").width == 3
    said = capsys.readouterr().out
    assert (
        f"next: make search TASK={task} PROFILE=mini DATA=root{' DATASET=refcocog' if task == 'vgd' else ''}\n" in said
    )
    assert (root / "samples.png").stat().st_size > 1_000


def test_answers_boxes_and_pictures_are_those_of_the_table(pictures: Path) -> None:
    root = make("vqa", table("vqa"), root="a")
    held = json.loads((root / "dataset.json").read_text())["pictures"]
    questions = json.loads((root / "vqa" / "v2_OpenEnded_mscoco_train2014_questions.json").read_text())["questions"]
    answers = json.loads((root / "vqa" / "v2_mscoco_train2014_annotations.json").read_text())["annotations"]
    for asked, told in zip(questions, answers, strict=True):
        name = held[f"{asked['image_id']:012d}"]["picture"]
        assert told["answers"] == (["yes", "yes", "no"] if int(name[:3]) % 2 else ["no"])
        link = root / "images" / "train2014" / f"{asked['image_id']:012d}.png"
        assert link.read_bytes() == (pictures / name).read_bytes()
    root = make("vgd", table("vgd"), root="b")
    held = json.loads((root / "dataset.json").read_text())["pictures"]
    for one in json.loads((root / "refs" / "refcocog" / "train.json").read_text()):
        number = int(held[f"{one['image_id']:012d}"]["picture"][:3])
        assert one["bbox"] == [0, 0, 20 + number % 3, 15] and (one["width"], one["height"]) == (40, 30)


@pytest.mark.parametrize(
    ("task", "row", "said"),
    [
        ("itm", "000.png,", "caption is empty"),
        ("itm", "gone.png,words", "gone.png does not exist"),
        ("itm", "../t.csv,words", "must be a path below"),
        ("itm", "000.png", "1 cells and the header 2"),
        ("itm", "bad.png,words", "no picture of a known kind"),
        ("itm", "whole.jfif,words", "whole.jfif ends in none of .bmp .gif"),
        ("vqa", "000.png,why?, | ", "answers is empty"),
        ("vgd", "000.png,it,0,0,x,1", "not four numbers"),
        ("vgd", "000.png,it,5,5,2,9", "no width or no height; are these x y w h"),
        ("vgd", "000.png,it,0,0,99,9", "lies outside the picture of 40 x 30"),
        ("vgd", "000.png,it,0,0,nan,9", "no width or no height"),
    ],
)
def test_a_wrong_row_is_told_by_its_line(
    task: str, row: str, said: str, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (pictures / "bad.png").write_bytes(b"words")
    (pictures / "whole.jfif").write_bytes((pictures / "000.png").read_bytes())
    path = table(task, row)
    with pytest.raises(UserError, match=rf"1 of {COUNT + 1} rows are wrong"):
        make(task, path)
    told = capsys.readouterr().out
    assert f"t.csv line {COUNT + 2}: " in told and said in told and not Path("root").exists()
    make(task, path, "--skip-bad")
    assert f"{COUNT + 1} rows of t.csv, 1 of them left out" in capsys.readouterr().out
    assert len(json.loads(Path("root/dataset.json").read_text())["refused"]) == 1


def test_splits_of_the_table_are_kept_and_a_picture_in_two_is_refused(
    pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"{n:03d}.png,words,{'train' if n < 6 else 'dev' if n < 9 else 'Test'}" for n in range(COUNT)]
    Path("t.csv").write_text("\n".join(["picture,Caption,split", *rows, "000.png,more,test"]))
    make("itm", Path("t.csv"), "--skip-bad")
    said = capsys.readouterr().out
    assert f"line {COUNT + 2}: 000.png is in test here and in train in line 2" in said
    texts = [Path(f"root/itm/f30k_precomp/{split}_caps.txt").read_text() for split in ("train", "dev", "test")]
    assert [text.count("words\n") for text in texts] == [6, 3, 3]


def test_copies_come_into_one_split_and_neither_order_nor_names_decide(pictures: Path) -> None:
    groups = [[f"{n}a", f"{n}b"] if n % 5 == 0 else [f"{n}a"] for n in range(50)]
    keys = {name: f"{int(name[:-1]):03d}" for group in groups for name in group}
    one = divide(groups, keys, seed=0)
    assert all(len({one[name] for name in group}) == 1 for group in groups)
    assert Counter(one.values()) == {"train": 48, "val": 6, "test": 6}
    assert divide(groups[::-1], keys, seed=0) == one != divide(groups, keys, seed=1)
    large = divide(["abc", "def", "ghi"], {name: name for name in "abcdefghi"}, 0)
    assert Counter(large.values()) == {"train": 3, "val": 3, "test": 3}
    with pytest.raises(UserError, match="2 different pictures"):
        divide([["a"], ["b"]], {"a": "a", "b": "b"}, 0)


def test_json_lines_with_lists(pictures: Path) -> None:
    lines = [{"image": f"{n:03d}.png", "captions": ["one\ntext", "another"]} for n in range(COUNT)]
    Path("t.jsonl").write_text("\n".join(map(json.dumps, lines)))
    root = make("itm", Path("t.jsonl"))
    assert (root / "itm" / "f30k_precomp" / "dev_caps.txt").read_text() == "one text\nanother\n" * 2
    lines = [{"image": f"{n:03d}.png", "question": "how many?", "answers": [n % 2, 1]} for n in range(COUNT)]
    Path("t.jsonl").write_text("\n".join([*map(json.dumps, lines), "[1]"]))
    root = make("vqa", Path("t.jsonl"), "--skip-bad")
    assert '"answers": ["0", "1"]' in (root / "vqa" / "v2_mscoco_train2014_annotations.json").read_text()


def test_a_column_of_boxes_needs_its_order(pictures: Path) -> None:
    rows = [f'{n:03d}.png,it,"[2, 3, 12, 13]"' for n in range(COUNT)]
    Path("t.csv").write_text("\n".join(["image,phrase,box", *rows]))
    with pytest.raises(UserError, match="BOXES=xywh or BOXES=xyxy"):
        make("vgd", Path("t.csv"))
    for order, box in {"xyxy": [2, 3, 10, 10], "xywh": [2, 3, 12, 13]}.items():
        root = make("vgd", Path("t.csv"), f"--boxes={order}")
        assert json.loads((root / "refs" / "refcocog" / "val.json").read_text())[0]["bbox"] == box


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("t.xlsx", "", "must be a table"),
        ("t.csv", "", "has no rows"),
        ("t.csv", "image,text\n", "has no rows"),
        ("t.csv", "image,words\n1,2\n", "no column of texts: call one text or caption"),
        ("t.csv", "image,image\n1,2\n", "line 1 must name every column"),
        ("t.csv", 'image,text\n1,"2\n3,4\n', "cannot be read from line 2 on"),
        ("t.csv", "image,text\ngone.png,words\n", "no row of t.csv is a sample: line 2"),
    ],
)
def test_tables_that_are_none(pictures: Path, name: str, content: str, said: str) -> None:
    Path(name).write_text(content)
    with pytest.raises(UserError, match=said):
        make("itm", Path(name))


def test_nothing_of_other_origin_is_overwritten(pictures: Path) -> None:
    root = make("itm", table("itm"))
    make("vqa", table("vqa"))
    assert not (root / "itm").exists() and (root / "vqa").exists()
    (root / "itm").mkdir()
    with pytest.raises(UserError, match="root/itm is there and was not made by this command"):
        make("itm", table("itm"))


@pytest.mark.parametrize("task", ROWS)
def test_what_a_user_put_beside_what_was_made_stays(task: str, pictures: Path) -> None:
    root = make(task, table(task))
    made = {path for path in root.rglob("*") if path.is_file()} - {root / "samples.png", root / "dataset.json"}
    texts = next(path for path in made if not path.is_symlink())
    notes = texts.with_name("notes.txt")
    notes.write_text("mine")
    texts.write_text("stale")
    make(task, table(task))
    assert notes.read_text() == "mine" and texts.read_text() != "stale"
    other = "vqa" if task == "itm" else "itm"
    make(other, table(other))
    assert [path for path in root.rglob("*") if path in made and path.suffix != ".png"] == [] and notes.exists()
    before = set(root.rglob("*"))
    with pytest.raises(UserError, match="is there and was not made by this command; move it elsewhere"):
        make(task, table(task))
    assert set(root.rglob("*")) == before
    notes.unlink()
    notes.parent.rmdir()
    if notes.parent.parent != root:
        notes.parent.parent.rmdir()
    mine = root / "images" / "mine.png"
    mine.symlink_to(pictures.resolve() / "000.png")
    with pytest.raises(UserError, match="root/images/mine.png is there and was not made by this command"):
        make(task, table(task))
    assert mine.is_symlink() and len(list((root / "images").rglob("*.png"))) == COUNT + 1


def test_a_picture_that_cannot_be_read_is_one_line_with_every_row_that_names_it(
    pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (pictures / "bad.png").write_bytes(b"words")
    path = table("itm", "bad.png,one", "gone.png,one", "bad.png,two", "bad.png,three")
    with pytest.raises(UserError, match=rf"4 of {COUNT + 4} rows are wrong"):
        make("itm", path)
    bad, gone = capsys.readouterr().out.splitlines()
    assert bad.startswith(f"t.csv line {COUNT + 2}: ") and bad.endswith(f"(also named in {COUNT + 4}, {COUNT + 5})")
    assert gone.startswith(f"t.csv line {COUNT + 3}: ") and "also named" not in gone


def test_what_is_missing_is_named_as_it_was_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MAKELEVEL", raising=False)
    with pytest.raises(UserError, match="required: --pictures, --table, --data; --help lists"):
        main(["--task=vqa"])
    monkeypatch.setenv("MAKELEVEL", "1")
    with pytest.raises(UserError, match="required: PICTURES, TABLE, DATA; make help lists"):
        main(["--task=vqa"])
    with pytest.raises(UserError, match="line: SEED: invalid int value: 'x'"):
        main(["--task=vqa", "--seed=x"])


def test_answers_to_test_are_scored_and_one_answer_a_question_is_nothing_to_tell(pictures: Path) -> None:
    rows = [f"{n:03d}.png,what is it?,{'yes' if n % 2 else 'no'}" for n in range(COUNT)]
    Path("t.csv").write_text("\n".join(["image,question,answer", *rows]))
    root = make("vqa", Path("t.csv"))
    features.main([f"--data={root}", "--extractor=tiny_pictures:Quarters", "--nw=0", "--gpu=cpu"])
    made = task_on("vqa", root)
    test = made.split("test")
    assert test.samples.answers is not None and not any("have 10 answers" in line for line in made.remarks)
    told = json.loads((root / "vqa" / "test_answers.json").read_text())["annotations"]
    right = np.array([made.answers.ids[one["answers"][0]] for one in told])
    assert test.samples.answers.accuracy(test.rows, right).tolist() == [1, 1]
    (root / "vqa" / "test_answers.json").unlink()
    assert task_on("vqa", root).split("test").samples.answers is None


def test_features_of_pictures_that_had_other_numbers_are_forgotten(pictures: Path) -> None:
    root = make("itm", table("itm"))
    features.main([f"--data={root}", "--extractor=tiny_pictures:Quarters", "--nw=0", "--gpu=cpu"])
    make("itm", table("itm"))
    assert len(task_on("itm", root).split("train")) == 8  # nothing has changed
    lines = Path("t.csv").read_text().splitlines()
    Path("t.csv").write_text("\n".join([lines[0], *lines[:0:-1]]) + "\n")
    make("itm", Path("t.csv"))
    with pytest.raises(UserError, match="have no features in .* yet; type make features DATA=root"):
        task_on("itm", root)
    with pytest.raises(UserError, match="no npz anywhere under root; make features DATA=root makes"):
        pack(["--data=root"])


@pytest.mark.parametrize("sizes", [(1, 1, 1), (1, 1, 1, 1), (1, 1, 9), (4, 4, 4)])
def test_the_fewest_pictures_still_train(sizes: tuple[int, ...]) -> None:
    groups = [[f"{place}-{number}" for number in range(size)] for place, size in enumerate(sizes)]
    names = {name: name for group in groups for name in group}
    for seed in range(5):
        assert set(divide(groups, names, seed).values()) == {"train", "val", "test"}
