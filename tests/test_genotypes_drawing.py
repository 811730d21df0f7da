"""The graph of a genotype counted, and its figure written in every format."""

from __future__ import annotations

import re
import stat
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

import networkx as nx
import pytest

from common.errors import UserError
from genotypes.drawing import draw
from genotypes.figure import COLOURS, figure
from genotypes.genotype import Genotype, load, published
from genotypes.graph import graph
from space.ops import OPS
from tools import draw as tool

KINDS = {name: operation.kind for name, operation in OPS.items()}
MAGIC = {".png": b"\x89PNG\r\n\x1a\n", ".pdf": b"%PDF-", ".svg": b"<?xml", ".dot": b"digraph"}


def texts(path: Path) -> Counter[str]:
    """How often each text stands in an SVG."""
    return Counter(element.text for element in ElementTree.parse(path).iter("{http://www.w3.org/2000/svg}text"))


@pytest.mark.parametrize("name", published())
def test_a_graph_has_a_node_per_block_and_an_edge_per_reading(name: str) -> None:
    genotype = load(name)
    made = graph(genotype, KINDS)
    guided = genotype.decoder.count("guided_att_64")
    assert made.number_of_nodes() == 12 + 18 + 3
    assert made.number_of_edges() == 12 + 18 + guided + 2
    assert nx.is_directed_acyclic_graph(made)
    assert made.in_degree("head") == 2
    assert made.out_degree("encoder 12") == guided + 1
    assert {node for node, degree in made.in_degree if degree == 0} == {"words", "regions"}
    assert [made.nodes[f"decoder {n + 1}"]["label"] for n in range(18)] == list(genotype.decoder)


def test_a_node_knows_its_probability() -> None:
    blocks = {"encoder": [{"feed_forward": 0.7}], "decoder": [{"gelu": 1.0}]}
    genotype = Genotype("itm", ("feed_forward",), ("relu",), probabilities=blocks)
    made = graph(genotype, KINDS)
    assert made.nodes["encoder 1"] == {
        "label": "feed_forward",
        "kind": "feed forward",
        "side": "encoder",
        "number": 1,
        "probability": 0.7,
    }
    assert made.nodes["decoder 1"]["probability"] is None


@pytest.mark.parametrize("ending", MAGIC)
@pytest.mark.parametrize("name", ["mcan", "mmnas_vgd"])
def test_every_format_is_written(tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str, ending: str) -> None:
    path = draw(load(name), tmp_path / f"figure{ending}", KINDS)
    assert path.read_bytes().startswith(MAGIC[ending])
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert capfd.readouterr().err == ""


def test_an_svg_shows_every_block_and_only_the_kinds_present(tmp_path: Path) -> None:
    genotype = load("mmnas_vqa")
    shown = texts(draw(genotype, tmp_path / "figure.svg", KINDS))
    for name, count in Counter(genotype.encoder + genotype.decoder).items():
        # The legend repeats "feed forward", whose operation and kind are named alike.
        label = name.replace("_", " ")
        assert shown[label] == count + (label in COLOURS)
    assert all(shown[str(number)] == (2 if number <= 12 else 1) for number in range(1, 19))
    assert {kind for kind in COLOURS if shown[kind]} == set(map(KINDS.get, genotype.encoder + genotype.decoder))
    assert shown["Architecture for VQA"] == 1


def test_probabilities_cost_and_title_are_shown(tmp_path: Path) -> None:
    blocks = {"encoder": [{"relu": 0.125}], "decoder": [{"guided_att_64": 0.875}]}
    cost = {"parameters": 1_234_567, "flops": 2e9, "width": 64, "regions": 36, "tokens": 14}
    genotype = Genotype(None, ("relu",), ("guided_att_64",), probabilities=blocks, cost=cost)
    shown = texts(draw(genotype, tmp_path / "figure.svg", KINDS, title="<A & B>"))
    assert {"<A & B>", "0.12", "0.88"} <= shown.keys()
    assert shown["backbone of 1.23 M parameters, 2 GFLOPs (width 64, 36 regions, 14 tokens)"] == 1


def with_swaps() -> Genotype:
    decoder = [
        {"gelu": [0.031, 0.012, 0.05], "relu": [0.2, -0.1, 0.5]},
        {"feed_forward": [0.002, -0.011, 0.015]},
        {"self_att_64": [-0.042, -0.05, -0.034]},
    ]
    swaps = {"encoder": [{}], "decoder": decoder}
    return Genotype("itm", ("relu",), ("guided_att_64", "rel_self_att_64", "relu"), swaps=swaps)


def test_the_best_other_operation_stands_in_its_block_and_dashes_mark_what_could_as_well(tmp_path: Path) -> None:
    """Also where the best other one could not, but a worse one could."""
    source = figure(with_swaps(), KINDS).source
    labels = re.findall(r'"((?:en|de)coder \d) rival" \[label="([^"]+)"', source)
    assert labels == [
        ("decoder 1", "not gelu: +3.1 ± 1.9 %"),
        ("decoder 2", "or feed forward: +0.2 ± 1.3 %"),
        ("decoder 3", "less with self att 64: -4.2 ± 0.8 %"),
    ]
    assert re.findall(r'"((?:en|de)coder \d)" \[.*dashed', source) == ["decoder 1", "decoder 2"]
    shown = texts(draw(with_swaps(), tmp_path / "figure.svg", KINDS))
    assert shown["guided att 64"] == shown["rel self att 64"] == 1 and shown["relu"] == 2
    assert any(text.startswith("dashed: ") for text in shown)
    assert "dashed" not in figure(load("mcan"), KINDS).source


def test_a_block_has_room_for_what_stands_in_it() -> None:
    source = figure(with_swaps(), KINDS).source
    boxes = _boxes(source)
    for name, (left, bottom, right, top) in boxes.items():
        texts_in = re.findall(
            rf'"{name} (?:operation|rival|number)" \[.*?fontsize=(\S+) .*?pos="([^,]+),([^"]+)"', source
        )
        for size, x, y in texts_in:
            assert left < float(x) < right
            assert bottom + float(size) / 2 <= float(y) <= top - float(size) / 2
    heights = sorted({round(top - bottom, 2) for _, bottom, _, top in boxes.values()})
    assert heights == [27.0] and len(boxes) == 4


def _boxes(source: str) -> dict[str, tuple[float, float, float, float]]:
    """Left, bottom, right, top of every block in DOT source."""
    found = re.findall(r'"((?:en|de)coder \d+)" \[.*?height=(\S+) .*?pos="([^,]+),([^"]+)" .*?width=(\S+?)\]', source)
    sized = {name: (float(x), float(y), float(w) * 36, float(h) * 36) for name, h, x, y, w in found}
    return {name: (x - w, y - h, x + w, y + h) for name, (x, y, w, h) in sized.items()}


@pytest.mark.parametrize("name", [*published(), "swaps"])
def test_no_box_overlaps_another_and_no_arrow_crosses_one(name: str) -> None:
    source = figure(with_swaps() if name == "swaps" else load(name), KINDS).source
    boxes = list(_boxes(source).values())
    assert len(boxes) == (4 if name == "swaps" else 30)
    for a, b in ((a, b) for a in boxes for b in boxes if a is not b):
        assert a[0] > b[2] or b[0] > a[2] or a[1] > b[3] or b[1] > a[3]
    # The control points of a Bezier curve enclose it; none may lie inside a box.
    paths = re.findall(r'pos="e,([^"]+)"', source)
    points = [tuple(map(float, point.split(","))) for path in paths for point in path.split()]
    slack = 0.01  # widths are written in inches with four digits
    assert points
    assert not any(
        left + slack < x < right - slack and bottom + slack < y < top - slack
        for x, y in points
        for left, bottom, right, top in boxes
    )


def test_an_encoder_as_high_as_a_guided_attention_feeds_it_straight() -> None:
    source = figure(Genotype(None, ("relu",), ("guided_att_64",)), KINDS).source
    (path,) = re.findall(r'"encoder 1" -> "decoder 1" \[.*pos="e,([^"]+)"', source)
    assert len({point.split(",")[1] for point in path.split()}) == 1


def test_what_cannot_be_drawn_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"figure.jpg; the name must end in one of \.svg, \.png, \.pdf, \.dot"):
        draw(load("mcan"), tmp_path / "figure.jpg", KINDS)
    with pytest.raises(UserError, match=r"operation 'feed_forwad' is unknown.*did you mean 'feed_forward'"):
        draw(Genotype(None, ("feed_forwad",), ("relu",)), tmp_path / "figure.svg", KINDS)
    assert not list(tmp_path.iterdir())


def test_without_pygraphviz_the_program_dot_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pygraphviz", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="drawing needs pygraphviz"):
        draw(load("mcan"), tmp_path / "figure.svg", KINDS)
    stub = tmp_path / "dot"
    stub.write_text('#!/bin/sh\nwhile read -r line; do :; done\necho "$@"\n')
    stub.chmod(stub.stat().st_mode | stat.S_IXUSR)
    assert draw(load("mcan"), tmp_path / "figure.svg", KINDS).read_text() == "-Kneato -Tsvg -n2\n"


def test_the_command_says_what_it_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    tool.main(["--geno", "mmnas_itm"])
    assert capsys.readouterr().out.splitlines() == [
        "figure  logs/drawn/mmnas_itm.svg",
        "figure  logs/drawn/mmnas_itm.png",
        "next: make retrain GENO=mmnas_itm",
    ]
    assert texts(tmp_path / "logs/drawn/mmnas_itm.svg")["MMNAS ITM"] == 1
    tool.main(["--geno", "mcan", "--out", "deep/figure.pdf"])
    assert (tmp_path / "deep" / "figure.pdf").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"logs", "deep"}
    with pytest.raises(UserError, match="nothing to draw without GENO=<path, path@epoch, or mcan, mmnas_itm"):
        tool.main([])


def test_a_genotype_that_no_search_found_is_drawn_with_a_note(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Genotype("itm", ("relu",), ("relu",), provenance={"moved": False}).save(tmp_path / "g.json")
    tool.main([f"--geno={path}"])
    assert "note: no search found this genotype" in capsys.readouterr().out


def test_the_command_writes_beside_a_file_but_an_epoch_into_the_logs() -> None:
    assert tool.default_paths("runs/a.b.json") == [Path("runs/a.b.svg"), Path("runs/a.b.png")]
    assert tool.default_paths("runs/a.b.json@50") == [
        Path("logs/drawn/a.b-epoch50.svg"),
        Path("logs/drawn/a.b-epoch50.png"),
    ]


def test_the_next_command_can_be_typed() -> None:
    known, unknown = Genotype("itm", ("relu",), ("relu",)), Genotype(None, ("relu",), ("relu",))
    assert tool.next_command("my runs/g.json", known) == "make retrain GENO='my runs/g.json'"
    assert tool.next_command("g.json@3", unknown) == "make retrain TASK=<task> GENO=g.json@3"
