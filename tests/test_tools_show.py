"""Figures of predictions: what each task shows, whose pictures are found, and what stands where there is none."""

from __future__ import annotations

from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import torch
from PIL import Image

from common.errors import UserError
from genotypes.genotype import Genotype
from outcome.samples import Prediction
from pictures.finding import find_pictures
from readers.boxes import overlaps
from retrain.model import build, save
from space.settings import ModelSettings
from tasks.base import Task, eval_mode
from tasks.find import find_task, task_names
from tools.demo.make import make_demo
from tools.sheet import draw_sheet
from tools.show import choose, main

GENOTYPE = Genotype(None, ("self_att_64",), ("rel_self_att_64", "guided_att_64"))
SETTINGS = ModelSettings(word_width=8, pool_hidden=8)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_demo(tmp_path_factory.mktemp("data") / "demo", scenes=30)


def make(name: str, demo: Path) -> Task:
    cls, _ = find_task(name)
    data = cls.Data(root=str(demo))
    if hasattr(data, "answer_min"):
        data.answer_min = 1
    return cls(data)


def showcase(task: Task, split: str, count: int) -> tuple[np.ndarray, list[Prediction]]:
    torch.manual_seed(0)
    model, chosen = build(task, GENOTYPE, SETTINGS, 64), choose(task.split(split), count, 0)
    with eval_mode(model):
        return chosen, task.showcase(model, task.split(split), chosen)


@pytest.mark.parametrize("name", task_names())
def test_the_command_draws_every_task(name: str, demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    task = make(name, demo)
    ckpt = tmp_path / "run" / "best.pt"
    save(ckpt, build(task, GENOTYPE, SETTINGS, 64), task, GENOTYPE, SETTINGS, 64, 1, {})
    options = ["--data.answer_min=1"] if name == "vqa" else []
    main([f"--task={name}", f"--ckpt={ckpt}", f"--data.root={demo}", "--count=2", f"--out={tmp_path}", *options])
    said = capsys.readouterr().out
    assert said.startswith(f"figure  {tmp_path / 'run-val.png'}\nnext: make predict CKPT={ckpt} PICTURE=")
    assert "FEATURES=<the npz of the picture> asks" in said  # the demo's were made by no extractor
    figure = matplotlib.image.imread(tmp_path / "run-val.png")[..., :3]
    assert figure.shape[1] > 1000 and len(np.unique(figure.reshape(-1, 3), axis=0)) > 1000


@pytest.mark.parametrize("name", task_names())
def test_regions_are_those_of_the_image_and_the_heaviest_counts_one(name: str, demo: Path) -> None:
    task = make(name, demo)
    chosen, shown = showcase(task, "val", 3)
    assert [one.image for one in shown] == task.split("val").image_ids[chosen].tolist()
    assert len({one.image for one in shown}) == 3
    for one in shown:
        _, boxes, hw, _ = task.store.gather([one.image], task.data.max_regions)
        regions = [box for box in one.boxes if box.role == "region"]
        np.testing.assert_allclose([box.xyxy for box in regions], boxes[0])
        assert max(box.weight for box in regions) == pytest.approx(1) and list(one.hw) == hw[0].tolist()


def test_a_grounded_box_is_right_where_it_overlaps_the_true_one(demo: Path) -> None:
    task = make("vgd", demo)
    chosen, shown = showcase(task, "val", 5)
    for index, one in zip(chosen, shown, strict=True):
        roles = {box.role: np.array([box.xyxy]) for box in one.boxes}
        np.testing.assert_allclose(roles["true"][0], task.split("val").boxes[index])
        assert one.lines[0].right == (overlaps(roles["predicted"], roles["true"])[0, 0] >= 0.5)


def test_retrieved_captions_are_right_where_they_are_the_images_own(demo: Path) -> None:
    task = make("itm", demo)
    _, shown = showcase(task, "val", 5)
    split = task.split("val")
    texts = [task.vocabulary.decode(row) for row in split.tokens.gather(np.arange(len(split)))[0].tolist()]
    for one in shown:
        own = {text for text, image in zip(texts, split.image_ids, strict=True) if image == one.image}
        assert len(one.lines) == 3 and all(line.text in own for line in one.lines if line.right)
        assert all(line.text in texts for line in one.lines)


def test_answers_are_right_as_people_say_and_unmarked_where_that_is_secret(demo: Path) -> None:
    task = make("vqa", demo)
    chosen, shown = showcase(task, "val", 5)
    for index, one in zip(chosen, shown, strict=True):
        given = task.annotations("val").answers[index]
        answers = [line for line in one.lines if line.right is not None]
        assert [line.right for line in answers] == [given.count(line.text) >= 4 for line in answers]
        assert len(answers) == 3 and len(one.lines) == 3 + (not any(line.right for line in answers))
    _, secret = showcase(task, "test", 2)
    assert all(line.right is None for one in secret for line in one.lines)


def test_pictures_are_found_by_name_or_number_and_an_empty_canvas_stands_for_others(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    for name in ("below/COCO_val2014_000000000007.jpg", "8.PNG", "9.txt", "12.webp", "cover.jpg"):
        (tmp_path / name).touch()
    (tmp_path / "27_0d0.jpg").touch()
    names = {7: "COCO_val2014_000000000007", 8: "8", 9: "9", 12: "12", 3: "27_0d0", 0: "31_0d0"}
    assert find_pictures(tmp_path, names) == {
        3: tmp_path / "27_0d0.jpg",
        7: tmp_path / "below/COCO_val2014_000000000007.jpg",
        8: tmp_path / "8.PNG",
        12: tmp_path / "12.webp",
    }
    with pytest.raises(UserError, match="does not exist"):
        find_pictures(tmp_path / "none", names)
    tall = Prediction(9, (200.0, 100.0), [], "what is " + "very " * 20 + "long?")
    assert draw_sheet([tall], {}, tmp_path / "sheet.png").exists()
    with pytest.raises(UserError, match=r"8\.PNG is no picture"):
        draw_sheet([tall._replace(image=8)], {8: tmp_path / "8.PNG"}, tmp_path / "sheet.png")
    with pytest.raises(UserError, match="CKPT"):
        main(["--task=itm", f"--data.root={tmp_path}"])


def test_a_picture_stands_on_the_sheet_as_viewers_turn_it(tmp_path: Path) -> None:
    half = np.zeros((60, 120, 3), np.uint8)
    half[:, 60:, 0] = 255  # red on the right, which a quarter turn to the right brings to the bottom
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(half).save(tmp_path / "1.jpg", exif=turned, quality=95)
    draw_sheet([Prediction(1, (120.0, 60.0), [])], {1: tmp_path / "1.jpg"}, tmp_path / "sheet.png")
    sheet = matplotlib.image.imread(tmp_path / "sheet.png")[..., :3]
    red = (sheet[..., 0] > 0.8) & (sheet[..., 1] < 0.2)
    black = sheet.max(-1) < 0.1
    assert red.any() and black.sum() > 1000 and np.nonzero(red)[0].min() > np.median(np.nonzero(black)[0])
