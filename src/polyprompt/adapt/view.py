"""What the unchanged encoder makes of pictures and of sentences: computed once, the same for all methods and losses.

A method asks for what it needs, and nothing else is computed. Pictures come as pixels, or as states that are kept on
disk (frozen.py).
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from polyprompt.adapt.frozen import ImageStates, kept_by
from polyprompt.adapt.wording import filled
from polyprompt.data.items import Picture
from polyprompt.disk.rows import RowStore, kept_folder
from polyprompt.errors import DependsOnPicturesError
from polyprompt.towers.base import DualEncoder
from polyprompt.types import Pixels

MANY = 100
"""Sentences that are worth keeping on disk."""


@runtime_checkable
class Pictures(Protocol):
    """Some pictures on their way through the frozen part of the image tower."""

    def states(self, start: int | None) -> Float[Tensor, "b ..."]:
        """The states entering block `start`, on the tower's device; with None, the frozen tower's vectors."""
        ...


class PixelPictures:
    """Pictures as preprocessed pixels; what is asked for is computed once.

    Args:
        encoder: its image tower sees them.
        pixels: of the pictures.
        again: of a second view of the same ones.
    """

    def __init__(self, encoder: DualEncoder, pixels: Pixels, again: Pixels | None = None) -> None:
        self.encoder, self.pixels = encoder, pixels.to(encoder.logit_scale.device)
        self.again: PixelPictures | None = None if again is None else PixelPictures(encoder, again)
        self._made: dict[int | None, Tensor] = {}

    def states(self, start: int | None) -> Float[Tensor, "b ..."]:
        """See `Pictures`."""
        if start not in self._made:
            self._made[start] = self.encoder.image.below(self.pixels, start)
        return self._made[start]


class KeptPictures:
    """The pictures of a set, whose states are kept on disk; those of a block are made when they are first asked for.

    Args:
        encoder: its image tower makes them.
        pictures: the set.
        cap_gb: the largest size of the states at one block; 0 keeps nothing.
    """

    def __init__(self, encoder: DualEncoder, pictures: Sequence[Picture], cap_gb: float) -> None:
        self.encoder, self.pictures, self.cap_gb = encoder, pictures, cap_gb
        self._opened: dict[int | None, ImageStates] = {}

    def of(self, items: Sequence[int]) -> Pictures:
        """The pictures at these places of the set, as a batch that reads its states when they are asked for."""
        return _Kept(self, items)

    def read(self, items: Sequence[int], start: int | None) -> Float[Tensor, "b ..."]:
        """The states of some pictures entering block `start`, on the CPU."""
        from accelerate import PartialState

        if start not in self._opened:
            with PartialState().main_process_first():  # the others then find what it has kept
                self._opened[start] = ImageStates(self.encoder, self.pictures, start, self.cap_gb)
        return self._opened[start].read(items)


class _Kept:
    def __init__(self, kept: KeptPictures, items: Sequence[int]) -> None:
        self.kept, self.items = kept, items

    def states(self, start: int | None) -> Float[Tensor, "b ..."]:
        return self.kept.read(self.items, start).to(self.kept.encoder.logit_scale.device)


class NoPictures:
    """In place of pictures, where class vectors of `method` are wanted that hold for all of them."""

    def __init__(self, method: str) -> None:
        self.method = method

    def states(self, start: int | None) -> Float[Tensor, "b ..."]:
        """Refused.

        Raises:
            DependsOnPicturesError: always.
        """
        raise DependsOnPicturesError(
            f"{self.method}: its class vectors depend on the picture, so there is no classifier that can stand alone; "
            "use a method whose class vectors hold for all pictures, as most do"
        )


class BlankPicture:
    """A picture of zeros, to see where a change goes before there are any pictures."""

    def __init__(self, encoder: DualEncoder) -> None:
        self.encoder = encoder

    def states(self, start: int | None) -> Float[Tensor, "1 D"]:
        """One row of zeros, whatever the block: only the layout of a change is taken from it."""
        return torch.zeros(1, self.encoder.dim, device=self.encoder.logit_scale.device)


class FrozenText:
    """Vectors of sentences, raw, computed when first asked for and kept.

    Args:
        encoder: its text tower makes them, in full precision.
        names: the classes that templates are filled with.
        keep: whether many of them are kept on disk as well.
    """

    def __init__(self, encoder: DualEncoder, names: Sequence[str], *, keep: bool = False) -> None:
        self.encoder, self.names, self.keep = encoder, tuple(names), keep
        self._made: dict[tuple[tuple[int, ...], ...], Tensor] = {}

    def sentences(self, rows: Sequence[Sequence[int]]) -> Float[Tensor, "t D"]:
        """Vectors of rows of token ids.

        Raises:
            CacheError: no room to keep them.
        """
        key = tuple(map(tuple, rows))
        if key not in self._made:
            self._made[key] = self._kept(key) if self.keep and len(key) >= MANY else self._compute(key)
        return self._made[key].to(self.encoder.logit_scale.device)

    def classes(self, templates: Sequence[str]) -> Float[Tensor, "c s D"]:
        """Vectors of every template with every class name in it."""
        return self.sentences(filled(self.encoder.text, templates, self.names)).unflatten(0, (len(self.names), -1))

    @torch.no_grad()
    def _compute(self, rows: Sequence[Sequence[int]]) -> Float[Tensor, "t D"]:
        text = self.encoder.text
        with torch.autocast(self.encoder.logit_scale.device.type, enabled=False):
            return torch.cat(list(text.below(text.prepare(rows), None)))

    def _kept(self, rows: Sequence[Sequence[int]]) -> Float[Tensor, "t D"]:
        store = RowStore(kept_folder("sentences", *kept_by(self.encoder)))
        what = f"{len(rows):,} sentences about {len(self.names):,} classes, read together by the frozen text tower"
        (vectors,) = store.get([repr(rows)], lambda _: [self._compute(rows)], what)
        return vectors


class FrozenView:
    """The frozen encoder's view of some pictures, and of the classes."""

    def __init__(self, text: FrozenText, pictures: Pictures) -> None:
        self.text, self.pictures = text, pictures

    @cached_property
    def images(self) -> Float[Tensor, "b D"]:
        """The pictures' vectors, not normalised."""
        return self.pictures.states(None)

    @cached_property
    def images_again(self) -> Float[Tensor, "b D"]:
        """The vectors of a second random view of the pictures, where they are augmented; else those of the pictures."""
        again = self.pictures.again if isinstance(self.pictures, PixelPictures) else None
        return self.images if again is None else again.states(None)

    def states(self, start: int | None) -> Float[Tensor, "b ..."]:
        """The states entering block `start` of the image tower; with None, the vectors."""
        return self.images if start is None else self.pictures.states(start)

    def classes(self, templates: Sequence[str]) -> Float[Tensor, "c s D"]:
        """The vectors of every template with every class name in it, not normalised."""
        return self.text.classes(templates)


def class_means(sentences: Float[Tensor, "c s D"], *, unit_first: bool) -> Float[Tensor, "c D"]:
    """Unit vectors: the normalised mean over sentences, which are normalised before (CoOp's ensemble) or not."""
    vectors = F.normalize(sentences, dim=-1) if unit_first else sentences
    return F.normalize(vectors.mean(dim=1), dim=-1)
