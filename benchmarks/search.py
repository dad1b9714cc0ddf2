"""One question to a collection of a million pictures, against faiss Flat on the same rows; opening it; building it.

    pip install 'polyprompt[search]'
    OMP_NUM_THREADS=1 python benchmarks/search.py                                      drawn rows, 512 numbers
    OMP_NUM_THREADS=1 python benchmarks/search.py --real COLLECTION --texts FILE       mixtures of a real one's rows

Ours is `ask` as the command line and the page call it: rows in fp16, mapped from disk, with aspect weights that change
at every question, and the files of the hits. Theirs is an exact inner product over fp32 rows in memory, on one thread.
Recall@10 is told for plain and for weighted questions apart; no question was used to choose the codes.

Drawn rows lie around 20,000 centres, their spectrum falls as 1 / i, and questions lie apart from them, as texts lie
apart from pictures. With --real they are mixtures of pairs of a collection's rows (weight 0 to 0.6, noise 0.01), and
the questions are the texts of FILE, one a line, through the collection's own model.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import faiss
import numpy as np
import torch
import torch.nn.functional as F
from measure import in_turn, write
from torch import Tensor

from polyprompt.disk.rows import PIECE_BYTES
from polyprompt.nn.memory import keep_memory
from polyprompt.search.collection import About, Collection, Stores, rebuild, write_about
from polyprompt.search.fill import as_bytes
from polyprompt.search.models import open_model
from polyprompt.search.query import Query, ask

QUESTIONS, TOP = 40, 10
WEIGHTS = torch.tensor([0.0, 0.5, 1.0, 1.25, 2.0])
Rows = Callable[[int, torch.Generator], Tensor]
"""So many unit rows."""


def drawn(width: int) -> tuple[Rows, Rows]:
    """Rows like pictures' and rows like texts'."""
    draw = torch.Generator().manual_seed(0)
    spectrum = 1 / torch.arange(1, width + 1)
    turn = torch.linalg.qr(torch.randn(width, width, generator=draw)).Q
    common, gap = torch.randn(2, width, generator=draw) / width**0.5
    size = spectrum.norm()
    centres = torch.randn(20_000, width, generator=draw) * spectrum / size

    def near(count: int, draw: torch.Generator, far: float) -> Tensor:
        centre = centres[torch.randint(len(centres), (count,), generator=draw)]
        return (centre + far * torch.randn(count, width, generator=draw) * spectrum / size) @ turn

    def pictures(count: int, draw: torch.Generator) -> Tensor:
        return F.normalize(near(count, draw, 0.6) + 0.82 * common, dim=-1)

    def texts(count: int, draw: torch.Generator) -> Tensor:
        return F.normalize(near(count, draw, 0.6) + 0.33 * common + gap, dim=-1)

    return pictures, texts


def mixed(collection: Path, file: Path) -> tuple[Rows, Rows, tuple[str, ...]]:
    """Mixtures of a collection's rows, the texts of a file, and the aspects."""
    found = Collection(collection)
    rows = found.vectors.take(np.arange(len(found)))
    model = open_model(found.about.model)
    asked = model.texts(file.read_text(encoding="utf-8").splitlines()[: 4 * QUESTIONS])

    def pictures(count: int, draw: torch.Generator) -> Tensor:
        one, other = rows[torch.randint(len(rows), (2, count), generator=draw)]
        share = 0.6 * torch.rand(count, 1, generator=draw)
        noise = 0.01 * torch.randn(count, rows.shape[1], generator=draw)
        return F.normalize((1 - share) * one + share * other + noise, dim=-1)

    def texts(count: int, draw: torch.Generator) -> Tensor:
        return asked[torch.randperm(len(asked), generator=draw)[:count]]

    return pictures, texts, found.about.prompts


class Asker:
    """Stands in for a model: some texts' rows, other ones than the questions."""

    def __init__(self, texts: Rows) -> None:
        self.rows = texts

    def texts(self, texts: list[str]) -> Tensor:
        return self.rows(len(texts), torch.Generator().manual_seed(2))


def fill(folder: Path, count: int, pictures: Rows, prompts: tuple[str, ...]) -> Stores:
    """The truth of a collection, as `index` leaves it: rows, a log of files; thumbnails of one byte."""
    write_about(folder, About("/pictures", "benchmark", "none", prompts, 8))
    stores, draw = Stores(folder), torch.Generator().manual_seed(1)
    for numbers in chunks(count, PIECE_BYTES // 2 // pictures(1, draw).shape[1]):
        rows = pictures(len(numbers), draw)
        keys = [f"content {number}" for number in numbers]
        stores.rows.append(keys, list(rows[:, None]))
        stores.thumbnails.append(keys, list(torch.zeros(len(keys), 1, 1, dtype=torch.uint8)))
        lines = [json.dumps(line(number)) for number in numbers]
        stores.files.append([str(numbers)], [as_bytes("\n".join(["{}", *lines]).encode())])
    return stores


def chunks(count: int, size: int) -> Iterator[range]:
    """0 to count, so many at a time."""
    yield from (range(at, min(at + size, count)) for at in range(0, count, size))


def line(number: int) -> dict[str, str | int]:
    """What the log has of a file."""
    path = f"{2000 + number % 25}/{number // 1000}/{number}.jpg"
    return {
        "path": path, "size": 100_000 + number, "changed": 10**18 + number * 10**9,
        "content": f"content {number}", "width": 640, "height": 480,
    }  # fmt: skip


def questions(texts: Rows, prompts: tuple[str, ...]) -> dict[str, list[Query]]:
    """The same texts without weights, and each with weights of its own."""
    draw = torch.Generator().manual_seed(3)
    rows = texts(QUESTIONS, draw)
    found = {"plain": [Query(wanted=row[None]) for row in rows]}
    weights = WEIGHTS[torch.randint(len(WEIGHTS), (len(rows), max(len(prompts), 1)), generator=draw)]
    weights[(weights == 0).all(dim=1)] = 1
    if prompts:
        found["weighted"] = [
            Query(wanted=row[None], weights=one.tolist()) for row, one in zip(rows, weights, strict=True)
        ]
    return found


def flat(collection: Collection) -> faiss.IndexFlatIP:
    """All rows in fp32."""
    index = faiss.IndexFlatIP(collection.vectors.dim)
    for _, part in collection.vectors.chunks():
        index.add(part.numpy())
    return index


def opening(folder: Path, rounds: int) -> dict[str, list[float]]:
    """Seconds until a collection is open, and until its codes and what else the first question needs are read."""
    found: dict[str, list[float]] = {"opening": [], "getting_ready": []}
    for _ in range(rounds):
        start = time.perf_counter()
        collection = Collection(folder)
        found["opening"].append(time.perf_counter() - start)
        start = time.perf_counter()
        _ = collection.codes, collection.live
        found["getting_ready"].append(time.perf_counter() - start)
    return found


def measured(collection: Collection, asked: dict[str, list[Query]], rounds: int) -> Iterator[dict]:
    """Recall@10, and the time of a question on both sides, for plain and weighted questions."""
    index = flat(collection)
    faiss.omp_set_num_threads(1)
    for kind, queries in asked.items():
        vectors = [query.vector(collection.about.prompts).numpy()[None] for query in queries]
        true = [set(index.search(vector, TOP)[1][0].tolist()) for vector in vectors]  # both sides warm up here
        hits = [{hit.row for hit in ask(collection, query, TOP)} for query in queries]
        single = []
        for query in queries * rounds:
            start = time.perf_counter()
            ask(collection, query, TOP)
            single.append(time.perf_counter() - start)
        time_of_all = in_turn(
            lambda queries=queries: [ask(collection, query, TOP) for query in queries],
            lambda vectors=vectors: [index.search(vector, TOP) for vector in vectors],
            rounds,
        )
        yield {
            "questions": kind,
            "recall_at_10": sum(len(a & b) for a, b in zip(hits, true, strict=True)) / (TOP * len(true)),
            "milliseconds_a_question": 1000 * statistics.median(single),
            "time": time_of_all,
        }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rows", type=int, default=1_000_000)
    options.add_argument("--width", type=int, default=512)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--real", type=Path, help="a collection")
    options.add_argument("--texts", type=Path, help="questions to it")
    options.add_argument("--place", type=Path, help="where the rows are written for the time being")
    asked = options.parse_args()
    torch.set_num_threads(1)
    keep_memory()
    if asked.real:
        pictures, texts, prompts = mixed(asked.real, asked.texts)
    else:
        (pictures, texts), prompts = drawn(asked.width), tuple(f"aspect {number}" for number in range(8))
    with tempfile.TemporaryDirectory(dir=asked.place) as place:
        stores = fill(Path(place) / "collection", asked.rows, pictures, prompts)
        start = time.perf_counter()
        rebuild(stores.folder, stores, Asker(texts))
        built = time.perf_counter() - start
        time.sleep(2.5)  # so old that the stamps of files are believed
        opening(stores.folder, 1)  # hashes all once
        found = opening(stores.folder, 5)
        collection = Collection(stores.folder)
        write(
            "search-real" if asked.real else "search",
            {
                "claim": "a question to a million rows at recall@10 >= 0.99, weighted or not, in <= 12 ms, with >= 15 "
                "times less processor time than faiss Flat; opening in <= 50 ms",
                "found": [
                    {
                        "rows": asked.rows,
                        "numbers": collection.vectors.dim,
                        **row,
                        **{f"seconds_of_{name}": value for name, value in found.items()},
                        "seconds_of_building": built,
                        "codes": collection.shown.about.get("codes", 0),
                        "reread": collection.shown.about.get("reread", 0),
                    }
                    for row in measured(collection, questions(texts, prompts), asked.rounds)
                ],
            },
        )


if __name__ == "__main__":
    main()
