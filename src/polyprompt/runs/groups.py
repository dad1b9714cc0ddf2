"""At which rate each part of a model learns, and what is decayed."""

from typing import Any

from polyprompt.campe.model import CAMPE
from polyprompt.runs.settings import AlignSettings


def parameter_groups(model: CAMPE, settings: AlignSettings) -> list[dict[str, Any]]:
    """What `align` trains, in groups for the optimiser; one that would be empty is left out.

    new      maps; blocks and pool of the image side    rate          decayed
    towers   pretrained blocks and norms                tower_rate    decayed
    norms    new ones on pretrained states              norm_rate     decayed
    plain    scale, bias, adaptive tokens               rate          not decayed
    """
    rates = {
        "new": settings.rate,
        "towers": settings.tower_rate,
        "norms": settings.norm_rate or settings.tower_rate,
        "plain": settings.rate,
    }
    return [
        {"params": some, "lr": rates[kind], "name": kind} | ({"weight_decay": 0.0} if kind == "plain" else {})
        for kind, some in model.parameters_by_kind().items()
        if some
    ]
