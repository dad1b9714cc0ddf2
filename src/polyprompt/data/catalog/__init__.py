"""Published data sets, one file each with an `ENTRY`; found by file name, so there is no list to keep."""

from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from polyprompt.data.entry import Entry
from polyprompt.errors import UnknownNameError


@cache
def names() -> tuple[str, ...]:
    """The names of all data sets, sorted."""
    return tuple(sorted(module.name.replace("_", "-") for module in iter_modules(__path__)))


def known(name: str) -> str | None:
    """The catalogue's spelling of a name: "OxfordPets", "oxford_pets" and "oxford-pets" are one; None if it is none."""
    return {_bare(one): one for one in names()}.get(_bare(name)) if name and not set(name) & set("/\\.") else None


def entry(name: str) -> Entry:
    """What is known of a data set.

    Raises:
        UnknownNameError: there is none of this name; near names are offered.
    """
    if (spelling := known(name)) is None:
        raise UnknownNameError("data set", name, names())
    return import_module(f"{__name__}.{spelling.replace('-', '_')}").ENTRY


def entry_of(name: str) -> Entry:
    """As `entry`, of a set that is named alone or with a part of it, as in pacs:photo.

    Raises:
        UnknownNameError: there is no such set, or no such part of it. DataError: it has no parts.
    """
    set_name, _, part = name.partition(":")
    found = entry(set_name)
    if part:
        found.part(known(set_name) or set_name, part)
    return found


def prompt(source: str) -> str:
    """The prompt of the published runs for the set that a source names; "" if it is none of the catalogue."""
    name = known(source.partition("@")[0].partition(":")[0])
    return entry(name).template if name else ""


def _bare(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())
