"""Exported networks: onnxruntime gives what torch gives, a wrong file is refused, the facts beside it are enough."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch

from common.errors import UserError
from genotypes.genotype import Genotype
from retrain.model import build, save
from space.backbone import Block
from space.inputs import Inputs
from space.network import Model
from space.ops import OPS
from space.settings import ModelSettings
from tasks.base import Task, eval_mode
from tasks.find import find_task, task_names
from tasks.itm import ImageTextMatching
from tasks.vgd import predicted_boxes
from texts.tokens import tokenise
from texts.words import Vocabulary, pad
from tools.export.check import Size, check, draw
from tools.export.graph import SHOWN, Exportable, inputs_of, to_onnx
from tools.export.make import main

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

GENOTYPE = Genotype(None, ("self_att_64", "feed_forward"), ("rel_self_att_64", "guided_att_64", "uniimg_att_64"))
PLAIN = ModelSettings(word_width=8, pool_hidden=8)
FULL = ModelSettings(word_width=8, pool_hidden=8, bbox_features=True, align_width=16)
LARGE = [name for name in OPS if name.endswith(("_128", "_256"))]  # heads that a width of 64 does not hold
EXAMPLE = Path(__file__).parents[1] / "tools" / "use_onnx.py"


def exportable(model: Model) -> Exportable:
    return Exportable(model, ImageTextMatching.__new__(ImageTextMatching)).eval()


def written(network: Exportable) -> bytes:
    return to_onnx(network, inputs_of(8), draw(Size(*SHOWN), 20, 8, 0))


def whole(size: Size, words: int, region_width: int) -> Inputs:
    """What is shown, without padding."""
    return draw(size._replace(padded=False), words, region_width, 0)


def task(name: str, demo: Path) -> Task:
    cls, _ = find_task(name)
    return cls(cls.Data(root=str(demo), **({"answer_min": 1} if name == "vqa" else {})))


def trained(path: Path, own: Task, settings: ModelSettings = PLAIN) -> Model:
    torch.manual_seed(0)
    model = build(own, GENOTYPE, settings, 64).eval()
    for parameter in model.parameters():  # what begins as zero would hide mistakes
        parameter.data += 0.1 * torch.randn_like(parameter)
    save(path, model, own, GENOTYPE, settings, 64, 1, {})
    return model


def run(path: Path, inputs: Inputs) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {one.name: getattr(inputs, one.name).numpy() for one in session.get_inputs()})


def one_each(inputs: Inputs) -> Inputs:
    """The same samples, each with a copy of its image and its text."""
    samples = torch.arange(len(inputs.tokens if inputs.text_index is None else inputs.text_index))
    image, text = (samples if index is None else index for index in (inputs.image_index, inputs.text_index))
    regions, *of_images = (part[image] for part in inputs[:4])
    return Inputs(regions.float(), *of_images, *(part[text] for part in inputs[4:6]))


@pytest.mark.parametrize("part", range(4))
def test_every_operation_gives_what_torch_gives(part: int) -> None:
    sizes = tiny.SIZES | {"width": 256 if part == 3 else 64}
    names = [name for name in OPS if name not in LARGE][part::3] if part < 3 else LARGE
    encoder = [name for name in names if "encoder" in OPS[name].sides and name != "none"]
    decoder = [name for name in names if name not in encoder] or ["feed_forward"]
    torch.manual_seed(part)
    sides = [[Block(name, **sizes) for name in side] for side in (encoder, [*decoder, *encoder])]
    model = tiny.model(*sides) if part < 3 else _wide(*sides)
    network = exportable(model)
    assert check(written(network), network, 20, 8) < 1e-5


def _wide(encoder: list[Block], decoder: list[Block]) -> Model:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny, "WIDTH", 256)
        return tiny.model(encoder, decoder)


@pytest.mark.parametrize("settings", [PLAIN, FULL])
@pytest.mark.parametrize("name", task_names())
def test_samples_of_every_task_give_what_the_task_makes_of_them(
    name: str, settings: ModelSettings, demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    own = task(name, demo)
    model = trained(tmp_path / "best.pt", own, settings)
    main([f"--ckpt={tmp_path / 'best.pt'}", f"--out={tmp_path / 'made' / 'network.onnx'}"])
    split = own.split("val")
    inputs = split.batch(split.draw(np.arange(5), np.random.default_rng(0))).inputs
    with eval_mode(model):
        made = model(inputs)
    given = run(tmp_path / "made" / "network.onnx", one_each(inputs))
    close = {"rtol": 1e-5, "atol": 1e-5}
    if name == "vgd":
        np.testing.assert_allclose(given[0], predicted_boxes(*made, inputs), rtol=1e-5, atol=1e-2)
        np.testing.assert_allclose(given[1], made[0].softmax(1), **close)
    else:
        np.testing.assert_allclose(given[0], made.squeeze(1) if name == "itm" else made.sigmoid(), **close)
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == ["network.json", "network.onnx"]
    assert f"next: .venv/bin/python tools/use_onnx.py {tmp_path}" in capsys.readouterr().out


@pytest.mark.parametrize("name", task_names())
def test_the_example_reads_a_text_as_the_task_does(
    name: str, demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = task(name, demo)
    own.data.max_tokens, own.data.max_regions = 6, 3
    own.vocabulary = Vocabulary(own.words, {"rde": "red"})
    text, image = "What’s (the) Rde—CIRCLE/ball’s “colour”, unheard-of?", own.store.ids[0]
    (stem,) = own.store.stems([image])
    path = next(path for folder in own.store._folders for path in folder.glob(f"{stem}*"))
    model = trained(tmp_path / "best.pt", own, FULL)
    main([f"--ckpt={tmp_path / 'best.pt'}"])
    capsys.readouterr()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "argv", ["use_onnx.py", str(tmp_path / "best.onnx"), str(path), *text.split()])
        for package in ("torch", "tools", "readers", "texts", "space", "onnx"):
            patch.setitem(sys.modules, package, None)
        runpy.run_path(str(EXAMPLE))
    said = capsys.readouterr().out
    tokens = pad([own.vocabulary.encode(tokenise(text), 6)])
    inputs = Inputs(*own.store.gather([image], 3), *tokens)
    with eval_mode(model):
        made = model(inputs)
    if name == "itm":
        assert float(said.split()[1]) == pytest.approx(float(made), abs=1e-4)
    elif name == "vqa":
        label, probability = ast.literal_eval(said.removeprefix("probabilities "))[0]
        assert label == own.labels[made.argmax()]
        assert probability == pytest.approx(float(made.sigmoid().max()), abs=1e-3)
    else:
        index = inputs._replace(image_index=torch.zeros(1, dtype=torch.int64))
        box = json.loads(said.splitlines()[0].removeprefix("box "))
        np.testing.assert_allclose(box, predicted_boxes(*made, index)[0], rtol=1e-5, atol=1e-2)


def test_the_example_says_what_is_no_network_and_no_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.onnx").write_bytes(b"a network")
    facts = {
        "texts": {"segmenter": None, "typography": {}, "punctuation": {}, "at_most": None, "words": [], "unknown": 1}
    }
    facts |= {"regions": {"at_most": None, "width": 2}, "sha256": hashlib.sha256(b"a network").hexdigest()}
    Path("a.json").write_text(json.dumps(facts))
    Path("folder").mkdir()
    Path("foreign.onnx").write_bytes(b"")
    Path("foreign.json").write_text('{"answers": []}')
    Path("picture.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    wide = {"x": np.ones((3, 4)), "bbox": np.ones((4, 4)), "image_h": 9, "image_w": 9}
    np.savez("wide.npz", **wide)
    np.savez("bare.npz", x=np.ones(3))
    no_network, no_image = (
        "must be the two files that make export wrote",
        "must be region features of an image, of width 2",
    )
    for given, said in (
        (["a.onnx"], "say which network and which image: python tools/use_onnx.py network.onnx image.npz some words"),
        (["none.onnx", "wide.npz"], no_network),
        (["folder", "wide.npz"], no_network),
        (["/", "wide.npz"], no_network),
        (["foreign.onnx", "wide.npz"], no_network),
        *((["a.onnx", name], no_image) for name in ("none.npz", "folder", "picture.png", "wide.npz", "bare.npz")),
    ):
        monkeypatch.setattr(sys, "argv", ["use_onnx.py", *given, "red"])
        if len(given) == 1:
            sys.argv.pop()
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(EXAMPLE))
        assert said in ended.value.code and "\n" not in ended.value.code


def test_the_facts_are_those_of_the_task(demo: Path, tmp_path: Path) -> None:
    own = task("vqa", demo)
    own.store.extractor = {"extractor": "grid", "weights": "w", "preprocessing": "p"}
    trained(tmp_path / "best.pt", own)
    main([f"--ckpt={tmp_path / 'best.pt'}"])
    facts = json.loads((tmp_path / "best.json").read_text())
    assert facts["texts"]["words"] == own.words and facts["answers"] == own.labels
    assert facts["texts"]["misspelt"] == {}
    assert (facts["texts"]["at_most"], facts["regions"]["at_most"]) == (own.data.max_tokens, own.data.max_regions)
    assert facts["regions"]["extractor"]["extractor"] == "grid" and facts["opset"] == 18
    assert facts["checked"]["largest_difference"] < 1e-5
    session = onnxruntime.InferenceSession(tmp_path / "best.onnx", providers=["CPUExecutionProvider"])
    for kind, parts in (("inputs", session.get_inputs()), ("outputs", session.get_outputs())):
        shapes = {part.name: part.shape for part in parts}
        assert list(shapes) == list(facts[kind])
        for name, shape in shapes.items():
            told = facts[kind][name]["shape"]
            assert [len(own.labels) if one == "answers" else one for one in told] == shape


def test_a_file_of_other_weights_is_refused() -> None:
    network = exportable(tiny.fixed(tiny.ENCODER, tiny.DECODER))
    made = written(network)
    assert check(made, network, 20, 8) < 1e-5
    network.model.head.out.bias.data += 1e-4
    with pytest.raises(UserError, match="the output score of the ONNX file differs from torch by 0.0001"):
        check(made, network, 20, 8)
    with pytest.raises(UserError, match="onnxruntime cannot read what torch wrote"):
        check(made[: len(made) // 2], network, 20, 8)


@pytest.mark.parametrize(
    "stand_ins",
    [
        {"space.network.in_graph": lambda: False},  # so many texts as were shown
        {"space.padding.readable": lambda x: True, "tools.export.make.draw": lambda *given, **seed: whole(*given)},
        {"tools.export.graph.OPSET": 9},  # which lacks what attention needs
    ],
)
def test_a_file_that_keeps_what_it_was_shown_is_refused_and_the_one_before_stays(
    stand_ins: dict[str, object], demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(tmp_path / "best.pt", task("itm", demo))
    (tmp_path / "best.onnx").write_text("before")
    for place, stand_in in stand_ins.items():
        monkeypatch.setattr(place, stand_in)
    with pytest.raises(UserError, match="nothing is written"):
        main([f"--ckpt={tmp_path / 'best.pt'}"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.onnx", "best.pt"]
    assert (tmp_path / "best.onnx").read_text() == "before"


def test_of_regions_that_are_as_probable_either_may_be_the_box(demo: Path, tmp_path: Path) -> None:
    own = task("vgd", demo)
    zero = GENOTYPE.replace(decoder=("none",))
    model = build(own, zero, PLAIN, 64)
    save(tmp_path / "best.pt", model, own, zero, PLAIN, 64, 1, {})
    main([f"--ckpt={tmp_path / 'best.pt'}"])
    unsure = own.outputs["box"].unsure
    assert unsure(None, torch.tensor([[0.5, 0.5 - 1e-7], [0.6, 0.4]])).tolist() == [True, False]


def test_what_cannot_be_exported_is_one_sentence(demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained(tmp_path / "best.pt", task("itm", demo))
    ckpt = f"--ckpt={tmp_path / 'best.pt'}"
    torch.save({"epoch": 1, "stage": {}}, tmp_path / "last.pt")
    torch.save(torch.load(tmp_path / "best.pt") | {"limits": {"regions": "many"}}, tmp_path / "spoilt.pt")
    (tmp_path / "file").touch()
    for arguments, said in (
        ([], "nothing to export without CKPT="),
        ([f"--ckpt={tmp_path / 'none.pt'}"], "none.pt does not exist; its folder holds best.pt"),
        ([f"--ckpt={tmp_path / 'last.pt'}"], "last.pt is no trained network; give the best.pt of a retraining"),
        ([f"--ckpt={tmp_path / 'spoilt.pt'}"], "holds .'regions': 'many'. as 'limits'; it is damaged"),
        ([ckpt, f"--out={tmp_path / 'network.pb'}"], "network.pb must be the name of a file that ends in .onnx"),
        ([ckpt, f"--out={tmp_path / 'file' / 'n.onnx'}"], "cannot write .*choose another folder"),
    ):
        with pytest.raises(UserError, match=said):
            main(arguments)
    monkeypatch.setattr("tools.export.graph.MOST_BYTES", 1000)
    with pytest.raises(UserError, match="weights take .* GB, and an ONNX file holds at most 2"):
        main([ckpt])
    monkeypatch.setattr(ImageTextMatching, "outputs", {})
    with pytest.raises(UserError, match="Image-text matching cannot be exported; a task's `outputs` and its method"):
        main([ckpt])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs the packages onnx and onnxruntime; .*\[export\]"):
        main([ckpt])


def test_a_network_of_an_earlier_state_says_what_it_knows(demo: Path, tmp_path: Path) -> None:
    trained(tmp_path / "best.pt", task("itm", demo))
    held = torch.load(tmp_path / "best.pt")
    for key in ("limits", "extractor"):
        del held[key]
    torch.save(held, tmp_path / "best.pt")
    main([f"--ckpt={tmp_path / 'best.pt'}"])
    facts = json.loads((tmp_path / "best.json").read_text())
    assert facts["texts"]["at_most"] is None and facts["regions"]["extractor"] is None
