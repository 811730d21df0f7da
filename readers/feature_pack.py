"""The pack of a feature folder: all its regions in one fp16 .npy, read by position, made once and never half.

A pack is a folder with ``regions.npy`` (N,D) and ``index.npz`` (stems, offsets, boxes, hw and a line of facts). The
index is written last and removed first, so where it stands the regions beside it are whole.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import io
import json
import os
import resource
import shlex
import shutil
import signal
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from common.archives import unpacked_size
from common.errors import UserError
from common.files import OPEN_FILES, OPEN_FILES_OF_A_WORKER, atomic_write
from common.lock import kept_from_children
from common.processor import cores
from common.progress import track
from readers.features import Features, Source, is_region_first, list_source, number_in, read_npz, stem

FORMAT = 2  # 1 held image ids instead of stems
REGIONS, INDEX, LOCK = "regions.npy", "index.npz", ".lock"
JOURNAL = "journal"  # of an extraction that is not complete
DATASET = "dataset.json"  # in a data root: what make dataset made of what
CACHE = Path("logs/packed")  # where packs of a data root go that cannot be written
PARALLEL_FROM = 500  # fewer files are read before worker processes have started
MOST_WORKERS = 8
SPACE_CHECK_AT = 64  # images after which the size of the whole pack can be told
MOST_FAULTS = 20
MOST_PACKED = 2  # an index is written as it is
ALIKE = 100  # files asked at most how their arrays stand


class Pack:
    """An opened pack of n images with N regions of width D. Picklable, and safe to use after a fork."""

    def __init__(self, path: Path) -> None:
        """Open the pack in a folder.

        Raises:
            OSError, ValueError, KeyError, zipfile.BadZipFile: there is none, or it is damaged or of another format.
        """
        self.path = path
        if unpacked_size(path / INDEX) > MOST_PACKED * os.stat(path / INDEX).st_size:
            raise ValueError("an index that was compressed")
        with np.load(path / INDEX, allow_pickle=False) as index:
            facts = json.loads(index["facts"].item())
            self.format: int = facts["format"]
            if self.format > FORMAT:
                raise ValueError(f"pack format {self.format}")
            # (n,) texts, what the files of the images were called
            self.stems: np.ndarray = index["stems"] if self.format == FORMAT else index["ids"].astype(str)
            self.offsets: np.ndarray = index["offsets"]  # (n+1,) int64 first region of each image, N at the end
            self.boxes: np.ndarray = index["boxes"]  # (N,4) float32
            self.hw: np.ndarray = index["hw"]  # (n,2) float32
        self.width: int = facts["width"]
        self.stamp: str = facts["stamp"]  # of the source when it was packed
        self.fingerprint: str = facts["fingerprint"]  # of the contents, equal wherever the data are
        self.extractor: dict[str, str] = facts.get("extractor", {})  # its name, weights, preprocessing, where known
        self.called: str = facts.get("called", "")  # what the extractor was asked for by, where known
        self.pictures: str = facts.get("pictures", "")  # hash of the pictures it was made of, where it was
        self._check()
        self._start = len(npy_header(len(self.boxes), self.width))
        self.bytes = self._start + 2 * self.width * len(self.boxes)
        if os.stat(path / REGIONS).st_size != self.bytes:
            raise ValueError("regions and index differ in size")
        self._file = os.open(path / REGIONS, os.O_RDONLY)
        weakref.finalize(self, os.close, self._file)

    def _check(self) -> None:
        """Make sure that the index fits itself; readers rely on it."""
        images, regions = len(self.stems), len(self.boxes)
        kinds = [(array.dtype.kind, array.shape) for array in (self.stems, self.offsets, self.boxes, self.hw)]
        fits = kinds == [("U", (images,)), ("i", (images + 1,)), ("f", (regions, 4)), ("f", (images, 2))]
        if not fits or not images or (np.diff(self.offsets) < 1).any() or (self.offsets[[0, -1]] != (0, regions)).any():
            raise ValueError("arrays of the index do not fit together")
        if not (np.isfinite(self.boxes).all() and np.isfinite(self.hw).all() and (self.hw > 0).all()):
            raise ValueError("impossible numbers in the index")
        known = self.extractor.values() if isinstance(self.extractor, dict) else (None,)
        texts = (self.stamp, self.fingerprint, self.pictures, self.called, *known)
        if not all(isinstance(text, str) for text in texts) or not 0 < self.width < 2**31:
            raise ValueError("impossible facts in the index")

    def __reduce__(self) -> tuple[Any, ...]:
        return Pack, (self.path,)

    def __len__(self) -> int:
        return len(self.stems)

    def restamped(self, stamp: str) -> Pack:
        """The same pack, which from now on stands for a feature folder of that stamp."""
        with np.load(self.path / INDEX, allow_pickle=False) as index:
            arrays = dict(index)
        arrays["facts"] = np.array(json.dumps({**json.loads(arrays["facts"].item()), "stamp": stamp}))
        with atomic_write(self.path / INDEX, "wb") as file:
            np.savez(file, **arrays)
        return Pack(self.path)

    def read_regions(self, first: int, out: np.ndarray) -> None:
        """Fill ``out`` (k,D), contiguous float16, with regions first .. first+k-1 of the pack."""
        # Positioned reads are as fast as a memory map, and where a file is cut short they give an error that can be
        # told, where a memory map kills the process with a bus error.
        view = memoryview(out).cast("B")
        if os.preadv(self._file, [view], self._start + 2 * self.width * first) != len(view):
            raise UserError(f"{self.path / REGIONS} ended early; delete {self.path} to have it packed again")


def open_pack(folder: Path, check: Callable[[Sequence[str]], object] = len) -> Pack:
    """The pack of a feature folder, made now where there is none or the folder has changed since.

    It lies in ``.packed/<name>`` beside the folder, or under ``logs/packed`` where that cannot be written. Once packed,
    the folder itself may go.

    Args:
        folder: one npz per image.
        check: called with the stems of its files before anything is packed, to refuse them in time.

    Raises:
        UserError: neither features nor a pack, broken features, no space, or nowhere to write.
    """
    source = list_source(folder)
    paths = pack_places(folder)
    for path in paths:
        pack = _valid(path, source)
        if pack is not None:
            return pack
    if source is None:
        raise UserError(_absent(folder))
    check([stem(name) for name in source.names])
    for path in paths:
        try:
            lock = lock_pack(path)
        except OSError:
            continue
        with lock:
            # Another process may have packed while this one waited for the lock.
            return _valid(path, source) or _make(source, path)
    tried = " or ".join(map(str, paths))
    raise UserError(
        f"cannot pack the features of {folder}: {tried} cannot be written; give yourself write permission for one of "
        "them, or name a data root that you can write and that holds a link to these features"
    )


def pack_places(folder: Path) -> list[Path]:
    """Where the pack of a feature folder may lie, the usual place first."""
    whole = Path(os.path.abspath(folder))
    apart = f"{whole.name}-{hashlib.blake2b(os.fsencode(whole), digest_size=4).hexdigest()}"
    return [whole.parent / ".packed" / whole.name, CACHE / apart]


def is_packed(folder: Path) -> bool:
    """Whether a feature folder has a pack, though it may itself be gone by now."""
    return any((path / INDEX).exists() for path in pack_places(folder))


def _valid(path: Path, source: Source | None) -> Pack | None:
    try:
        pack = Pack(path)
    # Whatever stops a pack from opening has the same remedy: pack again.
    except Exception:
        return None
    if pack.pictures and not pack.stamp:
        # Made of pictures, not of the npz that lie or are being written beside it.
        return pack
    return pack if source is None or (pack.stamp, pack.format) == (source.stamp, FORMAT) else None


def _absent(folder: Path) -> str:
    layout = "one npz of region features per image, such as COCO_train2014_000000000009.jpg.npz (see data/README.md)"
    begun = next((path for path in pack_places(folder) if (path / JOURNAL).exists()), None)
    if begun is not None:
        return f"the features of {folder} are begun in {begun} but not complete; type the same make features once more"
    made = next((root for root in folder.parents if (root / DATASET).exists()), None)
    if made is not None:
        remedy = f"type make features DATA={shlex.quote(str(made))}"
        return f"the pictures of {made} have no features in {folder} yet; {remedy}"
    if not folder.is_dir():
        return f"the feature folder {folder} does not exist; it should hold {layout}"
    below = sorted(path.parent.name for path in folder.glob("*/*.npz"))
    hint = f"; did you mean its folder {below[0]}?" if below else ""
    return f"{folder} holds no npz; it should hold {layout}{hint}"


def lock_pack(path: Path) -> IO[str]:
    """Hold a pack's folder alone until the result is closed: of several processes one packs and the others wait.

    Raises:
        OSError: the folder cannot be written.
    """
    above = next(folder for folder in path.parents if folder.is_dir())
    # Root may write anything; a data root that nobody has write permission for is nonetheless meant to stay as it is.
    if not above.stat().st_mode & 0o222:
        raise PermissionError(errno.EACCES, "no write permission", str(above))
    path.mkdir(parents=True, exist_ok=True)
    lock = open(path / LOCK, "a")  # noqa: SIM115 - the caller closes it
    fcntl.flock(lock, fcntl.LOCK_EX)
    return kept_from_children(lock)


def _make(source: Source, path: Path) -> Pack:
    # The index goes first: without it whatever else lies here, a killed run's leavings too, is no pack.
    (path / INDEX).unlink(missing_ok=True)
    for left in path.iterdir():
        if left.name != LOCK:
            left.unlink()
    index = _write_regions(source, path)
    try:
        with atomic_write(path / INDEX, "wb") as file:
            np.savez(file, **index)
    except UserError:  # gigabytes on a disk that is full
        (path / REGIONS).unlink()
        raise
    return Pack(path)


class _Reader(Dataset[tuple[Features, bytes] | str]):
    """Reads the files of a source, each with a hash; a broken one gives its error's text, which crosses processes."""

    def __init__(self, source: Source) -> None:
        self.source = source
        # Files of one extractor stand alike, so the first whose shape tells speaks for those with a square x.
        told = (is_region_first(source.folder / name) for name in source.names[:ALIKE])
        self.region_first = next((first for first in told if first is not None), False)

    def __len__(self) -> int:
        return len(self.source.names)

    def __getitem__(self, index: int) -> tuple[Features, bytes] | str:
        try:
            features = read_npz(self.source.folder / self.source.names[index], self.region_first)
        except UserError as error:
            return str(error)
        return features, hashlib.sha256(b"".join(part.tobytes() for part in features)).digest()


def _read_all(source: Source) -> Iterator[tuple[Features, bytes] | str]:
    """What ``_Reader`` gives for every file, in order. Few files wait at a time, however slow the disk written to."""
    loader = DataLoader(
        _Reader(source),
        batch_size=None,
        num_workers=_workers() if len(source.names) >= PARALLEL_FROM else 0,
        worker_init_fn=_leave_interrupts,
        collate_fn=_as_it_is,
        # A generator of its own: a loader draws its seed, and a run must not depend on whether a pack was there.
        generator=torch.Generator(),
    )
    return track(loader, f"packing {source.folder} (once)", total=len(source.names))


def _workers() -> int:
    """How many processes may read: one a core, and fewer where the system allows few open files."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = MOST_WORKERS if allowed == resource.RLIM_INFINITY else (allowed - OPEN_FILES) // OPEN_FILES_OF_A_WORKER
    return max(0, min(MOST_WORKERS, cores(), files))


def _as_it_is(read: Any) -> Any:
    """Keep arrays arrays: as tensors they would cross processes in shared memory, measured to be twice as slow here."""
    return read


def _leave_interrupts(_: int) -> None:
    """Ctrl-C is for the parent to answer; its workers would only add tracebacks."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _write_regions(source: Source, path: Path) -> dict[str, np.ndarray]:
    """Write ``regions.npy`` and return what belongs into the index."""
    counts, boxes, hw, faults = [0], [], [], []
    stems = [stem(name) for name in source.names]
    width, contents = 0, hashlib.sha256(identify(stems))
    with atomic_write(path / REGIONS, "wb") as file:
        for name, read in zip(source.names, _read_all(source), strict=True):
            if isinstance(read, str):
                faults.append(read)
                if len(faults) == MOST_FAULTS:
                    break
                continue
            (x, box, size), digest = read
            if not hw:
                width = x.shape[1]
                file.write(npy_header(0, width))
            if x.shape[1] != width:
                raise UserError(f"{source.folder / name} has features of width {x.shape[1]}, images before it {width}")
            file.write(x)
            counts.append(len(x))
            boxes.append(box)
            hw.append(size)
            contents.update(digest)
            if len(hw) == SPACE_CHECK_AT:
                _check_space(source, path, file, len(hw))
        if faults:
            raise UserError(_sum_up(source, faults))
        file.seek(0)
        file.write(npy_header(sum(counts), width))
    facts = {"width": width, "stamp": source.stamp, "fingerprint": contents.hexdigest()}
    return index_of(stems, counts, np.concatenate(boxes), np.stack(hw), facts)


def index_of(
    stems: Sequence[str], counts: Sequence[int], boxes: np.ndarray, hw: np.ndarray, facts: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """What belongs into the index of n images with N regions; ``Pack`` says what its arrays are.

    ``counts`` (n+1) begins with 0; ``facts`` are width, stamp and fingerprint, and of pictures also their hash and the
    extractor and what it is called.
    """
    return {
        "stems": np.array(stems),
        "offsets": np.cumsum(counts, dtype=np.int64),
        "boxes": boxes,
        "hw": hw,
        "facts": np.array(json.dumps({"format": FORMAT, **facts})),
    }


def identify(stems: Sequence[str]) -> bytes:
    """What images these are, for a fingerprint: their numbers, so that no renaming which keeps them changes it."""
    numbers = [number_in(stem) for stem in stems]
    if None in numbers or len(set(numbers)) < len(numbers):
        return "\0".join(stems).encode()
    return np.array(numbers, np.int64).tobytes()


def _check_space(source: Source, path: Path, file: IO[bytes], done: int) -> None:
    need = file.tell() / done * (len(source.names) - done)
    free = shutil.disk_usage(path).free
    if need > free:
        raise UserError(
            f"packing {source.folder} needs {need / 1e9:.3g} GB more but {path} has {free / 1e9:.3g} GB free; "
            "free the disk, or name a data root on a larger one that holds a link to these features"
        )


def _sum_up(source: Source, faults: list[str]) -> str:
    others = len(faults) - 1
    least = "at least " if len(faults) == MOST_FAULTS else ""
    return faults[0] + (f" ({least}{others} more files in {source.folder} are broken)" if others else "")


def npy_header(regions: int, width: int) -> bytes:
    """The head of a .npy of (regions, width) float16; numpy makes it equally long for any number of regions."""
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "<f2", "fortran_order": False, "shape": (regions, width)})
    return head.getvalue()
