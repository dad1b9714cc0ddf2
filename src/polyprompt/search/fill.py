"""Brings a collection up to date with its folder: what is new or changed is embedded, all else is known already.

A file whose size and date are known is not read. One that is read is known by its content: a copy, or a file that was
moved, is not embedded again. What has gone is marked, and its row stays. Whatever ends it, what was embedded stays.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from shutil import copyfile, copytree, ignore_patterns

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from polyprompt.data.files import readable
from polyprompt.disk.files import (
    cache_folder,
    digest,
    make_folder,
    one_process_at_a_time,
    set_aside,
    sweep,
    whole_folder,
)
from polyprompt.disk.rows import PIECE_BYTES, PIECE_SECONDS, RowStore, kept_folder, kept_name
from polyprompt.errors import CacheError, ConfigError, FileError
from polyprompt.media.frames import over_frames
from polyprompt.progress import progress, say
from polyprompt.search.candidates import Candidate, Facts, Seen, read_ahead, stacked
from polyprompt.search.collection import (
    CONFIG,
    About,
    Stores,
    is_collection,
    read_about,
    read_index,
    rebuild,
    write_about,
)
from polyprompt.search.items import Line
from polyprompt.search.models import Embedder, check_model

HIDDEN = ignore_patterns(".*")
"""What writers that were killed have left."""
FACTS = ("width", "height", "moves", "taken", "camera")


@dataclass
class Done:
    """What was done with the files of a folder."""

    counts: Counter[str] = field(default_factory=Counter)
    """new, changed, moved, copied, gone, unchanged, embedded."""
    bad: list[tuple[str, str]] = field(default_factory=list)
    """Files that cannot be read, and why."""
    moved: Counter[str] = field(default_factory=Counter)
    """How many files with each content have moved."""

    def __str__(self) -> str:
        kinds = ("new", "changed", "moved", "copied", "gone", "unchanged")
        counted = ", ".join(f"{self.counts[kind]:,} {kind}" for kind in kinds if self.counts[kind]) or "nothing there"
        return f"{counted}; {self.counts['embedded']:,} embedded, {len(self.bad):,} unreadable"


Elsewhere = Callable[[Sequence[Candidate], Sequence[str], str, Stores], Done]
"""What embeds files in other processes: those to look at, paths that are gone, the model's fingerprint, the stores."""


def index(
    model: Embedder, candidates: Sequence[Candidate], root: str, folder: Path, elsewhere: Elsewhere | None = None
) -> Done:
    """Makes a collection, or brings it up to date.

    Args:
        model: what embeds; a collection belongs to one.
        candidates: all that there is now.
        root: the folder that the files lie in, whole; another source by its name.
        folder: the collection's own; made if it is not there.
        elsewhere: what embeds, if not this process.

    Raises:
        ConfigError: the collection was made with another model, or of another folder that is still there.
        FileError: it is damaged, or cannot be written.
    """
    make_folder(folder.parent)
    with one_process_at_a_time(folder):
        sweep(folder.parent, folder.name)
        sweep(folder)
        if not folder.exists():
            _take_over(model, root, folder)
        _begin(model, root, folder)
        stores = Stores(folder)
        for store in (stores.rows, stores.thumbnails, stores.files):
            store.clear_left_over()
        work = Work(model, stores, stores.latest())
        try:
            work.run(candidates, elsewhere)
        finally:
            work.keep()
        for store in (stores.rows, stores.thumbnails, stores.files):
            store.merge()
        shown = read_index(folder)
        if shown is None or shown.state != stores.state:
            rebuild(folder, stores, model)
    return work.done


def _take_over(model: Embedder, root: str, folder: Path) -> None:
    """Begins a collection as a copy of what a search of the same pictures has kept in the cache, if that is whole."""
    with suppress(FileError):  # else all is embedded
        kept = cache_folder("collections") / kept_name("collections", model.fingerprint, root)
        if not is_collection(kept):
            return
        with one_process_at_a_time(kept), whole_folder(folder, manifest=False) as temporary:
            copyfile(kept / CONFIG, temporary / CONFIG)
            read_about(temporary)
            stores = Stores(kept)
            for store in (stores.rows, stores.thumbnails, stores.files):
                copytree(store.folder, temporary / store.folder.name, copy_function=copyfile, ignore=HIDDEN)
                RowStore(temporary / store.folder.name, store.dtype, truth=True).check()
        say(f"{folder}: begins with what a search of these pictures has kept in the cache.")


def _begin(model: Embedder, root: str, folder: Path) -> None:
    about = About(root, model.name, model.fingerprint, model.prompts, model.frames)
    if not is_collection(folder):
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ConfigError(f"{folder}: holds other things than a collection; choose an empty folder, or a new one.")
        return write_about(folder, about)
    old = read_about(folder)
    check_model(model, old.model, old.fingerprint, str(folder))
    if old.root != root:
        if Path(old.root).exists():
            raise ConfigError(f"{folder}: is a collection of {old.root}; choose another folder for that of {root}.")
        say(f"{folder}: its pictures lay in {old.root}, and lie in {root} now.")
    if (old.root, old.model) != (root, model.name):
        write_about(folder, about)
    return None


def in_cache(model: Embedder, candidates: Sequence[Candidate], root: str) -> tuple[Path, Done]:
    """The same in the user's cache, where a damaged collection is set aside and made again; its folder."""
    folder = kept_folder("collections", model.fingerprint, root)
    try:
        return folder, index(model, candidates, root, folder)
    except FileError as error:
        if isinstance(error, CacheError):
            raise
        say(f"{error} It is only a cache: set aside as {set_aside(folder).name}, and made again.")
        return folder, index(model, candidates, root, folder)


class Work:
    """One pass over what there is, or over a part of it; `before` is what the log had last of each path."""

    def __init__(self, model: Embedder, stores: Stores, before: Mapping[str, Line]) -> None:
        self.model, self.stores, self.done = model, stores, Done()
        self.before = before
        self.facts = {str(line["content"]): _facts(line) for line in self.before.values() if "content" in line}
        self.paths_of: dict[str, list[str]] = {}
        for path, line in self.before.items():
            if "content" in line and not line.get("gone"):
                self.paths_of.setdefault(str(line["content"]), []).append(path)
        self._clear()

    def run(self, candidates: Sequence[Candidate], elsewhere: Elsewhere | None) -> None:
        """Looks at what may be new, embeds what is, and notes what has gone."""
        here = {one.path for one in candidates}
        todo = [one for one in candidates if not self._unchanged(one)]
        gone = [path for path, line in self.before.items() if path not in here and not line.get("gone")]
        if elsewhere is None:
            self.embed(todo, here)
        elif todo:
            self.done = elsewhere(todo, gone, self.model.fingerprint, self.stores)
        self.done.counts["unchanged"] += len(candidates) - len(todo)
        for path in gone:
            line = self.before[path] | {"gone": True}
            content = str(line.get("content", ""))
            if self.done.moved[content]:
                self.done.moved[content] -= 1
                line["moved"] = True
            elif content:
                self.done.counts["gone"] += 1
            self._lines.append(line)

    def embed(self, todo: Sequence[Candidate], here: Set[str]) -> None:
        """Looks at files, and embeds those whose content is new; `here` are paths that are still there."""
        batches = read_ahead(todo, self.facts.__contains__, self.model.preprocess, self.model.frames)
        with progress("Pictures", len(todo)) as advance:
            for seen in batches:
                self._take(seen, here)
                advance(len(seen))

    def keep(self) -> None:
        """Writes what has been gathered: rows before the log that names them, so that the log is never ahead."""
        if self._rows:
            keys = list(self._rows)
            _append(self.stores.rows, keys, [row[None] for row, _ in self._rows.values()])
            _append(self.stores.thumbnails, keys, [as_bytes(jpeg) for _, jpeg in self._rows.values()])
        if self._lines:
            head = json.dumps({"at": datetime.now(UTC).isoformat()})
            text = "\n".join([head, *(json.dumps(line) for line in self._lines)])
            self.stores.files.append([digest(text)], [as_bytes(text.encode())])
        self._clear()

    def _take(self, seen: Sequence[Seen], here: Set[str]) -> None:
        new = {one.content: one for one in seen if one.facts is not None and one.content not in self.facts}
        if new:
            pixels, frames = stacked(list(new.values()))
            rows = over_frames(self.model.images(pixels), frames).float()
            for (content, one), row in zip(new.items(), rows, strict=True):
                assert one.facts is not None
                self.facts[content] = one.facts
                self._rows[content] = row, one.thumbnail
            self.done.counts["embedded"] += len(new)
            self._bytes += sum(len(one.thumbnail) + 4 * rows.shape[1] for one in new.values())
        for one in seen:
            self._note(one, here)
        if self._bytes > PIECE_BYTES or time.monotonic() - self._since > PIECE_SECONDS:
            self.keep()

    def _note(self, one: Seen, here: Set[str]) -> None:
        path, old = one.candidate.path, self.before.get(one.candidate.path)
        if one.bad:
            self.done.bad.append((readable(path), one.bad))
            say(f"left out, {one.candidate.picture.key}: {one.bad}")
        else:
            kind = self._kind(one, old, here)
            self.done.counts[kind] += 1
            if kind == "moved":
                self.done.moved[one.content] += 1
        line = one.line(self.facts.get(one.content))
        if line != old:
            self._lines.append(line)

    def _kind(self, one: Seen, old: Line | None, here: Set[str]) -> str:
        if old is not None and "content" in old and not old.get("gone"):
            return "unchanged" if old["content"] == one.content else "changed"
        others = self.paths_of.get(one.content)
        if not others:
            return "new"
        return "copied" if any(path in here for path in others) else "moved"

    def _unchanged(self, one: Candidate) -> bool:
        line = self.before.get(one.path)
        if line is None or "content" not in line or line.get("gone") or one.changed < 0:
            return False
        return (line["size"], line["changed"]) == (one.size, one.changed)

    def _clear(self) -> None:
        self._rows: dict[str, tuple[Tensor, bytes]] = {}
        self._lines: list[Line] = []
        self._bytes, self._since = 0, time.monotonic()


def _facts(line: Line) -> Facts:
    known = {key: line[key] for key in FACTS if key in line}
    return Facts(**{"width": 0, "height": 0, "moves": False} | known)  # pyright: ignore[reportArgumentType]


def _append(store: RowStore, keys: Sequence[str], rows: Sequence[Tensor]) -> None:
    """Adds items; those that a killed run or another worker wrote are there already."""
    new = [place for place, key in enumerate(keys) if key not in store]
    if new:
        store.append([keys[place] for place in new], [rows[place] for place in new])


def as_bytes(data: bytes) -> UInt8[Tensor, "r 1"]:
    """Bytes as rows of one number each, as a store keeps them."""
    return torch.from_numpy(np.frombuffer(data, np.uint8).copy())[:, None]
