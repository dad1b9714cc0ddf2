"""At which rate each part of a model learns, and what is decayed."""

from torch import nn

from polyprompt.campe.model import CAMPE
from polyprompt.runs.settings import AlignSettings
from polyprompt.values import Json

BIAS_RATE = 100
"""Times `rate`: a bias has units to go, and what it does not reach, all cosines have to make up for together."""


def parameter_groups(model: CAMPE, settings: AlignSettings, objective: nn.Module) -> list[Json]:
    """What `align` trains, in groups for the optimiser; one that would be empty is left out.

    A group holds what the objective trains of the model: of pairs of sentences nothing reaches the image side.

    new      maps; blocks and pool of the image side    rate          decayed
    towers   pretrained blocks and norms                tower_rate    decayed
    norms    new ones on pretrained states              norm_rate     decayed
    plain    scale, adaptive tokens                     rate          not decayed
    bias     the sigmoid's, one number                  bias_rate     not decayed
    """
    rates = {
        "new": settings.rate,
        "towers": settings.tower_rate,
        "norms": settings.norm_rate or settings.rate,
        "plain": settings.rate,
        "bias": settings.bias_rate or BIAS_RATE * settings.rate,
    }
    trained = set(objective.parameters())
    kinds = {kind: [p for p in all_of if p in trained] for kind, all_of in model.parameters_by_kind().items()}
    return [
        {"params": some, "lr": rates[kind], "name": kind} | ({"weight_decay": 0.0} if kind in ("plain", "bias") else {})
        for kind, some in kinds.items()
        if some
    ]
