"""What people hand in: texts and pictures, one or several; whatever else it is is refused in one line."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias, overload

from jaxtyping import Float
from PIL import Image
from torch import Tensor

from polyprompt.errors import DataError

Picture: TypeAlias = str | Path | bytes | Image.Image
"""A path, the bytes of a file, or a PIL picture."""

LETTERS = 8_000
"""Of a text that someone types or sends; towers read far fewer, and some tokenizers take minutes for a longer word."""

Frames: TypeAlias = Sequence[Image.Image]
"""A video as some of its frames."""


def list_of_texts(given: object, what: str = "text") -> list[str]:
    """The texts as a list; one text is a list of one.

    Raises:
        DataError: no text, something that is none, or half a character (a lone surrogate).
    """
    texts = [given] if isinstance(given, str) else _listed(given, what)
    for place, text in enumerate(texts, start=1):
        if not isinstance(text, str):
            raise DataError(f"{what} {place} is of type {type(text).__name__}; give each {what} as a str")
        if any("\ud800" <= sign <= "\udfff" for sign in text):
            raise DataError(f"{what} {place}, {text!r:.60}, holds half a character (a lone surrogate); write it whole")
    return texts


@overload
def list_of_pictures(given: object) -> list[Picture]: ...


@overload
def list_of_pictures(given: object, *, frames: bool) -> list[Picture | Frames]: ...


def list_of_pictures(given: object, *, frames: bool = False) -> list[Picture] | list[Picture | Frames]:
    """The pictures as a list; one picture is a list of one.

    Args:
        given: a list of PIL pictures is several pictures; inside another list it is a video.
        frames: whether videos are taken, each as the list of its frames.

    Raises:
        DataError: no picture, or something that is none.
    """
    pictures: list[Picture | Frames] = [given] if isinstance(given, Picture) else _listed(given, "picture")
    for place, picture in enumerate(pictures, start=1):
        if not isinstance(picture, Picture) and not (frames and _is_video(picture)):
            also = ", or a list of PIL pictures for a video" if frames else ""
            raise DataError(
                f"picture {place} is of type {type(picture).__name__}; give each as a path or a PIL picture{also}"
            )
    return pictures


def checked_pixels(pixels: Tensor) -> Float[Tensor, "b 3 height width"]:
    """Preprocessed pixels of several pictures; those of one are a batch of one.

    Raises:
        DataError: no picture, not three channels, or whole numbers.
    """
    if pixels.ndim == 3:
        pixels = pixels[None]
    if pixels.ndim != 4 or pixels.shape[1] != 3 or not pixels.is_floating_point():
        raise DataError(
            f"pixels: got {pixels.dtype} of shape {list(pixels.shape)}; give floats [pictures, 3, height, width], "
            "as `preprocess` makes them"
        )
    if not len(pixels):
        raise DataError("no pictures were given; give at least one")
    return pixels


def _listed(given: object, what: str) -> list[Any]:
    if isinstance(given, bytes) or not isinstance(given, Iterable):
        raise DataError(f"{what}s: got a {type(given).__name__}; give one {what}, or a list of them")
    items = list(given)
    if not items:
        raise DataError(f"no {what}s were given; give at least one")
    return items


def _is_video(given: object) -> bool:
    return isinstance(given, list | tuple) and len(given) > 0 and all(isinstance(one, Image.Image) for one in given)
