"""Copies are told from pictures that are merely similar."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from pictures.alike import Look, group_alike, look_at


def scene(seed: int) -> Image.Image:
    """Something like a photograph: smooth, with detail."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((320, 240), Image.Resampling.BICUBIC), int)
    return Image.fromarray((smooth + rng.integers(-12, 13, smooth.shape)).clip(0, 255).astype(np.uint8))


def shape(x: int, colour: str) -> Image.Image:
    image = Image.new("RGB", (64, 64), "#F0F0F0")
    ImageDraw.Draw(image).rectangle((x, 20, x + 14, 34), fill=colour)
    return image


def groups(folder: Path, saved: dict[str, Image.Image]) -> list[list[str]]:
    for name, image in saved.items():
        image.save(folder / name, quality=40)
    return group_alike({name: look_at(folder / name) for name in saved})


def test_copies_in_other_sizes_and_qualities_are_one_group(tmp_path: Path) -> None:
    one, other = scene(0), scene(1)
    saved = {"a.png": one, "b.png": other, "c.jpg": one, "d.webp": one.resize((200, 150)), "e.png": one}
    assert groups(tmp_path, saved) == [["a.png", "c.jpg", "d.webp", "e.png"], ["b.png"]]


def test_a_thing_elsewhere_or_of_another_colour_makes_another_picture(tmp_path: Path) -> None:
    saved = {"a.png": shape(10, "red"), "b.png": shape(16, "red"), "c.png": shape(10, "blue")}
    saved["d.png"] = saved["a.png"]
    assert groups(tmp_path, saved) == [["a.png", "d.png"], ["b.png"], ["c.png"]]


def test_many_different_scenes_stay_apart(tmp_path: Path) -> None:
    assert len(groups(tmp_path, {f"{n}.jpg": scene(n) for n in range(40)})) == 40


def test_plain_pictures_are_alike_as_far_as_their_colours_are() -> None:
    looks = {str(level): Look(1, 1, str(level), np.full((16, 16, 3), level, np.uint8)) for level in range(0, 250, 2)}
    assert len(group_alike(looks)) == 1  # each is like the next, from the darkest to the brightest
    apart = {name: look for name, look in looks.items() if int(name) % 4 == 0}
    assert len(group_alike(apart)) == len(apart)


def test_plain_pictures_are_not_all_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []
    absolute = np.abs
    monkeypatch.setattr(np, "abs", lambda array: compared.append(len(array)) or absolute(array))
    looks = {str(n): Look(1, 1, str(n), np.full((16, 16, 3), n % 250, np.uint8)) for n in range(500)}
    group_alike(looks)
    assert sum(compared) < 4 * 500 * 6  # of 4 bands, each with those less than 3 brighter
