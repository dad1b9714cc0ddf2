"""A piece: some items of a store of rows, written once, in one file that is named after the sha256 of its bytes.

It is a safetensors file: `keys` [n, 32], `lengths` [n] and `rows`, the rows of all items one behind the other. Nothing
else says what is in it, so there is no index that could be damaged or disagree; a piece is whole or its name is wrong.

Hashing a store of gigabytes at each opening would take longer than reading a batch of it. So a folder keeps
`checked.json`: the size, times and inode that a piece had when its hash was last found right. A copy, a restored file,
an edit in place, even one that puts the date of modification back, changes one of them (the time of change cannot be
set), and the piece is hashed again. What only the disk itself can do to a file goes unseen by these stamps;
`RowStore.check` hashes without them.
"""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, cast

import numpy as np
import torch
from jaxtyping import Float, Int64, Shaped, UInt8
from torch import Tensor

from polyprompt.disk.files import read_json, sha256, stamp, whole_file, write_json
from polyprompt.disk.numbers import RowDtype, decode, row_bytes
from polyprompt.errors import FileError
from polyprompt.values import Json

KEY = 32
"""Bytes of an item's key."""
SUFFIX = ".safetensors"
STAMPS = "checked.json"
SETTLED = 2_000_000_000
"""Nanoseconds after a change before a stamp is believed: clocks of file systems tick slowly, and a second change within
one tick would have the same time."""


KINDS = {"fp32": "F32", "fp16": "F16", "bf16": "BF16", "int8": "I8", "bytes": "U8"}
"""How safetensors calls the numbers in `rows`."""
TORCH = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16, "int8": torch.int8, "bytes": torch.uint8}
"""And torch."""

Chunk: TypeAlias = bytes | memoryview


class DamagedPieceError(Exception):
    """A file that is not the piece its name says."""


@dataclass(frozen=True)
class Piece:
    """An open piece: its rows are mapped into memory, not read."""

    path: Path
    dtype: RowDtype
    width: int
    keys: UInt8[np.ndarray, "n 32"]
    starts: Int64[np.ndarray, "n_plus_1"]
    """Where each item's rows begin."""
    rows: UInt8[np.ndarray, "r e"]
    size: int
    """Bytes of the file."""

    def read(self, item: int, rows: Sequence[int] | None = None) -> Float[Tensor, "_ d"]:
        """The rows of one item, or some of them, as float32."""
        data = self.rows[self.starts[item] : self.starts[item + 1]]
        return decode(data if rows is None else data[list(rows)], self.width, self.dtype)

    def raw(self, item: int) -> bytes:
        """The bytes of one item's rows."""
        return self.rows[self.starts[item] : self.starts[item + 1]].tobytes()

    def check_size(self) -> None:
        """Looks whether the file was cut since: who reads a mapped file beyond its end is killed by the system.

        Raises:
            FileError: it was.
        """
        with suppress(FileNotFoundError):  # what is mapped stays
            if (now := self.path.stat().st_size) < self.size:
                raise FileError(f"{self.path}: has {now:,} bytes, and had {self.size:,} when it was opened.")

    def encoded(self) -> Shaped[Tensor, "r e"]:
        """All rows as `encode` gave them, in the file's own memory."""
        return torch.from_numpy(self.rows).view(TORCH[self.dtype])


def write_piece(
    folder: Path,
    keys: Sequence[bytes],
    lengths: Sequence[int],
    rows: Sequence[Shaped[Tensor, "_ e"]],
    width: int,
    dtype: RowDtype,
) -> Path:
    """Writes items of these lengths, their rows as `encode` gave them, in any parts; whole or not at all.

    Raises:
        CacheError, FileError: no room; what was there before stays.
    """
    parts = {  # the widest numbers first, so that each stands where its kind may stand
        "lengths": ("I64", [len(keys)], [np.array(lengths, np.int64).data]),
        "rows": (KINDS[dtype], [sum(lengths), rows[0].shape[1]], [_bytes(part) for part in rows]),
        "keys": ("U8", [len(keys), KEY], [b"".join(keys)]),
    }
    # straight from where the numbers are: a copy of a piece takes longer than hashing it
    data = [
        _header(parts, {"dtype": dtype, "width": width}),
        *(chunk for _, _, chunks in parts.values() for chunk in chunks),
    ]
    total = hashlib.sha256()
    for chunk in data:
        total.update(chunk)
    path = folder / (total.hexdigest() + SUFFIX)
    with whole_file(path) as temporary, open(temporary, "wb") as file:
        file.writelines(data)
    return path


def _header(parts: Mapping[str, tuple[str, list[int], Sequence[Chunk]]], about: Json) -> bytes:
    """What stands in front of the numbers in a safetensors file."""
    header: Json = {"__metadata__": {"polyprompt": json.dumps(about)}}
    end = 0
    for name, (kind, shape, chunks) in parts.items():
        start, end = end, end + sum(memoryview(chunk).nbytes for chunk in chunks)
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _bytes(rows: Shaped[Tensor, "_ e"]) -> memoryview:
    return rows.contiguous().view(torch.uint8).numpy().data


def open_piece(path: Path) -> Piece:
    """A piece whose hash was found right.

    Raises:
        DamagedPieceError: it is another kind of file all the same. FileNotFoundError: it has gone.
    """
    try:
        data = np.asarray(np.memmap(path, np.uint8, "c"))  # torch takes writable memory alone; the file stays as it is
        start = 8 + int.from_bytes(data[:8].tobytes(), "little")
        header = json.loads(data[8:start].tobytes())
        keys, lengths, rows = (data[slice(*_places(header[name], start))] for name in ("keys", "lengths", "rows"))
        about = json.loads(header["__metadata__"]["polyprompt"])
        dtype, width = cast(RowDtype, about["dtype"]), int(about["width"])
        counts = lengths.view(np.int64)
        return Piece(
            path,
            dtype,
            width,
            keys.reshape(len(counts), KEY),
            np.concatenate([[0], np.cumsum(counts)]),
            rows.reshape(int(counts.sum()), row_bytes(width, dtype)),
            len(data),
        )
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DamagedPieceError(str(error)) from error


def _places(entry: Json, start: int) -> tuple[int, int]:
    first, last = entry["data_offsets"]
    return start + first, start + last


class Stamps:
    """Which pieces of a folder were found right, and have not been touched since."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / STAMPS
        self.known: dict[str, list[int]] = {}
        with suppress(FileError, TypeError, ValueError):  # missing or damaged: all is hashed, and written down anew
            self.known = dict(read_json(self.path))
        self._written = dict(self.known)

    def check(self, path: Path, *, again: bool = False) -> None:
        """Hashes a piece, unless its stamp says that this was done; `again`: whatever the stamp says.

        Raises:
            DamagedPieceError: its bytes are others. FileNotFoundError: it has gone.
        """
        now = stamp(path)
        if self.known.get(path.name) == now and not again:
            return
        if sha256(path) != path.stem:
            self.known.pop(path.name, None)
            raise DamagedPieceError("other bytes than its name says")
        if time.time_ns() - max(now[1], now[2]) > SETTLED:
            self.known[path.name] = now

    def keep(self, names: set[str]) -> None:
        """Writes down the stamps of these files, if any is new; a folder that cannot be written keeps none."""
        self.known = {name: known for name, known in self.known.items() if name in names}
        if self.known == self._written:
            return
        with suppress(FileError):
            write_json(self.path, self.known)
            self._written = dict(self.known)
