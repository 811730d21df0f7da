"""Pictures of every kind: upright, small, RGB, and refused by name where they cannot be."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.errors import UserError
from pictures.reading import ORIENTATION, Upload, read_picture

RED, BLUE = (250, 10, 10), (10, 10, 250)


def halves(size: tuple[int, int] = (64, 32)) -> Image.Image:
    """Red on the left, blue on the right."""
    image = Image.new("RGB", size, RED)
    image.paste(BLUE, (size[0] // 2, 0, *size))
    return image


def colour(image: Image.Image, x: float, y: float) -> str:
    red, _, blue = image.getpixel((int(x * image.width), int(y * image.height)))
    return "red" if red > blue else "blue"


# What a viewer shows of the stored picture: where its left half, red, comes to lie.
@pytest.mark.parametrize(
    ("orientation", "red_at"),
    [(1, "left"), (2, "right"), (3, "right"), (4, "left"), (5, "top"), (6, "top"), (7, "bottom"), (8, "bottom")],
)
@pytest.mark.parametrize("ending", ["jpg", "tif", "png", "webp"])
def test_orientation(tmp_path: Path, orientation: int, red_at: str, ending: str) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    halves((640, 320)).save(tmp_path / f"a.{ending}", exif=exif)
    found = read_picture(tmp_path / f"a.{ending}", 64)
    turned = orientation >= 5
    assert (found.width, found.height) == ((320, 640) if turned else (640, 320))
    assert found.image.size == ((32, 64) if turned else (64, 32))
    places = {"left": (0.2, 0.5), "right": (0.8, 0.5), "top": (0.5, 0.2), "bottom": (0.5, 0.8)}
    assert {name for name, place in places.items() if colour(found.image, *place) == "red"} >= {red_at}
    opposite = {"left": "right", "right": "left", "top": "bottom", "bottom": "top"}[red_at]
    assert colour(found.image, *places[opposite]) == "blue"


def test_an_orientation_that_is_no_number_leaves_the_picture_as_it_lies(tmp_path: Path) -> None:
    exif = b"Exif\0\0II*\0" + struct.pack("<IHHHI4s", 8, 1, ORIENTATION, 2, 2, b"A") + bytes(4)  # a text
    halves().save(tmp_path / "a.jpg", exif=exif)
    assert read_picture(tmp_path / "a.jpg", 64).image.size == (64, 32)


@pytest.mark.parametrize("mode", ["CMYK", "P", "RGBA", "L", "LA", "1", "YCbCr"])
def test_modes(tmp_path: Path, mode: str) -> None:
    ending = "jpg" if mode in ("CMYK", "YCbCr") else "png"
    image = halves().convert(mode)
    image.save(tmp_path / f"a.{ending}")
    found = read_picture(tmp_path / f"a.{ending}", 64).image
    assert found.mode == "RGB" and found.size == (64, 32)
    if mode in ("CMYK", "P", "RGBA", "YCbCr"):
        assert np.abs(np.asarray(found.getpixel((5, 5)), int) - RED).max() < 60


def test_transparency_stands_on_white(tmp_path: Path) -> None:
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(tmp_path / "a.png")
    palette = Image.new("P", (8, 8), 3)
    palette.save(tmp_path / "b.gif", transparency=3)
    for name in ("a.png", "b.gif"):
        assert read_picture(tmp_path / name, 8).image.getpixel((4, 4)) == (255, 255, 255)


def test_sixteen_bit_become_eight(tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 8), 0x80FF, np.uint16)).save(tmp_path / "a.png")
    Image.fromarray(np.full((8, 8), 0x80FF, np.uint16)).save(tmp_path / "a.tif")
    for name in ("a.png", "a.tif"):
        assert read_picture(tmp_path / name, 8).image.getpixel((4, 4)) == (128, 128, 128)


def test_of_an_animation_the_first_frame_is_read_and_that_is_said(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), one) for one in (RED, BLUE)]
    for ending in ("gif", "webp", "png"):
        frames[0].save(tmp_path / f"a.{ending}", save_all=True, append_images=frames[1:])
        found = read_picture(tmp_path / f"a.{ending}", 8)
        assert colour(found.image, 0.5, 0.5) == "red" and "first frame" in found.note
    frames[0].save(tmp_path / "b.jpg", format="MPO", save_all=True, append_images=frames[1:])
    assert read_picture(tmp_path / "b.jpg", 8).note == ""


def claiming(width: int, height: int) -> bytes:
    """A PNG that says it has so many pixels."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(b"\0" * 1000)), (b"IEND", b"")]
    parts = [struct.pack(">I", len(b)) + n + b + struct.pack(">I", zlib.crc32(n + b)) for n, b in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def truncated() -> bytes:
    held = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(held, "JPEG")
    return held.getvalue()[:900]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no picture of a known kind"),
        (b"words", "no picture of a known kind"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no picture of a known kind"),
        (truncated(), "truncated"),
        (claiming(100_000, 100_000), "more pixels than anybody can unpack"),
        (claiming(10_000, 10_000), "10000 x 10000 pixels, more than 32,000,000"),
        (claiming(100, 100), "cannot read the picture"),
    ],
)
def test_refused_in_one_sentence(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserError, match=f"a.jpg.*{said}|{said}.*a.jpg"):
            read_picture(tmp_path / "a.jpg", 64)


def test_missing_and_floating_point(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        read_picture(tmp_path / "a.jpg", 64)
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(UserError, match="floating-point"):
        read_picture(tmp_path / "a.tif", 64)
    (tmp_path / "folder.jpg").mkdir()
    with pytest.raises(UserError, match="cannot read"):
        read_picture(tmp_path / "folder.jpg", 64)


def test_a_jpeg_larger_than_the_bound_is_unpacked_smaller(tmp_path: Path) -> None:
    Image.new("L", (9000, 9000), 7).save(tmp_path / "a.jpg")
    found = read_picture(tmp_path / "a.jpg", 64)
    assert (found.width, found.image.size) == (9000, (64, 64))


def test_a_file_in_memory_is_read_like_one_on_a_disk(tmp_path: Path) -> None:
    halves((640, 320)).save(tmp_path / "a.jpg")
    content = (tmp_path / "a.jpg").read_bytes()
    there, here = read_picture(tmp_path / "a.jpg", 64), read_picture(Upload("a.jpg", content), 64)
    assert there.image.tobytes() == here.image.tobytes() and there[1:] == here[1:]
    with pytest.raises(UserError, match=r"the picture sent\.jpg \(.*damaged"):
        read_picture(Upload("sent.jpg", content[:400]), 64)
