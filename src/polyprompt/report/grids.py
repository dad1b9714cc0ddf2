"""Pictures side by side with words under them, as one image: the results of searches, the maps of `explain`."""

import io
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from polyprompt.disk.files import write_bytes
from polyprompt.errors import FileError
from polyprompt.report.words import printed

SIDE = 200
"""Width and height of a search result in a grid, in pixels."""
INK, FAINT, PAPER, FRAME = "#1d2429", "#69757e", "#ffffff", "#f1f3f4"
FOR, AGAINST = "#2c7fb8", "#c8553d"
TEXT, TITLE, GAP, MARGIN = 14, 21, 16, 28


@dataclass(frozen=True)
class Bar:
    """A bar under a picture; `length` from -1 (full, against) to 1 (full, for)."""

    length: float


@dataclass(frozen=True)
class Tile:
    """A picture with lines of text under it; the last line is printed faint."""

    picture: Image.Image
    lines: Sequence[str]
    bar: Bar | None = None


@dataclass(frozen=True)
class Hit:
    """One result of a search."""

    picture: Image.Image
    score: float
    name: str


def grid(searches: Sequence[tuple[str, Sequence[Hit]]], columns: int = 6) -> Image.Image:
    """The results of each query, best first, as rows of pictures with score and name."""
    sheets = [
        sheet(
            [query],
            [[_result(rank, hit) for rank, hit in enumerate(hits, 1)]],
            columns=columns,
            notes=[] if hits else ["No pictures."],
        )
        for query, hits in searches
    ]
    return _stacked(sheets)


def write_png(path: Path, image: Image.Image) -> None:
    """Write an image as PNG, whole or not at all.

    Raises:
        FileError: the name does not end in .png, or the file cannot be written.
    """
    if path.suffix.lower() != ".png":
        raise FileError(f"{path}: pictures are written as PNG. Give a name that ends in .png.")
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    write_bytes(path, file.getvalue())


def sheet(
    title: Sequence[str], blocks: Sequence[Sequence[Tile]], *, columns: int, notes: Sequence[str] = ()
) -> Image.Image:
    """A title, tiles of one size in rows, and notes at the foot; lines that are too long end in "…"."""
    side = max((tile.picture.width for block in blocks for tile in block), default=SIDE)
    width = 2 * MARGIN + columns * side + (columns - 1) * GAP
    parts = [_text_band(title, TITLE, INK, width)]
    for block in blocks:
        rows = [block[at : at + columns] for at in range(0, len(block), columns)]
        parts += [_row(row, side, width) for row in rows]
    if notes:
        parts.append(_text_band(notes, TEXT, FAINT, width))
    return _stacked(parts)


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib and has more scripts than Pillow's own font."""
    import matplotlib

    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size)


def fitted(text: str, size: int, width: int) -> str:
    """The text on one line, without control characters, cut to the width with "…" at its end."""
    text = text[:10_000]  # more than that no line takes, and Pillow refuses to measure it
    text = " ".join("".join(" " if unicodedata.category(c) == "Cc" else c for c in text).split())
    if len(text) <= width and font(size).getlength(text) <= width:
        return text
    text = text[:width]  # hardly a letter is narrower than a pixel
    while text and font(size).getlength(text + "…") > width:
        text = text[: max(len(text) - max(len(text) // 20, 1), 0)]
    return text.rstrip() + "…"


def _result(rank: int, hit: Hit) -> Tile:
    return Tile(_square(hit.picture), [f"{rank} · {printed(hit.score, '.3f')}", hit.name])


def _row(tiles: Sequence[Tile], side: int, width: int) -> Image.Image:
    line = round(TEXT * 1.45)
    under = max((bool(tile.bar) * 14 + len(tile.lines) * line for tile in tiles), default=0)
    row = Image.new("RGB", (width, side + 10 + under + GAP), PAPER)
    draw = ImageDraw.Draw(row)
    for column, tile in enumerate(tiles):
        left, y = MARGIN + column * (side + GAP), side + 10
        row.paste(tile.picture, (left + (side - tile.picture.width) // 2, (side - tile.picture.height) // 2))
        if tile.bar:
            _draw_bar(draw, tile.bar, left, y, side)
            y += 14
        for at, text in enumerate(tile.lines):
            ink = FAINT if 0 < at == len(tile.lines) - 1 else INK
            draw.text((left, y + at * line), fitted(text, TEXT, side), ink, font(TEXT))
    return row


def _draw_bar(draw: ImageDraw.ImageDraw, bar: Bar, left: int, y: int, side: int) -> None:
    """From the middle: to the right what speaks for the match, to the left what speaks against it."""
    middle, reach = left + side // 2, round(abs(bar.length) * (side // 2))
    draw.rectangle((left, y, left + side - 1, y + 5), FRAME)
    start, end = (middle, middle + reach) if bar.length >= 0 else (middle - reach, middle)
    draw.rectangle((start, y, end, y + 5), FOR if bar.length >= 0 else AGAINST)
    draw.line((middle, y - 2, middle, y + 7), FAINT)


def _text_band(lines: Sequence[str], size: int, ink: str, width: int) -> Image.Image:
    step = round(size * 1.5)
    band = Image.new("RGB", (width, MARGIN + len(lines) * step + GAP // 2), PAPER)
    for at, text in enumerate(lines):
        place = (MARGIN, MARGIN // 2 + at * step + GAP // 2)
        ImageDraw.Draw(band).text(place, fitted(text, size, width - 2 * MARGIN), ink, font(size))
    return band


def _square(picture: Image.Image) -> Image.Image:
    """The whole picture, in the middle of a pale square."""
    return ImageOps.pad(picture.convert("RGB"), (SIDE, SIDE), Image.Resampling.LANCZOS, color=FRAME)


def _stacked(parts: Sequence[Image.Image]) -> Image.Image:
    whole = Image.new("RGB", (max(part.width for part in parts), sum(part.height for part in parts)), PAPER)
    y = 0
    for part in parts:
        whole.paste(part, (0, y))
        y += part.height
    return whole
