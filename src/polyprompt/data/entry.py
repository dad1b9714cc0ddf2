"""What the catalogue says of a published data set: where it lies, how it is read, what it should hold, its source.

A set is one file in `catalog/` with an `ENTRY`; its name is the file's, with - for _.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from polyprompt.data.files import first_there, packed
from polyprompt.data.rows import Row, ScoredRow
from polyprompt.errors import DataError, UnknownNameError

ROOT = "POLYPROMPT_DATA"
"""The environment variable that names the folder with all data sets in it."""

Kind = Literal["captions", "labels", "scores"]
Reading = Callable[[Path, str, str | None], Iterable[Row | ScoredRow]]
"""The rows of a set: its folder, the part ("" if it has none), the split that is wanted (None for all); rows of other
splits may be among them."""


@dataclass(frozen=True, kw_only=True)
class Download:
    """One file that anybody may fetch."""

    url: str
    folder: str = ""
    """Where it goes, below the folder of all data sets; "" where its archive holds the set's folder."""
    sha256: str = ""
    md5: str = ""
    """What its publisher or torchvision states; both may be unknown."""
    inner: tuple[str, ...] = ()
    """Archives within it, which are unpacked where they lie."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A published data set.

    Counts are what the published set holds; another number is told when it is read, since figures are then not
    comparable with published ones.
    """

    title: str
    holds: Kind
    rows: Reading
    folders: tuple[str, ...]
    """Where it lies below the root: as CoOp has it, then as others unpack it. None: it needs no folder."""
    splits: tuple[str, ...] = ()
    """The official splits; none where all of a set is scored, or where a part has none."""
    splits_of_part: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Those of parts that have others."""
    parts: tuple[str, ...] = ()
    """What may stand behind the name and a colon: the domains of `pacs:photo`, in the order of DomainBed's folders; the
    two protocols of `msrvtt:1k-a`."""
    default_part: str = ""
    """The part that is meant where none is named; "" where one must be."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Pictures (or pairs of sentences) by split, by part, or by "part/split"."""
    captions: Mapping[str, int] = field(default_factory=dict)
    """Captions, by the same names."""
    classes: int = 0
    template: str = ""
    """The prompt that the published runs use."""
    renamed: Mapping[str, str] = field(default_factory=dict)
    """Class names that the published runs prompt with, where the set itself has others."""
    twins: tuple[str, ...] = ()
    """Names that two classes share in the published list."""
    order: str = ""
    """How labels are numbered; it decides the base half."""
    page: str
    licence: str
    form: bool = False
    """Whether its page asks for a form or an account."""
    steps: tuple[str, ...] = ()
    """What to do by hand, where nothing, or not all, can be fetched."""
    downloads: tuple[Download, ...] = ()
    notes: tuple[str, ...] = ()
    """What is odd about it, in a line each."""

    def folder(self, name: str, root: Path) -> Path:
        """Where it lies below a root, or the root itself if that is called like it.

        Raises:
            DataError: it is not there; the message says where it was looked for.
        """
        candidates = [root / place for place in self.folders]
        if any(_ends(Path(os.path.abspath(root)), Path(place)) for place in self.folders):
            candidates.append(root)
        if (folder := first_there(candidates)) is None:
            places = " or ".join(str(place) for place in candidates)
            raise DataError(
                f"{name}: not there; looked for {places}.{packed(root)} "
                f"`polyprompt data fetch {name} {root}` brings it, or says how."
            )
        return folder

    def part(self, name: str, part: str) -> str:
        """The part that is meant; of several, photo+sketch, each.

        Raises:
            UnknownNameError: there is no such part. DataError: one has to be named.
        """
        if "+" in part:
            return "+".join(self.part(name, one) for one in part.split("+"))
        spelling = {known.casefold(): known for known in self.parts}.get(part.casefold(), "")
        if part and not spelling:
            if not self.parts:
                raise DataError(f"{name}: has no parts, but {name}:{part} names one")
            raise UnknownNameError(f"part of {name}", part, self.parts)
        if self.parts and not (spelling or self.default_part):
            raise DataError(f"{name}: name a part of it: {', '.join(f'{name}:{known}' for known in self.parts)}")
        return spelling or self.default_part

    def splits_in(self, part: str) -> tuple[str, ...]:
        """The official splits of a part."""
        return self.splits_of_part.get(part.split("+")[0], self.splits)

    def expected(self, counts: Mapping[str, int], part: str, split: str | None) -> int | None:
        """How many the published set holds in a part and a split; None if not known, and for splits together.

        Splits may share pictures: ImageNet's val is its test, too.
        """
        if split is None and self.splits_in(part):
            return None
        if "+" in part:
            numbers = [self.expected(counts, one, split) for one in part.split("+")]
            return None if None in numbers else sum(one or 0 for one in numbers)
        names = [f"{part}/{split}", split, part, ""]
        return next((counts[name] for name in names if name in counts), None)


def _ends(path: Path, place: Path) -> bool:
    """Whether a path ends as a place below a root does: .../fgvc-aircraft-2013b/data, not any folder "data"."""
    return bool(place.parts) and path.parts[-len(place.parts) :] == place.parts
