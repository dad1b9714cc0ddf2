"""CoCoOp: a context that depends on the picture (Zhou et al. 2022, arXiv:2203.05557).

Authors' code: KaiyangZhou/CoOp, trainers/cocoop.py. A small network maps the normalised image vector to one bias, which
is added to every context vector; the text tower then runs for each picture and class. tests/test_golden.py compares
logits, losses, gradients and steps. What differs: pictures go through the text tower together, as many at a time as its
memory allows.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from polyprompt.adapt.adapter import Adapter, Names, entering
from polyprompt.adapt.published import Protocol, Published
from polyprompt.adapt.view import FrozenView
from polyprompt.adapt.wording import check_counts, check_starts, context_ids, context_rows, context_start
from polyprompt.errors import ConfigError
from polyprompt.nn.linear import linear
from polyprompt.towers.base import Change, DualEncoder, TextTower


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
        check_starts("cocoop", self.std, start=self.start)

    def build(self, encoder: DualEncoder, names: Names, draw: torch.Generator) -> "CoCoOp":
        """An untrained context, and the network that moves it for each picture."""
        if encoder.dim < self.reduction:
            raise ConfigError(
                f"cocoop: reduction is {self.reduction}, the image vectors have {encoder.dim} numbers; use less"
            )
        return CoCoOp(self, encoder, draw)


class CoCoOp(Adapter):
    """The context [p d], and the network from image vectors to a bias [d]."""

    def __init__(self, config: Config, encoder: DualEncoder, draw: torch.Generator) -> None:
        super().__init__()
        self.config, hidden = config, encoder.dim // config.reduction
        self.ctx = nn.Parameter(context_start(encoder.text, config.context, config.words, config.std, draw))
        layers = [
            ("linear1", linear(encoder.dim, hidden, draw)),
            ("relu", nn.ReLU()),
            ("linear2", linear(hidden, encoder.text.width, draw)),
        ]
        self.meta_net = nn.Sequential(OrderedDict(layers))

    def rows(self, text: TextTower, names: Names) -> list[list[int]]:
        """Context, the rest of its words, class name."""
        config = self.config
        return context_rows(text, context_ids(text, config.context, config.words, config.start), names)

    def text_change(self, frozen: FrozenView) -> Change:
        """A context for each picture [p b d]."""
        biases = self.meta_net(F.normalize(frozen.images, dim=-1))
        return entering([self.ctx[:, None] + biases], self.config.start)

    def scores(
        self, images: Float[Tensor, "b D"], classes: Float[Tensor, "c b D"], scale: Float[Tensor, ""]
    ) -> dict[str, Float[Tensor, "b c"]]:
        """exp(logit_scale) * cosine, with each picture's own class vectors."""
        unit = F.normalize(images, dim=-1), F.normalize(classes, dim=-1)
        return {"logits": scale * torch.einsum("bd,cbd->bc", *unit)}


PUBLISHED: Mapping[Protocol, Published] = {
    "base-to-novel": Published(
        config=Config(),
        rate=0.002,
        epochs=10,
        batch=1,
        figures={
            "Caltech101 base": 97.96,
            "Caltech101 novel": 93.81,
            "base": 80.47,
            "novel": 71.69,
            "harmonic mean": 75.83,
        },
    ),
    "cross-dataset": Published(
        config=Config(), rate=0.002, epochs=10, batch=1, figures={"ImageNet": 71.02, "ten others": 65.74}
    ),
}
