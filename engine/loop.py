"""The training loop of both stages: epochs, steps, validation, progress, checkpoints, going on after a stop."""

from __future__ import annotations

import contextlib
import math
import signal
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn, Protocol

import torch
from torch import Tensor

from common.errors import UserError
from common.processor import cores
from common.progress import track
from engine import about
from engine.batches import EpochBatches, load_epoch
from engine.learning import fewest_parts
from engine.log import RunLog, Silence, numbers
from engine.optim import Training, memory_held, rate
from engine.run import RunFiles, RunOptions
from engine.runtime import Runtime, undrawn
from engine.shortages import shortages_told
from engine.threads import free_to_choose, settle, take

ANOTHER = 1.0  # second, after which a signal to stop is not the first one passed on
CHECK_EVERY = 100  # steps, after which the processes of a run compare their weights


class Stage(Protocol):
    """What the loop drives. It holds models, optimisers and splits; the loop holds where in the run we are."""

    split: Any  # the samples an epoch goes through
    count: int  # parts in which a process takes its share of a batch

    def start_epoch(self, epoch: int) -> None:
        """Before the first step of an epoch."""

    def train_step(self, parts: Sequence[Any], lr: float, epoch: int) -> Mapping[str, Tensor]:
        """One step on a batch in parts; returns detached scalars of the whole batch, ``loss`` among them."""

    def rehearse(self, parts: Sequence[Any], everything: bool = False) -> None:
        """What a step computes most of, or everything that takes memory, without moving anything and by itself."""

    def replicas(self) -> Iterable[Tensor]:
        """The tensors that must be the same in all processes."""

    def end_epoch(self, epoch: int, validate: bool) -> tuple[Mapping[str, Mapping[str, float]], bool]:
        """After the last step of an epoch: numbers for the log by group (``val``), and whether to stop here."""

    def state_dict(self) -> dict[str, Any]:
        """Everything the stage needs to go on."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take it back."""


class Loop:
    """Runs a stage from wherever its checkpoint says to the end."""

    def __init__(
        self,
        stage: Stage,
        training: Training,
        runtime: Runtime,
        files: RunFiles,
        log: RunLog | Silence,
        options: RunOptions,
        identity: Mapping[str, Any],
    ) -> None:
        self.stage, self.training, self.runtime = stage, training, runtime
        self.files, self.log, self.workers, self.identity = files, log, options.workers, identity
        self.measured = options.threads == "auto"
        self.threads: int | None = None if options.threads == "auto" else options.threads
        self.count: int | None = None if training.accumulate == "auto" else training.accumulate
        self.epoch, self.step, self.totals, self.finished = 0, 0, {}, False

    def run(self) -> None:
        """Train until the last epoch or an early stop. Ctrl-C or SIGTERM saves after the current step and raises.

        Raises:
            UserError: the loss is no longer finite, the processes of the run no longer agree, or the machine has run
                out of files, memory or processes.
            KeyboardInterrupt: the run was told to stop, and is saved.
        """
        with _stop_after_step(self.runtime.ranks.alone) as stopped, shortages_told():
            self._set_threads()
            self._set_parts()
            while self.epoch < self.training.epochs and not self.finished:
                with self.runtime.part("weights"):
                    self._train_epoch(stopped)
                self._close_epoch()
                if any(self._agreed(stopped)):  # while it was scored
                    break
        # Only now that the next one is obeyed at once: none may come too late to be looked at.
        if any(self._agreed(stopped)):
            self._stop(f"after epoch {self.epoch}/{self.training.epochs}")

    def _set_threads(self) -> None:
        on_cpu, over = self.runtime.device.type == "cpu", self.finished or self.epoch >= self.training.epochs
        ranks, most = self.runtime.ranks, torch.get_num_threads()
        free = self.measured and on_cpu and ranks.alone and free_to_choose()
        if self.threads is None and on_cpu and not ranks.alone:
            # Torchrun would have each process take one.
            self.threads = max(1, cores() // ranks.beside)
            self.log.info(f"threads: {self.threads} in each process (threads=<number> to say otherwise)")
        if self.threads is None and free and not over:
            with undrawn(self.runtime.device):
                parts = self._batches(1)[0]
                self.threads = settle(lambda: self.stage.rehearse(parts), most)
            self.log.info(f"threads: {self.threads} of {most}, the fastest now (threads=<number> to say otherwise)")
        if self.threads is None and on_cpu:
            self.threads = most  # kept with the run, as what was measured is
        take(self.threads, self.runtime, most if free else 0)

    def _set_parts(self) -> None:
        if self.count is None:
            with undrawn(self.runtime.device), memory_held(self.stage.replicas(), 2 if self.runtime.ranks.alone else 3):
                most = fewest_parts(
                    lambda count: self.stage.rehearse(self._batches(count).largest(), everything=True),
                    self.training.batch_size,
                )
            self.count = int(*self.runtime.ranks.most([most]))
            self.log.info(f"accumulate: {self.count}, the fewest parts of a batch that fit into memory")
        self.stage.count = self.count

    def _batches(self, count: int) -> EpochBatches:
        return EpochBatches(self.stage.split, self.training.batch_size, self.runtime, "train", self.epoch, count)

    def _train_epoch(self, stopped: list[float]) -> None:
        if self.step == 0:
            self.totals = {}
            with self.runtime.part("preparation"):
                self.stage.start_epoch(self.epoch)
        batches = self._batches(self.count)
        steps, saved = len(batches), time.monotonic()
        todo = load_epoch(batches, self.step, self.workers)
        label = f"epoch {self.epoch + 1}/{self.training.epochs}"
        for parts in track(todo, label, steps, self.step, lambda: numbers(self._means())):
            lr = rate(self.training, self.epoch * steps + self.step, steps)
            values = self.stage.train_step([part.to(self.runtime.device) for part in parts], lr, self.epoch)
            self.step += 1
            for name, value in {**values, "lr": torch.tensor(lr)}.items():
                self.totals[name] = self.totals.get(name, 0.0) + value
            if (self.epoch * steps + self.step) % CHECK_EVERY == 0:  # epochs may be shorter
                self.runtime.ranks.check_same(self.stage.replicas())
            stop, due = self._agreed(stopped, time.monotonic() - saved > 60 * self.training.save_minutes)
            if stop:
                self.save()
                self._stop(f"in {label}, step {self.step}")
            if due:
                with self.runtime.part("checkpoints"):
                    self.save()
                saved = time.monotonic()

    def _agreed(self, *asked: object) -> list[bool]:
        """What any process asks for, all do."""
        return [value > 0 for value in self.runtime.ranks.most([bool(one) for one in asked])]

    def _stop(self, place: str) -> NoReturn:
        self.log.info(f"saved {place}; {self.files.go_on}")
        raise KeyboardInterrupt

    def _means(self) -> dict[str, float]:
        means = {name: float(total) / max(1, self.step) for name, total in self.totals.items()}
        if not math.isfinite(means.get("loss", 0.0)):
            raise UserError(
                f"the loss is no longer finite in epoch {self.epoch + 1}, step {self.step}; "
                "start again with a lower lr or a longer warm-up"
            )
        return means

    def _close_epoch(self) -> None:
        means = self._means()
        last = self.epoch + 1 == self.training.epochs
        with self.runtime.part("validation"):
            scored, self.finished = self.stage.end_epoch(
                self.epoch, last or (self.epoch + 1) % self.training.val_every == 0
            )
        self.epoch, self.step = self.epoch + 1, 0
        self.log.info(f"epoch {self.epoch}/{self.training.epochs}  {numbers(means)}")
        for group, values in {"train": means, **scored}.items():
            self.log.record(group, self.epoch, values)
        for group, values in scored.items():
            self.log.info(f"    {group}  {numbers(values)}")
        with self.runtime.part("checkpoints"):
            self.save()
        if self.runtime.ranks.first:
            about.add(self.files.log, seconds=self.runtime.clock.seconds())

    def save(self) -> None:
        """Write the checkpoint from which ``resume`` goes on; all processes have a part in it, the first one writes.

        Raises:
            UserError: the loss is no longer finite, and the checkpoint before it is worth more.
        """
        self._means()
        cuda, ranks = self.runtime.device.type == "cuda", self.runtime.ranks
        drawn = ranks.of_all([torch.get_rng_state(), torch.cuda.get_rng_state(self.runtime.device) if cuda else None])
        if not ranks.first:
            ranks.wait()
            return
        state = {
            "identity": dict(self.identity),
            "epoch": self.epoch,
            "step": self.step,
            "finished": self.finished,
            "totals": {name: float(total) for name, total in self.totals.items()},
            "threads": self.threads,
            "accumulate": self.count,
            "random": [state for state, _ in drawn],
            "random_cuda": [state for _, state in drawn],
            "stage": self.stage.state_dict(),
        }
        self.files.save(state)
        ranks.wait()

    def resume(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint's state."""
        self.stage.load_state_dict(state["stage"])
        self.epoch, self.step, self.finished = state["epoch"], state["step"], state["finished"]
        over = self.finished or self.epoch >= self.training.epochs
        place = f"in epoch {self.epoch + 1}/{self.training.epochs}, step {self.step}"
        self.log.info("all epochs were over; what comes after them is done again" if over else f"going on {place}")
        self.totals = dict(state["totals"])
        ranks, drawn = self.runtime.ranks, list(zip(state["random"], state["random_cuda"], strict=True))
        if len(drawn) != ranks.size:  # whose threads and shares of a batch are others, too
            self.log.info(f"note: begun by {len(drawn)} processes, not {ranks.size}: dropout draws other numbers")
            return
        # With another number of threads sums would be rounded otherwise.
        self.threads = self.threads or state["threads"]
        self.count = self.count or state["accumulate"]
        cpu, cuda = drawn[ranks.rank]
        torch.set_rng_state(cpu)
        if cuda is not None and self.runtime.device.type == "cuda":
            torch.cuda.set_rng_state(cuda, self.runtime.device)


@contextlib.contextmanager
def _stop_after_step(alone: bool) -> Iterator[list[float]]:
    """Collect the first Ctrl-C or SIGTERM instead of obeying at once; a later one is obeyed.

    One that comes at once is the same: what starts a run, such as make or timeout, passes on what the run gets as well.
    Torchrun passes on at leisure, so that where it stands between no later one is obeyed either.
    """
    caught: list[float] = []

    def note(number: int, frame: Any) -> None:
        now = time.monotonic()
        if caught and alone and now - caught[0] > ANOTHER:
            raise KeyboardInterrupt
        caught.append(now)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
