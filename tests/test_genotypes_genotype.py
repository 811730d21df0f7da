"""Genotypes: every form read and written, equality, and one clear sentence for every malformed input."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from common.errors import UserError
from genotypes.genotype import Genotype, load, published, save_epochs
from genotypes.table import table

ENCODER, DECODER = ("self_att_64", "feed_forward"), ("guided_att_64", "rel_self_att_64", "feed_forward")
OLDER = {"enc": [[name] for name in ENCODER], "dec": [[name] for name in DECODER]}

operation = st.sampled_from(("self_att_64", "feed_forward", "guided_att_64", "none", "überraschung"))
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
free = st.dictionaries(st.text(), plain, max_size=3)


@st.composite
def genotypes(draw: st.DrawFn) -> Genotype:
    sides = {side: draw(st.lists(operation, min_size=1, max_size=5)) for side in ("encoder", "decoder")}
    block = st.dictionaries(operation, st.floats(0, 1), min_size=1)
    probabilities = {side: draw(st.lists(block, min_size=len(ops), max_size=len(ops))) for side, ops in sides.items()}
    return Genotype(
        draw(st.none() | st.sampled_from(("itm", "vqa", "vgd"))),
        **sides,
        space=draw(st.none() | free),
        provenance=draw(free),
        probabilities=draw(st.sampled_from((None, probabilities))),
        cost=draw(st.none() | st.dictionaries(st.text(), st.integers(0, 10**12))),
    )


def small(**more: object) -> Genotype:
    return Genotype("itm", ENCODER, DECODER, **more)


def write(folder: Path, content: object, name: str = "g.json") -> str:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


@settings(max_examples=50, deadline=None)
@given(genotypes())
def test_our_form_comes_back_from_json(genotype: Genotype) -> None:
    back = Genotype.from_dict(json.loads(json.dumps(genotype.as_dict())))
    assert back.as_dict() == genotype.as_dict()
    assert back == genotype
    assert back.task == genotype.task


def test_a_saved_genotype_loads(tmp_path: Path) -> None:
    genotype = small(cost={"parameters": 3}, provenance={"seed": 1})
    path = genotype.save(tmp_path / "deep" / "g.json")
    assert load(str(path)).as_dict() == genotype.as_dict()


def test_equality_and_hash_are_those_of_the_architecture() -> None:
    one, other = small(), Genotype("vqa", list(ENCODER), list(DECODER), provenance={"seed": 2}, cost={"flops": 1})
    assert one == other
    assert len({one, other}) == 1
    assert one != one.replace(decoder=DECODER[::-1])
    # Where the boundary between the sides lies matters.
    assert one != Genotype("itm", ENCODER + DECODER[:1], DECODER[1:])


# A deadline would make a slow disk a failure.
@settings(max_examples=15, deadline=None)
@given(st.lists(genotypes(), min_size=1, max_size=4))
def test_epochs_come_back_in_both_forms(history: list[Genotype]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.1.json"
        save_epochs(history, path)
        for epoch, genotype in enumerate(history):
            assert load(f"{path}@{epoch}") == genotype
            assert load(f"{folder}/run.1.alphas.json@{epoch}").as_dict() == genotype.as_dict()
        assert load(str(path)) == load(f"{folder}/run.1.alphas.json") == history[-1]


def test_the_older_form_is_exactly_what_older_tools_read(tmp_path: Path) -> None:
    save_epochs([small()], tmp_path / "g.json")
    assert json.loads((tmp_path / "g.json").read_text()) == {"epoch0": OLDER}


def test_the_last_epoch_is_the_last_by_number(tmp_path: Path) -> None:
    path = write(tmp_path, {f"epoch{n}": {"enc": [[f"op{n}"]], "dec": [["x"]]} for n in (10, 9, 2)})
    assert load(path).encoder == ("op10",)
    assert load(path).task is None
    with pytest.raises(UserError, match=r"no epoch 3; it has 2, 9, 10$"):
        load(f"{path}@3")


def test_short_lists_of_openvqa(tmp_path: Path) -> None:
    text = "# Network\nMODEL_USE: mmnasnet\nARCH: {\n    enc: [SA, FFN],\n    dec: [GA, RSA, FFN]\n}\nREL_SIZE: 64\n"
    assert load(write(tmp_path, text, "mmnasnet_small.yml")) == small()


def test_a_path_may_hold_an_at_sign(tmp_path: Path) -> None:
    (tmp_path / "me@home").mkdir()
    assert load(write(tmp_path / "me@home", {"epoch0": OLDER}, "run@7.json")) == small()
    assert load(write(tmp_path / "me@home", {"epoch0": OLDER}, "run@7.json") + "@0") == small()


@pytest.mark.parametrize(("name", "task"), [("mcan", "vqa"), *((f"mmnas_{t}", t) for t in ("itm", "vgd", "vqa"))])
def test_published_genotypes(name: str, task: str) -> None:
    genotype = load(name)
    assert (genotype.task, len(genotype.encoder), len(genotype.decoder)) == (task, 12, 18)
    assert set(genotype.encoder) == {"self_att_64", "feed_forward"}
    assert set(genotype.decoder) <= {"self_att_64", "rel_self_att_64", "guided_att_64", "feed_forward"}
    assert "arXiv" in genotype.provenance["source"]
    assert genotype.provenance["published"]


def test_the_vqa_architecture_is_the_one_of_openvqa(tmp_path: Path) -> None:
    # Typed from configs/vqa/mmnasnet_small.yml of MILVLG/openvqa, a source other than our own file's.
    text = """ARCH: {
    enc: [SA, SA, SA, SA, FFN, FFN, FFN, FFN, SA, FFN, FFN, FFN],
    dec: [GA, GA, FFN, FFN, GA, FFN, RSA, GA, FFN, GA, RSA, FFN, RSA, SA, FFN, RSA, GA, FFN]
}"""
    assert load(write(tmp_path, text, "small.yml")) == load("mmnas_vqa")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "not valid JSON at line 1, column 1"),
        ('{"epoch0": {"enc"', "not valid JSON at line 1, column 18"),
        ({}, "is empty"),
        ([], "is empty"),
        ([1], "no form of a genotype"),
        ({"a": 1}, "no form of a genotype"),
        ({"epochs": {}}, "no form of a genotype"),
        ({"epochs": 3}, "no form of a genotype"),
        ({"encoder": ["x"]}, "needs the key 'decoder'"),
        ({"encoder": "x", "decoder": ["x"]}, "'encoder' must be a list of operations, not a text"),
        ({"encoder": ["x"], "decoder": []}, "'decoder' is empty"),
        ({"encoder": ["x"], "decoder": ["x", 3]}, "block 2 is 3"),
        ({"encoder": ["x"], "decoder": ["x"], "proven": {}}, "no key 'proven'; did you mean 'provenance'"),
        ({"encoder": ["x"], "decoder": ["x"], "schema": 9}, "'schema' is 9"),
        ({"encoder": ["x"], "decoder": ["x"], "task": 1}, "'task' must be a name"),
        ({"encoder": ["x"], "decoder": ["x"], "cost": 1}, "'cost' must be a JSON object"),
        ({"encoder": ["x"], "decoder": ["x"], "provenance": None}, "'provenance' must be a JSON object, not nothing"),
        ({"epoch0": []}, "epoch 0 must have the lists enc and dec"),
        ({"epoch0": {"enc": [["x"]]}}, "epoch 0 must have the lists enc and dec"),
        ({"epoch0": {"enc": [], "dec": []}}, "'encoder' is empty"),
        ({"epoch0": {"enc": [["x", "y"]], "dec": [["x"]]}}, "block \\['x', 'y'\\]"),
        ({"epoch0": {"enc": ["x"], "dec": [["x"]]}}, "block 'x'"),
        ({"ARCH": {"enc": ["SA"], "dec": ["XA"]}}, "unknown operation 'XA'"),
        ({"ARCH": {"enc": [["SA"]], "dec": ["SA"]}}, "unknown operation \\['SA'\\]"),
        ({"ARCH": {"enc": ["SA"]}}, "ARCH must have the lists enc and dec"),
    ],
)
def test_malformed_files_are_refused_in_one_sentence(tmp_path: Path, content: object, says: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(UserError, match=says) as caught:
        load(path)
    assert str(caught.value).startswith(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("probabilities", "says"),
    [
        ({"encoder": []}, "keys encoder and decoder"),
        ({"encoder": [{"a": 1}], "decoder": [{"a": 1}] * 3}, "encoder must be a list of 2"),
        ({"encoder": [{"a": 1}] * 2, "decoder": [{"a": 1}, {}, {"a": 1}]}, "decoder block 2 must be"),
        ({"encoder": [{"a": 1.5}] * 2, "decoder": [{"a": 1}] * 3}, "encoder block 1 must be"),
        ({"encoder": [{"a": float("nan")}] * 2, "decoder": [{"a": 1}] * 3}, "encoder block 1 must be"),
    ],
)
def test_malformed_probabilities(probabilities: dict, says: str) -> None:
    with pytest.raises(UserError, match=says):
        small(probabilities=probabilities)


def test_references_that_lead_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"no genotype 'mmnas_vqq'; .*did you mean 'mmnas_vqa'"):
        load("mmnas_vqq")
    monkeypatch.chdir(tmp_path)
    Path("genotypes/searched/vgd").mkdir(parents=True)
    small().save("genotypes/searched/vgd/mine.json")
    with pytest.raises(UserError, match=r"no genotype 'mine'; .*did you mean genotypes/searched/vgd/mine\.json\?"):
        load("mine")
    with pytest.raises(UserError, match="there is no genotype ''"):
        load("")
    with pytest.raises(UserError, match=r"missing\.json does not exist"):
        load(str(tmp_path / "missing.json"))
    with pytest.raises(UserError, match=r"cannot read .* as a genotype"):
        load(str(tmp_path))
    with pytest.raises(UserError, match="should end in @ and the number of an epoch"):
        load("mcan@last")
    with pytest.raises(UserError, match="no epochs; leave out @3"):
        load("mcan@3")
    with pytest.raises(UserError, match="not valid YAML at line 2, column"):
        load(write(tmp_path, "ARCH: {\n enc: [SA", "broken.yml"))


def test_a_table_shows_operations_probabilities_and_cost() -> None:
    even = {side: [{name: 0.625} for name in ops] for side, ops in (("encoder", ENCODER), ("decoder", DECODER))}
    shown = Console(width=120, record=True, file=io.StringIO())
    shown.print(table(small(probabilities=even, cost={"parameters": 44_512_344, "flops": 3_812_345_678})))
    text = shown.export_text()
    assert text.count("0.62") == 5
    assert text.count("feed_forward") == 2
    assert "44.5 M parameters" in text
    assert "3.81 GFLOPs" in text


def test_a_table_names_the_operation_that_would_cost_least_instead() -> None:
    others = {"relu": [0.2, 0.1, 0.3], "gelu": [0.031, 0.012, 0.05]}
    swaps = {"encoder": [others] + [{}] * (len(ENCODER) - 1), "decoder": [{}] * len(DECODER)}
    shown = Console(width=120, record=True, file=io.StringIO())
    shown.print(table(small(swaps=swaps)))
    text = shown.export_text()
    assert "or gelu: +3.1 ± 1.9 %" in text and text.count("the loss") == 1


def test_swaps_survive_a_file_and_malformed_ones_are_refused(tmp_path: Path) -> None:
    swaps = {"encoder": [{"a": [0.1, 0.0, 0.2]}, {}], "decoder": [{}, {"b": [-0.1, -0.2, 0.0]}, {}]}
    path = small(swaps=swaps).save(tmp_path / "one.json")
    assert load(str(path)).swaps == swaps
    for wrong in ([0.1, 0.2], 0.1, ["a", 0, 0], "abc", [True, 0, 0]):
        with pytest.raises(UserError, match=r"swaps of decoder block 2 must be .*change, low, high"):
            small(swaps={**swaps, "decoder": [{}, {"b": wrong}, {}]})


def test_the_other_operations_of_a_block_stand_best_first() -> None:
    swaps = {
        "encoder": [{"a": [0.1, 0.05, 0.15], "b": [0.02, -0.01, 0.05]}, {}],
        "decoder": [{"c": [0.25, 0.2, 0.3]}] * 3,
    }
    genotype = small(swaps=swaps)
    best, second = genotype.others("encoder", 0)
    assert (best.operation, best.undecided, best.percent) == ("b", True, "+2.0 ± 3.0 %")
    assert (second.operation, second.undecided) == ("a", False)
    assert genotype.others("encoder", 1) == small().others("decoder", 0) == ()
    (other,) = genotype.others("decoder", 2)
    assert (other.undecided, other.percent) == (False, "+25 ± 5 %")


def test_what_the_supernet_made_of_it_survives_a_file_and_older_files_have_none(tmp_path: Path) -> None:
    supernet = {"loss": 3.5, "percentile": 12.0, "val/accuracy": 61.25, "val_images": 40}
    path = small(supernet=supernet).save(tmp_path / "one.json")
    assert load(str(path)).supernet == supernet
    assert load(write(tmp_path, {"encoder": ["x"], "decoder": ["y"]})).supernet is None
    for wrong in ({"loss": "low"}, {"loss": True}, [1.0], 3):
        with pytest.raises(UserError, match="'supernet' must"):
            small(supernet=wrong)


def test_genotypes_need_no_torch() -> None:
    code = "import sys, genotypes.drawing, genotypes.table; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1]).returncode == 0


def test_published_lists_every_file() -> None:
    assert list(published()) == ["mcan", "mmnas_itm", "mmnas_vgd", "mmnas_vqa"]


@pytest.mark.parametrize(
    ("provenance", "said"),
    [
        ({}, None),
        ({"source": "a paper"}, "a paper"),
        ({"config": {}, "seed": 3, "date": "2026-01-02T03:04"}, "a search with seed 3, 2026-01-02"),
    ],
)
def test_where_it_came_from_in_words(provenance: dict[str, object], said: str | None) -> None:
    assert Genotype(None, ("feed_forward",), ("feed_forward",), provenance=provenance).origin == said
