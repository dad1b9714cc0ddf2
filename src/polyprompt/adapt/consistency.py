"""PromptSRC's regularisation, for any layout of prompts (Khattak et al. 2023, arXiv:2307.06948).

Authors' code: muzairkhattak/PromptSRC, trainers/promptsrc.py. The prompted features are held near those of the frozen
encoder (mutual agreement maximisation), the teacher's class features are a mean over many templates (textual
diversity), and the prompts of all epochs are averaged with Gaussian weights (self-ensembling). tests/test_golden.py
compares each term, each average and each gradient with the authors' code.

What differs: only what learns is averaged, where the authors average the frozen weights too (3e-6 in logits, rounding);
and a resumed run averages on, where theirs ends without averaging.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from polyprompt.adapt.templates import PROMPTSRC
from polyprompt.adapt.wording import filled
from polyprompt.errors import ConfigError
from polyprompt.nn.losses import drift
from polyprompt.towers.base import DualEncoder


@dataclass(frozen=True, kw_only=True, slots=True)
class Consistency:
    """Weights of the terms, and of the average over epochs."""

    text: float = 25.0
    """Weight of the text features' drift."""
    image: float = 10.0
    """Weight of the image features' drift."""
    logits: float = 1.0
    """Weight of the divergence of the logits."""
    templates: tuple[str, ...] = PROMPTSRC
    """Sentences that the teacher's class features are the mean of."""
    mean: float = 15.0
    """Epoch whose prompts weigh most in the average."""
    std: float = 1.0
    """Standard deviation of the weights, in epochs."""

    def __post_init__(self) -> None:
        for field in ("text", "image", "logits"):
            value = getattr(self, field)
            if not 0 <= value < math.inf:
                raise ConfigError(f"consistency: {field} is {value}; a weight is 0 or more")
        if not 0 < self.std < math.inf:
            raise ConfigError(f"consistency: std is {self.std}; it counts epochs, so above 0")
        if not self.templates:
            raise ConfigError("consistency: templates is empty; the teacher needs at least one")


class Teacher(nn.Module):
    """The frozen encoder's view of the classes, and the running average of the prompts."""

    def __init__(
        self, consistency: Consistency, encoder: DualEncoder, class_names: Sequence[str], layout: nn.Module
    ) -> None:
        super().__init__()
        self.consistency = consistency
        self.epochs: Tensor
        self.class_names = tuple(class_names)
        self._look = partial(teacher_classes, encoder, consistency.templates, self.class_names)
        self._classes: Tensor | None = None
        self.register_buffer("epochs", torch.zeros((), dtype=torch.long))
        for name, parameter in layout.named_parameters():
            self.register_buffer(buffer_name(name), torch.zeros_like(parameter))

    @property
    def classes(self) -> Float[Tensor, "c D"]:
        """The teacher's unit vectors, computed when a loss first needs them: nothing else needs the templates."""
        if self._classes is None:
            with torch.autocast(self.epochs.device.type, enabled=False):  # in full precision, whoever asks first
                self._classes = self._look()
        return self._classes

    @classes.setter
    def classes(self, kept: Float[Tensor, "c D"]) -> None:
        """The same from a cache."""
        self._classes = kept

    def losses(
        self,
        images: Float[Tensor, "b D"],
        classes: Float[Tensor, "c D"],
        logits: Float[Tensor, "b c"],
        frozen_images: Float[Tensor, "b D"],
        scale: Float[Tensor, ""],
    ) -> dict[str, Float[Tensor, ""]]:
        """The three weighted terms, equations 3 to 5 of the paper.

        `drift` is a mean over all elements; the divergence KL(teacher || student) is summed over the batch and divided
        by the number of logits.
        """
        unit, teacher = F.normalize(frozen_images, dim=-1), self.classes.to(images.device)
        expected = F.log_softmax(scale * unit @ teacher.T, dim=-1)
        divergence = F.kl_div(F.log_softmax(logits, dim=-1), expected, reduction="sum", log_target=True)
        return {
            "text_drift": self.consistency.text * drift(classes, teacher),
            "image_drift": self.consistency.image * drift(images, unit),
            "logit_drift": self.consistency.logits * divergence / logits.numel(),
        }

    @torch.no_grad()
    def epoch_end(self, layout: nn.Module, epoch: int, epochs: int) -> None:
        """Adds this epoch's prompts to the average; after the last epoch the average takes their place."""
        if epoch <= int(self.epochs):
            return
        weight = average_weights(epochs, self.consistency.mean, self.consistency.std)[epoch - 1]
        for name, parameter in layout.named_parameters():
            average: Tensor = getattr(self, buffer_name(name))
            average.add_(parameter, alpha=weight)
            if epoch == epochs:
                parameter.copy_(average)
        self.epochs.fill_(epoch)


def average_weights(epochs: int, mean: float, std: float) -> list[float]:
    """A normal density at the epochs 1, 2, ..., divided by its sum.

    Raises:
        ConfigError: so far from all epochs that every weight is 0.
    """
    densities = [math.exp(-0.5 * ((epoch - mean) / std) ** 2) for epoch in range(1, epochs + 1)]
    if not sum(densities):
        raise ConfigError(
            f"consistency: mean {mean} and std {std} give each of the {epochs} epochs the weight 0; "
            f"choose a mean among them"
        )
    return [density / sum(densities) for density in densities]


@torch.no_grad()
def teacher_classes(encoder: DualEncoder, templates: Sequence[str], class_names: Sequence[str]) -> Float[Tensor, "c D"]:
    """Unit vectors: the mean of the *unnormalised* features over templates, then normalised once."""
    rows = filled(encoder.text, templates, class_names)
    features = encoder.text.encode(encoder.text.prepare(rows))
    return F.normalize(features.unflatten(0, (len(class_names), len(templates))).mean(dim=1), dim=-1)


def buffer_name(parameter: str) -> str:
    """A buffer's name may have no dots."""
    return parameter.replace(".", "_")
