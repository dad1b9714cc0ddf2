"""A classifier to use: pictures in, class probabilities out, for any classes that have a name."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from polyprompt.adapt.engine import Adapted, Head
from polyprompt.adapt.view import FrozenView
from polyprompt.errors import DependsOnPicturesError
from polyprompt.media.pictures import Preprocess, open_picture
from polyprompt.towers.encoder import listed

Images = Sequence[str | Path | Image.Image] | Float[Tensor, "b 3 height width"]
BATCH = 64
"""Pictures classified together."""


class Classifier:
    """An adapted encoder as it is now, with what is needed to show it pictures."""

    def __init__(self, method: Adapted) -> None:
        self.method = method.eval()
        self._scorer = scorer(method)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes, in the order of the probabilities."""
        return self.method.class_names

    @property
    def preprocess(self) -> Preprocess:
        """How a picture becomes pixels."""
        return self.method.encoder.image.preprocess

    def for_classes(self, class_names: Sequence[str]) -> "Classifier":
        """The same adapter over other classes.

        Raises:
            DataError: names that are empty, read the same, or are too long for the text tower; fewer than two.
        """
        return Classifier(self.method.for_classes(listed(class_names, "class names")))

    def __call__(self, images: Images) -> Float[Tensor, "b c"]:
        """Class probabilities of pictures: paths, PIL pictures, or preprocessed pixels.

        Raises:
            ImageError: a picture that cannot be read. DataError: none was given, or one that is not in a list.
        """
        parts = self._batches(listed(images, "pictures"))
        return torch.cat([probabilities(self._scorer, self.method.see(pixels)) for pixels in parts])

    def _batches(self, images: Images) -> Iterator[Tensor]:
        for at in range(0, len(images), BATCH):
            part = images[at : at + BATCH]
            if not isinstance(part, Tensor):
                part = torch.stack([self.preprocess(open_picture(picture)) for picture in part])
            yield part


def scorer(adapted: Adapted) -> Adapted | Head:
    """What gives logits: the head, with class vectors made once; the method itself where they depend on pictures."""
    try:
        return adapted.head()
    except DependsOnPicturesError:
        return adapted


@torch.no_grad()
def probabilities(scorer: Adapted | Head, view: FrozenView) -> Float[Tensor, "b c"]:
    """Softmax of the logits, in fp32 on the CPU."""
    return scorer.logits(view).float().softmax(dim=1).cpu()
