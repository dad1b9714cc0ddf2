"""Short codes of many rows, read in milliseconds: they say which rows are worth reading exactly.

A row is cut to its first principal directions, which are turned at random so that all count alike, and coded in 4 bits
a number, or 4 bits for one of the first m and one of the next m (faiss's PQ fast scan, whose tables have one step for
all codes: what did not count alike would be rounded away). One number is better where few directions say most, two
where many do. The scan of all codes gives a few thousand candidates, which are scored from the rows themselves. How
many codes a row has, of what, and how many candidates are chosen when they are made: the cheapest whose recall@10
against the exact search is high enough, for queries as they are and for queries whose segments are weighted.

A query is turned by the matrix alone, without the mean: the mean shifts all scores of a query by the same number.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from safetensors.numpy import save_file
from torch import Tensor

from polyprompt.disk.files import whole_file
from polyprompt.disk.tensors import read_tensors
from polyprompt.errors import FileError
from polyprompt.progress import say, track
from polyprompt.search.vectors import Best, Vectors, among

if TYPE_CHECKING:
    import faiss

MANY = 200_000
"""Below so many rows all are scored exactly; codes would save nothing that is felt."""
KEPT = 100_000
"""Up to so many rows that a filter leaves are scored exactly."""
MOST, STEP = 16_000, 500
"""How many candidates may be scored exactly, and in which steps."""
ENOUGH = 0.99
"""Recall@10 that codes must have."""
SPARE = 1.25
"""So many times the candidates that were needed are scored: the queries to come are others."""
FETCHED = 9
"""A byte of a candidate's row costs as much as so many of codes: 8,000 rows of 512 took 2.4 ms, 48 MB of codes 1.5."""
SIZES = (64, 96, 128)
"""How many codes of 4 bits a row has."""
QUERIES = 128
PIECE = 100_000


@dataclass(frozen=True)
class Codes:
    """Codes of all rows of a collection."""

    matrix: Float[np.ndarray, "e D"]
    index: "faiss.Index"
    reread: int
    """Candidates that are scored exactly."""

    def nearest(self, query: Float[Tensor, "D"], count: int) -> Int64[np.ndarray, "r"]:
        """The places of the rows whose codes are nearest, the nearest first."""
        import faiss

        faiss.omp_set_num_threads(1)  # of this thread: requests run side by side, and a second one would only wait
        _, places = self.index.search((self.matrix @ query.numpy())[None], count)
        return places[0][places[0] >= 0]

    def write(self, path: Path) -> None:
        """Writes one file, whole or not at all."""
        import faiss

        with whole_file(path) as temporary:
            save_file({"matrix": self.matrix, "index": faiss.serialize_index(self.index)}, temporary)

    @classmethod
    def read(cls, path: Path, reread: int) -> "Codes":
        """Opens what `write` wrote.

        Raises:
            FileError: it is damaged, or cannot be read. ImportError: there is no faiss.
        """
        import faiss

        kept = {name: tensor.numpy() for name, tensor in read_tensors(path).items()}
        try:
            return cls(kept["matrix"], faiss.deserialize_index(kept["index"]), reread)
        except (KeyError, ValueError, RuntimeError) as error:
            raise FileError(f"{path}: damaged ({error}).") from None


def best(
    vectors: Vectors,
    codes: Codes | None,
    query: Float[Tensor, "D"],
    top: int,
    rows: Int64[np.ndarray, "r"] | None = None,
    *,
    exact: bool = False,
) -> Best:
    """The best rows for a query, best first.

    Args:
        rows: the only ones that count, ascending; few are scored exactly, of many as large a share is reread as ever.
        exact: whether codes are left aside.
    """
    if codes is None or exact or (rows is not None and len(rows) <= KEPT):
        return vectors.best(query, top, rows)
    least = reread = max(codes.reread, codes.reread * top // 10)  # recall was measured at 10
    if rows is not None:
        reread = reread * len(vectors) // len(rows)
    if reread > len(vectors) // 4:
        return vectors.best(query, top, rows)
    places = np.sort(codes.nearest(query, reread))
    if rows is not None:
        places = places[among(places, rows)]
        if len(places) < least // 4:  # what the filter keeps lies far from the query
            return vectors.best(query, top, rows)
    return vectors.best(query, top, places)


def build(
    vectors: Vectors, segments: int, texts: Float[Tensor, "t D"] | None = None
) -> tuple[Codes, dict[str, int | float]]:
    """The codes that answer soonest with recall enough, or else the most exact ones there are, and what was measured.

    Args:
        segments: K, parts of a row that queries may weight.
        texts: unit rows of some texts. Queries lie apart from the pictures, and rows asked in their place flatter.
    """
    asked = queries(vectors, segments, texts)
    true = {name: exact_best(vectors, rows) for name, rows in asked.items()}
    sizes = [size for size in SIZES if 2 * size < vectors.dim] + [vectors.dim // 2]
    parts = principal(vectors)
    chosen, measured, least = None, {}, math.inf
    for size, numbers in itertools.product(sizes, (1, 2)):
        if _cost(vectors, size, 0) >= least:  # more codes only take longer
            break
        codes, recalls = _with_reread(vectors, _made(vectors, parts, size, numbers), asked, true)
        cost = _cost(vectors, size, codes.reread) if min(recalls.values()) >= ENOUGH else math.inf
        if cost < least or least == math.inf:
            chosen, measured, least = codes, {"codes": size, "numbers": numbers, **recalls}, cost
    assert chosen is not None
    about = {"rows": len(vectors), "reread": chosen.reread, **measured}
    say(f"Codes of {len(vectors):,} rows: " + ", ".join(f"{name} {value:g}" for name, value in about.items()))
    return chosen, about


def queries(vectors: Vectors, segments: int, texts: Float[Tensor, "t D"] | None) -> dict[str, Float[Tensor, "q D"]]:
    """Texts, and rows that were moved a little so that none finds itself; where rows have segments, weighted too."""
    draw = torch.Generator().manual_seed(0)
    picked = torch.randint(len(vectors), (QUERIES if texts is None else QUERIES // 2,), generator=draw).sort().values
    rows = vectors.take(picked.numpy())
    rows = rows + 0.3 * torch.randn(rows.shape, generator=draw) * rows.square().mean().sqrt()
    plain = torch.nn.functional.normalize(rows if texts is None else torch.cat([texts.float(), rows]), dim=-1)
    if segments == 1:
        return {"recall": plain}
    weights = torch.tensor([0.0, 0.5, 1.0, 1.25, 2.0])[torch.randint(5, (len(plain), segments), generator=draw)]
    weights[(weights == 0).all(dim=1)] = 1.0  # a query of zeros has no best rows
    weighted = (plain.unflatten(1, (segments, -1)) * weights[..., None]).flatten(1)
    return {"recall": plain, "weighted_recall": weighted}


def exact_best(vectors: Vectors, queries: Float[Tensor, "q D"], top: int = 10) -> list[set[int]]:
    """The places of each query's best rows, from all rows."""
    scores = torch.full((len(queries), top), -torch.inf)
    places = torch.zeros(len(queries), top, dtype=torch.int64)
    for at, part in vectors.chunks():
        both = torch.cat([scores, queries @ part.T], dim=1)
        scores, which = both.topk(top, dim=1)
        known = torch.cat([places, torch.arange(at, at + len(part)).expand(len(queries), -1)], dim=1)
        places = known.gather(1, which)
    return [set(row) for row in places.tolist()]


def _cost(vectors: Vectors, size: int, reread: int) -> float:
    """What a query costs, in bytes of codes: all of these, and the rows that are read."""
    return len(vectors) * size / 2 + FETCHED * 2 * vectors.dim * reread


def _with_reread(
    vectors: Vectors, codes: Codes, asked: Mapping[str, Float[Tensor, "q D"]], true: Mapping[str, Sequence[set[int]]]
) -> tuple[Codes, dict[str, float]]:
    """The codes with as few candidates as are enough, or else with the most, and their recalls."""
    most = min(MOST, len(vectors) // 4)
    ranks = {name: _ranks(codes, asked[name], true[name], most) for name in asked}
    needed = SPARE * max(np.quantile(numbers, ENOUGH, method="higher") + 1 for numbers in ranks.values())
    reread = min(math.ceil(needed / STEP) * STEP, most)
    return replace(codes, reread=reread), {name: float((numbers < reread).mean()) for name, numbers in ranks.items()}


def _ranks(codes: Codes, queries: Float[Tensor, "q D"], true: Sequence[set[int]], most: int) -> Int64[np.ndarray, "n"]:
    """Which candidate each of the exact ten best is; `most` if it is none of the first so many."""
    ranks = [
        np.flatnonzero(np.isin(codes.nearest(query, most), list(rows)))
        for query, rows in zip(queries, true, strict=True)
    ]
    missed = sum(map(len, true)) - sum(map(len, ranks))
    return np.concatenate([*ranks, np.full(missed, most)])


def principal(vectors: Vectors) -> tuple[Float[np.ndarray, "n D"], Float[np.ndarray, "D D"]]:
    """Some of the rows, and their principal directions, the first ones first."""
    import faiss

    sample = vectors.take(np.arange(0, len(vectors), max(len(vectors) // 50_000, 1))).numpy()
    pca: Any = faiss.PCAMatrix(vectors.dim, vectors.dim)  # faiss's wrappers have no types
    pca.train(sample)
    return sample, faiss.vector_to_array(pca.A).reshape(vectors.dim, vectors.dim)


def _made(
    vectors: Vectors, parts: tuple[Float[np.ndarray, "n D"], Float[np.ndarray, "D D"]], size: int, numbers: int
) -> Codes:
    """So many codes a row, each for one or two numbers; `parts` as `principal` gives them."""
    import faiss

    sample, directions = parts
    turned = [_turn(size) @ part for part in directions[: numbers * size].reshape(numbers, size, -1)]
    matrix, mean = np.stack(turned, axis=1).reshape(-1, vectors.dim), sample.mean(axis=0)
    index: Any = faiss.IndexPQFastScan(len(matrix), size, 4, faiss.METRIC_INNER_PRODUCT)
    index.train((sample[::2] - mean) @ matrix.T)
    for at in track(range(0, len(vectors), PIECE), f"Coding rows in {size} x {numbers} numbers"):
        rows = np.arange(at, min(at + PIECE, len(vectors)))
        index.add((vectors.take(rows).numpy() - mean) @ matrix.T)
    return Codes(matrix, index, STEP)


def _turn(size: int) -> Float[np.ndarray, "m m"]:
    """A random rotation, always the same one."""
    return np.linalg.qr(np.random.default_rng(0).standard_normal((size, size)))[0].astype(np.float32)
