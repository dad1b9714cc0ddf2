"""A classifier to use: pictures in, class probabilities out, for any classes that have a name."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from polyprompt.adapt.engine import Frozen, Method
from polyprompt.errors import DataError
from polyprompt.media.pictures import Preprocess, open_picture

Pictures = Sequence[str | Path | Image.Image] | Float[Tensor, "b 3 height width"]
BATCH = 64


class Classifier:
    """A method with what is needed to show it pictures."""

    def __init__(self, method: Method) -> None:
        self.method = method

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes, in the order of the probabilities."""
        return self.method.class_names

    @property
    def preprocess(self) -> Preprocess:
        """How a picture becomes pixels."""
        return self.method.encoder.image.preprocess

    def for_classes(self, class_names: Sequence[str]) -> "Classifier":
        """The same prompts over other classes.

        Raises:
            DataError: names that are empty, read the same, or are too long for the text tower; fewer than two.
        """
        return Classifier(self.method.for_classes(class_names))

    def __call__(self, images: Pictures) -> Float[Tensor, "b c"]:
        """Class probabilities of pictures: paths, PIL pictures, or preprocessed pixels.

        Raises:
            ImageError: a picture that cannot be read. DataError: none was given.
        """
        device = self.method.encoder.logit_scale.device
        parts = (self.method.frozen(pixels.to(device)) for pixels in self._batches(images))
        return torch.cat([probabilities(self.method, frozen) for frozen in parts])

    def _batches(self, images: Pictures) -> Iterator[Tensor]:
        if not len(images):
            raise DataError("no pictures were given; give at least one path or PIL picture.")
        for at in range(0, len(images), BATCH):
            part = images[at : at + BATCH]
            if not isinstance(part, Tensor):
                part = torch.stack([self.preprocess(open_picture(picture)) for picture in part])
            yield part


@torch.no_grad()
def probabilities(method: Method, frozen: Frozen) -> Float[Tensor, "b c"]:
    """Softmax of the logits, in fp32 on the CPU."""
    return method.logits(frozen).float().softmax(dim=1).cpu()
