"""Training pictures, changed at random as the published runs change them."""

from collections.abc import Callable
from typing import TypeAlias, cast

from jaxtyping import Float
from PIL import Image
from torch import Tensor

from polyprompt.media.pictures import Preprocess

View: TypeAlias = Callable[[Image.Image, Preprocess], Tensor]
"""A picture to pixels [3 size size], changed at random by torch's generator."""


def crop_and_flip(picture: Image.Image, preprocess: Preprocess, least: float = 0.08) -> Float[Tensor, "3 size size"]:
    """A random part of the picture, `least` to all of it, resized, mirrored half of the time.

    It draws from torch's generator.

    CoOp, MaPLe and PromptSRC all train so (KaiyangZhou/Dassl.pytorch, dassl/data/transforms/transforms.py, the
    transforms random_resized_crop, random_flip and normalize).
    """
    from torchvision import transforms

    change = transforms.Compose(
        [
            transforms.RandomResizedCrop(
                preprocess.size, (least, 1.0), interpolation=transforms.InterpolationMode(preprocess.interpolation)
            ),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(preprocess.mean, preprocess.std),
        ]
    )
    return cast(Tensor, change(picture))


def rand_augment(picture: Image.Image, preprocess: Preprocess) -> Float[Tensor, "3 size size"]:
    """The whole picture, squashed to a square, and two operations at 10 of 30 on it (Cubuk et al. 2020,
    arXiv:1909.13719).

    It draws from torch's generator. CoPrompt trains so, with Dassl's RandAugment; this is torchvision's, which does
    nothing as one of its operations and never inverts, adds to what it solarises, or cuts out.
    """
    from torchvision import transforms

    how = transforms.InterpolationMode(preprocess.interpolation)
    change = transforms.Compose(
        [
            transforms.Resize((preprocess.size, preprocess.size), interpolation=how),
            transforms.RandAugment(num_ops=2, magnitude=10),
            transforms.ToTensor(),
            transforms.Normalize(preprocess.mean, preprocess.std),
        ]
    )
    return cast(Tensor, change(picture))
