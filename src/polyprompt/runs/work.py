"""What a run of `align` trains on, whatever its data hold."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from polyprompt.runs.texts import Texts
from polyprompt.train.batches import Batches
from polyprompt.values import Json


@dataclass(frozen=True, slots=True)
class Work:
    """Data ready to train on."""

    objective: nn.Module
    """Maps a batch to named losses; its parameters are those that are trained."""
    texts: Texts
    """Those of training, that a norm can be fitted to."""
    batches: Batches
    score_dev: Callable[[], Json] | None
    """Scores the development set."""
