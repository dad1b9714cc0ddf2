"""What the frozen parts make of captions and pictures, computed once and kept on disk.

The name of a cache holds the hash of all that determines its content: weights, tokenizer, block, prompts, precision,
captions or picture bytes. Nothing else is trusted; damaged pieces are computed again (disk/rows.py).
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from polyprompt.campe.image import ImageSide
from polyprompt.disk.files import cache_folder, digest, read_json, write_json
from polyprompt.disk.rows import CacheDtype, RowStore, check_room
from polyprompt.errors import FileError
from polyprompt.nn.tree import PromptTree, Sequences, sequences, spanning
from polyprompt.progress import progress, say
from polyprompt.towers.llm import LLM
from polyprompt.types import Hidden, Pixels

CHUNK = 64
"""Items computed together."""


class TextStates:
    """States entering block `split`, for captions with a tree behind each.

    A node's state follows from the caption and the node's path from it. So any finished store of these captions that
    has all the paths serves: prompts that were computed for one model are read by the next one that has them.
    """

    def __init__(
        self, llm: LLM, split: int, ids: Sequence[Sequence[int]], tree: PromptTree, dtype: CacheDtype, bf16: bool
    ) -> None:
        self.llm, self.split, self.ids, self.tree, self.bf16 = llm, split, ids, tree, bf16
        # captions of a length together: little padding while they are computed
        self.order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        self.place = {item: place for place, item in enumerate(self.order)}
        captions = repr([list(row) for row in ids])
        self.home = cache_folder("states", digest(llm.fingerprint, captions, dtype, str(bf16)))
        self.dtype: CacheDtype = dtype
        own = spanning(tree.paths).paths
        self.store, self.paths = self._finished(set(own)) or (self._open(own), own)
        self.columns = [self.paths.index(path) for path in tree.paths]

    def fill(self, cap_gb: float) -> None:
        """Computes what is missing, from where an earlier run stopped."""
        fill_together([self], cap_gb)

    def read(self, items: Sequence[int]) -> tuple[Sequences, Hidden]:
        """A batch laid out, and its states."""
        batch = sequences([self.ids[i] for i in items], self.tree)
        hidden = torch.zeros(*batch.ids.shape, self.llm.width)
        for row, item in enumerate(items):
            n = len(self.ids[item])
            states = self.store.read(self.place[item], [*range(n), *(n + column for column in self.columns)])
            hidden[row, :n], hidden[row, batch.width :] = states[:n], states[n:]
        return batch, hidden

    def _open(self, paths: Sequence[tuple[int, ...]]) -> RowStore:
        lengths = [len(self.ids[i]) + len(paths) for i in self.order]
        return RowStore(self._folder(paths), lengths, self.llm.width, self.dtype)

    def _folder(self, paths: Sequence[tuple[int, ...]]) -> Path:
        return self.home / f"{self.split}-{digest(repr(list(paths)))[:16]}"

    def _finished(self, wanted: set[tuple[int, ...]]) -> tuple[RowStore, tuple[tuple[int, ...], ...]] | None:
        """The smallest finished store that has all the wanted paths."""
        known = []
        for listed in self.home.glob(f"{self.split}-*/paths.json"):
            try:
                paths = tuple(tuple(path) for path in read_json(listed))
            except (FileError, TypeError):
                continue  # damaged; what it lists is computed again
            if wanted <= set(paths) and listed.parent == self._folder(paths):
                known.append(paths)
        # opened one at a time: each is checked to its last byte
        stores = ((self._open(paths), paths) for paths in sorted(known, key=len))
        return next((pair for pair in stores if pair[0].complete), None)


@torch.no_grad()
def fill_together(states: Sequence[TextStates], cap_gb: float) -> None:
    """Fills stores of the same captions and prompts at several splits in one pass through the LLM.

    Raises:
        CacheError: over the cap, or no room; nothing was computed then.
    """
    states = sorted((one for one in states if not one.store.complete), key=lambda one: one.split)
    if not states:
        return
    first = states[0]
    tree = spanning(first.paths)
    for one in states:
        one.store.folder.mkdir(parents=True, exist_ok=True)
        write_json(one.store.folder / "paths.json", one.paths)

    def rows(at: int, to: int) -> list[list[Tensor]]:
        batch = sequences([first.ids[i] for i in first.order[at:to]], tree).to(first.llm.device)
        made, block = [], 0
        with torch.autocast(first.llm.device.type, torch.bfloat16, enabled=first.bf16):
            hidden, flow = first.llm.embed(batch.ids, batch.positions, batch.mask)
            for one in states:
                hidden = first.llm.run(hidden, flow, block, one.split)
                block = one.split
                of_each = zip(hidden.float().cpu(), batch.lengths.tolist(), strict=True)
                made.append([torch.cat([row[:n], row[batch.width :]]) for row, n in of_each])
        return made

    _fill([one.store for one in states], rows, "Hidden states", cap_gb)


class ImageTokens:
    """Tokens of a frozen trunk, [m, c] a frame; a picture has one frame, a video several.

    Args:
        side: the image side.
        pixels: opens item i.
        digests: the hashes of the items' bytes.
        frames: how many frames each item has.
        dtype: how tokens are kept.
    """

    def __init__(
        self,
        side: ImageSide,
        pixels: Callable[[int], Pixels],
        digests: Sequence[str],
        frames: Sequence[int],
        dtype: CacheDtype,
    ) -> None:
        self.side, self.pixels = side, pixels
        tower = side.tower
        key = digest(tower.fingerprint, repr(tower.preprocess.to_json()), str(len(tower.blocks)), dtype, *digests)
        if set(frames) != {1}:
            key = digest(key, repr(list(frames)))
        self.cells, width = self._tokens([0]).shape[1:]
        self.frames = frames
        self.store = RowStore(cache_folder("tokens", key), [self.cells * count for count in frames], width, dtype)

    def fill(self, cap_gb: float) -> None:
        """Computes what is missing, from where an earlier run stopped."""

        def rows(at: int, to: int) -> list[list[Tensor]]:
            tokens = self._tokens(range(at, to)).cpu()
            return [[item.flatten(0, 1) for item in tokens.split(list(self.frames[at:to]))]]

        _fill([self.store], rows, "Image tokens", cap_gb)

    def read(self, items: Sequence[int]) -> Float[Tensor, "f m c"]:
        """The tokens of some items, frame by frame."""
        return torch.cat([self.store.read(item).unflatten(0, (-1, self.cells)) for item in items])

    def _tokens(self, items: Sequence[int]) -> Float[Tensor, "f m c"]:
        pixels = torch.cat([self.pixels(item) for item in items]).to(self.side.pool.queries.device)
        return torch.cat([self.side.frozen_tokens(part) for part in pixels.split(CHUNK)])


def _fill(stores: Sequence[RowStore], rows: Callable[[int, int], list[list[Tensor]]], what: str, cap_gb: float) -> None:
    """Brings stores of the same items to their end together; `rows(at, to)` gives the rows of each."""
    missing = sum(store.bytes_missing for store in stores)
    if not missing:
        return
    items, done = stores[0].items, min(store.done for store in stores)
    check_room(stores[0].folder, missing, cap_gb)
    say(f"{what}: {items - done:,} to compute, {missing / 1e6:,.0f} MB in {stores[0].folder.parent}")
    with progress(what, items, done) as advance:
        while done < items:
            # a run may have been stopped between two stores: up to where the next one stands already
            to = min([done + CHUNK, items, *(store.done for store in stores if store.done > done)])
            for store, made in zip(stores, rows(done, to), strict=True):
                if store.done == done:
                    store.append(made)
            advance(to - done)
            done = to
