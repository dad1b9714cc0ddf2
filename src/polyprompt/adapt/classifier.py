"""A classifier to use: pictures in, class probabilities out, for any classes that have a name."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from polyprompt.adapt.engine import Adapted, Head
from polyprompt.adapt.view import FrozenView
from polyprompt.errors import DependsOnPicturesError
from polyprompt.inputs import list_of_texts
from polyprompt.media.pictures import Preprocess
from polyprompt.towers.encoder import Images, pixel_batches


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
        return Classifier(self.method.for_classes(list_of_texts(class_names, "class name")))

    def for_task(self, task: str) -> "Classifier":
        """The same adapter at work on another task that it was trained for, over the classes of that.

        Raises:
            ConfigError: there is no such task.
        """
        return Classifier(self.method.for_task(task))

    def __call__(self, images: Images) -> Float[Tensor, "b c"]:
        """Class probabilities of pictures: paths, PIL pictures, or preprocessed pixels.

        Raises:
            ImageError: a picture that cannot be read. DataError: none was given, or something that is none.
        """
        parts = pixel_batches(images, self.preprocess)
        return torch.cat([probabilities(self._scorer, self.method.see(pixels)) for pixels in parts])


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
