"""What is known about the files of a collection, in one SQLite file that is made from the collection's own log.

It is asked with conditions as SQL has them: "year >= 2020 and path like 'holidays/%'". Whatever a user writes can read
the columns below and nothing else, for a second at most.
"""

import contextlib
import errno
import re
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Int64

from polyprompt.data.files import readable
from polyprompt.disk.files import whole_file
from polyprompt.errors import ConfigError, FileError, UnknownNameError

COLUMNS = {
    "path": "TEXT",  # below the collection's folder
    "name": "TEXT",
    "folder": "TEXT",
    "kind": "TEXT",  # picture or video
    "ending": "TEXT",
    "size": "INTEGER",  # bytes
    "width": "INTEGER",
    "height": "INTEGER",
    "date": "TEXT",  # taken, or else changed: 2020-07-31T12:00:00
    "year": "INTEGER",
    "month": "INTEGER",
    "day": "INTEGER",
    "changed": "TEXT",
    "camera": "TEXT",
}
"""What a filter can name."""
FUNCTIONS = frozenset(
    {"like", "glob", "lower", "upper", "length", "substr", "instr", "abs", "round", "coalesce", "ifnull", "nullif"}
    | {"min", "max", "trim", "ltrim", "rtrim", "replace", "date", "time", "datetime", "strftime", "julianday"}
)
DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN})
"""What SQLite says of a file that it cannot read."""
LONGEST = 2000
"""Letters of a condition."""
SECONDS = 2.0
"""How long a condition may take."""
BATCH = 1000
"""Rows whose files are looked up by one statement."""

Line = dict[str, object]
"""What the log has of a file."""


@dataclass(frozen=True)
class File:
    """A file of a collection."""

    number: int
    row: int
    """The place of its content among the rows; files with the same content share one."""
    raw: str
    """Its path below the root as the file system has it."""
    facts: Mapping[str, str | int | None]
    """Its columns."""


def write(path: Path, files: Mapping[str, Line], row_of: Mapping[str, int]) -> None:
    """Writes the file anew, whole or not at all.

    Args:
        files: what the log has last of each path.
        row_of: the place of each content among the rows.
    """
    with whole_file(path) as temporary, _said_by_the_system(), contextlib.closing(_new(temporary)) as base:
        columns = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
        base.execute("PRAGMA journal_mode = OFF")
        base.execute("PRAGMA synchronous = OFF")  # whole_file brings it to the disk
        base.execute("BEGIN")
        base.execute(f"CREATE TABLE files (number INTEGER PRIMARY KEY, row INTEGER, raw BLOB, {columns})")
        base.execute("CREATE TABLE bad (path TEXT, why TEXT)")
        base.execute("CREATE TABLE gone (path TEXT)")
        marks = ", ".join("?" * (len(COLUMNS) + 2))
        there = (line for _, line in sorted(files.items()) if line.get("content") in row_of and not line.get("gone"))
        rows = ((row_of[str(line["content"])], _raw(line), *_columns(line)) for line in there)
        base.executemany(f"INSERT INTO files (row, raw, {', '.join(COLUMNS)}) VALUES ({marks})", rows)
        for name, line in files.items():
            if "bad" in line and not line.get("gone"):
                base.execute("INSERT INTO bad VALUES (?, ?)", (readable(name), readable(str(line["bad"]))))
            if "content" in line and line.get("gone") and not line.get("moved"):
                base.execute("INSERT INTO gone VALUES (?)", (readable(name),))
        base.execute("CREATE INDEX by_row ON files (row)")
        rows = np.array([row for (row,) in base.execute("SELECT DISTINCT row FROM files ORDER BY row")], np.int64)
        base.execute("CREATE TABLE live (rows BLOB)")  # read at once where millions of numbers take a second
        base.execute("INSERT INTO live VALUES (?)", (rows.tobytes(),))
        base.execute("COMMIT")


def _new(path: Path) -> sqlite3.Connection:
    path.touch(exist_ok=False)  # with the mode that the umask gives; SQLite's own is 0644
    return sqlite3.connect(path, isolation_level=None)


@contextlib.contextmanager
def _said_by_the_system() -> Iterator[None]:
    """SQLite's words for what the system refuses, as the system's own error."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise OSError(errno.ENOSPC if "full" in str(error) else errno.EIO, str(error)) from error


def _raw(line: Line) -> bytes:
    return str(line["path"]).encode("utf-8", "surrogateescape")


def _columns(line: Line) -> tuple[str | int | None, ...]:
    path = PurePosixPath(readable(str(line["path"])))
    nanoseconds = line["changed"]
    assert isinstance(nanoseconds, int)
    changed = (
        datetime.fromtimestamp(max(nanoseconds, 0) / 1e9).isoformat(timespec="seconds") if nanoseconds >= 0 else ""
    )
    date = str(line.get("taken") or changed)
    parts = [int(part) for part in date[:10].split("-")] if date else [None] * 3
    folder = "" if str(path.parent) == "." else str(path.parent)
    kind = "video" if line.get("moves") else "picture"
    numbers = [int(str(line.get(key, 0))) for key in ("size", "width", "height")]
    values = (str(path), path.name, folder, kind, path.suffix.lower(), *numbers, date, *parts, changed)
    return (*values, None if line.get("camera") is None else str(line["camera"]))


class Items:
    """The files of a collection, to be asked; any number of threads may."""

    def __init__(self, path: Path) -> None:
        self.path, self._asking = path, threading.Lock()

    def where(self, condition: str) -> Int64[np.ndarray, "r"]:
        """The rows of the files that a condition holds for, sorted, each once.

        Raises:
            ConfigError: it cannot be read, names what there is not, or takes too long.
        """
        if len(condition) > LONGEST:
            raise ConfigError(f"--where: {len(condition):,} letters are more than the {LONGEST:,} allowed.")
        if not condition.strip():
            raise ConfigError('--where is empty; write a condition, as in "year >= 2020".')
        with self._base() as base:
            base.set_authorizer(_Authorizer())
            base.setlimit(sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 200)
            base.setlimit(sqlite3.SQLITE_LIMIT_EXPR_DEPTH, 100)
            base.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 100_000)
            until = time.monotonic() + SECONDS
            base.set_progress_handler(lambda: time.monotonic() > until, 10_000)
            try:
                rows = base.execute(f"SELECT row FROM files WHERE ({condition}\n)").fetchall()
            except (sqlite3.Error, ValueError, UnicodeError) as error:
                if _is_damage(error):
                    raise
                raise _refusal(condition, error) from None
        return np.unique(np.array([row for (row,) in rows if isinstance(row, int)], np.int64))

    def of_rows(self, rows: Sequence[int]) -> dict[int, list[File]]:
        """The files of each of these rows, by path."""
        files: dict[int, list[File]] = {int(row): [] for row in rows}
        names = list(files)
        for at in range(0, len(names), BATCH):
            part = names[at : at + BATCH]
            query = f"SELECT number, row, raw, {', '.join(COLUMNS)} FROM files WHERE row IN ({{}}) ORDER BY path"
            with self._asking, self._own_errors():
                lines = self._open.execute(query.format(", ".join("?" * len(part))), part).fetchall()
            for number, row, raw, *values in lines:
                facts = dict(zip(COLUMNS, values, strict=True))
                files[row].append(File(number, row, raw.decode("utf-8", "surrogateescape"), facts))
        return files

    def rows(self) -> Int64[np.ndarray, "r"]:
        """The rows that files have, sorted, each once."""
        with self._base() as base:
            return np.frombuffer(base.execute("SELECT rows FROM live").fetchone()[0], np.int64)

    def counts(self) -> dict[str, int]:
        """How many files there are, how many cannot be read, and how many have gone (and not moved)."""
        with self._base() as base:
            return {
                name: base.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in ("files", "bad", "gone")
            }

    def bad(self) -> list[tuple[str, str]]:
        """The files that cannot be read, and why."""
        with self._base() as base:
            return base.execute("SELECT path, why FROM bad ORDER BY path").fetchall()

    @cached_property
    def _open(self) -> sqlite3.Connection:
        """Stays open, for what is asked at every question; one thread at a time."""
        return self._connected(check_same_thread=False)

    @contextlib.contextmanager
    def _base(self) -> Iterator[sqlite3.Connection]:
        with self._own_errors(), contextlib.closing(self._connected()) as base:
            yield base

    def _connected(self, *, check_same_thread: bool = True) -> sqlite3.Connection:
        place = f"{self.path.absolute().as_uri()}?mode=ro&immutable=1"
        return sqlite3.connect(place, uri=True, check_same_thread=check_same_thread)

    @contextlib.contextmanager
    def _own_errors(self) -> Iterator[None]:
        """What SQLite cannot read any more, as our own error."""
        try:
            yield
        except sqlite3.Error as error:
            raise FileError(
                f"{self.path}: cannot be read ({error}). It was changed after it was opened; open the collection again."
            ) from None


class _Authorizer:
    """Allows one SELECT of the table's own columns, with functions that only compute."""

    def __init__(self) -> None:
        self.selects = 0

    def __call__(self, action: int, first: str | None, second: str | None, base: str | None, inner: str | None) -> int:
        match action:
            case sqlite3.SQLITE_SELECT:
                self.selects += 1
                allowed = self.selects == 1
            case sqlite3.SQLITE_READ:
                allowed = first == "files" and (second == "row" or second in COLUMNS)
            case sqlite3.SQLITE_FUNCTION:
                allowed = second in FUNCTIONS
            case _:
                allowed = False
        return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY


def _is_damage(error: Exception) -> bool:
    """Whether the file is at fault, and not the condition; one that was cut to nothing has no tables."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF  # the rest says where
    return code in DAMAGE or str(error) == "no such table: files"


def _refusal(condition: str, error: Exception) -> ConfigError:
    """What is wrong with a condition, in our words."""
    if unknown := re.search(r"no such column: (\S+)", str(error)):
        message = UnknownNameError("column", unknown[1], COLUMNS)
        return ConfigError(f"--where {condition!r:.80}: {message} Texts stand in single quotes.")
    reason = str(error).rstrip(".")
    if "interrupted" in reason:
        reason = f"it took more than {SECONDS:g} seconds"
    elif "not authorized" in reason or "prohibited" in reason:
        reason = "it may compare columns and call plain functions, no more"
    return ConfigError(
        f"--where {condition!r:.80}: {reason}. Write a condition, as in \"year >= 2020 and name like '%.png'\"."
    )
