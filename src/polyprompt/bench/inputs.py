"""What cells read, by fingerprints: part of their identity, and looked at again before and after their work."""

import json
from collections.abc import Iterable
from contextlib import suppress
from functools import cache, partial
from pathlib import Path

from polyprompt.adapt.descriptions import fingerprints
from polyprompt.data.items import Picture
from polyprompt.data.messages import say_once
from polyprompt.data.read import open_labels, read_labelled, read_pairs, read_scored, splits_of
from polyprompt.disk.files import digest, stamp
from polyprompt.errors import DataError
from polyprompt.runs.cells import Cell
from polyprompt.towers.encoder import Encoder
from polyprompt.values import Json, Values


class Inputs:
    """What there is to read now; each set is opened, and each part of it looked at, once until `look_again`."""

    def __init__(self) -> None:
        self._prints: dict[tuple[str, str | None, int], tuple[int, str]] = {}
        self.look_again()

    def look_again(self) -> None:
        """Forgets what was seen; the bytes of pictures whose files are the same by their stamps are not read again."""
        self.opened, self.of_texts, self._of_split = cache(open_labels), cache(_of_texts), cache(self._print_of)

    def of_pictures(self, one: Values, test_split: str, max_bad: int) -> dict[str, str]:
        """The fingerprints of the pictures that a cell trains on, chooses by and is scored on.

        Args:
            one: its `data`, `test` and `also`.
            test_split: of the sets that are only scored.
            max_bad: as in the settings of `adapt`.
        """
        splits = splits_of(self.opened(one["data"]))
        named = {str(split): (one["data"], split) for split in (splits or (None,))}
        tests = [source for source in (one["test"], *one["also"]) if source]
        named |= {
            str(number): (source, test_split if splits_of(self.opened(source)) else None)
            for number, source in enumerate(tests)
        }
        return {role: self._of_split(*place, max_bad) for role, place in named.items()}

    def _print_of(self, source: str, split: str | None, max_bad: int) -> str:
        data, place = read_labelled(self.opened(source), split, max_bad=max_bad), (source, split, max_bad)
        stamps = tuple((picture.key, _stamp(picture)) for picture in data.pictures)
        now = hash((data.class_names, data.labels, data.gaps, stamps))
        if place not in self._prints or self._prints[place][0] != now:
            self._prints[place] = now, data.fingerprint()
        return self._prints[place][1]

    def check(self, cell: Cell, encoder: Encoder) -> None:
        """Refuses a cell whose figures would not be what it is called by.

        Raises:
            DataError: something was changed since the cell was planned.
        """
        if not cell.inputs:
            return  # it reads nothing
        self.look_again()
        now = {"encoder": encoder.fingerprint} | self._read(cell)
        if changed := [role for role, print_ in cell.inputs.items() if now.get(role) != print_]:
            what = {"encoder": cell.encoder, "descriptions": "its descriptions"}.get(changed[0], cell.data)
            raise DataError(f"{what}: changed since this was planned; run the same again, and it is another cell")

    def _read(self, cell: Cell) -> dict[str, str]:
        settings: Json = dict(cell.settings)
        if cell.task != "classify":
            return {"data": self.of_texts(cell.task, cell.data, settings["split"], settings.get("max_bad", 0))}
        pictures = self.of_pictures(settings, settings["test_split"], settings["max_bad"])
        return pictures | fingerprints(settings["descriptions"])


def _stamp(picture: Picture) -> tuple[int, ...]:
    """What another file in a picture's place would have otherwise; nothing of a picture that has no file of its own."""
    where = picture.read.args[0] if isinstance(picture.read, partial) and picture.read.args else None
    with suppress(OSError):
        return tuple(stamp(where)) if isinstance(where, str | Path) else ()
    return ()


def _of_texts(task: str, source: str, split: str, max_bad: int) -> str:
    """The fingerprint of captioned pictures, or of scored sentences."""
    if task == "retrieve":
        return read_pairs(source, split, max_bad=max_bad).fingerprint()
    scored = read_scored(source, split)
    return digest(*scored.first, *scored.second, *map(str, scored.scores))


def warn_of_same(sets: Iterable[tuple[str, object]]) -> None:
    """Says which sets are alike, by a source and what it holds: what decides their figures is equal, so cells are."""
    first: dict[str, str] = {}
    for source, held in sets:
        if (known := first.setdefault(json.dumps(held, sort_keys=True), source)) is not source:
            say_once(source, f"{source}: holds the same as {known}, to the last byte; one result stands for both.")
