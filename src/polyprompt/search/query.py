"""A question to a collection: texts, pictures, what is not wanted, weights of aspects, a filter; and its hits."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from polyprompt.disk.rows import item_key
from polyprompt.errors import ConfigError, ImageError
from polyprompt.media.frames import open_frames, over_frames
from polyprompt.media.pictures import open_picture
from polyprompt.nn.segments import segment_scores
from polyprompt.search.codes import best
from polyprompt.search.collection import Collection
from polyprompt.search.items import File
from polyprompt.search.models import Embedder
from polyprompt.values import Json

LARGEST_WEIGHT = 1e30
"""Of an aspect: scores stay finite in single precision."""
UNWANTED = 0.5
"""What is not wanted counts half: it turns the query away, and does not lead it (Rocchio 1971 has 0.25 to 1)."""


@dataclass(frozen=True)
class Hit:
    """One content that was found, with all files that have it."""

    row: int
    score: float
    files: list[File]
    parts: tuple[float, ...] = ()
    """What each aspect adds to the score; none where rows have no parts."""
    near: tuple[int, ...] = ()
    """Rows that were folded into it, because they look the same."""


@dataclass(frozen=True, kw_only=True)
class Query:
    """What is asked."""

    wanted: Float[Tensor, "t D"]
    """Unit rows of texts and pictures, which count alike."""
    unwanted: Float[Tensor, "n D"] | None = None
    weights: Sequence[float] | None = None
    """One for each aspect."""
    where: str | None = None
    """A condition on the files (search/items.py)."""
    without: frozenset[int] = frozenset()
    """Rows that are not shown: the query picture's own."""
    fold: float | None = None
    """Hits with a higher cosine to a better one are folded into it."""
    exact: bool = False

    def vector(self, prompts: Sequence[str]) -> Float[Tensor, "D"]:
        """The row that is looked for: unit before weights, so that a text alone scores as its cosine.

        Raises:
            ConfigError: not one finite weight for each aspect.
        """
        mean = self.wanted.float().mean(dim=0)
        if self.unwanted is not None and len(self.unwanted):
            mean = mean - UNWANTED * self.unwanted.float().mean(dim=0)
        return weighted(F.normalize(mean, dim=-1), self.weights, prompts)


def weighted(row: Float[Tensor, "D"], weights: Sequence[float] | None, prompts: Sequence[str]) -> Float[Tensor, "D"]:
    """A query with its segments scaled, not normalised again.

    Raises:
        ConfigError: not one finite weight for each aspect, or there are no aspects.
    """
    if weights is None:
        return row
    if not prompts:
        raise ConfigError("aspect weights are for models of align; this collection's rows have no parts.")
    if len(weights) != len(prompts):
        names = ", ".join(prompts)
        raise ConfigError(f"{len(weights)} aspect weights for {len(prompts)} prompts; give one for each of: {names}.")
    factors = row.new_tensor(list(weights))
    if not factors.isfinite().all():
        raise ConfigError(f"aspect weights {list(weights)}: each must be a number that float32 can hold.")
    return (row.unflatten(0, (len(prompts), -1)) * factors[:, None]).flatten()


def ask(collection: Collection, query: Query, top: int) -> list[Hit]:
    """The best hits, best first.

    Raises:
        ConfigError: weights or a condition that cannot be.
    """
    vector = query.vector(collection.about.prompts)
    rows = kept(collection, query.where)
    most = len(collection) if rows is None else len(rows)
    count = top + len(query.without)
    while True:
        places, scores = best(collection.vectors, collection.codes, vector, count, rows, exact=query.exact)
        groups = folded(collection, [place for place in places.tolist() if place not in query.without], query.fold)
        if len(groups) >= top or count >= most:
            break
        count = min(4 * count, most)  # most of them looked alike
    groups = groups[:top]
    score_of = dict(zip(places.tolist(), scores.tolist(), strict=True))
    files = collection.items.of_rows([group[0] for group in groups])
    parts = aspects(collection, vector, [group[0] for group in groups])
    return [
        Hit(group[0], score_of[group[0]], files[group[0]], part, tuple(group[1:]))
        for group, part in zip(groups, parts, strict=True)
    ]


def row_of_picture(
    model: Embedder, collection: Collection, data: bytes, name: str = "picture"
) -> tuple[Float[Tensor, "D"], int | None]:
    """A picture's or video's unit row from the bytes of its file, and its place if the collection has it.

    Raises:
        ImageError: it cannot be read.
    """
    place = collection.vectors.find(item_key(hashlib.sha256(data).hexdigest()))
    if place is not None:
        return collection.vectors.take(np.array([place]))[0], place
    try:
        frames = open_frames(data, model.frames) if data else [open_picture(data)]
        pixels = torch.stack([model.preprocess(frame) for frame in frames])
    except ImageError as error:
        raise ImageError(name, error.why) from None
    return over_frames(model.images(pixels), [len(frames)])[0], None


def kept(collection: Collection, where: str | None) -> Int64[np.ndarray, "r"] | None:
    """The rows of files that a condition holds for, ascending; None: all.

    Raises:
        ConfigError: a condition that cannot be.
    """
    return collection.live if where is None else collection.items.where(where)


def folded(collection: Collection, places: Sequence[int], least: float | None) -> list[list[int]]:
    """Rows in groups, each led by its best; `least` is the cosine from which two look the same."""
    if least is None:
        return [[place] for place in places]
    rows = collection.vectors.take(np.array(places, np.int64))
    groups: list[list[int]] = []
    leaders: list[int] = []
    for at, place in enumerate(places):
        alike = rows[leaders] @ rows[at] if leaders else rows.new_empty(0)
        if len(alike) and float(alike.max()) > least:
            groups[int(alike.argmax())].append(place)
        else:
            leaders.append(at)
            groups.append([place])
    return groups


def aspects(collection: Collection, vector: Float[Tensor, "D"], rows: Sequence[int]) -> list[tuple[float, ...]]:
    """What each aspect adds to the scores of some rows."""
    k = len(collection.about.prompts)
    if not k or not rows:
        return [()] * len(rows)
    images = collection.vectors.take(np.array(rows, np.int64))
    scores = segment_scores(vector.view(1, k, -1), images.unflatten(1, (k, -1)))[0]
    return [tuple(row) for row in scores.tolist()]


def as_object(collection: Collection, hit: Hit) -> Json:
    """A hit as JSON has it: its first file, the others that have the same content, and what is known about it."""
    first = hit.files[0]
    return {
        "score": hit.score if math.isfinite(hit.score) else None,
        **first.facts,
        "copies": [file.facts["path"] for file in hit.files[1:]],
        "near": len(hit.near),
        "aspects": dict(zip(collection.about.prompts, hit.parts, strict=False)),
    }
