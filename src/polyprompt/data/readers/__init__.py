"""One file per format. A reader is a module with

    WHAT            a few words on what it reads, for messages
    fits(source)    whether a source looks like its format; of a folder it may look at names only
    rows(source)    a `Row` for each caption or labelled picture, or a `ScoredRow` for each pair of sentences

`class_folders`, which fits almost any folder, is taken only where no other one holds what is wanted.
"""

from collections.abc import Iterable
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Protocol, cast, runtime_checkable

from polyprompt.data.rows import Row, ScoredRow


@runtime_checkable
class Reader(Protocol):
    """A format; a module is one."""

    WHAT: str

    def fits(self, source: str) -> bool: ...  # noqa: D102

    def rows(self, source: str) -> Iterable[Row | ScoredRow]: ...  # noqa: D102


@cache
def readers() -> tuple[Reader, ...]:
    """All files of this folder."""
    modules = [import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__)]
    return tuple(cast(Reader, module) for module in modules)
