"""What the commands do about pictures that cannot be read."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from polyprompt.errors import DataError, ImageError
from polyprompt.media.pictures import open_picture
from polyprompt.progress import progress, say

Seen = TypeVar("Seen")

TOGETHER = 64


@contextmanager
def way_out() -> Iterator[None]:
    """Tells which option leaves an unreadable picture out."""
    try:
        yield
    except ImageError as error:
        raise DataError(f"{error}. Mend it or take it out, or leave up to ten such out with --max-bad 10.") from None


def opened(
    files: list[Path], max_bad: int, look: Callable[[Path], Seen] = open_picture
) -> Iterator[tuple[list[Path], list[Seen]]]:
    """What `look` makes of files, in handy batches with their paths; unreadable ones are told and left out.

    Raises:
        DataError: more than `max_bad` of them.
    """
    bad = 0
    with progress("Pictures", len(files)) as advance:
        for at in range(0, len(files), TOGETHER):
            batch: dict[Path, Seen] = {}
            part = files[at : at + TOGETHER]
            for file in part:
                try:
                    batch[file] = look(file)
                except ImageError as error:
                    bad += 1
                    say(f"left out, {error}")
            if bad > max_bad:
                raise DataError(
                    f"{bad} pictures cannot be read, and {max_bad} may be left out. Mend them, or raise --max-bad."
                )
            if batch:
                yield list(batch), list(batch.values())
            advance(len(part))
