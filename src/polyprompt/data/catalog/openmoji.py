"""OpenMoji: pictures of emoji with their names, in colour and as line drawings.

"All emojis designed by OpenMoji – the open-source emoji and icon project. License: CC BY-SA 4.0." The names are CLDR's,
the further captions are the aliases that chat programs use; both come from the package `emoji`.

What is left out: skin tones; the flags of countries and regions, whose names tell nothing about the picture; emoji that
the pinned release does not draw. Emoji drawn alike to the last byte ("cook" and "man cook") are one picture
with the captions of all: otherwise the same picture could be learned from and tested on, and no search could tell them
apart. Near twins ("woman cook") remain, and fall into any split.
"""

import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from polyprompt.data.entry import Entry
from polyprompt.data.items import Picture
from polyprompt.data.rows import Row
from polyprompt.disk.files import built_once, cache_folder, check_manifest, digest
from polyprompt.disk.packaged import openmoji_svgs
from polyprompt.errors import DataError, install
from polyprompt.media.pictures import file_bytes
from polyprompt.progress import track

SIZE = 224
"""Pixels of a drawing's side."""
SPLITS = ("train", "dev", "test")
"""80, 10 and 10 % of the pictures, by the hash of a code point: the same on every machine and in every release."""

SKIN_TONES = range(0x1F3FB, 0x1F400)
FLAG_LETTERS = range(0x1F1E6, 0x1F200)
FLAG_TAGS = range(0xE0000, 0xE0080)
LINE_GROUPS = ("line", "line-supplement")

SVG = "http://www.w3.org/2000/svg"
BLANK = f'<svg xmlns="{SVG}" viewBox="0 0 72 72"/>'


def rows(folder: Path, part: str, split: str | None) -> Iterator[Row]:
    """A row for each caption; the first one of a picture is its CLDR name.

    1,625 pictures and about 2,250 captions in all. A picture's key is the file name of its code points, `1F622.png`.
    It is in the same split in colour and as a line drawing. Line drawings that are alike (the hearts of all colours)
    are one picture with the captions of all. Fetched and drawn once, into the cache folder.

    Args:
        folder: not looked into.
        part: "colour", or "lines": the black lines alone, without colours, skin and hair.
        split: drawings that are alike are joined within it alone, as a line drawing may be alike in two.

    Raises:
        DataError: the package `resvg_py`, needed for drawing, is missing.
        FileError: OpenMoji cannot be fetched (`CacheError`: no room for it).
    """
    svgs = openmoji_svgs()
    captions = captions_by_code(path.stem for path in svgs.glob("*.svg"))
    drawn = _drawings(svgs, sorted(captions), lines=False)
    groups = [group for group in _alike(drawn, captions) if split in (None, split_of(group[0]))]
    if part == "lines":
        drawn = _drawings(svgs, sorted(captions), lines=True)
        members = {group[0]: group for group in groups}
        groups = [[code for first in alike for code in members[first]] for alike in _alike(drawn, members)]
    for group in groups:
        key = f"{group[0]}.png"
        picture = Picture(key, partial(file_bytes, drawn / key))
        for text in (text for code in group for text in captions[code]):
            yield Row(f"openmoji, {key}", key, picture, text, split_of(group[0]))


def split_of(code: str) -> str:
    """The split of a picture, by its code points ("1F622")."""
    tenth = int(digest(code)[:8], 16) % 10
    return {8: "dev", 9: "test"}.get(tenth, "train")


def captions_by_code(drawn: Iterable[str]) -> dict[str, list[str]]:
    """The captions of each drawing of a named emoji, the name first: {"1F622": ["crying face", "cry"]}.

    An alias is left out if it is no words ("+1", "clock4", "tv"), repeats the name, or is said of another emoji too.

    Args:
        drawn: code points of the drawings, in hex, joined by "-"; with or without FE0F, as OpenMoji has them.
    """
    from emoji import EMOJI_DATA, STATUS

    drawn = set(drawn)
    texts_of = {}
    for emoji, data in EMOJI_DATA.items():
        points = [ord(letter) for letter in emoji]
        without = any(point in skipped for point in points for skipped in (SKIN_TONES, FLAG_LETTERS, FLAG_TAGS))
        if without or data["status"] != STATUS["fully_qualified"]:
            continue
        spellings = ("-".join(f"{p:04X}" for p in points), "-".join(f"{p:04X}" for p in points if p != 0xFE0F))
        if code := next((spelling for spelling in spellings if spelling in drawn), None):
            texts_of[code] = [_words(name) for name in (data["en"], *data.get("alias", ()))]

    owners: dict[str, set[str]] = {}
    for code, texts in texts_of.items():
        for text in texts:
            owners.setdefault(_bare(text), set()).add(code)
    captions = {}
    for code, (name, *aliases) in texts_of.items():
        kept = {_bare(name): name}
        for alias in aliases:
            if _says_something(alias) and len(owners[_bare(alias)]) == 1:
                kept.setdefault(_bare(alias), alias)
        captions[code] = list(kept.values())
    return captions


def draw(svg: str, *, lines: bool = False) -> bytes:
    """An SVG drawn on white, 224 px wide and high, as PNG; with `lines`, its groups `line` and `line-supplement` alone.

    Raises:
        DataError: the package `resvg_py` is missing.
    """
    try:
        from resvg_py import svg_to_bytes
    except ImportError as error:
        raise DataError(f"openmoji: drawing it needs the package resvg_py; {install('demo')}.") from error

    if lines:
        root = ET.fromstring(svg)
        for part in list(root):
            if part.get("id") not in LINE_GROUPS:
                root.remove(part)
        svg = ET.tostring(root, encoding="unicode")
    return svg_to_bytes(svg_string=svg, width=SIZE, height=SIZE, background="#ffffff", skip_system_fonts=True)


def _drawings(svgs: Path, codes: list[str], *, lines: bool) -> Path:
    """A folder of PNG files for these drawings, made once. Those on which nothing is to be seen are left out."""
    from importlib.metadata import version

    style = "lines" if lines else "colour"
    sources = check_manifest(svgs)
    key = digest(str(SIZE), version("resvg_py"), *codes, *(sources[f"{code}.svg"] for code in codes))

    def build(folder: Path) -> None:
        blank = draw(BLANK)
        for code in track(codes, f"Drawing OpenMoji ({style})"):
            picture = draw((svgs / f"{code}.svg").read_text(encoding="utf-8"), lines=lines)
            if picture != blank:
                (folder / f"{code}.png").write_bytes(picture)

    return built_once(cache_folder("openmoji") / f"{style}-{key[:12]}", build, f"Drawing OpenMoji ({style})")


def _alike(folder: Path, codes: Iterable[str]) -> list[list[str]]:
    """The codes, in order, in groups whose drawings are the same bytes."""
    hashes = check_manifest(folder)
    groups: dict[str, list[str]] = {}
    for code in sorted(codes):
        if f"{code}.png" in hashes:
            groups.setdefault(hashes[f"{code}.png"], []).append(code)
    return list(groups.values())


def _words(name: str) -> str:
    """ ":crying_face:" as people write it."""
    return name.strip(":").replace("_", " ").strip()


def _bare(text: str) -> str:
    """The letters and digits of a caption: what makes two captions the same."""
    return "".join(letter for letter in text.casefold() if letter.isalnum())


def _says_something(alias: str) -> bool:
    return len(alias) > 2 and all(letter.isalpha() or letter in " -'" for letter in alias)


ENTRY = Entry(
    title="OpenMoji 17, emoji with their names",
    holds="captions",
    rows=rows,
    folders=(),
    splits=SPLITS,
    parts=("colour", "lines"),
    default_part="colour",
    counts={
        "colour/train": 1_293,
        "colour/dev": 171,
        "colour/test": 161,
        "lines/train": 1_265,
        "lines/dev": 170,
        "lines/test": 161,
    },
    page="https://openmoji.org",
    licence="CC BY-SA 4.0",
    notes=("fetched from a pinned wheel and drawn when it is first asked for",),
)
