"""Fetches what may be fetched of a published set: goes on where it stopped, checks what arrived, unpacks it."""

import hashlib
import lzma
import os
import tarfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from polyprompt.data import catalog
from polyprompt.data.entry import Download
from polyprompt.errors import FileError, in_one_line
from polyprompt.progress import progress, say

AT_ONCE = 1 << 20
SECONDS = 60
"""How long a server may say nothing."""
FOLDER = "downloads"
"""Where archives lie until they are unpacked, below the folder of all data sets; then a mark that they were."""

DAMAGED = (
    *(tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, EOFError, OSError),
    RuntimeError,  # of a zip with a password, or compressed in a way that Python does not know
)
"""What Python's archives raise of what they read."""


def fetch(name: str, root: Path) -> list[str]:
    """Fetches and unpacks the files of a set; what is left to do by hand, a line each.

    Raises:
        UnknownNameError, DataError: there is no such set, or no such part of it.
        FileError: a file cannot be fetched, is not what its publisher states, or cannot be unpacked.
    """
    entry = catalog.entry_of(name)
    for one in entry.downloads:
        download(one, root, entry.page)
    form = ["Its page asks for a form or an account."] if entry.form else []
    return [f"{entry.title}: {entry.page}", f"Licence: {entry.licence}.", *form, *entry.steps]


def download(one: Download, root: Path, page: str = "") -> None:
    """One file, fetched into `downloads/`, checked, unpacked below `root`, and not fetched again.

    Raises:
        FileError: see `fetch`.
    """
    name = PurePosixPath(urlsplit(one.url).path).name
    place = root / FOLDER
    mark = place / f"{name}.unpacked"
    if os.path.exists(mark):
        say(f"{name}: fetched and unpacked before; to fetch it again, remove {mark}")
        return
    try:
        place.mkdir(parents=True, exist_ok=True)
        whole = place / name
        if not whole.exists():
            _fetched(one.url, place / f"{name}.part", page).rename(whole)
        _checked(whole, one)
        _unpack(whole, root / one.folder)
        for inner in one.inner:
            _unpack(root / one.folder / inner, (root / one.folder / inner).parent)
        whole.unlink()
        mark.touch()
    except OSError as error:
        raise FileError(f"{error.filename or root}: cannot be written ({error.strerror or error}).") from None


def _fetched(url: str, part: Path, page: str) -> Path:
    """The file at `url`, written on where it was left."""
    done = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={done}-"} if done else {})
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            if answer.status != 206:
                done = 0  # the server begins anew
            left = answer.headers.get("Content-Length")
            total = done + int(left) if left else None
            with part.open("ab" if done else "wb") as file, progress(f"Fetching {part.stem}", total, done) as advance:
                for piece in _pieces(answer):
                    file.write(piece)
                    advance(len(piece))
            if total is not None and part.stat().st_size != total:
                raise HTTPException(f"the connection ended after {part.stat().st_size:,} of {total:,} bytes")
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing is left to send
            return part
        raise _cannot_fetch(url, f"HTTP {error.code} {error.reason}", page) from None
    except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
        raise _cannot_fetch(url, str(getattr(error, "reason", error)), page) from None
    return part


def _pieces(answer: object) -> Iterator[bytes]:
    while piece := answer.read(AT_ONCE):  # pyright: ignore[reportAttributeAccessIssue]
        yield piece


def _cannot_fetch(url: str, why: str, page: str) -> FileError:
    by_hand = f", or fetch it by hand: {page}" if page else ""
    return FileError(f"{url}: cannot be fetched ({why}). Again goes on where it stopped{by_hand}")


def _checked(file: Path, one: Download) -> None:
    """A file whose publisher states a hash must have it; another one is removed."""
    for kind, expected in (("sha256", one.sha256), ("md5", one.md5)):
        if not expected:
            continue
        with file.open("rb") as opened:
            digest = hashlib.file_digest(opened, lambda kind=kind: hashlib.new(kind, usedforsecurity=False)).hexdigest()
        if digest != expected:
            file.unlink()
            raise FileError(f"{one.url}: what arrived has {kind} {digest}, not {expected}; removed. Fetch it again.")


def _unpack(archive: Path, folder: Path) -> None:
    """An archive's files, none of them outside `folder`."""
    say(f"{archive.name}: unpacking into {folder}")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as files:
                files.extractall(folder)
        else:
            with tarfile.open(archive) as files:
                files.extractall(folder, filter="data")
                while files.fileobj and files.fileobj.read(AT_ONCE):  # to its end, where gzip's checksum stands
                    pass
    except DAMAGED as error:
        if isinstance(error, OSError) and error.errno is not None:  # the disk's; gzip and bz2 raise it of their data
            raise
        why = in_one_line(error)
        raise FileError(f"{archive}: cannot be unpacked ({why}). Remove it and fetch it again.") from None
