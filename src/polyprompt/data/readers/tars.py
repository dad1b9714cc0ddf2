"""webdataset shards: tar files in which the members of one sample share their name up to the first dot.

`000012.jpg` with `000012.txt` (one caption), with `000012.json` (an object with a caption, or a list of them), or with
`000012.cls` (a label: a class's name, or its number or WordNet id in a file `classnames.txt` beside the shards). Where
dots are part of the names (`img_22.05.jpg` with `img_22.05.txt`), they are taken up to the last one. Nothing is
unpacked: the shard is indexed once, and a picture is read at its offset. The split is the json's, or else the word in
the shard's name (`train-0001.tar`, `val/0001.tar`).

Source: the format of the webdataset library (https://github.com/webdataset/webdataset); the tests read its files.
"""

import os
import re
import tarfile
from collections.abc import Iterator
from functools import partial
from glob import glob
from pathlib import Path

from polyprompt.data.files import (
    Walk,
    class_list,
    first_files,
    folder_name,
    is_hidden,
    readable,
    visible_folders,
)
from polyprompt.data.items import Picture
from polyprompt.data.json_files import parsed
from polyprompt.data.messages import count, say_once, some
from polyprompt.data.names import LIST, is_code, read_class_list
from polyprompt.data.rows import (
    CAPTION,
    CLASS_NAME,
    LABEL,
    SPLIT,
    Row,
    column,
    is_empty,
    label_of,
    label_or_empty,
    name_in,
    optional_column,
    texts,
)
from polyprompt.data.splits import USUAL
from polyprompt.data.text_files import text_in
from polyprompt.disk.files import check_regular
from polyprompt.errors import DataError, install
from polyprompt.media.pictures import check_bytes, open_regular
from polyprompt.media.suffixes import SEEN
from polyprompt.values import Json, Plain

WHAT = "webdataset shards (*.tar)"
PICTURES = frozenset(suffix.removeprefix(".") for suffix in SEEN)
TEXTS = ("txt", "caption", "text")
CLASS = "cls"
ABOUT = frozenset((*TEXTS, CLASS, "json"))
"""Endings of members that say something about the picture."""
BLOCK = 512

Members = dict[str, tarfile.TarInfo]
"""What a sample holds, by ending."""
ClassNames = dict[str | int, tuple[str | int, str]]
"""Number and name of a class, by its label."""


def fits(source: str) -> bool:
    """Whether this is a shard, a pattern of shards (`data/{0000..0099}.tar`, `data/*.tar`) or a folder with some."""
    if not os.path.isdir(source):
        return source.endswith(".tar")
    return _holds_shards(Path(source), 3)


def rows(source: str) -> Iterator[Row]:
    """One row per caption, or per labelled picture, shards in the order of their names.

    Raises:
        DataError: no shard, a damaged or compressed one, or a picture without a caption or a label.
    """
    shards = _shards(source)
    root = Path(source) if os.path.isdir(source) else Path(os.path.commonpath([shard.parent for shard in shards]))
    names = _class_names(root)
    seen: dict[str, None] = {}
    more: list[str] = []
    left: list[str] = []
    several: list[str] = []
    for shard in shards:
        known = readable(shard.relative_to(root).as_posix())
        for name, members in _samples(shard, known, left).items():
            pictures = [ending for ending in members if ending in PICTURES]
            if len(pictures) > 1:
                several.append(f"{known}/{readable(name)}.{pictures[1]}")
            sample_rows = list(_rows_of(shard, known, name, members, names, more))
            seen |= dict.fromkeys(row.class_name or str(row.label) for row in sample_rows if row.label is not None)
            left += [] if sample_rows else [f"{known}/{readable(member.name)}" for member in members.values()]
            yield from sample_rows
    if left:
        number = count(len(left), "member is", "members are")
        say_once(source, f"{folder_name(source)}: {number} neither picture nor caption, and left out ({some(left)}).")
    if more:
        number = count(len(more), "sample says", "samples say")
        say_once(source, f"{folder_name(source)}: {number} more than is read, passed over ({some(more)}).")
    if seen and (bare := [name for _, name in dict.fromkeys(names.values()) if name and name not in seen]):
        number = count(len(bare), "class", "classes")
        say_once(source, f"{folder_name(source)}: {number} of {LIST} without a picture ({some(bare)}).")
    if several:
        number = count(len(several), "sample has", "samples have")
        say_once(source, f"{folder_name(source)}: {number} several pictures; the first is taken, not {some(several)}.")


def _holds_shards(folder: Path, depth: int) -> bool:
    """Whether there are shards in a folder, or in folders in it; one that holds pictures besides is another thing."""
    inside = first_files(folder)
    if any(Path(name).suffix.lower() in SEEN for name in inside):
        return False
    if any(name.endswith(".tar") for name in inside):
        below = [first_files(folder / name) for name in visible_folders(folder)]
        return not any(Path(name).suffix.lower() in SEEN for names in below for name in names)
    return depth > 1 and any(_holds_shards(folder / name, depth - 1) for name in visible_folders(folder))


def _shards(source: str) -> list[Path]:
    if os.path.isdir(source):
        walk = Walk(Path(source), endings=(".tar",), things="shards")
        shards = walk.files(walk.root)
        walk.warn()
        return shards
    patterns = [source]
    if "{" in source:
        try:
            from braceexpand import braceexpand
        except ImportError:
            raise DataError(f"{source}: braces need the package braceexpand; {install('data')}; or use *") from None
        patterns = list(braceexpand(source))
    shards = [path for pattern in patterns for path in sorted(glob(pattern)) or [pattern]]
    return [Path(path) for path in shards]


def _class_names(root: Path) -> ClassNames:
    """Number and name of each label: one name a line, or as class folders have it, "n01440764 tench"."""
    if not (file := class_list(root)):
        return {}
    lines = [line.strip() for line in text_in(file).splitlines()]
    if not all(is_code(line.partition(" ")[0]) and " " in line for line in lines if line):
        return {number: (number, line) for number, line in enumerate(lines)}
    named = {label_of(code, file.name): name for code, name in read_class_list(file).items()}
    if any(isinstance(code, int) for code in named):
        return {code: (code, name) for code, name in named.items()}
    return {key: (i, name) for i, (code, name) in enumerate(named.items()) for key in (i, code)}


def _samples(shard: Path, known: str, left: list[str]) -> dict[str, Members]:
    """Members by sample name and lower-case ending; what belongs to none is added to `left`."""
    members: list[tarfile.TarInfo] = []
    try:
        check_regular(shard)
        with tarfile.open(shard, "r:") as tar:
            for member in tar:
                if member.isreg() and any(map(is_hidden, member.name.removeprefix("./").split("/"))):
                    left.append(f"{known}/{readable(member.name)}")
                elif member.isreg():
                    members.append(member)
            _refuse_damage(shard, tar)
    except FileNotFoundError:
        raise DataError(f"{shard}: no such file") from None
    except tarfile.TarError as error:
        raise DataError(f"{shard}: not a whole plain tar ({error}); a compressed one must be unpacked first") from None
    except OSError as error:
        raise DataError(f"{shard}: cannot be read ({error.strerror or error})") from None
    samples, rest = _grouped(members, known, first_dot=True)
    more, rest = _grouped(rest, known, first_dot=False)
    left += [f"{known}/{readable(member.name)}" for member in rest]
    return samples | more


def _grouped(
    members: list[tarfile.TarInfo], known: str, *, first_dot: bool
) -> tuple[dict[str, Members], list[tarfile.TarInfo]]:
    """Members grouped by their names up to the first or the last dot, and those that make no sample.

    Raises:
        DataError: a sample has two members of one ending.
    """
    groups: dict[str, Members] = {}
    for member in members:
        folder, slash, file = member.name.rpartition("/")
        stem, _, ending = file.partition(".") if first_dot else file.rpartition(".")
        group = groups.setdefault(f"{folder}{slash}{stem}", {})
        if ending.lower() in group:
            raise DataError(
                f"{known}, sample {readable(folder + slash + stem)}: holds two members .{ending}; which is meant "
                "cannot be told, write each sample once"
            )
        group[ending.lower()] = member
    samples: dict[str, Members] = {}
    rest: list[tarfile.TarInfo] = []
    for name, group in groups.items():
        kept = {ending: member for ending, member in group.items() if ending in PICTURES or ending in ABOUT}
        if not first_dot and not (kept.keys() & PICTURES and kept.keys() - PICTURES):
            kept = {}
        if kept:
            samples[name] = kept
        rest += [member for ending, member in group.items() if ending not in kept]
    return samples, rest


def _refuse_damage(shard: Path, tar: tarfile.TarFile) -> None:
    """tarfile stops at a damaged header as if the archive ended there; a real end is empty, or zeros."""
    with shard.open("rb") as file:
        file.seek(tar.offset)
        if file.read(BLOCK).strip(b"\0"):
            raise DataError(f"{shard}: damaged at byte {tar.offset}; fetch it again")


def _rows_of(shard: Path, known: str, name: str, members: Members, names: ClassNames, more: list[str]) -> Iterator[Row]:
    """The rows of a sample; what it says besides them is added to `more`."""
    where = f"{known}, sample {readable(name)}"
    image = next((member for ending, member in members.items() if ending in PICTURES), None)
    said = {ending: _text(shard, members[ending], where) for ending in (*TEXTS, CLASS) if ending in members}
    about = _about(shard, members["json"], where) if "json" in members else {}
    about, besides = (about, []) if isinstance(about, dict) else ({}, [".json, which is no object in braces"])
    captions = _captions(said, about, where)
    label, class_name = _label(said, about, where)
    if captions is None and label is None:
        if image is None:
            return
        raise DataError(f"{where}: a picture without a caption; add {name}.txt, or {name}.json with a caption")
    split_name = optional_column(list(about), SPLIT)
    split = (name_in(about[split_name], split_name, where) if split_name else "") or _split_of(shard)
    besides += [f".{ending}" for ending in TEXTS if ending in said and _plain(said[ending]) != _plain(captions)]
    for usual, taken in ((CAPTION, captions), (LABEL, label), (CLASS_NAME, class_name), (SPLIT, split)):
        besides += [
            repr(field)
            for field, value in about.items()
            if field.strip().lower() in usual and not is_empty(value) and _plain(value) != _plain(taken)
        ]
    if besides:
        more.append(f"{where}: {' and '.join(besides)}")
    if label is not None and class_name is None:
        label, class_name = names.get(label, (label, None))
    key = f"{known}/{readable(image.name if image else name)}"
    picture = Picture(key, partial(read_slice, shard, image.offset_data, image.size)) if image else None
    for caption in captions or [None]:
        yield Row(where, key, picture, caption, split, label, class_name)


def _plain(value: object) -> str:
    """A value to compare: "3" is 3, and a list of one is that one."""
    return str(value[0] if isinstance(value, list) and len(value) == 1 else value).strip()


def _captions(said: dict[str, str], about: Json, where: str) -> list[str] | None:
    """Captions, None if the sample has none."""
    for ending in TEXTS:
        if ending in said:
            return [said[ending]]
    if optional_column(list(about), CAPTION) is None:
        return None
    return texts(about[column(list(about), CAPTION, "caption", where)], where)


def _label(said: dict[str, str], about: Json, where: str) -> tuple[str | int | None, str | None]:
    """Label and class name, as far as the sample has them."""
    given, name = optional_column(list(about), LABEL), optional_column(list(about), CLASS_NAME)
    cell = said[CLASS] if CLASS in said else about.get(given) if given else None
    if cell is None:
        return None, None
    return label_or_empty(cell, where), name_in(about[name], name, where).strip() if name else None


def _about(shard: Path, member: tarfile.TarInfo, where: str) -> Plain:
    return parsed(_text(shard, member, where), f"{where}, {member.name}")


def _text(shard: Path, member: tarfile.TarInfo, where: str) -> str:
    try:
        return read_slice(shard, member.offset_data, member.size).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: byte {error.start} of {member.name} is not UTF-8") from None
    except OSError as error:
        raise DataError(f"{where}: {readable(member.name)} cannot be read ({error.strerror or error})") from None


def _split_of(shard: Path) -> str | None:
    words = re.split(r"[^a-z]+", f"{shard.parent.name}/{shard.stem}".lower())
    return next((word for word in reversed(words) if word in USUAL), None)


def read_slice(file: Path, offset: int, size: int) -> bytes:
    """`size` bytes of a file from `offset` on.

    Raises:
        OSError: it cannot be read, is shorter, or they are more than a picture may have.
    """
    check_bytes(size)
    with open_regular(file) as opened:
        opened.seek(offset)
        data = opened.read(size)
    if len(data) < size:
        raise OSError(f"{file} has become shorter since it was indexed")
    return data
