"""Files of a data set: what lies below a folder, and where the pictures lie that a list names."""

import os
import unicodedata
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache, cached_property, partial
from itertools import islice
from pathlib import Path, PurePosixPath, PureWindowsPath

from polyprompt.data.items import Picture
from polyprompt.data.messages import count, say_once, some
from polyprompt.data.names import LIST
from polyprompt.disk.files import MANIFEST
from polyprompt.disk.places import nearby
from polyprompt.errors import DataError, SeveralListsError
from polyprompt.media.pictures import file_bytes
from polyprompt.media.suffixes import IMAGES, SEEN

LITTER = ("__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information")
"""Folders that systems leave behind: previews and forks, called like the pictures they belong to."""
PICTURE_FOLDERS = (
    *("images", "image", "imgs", "img", "pictures", "photos", "videos", "jpegimages"),
    *("flicker8k_dataset", "flickr8k_dataset", "flickr30k_images", "flickr30k-images"),
)
"""Folders beside a list that the pictures may lie in, in lower case."""

TABLES = (
    *("captions.csv", "captions.tsv", "captions.jsonl", "metadata.csv", "metadata.jsonl"),
    *("captions.txt", "results.csv"),
)
"""What a table in a folder is called; Hugging Face's image folders and Kaggle's Flickr sets have names of their own."""
BESIDE = (*TABLES, LIST, MANIFEST, "split_zhou_*.json", "dataset_*.json", "captions_*.json")
"""What lies beside pictures in the layouts that are read and written here; nobody needs to be told of it."""
ARCHIVES = (".zip", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".rar", ".7z")
BROKEN = "broken link"
"""In the place of an ending, where files that were left out are told."""


def key_of(name: str) -> str:
    """The key of a picture that a list calls `name`: "./a//b.jpg" and "a/b.jpg" are one; always UTF-8."""
    return readable(PurePosixPath(name).as_posix())


def readable(name: str) -> str:
    """A file name as text that can be written anywhere: bytes that are not UTF-8 become \\xe9."""
    try:
        return os.fsencode(name).decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # a lone surrogate that no file system gave
        return name.encode("utf-8", "backslashreplace").decode("utf-8")


def folder_name(folder: str | Path) -> str:
    """What a folder is called in messages, also where it is given as "."."""
    path = Path(folder)
    return readable(path.name or path.absolute().name or str(path))


def is_hidden(name: str) -> bool:
    """Whether a file or folder is passed over for its name."""
    return name.startswith(".") or name in LITTER


def visible_folders(folder: Path) -> list[str]:
    """The names of the folders in a folder, sorted; linked ones too, hidden ones not."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if not is_hidden(entry.name) and _is_folder(entry))
    except OSError as error:
        raise DataError(f"{folder}: cannot be read ({error.strerror})") from None


def matching(folder: Path, *patterns: str) -> list[Path]:
    """The files in a folder that are called so, in upper or lower case, by pattern and name.

    Hidden ones are none of them, as the shadows that macOS leaves on other disks.
    """
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if not is_hidden(entry.name) and not _is_folder(entry))
    except OSError:
        return []
    lower = [pattern.lower() for pattern in patterns]
    return [folder / name for pattern in lower for name in names if fnmatchcase(name.lower(), pattern)]


def the_one(files: Sequence[Path]) -> Path:
    """The one list of a kind that lies in a folder.

    Raises:
        SeveralListsError: there are several.
    """
    if len(files) > 1:
        raise SeveralListsError(files)
    return files[0]


def class_list(folder: Path) -> Path | None:
    """The list of class names in a folder, if there is one.

    Raises:
        DataError: there are several, in upper and lower case.
    """
    files = matching(folder, LIST)
    if len(files) > 1:
        raise DataError(f"{folder}: holds {' and '.join(file.name for file in files)}; leave one of them there")
    return files[0] if files else None


def first_there(candidates: Sequence[Path]) -> Path | None:
    """The first of several folders that is there; that another one is there, too, is told."""
    there = [place for place in candidates if os.path.isdir(place)]  # unlike Path.is_dir, of names too long as well
    if not there:
        return None
    first = there[0]
    within = [place for place in there[1:] if place in first.parents or first in place.parents]
    if others := [str(place) for place in there[1:] if place not in within and not os.path.samefile(place, first)]:
        say_once(str(first), f"{first}: is read, and passed over what may be meant, too: {some(others)}.")
    return first


def first_files(folder: Path, most: int = 100) -> list[str]:
    """A few of the visible files in a folder, to see what kind of folder it is."""
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in islice(entries, most) if not is_hidden(entry.name) and _is_file(entry)]
    except OSError:
        return []


def packed(folder: Path) -> str:
    """What is to be said of archives in a folder in which something is not found; "" if there are none."""
    names = sorted(name for name in first_files(folder) if name.lower().endswith(ARCHIVES))
    return f" {folder} holds {some(names)}; unpack what is meant." if names else ""


@dataclass
class Walk:
    """The files of one kind below folders of one source, and what was left out on the way."""

    root: Path
    """What names in messages are relative to."""
    strict: bool = True
    """Whether what cannot be entered is an error; else it is told and passed over."""
    endings: Collection[str] = SEEN
    """Of the files that are taken, in lower case."""
    things: str = "pictures"
    """What these are."""
    closed: list[str] = field(default_factory=list)
    """Folders that were not entered, each with the reason."""
    outside: list[str] = field(default_factory=list)
    """Links that lead out of the root; they are followed."""
    hidden: list[str] = field(default_factory=list)
    others: dict[str, list[str]] = field(default_factory=dict)
    """Other files, by their endings."""
    seen: dict[tuple[int, int], str] = field(default_factory=dict)
    again: list[str] = field(default_factory=list)

    def files(self, folder: Path) -> list[Path]:
        """Everything below `folder` that is one of the files by its name, sorted by path; links are followed.

        Raises:
            DataError: strict, and a folder cannot be read, or a link leads back to a folder that it lies in.
        """
        if folder.is_symlink():
            self._note_leaving(folder)
        return sorted(self._below(folder, (self._home,) if folder != self.root else ()))

    def note_broken(self, folder: Path) -> None:
        """Counts the links right in a folder that lead nowhere, or in a circle: each may be a folder that is missed."""
        with os.scandir(folder) as entries:
            broken = [one.name for one in entries if one.is_symlink() and not (_is_folder(one) or _is_file(one))]
        if names := [self._name(folder / name) for name in sorted(broken) if not is_hidden(name)]:
            self.others.setdefault(BROKEN, []).extend(names)

    def warn(self) -> None:
        """Says what was left out and what is there twice."""
        parts = [f"{len(names):,} {ending}" for ending, names in sorted(self.others.items())]
        examples = [names[0] for _, names in sorted(self.others.items())] + self.hidden[:1]
        if self.hidden:
            parts.append(f"{len(self.hidden):,} hidden")
        name = folder_name(self.root)
        if parts:
            left = f"left out {', '.join(parts)} ({some(examples)}); no {self.things} by their names"
            say_once(str(self.root), f"{name}: {left}.")
        if self.again:
            say_once(str(self.root), f"{name}: linked twice, so its {self.things} count twice: {some(self.again)}.")
        if self.outside:
            number = count(len(self.outside), "link that leads out of it was", "links that lead out of it were")
            say_once(str(self.root), f"{name}: {number} followed: {some(self.outside)}.")
        for line in self.closed:
            say_once(str(self.root), f"{name}: passed over {line}.")

    @cached_property
    def _home(self) -> str:
        return os.path.realpath(self.root)

    def _below(self, folder: Path, above: tuple[str, ...]) -> Iterator[Path]:
        here = os.path.realpath(folder)
        if here in above or self._home.startswith(here.rstrip(os.sep) + os.sep):
            return self._refuse(folder, "a link back to a folder that it lies in; remove it")
        self._note_links(folder)
        try:
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            return self._refuse(folder, f"cannot be read ({error.strerror})")
        for entry in entries:
            if entry.is_symlink() and not is_hidden(entry.name):
                self._note_leaving(entry.path)
            ending = os.path.splitext(entry.name)[1].lower()
            if _is_folder(entry):
                if is_hidden(entry.name):
                    self.hidden.append(self._name(entry.path) + "/")
                else:
                    yield from self._below(Path(entry.path), (*above, here))
            elif is_hidden(entry.name):
                if ending in self.endings:
                    self.hidden.append(self._name(entry.path))
            elif ending in self.endings and _is_file(entry):
                yield Path(entry.path)
            else:
                if any(fnmatchcase(entry.name.lower(), known) for known in BESIDE) and _is_file(entry):
                    continue
                ending = BROKEN if entry.is_symlink() and not _is_file(entry) else ending
                self.others.setdefault(readable(ending) or "without an ending", []).append(self._name(entry.path))

    def _refuse(self, folder: Path, why: str) -> None:
        if self.strict:
            raise DataError(f"{readable(str(folder))}: {why}") from None
        self.closed.append(f"{self._name(folder)}: {why}")

    def _note_leaving(self, link: str | Path) -> None:
        if not _lies_in(os.path.realpath(link), self._home):
            self.outside.append(self._name(link))

    def _note_links(self, folder: Path) -> None:
        state = folder.stat()
        if self.seen.setdefault((state.st_dev, state.st_ino), str(folder)) != str(folder):
            self.again.append(self._name(folder))

    def _name(self, path: str | Path) -> str:
        return _relative(Path(path), self.root)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """As `is_dir`, which raises for a link that leads in a circle."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _is_file(entry: os.DirEntry[str]) -> bool:
    """As `is_file`, which raises for a link that leads in a circle."""
    try:
        return entry.is_file()
    except OSError:
        return False


def _real(folder: Path) -> str:
    return os.path.realpath(folder)


def _relative(path: Path, folder: Path) -> str:
    return readable(os.path.relpath(path, folder).replace(os.sep, "/"))


def _lies_in(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def pictures_in(folder: Path) -> list[Path]:
    """Every picture and video below a folder, by its ending, sorted; none that is hidden. What is left out is told.

    Raises:
        DataError: there is no such folder, or nothing in it.
    """
    if not os.path.isdir(folder):
        raise DataError(f"{readable(str(folder))}: no such folder.{nearby(folder)}")
    walk = Walk(folder)
    pictures = walk.files(folder)
    walk.warn()
    if not pictures:
        raise DataError(f"{readable(str(folder))}: no pictures in it. Give a folder with {', '.join(sorted(IMAGES))}.")
    return pictures


class Places:
    """Finds the pictures that a list names: beside it, or in a folder beside it that pictures usually lie in.

    In the place of the list stands the folder where the names come from several.
    `also` names more such folders, for lists whose official layout has others; `home` is the data set's folder, if the
    list does not lie in it. Paths written on Windows are read as well; a file that is named in two ways ("a.jpg" and
    "/photos/a.jpg") is one picture, and pictures that lie elsewhere are read. How many were `warn` says.
    """

    def __init__(self, list_file: Path, *also: str, home: Path | None = None) -> None:
        self.list = list_file
        self.folder = folder = list_file if os.path.isdir(list_file) else list_file.parent
        usual = [name for name in self._folders(folder) if name.lower() in PICTURE_FOLDERS]
        self.roots = [folder, *(folder / name for name in also), *(folder / name for name in usual)]
        real = os.path.realpath(home or folder)
        self.homes = [os.path.normpath(os.path.join(real, name)) for name in ("", *also)]
        self.windows: list[str] = []
        self.key_of_file: dict[str, str] = {}
        self.again: dict[str, str] = {}
        """Other keys of files that have one already, with that one."""
        self.rivals: dict[str, str] = {}
        """Files that were read though another folder has one of the same name, with that one."""
        self.outside: dict[str, None] = {}
        self._real_folder = cache(_real)  # asked for each picture, and most share one

    def find(self, name: str, key: str | None = None) -> Picture | None:
        """The picture of this name. Its key, `key_of` the name if not given, is the one its file was first found by."""
        if (path := self._path(name)) is None and "\\" in name:
            name = PureWindowsPath(name).as_posix()
            if path := self._path(name):
                self.windows.append(name)
        if path is None and not name.isascii():  # é may be one sign or two, as macOS writes it: one name all the same
            spellings = (unicodedata.normalize(form, name) for form in ("NFC", "NFD"))
            path = next(filter(None, map(self._path, spellings)), None)
        if path is None:
            return None
        if not self._is_inside(path):
            self.outside[readable(name)] = None
        return Picture(self._first_key(path, key_of(name) if key is None else key), partial(file_bytes, path))

    def warn(self) -> None:
        """Says how many paths were written in another way than they were read, and how many led elsewhere."""
        if self.windows:
            number = count(len(self.windows), "path")
            say_once(str(self.list), rf"{self.list.name}: {number} with \ read with / instead ({self.windows[0]}).")
        if self.again:
            number = count(len(self.again), "picture is", "pictures are")
            examples = some([f"{other} is {first}" for other, first in self.again.items()])
            say_once(str(self.list), f"{self.list.name}: {number} named in two ways, and read as one ({examples}).")
        if self.rivals:
            number = count(len(self.rivals), "picture lies", "pictures lie")
            examples = some([f"{taken}, not {other}" for taken, other in self.rivals.items()], 1)
            say_once(str(self.list), f"{self.list.name}: {number} in several folders; what was read is {examples}.")
        if self.outside:
            number = count(len(self.outside), "picture lies", "pictures lie")
            say_once(str(self.list), f"{self.list.name}: {number} outside its folder ({some([*self.outside])}).")

    def _first_key(self, path: Path, key: str) -> str:
        # links are resolved only where "..", after a linked folder, does not lead where its letters say
        file = os.path.realpath(path) if ".." in path.parts else os.path.abspath(path)
        first = self.key_of_file.setdefault(file, key)
        if first != key:
            self.again[key] = first
        return first

    def _is_inside(self, path: Path) -> bool:
        real = os.path.realpath(path) if path.is_symlink() else self._real_folder(path.parent)
        return any(_lies_in(real, home) for home in self.homes)

    def _path(self, name: str) -> Path | None:
        # Path.is_file raises for long names
        paths = [path for root in self.roots if os.path.isfile(path := root / name)]
        if rival := next((path for path in paths[1:] if not os.path.samefile(path, paths[0])), None):
            self.rivals[_relative(paths[0], self.folder)] = _relative(rival, self.folder)
        return paths[0] if paths else None

    @staticmethod
    def _folders(folder: Path) -> list[str]:
        return visible_folders(folder) if os.path.isdir(folder) else []
