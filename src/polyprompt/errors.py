"""Every error a user can meet, in one tree; each message names the thing, the value and the way out.

PolypromptError            one line for the user, exit code 2
├── ConfigError            a setting that cannot be
│   ├── UnknownNameError   a name that does not exist; near names are offered
│   ├── DepthError         a block that a tower does not have
│   └── DependsOnPicturesError   class vectors that hold for no picture but one
├── DataError              captions, labels, tables
│   ├── ImageError         one picture that cannot be read
│   ├── BadPicturesError   more such pictures than allowed
│   ├── DoubleKeyError     an object in JSON that has a key twice
│   ├── SeveralListsError  several lists of a kind where one is meant
│   ├── ShotsError         fewer labelled pictures than a draw asks for
│   └── NoLabelsError      pictures without labels (scikit-learn's, so a ValueError too)
├── TowerError             a backbone that cannot be opened, or not used this way
├── FileError              a file that is damaged, foreign or in the way
│   └── CacheError         a cache that cannot be written
└── TrainingError          a run that cannot go on

Other exceptions in the package are signals within one module, caught there; their names begin with an underscore, but
for `DamagedPieceError` of disk/pieces.py, which a store answers by making the piece again.
"""

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path


def install(extra: str) -> str:
    """How to get the packages of an extra of pyproject.toml, for all that a user may have polyprompt from."""
    return f"pip install '.[{extra}]' in a clone of polyprompt, 'polyprompt[{extra}]' of a release"


def in_one_line(error: Exception) -> str:
    """What another library says, which may be several lines."""
    return " ".join(str(error).split())


class PolypromptError(Exception):
    """Base of all errors that are the input's fault and not ours."""


class ConfigError(PolypromptError):
    """A setting that cannot be: which one, its value, what is allowed."""


class UnknownNameError(ConfigError):
    """A name that does not exist, with the nearest ones that do."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        spelt = {one.casefold(): one for one in reversed(names)}  # people write CoOp and MaPLe
        near = [spelt[one] for one in difflib.get_close_matches(name.casefold(), spelt, n=3, cutoff=0.5)]
        hint = f"Did you mean {' or '.join(map(repr, near))}?" if near else f"Known: {', '.join(names)}."
        super().__init__(f"no {kind} is called {name!r}. {hint}")


class DepthError(ConfigError):
    """A block that a tower does not have; the message says it, and behind a semicolon what to give instead."""

    @property
    def why(self) -> str:
        """The message without what to give, for a caller who cannot give it."""
        return str(self).partition("; ")[0]


class DependsOnPicturesError(ConfigError):
    """Class vectors are wanted that hold for all pictures, and a method makes them for each (CoCoOp)."""


class DataError(PolypromptError):
    """Captions, labels or tables that do not fit together."""


class ImageError(DataError):
    """One picture that cannot be read; `source` names it."""

    def __init__(self, source: str, why: str) -> None:
        super().__init__(f"{source}: {why}")
        self.source = source
        self.why = why

    def advised(self, option: str) -> str:
        """The message, and which option leaves such pictures out."""
        return f"{self}. Mend it or take it out, or leave up to ten such out with {option}."


class DoubleKeyError(DataError):
    """An object in JSON that has a key twice, of which parsers keep the last."""

    def __init__(self, where: str, key: str) -> None:
        super().__init__(f"{where}: {key!r:.60} stands twice in one object; take out the one that is not meant")


class SeveralListsError(DataError):
    """Several lists of one kind lie in a folder; `files` are they."""

    def __init__(self, files: Sequence[Path]) -> None:
        names = " and ".join(file.name for file in files)
        super().__init__(f"{files[0].parent}: holds {names}; give one of them, such as {files[0]}")
        self.files = files


class BadPicturesError(DataError):
    """More pictures are missing or unreadable than allowed; `lines` says of each what is wrong, one line each."""

    def __init__(self, name: str, lines: Sequence[str], allowed: int) -> None:
        more = f" (and {len(lines) - 1:,} more)" if len(lines) > 1 else ""
        super().__init__(
            f"{name}: {lines[0]}{more}. Mend or remove it, or let up to {max(len(lines), 10)} pictures "
            f"be skipped (max_bad, now {allowed})."
        )
        self.lines = tuple(lines)


class ShotsError(DataError):
    """Fewer labelled pictures than the draw asks for."""

    def __init__(self, name: str, class_name: str, have: int, want: int) -> None:
        fewer = f"Ask for {have} or fewer, add" if have else "Add"
        super().__init__(
            f"{name}: class {class_name!r} has {have} pictures, {want} shots were asked for. "
            f"{fewer} pictures, or take what there is: --set take_fewer=true."
        )


class NoLabelsError(DataError, ValueError):
    """Pictures without labels; a ValueError, since scikit-learn wants one."""


class TowerError(PolypromptError):
    """A backbone that cannot be opened, or that cannot be used this way."""


class FileError(PolypromptError):
    """A file that is damaged, comes from elsewhere or stands in the way."""


class CacheError(FileError):
    """A cache that cannot be written: no room, or over its cap."""


class TrainingError(PolypromptError):
    """A run that cannot go on; what was computed before stays on disk."""
