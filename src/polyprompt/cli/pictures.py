"""What the commands do about pictures that cannot be read."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL.Image import Image

from polyprompt.errors import DataError, ImageError
from polyprompt.files import tell
from polyprompt.progress import track
from polyprompt.towers.pictures import open_picture

TOGETHER = 64


@contextmanager
def way_out() -> Iterator[None]:
    """Tells which option leaves an unreadable picture out."""
    try:
        yield
    except ImageError as error:
        raise DataError(f"{error}. Mend it or take it out, or leave up to ten such out with --max-bad 10.") from None


def opened(files: list[Path], max_bad: int) -> Iterator[tuple[list[Path], list[Image]]]:
    """Pictures in handy batches with their paths, under a progress bar; unreadable ones are told and left out.

    Raises:
        DataError: more than `max_bad` of them.
    """
    bad = 0
    for at in track(range(0, len(files), TOGETHER), "Pictures"):
        batch: dict[Path, Image] = {}
        for file in files[at : at + TOGETHER]:
            try:
                batch[file] = open_picture(file)
            except ImageError as error:
                bad += 1
                tell(f"left out, {error}")
        if bad > max_bad:
            raise DataError(
                f"{bad} pictures cannot be read, and {max_bad} may be left out. Mend them, or raise --max-bad."
            )
        if batch:
            yield list(batch), list(batch.values())
