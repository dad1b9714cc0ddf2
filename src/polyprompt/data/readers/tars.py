"""webdataset shards: tar files in which the members of one sample share their name up to the first dot.

`000012.jpg` with `000012.txt` (one caption), or with `000012.json` (an object with a caption, or a list of them).
Nothing is unpacked: the shard is indexed once, and a picture is read at its offset. The split is the json's, or else
the word in the shard's name (`train-0001.tar`, `val/0001.tar`).

Source: the format of the webdataset library (https://github.com/webdataset/webdataset); the tests read its files.
"""

import json
import re
import tarfile
from collections.abc import Iterator
from functools import partial
from glob import glob
from pathlib import Path
from typing import Any

from polyprompt.data.items import Picture
from polyprompt.data.rows import CAPTION, SPLIT, Row, column, optional_column, texts
from polyprompt.errors import DataError
from polyprompt.media.video import SUFFIXES

PICTURES = frozenset({"jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "ppm", "avif", "jp2"}) | {
    suffix.removeprefix(".") for suffix in SUFFIXES
}
TEXTS = ("txt", "caption", "text")
BLOCK = 512


def fits(source: str) -> bool:
    """Whether this is a shard, a pattern of shards (`data/{0000..0099}.tar`, `data/*.tar`) or a folder with some."""
    return source.endswith(".tar") or any(Path(source).glob("**/*.tar"))


def rows(source: str) -> Iterator[Row]:
    """One row per caption, shards in the order of their names.

    Raises:
        DataError: no shard, a damaged or compressed one, or a picture without a caption.
    """
    for shard in _shards(source):
        for name, members in _samples(shard).items():
            yield from _rows_of(shard, name, members)


def _shards(source: str) -> list[Path]:
    if Path(source).is_dir():
        return sorted(Path(source).glob("**/*.tar"))
    patterns = [source]
    if "{" in source:
        try:
            from braceexpand import braceexpand
        except ImportError:
            raise DataError(
                f"{source}: braces need the braceexpand library; pip install 'polyprompt[data]', or use *"
            ) from None
        patterns = list(braceexpand(source))
    shards = [path for pattern in patterns for path in sorted(glob(pattern)) or [pattern]]
    return [Path(path) for path in shards]


def _samples(shard: Path) -> dict[str, dict[str, tarfile.TarInfo]]:
    """Members by sample name and lower-case extension."""
    samples: dict[str, dict[str, tarfile.TarInfo]] = {}
    try:
        with tarfile.open(shard, "r:") as tar:
            for member in tar:
                match = re.fullmatch(r"((?:.*/)?[^./][^./]*)\.([^/]+)", member.name)
                if member.isreg() and match:
                    samples.setdefault(match[1], {})[match[2].lower()] = member
            _refuse_damage(shard, tar)
    except FileNotFoundError:
        raise DataError(f"{shard}: no such file") from None
    except tarfile.TarError as error:
        raise DataError(f"{shard}: not a whole plain tar ({error}); a compressed one must be unpacked first") from None
    except OSError as error:
        raise DataError(f"{shard}: cannot be read ({error.strerror or error})") from None
    return samples


def _refuse_damage(shard: Path, tar: tarfile.TarFile) -> None:
    """tarfile stops at a damaged header as if the archive ended there; a real end is empty, or zeros."""
    with shard.open("rb") as file:
        file.seek(tar.offset)
        if file.read(BLOCK).strip(b"\0"):
            raise DataError(f"{shard}: damaged at byte {tar.offset}; fetch it again")


def _rows_of(shard: Path, name: str, members: dict[str, tarfile.TarInfo]) -> Iterator[Row]:
    where = f"{shard.name}, sample {name}"
    image = next((member for extension, member in members.items() if extension in PICTURES), None)
    captions, split = _captions(shard, members, where)
    if image is None and captions is None:
        return
    if captions is None:
        raise DataError(f"{where}: a picture without a caption; add {name}.txt, or {name}.json with a caption")
    key = f"{shard.name}/{image.name if image else name}"
    picture = Picture(key, partial(read_slice, shard, image.offset_data, image.size)) if image else None
    for caption in captions:
        yield Row(where, key, picture, caption, split or _split_of(shard))


def _captions(shard: Path, members: dict[str, tarfile.TarInfo], where: str) -> tuple[list[str] | None, str | None]:
    """Captions (None if the sample has none) and split."""
    about = _about(shard, members["json"], where) if "json" in members else {}
    split_name = optional_column(list(about), SPLIT)
    split = str(about[split_name]) if split_name and about[split_name] else None
    for extension in TEXTS:
        if extension in members:
            return [_text(shard, members[extension], where)], split
    if optional_column(list(about), CAPTION) is None:
        return None, split
    return texts(about[column(list(about), CAPTION, "caption", where)], where), split


def _about(shard: Path, member: tarfile.TarInfo, where: str) -> dict[str, Any]:
    try:
        about = json.loads(_text(shard, member, where))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: {member.name} is not JSON ({error})") from None
    return about if isinstance(about, dict) else {}


def _text(shard: Path, member: tarfile.TarInfo, where: str) -> str:
    try:
        return read_slice(shard, member.offset_data, member.size).decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: byte {error.start} of {member.name} is not UTF-8") from None


def _split_of(shard: Path) -> str | None:
    words = re.split(r"[^a-z]+", f"{shard.parent.name}/{shard.stem}".lower())
    return next(
        (word for word in reversed(words) if word in {"train", "val", "valid", "validation", "dev", "test"}), None
    )


def read_slice(file: Path, offset: int, size: int) -> bytes:
    """`size` bytes of a file from `offset` on.

    Raises:
        OSError: it cannot be read, or is shorter.
    """
    with file.open("rb") as opened:
        opened.seek(offset)
        data = opened.read(size)
    if len(data) < size:
        raise OSError(f"{file} has become shorter since it was indexed")
    return data
