"""A collection: pictures embedded once, with what is known about them, in a folder that a model goes with.

    collection.json   whose rows these are: model, fingerprint, prompts, frames, the folder that the pictures lie in
    rows/             truth: a picture's unit row in fp16, under the hash of its content
    thumbnails/       truth: small JPEGs under the same hashes
    files/            truth: a log of paths, dates, sizes and hashes, batch by batch; what came last holds
    index/            made from these at any time: files by row in SQLite, codes for large collections

A place among the rows is what the index and all answers name; places never change, rows are only added.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

from polyprompt.disk.files import (
    check_manifest,
    digest,
    make_folder,
    one_process_at_a_time,
    read_json,
    sha256,
    sweep,
    writing,
)
from polyprompt.disk.pieces import DamagedPieceError, Piece, Stamps
from polyprompt.disk.places import nearby
from polyprompt.disk.rows import NAMES, RowStore, item_key
from polyprompt.disk.sealed import HASH, read_sealed, write_sealed
from polyprompt.errors import FileError, install
from polyprompt.progress import say
from polyprompt.search import items
from polyprompt.search.codes import MANY, Codes, build
from polyprompt.search.items import File, Items, Line
from polyprompt.search.models import Embedder
from polyprompt.search.vectors import Vectors, among

CONFIG, INDEX = "collection.json", "index.json"
FORMAT = "polyprompt-collection-1"
TEXTS = [
    *("a dog", "a cat on a sofa", "people at a table", "a beach", "mountains in the snow", "a city at night"),
    *("a red car", "a child with a ball", "a birthday cake", "a wedding", "flowers in a garden", "a football match"),
    *("a screenshot of a program", "a drawing", "a map", "a receipt", "two friends who laugh", "a train at a station"),
    *("a boat on a lake", "a bird in the sky", "a horse that runs", "an old house", "a kitchen", "a sunset"),
    *("rain in the street", "a bicycle", "a concert", "a portrait", "something to eat", "a sad face"),
    *("an empty room", "black and white", "a black cat on a roof", "children who play football in the rain"),
    *("a man with a beard", "a woman in a red dress", "a baby that sleeps", "a crowd in front of a stage", "a selfie"),
    *("an old car by the road", "a plane in the clouds", "a bridge over a river", "a church", "a market with fruit"),
    *("a cup of coffee on a table", "a pizza", "a glass of wine", "a bowl of soup", "a book", "a phone", "a computer"),
    *("a tree without leaves", "a forest in fog", "the moon", "fireworks", "a waterfall", "a lake in the morning"),
    *("a sheep on a meadow", "a snake", "a butterfly on a flower", "a logo", "a page of text"),
]
"""What people ask of their pictures: codes are chosen by such queries."""


@dataclass(frozen=True)
class About:
    """What stands in collection.json."""

    root: str
    """The folder that the paths are below, whole; another source of pictures by its name."""
    model: str
    fingerprint: str
    prompts: tuple[str, ...]
    frames: int


def is_collection(folder: str | Path) -> bool:
    """Whether a folder is one."""
    return (Path(folder) / CONFIG).is_file()


def write_about(folder: Path, about: About) -> None:
    """Begins a collection, or says where its pictures lie now."""
    make_folder(folder)
    write_sealed(folder / CONFIG, {"format": FORMAT, **vars(about)})


def read_about(folder: Path) -> About:
    """What a collection is.

    Raises:
        FileError: there is none, or its head is damaged.
    """
    if not is_collection(folder):
        raise FileError(
            f"{folder}: no collection here ({CONFIG} is missing).{nearby(folder)} Make one with `polyprompt index`."
        )
    saved = read_json(folder / CONFIG)
    if isinstance(saved, dict) and HASH in saved:
        saved = read_sealed(folder / CONFIG, "Copy it again from where it came.")
    else:  # of an earlier version
        check_manifest(folder, [CONFIG])
    try:
        form, root, model, fingerprint = (saved[key] for key in ("format", "root", "model", "fingerprint"))
        if form != FORMAT:
            raise FileError(f"{folder / CONFIG}: format is {form!r}, this version reads {FORMAT}.")
        return About(root, model, fingerprint, tuple(saved["prompts"]), int(saved["frames"]))
    except (KeyError, TypeError, ValueError) as error:
        raise FileError(f"{folder / CONFIG}: damaged, it lacks {error}.") from None


class Stores:
    """The three stores of truth."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows = RowStore(folder / "rows", "fp16", truth=True)

    @cached_property
    def thumbnails(self) -> RowStore:
        """Small JPEGs, each under the key of its row."""
        return RowStore(self.folder / "thumbnails", "bytes", truth=True)

    @cached_property
    def files(self) -> RowStore:
        """The log of files, a piece for each batch of an update."""
        return RowStore(self.folder / "files", "bytes", truth=True)

    @property
    def state(self) -> str:
        """A hash that changes whenever one of them does, or the way in which the index is made."""
        names = (self.folder / name / NAMES for name in ("rows", "files"))
        return digest("3", *(path.read_bytes() if path.exists() else b"" for path in names))

    def latest(self, names: Sequence[str] | None = None) -> dict[str, Line]:
        """What the log has last of each path; `names`: of the pieces that count, if not all do."""
        return {str(line["path"]): line for line in self.lines(names)}

    def lines(self, names: Sequence[str] | None = None) -> Iterator[Line]:
        """The log line by line, the oldest first; `names`: of the pieces that count, if not all do."""
        for piece in self.files.pieces():
            if names is not None and piece.path.name not in names:
                continue
            for number in range(len(piece.keys)):
                head, *lines = piece.raw(number).decode().splitlines()
                assert head.startswith("{"), "the first line says when"
                yield from map(json.loads, lines)


class Shown(NamedTuple):
    """What index.json says."""

    state: str
    """Of the truth that it was made from."""
    files: str
    """The SQLite file."""
    codes: str
    """The codes; empty where there are none."""
    about: dict[str, int | float]
    """How the codes were chosen, and their recall."""


class Collection:
    """A collection that is open for searching.

    Raises:
        FileError: there is none, or its truth is damaged. An index that is missing, damaged or old is made again.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.about = read_about(self.folder)
        self.stores = Stores(self.folder)
        self.shown = self._index()
        self.items = Items(self.folder / "index" / self.shown.files)
        self.vectors = Vectors(self.stores.rows.pieces())

    def __len__(self) -> int:
        return len(self.vectors)

    def __contains__(self, row: int) -> bool:
        """Whether files have a row."""
        return row < len(self) if self.live is None else bool(among(np.array([row]), self.live)[0])

    @cached_property
    def live(self) -> Int64[np.ndarray, "r"] | None:
        """The rows that files have; None: all of them."""
        rows = self.items.rows()
        return None if len(rows) == len(self.vectors) else rows

    @cached_property
    def _thumbnails(self) -> dict[bytes, tuple[Piece, int]]:
        pieces = self.stores.thumbnails.pieces()
        return {key.tobytes(): (piece, number) for piece in pieces for number, key in enumerate(piece.keys)}

    def thumbnail(self, row: int) -> bytes:
        """A small JPEG.

        Raises:
            FileError: it is damaged or gone.
        """
        if (key := self.vectors.key(row)) not in self._thumbnails:
            raise _lacking(self.folder, "thumbnails", 1)
        piece, number = self._thumbnails[key]
        piece.check_size()
        return piece.raw(number)

    def place(self, file: File) -> Path:
        """Where a file lies."""
        return Path(self.about.root) / file.raw

    @cached_property
    def codes(self) -> Codes | None:
        """What makes a large collection quick; None: all rows are scored."""
        if not self.shown.codes:
            return None
        try:
            return Codes.read(self.folder / "index" / self.shown.codes, int(self.shown.about["reread"]))
        except ImportError:
            say(f"{self.folder}: is searched row by row; its codes need the package faiss; {install('search')}.")
            return None

    def check(self) -> None:
        """Hashes all of it to the last byte.

        Raises:
            FileError: something of its truth is damaged. A damaged index is told and made again.
        """
        for store in (self.stores.rows, self.stores.thumbnails, self.stores.files):
            store.check()
        named = {item_key(str(line["content"])) for line in self.stores.latest().values() if "content" in line}
        if lacking := len((named & self.vectors.places().keys()) - self._thumbnails.keys()):  # others come with the log
            raise _lacking(self.folder, "thumbnails", lacking)
        folder = self.folder / "index"
        for name in filter(None, (self.shown.files, self.shown.codes)):
            if not (folder / name).is_file() or sha256(folder / name) != (folder / name).stem:
                say(f"{folder / name}: damaged, made again from the rows.")
                self.shown = rebuild(self.folder, self.stores)

    def _index(self) -> Shown:
        index = read_index(self.folder)
        if index is not None and index.state == self.stores.state:
            return index
        with one_process_at_a_time(self.folder):
            self.stores = Stores(self.folder)  # whoever held the lock may have added to them
            index = read_index(self.folder)
            if index is not None and index.state == self.stores.state:
                return index
            if not (self.folder / "files" / NAMES).exists():  # it would look empty, and its index be lost, too
                raise FileError(
                    f"{self.folder / 'files'}: missing. Copy it again from where it came, or make it again with "
                    "`polyprompt index`."
                )
            say(f"{self.folder / 'index'}: missing, damaged or older than the rows; made again from them.")
            return rebuild(self.folder, self.stores)


def read_index(folder: Path) -> Shown | None:
    """What index.json says, if its files are what their names say."""
    place = folder / "index"
    try:
        shown = Shown(**read_sealed(place / INDEX, "It is made again.", sealed=True)["index"])
        stamps = Stamps(place)
        for name in filter(None, (shown.files, shown.codes)):
            stamps.check(place / name)
        stamps.keep({shown.files, shown.codes} - {""})
    except (FileError, KeyError, TypeError, DamagedPieceError, OSError):
        return None
    return shown


def _codes(place: Path, vectors: Vectors, folder: Path, model: Embedder | None) -> tuple[str, dict[str, int | float]]:
    """The file of the codes and what was measured of them; no file where there are few rows, or no faiss."""
    if len(vectors) < MANY:
        return "", {}
    if find_spec("faiss") is None:
        say(f"{folder}: more than {MANY:,} pictures are found sooner with the package faiss; {install('search')}.")
        return "", {}
    texts = None if model is None else model.texts(TEXTS)
    codes, about = build(vectors, len(read_about(folder).prompts) or 1, texts)
    codes.write(place / "codes.new")
    return _named(place / "codes.new", ".safetensors"), about


def _named(path: Path, ending: str) -> str:
    """Gives a file the hash of its bytes for a name."""
    name = sha256(path) + ending
    with writing(path.with_name(name)):
        path.replace(path.with_name(name))
    return name


def _lacking(folder: Path, store: str, count: int) -> FileError:
    """Rows and thumbnails are written before the log names them, so one that is not there was lost."""
    return FileError(f"{folder / store}: {count:,} missing. Copy it again from where it came.")


def rebuild(folder: Path, stores: Stores, model: Embedder | None = None) -> Shown:
    """Makes the index from the truth; for who holds the lock.

    Args:
        model: gives texts to choose the codes of a large collection by.
    """
    place = make_folder(folder / "index")
    sweep(place)
    try:
        return _rebuilt(place, stores, model)
    except FileError:
        for new in place.glob("*.new"):
            with suppress(OSError):
                new.unlink()
        raise


def _rebuilt(place: Path, stores: Stores, model: Embedder | None) -> Shown:
    vectors = Vectors(stores.rows.pieces())
    places = vectors.places()
    latest = stores.latest()
    contents = {str(line["content"]) for line in latest.values() if "content" in line}
    row_of = {content: places[key] for content in contents if (key := item_key(content)) in places}
    if lacking := len(contents) - len(row_of):
        raise _lacking(stores.folder, "rows", lacking)
    items.write(place / "files.new", latest, row_of)
    name = _named(place / "files.new", ".sqlite")
    shown = Shown(stores.state, name, *_codes(place, vectors, stores.folder, model))
    write_sealed(place / INDEX, {"index": shown._asdict()})  # a seal has `files` of its own
    for old in place.iterdir():
        if old.name not in (INDEX, shown.files, shown.codes, "checked.json"):
            old.unlink()
    return shown
