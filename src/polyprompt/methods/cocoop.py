"""CoCoOp: a context that depends on the picture (Zhou et al. 2022, arXiv:2203.05557).

Authors' code: KaiyangZhou/CoOp, trainers/cocoop.py. A small network maps the normalised image vector to one bias, which
is added to every context vector; the text tower then runs for each picture and class. tests/test_golden.py compares
logits, losses, gradients and steps. What differs: pictures go through the text tower together, in parts of bounded
size.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from polyprompt.adapt.engine import Frozen, Losses, Published, Stages, run_stages
from polyprompt.adapt.wording import begun, check_counts, check_names, context_rows, context_start, prepare
from polyprompt.errors import ConfigError
from polyprompt.methods.maple import linear
from polyprompt.nn.prompts import slots
from polyprompt.towers.base import DualEncoder, Prompts, check_prompts
from polyprompt.types import Pixels


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Settings of CoCoOp."""

    context: int = 4
    """Learned vectors in front of the class name."""
    words: str = "a photo of a"
    """What the context starts from; words beyond its length stay in the text. Without words it starts at random."""
    reduction: int = 16
    """The hidden width of the network is that of the image vectors divided by this."""
    std: float = 0.02
    """Standard deviation of a random start."""
    start: int = 0
    """The block of the text tower that the context enters; below a later one the words stand alone."""

    def __post_init__(self) -> None:
        check_counts("cocoop", context=self.context, reduction=self.reduction)

    def build(self, encoder: DualEncoder, class_names: Sequence[str], *, seed: int = 0) -> "CoCoOp":
        """An untrained CoCoOp; `seed` draws its random parts."""
        check_prompts(encoder.text, "text", 1, self.start)
        return CoCoOp(self, encoder, class_names, Conditional(self, encoder, torch.Generator().manual_seed(seed)))


class Conditional(nn.Module):
    """The context [p d], and the network from image vectors to a bias [d]."""

    def __init__(self, config: Config, encoder: DualEncoder, draw: torch.Generator) -> None:
        super().__init__()
        with torch.no_grad():
            dim = encoder.text.encode(encoder.text.prepare([encoder.text.words("a")])).shape[-1]
        if dim < config.reduction:
            raise ConfigError(
                f"cocoop: reduction is {config.reduction}, the image vectors have {dim} numbers; use less"
            )
        self.ctx = nn.Parameter(context_start(encoder.text, config.context, config.words, config.std, draw))
        layers = [
            ("linear1", linear(dim, dim // config.reduction, draw)),
            ("relu", nn.ReLU()),
            ("linear2", linear(dim // config.reduction, encoder.text.width, draw)),
        ]
        self.meta_net = nn.Sequential(OrderedDict(layers))

    def forward(self, images: Float[Tensor, "b D"]) -> Float[Tensor, "b p d"]:
        """One context per picture; `images` are unit rows."""
        return self.ctx + self.meta_net(images)[:, None]


class CoCoOp(nn.Module):
    """See `Method`."""

    def __init__(self, config: Config, encoder: Any, class_names: Sequence[str], layout: Conditional) -> None:
        super().__init__()
        self.config, self.encoder, self.layout = config, encoder, layout
        self.class_names = check_names(class_names)
        self._texts: dict[int, Any] = {1: self._prepared(1)}

    def learned(self) -> dict[str, nn.Parameter]:
        """Context and network, by name."""
        return dict(self.layout.named_parameters())

    def stages(self) -> Stages:
        """Image vectors."""
        return {"states": None}

    def frozen(self, pixels: Pixels) -> Frozen:
        """Image vectors."""
        return run_stages(self.encoder, self.stages(), pixels)

    def class_features(self, images: Float[Tensor, "b D"]) -> Float[Tensor, "b c D"]:
        """One vector per picture and class, not normalised; `images` are unit rows."""
        if len(images) not in self._texts:
            self._texts[len(images)] = self._prepared(len(images))
        contexts = Prompts((self.layout(images).flatten(0, 1),), self.config.start)
        features = self.encoder.text.encode(self._texts[len(images)], contexts)
        return features.unflatten(0, (len(images), -1))

    def _prepared(self, images: int) -> Any:
        """All classes for each picture; contexts are rows of their own, so only what is equal is shared."""
        text, count = self.encoder.text, self.config.context
        rest = begun(text, count, self.config.words, self.config.start)[count:]
        rows: list[list[int]] = []
        for image in range(images):
            rows += context_rows(text, slots(image * count, count) + rest, self.class_names)
        return prepare(text, rows, self.class_names)

    def logits(self, frozen: Frozen) -> Float[Tensor, "b c"]:
        """exp(logit_scale) * cosine, with each picture's own class vectors."""
        images = F.normalize(frozen["states"], dim=-1)
        classes = F.normalize(self.class_features(images), dim=-1)
        return self.encoder.logit_scale.exp() * torch.einsum("bd,bcd->bc", images, classes)

    def loss(self, frozen: Frozen, labels: Int[Tensor, "b"]) -> Losses:
        """Cross-entropy."""
        loss = F.cross_entropy(self.logits(frozen), labels)
        return {"loss": loss, "cross_entropy": loss}

    def forward(self, pixels: Pixels) -> Float[Tensor, "b c"]:
        """Pixels to logits."""
        return self.logits(self.frozen(pixels))

    def for_classes(self, class_names: Sequence[str]) -> "CoCoOp":
        """The same context and network, shared and not copied, over other classes."""
        return CoCoOp(self.config, self.encoder, class_names, self.layout)

    def epoch_end(self, epoch: int, epochs: int) -> None:
        """Nothing."""

    def train(self, mode: bool = True) -> "CoCoOp":
        """The encoder is frozen, statistics of its normalisation layers included."""
        super().train(mode)
        self.encoder.eval()
        return self


PUBLISHED: Mapping[str, Published] = {
    protocol: Published(config=Config(), rate=0.002, epochs=10, batch=1)
    for protocol in ("base-to-new", "cross-dataset")
}
