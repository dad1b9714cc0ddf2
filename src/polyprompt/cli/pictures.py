"""Pictures that a user names: found, opened some at a time, and what is done about those that cannot be read."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar, cast

from polyprompt.data.files import pictures_in, readable
from polyprompt.data.items import Picture
from polyprompt.data.rows import Row
from polyprompt.data.source import kinds_of, open_source, rows_of_kind
from polyprompt.errors import DataError, ImageError
from polyprompt.media.pictures import file_bytes
from polyprompt.progress import progress, say

Seen = TypeVar("Seen")

BATCH = 64
"""Pictures held in memory together."""


@contextmanager
def max_bad_advice() -> Iterator[None]:
    """Tells which option leaves an unreadable picture out."""
    try:
        yield
    except ImageError as error:
        raise DataError(error.advised("--max-bad 10")) from None


def picture_at(path: Path) -> Picture:
    """A file as a picture or video; nothing is read yet."""
    return Picture(readable(str(path)), partial(file_bytes, path))


def pictures_of(data: str) -> list[Picture]:
    """All pictures and videos below a folder; of another source of captions or labels, those that it lists.

    Raises:
        DataError: there is no such thing, or there are no pictures in it.
    """
    if Path(data).is_dir():
        return [picture_at(path) for path in pictures_in(Path(data))]
    kind = "captions" if "captions" in kinds_of(data) else "labels"
    rows = cast(list[Row], rows_of_kind(open_source(data, kind), kind, None))
    return list({row.key: row.picture for row in rows if row.picture}.values())


def opened(
    pictures: Sequence[Picture], max_bad: int, read: Callable[[Picture], Seen] = Picture.open
) -> Iterator[tuple[list[Picture], list[Seen]]]:
    """What `read` makes of pictures, some at a time, with them; unreadable ones are told and left out.

    Raises:
        DataError: more than `max_bad` of them. ImageError: the only one.
    """
    bad = 0
    with progress("Pictures", len(pictures)) as advance:
        for at in range(0, len(pictures), BATCH):
            batch: list[tuple[Picture, Seen]] = []
            part = pictures[at : at + BATCH]
            for picture in part:
                try:
                    batch.append((picture, read(picture)))
                except ImageError as error:
                    if len(pictures) == 1:
                        raise
                    bad += 1
                    say(f"left out, {error}")
            if bad > max_bad:
                raise DataError(
                    f"{bad} pictures cannot be read, and {max_bad} may be left out. Mend them, or raise --max-bad."
                )
            if batch:
                yield [picture for picture, _ in batch], [seen for _, seen in batch]
            advance(len(part))
