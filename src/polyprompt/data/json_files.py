"""JSON files of data sets, which several readers look at to see whose they are: parsed once, while one is read."""

import json
from collections.abc import Callable, Iterable
from functools import lru_cache, partial
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
        return json.loads(text, object_pairs_hook=partial(each_once, partial(DoubleKeyError, where)))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not JSON ({error})") from None


def each_once(refused: Callable[[str], Exception], pairs: Iterable[tuple[str, Plain]]) -> dict[str, Plain]:
    """An object of JSON. A key that it has twice raises what `refused` makes of it; a dict would keep the last one."""
    entries: dict[str, Plain] = {}
    for key, value in pairs:
        if key in entries:
            raise refused(key)
        entries[key] = value
    return entries


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
