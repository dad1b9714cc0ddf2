"""Pictures that are trained on and scored: the same bytes, whatever they are called."""

from collections.abc import Mapping, Sequence

from polyprompt.data.items import Picture
from polyprompt.data.messages import count, say_once, some
from polyprompt.errors import ImageError


def warn_of_copies(place: str, trained: Sequence[Picture], scored: Mapping[str, Sequence[Picture]]) -> None:
    """Says of each set that is scored how many of its pictures are byte for byte trained on.

    Args:
        place: the source, for what is told.
        trained: the pictures to train on.
        scored: those of each set, by what it is called.
    """
    known = by_bytes(trained)
    for name, pictures in scored.items():
        if same := copies(known, pictures):
            number = count(len(same), "picture is", "pictures are")
            say_once(
                place, f"{name}: {number} trained on as well, byte for byte, so its figures flatter: {some(same)}."
            )


def by_bytes(pictures: Sequence[Picture]) -> dict[str, str]:
    """The key of the first picture that has some bytes, by their hash."""
    known: dict[str, str] = {}
    for picture in pictures:
        if digest := _digest(picture):
            known.setdefault(digest, picture.key)
    return known


def copies(known: Mapping[str, str], scored: Sequence[Picture]) -> list[str]:
    """A line for each scored picture that is byte for byte one of `by_bytes`."""
    if not known:
        return []
    return [f"{one.key} is {known[digest]}" for one in scored if (digest := _digest(one)) in known]


def _digest(picture: Picture) -> str:
    """Nothing of a picture that cannot be read; whoever opens it says so."""
    try:
        return picture.digest()
    except ImageError:
        return ""
