"""A dual encoder as users call it: pictures and sentences in, unit rows out."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from polyprompt.inputs import Picture, checked_pixels, list_of_pictures, list_of_texts
from polyprompt.media.ahead import made_ahead
from polyprompt.media.pictures import Preprocess, open_picture, together
from polyprompt.nn.memory import kept_memory
from polyprompt.nn.precision import Choosing, of_pictures, products_in
from polyprompt.progress import say
from polyprompt.towers.base import ImageTower, TextTower

Images: TypeAlias = Picture | Iterable[Picture] | Float[Tensor, "*b 3 height width"]
"""A picture or several as users have them: paths, bytes of files, PIL pictures, or preprocessed pixels."""


class Encoder(nn.Module, ABC):
    """Two towers into one space, frozen (`DualEncoder` in base.py).

    Args:
        image: an `ImageTower`.
        text: a `TextTower`.
        logit_scale: the logarithm of the factor on cosines.
        name: what `load_encoder` opens it by.
    """

    aspects = 1
    """Segments that a vector consists of, K of a CAMPE."""

    def __init__(self, image: nn.Module, text: nn.Module, logit_scale: Tensor, name: str) -> None:
        super().__init__()
        self.image: ImageTower = image  # pyright: ignore[reportAttributeAccessIssue]
        self.text: TextTower = text  # pyright: ignore[reportAttributeAccessIssue]
        self.name, self.dtype = name, torch.float32
        self._dim, self._fingerprint = 0, ""
        self.register_buffer("logit_scale", logit_scale.detach().float().reshape(()))
        self.logit_scale: Tensor
        self.requires_grad_(False)
        self.eval()

    @property
    def dim(self) -> int:
        """D, numbers in a vector."""
        if not self._dim:
            self._dim = int(self.text.below(self.text.prepare([self.text.words("a")]), None)[0].shape[-1])
        return self._dim

    @property
    def fingerprint(self) -> str:
        """A hash of all that determines its vectors."""
        if not self._fingerprint:
            self._fingerprint = self.hashed()
        return self._fingerprint

    @abstractmethod
    def hashed(self) -> str:
        """The fingerprint, computed; `fingerprint` keeps it."""

    @kept_memory()
    @torch.no_grad()
    def encode_image(
        self, images: Images, *, normalize: bool = True, precision: Choosing = "fp32"
    ) -> Float[Tensor, "b D"]:
        """Vectors of pictures: paths, PIL pictures, or preprocessed pixels.

        Args:
            images: what is no tensor is decoded by threads beside the computing.
            normalize: to rows of length 1.
            precision: of products; "auto" takes bf16 where it is much faster, the cosine to fp32's vectors is 0.999.

        Raises:
            ImageError: a picture that cannot be read. DataError: none was given, or something that is none.
        """
        device = self.logit_scale.device
        parts = pixel_batches(images, self.image.preprocess)
        with products_in(of_pictures(self.get_submodule("image"), precision), device):
            vectors = torch.cat([self.image.below(pixels.to(device), None).float() for pixels in parts])
        return unit(vectors) if normalize else vectors

    @kept_memory()
    @torch.no_grad()
    def encode_text(
        self, texts: str | Iterable[str], *, normalize: bool = True, precision: Choosing = "fp32"
    ) -> Float[Tensor, "t D"]:
        """Vectors of sentences; those that are longer than the tower reads are cut, which is said.

        `normalize` and `precision` as in `encode_image`.

        Raises:
            DataError: none was given, something that is none, or one that is empty.
        """
        most = self.text.max_tokens
        rows = [self.text.words(text) for text in list_of_texts(texts)]
        if cut := sum(len(row) > most for row in rows):
            say(f"{cut} of {len(rows)} texts were cut to {most} tokens.")
        rows = [row[:most] for row in rows]
        with products_in(precision, self.logit_scale.device):
            vectors = torch.cat(list(self.text.below(self.text.prepare(rows), None))).float()
        return unit(vectors) if normalize else vectors


def pixel_batches(images: Images, preprocess: Preprocess) -> Iterator[Float[Tensor, "b 3 height width"]]:
    """Pixels of pictures, a few at a time.

    Raises:
        ImageError: a picture that cannot be read. DataError: none was given, or something that is none.
    """
    most = together(preprocess.size)
    if isinstance(images, Tensor):
        yield from checked_pixels(images).split(most)
        return
    for part in made_ahead(lambda picture: preprocess(open_picture(picture)), list_of_pictures(images), most):
        yield torch.stack(part)


def unit(vectors: Float[Tensor, "*b D"]) -> Float[Tensor, "*b D"]:
    """Rows of length 1."""
    return F.normalize(vectors, dim=-1)
