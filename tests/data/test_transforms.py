"""Views of pictures are torchvision's on the same draws."""

import numpy as np
import torch
from PIL import Image

from polyprompt.data.transforms import crop_and_flip, rand_augment
from polyprompt.media.pictures import Preprocess


def test_augmentation_equals_torchvisions_on_the_same_draws():
    from torchvision.transforms import InterpolationMode, RandomResizedCrop
    from torchvision.transforms import functional as F

    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 50, 3)).astype(np.uint8))
    preprocess = Preprocess(16, (0.5,) * 3, (0.5,) * 3)
    flipped = set()
    for seed in range(8):
        torch.manual_seed(seed)
        found = crop_and_flip(picture, preprocess)
        torch.manual_seed(seed)
        where = RandomResizedCrop.get_params(picture, [0.08, 1.0], [3 / 4, 4 / 3])
        expected = F.resized_crop(picture, *where, [16, 16], InterpolationMode.BICUBIC)
        flip = bool(torch.rand(1) < 0.5)
        expected = F.hflip(expected) if flip else expected
        flipped.add(flip)
        assert torch.equal(found, F.normalize(F.to_tensor(expected), preprocess.mean, preprocess.std))
    assert flipped == {True, False}


def test_randaugment_is_torchvisions_on_the_whole_picture():
    from torchvision.transforms import RandAugment
    from torchvision.transforms import functional as F

    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 50, 3)).astype(np.uint8))
    preprocess, seen = Preprocess(16, (0.5,) * 3, (0.5,) * 3), set()
    for seed in range(8):
        torch.manual_seed(seed)
        found = rand_augment(picture, preprocess)
        torch.manual_seed(seed)
        expected = RandAugment(2, 10)(picture.resize((16, 16), Image.Resampling.BICUBIC))
        assert torch.equal(found, F.normalize(F.to_tensor(expected), preprocess.mean, preprocess.std))
        seen.add(found.numpy().tobytes())
    assert len(seen) > 4
