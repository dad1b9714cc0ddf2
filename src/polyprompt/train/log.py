"""log.jsonl of a run: a line of JSON for what happened, and at its end the hash of all lines up to it.

The hash (16 digits of a sha256, over the hash before it and the line without its own) shows where lines were altered,
left out or put in. A checkpoint notes where the log stood, and a run that goes on finds that again or says so.
"""

import hashlib
import json
import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from polyprompt.disk.files import read_bytes
from polyprompt.errors import FileError
from polyprompt.values import Json, Values

LOG, HASH = "log.jsonl", "sha256"
SEALED = re.compile(rf'^(.*), "{HASH}": "([0-9a-f]{{16}})"\}}$')
"""A line: what it says, without its last bracket, and its hash."""


class Log:
    """A log under way; one process writes to it."""

    def __init__(self, path: Path) -> None:
        self.path, self.total = path, ""
        """The hash of all lines so far."""

    def open(self, length: int, total: str) -> None:
        """Goes back to where the log stood when a checkpoint was made; what a killed run wrote behind it is cut off.

        Args:
            length: bytes of it.
            total: its hash then; "" if the checkpoint does not say.

        Raises:
            FileError: it is no longer what it was then, or cannot be written.
        """
        kept = read_bytes(self.path)[:length] if length else b""
        self.total = ""
        for _, row in _rows(kept.decode("utf-8", "replace")):
            self.total = _link(self.total, _unsealed(row))
        if len(kept) < length or (total and total != self.total):
            raise FileError(
                f"{self.path}: altered since the checkpoint that the run goes on from was made. Put it back as it was, "
                "or start again in another folder."
            )
        with self._writing(), open(self.path, "ab") as file:
            file.truncate(length)

    def add(self, line: Values) -> None:
        """Appends a line; NaN and infinities, which are not JSON, become null.

        Raises:
            FileError: it cannot be written.
        """
        text = json.dumps(json.loads(json.dumps(line), parse_constant=lambda name: None))
        total = _link(self.total, text)
        with self._writing(), open(self.path, "ab") as file:
            file.write(f'{text[:-1]}, "{HASH}": "{total}"}}\n'.encode())
        self.total = total

    def length(self) -> int:
        """Bytes of it, all of them on the disk.

        Raises:
            FileError: they cannot be brought there.
        """
        with self._writing(), open(self.path, "ab") as file:
            os.fsync(file.fileno())
            return file.tell()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise FileError(
                f"{self.path}: cannot be written ({error.strerror}). Mend that, then go on with --resume."
            ) from error


def read_log(path: Path) -> list[Json]:
    """All lines of a log, without their hashes; a last one that was being written when the run was killed is left out.

    Logs of earlier versions have no hashes.

    Raises:
        FileError: a line is damaged, has no step, or was altered, left out or put in.
    """
    try:
        text = read_bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise FileError(f"{path}: cannot be read ({error}).") from error
    lines, total, sealed = [], "", False
    for number, row in _rows(text):
        try:
            line = json.loads(row)
        except (ValueError, RecursionError) as error:
            if text.endswith(row) and not _was_whole(row, total):  # the run was killed, or is still at it
                continue
            raise FileError(f"{path}: line {number} is damaged, not JSON ({error}).") from error
        if not isinstance(line, dict) or not _is_number(line.get("step")):
            raise FileError(f"{path}: line {number} is damaged, it has no step.")
        total = _link(total, _unsealed(row))
        sealed = sealed or HASH in line
        if sealed and line.pop(HASH, None) != total:
            raise FileError(
                f"{path}: line {number} was altered, or lines before it, for its hash is not theirs. Put the file back "
                "as it was, or run it again in another folder."
            )
        lines.append(line)
    return lines


def is_sealed(path: Path) -> bool:
    """Whether a log is there that was begun by a version that writes hashes."""
    try:
        first = read_bytes(path).partition(b"\n")[0]
    except FileError:
        return False
    return SEALED.match(first.decode("utf-8", "replace")) is not None


def _rows(text: str) -> Iterator[tuple[int, str]]:
    return ((number, row) for number, row in enumerate(text.split("\n"), 1) if row.strip())


def _was_whole(row: str, total: str) -> bool:
    """Whether the last line has its hash: then it was its line end that was altered."""
    return f'"{HASH}": "{_link(total, _unsealed(row[:-1]))}"' in row


def _unsealed(row: str) -> str:
    """A line without its hash."""
    match = SEALED.match(row)
    return f"{match[1]}}}" if match else row


def _link(total: str, text: str) -> str:
    return hashlib.sha256(f"{total}{text}".encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
