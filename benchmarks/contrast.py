"""Contrast in tiles against open_clip's dense ClipLoss, forward and backward, 8,192 pairs of 512 numbers.

Claim: at most 1/10 of the peak memory and at most 1.5 times the time, with the same loss and gradients.

    python benchmarks/contrast.py
"""

import argparse
from collections.abc import Callable

import torch
import torch.nn.functional as F
from measure import in_turn, peak_memory, write
from open_clip.loss import ClipLoss

from polyprompt.nn.losses import softmax_contrast
from polyprompt.nn.memory import keep_memory

Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def ours(texts, images, scale):
    return softmax_contrast(texts, images, scale)


def theirs(texts, images, scale):
    return ClipLoss()(images, texts, scale)


def inputs(pairs: int, width: int, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    """Texts near their images, and the scale CLIP starts from."""
    draw = torch.Generator().manual_seed(0)
    images = torch.randn(pairs, width, generator=draw, dtype=dtype)
    texts = images + 2 * torch.randn(pairs, width, generator=draw, dtype=dtype)
    leaves = [F.normalize(texts, dim=-1), F.normalize(images, dim=-1), torch.tensor(1 / 0.07, dtype=dtype)]
    return [leaf.requires_grad_() for leaf in leaves]


def step(loss: Loss, leaves: list[torch.Tensor]) -> list[torch.Tensor]:
    """The loss and its gradients."""
    for leaf in leaves:
        leaf.grad = None
    value = loss(*leaves)
    value.backward()
    return [value.detach(), *(leaf.grad for leaf in leaves)]


def a_step(loss: Loss, pairs: int, width: int) -> Callable[[], object]:
    """What `peak_memory` measures; a small step first, so that libraries' own buffers exist."""
    leaves = inputs(pairs, width)
    step(loss, inputs(256, width))
    return lambda: step(loss, leaves)


def distance(found: list[torch.Tensor], true: list[torch.Tensor]) -> list[float]:
    """Largest difference as a share of the largest number, for the loss and each gradient."""
    return [float((one - two).abs().max() / two.abs().max()) for one, two in zip(found, true, strict=True)]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--pairs", type=int, default=8192)
    options.add_argument("--width", type=int, default=512)
    options.add_argument("--rounds", type=int, default=7)
    asked = options.parse_args()

    keep_memory()
    small = [step(loss, inputs(777, asked.width, torch.float64)) for loss in (ours, theirs)]
    torch.testing.assert_close(small[0], small[1])
    leaves = inputs(asked.pairs, asked.width)  # both sides warm up here
    difference = distance(step(ours, leaves), step(theirs, leaves))
    assert max(difference) < 1e-4, difference

    time = in_turn(lambda: step(ours, leaves), lambda: step(theirs, leaves), asked.rounds)
    memory = {side.__name__: peak_memory(a_step, side, asked.pairs, asked.width) for side in (ours, theirs)}
    write(
        "contrast",
        {
            "claim": "softmax contrast in tiles against open_clip's ClipLoss: memory <= 1/10, time <= 1.5",
            "pairs": asked.pairs,
            "width": asked.width,
            "largest_difference": dict(zip(["loss", "texts", "images", "scale"], difference, strict=True)),
            "time": time,
            "time_ours_over_theirs": 1 / time["ratio"],
            "peak_memory_mib": {side: round(held / 2**20, 1) for side, held in memory.items()},
            "memory_ours_over_theirs": memory["ours"] / memory["theirs"],
        },
    )


if __name__ == "__main__":
    main()
