"""Rows of numbers on disk, ragged, appended and read back by item: the file behind the caches.

One data file, memory-mapped, and an index beside it with the sha256 of every chunk appended. A killed writer leaves at
most an unfinished chunk, which the next one cuts off. On opening every chunk is checked; from the first damaged one on
the rows are dropped, to be computed again. int8 keeps one scale for 32 numbers, since a few coordinates of an LLM's
states are hundreds of times larger than the rest.
"""

import hashlib
import itertools
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from polyprompt.disk.files import read_json, write_json
from polyprompt.errors import CacheError
from polyprompt.progress import say

CacheDtype = Literal["fp32", "bf16", "int8"]
GROUP = 32
"""Numbers that share a scale in int8."""


def row_bytes(width: int, dtype: CacheDtype) -> int:
    """Bytes that one row of `width` numbers takes."""
    groups = -(-width // GROUP)
    return {"fp32": 4 * width, "bf16": 2 * width, "int8": groups * (GROUP + 2)}[dtype]


def encode(rows: Float[Tensor, "r d"], dtype: CacheDtype) -> bytes:
    """Rows as bytes; int8 is absmax / 127 in groups of 32, with a float16 scale in front of each group."""
    if dtype == "fp32":
        return rows.float().numpy().tobytes()
    if dtype == "bf16":
        return rows.bfloat16().view(torch.int16).numpy().tobytes()
    padded = torch.nn.functional.pad(rows.float(), (0, -rows.shape[1] % GROUP)).reshape(len(rows), -1, GROUP)
    # rounded up to the next float16, so that no number leaves the range
    scale = (padded.abs().amax(dim=-1, keepdim=True) / 127).clamp(1e-7, 6e4).mul(1.001).half()
    steps = (padded / scale.float()).round().clamp(-127, 127).to(torch.int8)
    return torch.cat([scale.view(torch.int8), steps], dim=-1).numpy().tobytes()


def decode(data: UInt8[np.ndarray, "bytes"], width: int, dtype: CacheDtype) -> Float[Tensor, "r d"]:
    """The float32 rows that `encode` wrote."""
    flat = torch.from_numpy(np.array(data))  # a copy: the file stays untouched, the tensor is writable
    if dtype == "fp32":
        return flat.view(torch.float32).reshape(-1, width)
    if dtype == "bf16":
        return flat.view(torch.bfloat16).float().reshape(-1, width)
    groups = flat.view(torch.int8).reshape(-1, -(-width // GROUP), GROUP + 2)
    scale = groups[..., :2].contiguous().view(torch.float16).float()
    return (groups[..., 2:].float() * scale).flatten(1)[:, :width].contiguous()


class RowStore:
    """Rows [lengths[i], width] for each item i, in one file.

    Args:
        folder: where it lives; its name must hold all that determines the content.
        lengths: rows of each item.
        width: numbers in a row.
        dtype: how they are kept.
    """

    def __init__(self, folder: Path, lengths: Sequence[int], width: int, dtype: CacheDtype) -> None:
        self.folder, self.width = folder, width
        self.dtype: CacheDtype = dtype
        self.offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]) * row_bytes(width, dtype)
        self._chunks: list[dict[str, int | str]] = []
        self._map: np.memmap | None = None
        self._check()

    @property
    def items(self) -> int:
        """Items in all."""
        return len(self.offsets) - 1

    @property
    def done(self) -> int:
        """Items on disk."""
        return sum(int(chunk["items"]) for chunk in self._chunks)

    @property
    def complete(self) -> bool:
        """Every item is on disk."""
        return self.done == self.items

    @property
    def bytes_missing(self) -> int:
        """What the rest will take on disk."""
        return int(self.offsets[-1] - self.offsets[self.done])

    def append(self, rows: Sequence[Float[Tensor, "_ d"]]) -> None:
        """Adds the next items, [lengths[i], width] each, all of them or none.

        Raises:
            CacheError: no room on the disk; what was there before stays.
        """
        data = encode(torch.cat(list(rows)), self.dtype)
        end = int(self.offsets[self.done])
        if len(data) != int(self.offsets[self.done + len(rows)]) - end:
            raise ValueError("append: the rows do not have the lengths that the store was made for")
        chunk = {"items": len(rows), "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with open(self.folder / "rows.bin", "r+b" if (self.folder / "rows.bin").exists() else "wb") as file:
                file.truncate(end)
                file.seek(end)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            write_json(self.folder / "index.json", self._description() | {"chunks": [*self._chunks, chunk]})
        except OSError as error:
            raise CacheError(f"{self.folder}: {error.strerror}. Free some room; what is cached stays.") from None
        self._chunks.append(chunk)
        self._map = None

    def read(self, item: int, rows: Sequence[int] | None = None) -> Float[Tensor, "r d"]:
        """The rows of one item, or some of them, as float32."""
        if self._map is None:
            self._map = np.memmap(self.folder / "rows.bin", mode="r")
        data = self._map[self.offsets[item] : self.offsets[item + 1]]
        if rows is not None:
            data = data.reshape(-1, row_bytes(self.width, self.dtype))[list(rows)].reshape(-1)
        return decode(data, self.width, self.dtype)

    def _description(self) -> dict[str, object]:
        return {"width": self.width, "dtype": self.dtype, "items": self.items}

    def _check(self) -> None:
        """Keeps the chunks that are what was written, up to the first that is not."""
        index, data = self.folder / "index.json", self.folder / "rows.bin"
        if not index.exists() or not data.exists():
            return
        try:
            found = read_json(index)
            chunks = found.pop("chunks")
            if found != self._description():
                raise CacheError(f"{index}: describes other rows")
            with open(data, "rb") as file:
                sound = list(itertools.takewhile(lambda chunk: _holds(file, chunk), chunks))
        except (CacheError, KeyError, TypeError, AttributeError, OSError) as error:
            sound, chunks = [], [str(error)]
        if len(sound) < len(chunks):
            say(f"{self.folder}: damaged, {len(sound)} of {len(chunks)} pieces are sound; the rest is computed again.")
        self._chunks = sound


def _holds(file, chunk: dict[str, int | str]) -> bool:
    data = file.read(int(chunk["bytes"]))
    return hashlib.sha256(data).hexdigest() == chunk["sha256"]


def check_room(folder: Path, size: int, cap_gb: float) -> None:
    """Refuses a cache over its cap or over what the disk has left, before anything is computed.

    Raises:
        CacheError: with both figures and what to do.
    """
    gb = size / 1e9
    if gb > cap_gb:
        raise CacheError(
            f"the cache would take {gb:.1f} GB, its cap is {cap_gb:g} GB. Raise --cache-gb, use --cache-dtype bf16 or "
            "int8, or train on fewer captions."
        )
    there = folder
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free / 1e9
    if gb > free:
        raise CacheError(
            f"the cache would take {gb:.1f} GB, {folder} has {free:.1f} GB left. Set POLYPROMPT_CACHE elsewhere."
        )
