"""Zero-shot classification: nothing is learned; templates are filled with class names (Radford et al. 2021).

With several templates each one's features are normalised, averaged, and normalised again (CoOp's ZeroshotCLIP2).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from polyprompt.adapt.engine import Frozen, Losses, Published, Stages, class_logits, run_stages
from polyprompt.adapt.wording import check_names, filled
from polyprompt.errors import ConfigError
from polyprompt.towers.base import DualEncoder
from polyprompt.types import Pixels


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Settings of zero-shot classification."""

    templates: tuple[str, ...] = ("a photo of a {}.",)
    """One sentence, or several whose features are averaged."""

    def __post_init__(self) -> None:
        if not self.templates:
            raise ConfigError("zeroshot: templates is empty; at least one sentence with {} is needed")

    def build(self, encoder: DualEncoder, class_names: Sequence[str], *, seed: int = 0) -> "ZeroShot":
        """The classifier; `seed` has no effect."""
        return ZeroShot(self, encoder, class_names)


class ZeroShot(nn.Module):
    """See `Method`; nothing learns."""

    def __init__(self, config: Config, encoder: DualEncoder, class_names: Sequence[str]) -> None:
        super().__init__()
        self.config, self.encoder, self.class_names = config, encoder, check_names(class_names)
        self.classes: Tensor
        self.register_buffer("classes", ensemble(encoder, config.templates, self.class_names), persistent=False)

    def learned(self) -> dict[str, nn.Parameter]:
        """Nothing."""
        return {}

    def stages(self) -> Stages:
        """Image vectors."""
        return {"states": None}

    def frozen(self, pixels: Pixels) -> Frozen:
        """Image vectors."""
        return run_stages(self.encoder, self.stages(), pixels)

    def class_features(self) -> Float[Tensor, "c D"]:
        """Unit vectors, one per class."""
        return self.classes

    def logits(self, frozen: Frozen) -> Float[Tensor, "b c"]:
        """exp(logit_scale) * cosine."""
        return class_logits(frozen["states"], self.classes, self.encoder.logit_scale.exp())

    def loss(self, frozen: Frozen, labels: Int[Tensor, "b"]) -> Losses:
        """Cross-entropy, for comparison; it has no gradient."""
        loss = F.cross_entropy(self.logits(frozen), labels)
        return {"loss": loss, "cross_entropy": loss}

    def forward(self, pixels: Pixels) -> Float[Tensor, "b c"]:
        """Pixels to logits."""
        return self.logits(self.frozen(pixels))

    def for_classes(self, class_names: Sequence[str]) -> "ZeroShot":
        """Other classes."""
        return ZeroShot(self.config, self.encoder, class_names)

    def epoch_end(self, epoch: int, epochs: int) -> None:
        """Nothing."""


@torch.no_grad()
def ensemble(encoder: DualEncoder, templates: Sequence[str], class_names: Sequence[str]) -> Float[Tensor, "c D"]:
    """Unit vectors: the mean over templates of normalised features, normalised."""
    features = encoder.text.encode(encoder.text.prepare(filled(encoder.text, templates, class_names)))
    features = F.normalize(features, dim=-1).unflatten(0, (len(class_names), len(templates)))
    return F.normalize(features.mean(dim=1), dim=-1)


PUBLISHED: Mapping[str, Published] = {}
