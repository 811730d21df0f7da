"""What samples share: texts, side by side, and the relations of their images, a few at a time."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from space import geometry
from space.geometry import Relation, Relations, relation_geometry
from space.runs import TOGETHER, by_text


@given(st.lists(st.integers(1, 6), min_size=1, max_size=40), st.data())
def test_runs_hold_every_sample_beside_those_of_its_text(lengths: list[int], data: st.DataObject) -> None:
    pad = torch.arange(6) >= torch.tensor(lengths)[:, None]
    one = st.integers(0, len(lengths) - 1)
    drawn = data.draw(st.none() | st.lists(one, min_size=1, max_size=50))
    index = None if drawn is None else torch.tensor(drawn)
    order, runs = by_text(index, pad)
    text_of = torch.arange(len(lengths)) if index is None else index
    assert order.sort().values.tolist() == list(range(len(text_of)))
    placed = text_of[order]
    assert [run.samples.start for run in runs] == [0, *(run.samples.stop for run in runs[:-1])]
    assert runs[-1].samples.stop == len(placed)
    for run in runs:
        samples = placed[run.samples].view(len(run.texts), -1)
        assert bool((samples == run.texts[:, None]).all())
        assert len(run.texts) <= TOGETHER and run.words == max(lengths[text] for text in run.texts)


def relations(images: int = 5, regions: int = 4, keep: bool = False) -> tuple[Relations, Relation]:
    """Relations between random boxes."""
    torch.manual_seed(0)
    corner, embed = torch.rand(images, regions, 2) * 100, Relation(64)
    boxes = torch.cat((corner, corner + 1 + torch.rand(images, regions, 2) * 50), -1)
    return Relations(relation_geometry(boxes), embed, keep), embed


def test_relations_read_in_parts_equal_those_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    given_, embed = relations()
    project, sizes, found = torch.nn.Linear(64, 8), [], []

    def reader(features: torch.Tensor) -> torch.Tensor:
        sizes.append(len(features))
        return project(features)

    for pairs in (1000, 2 * 16):
        monkeypatch.setitem(geometry.PAIRS, "cpu", pairs)
        out = given_.read(reader)
        weights = (*embed.parameters(), *project.parameters())
        found.append((out, *torch.autograd.grad(out.square().sum(), weights)))
    assert sizes[:2] == [5, 5] and sorted(sizes[2:]) == [1, 1, 2, 2, 2, 2]  # each once more on the way back
    for made, wanted in zip(found[1], found[0], strict=True):
        torch.testing.assert_close(made, wanted, atol=1e-4, rtol=1e-5)


def test_relations_that_are_kept_are_read_once() -> None:
    given_, _ = relations(keep=True)
    calls = []

    def reader(features: torch.Tensor) -> torch.Tensor:
        calls.append(features)
        return features.sum(-1)

    with torch.no_grad():
        assert given_.read(reader) is given_.read(reader)
    assert len(calls) == 1
