"""Pictures as people have them, read small, upright and as RGB; whatever cannot be read has its sentence."""

from __future__ import annotations

import io
import re
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from common.errors import UserError, why

ENDINGS = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")  # others run programs or need them
MOST_PIXELS = 32_000_000  # unpacked at once: with the copies that WebP's decoder makes less than 512 MB
MOST_SCANS = 30  # of a JPEG: a progressive one has ten, and for every one all pixels are gone through again
_SCAN = re.compile(rb"\xff\xda..(.)", re.DOTALL)  # begins a scan: marker, length, how many of the channels it has
ORIENTATION = 0x0112  # EXIF's tag, whose values these transpositions undo
_TURNS = {number: Image.Transpose(turn) for number, turn in {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}.items()}
_QUARTER = 5  # orientations from here on exchange width and height
DEEP = ("I", "I;16", "I;16B", "I;16L", "I;16N")


class Picture(NamedTuple):
    """A picture, upright."""

    image: Image.Image  # RGB, perhaps smaller than the file's
    width: int  # pixels of the whole picture, upright
    height: int
    note: str = ""  # what was left out of it


class Upload(NamedTuple):
    """The file of a picture that is in memory, not on a disk."""

    name: str  # for people
    content: bytes

    def __str__(self) -> str:
        return self.name


def read_picture(path: Path | Upload, longest: int) -> Picture:
    """Read a picture whose sides are then at most ``longest`` pixels.

    EXIF's orientation is applied, transparency stands on white, 16 bit become 8, and of an animation the first frame is
    read.

    Raises:
        UserError: it is missing, damaged, too large, or of a kind that has no colours to show.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about metadata, and about sizes, which are bounded here
            file = io.BytesIO(path.content) if isinstance(path, Upload) else path
            with Image.open(file, formats=FORMATS) as opened:
                return upright(path, opened, longest)
    except UserError:
        raise
    except FileNotFoundError as error:
        raise UserError(f"the picture {path} does not exist") from error
    except Image.UnidentifiedImageError as error:
        raise UserError(f"{path} is no picture of a known kind ({', '.join(FORMATS)}), or is damaged") from error
    except Image.DecompressionBombError as error:
        raise UserError(f"{path} claims to have more pixels than anybody can unpack; save it smaller") from error
    # Damaged files fail in as many ways as there are decoders.
    except Exception as error:
        raise UserError(f"cannot read the picture {path} ({why(error)}); it is damaged: copy it again") from error


def upright(path: Path | Upload, opened: Image.Image, longest: int) -> Picture:
    """What ``read_picture`` gives of a picture that is open or in memory; ``path`` is only its name, for errors.

    Raises:
        UserError: it is too large, or of a kind that has no colours to show.
        Exception: whatever its decoder says of a damaged file.
    """
    width, height = opened.size
    if not _is_in_pieces(path, opened):
        opened.draft(None, (longest, longest))  # JPEG is unpacked smaller, which saves most of the time
    if opened.width * opened.height > MOST_PIXELS:
        raise UserError(f"{path} has {width} x {height} pixels, more than {MOST_PIXELS:,}; save it smaller")
    # MPO is what some cameras write: a JPEG with further pictures behind it, which are no animation.
    moves = getattr(opened, "is_animated", False) and opened.format != "MPO"
    note = "only the first frame of an animation" if moves else ""
    opened.load()
    # Asked after loading: TIFF is turned by then, and says so.
    orientation = _orientation(opened)
    image = _plain(path, opened)
    # Pixels of premultiplied colours are averaged, so that what is transparent lends them nothing.
    image.thumbnail((longest, longest), Image.Resampling.BICUBIC, reducing_gap=2.0)
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("RGB")
    if orientation in _TURNS:
        image = image.transpose(_TURNS[orientation])
    turned = orientation in _TURNS and orientation >= _QUARTER
    return Picture(image, *((height, width) if turned else (width, height)), note)


def _is_in_pieces(path: Path | Upload, opened: Image.Image) -> bool:
    """Whether it is a JPEG that is unpacked whole, however small it is wanted: progressive, or a channel at a time.

    Raises:
        UserError: it has so many scans that nobody could wait for it.
    """
    file = getattr(opened, "fp", None)  # none where it is unpacked already
    if opened.format not in ("JPEG", "MPO") or file is None:
        return False
    place = file.tell()
    file.seek(0)
    channels = [one[0] for one in _SCAN.findall(file.read())]  # those of thumbnails, too
    file.seek(place)
    if len(channels) > MOST_SCANS:
        raise UserError(f"{path} is a JPEG of {len(channels)} scans, more than {MOST_SCANS}; save it anew")
    return "progressive" in opened.info or any(count < opened.layers for count in channels)


def _orientation(opened: Image.Image) -> int:
    try:
        return int(opened.getexif().get(ORIENTATION, 1))
    except Exception:  # damaged metadata leave the picture as it lies
        return 1


def _plain(path: Path | Upload, opened: Image.Image) -> Image.Image:
    """In a mode that can be made smaller: L, RGB, or RGBA where something is transparent."""
    if opened.mode == "F":
        raise UserError(f"{path} holds floating-point numbers, which are no colours; save it as 8 or 16 bit")
    if opened.mode in DEEP:
        deep = np.asarray(opened)
        if deep.min() < 0 or deep.max() > 65535:
            raise UserError(f"{path} holds numbers beyond 16 bit, which are no grey values; save it as 8 or 16 bit")
        return Image.fromarray((deep >> 8).astype(np.uint8))
    if opened.has_transparency_data:
        return opened if opened.mode == "RGBA" else opened.convert("RGBA")
    return opened if opened.mode == "L" else opened.convert("RGB")
