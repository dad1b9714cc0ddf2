"""The same flips in one table of numbers, as this library keeps it and as others do.

Each library writes the table and reads it in processes of their own, for some of them crash or ask for all memory. A
flip is *refused* (any error that Python can catch), *mended* (said, and the right numbers), *harmless* (the right
numbers, nothing said), *wrong* (other numbers without a word), or *crashed* (the process died, or did not answer in a
minute).
"""

import io
import multiprocessing
import random
import resource
import shutil
from collections import Counter
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path
from typing import NamedTuple

import numpy as np

ROWS, WIDTH = 256, 32
OUTCOMES = ("refused", "mended", "harmless", "wrong", "crashed")
MEMORY = 16 << 30
"""Bytes of addresses that a reading process may have: torch and LanceDB take most of it unused."""
SECONDS = 60


class Library(NamedTuple):
    """How a library keeps a table below a folder."""

    write: Callable[[np.ndarray, Path], None]
    read: Callable[[Path], np.ndarray]


def table() -> np.ndarray:
    """The numbers."""
    return np.random.default_rng(0).standard_normal((ROWS, WIDTH)).astype(np.float32)


def count_flips(name: str, count: int, place: Path) -> Counter[str]:
    """How `count` flips of one library's files ended."""
    context = multiprocessing.get_context("spawn")
    log, found = place / f"{name}.log", Counter[str]()
    log.touch()
    while found.total() < count:
        process = context.Process(target=_flips, args=(name, found.total(), count, place / name, log))
        process.start()
        done = found.total()
        while process.is_alive():
            process.join(SECONDS)
            if process.is_alive() and len(log.read_text().split()) == done:  # nothing in a minute
                process.kill()
            done = len(log.read_text().split())
        found = Counter(log.read_text().split())
        if found.total() < count:
            with open(log, "a") as file:
                file.write("crashed\n")
            found["crashed"] += 1
    return found


def _flips(name: str, start: int, count: int, folder: Path, log: Path) -> None:
    library, right = LIBRARIES[name], table()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    library.write(right, folder)
    library.read(folder)  # imports all that it needs
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    whole = {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    for number in range(start, count):
        draw = random.Random(number)  # the same places for all libraries, as far as their files are alike
        path = draw.choices([*whole], [len(data) for data in whole.values()])[0]
        place, bit = int(draw.random() * len(whole[path])), draw.randrange(8)
        data = bytearray(whole[path])
        data[place] ^= 1 << bit
        path.write_bytes(data)
        ended = _ended(library, folder, right)
        with open(log, "a") as file:
            file.write(f"{ended}\n")
        for path, data in whole.items():
            if not path.exists() or path.read_bytes() != data:
                path.write_bytes(data)


def _ended(library: Library, folder: Path, right: np.ndarray) -> str:
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            got = library.read(folder)
    except Exception:
        return "refused"
    if not np.array_equal(got, right):
        return "wrong"
    return "mended" if said.getvalue().strip() else "harmless"


# The libraries, each by the way that its documentation shows first


def _write_ours(rows: np.ndarray, folder: Path) -> None:
    import torch

    from polyprompt.disk.rows import RowStore

    RowStore(folder / "rows", "fp32", truth=True).append(
        [str(i) for i in range(len(rows))], [*_one_by_one(torch, rows)]
    )


def _read_ours(folder: Path) -> np.ndarray:
    from polyprompt.disk.rows import RowStore

    store = RowStore(folder / "rows", "fp32", truth=True)
    found = store.find([str(i) for i in range(ROWS)])
    return np.concatenate([found.read(i).numpy() for i in range(ROWS)])


def _write_our_cache(rows: np.ndarray, folder: Path) -> None:
    _our_cache(folder, rows)


def _our_cache(folder: Path, rows: np.ndarray) -> np.ndarray:
    import torch

    from polyprompt.disk.rows import RowStore

    every = _one_by_one(torch, rows)
    found = RowStore(folder / "rows", "fp32").get(
        [str(i) for i in range(ROWS)], lambda i: [every[j] for j in i], "Rows"
    )
    return np.concatenate([row.numpy() for row in found])


def _one_by_one(torch, rows: np.ndarray) -> list:
    return list(torch.from_numpy(rows).split(1))


def _write_safetensors(rows: np.ndarray, folder: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"rows": rows}, folder / "rows.safetensors")


def _read_safetensors(folder: Path) -> np.ndarray:
    from safetensors.numpy import load_file

    return load_file(folder / "rows.safetensors")["rows"]


def _write_torch(rows: np.ndarray, folder: Path) -> None:
    import torch

    torch.save({"rows": torch.from_numpy(rows)}, folder / "rows.pt")


def _read_torch(folder: Path) -> np.ndarray:
    import torch

    return torch.load(folder / "rows.pt", weights_only=True)["rows"].numpy()


def _write_datasets(rows: np.ndarray, folder: Path) -> None:
    from datasets import Dataset, disable_progress_bars

    disable_progress_bars()
    Dataset.from_dict({"rows": list(rows)}).save_to_disk(folder / "rows")


def _read_datasets(folder: Path) -> np.ndarray:
    from datasets import load_from_disk

    return np.array(load_from_disk(folder / "rows")["rows"], np.float32)


def _write_faiss(rows: np.ndarray, folder: Path) -> None:
    import faiss

    index = faiss.IndexFlatIP(WIDTH)
    index.add(rows)
    faiss.write_index(index, str(folder / "rows.faiss"))


def _read_faiss(folder: Path) -> np.ndarray:
    import faiss

    index = faiss.read_index(str(folder / "rows.faiss"))
    return index.reconstruct_n(0, index.ntotal)


def _write_lancedb(rows: np.ndarray, folder: Path) -> None:
    import lancedb

    lancedb.connect(folder).create_table("rows", [{"number": i, "vector": row} for i, row in enumerate(rows)])


def _read_lancedb(folder: Path) -> np.ndarray:
    import lancedb

    kept = lancedb.connect(folder).open_table("rows").to_arrow()
    return np.array(kept["vector"].to_pylist(), np.float32)


LIBRARIES = {
    "polyprompt, truth": Library(_write_ours, _read_ours),
    "polyprompt, a cache": Library(_write_our_cache, lambda folder: _our_cache(folder, table())),
    "safetensors": Library(_write_safetensors, _read_safetensors),
    "torch": Library(_write_torch, _read_torch),
    "datasets": Library(_write_datasets, _read_datasets),
    "faiss": Library(_write_faiss, _read_faiss),
    "lancedb": Library(_write_lancedb, _read_lancedb),
}
