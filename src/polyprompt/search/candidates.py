"""What there is to be embedded: the pictures and videos below a folder, or those that a table or archive lists."""

import hashlib
import io
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from polyprompt.data.files import Walk, readable
from polyprompt.data.items import Picture
from polyprompt.disk.files import sha256
from polyprompt.disk.places import nearby
from polyprompt.errors import DataError, FileError, ImageError
from polyprompt.media.ahead import made_ahead
from polyprompt.media.frames import moves, open_frames
from polyprompt.media.pictures import Preprocess, file_bytes, recognised
from polyprompt.media.suffixes import IMAGES, VIDEOS

THUMBNAIL = 256
"""Longer side of a thumbnail, in pixels."""
BATCH = 64
"""Pictures embedded at a time; as many more are read meanwhile."""
TAKEN, CAMERA, DETAILS = 0x9003, 0x0110, 0x8769
"""EXIF: when the picture was taken, by which camera, and where the first of these stands."""


@dataclass(frozen=True)
class Candidate:
    """A picture or video that may have to be embedded; nothing of it is read yet."""

    path: str
    """Below the root, with /; bytes that are not UTF-8 are half characters, as `os.fsdecode` has them."""
    size: int
    changed: int
    """Nanoseconds since 1970; -1 where there is no date to believe, so that it is read each time."""
    picture: Picture
    file: Path | None = None
    """Where it lies, if it is a file of its own."""


@dataclass(frozen=True)
class Facts:
    """What is told about a picture beside its row."""

    width: int
    height: int
    moves: bool
    taken: str | None = None
    """YYYY-MM-DDTHH:MM:SS, where the picture says so."""
    camera: str | None = None


@dataclass
class Seen:
    """A picture that was looked at: its content's hash, and what was made of it unless the content is known."""

    candidate: Candidate
    content: str = ""
    bad: str = ""
    """Why it cannot be read."""
    facts: Facts | None = None
    thumbnail: bytes = b""
    pixels: list[Float[Tensor, "3 size size"]] = field(default_factory=list)

    def line(self, facts: Facts | None) -> dict[str, object]:
        """As it is kept: what is known of the file."""
        line: dict[str, object] = {
            "path": self.candidate.path,
            "size": self.candidate.size,
            "changed": self.candidate.changed,
        }
        if self.bad:
            return line | {"bad": self.bad}
        assert facts is not None
        return line | {"content": self.content} | {key: value for key, value in asdict(facts).items() if value}


def in_folder(root: Path) -> list[Candidate]:
    """The pictures and videos below a folder, sorted; links are followed, and what is odd about them is told.

    Raises:
        DataError: no such folder, or nothing in it.
    """
    if not root.is_dir():
        raise DataError(f"{readable(str(root))}: no such folder.{nearby(root)}")
    walk = Walk(root, strict=False)
    candidates = []
    for path in walk.files(root):
        try:
            state = os.stat(path)
        except OSError:  # gone since
            continue
        if stat.S_ISREG(state.st_mode):
            name = os.path.relpath(path, root).replace(os.sep, "/")
            picture = Picture(readable(str(path)), partial(file_bytes, path))
            candidates.append(Candidate(name, state.st_size, state.st_mtime_ns, picture, path))
    walk.warn()
    if not candidates:
        raise DataError(f"{readable(str(root))}: no pictures in it. Give a folder with {', '.join(sorted(IMAGES))}.")
    return candidates


def listed(pictures: Sequence[Picture]) -> list[Candidate]:
    """Pictures that a table or archive lists; each is read every time, since nothing tells whether it has changed."""
    return [Candidate(picture.key, 0, -1, picture) for picture in pictures]


def read_ahead(
    candidates: Sequence[Candidate], known: Callable[[str], bool], preprocess: Preprocess, frames: int
) -> Iterator[list[Seen]]:
    """All of them, some at a time, read by threads ahead of who asks.

    Args:
        known: whether a content's hash is that of one that was embedded before.
    """
    read_one = partial(_read, known=known, preprocess=preprocess, frames=frames)
    return made_ahead(read_one, candidates, BATCH)


def _read(candidate: Candidate, known: Callable[[str], bool], preprocess: Preprocess, frames: int) -> Seen:
    try:
        if candidate.file is not None and candidate.file.suffix.lower() in VIDEOS:  # too large to be held whole
            content = sha256(candidate.file)
            return (
                Seen(candidate, content)
                if known(content)
                else _made(candidate, content, candidate.file, preprocess, frames)
            )
        data = candidate.picture.read()
        content = hashlib.sha256(data).hexdigest()
        return Seen(candidate, content) if known(content) else _made(candidate, content, data, preprocess, frames)
    except ImageError as error:
        return Seen(candidate, bad=error.why)
    except FileNotFoundError:
        return Seen(candidate, bad="no such file")
    except FileError as error:
        return Seen(candidate, bad=str(error))
    except OSError as error:
        return Seen(candidate, bad=f"cannot be read ({error.strerror or error})")


def _made(candidate: Candidate, content: str, source: Path | bytes, preprocess: Preprocess, frames: int) -> Seen:
    if isinstance(source, Path) or moves(source):
        shown, (taken, camera) = open_frames(source, frames), (None, None)
    else:
        shown, (taken, camera) = [candidate.picture.decode(source)], _exif(source)
    middle = shown[len(shown) // 2]
    facts = Facts(middle.width, middle.height, len(shown) > 1, taken, camera)
    pixels = [preprocess(frame) for frame in shown]
    return Seen(candidate, content, facts=facts, thumbnail=thumbnail(middle), pixels=pixels)


def thumbnail(picture: Image.Image, side: int = THUMBNAIL) -> bytes:
    """A picture as a small JPEG."""
    small = picture.copy()
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    small.save(file, "JPEG", quality=82)
    return file.getvalue()


def _exif(data: bytes) -> tuple[str | None, str | None]:
    """When a picture was taken and with what, if it says so in a way that can be read."""
    try:
        with recognised(data, "picture") as image:
            exif = image.getexif()
            taken, camera = str(exif.get_ifd(DETAILS).get(TAKEN, "")), str(exif.get(CAMERA, ""))
    except Exception:  # Pillow raises all kinds on damaged headers, and the picture itself was read
        return None, None
    date, _, time = taken.strip("\0 ").partition(" ")
    with suppress(ValueError):
        taken = datetime.fromisoformat(f"{date.replace(':', '-')}T{time}").isoformat(timespec="seconds")
        return taken, readable(camera.strip("\0 "))[:100] or None
    return None, readable(camera.strip("\0 "))[:100] or None


def stacked(seen: Sequence[Seen]) -> tuple[Float[Tensor, "f 3 size size"], list[int]]:
    """The pixels of several pictures, and how many frames each has."""
    return torch.stack([frame for one in seen for frame in one.pixels]), [len(one.pixels) for one in seen]
