"""The files a genotype may come in, each turned into the plain dict of our own form.

ours            {"schema": 1, "task": ..., "encoder": [...], "decoder": [...], ...}
ours by epoch   {"schema": 1, "epochs": {"epoch0": {as above}, ...}}
older           {"epoch0": {"enc": [["self_att_64"], ...], "dec": [...]}, ...}   (MILVLG/mmnas)
short lists     ARCH: {enc: [SA, FFN, ...], dec: [GA, RSA, ...]}                 (MILVLG/openvqa, YAML)
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from common.errors import UserError, brief
from common.files import read_json
from common.yaml_files import read_yaml

SHORT = {"SA": "self_att_64", "RSA": "rel_self_att_64", "GA": "guided_att_64", "FFN": "feed_forward"}
WHAT = "a genotype"


def split(reference: str) -> tuple[str, int | None]:
    """``"path@50"`` -> ``("path", 50)``, ``"path"`` -> ``("path", None)``.

    Raises:
        UserError: what follows the @ is not the number of an epoch.
    """
    path, at, epoch = reference.rpartition("@")
    # A folder or file may have an @ in its own name.
    if not at or "/" in epoch or os.path.exists(reference):
        return reference, None
    if not re.fullmatch("[0-9]{1,9}", epoch):
        raise UserError(f"{brief(reference)} should end in @ and the number of an epoch, such as {path}@50")
    return path, int(epoch)


def read(path: str, epoch: int | None = None) -> dict[str, Any]:
    """Read a file in any of the forms.

    Args:
        path: ``.yml`` or ``.yaml`` for the short lists, anything else is JSON.
        epoch: which one of several epochs; by default the last.

    Raises:
        UserError: the file is missing, broken, empty, of no known form, or lacks the epoch.
    """
    value = read_yaml(path, WHAT) if path.endswith((".yml", ".yaml")) else read_json(path, WHAT)
    if not value:
        raise UserError(f"{path} is empty; it should be {WHAT}")
    _check_texts(path, value)
    if isinstance(value, Mapping):
        if "ARCH" in value:
            return _without_epochs(path, epoch, _short(path, value["ARCH"]))
        if "encoder" in value or "decoder" in value:
            return _without_epochs(path, epoch, dict(value))
        epochs = value.get("epochs", value)
        if isinstance(epochs, Mapping) and epochs and all(re.fullmatch("epoch[0-9]{1,9}", str(key)) for key in epochs):
            return _of_epoch(path, epochs, epoch)
    raise UserError(
        f"{path} is in no form of a genotype that is known; it should have encoder and decoder, "
        "or epoch0, epoch1, ..., or ARCH with enc and dec"
    )


def _check_texts(path: str, value: Any) -> None:
    """Refuse halves of characters, which JSON lets through and no figure or file of ours could hold."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{path} holds half a character in a text; write it whole, or leave it out") from error


def older(history: Sequence[tuple[Sequence[str], Sequence[str]]]) -> dict[str, Any]:
    """Encoder and decoder of every epoch in the older form, which keeps a list of operations per block."""
    return {
        f"epoch{number}": {"enc": [[name] for name in encoder], "dec": [[name] for name in decoder]}
        for number, (encoder, decoder) in enumerate(history)
    }


def ours(history: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Genotypes in our form, one per epoch, as one value."""
    return {"schema": 1, "epochs": {f"epoch{number}": dict(one) for number, one in enumerate(history)}}


def _without_epochs(path: str, epoch: int | None, value: dict[str, Any]) -> dict[str, Any]:
    if epoch is not None:
        raise UserError(f"{path} holds one genotype and no epochs; leave out @{epoch}")
    return value


def _of_epoch(path: str, epochs: Mapping[str, Any], epoch: int | None) -> dict[str, Any]:
    by_number = {int(key.removeprefix("epoch")): value for key, value in epochs.items()}
    numbers = sorted(by_number)
    epoch = numbers[-1] if epoch is None else epoch
    if epoch not in by_number:
        gapless = numbers == list(range(numbers[0], numbers[-1] + 1))
        have = f"{numbers[0]} to {numbers[-1]}" if gapless and len(numbers) > 1 else ", ".join(map(str, numbers))
        raise UserError(f"{path} has no epoch {epoch}; it has {have}")
    found = by_number[epoch]
    if isinstance(found, Mapping) and "encoder" in found:
        return dict(found)
    enc, dec = _both(f"{path}, epoch {epoch}", found)
    return {"encoder": [_single(path, block) for block in enc], "decoder": [_single(path, block) for block in dec]}


def _short(path: str, arch: Any) -> dict[str, Any]:
    sides = _both(f"{path}, ARCH", arch)
    for name in (name for side in sides for name in side):
        if not isinstance(name, str) or name not in SHORT:
            raise UserError(f"{path} has the unknown operation {brief(name)}; short lists know {', '.join(SHORT)}")
    return dict(zip(("encoder", "decoder"), ([SHORT[name] for name in side] for side in sides), strict=True))


def _both(where: str, value: Any) -> tuple[list[Any], list[Any]]:
    if not isinstance(value, Mapping) or not all(isinstance(value.get(key), list) for key in ("enc", "dec")):
        raise UserError(f"{where} must have the lists enc and dec")
    return value["enc"], value["dec"]


def _single(path: str, block: Any) -> str:
    if isinstance(block, list) and len(block) == 1:
        return block[0]
    raise UserError(
        f"{path} has the block {brief(block)}; each must be a list of one operation, such as ['self_att_64']"
    )
