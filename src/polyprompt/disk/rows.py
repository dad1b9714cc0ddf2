"""A store of rows: what was computed once about captions, pictures, class names, found again by item.

A store is a folder of pieces (disk/pieces.py), files that are written once and never changed, each named after its own
hash. An item is some rows of numbers under a key; the folder's name holds the hash of all else that determines them
(`kept_folder`), so a row that is found is right.

    store = RowStore(kept_folder("teachers", encoder.fingerprint), "fp32")
    vectors = store.get(names, lambda missing: [vector_of(names[i]) for i in missing], "The teacher's sentences")

Any number of processes may use a store. Its items fall into parts by their keys, and `fill` holds a part's lock while
it computes, so each item is computed by one process, while others compute other parts or wait and then read. A killed
one loses its locks and leaves whole pieces, and a temporary file that the next one clears. Nothing is ever written into
a file that someone may be reading.

A cache heals itself: a damaged piece is told of, set aside as NAME.damaged, and its items are missing, to be computed
again. A store of truth (`truth=True`), which nobody can compute again, refuses: it keeps `pieces.json`, the names of
all its pieces, and a piece that is damaged or gone is an error.
"""

import contextlib
import hashlib
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from polyprompt.disk.files import (
    cache_folder,
    digest,
    make_folder,
    one_process_at_a_time,
    read_json,
    set_aside,
    sweep,
    write_json,
)
from polyprompt.disk.numbers import RowDtype, encode
from polyprompt.disk.pieces import KEY, SUFFIX, DamagedPieceError, Piece, Stamps, open_piece, write_piece
from polyprompt.errors import CacheError, FileError
from polyprompt.progress import Advance, progress, say

BATCH = 64
"""Items computed at a time."""
PARTS = 8
"""Into which items fall, by the first byte of their keys' hashes."""
AT_ONCE = BATCH
"""So many items are computed under the locks of their parts before the next ones, which another process may take."""
PIECE_BYTES = 64_000_000
PIECE_SECONDS = 20.0
"""A piece is written when it holds this much, or when its first item has waited this long: so much a kill can lose."""
NAMES = "pieces.json"
"""In a store of truth: the names of its pieces, in the order in which they came, and the hash of this list."""
COMPUTING, DECODING = ("torch", "transformers", "timm", "open_clip_torch"), "pillow"
OF_TEXTS = ("states", "sentences")
"""Kinds of rows that no picture is read for."""

Compute = Callable[[list[int]], Sequence[Float[Tensor, "_ d"]]]
"""The rows of some items, [r d] each, by their places in the list of keys."""
ComputeAll = Callable[[list[int]], Sequence[Sequence[Float[Tensor, "_ d"]]]]
"""The same for several stores: their rows of these items, store by store."""


def kept_folder(kind: str, *determined_by: str) -> Path:
    """Where rows of a kind are kept in the cache; the major versions of the libraries that compute them count too.

    Args:
        kind: a folder in the cache: "states", "tokens".
        determined_by: all that the rows of an item depend on but the item itself.

    Raises:
        CacheError: it cannot be made.
    """
    return cache_folder(kind, kept_name(kind, *determined_by))


def kept_name(kind: str, *determined_by: str) -> str:
    """What the folder is called, for who only looks whether it is there."""
    names = COMPUTING if kind in OF_TEXTS else (*COMPUTING, DECODING)
    return digest(*map(_with_major, names), *determined_by)


@cache
def _with_major(library: str) -> str:
    return f"{library} {version(library).split('.')[0]}"


class Rows:
    """Items of a store by their places in a list of keys: mapped into memory, read when asked for."""

    def __init__(self, places: Sequence[tuple[Piece, int]]) -> None:
        self._places = places

    def __len__(self) -> int:
        return len(self._places)

    def read(self, item: int, rows: Sequence[int] | None = None) -> Float[Tensor, "r d"]:
        """The rows of one item, or some of them, as float32."""
        piece, number = self._places[item]
        return piece.read(number, rows)


class RowStore:
    """Items under keys in one folder.

    Args:
        folder: from `kept_folder`, or a collection's own.
        dtype: how new rows are kept.
        truth: whether damage is refused, and not healed.

    Raises:
        FileError: damaged, of a store of truth.
    """

    def __init__(self, folder: Path, dtype: RowDtype = "fp32", *, truth: bool = False) -> None:
        self.folder, self.truth = folder, truth
        self.dtype: RowDtype = dtype
        self._stamps = Stamps(folder)
        self._pieces: dict[str, Piece] = {}
        self._places: dict[bytes, tuple[Piece, int]] | None = None
        self.refresh()

    def __len__(self) -> int:
        return len(self._places_by_key())

    def __contains__(self, key: str) -> bool:
        return item_key(key) in self._places_by_key()

    def missing(self, keys: Sequence[str]) -> list[int]:
        """The places of the keys that are not there, each key once, in order."""
        known, places = self._places_by_key(), dict[bytes, int]()
        for place, key in enumerate(keys):
            if (hashed := item_key(key)) not in known:
                places.setdefault(hashed, place)
        return list(places.values())

    def find(self, keys: Sequence[str]) -> Rows:
        """The items under these keys, all of which must be there."""
        known = self._places_by_key()
        return Rows([known[item_key(key)] for key in keys])

    def get(self, keys: Sequence[str], compute: Compute, what: str) -> list[Float[Tensor, "_ d"]]:
        """The rows of these items, [r d] each; those that are not kept yet are computed and kept.

        Raises:
            CacheError: no room.
        """
        fill([self], keys, lambda items: [compute(items)], what)
        rows = self.find(keys)
        return [rows.read(item) for item in range(len(keys))]

    def append(self, keys: Sequence[str], rows: Sequence[Shaped[Tensor, "_ d"]]) -> None:
        """Adds items, all of them or none, in a piece of their own.

        Raises:
            CacheError, FileError: no room; what was there before stays.
        """
        gathered = Gathered(self)
        gathered.add(keys, rows)
        make_folder(self.folder)
        with one_process_at_a_time(self.folder):
            gathered.write()

    def add_piece(
        self, keys: Sequence[bytes], lengths: Sequence[int], rows: Sequence[Shaped[Tensor, "_ e"]], width: int
    ) -> None:
        """Writes one piece, of rows that are encoded already; for who holds the lock."""
        if self.truth and not (self.folder / NAMES).exists():
            self._name_pieces()  # before the first piece, so that a store without this file is a damaged one
        path = write_piece(self.folder, keys, lengths, rows, width, self.dtype)
        self._pieces[path.name] = piece = open_piece(path)
        if self._places is not None:
            self._places.update(_places_in(piece))
        if self.truth:
            self._name_pieces()

    def pieces(self) -> list[Piece]:
        """All pieces, opened; of a store of truth in the order in which they came."""
        named = self._named() if self.truth else []
        return [self._pieces[name] for name in [*named, *(name for name in self._pieces if name not in named)]]

    def merge(self) -> None:
        """Makes one piece of small ones that came one after the other, of a store of truth; all items keep their order.

        For who holds the lock. A store that was filled slowly then opens as quickly as any other.
        """
        groups: list[list[Piece]] = []
        for piece in self.pieces():
            if groups and sum(one.rows.nbytes for one in [*groups[-1], piece]) <= PIECE_BYTES:
                groups[-1].append(piece)
            else:
                groups.append([piece])
        old = set(self._pieces)
        names = [(group[0].path if len(group) == 1 else self._joined(group)).name for group in groups]
        if set(names) != old:
            self._write_names(names)
            for name in old - set(names):
                (self.folder / name).unlink(missing_ok=True)
            self.refresh()

    def refresh(self) -> None:
        """Looks again at what is on disk, which other processes may have added to.

        Raises:
            FileError: damaged, of a store of truth.
        """
        paths = {path.name: path for path in sorted(self.folder.glob(f"*{SUFFIX}"))}
        if self.truth:
            for name in self._named():
                if name not in paths:
                    raise FileError(f"{self.folder / name}: missing. Copy it again from where it came.")
        opened = {name: self._pieces.get(name) or self._open(path) for name, path in paths.items()}
        self._pieces = {name: piece for name, piece in opened.items() if piece}
        self._places = None
        self._stamps.keep(set(self._pieces))

    def check(self) -> None:
        """Hashes every piece to its last byte, whatever the stamps say.

        Raises:
            FileError: damaged, of a store of truth.
        """
        self.refresh()
        for name, piece in list(self._pieces.items()):
            if self._open(piece.path, again=True) is None:
                del self._pieces[name]
        self._places = None
        self._stamps.keep(set(self._pieces))

    def clear_left_over(self) -> None:
        """Removes what killed writers left unfinished; nobody else may be writing."""
        sweep(self.folder)

    def _open(self, path: Path, *, again: bool = False) -> Piece | None:
        try:
            self._stamps.check(path, again=again)
            return open_piece(path)
        except FileNotFoundError:
            return None  # another process has just set it aside
        except (DamagedPieceError, FileError) as error:
            if self.truth:
                raise FileError(f"{path}: damaged ({error}). Copy it again from where it came.") from None
            _heal(path, error)
            return None

    def _places_by_key(self) -> dict[bytes, tuple[Piece, int]]:
        if self._places is None:
            self._places = {}
            for piece in self._pieces.values():
                self._places.update(_places_in(piece))
        return self._places

    def _named(self) -> list[str]:
        path = self.folder / NAMES
        if not path.exists() and not any(self.folder.glob(f"*{SUFFIX}")):
            return []
        listed = read_json(path)
        with contextlib.suppress(KeyError, TypeError, AttributeError):
            if listed["sha256"] == digest(*listed["pieces"]):
                return listed["pieces"]
        raise FileError(f"{path}: damaged, this is not the list that was written. Copy it again from where it came.")

    def _name_pieces(self) -> None:
        with one_process_at_a_time(self.folder / NAMES):
            names = self._named()
            self._write_names(names + [name for name in self._pieces if name not in names])

    def _write_names(self, names: list[str]) -> None:
        write_json(self.folder / NAMES, {"pieces": names, "sha256": digest(*names)})

    def _joined(self, group: Sequence[Piece]) -> Path:
        keys = [key.tobytes() for piece in group for key in piece.keys]
        lengths = [int(length) for piece in group for length in np.diff(piece.starts)]
        rows = [piece.encoded() for piece in group]
        return write_piece(self.folder, keys, lengths, rows, group[0].width, self.dtype)


def _places_in(piece: Piece) -> dict[bytes, tuple[Piece, int]]:
    keys = piece.keys.tobytes()
    return {keys[KEY * number : KEY * (number + 1)]: (piece, number) for number in range(len(piece.keys))}


def item_key(key: str) -> bytes:
    """What an item's key is in a piece: its sha256."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def _heal(path: Path, error: Exception) -> None:
    try:
        say(f"{path} is damaged ({error}): set aside as {set_aside(path).name}, and computed again.")
    except OSError:  # a folder that cannot be written, or another process was quicker
        say(f"{path} is damaged ({error}): passed over, and computed again.")


class Gathered:
    """Items on their way to a store, written as pieces of a good size."""

    def __init__(self, store: RowStore) -> None:
        self.store = store
        self._clear()

    def add(self, keys: Sequence[str], rows: Sequence[Shaped[Tensor, "_ d"]]) -> None:
        """Takes items; writes when there are enough."""
        assert len(keys) == len(rows), f"{len(keys)} keys for the rows of {len(rows)} items"
        if not keys:
            return
        whole = torch.cat(list(rows)).cpu()
        self._keys += map(item_key, keys)
        self._lengths += map(len, rows)
        self._width = whole.shape[1]
        self._rows.append(encode(whole, self.store.dtype))
        self._bytes += self._rows[-1].nbytes
        if self._bytes > PIECE_BYTES or time.monotonic() - self._since > PIECE_SECONDS:
            self.write()

    def write(self) -> None:
        """Writes what has been taken.

        Raises:
            CacheError, FileError: no room.
        """
        keys, lengths, rows, width = self._keys, self._lengths, self._rows, self._width
        self._clear()
        if keys:
            self.store.add_piece(keys, lengths, rows, width)

    def _clear(self) -> None:
        self._keys: list[bytes] = []
        self._lengths: list[int] = []
        self._rows: list[Tensor] = []
        self._bytes, self._width, self._since = 0, 0, time.monotonic()


def fill(
    stores: Sequence[RowStore],
    keys: Sequence[str],
    compute: ComputeAll,
    what: str,
    *,
    sizes: Sequence[int] = (),
    cap_gb: float = float("inf"),
) -> None:
    """Brings stores of the same items to their end together, from where an earlier run stopped.

    Args:
        keys: the items, in the order in which they are computed.
        compute: see `ComputeAll`; asked for items that one of the stores lacks.
        what: said on the progress bar.
        sizes: bytes of each item in one store, for the cap and the room on the disk.
        cap_gb: the most that all these items may take.

    Raises:
        CacheError: over the cap, or no room; what was computed before stays.
    """
    if not (todo := _missing(stores, keys)):
        return
    alone = _cleared(stores)
    _say_sizes(stores, keys, todo, sizes, cap_gb, what)
    groups = _grouped(keys, todo)
    with progress(what, len(todo)) as advance:
        while groups:
            held = [one for one in groups if not _fill_group(stores, keys, one, compute, advance, wait=False)]
            if len(held) == len(groups):  # other processes are at a part of each
                held = _by_part(keys, [item for one in held for item in one.items])
                if len(held) == len(groups):  # each is one part already
                    _fill_group(stores, keys, held.pop(0), compute, advance, wait=True)
            groups = held
    if not alone:
        _cleared(stores)  # the others may have been killed meanwhile


def _cleared(stores: Sequence[RowStore]) -> bool:
    """Takes away what killed writers left, unless another process is filling one of the stores."""
    for store in stores:
        make_folder(store.folder)
    with _held(stores, range(PARTS), wait=False) as alone:
        for store in stores if alone else ():
            store.clear_left_over()
        return alone


@contextlib.contextmanager
def _held(stores: Sequence[RowStore], parts: Iterable[int], *, wait: bool) -> Iterator[bool]:
    """Holds parts of stores against other processes; whether it does, where it does not wait."""
    ordered = sorted(stores, key=lambda one: one.folder)  # one order for all processes: none waits in a circle
    places = (store.folder / f"part-{part:02}" for store in ordered for part in parts)
    with contextlib.ExitStack() as locks:
        yield all(locks.enter_context(one_process_at_a_time(place, wait=wait)) for place in places)


@dataclass
class _Group:
    """Parts of the stores, and which items are in them."""

    parts: list[int] = field(default_factory=list)
    items: list[int] = field(default_factory=list)


def _by_part(keys: Sequence[str], items: Sequence[int]) -> list[_Group]:
    """Items in a group for each part."""
    groups: dict[int, _Group] = {}
    for item in items:
        part = item_key(keys[item])[0] % PARTS
        groups.setdefault(part, _Group([part])).items.append(item)
    return [groups[part] for part in sorted(groups)]


def _grouped(keys: Sequence[str], todo: Sequence[int]) -> list[_Group]:
    """All items; parts stand alone where they hold many."""
    groups = [_Group()]
    for one in _by_part(keys, todo):
        if len(groups[-1].items) >= AT_ONCE:
            groups.append(_Group())
        groups[-1].parts += one.parts
        groups[-1].items += one.items
    return groups


def _fill_group(
    stores: Sequence[RowStore], keys: Sequence[str], group: _Group, compute: ComputeAll, advance: Advance, *, wait: bool
) -> bool:
    """Computes what is still missing of a group; False if another process is at it."""
    with _held(stores, group.parts, wait=wait) as held:
        if held:
            for store in stores:
                store.refresh()  # another process may have been here first
            items = sorted(group.items)
            todo = [items[place] for place in _missing(stores, [keys[item] for item in items])]
            advance(len(items) - len(todo))
            _compute(stores, keys, todo, compute, advance)
        return held


def _missing(stores: Sequence[RowStore], keys: Sequence[str]) -> list[int]:
    return sorted({place for store in stores for place in store.missing(keys)})


def _compute(
    stores: Sequence[RowStore], keys: Sequence[str], todo: Sequence[int], compute: ComputeAll, advance: Advance
) -> None:
    gathered = [Gathered(store) for store in stores]
    try:
        for at in range(0, len(todo), BATCH):
            part = list(todo[at : at + BATCH])
            for one, rows in zip(gathered, compute(part), strict=True):
                new = [(keys[i], row) for i, row in zip(part, rows, strict=True) if keys[i] not in one.store]
                one.add([key for key, _ in new], [row for _, row in new])
            advance(len(part))
    finally:  # what was computed before an interruption stays
        for one in gathered:
            one.write()


def _say_sizes(
    stores: Sequence[RowStore], keys: Sequence[str], todo: Sequence[int], sizes: Sequence[int], cap_gb: float, what: str
) -> None:
    folder, some = stores[0].folder, ""
    if sizes:
        size = len(stores) * sum(dict(zip(keys, sizes, strict=True)).values())
        missing = len(stores) * sum(sizes[i] for i in todo)
        check_room(folder, size, missing, cap_gb)
        some = f", {missing / 1e6:,.0f} MB"
    say(f"{what}: {len(todo):,} to compute{some} in {folder}")


def check_room(folder: Path, size: int, missing: int, cap_gb: float) -> None:
    """Refuses a cache over its cap or over what the disk has left, before anything is computed.

    Args:
        size: bytes of all that is wanted.
        missing: bytes of what is not there yet.

    Raises:
        CacheError: with both figures and what to do.
    """
    if size / 1e9 > cap_gb:
        raise CacheError(
            f"the cache would take {size / 1e9:.1f} GB, its cap is {cap_gb:g} GB. Raise cache_gb, use cache_dtype "
            "bf16 or int8, or train on fewer captions."
        )
    there = folder
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free
    if missing > free:
        raise CacheError(
            f"the cache would take {missing / 1e9:.1f} GB, {folder} has {free / 1e9:.1f} GB left. Set POLYPROMPT_CACHE "
            "elsewhere."
        )
