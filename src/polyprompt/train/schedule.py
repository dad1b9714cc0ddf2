"""Learning rates: pure functions of how far a run is. Steps count from 0, epochs from 1."""

import math


def cosine_rate(step: int, steps: int, rate: float, warmup: int = 0) -> float:
    """Linear warm-up, then half a cosine down to 0, changed at every step.

    Args:
        step: steps already taken, 0 to `steps - 1`.
        steps: steps of the whole run.
        rate: the peak, reached at the end of the warm-up.
        warmup: steps of the warm-up, fewer than `steps`; the first of them runs at `rate / warmup`.
    """
    if step < warmup:
        return rate * (step + 1) / warmup
    return rate / 2 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))


def published_rate(epoch: int, epochs: int, rate: float, warmup_rate: float = 1e-5) -> float:
    """The schedule of CoOp and all that grew from it (MaPLe, PromptSRC): constant within an epoch.

    Epoch 1 runs at `warmup_rate`; from epoch 2 on a cosine that starts at the full rate and would reach 0 after
    `epochs` epochs, so that it is cut before. That is what the authors' code does (KaiyangZhou/Dassl.pytorch,
    dassl/optim/lr_scheduler.py: ConstantWarmupScheduler, then CosineAnnealingLR); the tests hold figures from logs.
    """
    return warmup_rate if epoch == 1 else rate / 2 * (1 + math.cos(math.pi * (epoch - 2) / epochs))
