"""Short codes of many rows, read in milliseconds: they say which rows are worth reading exactly.

Rows are turned and cut to their first d principal directions, and coded in 4 bits for two numbers (faiss's PQ fast
scan); the scan of all codes gives a few thousand candidates, which are scored from the rows themselves. d and how many
candidates are chosen when the codes are made: the first whose recall@10 against the exact search is high enough, for
queries as they are and for queries whose segments are weighted, which is the harder case.

A query is turned by the matrix alone, without the mean: the mean shifts all scores of a query by the same number.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from torch import Tensor

from polyprompt.disk.files import whole_file
from polyprompt.errors import FileError
from polyprompt.progress import say, track
from polyprompt.search.vectors import Best, Vectors, ranked

if TYPE_CHECKING:
    import faiss

MANY = 200_000
"""Below so many rows all are scored exactly; codes would save nothing that is felt."""
KEPT = 100_000
"""Up to so many rows that a filter leaves are scored exactly."""
REREADS = (1000, 2000, 4000, 8000)
"""How many candidates may be scored exactly; 8,000 cost as much as the scan of a million codes of 192 numbers."""
ENOUGH = 0.99
"""Recall@10 that codes must have."""
WIDTHS = (128, 192, 256)
QUERIES = 64
PIECE = 100_000


@dataclass(frozen=True)
class Codes:
    """Codes of all rows of a collection."""

    matrix: Float[np.ndarray, "e D"]
    index: "faiss.Index"
    reread: int
    """Candidates that are scored exactly."""

    def candidates(self, query: Float[Tensor, "D"], count: int) -> Int64[np.ndarray, "r"]:
        """The places of the rows whose codes are nearest, ascending."""
        import faiss

        faiss.omp_set_num_threads(1)  # of this thread: requests run side by side, and a second one would only wait
        _, found = self.index.search((self.matrix @ query.numpy())[None], count)
        return np.sort(found[0][found[0] >= 0])

    def write(self, path: Path) -> None:
        """Writes one file, whole or not at all."""
        import faiss

        with whole_file(path) as temporary:
            save_file({"matrix": self.matrix, "index": faiss.serialize_index(self.index)}, temporary)

    @classmethod
    def read(cls, path: Path, reread: int) -> "Codes":
        """Opens what `write` wrote.

        Raises:
            FileError: it is damaged. ImportError: there is no faiss.
        """
        import faiss

        try:
            kept = load_file(path)
            return cls(kept["matrix"], faiss.deserialize_index(kept["index"]), reread)
        except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
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
    found = codes.candidates(query, reread)
    if rows is not None:
        found = np.intersect1d(found, rows, assume_unique=True)
        if len(found) < least // 4:  # what the filter keeps lies far from the query
            return vectors.best(query, top, rows)
    return ranked(vectors.take(found) @ query, top, found)


def build(
    vectors: Vectors, segments: int, texts: Float[Tensor, "t D"] | None = None
) -> tuple[Codes, dict[str, int | float]]:
    """Codes whose recall is enough, or else the most exact ones there are, and what was measured.

    Args:
        segments: K, parts of a row that queries may weight.
        texts: unit rows of some texts. Queries lie apart from the pictures, and rows asked in their place flatter.
    """
    draw = torch.Generator().manual_seed(0)
    plain = queries(vectors, texts, draw)
    weights = torch.tensor([0.0, 0.5, 1.0, 1.25, 2.0])[torch.randint(5, (len(plain), segments), generator=draw)]
    weights[(weights == 0).all(dim=1)] = 1.0  # a query of zeros has no best rows
    weighted = (plain.unflatten(1, (segments, -1)) * weights[..., None]).flatten(1)
    asked = {"recall": plain, "weighted_recall": weighted} if segments > 1 else {"recall": plain}
    true = {name: exact_best(vectors, rows) for name, rows in asked.items()}
    widths = [width for width in WIDTHS if width < vectors.dim] + [vectors.dim - vectors.dim % 2]
    while True:
        codes, measured = _fewest(vectors, _of_width(vectors, widths.pop(0)), asked, true)
        if min(measured.values()) >= ENOUGH or not widths:
            break
    about = {"rows": len(vectors), "width": len(codes.matrix), "reread": codes.reread, **measured}
    say(f"Codes of {len(vectors):,} rows: " + ", ".join(f"{name} {value:g}" for name, value in about.items()))
    return codes, about


def queries(vectors: Vectors, texts: Float[Tensor, "t D"] | None, draw: torch.Generator) -> Float[Tensor, "q D"]:
    """Texts, and rows that were moved a little so that none finds itself."""
    picked = torch.randint(len(vectors), (QUERIES if texts is None else QUERIES // 2,), generator=draw).sort().values
    rows = vectors.take(picked.numpy())
    rows = rows + 0.3 * torch.randn(rows.shape, generator=draw) * rows.square().mean().sqrt()
    return torch.nn.functional.normalize(rows if texts is None else torch.cat([texts.float(), rows]), dim=-1)


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


def recall(vectors: Vectors, codes: Codes, queries: Float[Tensor, "q D"], true: list[set[int]]) -> float:
    """The share of the exact ten best that are found with codes."""
    found = [set(best(vectors, codes, query, 10)[0].tolist()) for query in queries]
    return sum(len(one & other) for one, other in zip(found, true, strict=True)) / sum(map(len, true))


def _fewest(
    vectors: Vectors, codes: Codes, asked: dict[str, Float[Tensor, "q D"]], true: dict[str, list[set[int]]]
) -> tuple[Codes, dict[str, float]]:
    """The codes with as few candidates as are enough, or else with the most, and their recalls."""
    counts = list(REREADS)
    while True:
        codes = replace(codes, reread=counts.pop(0))
        measured = {name: recall(vectors, codes, asked[name], true[name]) for name in asked}
        if min(measured.values()) >= ENOUGH or not counts:
            return codes, measured


def _of_width(vectors: Vectors, width: int) -> Codes:
    import faiss

    every = np.arange(0, len(vectors), max(len(vectors) // 50_000, 1))
    sample = vectors.take(every).numpy()
    pca: Any = faiss.PCAMatrix(vectors.dim, width, 0, True)  # faiss's wrappers have no types
    pca.train(sample)
    index: Any = faiss.IndexPQFastScan(width, width // 2, 4, faiss.METRIC_INNER_PRODUCT)
    index.train(pca.apply(sample[::2]))
    for at in track(range(0, len(vectors), PIECE), f"Coding rows in {width} numbers"):
        rows = np.arange(at, min(at + PIECE, len(vectors)))
        index.add(pca.apply(vectors.take(rows).numpy()))
    matrix = faiss.vector_to_array(pca.A).reshape(width, vectors.dim)
    return Codes(np.ascontiguousarray(matrix), index, REREADS[0])
