"""Extractors by name: those that come along, and classes of your own by dotted name."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import torch

from common.errors import UserError, brief, did_you_mean, why
from pictures.contract import Extractor
from pictures.grid import Grid
from pictures.pretrained import pretrained

EXTRACTORS: dict[str, type[Extractor]] = {"grid": Grid}


def find_extractor(name: str, device: torch.device) -> Extractor:
    """The extractor of a name: one of ``EXTRACTORS``, ``transformers:<folder or name>``, or ``module:Class``.

    Raises:
        UserError: there is none of that name, or it cannot be made.
    """
    extractor = _made(name, device)
    extractor.called = name
    return extractor


def _made(name: str, device: torch.device) -> Extractor:
    family, colon, rest = name.partition(":")
    if family == "transformers" and rest:
        return pretrained(rest, device)
    if family in EXTRACTORS and not colon:
        return EXTRACTORS[family](device)
    if not colon or not rest:
        known = f"{', '.join(EXTRACTORS)}, transformers:<folder or name> and module:Class"
        raise UserError(f"EXTRACTOR={brief(name)} is unknown; there are {known}{did_you_mean(name, EXTRACTORS)}")
    return _own(family, rest)(device)


def _own(module: str, name: str) -> type[Extractor]:
    here = str(Path.cwd())
    if here not in sys.path:  # installed commands do not look where they are typed
        sys.path.insert(0, here)
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ImportError as error:
        raise UserError(f"EXTRACTOR={module}:{name}: cannot import {module} ({why(error)})") from error
    if not isinstance(found, type) or not issubclass(found, Extractor):
        raise UserError(f"EXTRACTOR={module}:{name}: {name} is no class that derives from pictures.contract.Extractor")
    return found
