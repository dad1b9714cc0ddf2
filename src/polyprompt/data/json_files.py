"""JSON files of data sets, which several readers look at to see whose they are: parsed once, while one is read."""

import json
from functools import lru_cache
from pathlib import Path

from polyprompt.disk.files import check_regular
from polyprompt.errors import DataError, DoubleKeyError
from polyprompt.values import Plain


def content(file: Path) -> Plain:
    """What a JSON file holds; nobody may change it.

    Raises:
        DataError: missing, unreadable, not JSON, or an object has one key twice.
    """
    try:
        check_regular(file)
        state = file.stat()
        return _parsed(file, state.st_mtime_ns, state.st_size)
    except FileNotFoundError:
        raise DataError(f"{file}: no such file") from None
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror})") from None


def parsed(text: str | bytes, where: str) -> Plain:
    """What a text of JSON holds.

    Raises:
        DataError: it is not JSON. DoubleKeyError: an object has one key twice.
    """
    try:
        return json.loads(text, object_pairs_hook=_object)
    except _TwiceError as error:
        raise DoubleKeyError(where, *error.args) from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not JSON ({error})") from None


def forget() -> None:
    """Lets go of the file that was read last: a large one takes a gigabyte."""
    _parsed.cache_clear()


def field(entry: Plain, name: str, kind: type, where: str) -> Plain:
    """A field of an object in a JSON file.

    Raises:
        DataError: `entry` is no object, or the field is missing or of another type.
    """
    if not isinstance(entry, dict):
        raise DataError(f"{where}: is a {type(entry).__name__}; it must be an object in braces with {name!r}")
    if not isinstance(entry.get(name), kind) or isinstance(entry.get(name), bool):
        raise DataError(
            f"{where}: {name!r} is {entry.get(name)!r:.60}, must be a {kind.__name__}; "
            f"found the fields {', '.join(map(repr, entry)) or 'none'}"
        )
    return entry[name]


@lru_cache(maxsize=1)
def _parsed(file: Path, changed: int, size: int) -> Plain:
    return parsed(file.read_bytes(), str(file))


class _TwiceError(Exception):
    """A key that an object has twice."""


def _object(pairs: list[tuple[str, Plain]]) -> dict[str, Plain]:
    entries = dict(pairs)
    if len(entries) < len(pairs):
        names = [name for name, _ in pairs]
        raise _TwiceError(next(name for name in names if names.count(name) > 1))
    return entries
