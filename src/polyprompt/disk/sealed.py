"""JSON files of truth that carry the hash of what they say, and of files that lie beside them.

A sealed file ends with `files`, {name: sha256, or null where there was none}, and `sha256`, the hash of the text before
it is added. It is written in one piece, so that at no moment a file and its hash disagree; and it has to be, to the
byte, what `write_sealed` makes of its content. Files of earlier versions have no seal: they are read, and it is said,
unless other files show that this one had its seal.
"""

import hashlib
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from polyprompt.disk.files import json_text, read_bytes, read_json, sha256, write_text
from polyprompt.errors import FileError
from polyprompt.progress import say
from polyprompt.values import Json, Values

FILES, HASH = "files", "sha256"


def write_sealed(path: Path, content: Values, beside: Iterable[str] = ()) -> None:
    """Writes `content` with its seal, whole or not at all.

    Args:
        path: a JSON file.
        content: plain values under names, `files` and `sha256` not among them.
        beside: names of files in the same folder that it stands for from now on, whether they are there or not.

    Raises:
        FileError: it cannot be said in JSON or cannot be written, or a file beside it cannot be read.
    """
    assert not content.keys() & {FILES, HASH}, "the seal's own names, under which nothing else could be read again"
    write_text(path, _sealed(path, content, {name: _hash(path.with_name(name)) for name in beside}))


def read_sealed(path: Path, advice: str, *, sealed: bool = False) -> Json:
    """What a sealed file says, once it and the files that it stands for were found as they were.

    Args:
        path: the file.
        advice: a sentence: what to do where the file itself was altered.
        sealed: whether what lies beside it shows that it was written with a seal.

    Raises:
        FileError: it, or a file beside it, is missing, damaged or altered; the message names it.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise FileError(f"{path}: damaged or foreign, it has to hold names and values.")
    if not content.keys() & {FILES, HASH}:
        if sealed:
            raise FileError(f"{path}: altered, it was written with a hash and has none any more. {advice}")
        _warn_of_unsealed(path)
        return content
    files, _ = content.pop(FILES, None), content.pop(HASH, None)
    if not isinstance(files, dict) or read_bytes(path) != _sealed(path, content, files).encode():
        raise FileError(f"{path}: damaged or altered, it does not have the hash that it names. {advice}")
    for name, expected in files.items():
        if _hash(path.with_name(name)) != expected:
            raise FileError(
                f"{path.with_name(name)}: damaged or altered, its hash is not the one that {path.name} names. Put it "
                "back as it was, or run it again in another folder."
            )
    return content


def is_sealed(path: Path) -> bool:
    """Whether a file is there that has a seal, be it right or wrong."""
    try:
        content = read_json(path)
    except FileError:
        return False
    return isinstance(content, dict) and bool(content.keys() & {FILES, HASH})


def _sealed(path: Path, content: Values, files: Mapping[str, str | None]) -> str:
    whole = {**content, FILES: files}
    return json_text(path, whole | {HASH: hashlib.sha256(json_text(path, whole).encode()).hexdigest()})


def _hash(path: Path) -> str | None:
    return sha256(path) if path.exists() else None


@cache
def _warn_of_unsealed(path: Path) -> None:
    say(f"{path}: comes from a version that did not seal it, so nothing shows whether it was altered.")
