"""DeFo: learned sentences without class names ask a picture, and a linear map of the answers tells classes apart
(Wang et al. 2023, arXiv:2210.04287).

Decomposed feature prompting. A *reconstruction*: no code was published; the
abstract and a reader's notes of the equations were read. Known: n sentences of m learned vectors each, n cosines of a
picture with them, a linear layer from n numbers to classes; the towers are frozen. Our choices: n = 256 and m = 16, no
full stop, the temperature in front of the layer, a bias, the starts, and that `start=classes` begins as zero-shot: the
first sentences are the template with each class name, and the layer takes each class's own.

As scores are s (unit(f) unit(T)') W' + b, class vectors are W unit(T), as long as they come out. With the layer as it
starts, DeFo is zero-shot: tests/methods/test_defo.py compares it with zero-shot's golden numbers.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from polyprompt.adapt.adapter import Adapter, Names, entering, places_among
from polyprompt.adapt.published import Protocol, Published
from polyprompt.adapt.view import FrozenView
from polyprompt.adapt.wording import check_counts, check_starts, filled
from polyprompt.errors import ConfigError, DataError
from polyprompt.nn.linear import linear
from polyprompt.nn.prompts import normal, slots
from polyprompt.towers.base import Change, DualEncoder, Out, TextTower, check_open


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Settings of DeFo."""

    queries: int = 256
    """Learned sentences, n."""
    length: int = 16
    """Vectors in each, m."""
    start: Literal["random", "classes"] = "random"
    """random: vectors and layer at random; classes: as zero-shot, which needs a sentence for each class."""
    template: str = "a photo of a {}."
    """What the sentences start from with start=classes."""
    std: float = 0.02
    """Standard deviation of a random start."""
    bias: bool = True
    """Whether the layer has one."""

    def __post_init__(self) -> None:
        check_counts("defo", queries=self.queries, length=self.length)
        check_starts("defo", self.std)

    def build(self, encoder: DualEncoder, names: Names, draw: torch.Generator) -> "DeFo":
        """Untrained sentences and layer."""
        check_open(encoder.text, "text")
        if self.start == "classes" and self.queries < len(names):
            raise ConfigError(
                f"defo: queries is {self.queries}; start=classes needs one for each of {len(names)} classes"
            )
        return DeFo(self, encoder, names, draw)


class DeFo(Adapter):
    """`context` [n d], all sentences' vectors one behind the other; `head`, the layer of the classes at its making."""

    names_classes = False

    def __init__(self, config: Config, encoder: DualEncoder, names: Names, draw: torch.Generator) -> None:
        super().__init__()
        self.config, self.names = config, tuple(names)
        self.places: Sequence[int] = range(len(self.names))
        vectors = self._from_names(encoder.text) if config.start == "classes" else []
        for _ in range(config.queries - len(vectors)):
            vectors.append(normal(config.length, encoder.text.width, config.std, draw))
        self.lengths = [len(one) for one in vectors]
        if max(self.lengths) > encoder.text.max_tokens:
            raise ConfigError(
                f"defo: length is {max(self.lengths)} tokens, the text tower reads at most {encoder.text.max_tokens}"
            )
        self.context = nn.Parameter(torch.cat(vectors).float())
        self.head = linear(config.queries, len(self.names), draw, bias=config.bias)
        if config.start == "classes":
            nn.init.eye_(self.head.weight)
            if config.bias:
                nn.init.zeros_(self.head.bias)

    def _from_names(self, text: TextTower) -> list[Float[Tensor, "n d"]]:
        """Word vectors of the template with each class name."""
        rows = filled(text, [self.config.template], self.names)
        for name, row in zip(self.names, rows, strict=True):
            if len(row) > text.max_tokens:
                raise DataError(
                    f"class name {name!r} makes a prompt of {len(row)} tokens, the text tower reads at most "
                    f"{text.max_tokens}; shorten the name or the template"
                )
        return [text.vectors(row).detach().cpu() for row in rows]

    def rows(self, text: TextTower, names: Names) -> list[list[int]]:
        """The sentences; class names are nowhere in them."""
        ends = torch.tensor(self.lengths).cumsum(0).tolist()
        return [slots(end - length, length) for end, length in zip(ends, self.lengths, strict=True)]

    def text_change(self, frozen: FrozenView) -> Change:
        """All vectors, at the text's input."""
        return entering([self.context])

    def class_vectors(self, out: Out, frozen: FrozenView) -> Float[Tensor, "c D"]:
        """W unit(T): the rows of W for these classes, times the unit vectors of the sentences."""
        return self.head.weight[list(self.places)] @ F.normalize(out.vectors, dim=-1)

    def scores(
        self, images: Float[Tensor, "b D"], classes: Float[Tensor, "c D"], scale: Float[Tensor, ""]
    ) -> dict[str, Float[Tensor, "b c"]]:
        """s unit(f) classes' + b."""
        logits = scale * F.normalize(images, dim=-1) @ classes.T
        return {"logits": logits + self.head.bias[list(self.places)] if self.config.bias else logits}

    def for_names(self, names: Names) -> "DeFo":
        """The same classes in another order, or some of them."""
        if tuple(names) == tuple(self.names[place] for place in self.places):
            return self
        other = copy.copy(self)
        other.places = places_among(self.names, names, "defo: its layer has no row for")
        return other


PUBLISHED: Mapping[Protocol, Published] = {}
