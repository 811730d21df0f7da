"""Spoilt pictures, and what a stopped extraction left: each is read, or refused in one sentence, in bounded memory."""

from __future__ import annotations

import io
import json
import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tiny_pictures
import torch
from fuzz import answered, for_numbers, fuzzed, spoilt_bytes, spoilt_tree
from PIL import Image
from test_hostile_sizes import grown
from tiny_pictures import Quarters

from common.errors import UserError
from pictures.extraction import extract_folder
from pictures.listing import list_pictures
from pictures.reading import MOST_PIXELS, MOST_SCANS, ORIENTATION, read_picture
from readers.feature_pack import JOURNAL, Pack
from readers.feature_store import FeatureStore

MOST = 512 * 2**20  # bytes that a picture may take while it is read
LONGEST = 64
SIDE = int(MOST_PIXELS**0.5)


def noise(mode: str) -> Image.Image:
    blocks = np.random.default_rng(0).integers(0, 256, (6, 8, 4), np.uint8)
    return Image.fromarray(blocks, "RGBA").resize((48, 36)).convert(mode)


def written(form: str, mode: str = "RGB", **how: object) -> bytes:
    held, turned = io.BytesIO(), Image.Exif()
    turned[ORIENTATION] = 6
    noise(mode).save(held, form, **({"exif": turned} if form in ("JPEG", "PNG", "WEBP", "TIFF") else {}), **how)
    return held.getvalue()


PICTURES = {
    "jpg": written("JPEG"),
    "progressive jpg": written("JPEG", progressive=True),
    "png": written("PNG", "RGBA"),
    "palette png": written("PNG", "P", transparency=3),
    "animated png": written("PNG", "RGBA", save_all=True, append_images=[noise("RGBA").rotate(90)]),
    "gif": written("GIF", "P", save_all=True, append_images=[noise("P").rotate(90)]),
    "webp": written("WEBP", "RGBA", lossless=True),
    "bmp": written("BMP"),
    "tif": written("TIFF", "RGB", compression="tiff_lzw"),
    "jpg in tif": written("TIFF", "RGB", compression="jpeg"),
    "mpo": written("MPO", save_all=True, append_images=[noise("RGB").rotate(90)]),
    "ppm": written("PPM"),
}


@fuzzed
@pytest.mark.parametrize("name", PICTURES)
def test_pictures(many: bool, name: str, tmp_path: Path) -> None:
    path = tmp_path / "a.picture"

    def read() -> None:
        found = read_picture(path, LONGEST)
        assert found.image.mode == "RGB" and max(found.image.size) <= LONGEST and min(found[1:3]) > 0

    def check(rng: random.Random) -> None:
        path.write_bytes(spoilt_bytes(PICTURES[name], rng))
        answered("pictures", read)

    for_numbers(many, check)


def png(width: int, height: int, rows: bytes) -> bytes:
    """A PNG that says it has so many pixels, of four channels."""
    head = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", rows), (b"IEND", b"")]
    parts = [struct.pack(">I", len(b)) + name + b + struct.pack(">I", zlib.crc32(name + b)) for name, b in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def zeros(count: int) -> bytes:
    """So many of them, compressed a thousandfold."""
    pack = zlib.compressobj(9)
    return b"".join([*(pack.compress(bytes(min(2**20, count - at))) for at in range(0, count, 2**20)), pack.flush()])


def scans(count: int) -> bytes:
    """A progressive JPEG whose last scan comes again and again."""
    held = io.BytesIO()
    Image.new("L", (800, 800)).save(held, "JPEG", progressive=True)
    content = held.getvalue()
    last = content.rindex(b"\xff\xda")
    return content[:last] + content[last:-2] * count + content[-2:]


def claiming(content: bytes, width: int, height: int) -> bytes:
    """A JPEG that says it has so many pixels."""
    size = next(at for at in (content.find(b"\xff\xc0"), content.find(b"\xff\xc2")) if at > 0) + 5
    return content[:size] + struct.pack(">HH", height, width) + content[size + 4 :]


def progressive() -> bytes:
    return claiming(written("JPEG", "L", progressive=True), SIDE + 1, SIDE + 1)


def apart() -> bytes:
    """A JPEG that begins with a scan of one channel."""
    return claiming(PICTURES["jpg"].replace(b"\xff\xda\x00\x0c\x03", b"\xff\xda\x00\x0c\x01"), SIDE + 1, SIDE + 1)


TOO_MANY = "more than 32,000,000; save it smaller"
BOMBS: dict[str, tuple[Callable[[], bytes], str]] = {
    "more pixels than fit": (lambda: png(SIDE + 1, SIDE + 1, zeros(4 * SIDE**2)), TOO_MANY),
    "a claim of 2^62 pixels": (lambda: png(2**31 - 1, 2**31 - 1, b""), "more pixels than anybody can unpack"),
    "a progressive JPEG": (progressive, TOO_MANY),
    "a JPEG with a scan for every channel": (apart, TOO_MANY),
    "a JPEG of a thousand scans": (lambda: scans(1000), f"scans, more than {MOST_SCANS}; save it anew"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_small_files_that_unpack_to_much_are_refused(name: str, tmp_path: Path) -> None:
    make, said = BOMBS[name]
    path = tmp_path / "a.jpg"
    path.write_bytes(make())
    assert path.stat().st_size < 2**20 and grown(lambda: read_picture(path, LONGEST)) < 2**26
    with pytest.raises(UserError, match=said):
        read_picture(path, LONGEST)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("form", "mode"), [("PNG", "RGBA"), ("PNG", "LA"), ("WEBP", "RGB"), ("TIFF", "I"), ("GIF", "P")]
)
def test_the_largest_that_are_read_take_bounded_memory(form: str, mode: str, tmp_path: Path) -> None:
    path = tmp_path / "a.picture"
    how = {"WEBP": {"lossless": True}, "TIFF": {"compression": "tiff_adobe_deflate"}}.get(form, {})
    Image.new(mode, (SIDE, SIDE)).save(path, form, **how)

    def read() -> None:
        read_picture(path, LONGEST)
        raise UserError("read, as it may be")

    assert path.stat().st_size < 2**19 and grown(read) < MOST


class Stops(Quarters):
    """Is stopped by its third batch."""

    def facts(self) -> dict[str, str]:
        return Quarters.facts(self) | {"extractor": "Quarters"}

    def extract(self, pictures):
        if len(pictures) < self.batch:
            raise KeyboardInterrupt
        return super().extract(pictures)


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight pictures, and the features of six of them."""
    root = tmp_path_factory.mktemp("begun")
    tiny_pictures.folder(root / "pictures", 8)
    with pytest.raises(KeyboardInterrupt):
        extracted(root, Stops)
    return root


def extracted(root: Path, kind: type[Quarters] = Quarters) -> Pack:
    (folder,) = list_pictures(root / "pictures")
    return extract_folder(folder, kind(torch.device("cpu")), root / "out", 0).pack


def spoilt_journal(content: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.4:
        return spoilt_bytes(content, rng)
    lines = content.splitlines()
    at = rng.randrange(len(lines))
    lines[at] = json.dumps(spoilt_tree(json.loads(lines[at]), rng)).encode()
    return b"\n".join([*lines, b""])


@fuzzed
def test_extractions_to_go_on_with(many: bool, begun: Path, tmp_path: Path) -> None:
    path = begun / ".packed" / "out"
    left = {one: one.read_bytes() for one in path.iterdir()}
    (tmp_path / "pictures").symlink_to(begun / "pictures")
    whole = extracted(tmp_path)

    def check(rng: random.Random) -> None:
        for one in path.iterdir():
            one.unlink()
        for one, content in left.items():
            one.write_bytes(content)
        spoilt = path / rng.choice((JOURNAL, JOURNAL, JOURNAL, "regions.npy", "boxes.part"))
        if rng.random() < 0.05:
            spoilt.unlink()
        else:
            spoilt.write_bytes((spoilt_journal if spoilt.name == JOURNAL else spoilt_bytes)(left[spoilt], rng))
        assert answered("extractions to go on with", lambda: extracted(begun)) is None
        # Whatever was spoilt is computed again.
        assert all((path / one.name).read_bytes() == one.read_bytes() for one in whole.path.iterdir())

    for_numbers(many, check)


def test_names_in_a_pack_make_no_files_elsewhere(tmp_path: Path) -> None:
    tiny_pictures.folder(tmp_path / "pictures", 3)
    path = extracted(tmp_path).path / "index.npz"
    with np.load(path) as held:
        arrays = dict(held)
    np.savez(path, **arrays | {"stems": np.array(["../../000", "001", "002"])})
    (folder,) = list_pictures(tmp_path / "pictures")
    pack = extract_folder(folder, Quarters(torch.device("cpu")), tmp_path / "out", 0, npz=True).pack
    assert pack.stems.tolist() == ["000", "001", "002"] and len(FeatureStore([tmp_path / "out"])) == 3
    assert len(list(tmp_path.rglob("*.npz"))) == 4  # one of them the index
