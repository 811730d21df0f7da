"""What samples share: texts, side by side, and the relations of their images, a few at a time."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from space.attention import RelationAttention
from space.geometry import Relation, relation_geometry
from space.relations import BOX_PAIRS, Relations
from space.text_groups import TEXTS_OF_A_GROUP, group_by_text


@given(st.lists(st.integers(1, 6), min_size=1, max_size=40), st.data())
def test_runs_hold_every_sample_beside_those_of_its_text(lengths: list[int], data: st.DataObject) -> None:
    pad = torch.arange(6) >= torch.tensor(lengths)[:, None]
    one = st.integers(0, len(lengths) - 1)
    index = torch.tensor(data.draw(st.lists(one, min_size=1, max_size=50)))
    order, groups = group_by_text(index, pad)
    assert order.sort().values.tolist() == list(range(len(index)))
    placed = index[order]
    for group, samples in zip(groups, placed.split([group.samples for group in groups]), strict=True):
        assert bool((samples.view(len(group.texts), -1) == group.texts[:, None]).all())
        assert len(group.texts) <= TEXTS_OF_A_GROUP and group.words == max(lengths[text] for text in group.texts)


def relations(images: int = 5, regions: int = 4, keep: bool = False) -> tuple[Relations, Relation]:
    """Relations between random boxes."""
    torch.manual_seed(0)
    corner, embed = torch.rand(images, regions, 2) * 100, Relation(64)
    boxes = torch.cat((corner, corner + 1 + torch.rand(images, regions, 2) * 50), -1)
    return Relations(relation_geometry(boxes), embed, keep), embed


def test_relations_read_in_parts_equal_those_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BOX_PAIRS, "cpu", 2 * 16)
    project, sizes, found = torch.nn.Linear(64, 8), [], []

    def reader(features: torch.Tensor) -> torch.Tensor:
        sizes.append(len(features))
        return project(features)

    for whole in (1000, 0):
        monkeypatch.setattr("space.relations.WHOLE", whole)
        given_, embed = relations()
        with torch.no_grad():
            given_.read(reader)  # must not keep the next from having a graph
        out = given_.read(reader)
        weights = (*embed.parameters(), *project.parameters())
        found.append((out, *torch.autograd.grad(out.square().sum(), weights)))
    assert sizes == [5, 5, *[2, 2, 1], *[2, 2, 1], *sizes[8:]]
    assert sorted(sizes[8:]) == [1, 2, 2]  # once more on the way back
    for made, wanted in zip(found[1], found[0], strict=True):
        torch.testing.assert_close(made, wanted, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("whole", [1000, 0])
def test_relations_that_are_kept_are_read_once_by_each_reader(whole: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("space.relations.WHOLE", whole)
    kept, embed = relations(keep=True)
    fresh = Relations(kept.geometry, embed)
    blocks = [RelationAttention(64, 16, 64, 0.0, 64) for _ in range(2)]
    with torch.no_grad():
        first = [kept.read(block._bias) for block in blocks]
        again = [kept.read(block._bias) for block in blocks]
        wanted = [fresh.read(block._bias) for block in blocks]
    assert all(one is other for one, other in zip(first, again, strict=True))
    assert all(torch.equal(one, other) for one, other in zip(first, wanted, strict=True))
    assert kept.read(blocks[0]._bias).requires_grad  # what was made without a graph is not for those who learn
