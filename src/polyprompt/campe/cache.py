"""What the frozen parts make of captions and pictures, computed once and kept on disk (disk/rows.py).

A caption's states are found by its token ids, a picture's tokens by the hash of its bytes, in stores whose folders are
named after all else that determines them: weights, tokenizer, block, prompts, precision, preprocessing. So captions and
pictures that several data sets share, or that a grown one had before, are computed once.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from polyprompt.campe.image import ImageSide
from polyprompt.disk.files import digest, make_folder, read_json, write_json
from polyprompt.disk.numbers import RowDtype, row_bytes
from polyprompt.disk.rows import Rows, RowStore, fill, kept_folder
from polyprompt.errors import FileError
from polyprompt.media.ahead import made_together
from polyprompt.nn.tree import PromptTree, Sequences, sequences, spanning
from polyprompt.towers.llm import LLM
from polyprompt.types import Hidden, Pixels

FRAMES = 64
"""Pictures, or frames of videos, that go through the trunk together."""

Paths = Sequence[tuple[int, ...]]
"""Token ids from behind the caption to a node, for each node that is kept (nn/tree.py)."""


class TextStates:
    """States entering block `split`, for captions with a tree behind each.

    A node's state follows from the caption and the node's path from it. So any store that has all the captions and all
    the paths serves: prompts that were computed for one model are read by the next one that has them.
    """

    def __init__(
        self, llm: LLM, split: int, ids: Sequence[Sequence[int]], tree: PromptTree, dtype: RowDtype, bf16: bool
    ) -> None:
        self.llm, self.split, self.ids, self.tree = llm, split, ids, tree
        self.bf16 = bf16 or llm.dtype == torch.bfloat16  # which give the same (towers/llm.py)
        self.keys = [repr(list(row)) for row in ids]
        self.home = kept_folder("states", llm.fingerprint, str(torch.float32), dtype, str(self.bf16), str(split))
        self.dtype: RowDtype = dtype
        spanned = spanning(tree.paths).paths
        self.store, self.paths = self._finished(spanned) or (self._open(spanned), spanned)
        self.columns = [self.paths.index(path) for path in tree.paths]
        self._kept: Rows | None = None
        if not self.store.missing(self.keys):
            with suppress(FileError):  # a damaged list is mended, where that is possible
                self.note_paths()
            self._kept = self.store.find(self.keys)

    @property
    def complete(self) -> bool:
        """Whether the store has the states of every caption, so that `read` can be called without `fill`."""
        return self._kept is not None

    def fill(self, cap_gb: float) -> None:
        """Computes what is missing, from where an earlier run stopped.

        Raises:
            CacheError: over the cap, or no room.
        """
        fill_together([self], cap_gb)

    def read(self, items: Sequence[int]) -> tuple[Sequences, Hidden]:
        """A batch laid out, and its states."""
        assert self._kept is not None, "TextStates: read before fill"
        batch = sequences([self.ids[i] for i in items], self.tree)
        hidden = torch.zeros(*batch.ids.shape, self.llm.width)
        for row, item in enumerate(items):
            n = len(self.ids[item])
            states = self._kept.read(item, [*range(n), *(n + column for column in self.columns)])
            hidden[row, :n], hidden[row, batch.width :] = states[:n], states[n:]
        return batch, hidden

    def filled(self) -> None:
        """Opens what `fill_together` has computed."""
        self.store.refresh()
        self._kept = self.store.find(self.keys)

    def note_paths(self) -> None:
        """Writes down whose states the store has, for models with other prompts."""
        listed = self.store.folder / "paths.json"
        if _listed(listed) != self.paths:
            write_json(listed, self.paths)

    def _open(self, paths: Paths) -> RowStore:
        return RowStore(self._folder(paths), self.dtype)

    def _folder(self, paths: Paths) -> Path:
        return self.home / digest(repr(list(paths)))[:32]

    def _finished(self, wanted: Paths) -> tuple[RowStore, Paths] | None:
        """The store with the fewest paths that has all the wanted ones, for all captions."""
        known = [_listed(listed) for listed in self.home.glob("*/paths.json") if _listed(listed)]
        for paths in sorted((paths for paths in known if set(wanted) <= set(paths)), key=len):
            store = self._open(paths)
            if not store.missing(self.keys):
                return store, paths
        return None


def _listed(path: Path) -> Paths:
    """The paths that a file lists; none where it is missing, damaged, or another store's."""
    with suppress(FileError, TypeError):
        paths = tuple(tuple(path) for path in read_json(path))
        if path.parent.name == digest(repr(list(paths)))[:32]:
            return paths
    return ()


@torch.no_grad()
def fill_together(states: Sequence[TextStates], cap_gb: float) -> None:
    """Fills stores of the same captions and prompts at several splits in one pass through the LLM.

    Raises:
        CacheError: over the cap, or no room; nothing was computed then.
    """
    states = sorted((one for one in states if not one.complete), key=lambda one: one.split)
    if not states:
        return
    first = states[0]
    tree = spanning(first.paths)
    order = sorted(range(len(first.ids)), key=lambda i: len(first.ids[i]))  # of a length together: little padding
    for one in states:
        make_folder(one.store.folder)
        one.note_paths()

    def compute(items: list[int]) -> list[list[Tensor]]:
        batch = sequences([first.ids[order[item]] for item in items], tree).to(first.llm.device)
        made, block = [], 0
        with torch.autocast(first.llm.device.type, torch.bfloat16, enabled=first.bf16):
            hidden, flow = first.llm.embed(batch.ids, batch.positions, batch.mask)
            for one in states:
                hidden = first.llm.run(hidden, flow, block, one.split)
                block = one.split
                of_each = zip(hidden.float().cpu(), batch.lengths.tolist(), strict=True)
                made.append([torch.cat([row[:n], row[batch.width :]]) for row, n in of_each])
        return made

    row = row_bytes(first.llm.width, first.dtype)
    sizes = [(len(first.ids[i]) + len(tree)) * row for i in order]
    keys = [first.keys[i] for i in order]
    fill([one.store for one in states], keys, compute, "Hidden states", sizes=sizes, cap_gb=cap_gb)
    for one in states:
        one.filled()


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
        dtype: RowDtype,
    ) -> None:
        self.side, self.pixels, self.frames = side, pixels, frames
        self._kept: Rows | None = None
        tower = side.tower
        self.tokens = tower.prefix + side.cells
        self.keys = [digest(picture_digest, str(count)) for picture_digest, count in zip(digests, frames, strict=True)]
        self.store = RowStore(kept_folder("tokens", tower.fingerprint, str(len(tower.blocks)), dtype), dtype)

    @torch.no_grad()
    def fill(self, cap_gb: float) -> None:
        """Computes what is missing, from where an earlier run stopped.

        Raises:
            CacheError: over the cap, or no room.
        """

        def compute(items: list[int]) -> list[list[Tensor]]:
            pixels = torch.cat(made_together(self.pixels, items)).to(self.side.pool.queries.device)
            tokens = torch.cat([self.side.frozen_tokens(part) for part in pixels.split(FRAMES)])
            return [[item.flatten(0, 1) for item in tokens.split([self.frames[item] for item in items])]]

        row = row_bytes(self.side.tower.width, self.store.dtype)
        sizes = [count * self.tokens * row for count in self.frames]
        fill([self.store], self.keys, compute, "Image tokens", sizes=sizes, cap_gb=cap_gb)
        self._kept = self.store.find(self.keys)

    def read(self, items: Sequence[int]) -> Float[Tensor, "f m c"]:
        """The tokens of some items, frame by frame."""
        assert self._kept is not None, "ImageTokens: read before fill"
        return torch.cat([self._kept.read(item).unflatten(0, (-1, self.tokens)) for item in items])
