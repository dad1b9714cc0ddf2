"""JSON files of data sets, which several readers look at to see whose they are: parsed once, while one is read."""

import json
from functools import lru_cache
from pathlib import Path

from polyprompt.disk.files import check_regular
from polyprompt.errors import DataError
from polyprompt.values import Plain


def content(file: Path) -> Plain:
    """What a JSON file holds; nobody may change it.

    Raises:
        DataError: missing, unreadable, or not JSON.
    """
    try:
        check_regular(file)
        state = file.stat()
        return _parsed(file, state.st_mtime_ns, state.st_size)
    except FileNotFoundError:
        raise DataError(f"{file}: no such file") from None
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file}: not JSON ({error})") from None


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
    return json.loads(file.read_bytes())
