"""Files written whole or not at all, hashed, and checked when they are opened; the cache folder; pinned downloads.

A file or folder is first written under a hidden temporary name beside its place, brought to the disk (fsync), and
then renamed: whoever is killed, or runs out of room, leaves the old content or nothing. A folder carries
`manifest.json`, the sha256 of each of its files. Caches are rebuilt when the manifest does not hold (`built_once`);
anything else that is damaged is an error that names the file.
"""

import errno
import glob
import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from polyprompt.errors import CacheError, FileError
from polyprompt.progress import say
from polyprompt.values import Plain

if TYPE_CHECKING:
    from filelock import FileLock

MANIFEST = "manifest.json"
AGAIN = "Make it again, or copy it again from where it came."


# Writing


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """A temporary path to write to; it takes the place of `path` when the block ends, and vanishes when it fails.

    Who may read it is what the umask says, whoever writes it: safetensors writes files that nobody else may read.

    Raises:
        FileError: the file cannot be written (`CacheError` inside the cache folder); the old one is still there.
    """
    path = Path(path)
    temporary = _temporary(path)
    try:
        with writing(path):
            yield temporary
            if not temporary.stat().st_mode & 0o077:
                temporary.chmod(_new_mode(path))
            _bring_to_disk(temporary)
            os.replace(temporary, path)
            _bring_to_disk(path.parent)
    finally:
        with suppress(OSError):  # a disk that became read-only has been told of already
            temporary.unlink(missing_ok=True)


def check_new(path: str | Path) -> None:
    """Refuses a name that is in use, for what is never written over.

    Raises:
        FileError: there is something already, or nothing can be there (`CacheError` inside the cache folder).
    """
    path = Path(path)
    with writing(path):  # a name may be too long even to be looked for
        there = path.exists()
    if there:
        raise FileError(f"{path}: exists already. Choose another name, or remove it first.")


@contextmanager
def whole_folder(folder: str | Path, *, manifest: bool = True) -> Iterator[Path]:
    """A temporary folder to fill; it becomes `folder`, with a manifest, when the block ends, or vanishes when it fails.

    Args:
        manifest: whether one is written; not where files say themselves what they should be.

    Raises:
        FileError: `folder` exists already, or cannot be written (`CacheError` inside the cache folder).
    """
    folder = Path(folder)
    check_new(folder)
    temporary = _temporary(folder)
    try:
        with writing(folder):
            temporary.mkdir(parents=True)
            yield temporary
            if manifest:
                write_manifest(temporary)
            mode = temporary.stat().st_mode & 0o666
            for path in sorted(temporary.rglob("*")):
                if path.is_file():
                    path.chmod(mode)  # what the umask gives; safetensors writes files that nobody else may read
                _bring_to_disk(path)
            os.rename(temporary, folder)
            _bring_to_disk(folder.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write `data` to `path`, whole or not at all; raises as `whole_file`."""
    with whole_file(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: str | Path, text: str) -> None:
    """Write `text` to `path` as UTF-8, whole or not at all; raises as `whole_file`."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))  # a name in it may not be UTF-8


def write_json(path: str | Path, value: object) -> None:
    """Write `value` to `path` as indented JSON, whole or not at all.

    Raises:
        FileError: as `json_text`, or as `whole_file`.
    """
    write_text(path, json_text(path, value))


def json_text(path: str | Path, value: object) -> str:
    """What a file `path` that holds `value` says; names that are not UTF-8 stand there as JSON escapes them.

    Raises:
        FileError: `value` cannot be said in JSON (NaN and infinities cannot).
    """
    try:
        text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise FileError(f"{path}: not written, its content cannot be said in JSON ({error}).") from error
    return text.encode("utf-8", "backslashreplace").decode() + "\n"


def make_folder(folder: str | Path) -> Path:
    """`folder`, made with all above it if it is not there.

    Raises:
        FileError: it cannot be made.
    """
    folder = Path(folder)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Says in one line what keeps `path` from being written.

    Raises:
        FileError: what the system refused (`CacheError` inside the cache folder).
    """
    try:
        yield
    except OSError as error:
        raise _cannot_write(path, error) from error
    except Exception as error:
        # safetensors puts the system's errors into a class of its own that shows their number in its text only.
        if number := re.search(r"\(os error (\d+)\)", str(error)):
            raise _cannot_write(path, OSError(int(number[1]), os.strerror(int(number[1])))) from error
        raise


def sweep(folder: str | Path, name: str | None = None) -> None:
    """Takes away what killed writers left in a folder under temporary names: of the file or folder `name`, or of all.

    Nobody else may be writing there, or `name`.
    """
    pattern = "*" if name is None else glob.escape(name)
    for left_over in Path(folder).glob(f".{pattern}.{'[0-9a-f]' * 12}.tmp"):
        with suppress(OSError):
            _remove(left_over)


def set_aside(path: str | Path) -> Path:
    """Rename a damaged or foreign file or folder to `NAME.damaged`, in place of an earlier one; the new path."""
    path = Path(path)
    aside = path.with_name(path.name + ".damaged")
    _remove(aside)
    path.rename(aside)
    return aside


# Reading and checking


def check_regular(path: str | Path) -> None:
    """Refuses pipes and devices, at which a reader may wait for ever.

    Raises:
        OSError: it is one, or missing.
    """
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))


def read_bytes(path: str | Path) -> bytes:
    """What a file holds.

    Raises:
        FileError: it is missing, unreadable or no regular file.
    """
    try:
        check_regular(path)
        return Path(path).read_bytes()
    except OSError as error:
        raise _cannot_read(path, error) from error


def read_json(path: str | Path, pairs: Callable[[list[tuple[str, Plain]]], Plain] = dict) -> Plain:
    """What a JSON file holds.

    Args:
        path: the file.
        pairs: what becomes of an object's names and values; as a dict the last of a name is kept.

    Raises:
        FileError: it is missing, unreadable or not JSON.
    """
    try:
        return json.loads(read_bytes(path), object_pairs_hook=pairs)
    except (ValueError, RecursionError) as error:  # JSONDecodeError, UnicodeDecodeError; nested beyond all measure
        raise FileError(f"{path}: damaged, this is not JSON ({error}).") from error


def sha256(path: str | Path) -> str:
    """The sha256 of a file's bytes, in hex.

    Raises:
        FileError: it is missing, unreadable or no regular file.
    """
    try:
        check_regular(path)
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _cannot_read(path, error) from error


def stamp(path: str | Path) -> list[int]:
    """What a file has otherwise once it was written again or another one took its place: size, times, number.

    Raises:
        OSError: it is not there.
    """
    state = os.stat(path)
    return [state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino]


def digest(*parts: bytes | str) -> str:
    """The sha256, in hex, of several parts, each behind its length: ("ab", "c") and ("a", "bc") differ."""
    total = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        total.update(len(data).to_bytes(8, "little"))
        total.update(data)
    return total.hexdigest()


def write_manifest(folder: str | Path, names: Iterable[str] | None = None) -> None:
    """Write `manifest.json`, {name: sha256}, for these files of a folder; all of them, at any depth, by default."""
    folder = Path(folder)
    names = _files_in(folder) if names is None else names
    write_json(folder / MANIFEST, {name: sha256(folder / name) for name in sorted(names)})


def check_manifest(folder: str | Path, opened: Iterable[str] = ()) -> dict[str, str]:
    """The manifest of a folder, {name: sha256}, after every file in it was found and had the hash that it should.

    Files that it does not name may lie there, too: nothing is known of them.

    Args:
        folder: with a manifest.
        opened: names of the files that are read next, which it has to name.

    Raises:
        FileError: the folder, its manifest or a file is missing or damaged, or the manifest names no file, too few or
            one outside; the message says which.
    """
    folder = Path(folder)
    place, manifest = folder / MANIFEST, read_json(folder / MANIFEST)
    if not isinstance(manifest, dict) or not all(isinstance(value, str) for value in manifest.values()):
        raise FileError(f"{place}: damaged, a manifest maps file names to their sha256.")
    if not manifest:
        raise FileError(f"{place}: damaged, it names no file. {AGAIN}")
    if missing := [name for name in opened if name not in manifest]:
        raise FileError(f"{place}: damaged, it does not name {missing[0]}, which is to be opened. {AGAIN}")
    if outside := [name for name in manifest if not _lies_inside(name)]:
        raise FileError(f"{place}: damaged, {outside[0]!r:.80} is no name of a file in its folder. {AGAIN}")
    for name, expected in manifest.items():
        if (actual := sha256(folder / name)) != expected:
            raise FileError(
                f"{folder / name}: damaged or changed, its sha256 is {actual[:12]}… and {MANIFEST} says "
                f"{expected[:12]}…. {AGAIN}"
            )
    return manifest


# The cache


def cache_folder(*parts: str) -> Path:
    """A folder in the user's cache, made if missing.

    The cache is $POLYPROMPT_CACHE, or else $XDG_CACHE_HOME/polyprompt, or else ~/.cache/polyprompt.

    Raises:
        CacheError: it cannot be made.
    """
    folder = _cache_root().joinpath(*parts)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def built_once(folder: str | Path, build: Callable[[Path], None], what: str) -> Path:
    """`folder`, if it is there and its manifest holds; otherwise made by `build(temporary folder)`, once, whoever asks.

    The manifest has to name every file but hidden ones, which systems leave behind. A damaged folder is set aside and
    built again. Of several processes one builds and the others wait. `what` tells the user, on stderr, what is being
    done ("Converting SmolLM2-135M").

    Raises:
        CacheError: there is no room for it. Errors of `build` pass through.
    """
    folder = Path(folder)
    if _damage(folder) is None:
        return folder
    with one_process_at_a_time(folder), writing(folder):
        if (damage := _damage(folder)) is None:  # another process built it while this one waited
            return folder
        if folder.exists():
            say(f"{damage} It is only a cache: set aside as {set_aside(folder).name}, and made again.")
        sweep(folder.parent, folder.name)
        say(f"{what}, this once, into {folder}")
        with whole_folder(folder) as temporary:
            build(temporary)
    return folder


def pinned_wheel(name: str, version: str, expected: str) -> Path:
    """A wheel in the cache folder, downloaded by pip without its dependencies if it is not there yet; never installed.

    `expected` is the sha256 that the wheel must have, in hex. pip's own settings (index, proxy, certificates) apply. A
    cached wheel that changed is set aside and fetched again.

    Raises:
        FileError: pip cannot get it, or what came has another sha256: that wheel is set aside as NAME.damaged.
    """
    folder = cache_folder("wheels", f"{name}-{version}")
    with one_process_at_a_time(folder), writing(folder):
        for wheel in folder.glob("*.whl"):
            if sha256(wheel) == expected:
                return wheel
            say(f"{wheel} is damaged: set aside as {set_aside(wheel).name}, and fetched again")
        say(f"Downloading {name} {version} with pip, this once")
        wheel = _download(name, version, folder)
        if (actual := sha256(wheel)) != expected:
            raise FileError(
                f"{name} {version}: refused, the wheel that pip got has sha256 {actual}, and {expected} is expected. "
                f"It is kept as {set_aside(wheel)}; see which package index pip uses (`pip config list`)."
            )
        return wheel


def _download(name: str, version: str, folder: Path) -> Path:
    """Let pip put one wheel into `folder`; the wheel's path."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input", "--quiet"]
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        done = subprocess.run([*command, "--dest", temporary, f"{name}=={version}"], capture_output=True, text=True)
        wheels = list(Path(temporary).glob("*.whl"))
        if done.returncode or len(wheels) != 1:
            lines = [
                line.removeprefix("ERROR: ") for line in done.stderr.splitlines() if not line.startswith("WARNING")
            ]
            raise FileError(
                f"{name} {version}: pip could not download it ({lines[-1] if lines else 'without saying why'}). "
                f"Try `{' '.join(command[:-1])} {name}=={version}` to see all that pip says."
            )
        _bring_to_disk(wheels[0])
        return wheels[0].replace(folder / wheels[0].name)


def _cache_root() -> Path:
    if chosen := os.environ.get("POLYPROMPT_CACHE"):
        try:
            return Path(chosen).expanduser().absolute()
        except RuntimeError:
            raise CacheError(f"POLYPROMPT_CACHE is {chosen}, and nobody has that home folder; set another.") from None
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return Path(shared) / "polyprompt"
    try:
        return Path.home() / ".cache" / "polyprompt"
    except RuntimeError:
        raise CacheError("there is no home folder to keep caches in; set POLYPROMPT_CACHE to a folder.") from None


def _damage(folder: Path) -> FileError | None:
    """What is wrong with a folder of the cache, if anything is."""
    try:
        named = check_manifest(folder)
    except FileError as error:
        return error
    foreign = sorted(name for name in _files_in(folder) if name not in named and not Path(name).name.startswith("."))
    return FileError(f"{folder / foreign[0]}: damaged or foreign, {MANIFEST} does not name it.") if foreign else None


def _files_in(folder: Path) -> Iterator[str]:
    """The files in a folder, at any depth, but its manifest and what is half written."""
    for path in folder.rglob("*"):
        if path.is_file() and path != folder / MANIFEST and not path.name.endswith(".tmp"):
            yield path.relative_to(folder).as_posix()


def _lies_inside(name: str) -> bool:
    """Whether a name can be one of a file below its folder."""
    try:
        os.fsencode(name)  # bytes that are not UTF-8 have a way to be written, other half characters have none
    except UnicodeEncodeError:
        return False
    path = Path(name)
    return "\0" not in name and not (path.drive or path.root) and path.parts != () and ".." not in path.parts


def _temporary(path: Path) -> Path:
    """A name beside `path` that no other process or thread uses."""
    return path.with_name(f".{path.name}.{os.urandom(6).hex()}.tmp")


def _new_mode(path: Path) -> int:
    """The mode of a new file beside `path`, as the umask gives it; to read the umask itself, one has to change it."""
    new = _temporary(path)
    new.touch()
    mode = new.stat().st_mode
    new.unlink()
    return mode


def _bring_to_disk(path: Path) -> None:
    """Make a file's content, or a folder's list of names, survive a power cut."""
    if path.is_dir() and os.name == "nt":  # Windows has no handle for a folder, and needs none
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def one_process_at_a_time(folder: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold a lock beside `folder`, a file that goes again; the system lets go of it when this process ends, however.

    Args:
        wait: until another process that holds it lets go; else the block is told that it is not held.

    Raises:
        CacheError, FileError: no lock can be made there.
    """
    from filelock import Timeout

    lock = _lock(str(folder.with_name(f".{folder.name}.lock")), os.getpid())
    with writing(folder):
        try:
            lock.acquire(timeout=1 if wait else 0)
        except Timeout:
            if wait:
                say(f"Waiting for another process that fills {folder}")
                lock.acquire()
    try:
        yield lock.is_locked
    finally:
        if lock.is_locked:
            with suppress(OSError):  # whoever waits for the file sees that it has no name any more, and makes another
                os.unlink(lock.lock_file)
            lock.release()


@cache
def _lock(path: str, process: int) -> "FileLock":
    """Kept, since a Ctrl-C that comes while one is thrown away would be lost; a forked process has its own."""
    from filelock import FileLock

    return FileLock(path)


def _cannot_read(path: str | Path, error: OSError) -> FileError:
    return FileError(f"{path}: cannot be read ({error.strerror or error}).")


def _cannot_write(path: Path, error: OSError) -> FileError:
    why = error.strerror or str(error)
    file = error.filename2 or error.filename  # of a copy the second is the one that is written
    if file and str(file) != str(path) and ".tmp" not in str(file):
        why += f": {file}"
    first = "Free some room" if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else "Mend that"
    if _in_cache(path):
        return CacheError(f"{path}: cannot be written ({why}). {first}, or set POLYPROMPT_CACHE to another folder.")
    return FileError(f"{path}: cannot be written ({why}). {first}, or choose another place.")


def _in_cache(path: Path) -> bool:
    try:
        return path.is_relative_to(_cache_root())
    except CacheError:  # there is none
        return False
