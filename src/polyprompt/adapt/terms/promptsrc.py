"""PromptSRC's regularisation, on any method (Khattak et al. 2023, arXiv:2307.06948).

Authors' code: muzairkhattak/PromptSRC, trainers/promptsrc.py. The adapted vectors are held near those of the frozen
encoder (mutual agreement maximisation), whose class vectors are a mean over many templates (textual diversity), and
what was learned in all epochs is averaged (self-ensembling, average.py). tests/test_golden.py compares each term, each
average and each gradient with the authors' code.
"""

import math
from dataclasses import dataclass

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from polyprompt.adapt.adapter import Adapter, check_class_vectors
from polyprompt.adapt.average import GaussianAverage, weights
from polyprompt.adapt.templates import PROMPTSRC
from polyprompt.adapt.terms import Result, Term
from polyprompt.adapt.view import class_means
from polyprompt.errors import ConfigError
from polyprompt.nn.losses import drift


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Weights of the terms, and of the average over epochs."""

    text: float = 25.0
    """Weight of the class vectors' drift."""
    image: float = 10.0
    """Weight of the image vectors' drift."""
    logits: float = 1.0
    """Weight of the divergence of the logits."""
    templates: tuple[str, ...] = PROMPTSRC
    """Sentences that the teacher's class vectors are the mean of."""
    mean: float = 15.0
    """Epoch whose prompts weigh most in the average."""
    std: float = 1.0
    """Standard deviation of the weights, in epochs."""

    def __post_init__(self) -> None:
        for field in ("text", "image", "logits"):
            value = getattr(self, field)
            if not 0 <= value < math.inf:
                raise ConfigError(f"promptsrc: {field} is {value}; a weight is 0 or more")
        if not 0 < self.std < math.inf:
            raise ConfigError(f"promptsrc: std is {self.std}; it counts epochs, so above 0")
        if not self.templates:
            raise ConfigError("promptsrc: templates is empty; the teacher needs at least one")

    def check_epochs(self, epochs: int) -> None:
        """Says before training what the average would say after it.

        Raises:
            ConfigError: no epoch would count.
        """
        weights(epochs, self.mean, self.std)

    def build(self, adapter: Adapter) -> Term:
        """The terms, with an average of the adapter's parameters."""
        check_class_vectors("promptsrc", adapter)
        return Consistency(self, adapter)


class Consistency(Term):
    """The three weighted terms, equations 3 to 5 of the paper, and the average."""

    def __init__(self, config: Config, adapter: Adapter) -> None:
        super().__init__()
        self.config = config
        self.average = GaussianAverage(adapter, config.mean, config.std)

    def forward(self, result: Result) -> dict[str, Float[Tensor, ""]]:
        """`drift` is a mean over all elements; KL(teacher || student) is summed and divided by the number of logits."""
        logits, unit = result.scores["logits"], F.normalize(result.frozen.images, dim=-1)
        teacher = class_means(result.frozen.classes(self.config.templates), unit_first=False)
        expected = F.log_softmax(result.scale * unit @ teacher.T, dim=-1)
        divergence = F.kl_div(F.log_softmax(logits, dim=-1), expected, reduction="sum", log_target=True)
        teachers = teacher if result.classes.ndim == 2 else teacher[:, None].expand_as(result.classes)
        return {
            "text_drift": self.config.text * drift(result.classes, teachers),
            "image_drift": self.config.image * drift(result.images, unit.expand_as(result.images)),
            "logit_drift": self.config.logits * divergence / logits.numel(),
        }

    def epoch_end(self, adapter: Adapter, epoch: int, epochs: int) -> None:
        """Averages; after the last epoch the average takes the parameters' place."""
        self.average.epoch_end(adapter, epoch, epochs)
