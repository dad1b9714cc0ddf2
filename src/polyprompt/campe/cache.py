"""What the frozen parts make of captions and pictures, computed once and kept on disk.

The name of a cache is the hash of all that determines its content: weights, tokenizer, depth, prompts, precision,
captions or picture bytes. Nothing else is trusted; damaged pieces are computed again (campe/store.py).
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from polyprompt.campe.image import ImageSide
from polyprompt.campe.store import CacheDtype, RowStore, check_room
from polyprompt.campe.text import TextSide
from polyprompt.files import cache_folder, digest, tell
from polyprompt.nn.tree import PromptTree, Sequences, sequences
from polyprompt.progress import progress
from polyprompt.types import Hidden, Pixels

CHUNK = 64
"""Items computed together."""


class TextStates:
    """States entering the first trained block, for captions with a tree behind each."""

    def __init__(
        self, side: TextSide, ids: Sequence[Sequence[int]], tree: PromptTree, dtype: CacheDtype, bf16: bool
    ) -> None:
        self.side, self.ids, self.tree, self.bf16 = side, ids, tree, bf16
        # captions of a length together: little padding while they are computed
        self.order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        self.place = {item: place for place, item in enumerate(self.order)}
        what = [tree.ids, tree.parents, [list(row) for row in ids], side.split, dtype, bf16]
        folder = cache_folder("states", digest(side.llm.fingerprint, *map(repr, what)))
        self.store = RowStore(folder, [len(ids[i]) + len(tree) for i in self.order], side.llm.width, dtype)

    def fill(self, cap_gb: float) -> None:
        """Computes what is missing, from where an earlier run stopped."""

        def rows(at: int, to: int) -> list[Tensor]:
            batch = sequences([self.ids[i] for i in self.order[at:to]], self.tree)
            with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
                hidden = self.side.frozen(batch).float()
            return [
                torch.cat([row[:n], row[batch.width :]]) for row, n in zip(hidden, batch.lengths.tolist(), strict=True)
            ]

        _fill(self.store, rows, "Hidden states", cap_gb)

    def read(self, items: Sequence[int]) -> tuple[Sequences, Hidden]:
        """A batch laid out, and its states."""
        batch = sequences([self.ids[i] for i in items], self.tree)
        hidden = torch.zeros(*batch.ids.shape, self.side.llm.width)
        for row, item in enumerate(items):
            states, n = self.store.read(self.place[item]), len(self.ids[item])
            hidden[row, :n], hidden[row, batch.width :] = states[:n], states[n:]
        return batch, hidden


class ImageTokens:
    """Tokens of a frozen trunk, [m, c] a picture; `pixels(i)` opens picture i, `digests` are their bytes' hashes."""

    def __init__(
        self, side: ImageSide, pixels: Callable[[int], Pixels | Tensor], digests: Sequence[str], dtype: CacheDtype
    ) -> None:
        self.side, self.pixels = side, pixels
        tower = side.tower
        key = digest(tower.fingerprint, repr(tower.preprocess.to_json()), str(len(tower.blocks)), dtype, *digests)
        with torch.no_grad():
            example = side.frozen_tokens(pixels(0)[None])
        self.rows = example.shape[1]
        self.store = RowStore(cache_folder("tokens", key), [self.rows] * len(digests), example.shape[2], dtype)

    def fill(self, cap_gb: float) -> None:
        """Computes what is missing, from where an earlier run stopped."""

        def rows(at: int, to: int) -> list[Tensor]:
            return list(self.side.frozen_tokens(torch.stack([self.pixels(i) for i in range(at, to)])))

        _fill(self.store, rows, "Image tokens", cap_gb)

    def read(self, items: Sequence[int]) -> Float[Tensor, "b m c"]:
        """The tokens of some pictures."""
        return torch.stack([self.store.read(item) for item in items])


def _fill(store: RowStore, rows: Callable[[int, int], list[Tensor]], what: str, cap_gb: float) -> None:
    if store.complete:
        return
    check_room(store.folder, store.bytes_missing, cap_gb)
    tell(f"{what}: {store.items - store.done:,} to compute, {store.bytes_missing / 1e6:,.0f} MB in {store.folder}")
    with progress(what, store.items, store.done) as advance:
        while not store.complete:
            at = store.done
            to = min(at + CHUNK, store.items)
            store.append(rows(at, to))
            advance(to - at)
