"""Pickles that are not trusted: containers, texts and numbers are built, and nothing else a pickle may ask for.

RefCOCO's pickles come from the internet, and whoever writes a pickle chooses what runs when it is read.
"""

from __future__ import annotations

import io
import pickle
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import UserError, brief, cut, why
from common.memory import bounded


def load_pickle(path: Path) -> Any:
    """Read a pickle of containers, texts and numbers, of Python 2 or 3.

    Raises:
        UserError: it is truncated, no pickle, or asks for anything else, or for more memory than it can mean.
    """
    try:
        content = path.read_bytes()
        # Read from memory, where a length that the file only claims is no more than what is there.
        with bounded(len(content)):
            return _Safe(io.BytesIO(content), path).load()
    except UserError:
        raise
    # A broken pickle fails in a dozen ways: UnpicklingError, EOFError, ValueError, KeyError, AttributeError, ...
    except Exception as error:
        raise UserError(
            f"cannot read {path} ({why(error)}); it is truncated or no pickle of texts and numbers: copy it again"
        ) from error


class _Safe(pickle.Unpickler):
    """Builds containers, texts and numbers; whatever else a pickle asks for is refused by name."""

    def __init__(self, file: Any, path: Path) -> None:
        super().__init__(file, encoding="latin1")
        self.path = path

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise UserError(
                f"{self.path} asks for {cut(module)}.{cut(name)}, which lists of expressions have no use for; "
                "it may be harmful, so it was not run: get the file from the data set's authors"
            )
        return _ALLOWED[module, name]

    def persistent_load(self, pid: Any) -> Any:
        raise UserError(
            f"{self.path} refers to things outside itself ({brief(pid)}); get it from the data set's authors"
        )


class _Code:
    """Stands for a numpy dtype while a scalar is read."""

    def __init__(self, code: str, *_: Any) -> None:
        # Never objects or structures, which may hold objects.
        if not re.fullmatch("[biufSU][0-9]+", code):
            raise ValueError(f"a numpy value of type {code!r} is no number and no text")
        self.type = np.dtype(code)

    def __setstate__(self, state: Sequence[Any]) -> None:
        if state[1] in ("<", ">"):
            self.type = self.type.newbyteorder(state[1])


def _scalar(code: _Code, data: bytes | str) -> Any:
    raw = data.encode("latin1") if isinstance(data, str) else data
    return np.frombuffer(raw, code.type)[0].item()


def _encode(text: str, encoding: str) -> bytes:
    return text.encode(encoding)


_PLAIN = {"set": set, "frozenset": frozenset, "int": int, "long": int, "float": float, "bool": bool}
_ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    **{(module, name): kind for module in ("builtins", "__builtin__") for name, kind in _PLAIN.items()},
    ("_codecs", "encode"): _encode,  # how Python 3 writes bytes for Python 2
    ("collections", "OrderedDict"): dict,
    ("numpy", "dtype"): _Code,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy._core.multiarray", "scalar"): _scalar,
}
