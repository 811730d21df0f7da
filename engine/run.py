"""A run's name and files, and the options every run has."""

from __future__ import annotations

import contextlib
import datetime
import itertools
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from jsonargparse.typing import NonNegativeInt

from common.errors import UserError
from common.files import leftovers
from common.lock import held
from common.numbers import whole
from engine import checkpoint
from engine.distributed import Ranks, launched, restartable

Workers = whole(0, 1000)
Threads = whole(1, 1024)
Kept = whole(1, checkpoint.MOST_KEPT)
MOST_BYTES = 150  # of a run's name; what is written for a run adds to it, and file systems take 255
MAY_BECOME_KNOWN = ("extractor",)  # the same features may be read from a pack that says who made them
MAY_CHANGE = ("epochs", "save_minutes", "val_every", "root", "test_split", "accumulate")


@dataclass
class RunOptions:
    """Options of every run.

    Args:
        version: name of the run; by default task, stage and date.
        resume: go on with the run of this version instead of refusing to overwrite it.
        seed: seed of every random choice.
        gpu: number of the GPU, several numbers with commas for a process on each, or cpu; by default the first GPU if
            there is one.
        workers: processes that make batches; 0 makes them in the main process.
        precision: fp32, bf16, fp16 (on GPUs), or auto: bf16 where the hardware multiplies it natively, on a CPU from a
            width of 256.
        checkpoints: so many of the newest are kept to go on from, should the disk damage the last.
        threads: on a CPU; auto takes OMP_NUM_THREADS, or measures what is fastest now, or takes all where nothing is
            trained. A run that goes on keeps its own.
        logs: folder for everything a run writes.
        allow_leak: go on though images are trained on and tested; it is recorded in every number written from then on.
    """

    version: str | None = None
    resume: bool = False
    seed: NonNegativeInt = 0
    gpu: str = ""
    workers: Workers = 0
    precision: str = "auto"
    checkpoints: Kept = 2
    threads: Threads | Literal["auto"] = "auto"
    logs: str = "logs"
    allow_leak: bool = False


class RunFiles:
    """Where a run writes. As a context it is held: no second process writes there until the block is left.

    Args:
        options: those of the run.
        stem: begins the name of a run that the user gave none.
        may_resume: whether a run of this kind can be gone on with at all.
        ranks: the processes of the run, which go by the first one's choice of a name.

    Attributes:
        remarks: what people should know of what was found there.
        read: the checkpoint that ``saved`` gave back.

    Raises:
        UserError: the name is no file name, the run exists and is not to be resumed, or there is nothing to resume.
    """

    def __init__(self, options: RunOptions, stem: str, may_resume: bool = True, ranks: Ranks | None = None) -> None:
        self._ranks = ranks or Ranks()
        self.version = options.version or self._ranks.of_first(_dated(stem, Path(options.logs)))
        if not all(c.isalnum() or c in "-_.+" for c in self.version) or self.version.startswith("."):
            raise UserError(
                f"VERSION={self.version[:80]!r} is no name for a run; use letters, digits, '-', '_', '+' and '.'"
            )
        if len(self.version.encode()) > MOST_BYTES:
            begin = self.version[:20]
            raise UserError(f"VERSION={begin}... is too long for the names of files; use {MOST_BYTES} letters at most")
        root = Path(options.logs)
        self.checkpoints = root / "ckpts" / self.version
        self.log = root / "log" / self.version
        self.results = root / "ckpts" / "result_test"
        self.architectures = root / "ckpts" / "arch" / f"{self.version}.json"
        self.last = self.checkpoints / "last.pt"
        self.best = self.best_of(root, self.version)
        self._launch = self.log / ".torchrun"
        if launched() and self._launch.exists() and self._launch.read_text() == launched():
            options.resume = True  # torchrun starts it once more
        options.resume = self._ranks.of_first(options.resume)
        self.remarks: list[str] = []
        self.read = self.last
        self._fresh, self._kept = not options.resume, options.checkpoints
        self._held, self._to_hold = contextlib.ExitStack(), self._fresh or may_resume
        self._check(options, may_resume)
        self._ranks.wait()

    @property
    def go_on(self) -> str:
        """What to type to go on with the run, for people."""
        return f"go on with the same command and RESUME=1 VERSION={self.version}"

    def __enter__(self) -> RunFiles:
        """Hold a run that is gone on with; one that begins is held once ``create`` has made its folders.

        Raises:
            UserError: another process works on it, or its folders cannot be written.
        """
        if self._to_hold and not self._fresh:
            self.create()
        return self

    def __exit__(self, *raised: object) -> None:
        """Let go."""
        self._held.close()

    def _hold(self) -> None:
        lock = held(self.log / ".lock", f"the run {self.version!r}", "choose another VERSION", self.remarks.append)
        self._held.enter_context(lock)
        self._to_hold = False
        for left in (*leftovers(self.checkpoints), *leftovers(self.log)):
            left.unlink()

    def save(self, state: dict[str, Any]) -> None:
        """Keep what ``saved`` gives back.

        Raises:
            UserError: it cannot be written; what was saved before stays.
        """
        checkpoint.save(self.last, state, self._kept)

    def saved(self) -> dict[str, Any] | None:
        """What the run was when it was last saved, or None if it never was.

        A checkpoint that the disk damaged is set aside, and the one before it taken.

        Raises:
            UserError: all are damaged.
        """
        damaged = []
        for path in checkpoint.kept(self.last):
            try:
                state = checkpoint.load(path)
            except checkpoint.Damaged:
                damaged.append(path)
                continue
            for broken in damaged:
                aside = broken.replace(broken.with_suffix(".damaged"))
                self.remarks.append(
                    f"note: {broken.name} is damaged; going on from {path.name}, which was saved before it "
                    f"(what is damaged lies in {aside})"
                )
            self.read = path
            return state
        if damaged:
            names = " and ".join(path.name for path in damaged)
            raise UserError(
                f"all that the run {self.version!r} could go on from is damaged ({names} in {self.checkpoints}); bring "
                "a copy back, or begin again under another VERSION"
            )
        return None

    @staticmethod
    def best_of(logs: Path, version: str) -> Path:
        """The best network of a run."""
        return logs / "ckpts" / version / "best.pt"

    def _check(self, options: RunOptions, may_resume: bool) -> None:
        if restartable() and options.version is None:
            raise UserError("torchrun --max-restarts needs VERSION=<name>, by which a run is found again")
        if options.resume:
            if options.version is None:
                raise UserError("RESUME=1 needs VERSION=<name of the run to go on with>")
            if not self.last.exists() and not self.log.exists():
                raise UserError(f"there is no run {self.version!r} to resume under {options.logs}; check VERSION")
        elif self.last.exists() or self.log.exists():
            go_on = "add RESUME=1 to go on with it or " if may_resume else ""
            raise UserError(f"a run named {self.version!r} exists under {options.logs}; {go_on}choose another VERSION")

    def create(self) -> None:
        """Make the folders; until then a run that fails leaves nothing behind.

        Raises:
            UserError: they cannot be written, or another run has taken the name in the meantime.
        """
        if not self._ranks.first:
            return
        try:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            self.log.mkdir(parents=True, exist_ok=not self._fresh)
            for folder in (self.checkpoints, self.log):
                if not os.access(folder, os.W_OK):
                    raise PermissionError(13, "no permission", str(folder))
            if self._to_hold:
                self._hold()
            if launched():
                self._launch.write_text(launched())
        except FileExistsError as error:
            raise UserError(f"a run named {self.version!r} has just begun; choose another VERSION") from error
        except OSError as error:
            raise UserError(
                f"cannot write to {error.filename or self.log}: {error.strerror}; choose another logs folder"
            ) from error


def identity(stage: str, resolved: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """What must be the same when a run goes on, by dotted key.

    Args:
        stage: name of the stage.
        resolved: the configuration; how long a run trains, and where and how fast it runs, may change.
        **more: whatever else makes the run what it is, such as its data.
    """
    flat = {"stage": stage, **more}
    for key, value in resolved.items():
        if isinstance(value, Mapping):
            # Along a cosine every step's rate follows from the number of epochs.
            free = [name for name in MAY_CHANGE if not (name == "epochs" and value.get("cosine"))]
            flat |= {f"{key}.{name}": inner for name, inner in value.items() if name not in free}
        elif key in ("task", "seed", "precision"):
            flat[key] = value
    return flat


def check_identity(now: Mapping[str, Any], then: Mapping[str, Any], version: str) -> None:
    """Refuse to go on with a run under other settings than it was begun with.

    Raises:
        UserError: naming the first key that differs, and how many others do.
    """
    compared = [key for key in now if key in then or key not in MAY_BECOME_KNOWN]
    differing = [key for key in compared if now[key] != then.get(key)]
    if differing:
        first, *others = differing
        if first not in then:
            raise UserError(
                f"the run {version!r} was begun by an earlier state of this program, which had no {first}; go on with "
                "that one, or begin again under another VERSION"
            )
        more = f" ({len(others)} more differ, such as {others[0]})" if others else ""
        raise UserError(
            f"the run {version!r} was begun with {first}={then.get(first)}, not {now[first]}{more}; "
            "go on with the same command and RESUME=1, or choose another VERSION"
        )


def _dated(stem: str, logs: Path) -> str:
    """A name with today's date that no run has yet."""
    name = f"{stem}-{datetime.datetime.now():%Y%m%d-%H%M%S}"
    taken = {path.name for path in (logs / "log").glob(f"{name}*")}
    return next(n for n in itertools.chain([name], (f"{name}-{i}" for i in itertools.count(2))) if n not in taken)


def commit() -> str | None:
    """The git commit of the code, where there is one."""
    try:
        where = Path(__file__).parent
        asked = subprocess.run(["git", "rev-parse", "HEAD"], cwd=where, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return asked.stdout.strip()


def today() -> str:
    """The date and time, ISO 8601 with the zone."""
    return datetime.datetime.now().astimezone().isoformat(timespec="seconds")
