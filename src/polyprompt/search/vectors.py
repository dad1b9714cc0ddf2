"""The rows of a collection as they lie on disk, in fp16, asked for the best ones exactly."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from polyprompt.disk.pieces import Piece

BATCH = 1024
"""Rows turned into float32 at a time: they stay in the processor's cache."""

Best = tuple[Int64[np.ndarray, "_"], Float[Tensor, "_"]]
"""Places of rows and their scores, best first."""


class Vectors:
    """Rows by their places, over all pieces in their order; mapped into memory, read when asked for."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self._pieces = pieces
        self._starts = np.concatenate([[0], np.cumsum([len(piece.keys) for piece in pieces])]).astype(np.int64)
        self._halves = [piece.encoded() for piece in pieces]
        self.dim = pieces[0].width if pieces else 0

    def __len__(self) -> int:
        return int(self._starts[-1])

    def key(self, row: int) -> bytes:
        """The key that a row is kept under."""
        at = int(np.searchsorted(self._starts, row, "right")) - 1
        self._pieces[at].check_size()
        return self._pieces[at].keys[row - self._starts[at]].tobytes()

    def places(self) -> dict[bytes, int]:
        """The place of each key."""
        places: dict[bytes, int] = {}
        for piece, start in zip(self._pieces, self._starts, strict=False):
            keys = piece.keys.tobytes()
            for number in range(len(piece.keys)):
                places.setdefault(keys[32 * number : 32 * number + 32], int(start) + number)
        return places

    def find(self, key: bytes) -> int | None:
        """The place of one key, if it is there."""
        beginning = np.frombuffer(key, np.int64)[0]  # of a hash: compared first, as one number
        for piece, start in zip(self._pieces, self._starts, strict=False):
            piece.check_size()
            for number in np.flatnonzero(piece.keys.view(np.int64)[:, 0] == beginning):
                if piece.keys[number].tobytes() == key:
                    return int(start + number)
        return None

    def take(self, rows: Int64[np.ndarray, "r"]) -> Float[Tensor, "r D"]:
        """Some rows as float32; quickest where their places ascend."""
        if not len(rows):
            return torch.empty(0, self.dim)
        if (rows[1:] < rows[:-1]).any():
            order = np.argsort(rows, kind="stable")
            return self.take(rows[order])[torch.from_numpy(np.argsort(order, kind="stable"))]
        out = torch.empty(len(rows), self.dim)
        for at, part in self.chunks(rows):
            out[at : at + len(part)] = part
        return out

    def chunks(self, rows: Int64[np.ndarray, "r"] | None = None) -> Iterator[tuple[int, Float[Tensor, "c D"]]]:
        """All rows as float32, or some whose places ascend, a part at a time, each with how many came before it.

        The parts lie in memory that is used again.
        """
        buffer, done = torch.empty(BATCH, self.dim), 0
        ends = self._starts if rows is None else np.searchsorted(rows, self._starts)
        for piece, half, start, first, end in zip(
            self._pieces, self._halves, self._starts, ends, ends[1:], strict=False
        ):
            if first < end:
                piece.check_size()
            for at in range(first, end, BATCH):
                stop = min(at + BATCH, end)
                if rows is None:
                    part = half[at - start : stop - start]
                else:
                    part = half.index_select(0, torch.from_numpy(rows[at:stop] - start))  # whole rows, copied
                yield done, buffer[: len(part)].copy_(part)
                done += len(part)

    def scores(self, queries: Float[Tensor, "q D"], rows: Int64[np.ndarray, "r"] | None = None) -> Float[Tensor, "q r"]:
        """<query, row> for all rows, or for some whose places ascend."""
        out = queries.new_empty(len(queries), len(self) if rows is None else len(rows))
        for at, part in self.chunks(rows):
            out[:, at : at + len(part)] = queries @ part.T
        return out

    def best(self, query: Float[Tensor, "D"], top: int, rows: Int64[np.ndarray, "r"] | None = None) -> Best:
        """The best of all rows, or of some, exactly; of equal ones that which came first."""
        scores = self.scores(query[None], rows)[0]
        return ranked(scores, top, rows)


def ranked(scores: Float[Tensor, "r"], top: int, rows: Int64[np.ndarray, "r"] | None = None) -> Best:
    """The best of some scores; `rows` are the places that they belong to, else they count from 0."""
    top = min(top, len(scores))
    if top == 0:
        return np.empty(0, np.int64), scores[:0]
    least = scores.topk(top).values[-1]
    tied = torch.nonzero(scores >= least)[:, 0]  # all that tie with the last one, so that the order is always the same
    order = torch.sort(scores[tied], descending=True, stable=True).indices[:top]
    places = tied[order].numpy()
    return (places if rows is None else rows[places]), scores[torch.from_numpy(places)]


def among(rows: Int64[np.ndarray, "r"], others: Int64[np.ndarray, "_"]) -> Bool[np.ndarray, "r"]:
    """Which places are among some others, which ascend."""
    if not len(others):
        return np.zeros(len(rows), bool)
    return others.take(np.searchsorted(others, rows), mode="clip") == rows
