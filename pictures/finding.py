"""The pictures of images that are known by their feature files, found by their names"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from common.errors import UserError
from pictures.reading import ENDINGS
from readers.features import number_in, stem

PICTURES = "images"  # where data have their pictures, below the data root


def find_pictures(folder: Path, stems: Mapping[int, str]) -> dict[int, Path]:
    """The picture of each wanted image that a folder, or one below it, has.

    It is called like the image's feature file, or ends in the image's number as that does.

    Args:
        folder: of pictures.
        stems: by id of the wanted images, what their feature files are called, without endings.

    Raises:
        UserError: there is no such folder.
    """
    if not folder.is_dir():
        raise UserError(f"the folder of pictures {folder} does not exist; name another as PICTURES")
    images = {name: image for image, name in stems.items()}
    numbered = {image for image, name in stems.items() if number_in(name) == image}
    found: dict[int, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in ENDINGS:
            number = number_in(path.name)
            image = images.get(stem(path.name), number if number in numbered else None)
            if image is not None:
                found.setdefault(image, path)
    return found
