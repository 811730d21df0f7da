"""Digests of training images: small, exact, and refused where they are damaged."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from audit.digest import Digest
from common.errors import UserError


@given(arrays(np.int64, st.integers(0, 50)))
def test_ids_come_back_exactly(drawn: np.ndarray) -> None:
    digest = Digest("coco", np.unique(drawn), {7: 2**64 - 1})
    again = Digest.from_dict(json.loads(json.dumps(digest.as_dict())), "g.json")
    assert np.array_equal(again.ids, digest.ids) and (again.namespace, again.probes) == ("coco", {7: 2**64 - 1})


def test_cocos_training_images_take_some_60_kb() -> None:
    ids = np.sort(np.random.default_rng(0).choice(581_930, 113_287, replace=False))
    assert len(Digest("coco", ids, {}).packed) < 64_000


@pytest.mark.parametrize(
    "change", [{"ids": "?"}, {"ids": "AAAA"}, {"images": 3}, {"images": 10**12}, {"images": None}, {"probes": []}]
)
def test_damage_is_named(change: dict) -> None:
    digest = Digest("", np.array([1, 2]), {1: 5}).as_dict()
    with pytest.raises(UserError, match=r"g.json: its list of training images \('trained_on'\) is damaged"):
        Digest.from_dict(digest | change, "g.json")
    with pytest.raises(UserError, match="is damaged"):
        Digest.from_dict("all", "g.json")
