"""What the path that ran last gave, so that a path that begins alike runs only from where the two part."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from search.mixed import MixedOp
from search.supernet import Supernet
from space.settings import Path


class PrefixMemory:
    """What every block gave on the path that ran last, and the texts and images as they were encoded for it.

    A block's states depend on the choices up to it, encoder first, and on nothing else as long as the batch and all
    random numbers are the same for every path. The stem is no exception: which blocks belong to it is known from the
    choices before.
    """

    def __init__(self, supernet: Supernet) -> None:
        self.supernet = supernet
        self._path: Path = ()
        self._states: defaultdict[MixedOp, list[Tensor]] = defaultdict(list)
        self._calls: Counter[Hashable] = Counter()

    def follow(self, path: Path) -> None:
        """Run this path from now on, and forget the states behind the choice in which it parts from the last one."""
        pairs = zip(path, self._path, strict=False)
        alike = next((number for number, (now, before) in enumerate(pairs) if now != before), len(self._path))
        for block in self.supernet.blocks[alike:]:
            self._states[block].clear()
        self._calls.clear()
        self._path = path
        self.supernet.choose(path)

    def recall(self, block: MixedOp, run: Callable[[], Tensor]) -> Tensor:
        """What the block gave when it was called for the same time on the last path, or what ``run`` gives."""
        known, call = self._states[block], self._calls[block]
        self._calls[block] += 1
        if call == len(known):
            known.append(run())
        return known[call]

    def keeping(self, run: Callable[..., Any], key: Callable[[], Hashable]) -> Callable[..., Any]:
        """A function that runs again only where ``key`` is another than when it was last called for the same time."""
        known: dict[int, tuple[Hashable, Any]] = {}

        def kept(*args: Any) -> Any:
            call, now = self._calls[run], key()
            self._calls[run] += 1
            if call not in known or known[call][0] != now:
                known[call] = now, run(*args)
            return known[call][1]

        return kept


@contextmanager
def remembering(supernet: Supernet) -> Iterator[PrefixMemory]:
    """Let a supernet's blocks and what encodes its texts and images remember; for one batch, and without a graph."""
    memory, network = PrefixMemory(supernet), supernet.model.network
    backbone = network.backbone

    def encoder() -> Hashable:
        return tuple(block.active for block in supernet.encoder)

    def stem() -> Hashable:
        return backbone.reads_boxes, *(block.active for block in supernet.decoder[: backbone.stem])

    for block in supernet.blocks:
        block.memory = memory
    network.encode_texts = memory.keeping(network.encode_texts, encoder)
    network.encode_images = memory.keeping(network.encode_images, stem)
    try:
        yield memory
    finally:
        del network.encode_texts, network.encode_images
        for block in supernet.blocks:
            block.memory = None
