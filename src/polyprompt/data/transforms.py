"""Training pictures, changed at random as the published runs change them."""

from typing import cast

from jaxtyping import Float
from PIL import Image
from torch import Tensor

from polyprompt.media.pictures import Preprocess


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
