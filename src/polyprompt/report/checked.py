"""JSON files read as the type that they should be, or refused in one line."""

from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from polyprompt.disk.files import read_json
from polyprompt.errors import FileError
from polyprompt.values import Foreign, Plain


def read_checked(kind: Foreign, path: Path) -> Foreign:
    """The content of a JSON file as `kind`, a pydantic model or any type that pydantic knows.

    Raises:
        FileError: the file is missing, is not JSON, or is something else; the message names the first wrong field.
    """
    return as_checked(kind, read_json(path), path)


def as_checked(kind: Foreign, content: Plain, path: Path) -> Foreign:
    """The content of a JSON file that has been read already, the same way."""
    try:
        return TypeAdapter(kind).validate_python(content)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        place = ".".join(map(str, fault["loc"]))
        raise FileError(f"{path}: damaged or foreign, {place + ': ' if place else ''}{fault['msg']}.") from None
