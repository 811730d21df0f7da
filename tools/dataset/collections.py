"""Tables that come as one JSON: COCO's captions, Visual Genome's region descriptions, or a list of objects"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from common.errors import UserError, brief
from common.files import read_json

WHAT = "COCO captions (images, annotations), Visual Genome's region descriptions, or a list of objects, one a row"
SIDES = ("x", "y", "width", "height")
Entry = tuple[dict[str, Any], str]  # values by column, and why they cannot be read


def read_entries(path: Path) -> Iterable[Entry]:
    """The entries of such a file, as rows of a table.

    Raises:
        UserError: it is not JSON, or none of these.
    """
    found = read_json(path, WHAT)
    if isinstance(found, dict) and all(isinstance(found.get(key), list) for key in ("images", "annotations")):
        return _captions(found)
    if not isinstance(found, list):
        raise UserError(f"{path} should be {WHAT}")
    if found and all(isinstance(one, dict) and isinstance(one.get("regions"), list) for one in found):
        return _regions(found)
    return map(_object, found)


def _captions(found: Mapping[str, Any]) -> Iterator[Entry]:
    images = (_object(one)[0] for one in found["images"])
    names = {str(one.get("id")): one.get("file_name") for one in images}
    for entry in found["annotations"]:
        values, fault = _object(entry)
        image = values.get("image_id")
        if not fault and str(image) not in names:
            fault = f"image_id {brief(image)} is none of its images"
        yield {"image": names.get(str(image)), "text": values.get("caption")}, fault


def _regions(found: list[dict[str, Any]]) -> Iterator[Entry]:
    for image in found:
        for entry in image["regions"]:
            values, fault = _object(entry)
            name = f"{values.get('image_id', image.get('id'))}.jpg"
            yield {"image": name, "phrase": values.get("phrase"), **{side: values.get(side) for side in SIDES}}, fault


def _object(entry: Any) -> Entry:
    return (entry, "") if isinstance(entry, dict) else ({}, "it is no JSON object")
