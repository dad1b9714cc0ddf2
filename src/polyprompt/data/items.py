"""What a sample is: a picture that is read when it is needed, pairs of pictures and captions, labelled pictures."""

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import PurePosixPath

from PIL.Image import Image

from polyprompt.data.names import check_class_names
from polyprompt.disk.files import digest
from polyprompt.errors import DataError, ImageError
from polyprompt.media.frames import moves, open_frames
from polyprompt.media.pictures import open_picture
from polyprompt.media.suffixes import VIDEOS


@dataclass(frozen=True)
class Picture:
    """A picture somewhere: in a file, a tar or a table, or still to be drawn. Nothing is read before it is asked for.

    Pictures can be pickled (for data-loading processes) if `read` and `decode` can: use `functools.partial` of a
    module's function, not a lambda.
    """

    key: str
    """Its name in errors and results; unique within a data set."""
    read: Callable[[], bytes]
    """Fetches the bytes that determine the picture: an image file's, or an SVG's."""
    decode: Callable[[bytes], Image] = open_picture
    """Turns these bytes into an RGB image; raises `ImageError` where it cannot."""

    def open(self) -> Image:
        """The picture, RGB.

        Raises:
            ImageError: it is missing or unreadable; the message begins with the key.
        """
        data = self._bytes()
        try:
            return self.decode(data)
        except ImageError as error:
            raise ImageError(self.key, error.why) from None

    @cached_property
    def moves(self) -> bool:
        """Whether it is a video or an animated GIF; only those whose key ends like one are looked into.

        Raises:
            ImageError: the bytes cannot be read.
        """
        suffix = PurePosixPath(self.key).suffix.lower()
        return suffix in VIDEOS | {".gif"} and self.decode is open_picture and moves(self._bytes())

    def frames(self, count: int) -> list[Image]:
        """`count` frames of it, if it moves (media/frames.py); else itself alone.

        Raises:
            ImageError: as `open`.
        """
        if not self.moves:
            return [self.open()]
        try:
            return open_frames(self._bytes(), count)
        except ImageError as error:
            raise ImageError(self.key, error.why) from None

    def digest(self) -> str:
        """Hex sha256 of the bytes.

        Raises:
            ImageError: the bytes cannot be read.
        """
        return hashlib.sha256(self._bytes()).hexdigest()

    def _bytes(self) -> bytes:
        try:
            return self.read()
        except FileNotFoundError:
            raise ImageError(self.key, "no such file") from None
        except OSError as error:
            raise ImageError(self.key, f"cannot be read ({error.strerror or error})") from None


@dataclass(frozen=True)
class Pairs:
    """Pictures with one or more captions each; caption i describes `images[image_of[i]]`.

    Raises:
        DataError: the parts do not fit together.
    """

    name: str
    images: tuple[Picture, ...]
    captions: tuple[str, ...]
    image_of: tuple[int, ...]
    skipped: tuple[str, ...] = ()
    """One line for each picture that was left out because it cannot be read."""

    def __post_init__(self) -> None:
        if not self.images:
            raise DataError(f"{self.name}: no pictures")
        if len(self.captions) != len(self.image_of):
            raise DataError(
                f"{self.name}: {len(self.captions)} captions, but image_of has {len(self.image_of)} entries; "
                "each caption needs one"
            )
        if set(self.image_of) != set(range(len(self.images))):
            raise DataError(
                f"{self.name}: image_of must name each of the {len(self.images)} pictures at least once, and no other"
            )
        _refuse_double_keys(self.name, self.images)

    def fingerprint(self) -> str:
        """Hex sha256 over the captions, the keys and every picture's bytes, in order; the name does not count."""
        pictures = [part for picture in self.images for part in (picture.key, picture.digest())]
        return digest(str(len(self.images)), *pictures, *map(str, self.image_of), *self.captions)

    def keep(self, images: Sequence[int], *, skipped: Sequence[str] | None = None) -> "Pairs":
        """These pictures alone, in the order given, with all their captions; `skipped` stays if not given."""
        captions_of: dict[int, list[str]] = {image: [] for image in images}
        for caption, image in zip(self.captions, self.image_of, strict=True):
            if image in captions_of:
                captions_of[image].append(caption)
        kept = [(new, caption) for new, image in enumerate(images) for caption in captions_of[image]]
        return replace(
            self,
            images=tuple(self.images[image] for image in images),
            captions=tuple(caption for _, caption in kept),
            image_of=tuple(new for new, _ in kept),
            skipped=self.skipped if skipped is None else tuple(skipped),
        )


@dataclass(frozen=True)
class Labelled:
    """Pictures with a class each: picture i shows `class_names[labels[i]]`. Labels count from 0.

    The order of the classes is that of their labels: it decides which half of them is "base".

    Raises:
        DataError: the parts do not fit together.
    """

    name: str
    pictures: tuple[Picture, ...]
    labels: tuple[int, ...]
    class_names: tuple[str, ...]
    twins: tuple[str, ...] = ()
    """Names that two classes share because the published set has it so (ImageNet's "missile")."""
    skipped: tuple[str, ...] = ()
    """One line for each picture that was left out because it cannot be read."""
    gaps: tuple[tuple[int, int], ...] = ()
    """Where these stood: how many pictures come before, and the label. A draw counts them, so the others stay drawn."""

    def __post_init__(self) -> None:
        if len(self.pictures) != len(self.labels):
            raise DataError(f"{self.name}: {len(self.pictures)} pictures, but {len(self.labels)} labels; give one each")
        for picture, label in zip(self.pictures, self.labels, strict=True):
            if not 0 <= label < len(self.class_names):
                raise DataError(
                    f"{self.name}: {picture.key} has label {label}; "
                    f"with {len(self.class_names)} classes it must be 0 to {len(self.class_names) - 1}"
                )
        check_class_names(self.class_names, self.name, twins=self.twins, least=0)

    def fingerprint(self) -> str:
        """Hex sha256 over class names, labels, keys and every picture's bytes, in order; the name does not count."""
        pictures = [part for picture in self.pictures for part in (picture.key, picture.digest())]
        gaps = [f"gap {at} {label}" for at, label in self.gaps]
        return digest(str(len(self.class_names)), *self.class_names, *map(str, self.labels), *pictures, *gaps)

    def listed(self) -> list[tuple[int | None, int]]:
        """Number and label of each picture in the order of the source; in place of one that was left out, None."""
        entries: list[tuple[int | None, int]] = list(enumerate(self.labels))
        for at, label in reversed(self.gaps):
            entries.insert(at, (None, label))
        return entries

    def without(self, bad: Collection[int], lines: Sequence[str]) -> "Labelled":
        """All but some pictures that cannot be read, with gaps in their places; `lines` say of each what is wrong."""
        gaps: list[tuple[int, int]] = []
        good: list[int] = []
        for i, label in self.listed():
            if i is None or i in bad:
                gaps.append((len(good), label))
            else:
                good.append(i)
        return replace(self.keep(good), skipped=(*self.skipped, *lines), gaps=tuple(gaps))

    def keep(self, pictures: Sequence[int]) -> "Labelled":
        """These pictures alone, in the order given; the classes stay as they are, and gaps close."""
        return replace(
            self,
            pictures=tuple(self.pictures[i] for i in pictures),
            labels=tuple(self.labels[i] for i in pictures),
            gaps=(),
        )


@dataclass(frozen=True)
class Scored:
    """Pairs of sentences with people's scores of how much they mean the same.

    Raises:
        DataError: the parts do not fit together.
    """

    name: str
    first: tuple[str, ...]
    second: tuple[str, ...]
    scores: tuple[float, ...]

    def __post_init__(self) -> None:
        if not len(self.first) == len(self.second) == len(self.scores):
            raise DataError(
                f"{self.name}: {len(self.first)} and {len(self.second)} sentences, {len(self.scores)} scores; "
                "one of each belong together"
            )
        if not self.first:
            raise DataError(f"{self.name}: no pairs of sentences")


def _refuse_double_keys(name: str, pictures: Sequence[Picture]) -> None:
    seen: set[str] = set()
    for picture in pictures:
        if picture.key in seen:
            raise DataError(f"{name}: two pictures have the key {picture.key!r}; a key names one picture")
        seen.add(picture.key)
