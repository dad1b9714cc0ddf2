"""VDT-Adapter: self-attention over an LLM's sentences about a class (Maniparambil et al. 2023, arXiv:2307.11661).

Written from a description of the authors' program (mayug/VDT-Adapter, "CLIP-A-self"); tests/test_golden.py compares
logits, losses, gradients and steps of two of the three adapters. Sentences come from a file (adapt/descriptions.py).
What differs: classes may have different numbers of sentences, where theirs need the same.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from polyprompt.adapt.adapter import Adapter, Names
from polyprompt.adapt.descriptions import described, sentences_of
from polyprompt.adapt.published import Protocol, Published
from polyprompt.adapt.view import FrozenView
from polyprompt.adapt.wording import check_counts
from polyprompt.errors import ConfigError
from polyprompt.nn.linear import bottleneck, linear
from polyprompt.towers.base import DualEncoder, Out, TextTower


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Settings of VDT-Adapter."""

    descriptions: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Classes and sentences about them; --descriptions reads them from a file."""
    kind: Literal["self_attn", "linear", "linear_residual"] = "self_attn"
    """Attention among a class's sentences; a map of their mean; that map mixed with the mean."""
    ratio: float = 0.2
    """Share of what is learned, r; the authors try 0.2, 0.5 and 0.7."""
    reduction: int = 4
    """How many times narrower than a vector the middle is."""
    attention_dropout: float = 0.1
    """Of the attention, while training."""
    dropout: float = 0.5
    """Of what the attention gives, while training."""

    def __post_init__(self) -> None:
        check_counts("vdt_adapter", reduction=self.reduction)
        for name in ("attention_dropout", "dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"vdt_adapter: {name} is {getattr(self, name)}; it is a share, from 0 to less than 1")
        if not 0 <= self.ratio <= 1:
            raise ConfigError(f"vdt_adapter: ratio is {self.ratio}; it is a share, from 0 to 1")

    def build(self, encoder: DualEncoder, names: Names, draw: torch.Generator) -> "VDTAdapter":
        """An untrained map of a class's sentences: attention among them, or a bottleneck behind their mean."""
        if not self.descriptions:
            raise ConfigError("vdt_adapter: no descriptions are given; it needs sentences: --descriptions FILE")
        if self.reduction > encoder.dim:
            raise ConfigError(f"vdt_adapter: reduction is {self.reduction}, and vectors have {encoder.dim} numbers")
        return VDTAdapter(self, encoder.dim, names, draw)


class Attention(nn.Module):
    """One head among a class's sentences, mixed with them; the parameters have the authors' names."""

    def __init__(self, config: Config, dim: int, draw: torch.Generator) -> None:
        super().__init__()
        self.ratio, middle = config.ratio, dim // config.reduction
        self.w_qs, self.w_ks = xavier(dim, middle, 1.0, draw, bias=False), xavier(dim, middle, 1.0, draw, bias=False)
        self.w_vs, self.fc = xavier(dim, middle, 0.67, draw, bias=False), xavier(middle, dim, 0.67, draw)
        self.layer_norm = nn.LayerNorm(dim)
        self.attention_dropout, self.dropout = config.attention_dropout, config.dropout

    def forward(self, s: Float[Tensor, "c s D"], there: Bool[Tensor, "c s"]) -> Float[Tensor, "c s D"]:
        """LayerNorm(2 (r o + (1 - r) s)); only sentences that are there are attended to."""
        scores = self.w_qs(s) @ self.w_ks(s).transpose(1, 2) / self.w_qs.out_features**0.5
        weights = scores.masked_fill(~there[:, None], -torch.inf).softmax(dim=-1)
        attended = self.fc(F.dropout(weights, self.attention_dropout, self.training) @ self.w_vs(s))
        attended = F.dropout(attended, self.dropout, self.training)
        return self.layer_norm(2 * (self.ratio * attended + (1 - self.ratio) * s))


class VDTAdapter(Adapter):
    """`attn`, or `fc`, a map as CLIP-Adapter's."""

    def __init__(self, config: Config, dim: int, names: Names, draw: torch.Generator) -> None:
        super().__init__()
        self.config, self.counts = config, _counts(config, names)
        if config.kind == "self_attn":
            self.attn = Attention(config, dim, draw)
        else:
            self.fc = bottleneck(dim, dim // config.reduction, draw)

    def rows(self, text: TextTower, names: Names) -> list[list[int]]:
        """Each class's sentences, one class behind the other."""
        return [row for rows in described(text, self.config.descriptions, names) for row in rows]

    def class_vectors(self, out: Out, frozen: FrozenView) -> Float[Tensor, "c D"]:
        """The mean over the sentences of what attention makes of them; or what the map makes of their mean."""
        config = self.config
        sentences = nn.utils.rnn.pad_sequence(list(out.vectors.split(self.counts)), batch_first=True)
        number = torch.tensor(self.counts, device=sentences.device)[:, None]
        there = torch.arange(sentences.shape[1], device=sentences.device) < number
        if config.kind == "self_attn":
            return (self.attn(sentences, there) * there[..., None]).sum(dim=1) / number
        mean = sentences.sum(dim=1) / number
        learned = self.fc(mean)
        return learned if config.kind == "linear" else config.ratio * learned + (1 - config.ratio) * mean

    def for_names(self, names: Names) -> "VDTAdapter":
        """The same adapter over the sentences about other classes."""
        other = copy.copy(self)
        other.counts = _counts(self.config, names)
        return other


def _counts(config: Config, names: Names) -> list[int]:
    """How many sentences each class has."""
    return [len(one) for one in sentences_of(config.descriptions, names)]


def xavier(inputs: int, outputs: int, gain: float, draw: torch.Generator, *, bias: bool = True) -> nn.Linear:
    """A linear map with normal weights of variance 2 gain^2 / (inputs + outputs) (Xavier)."""
    layer = linear(inputs, outputs, draw, bias=bias)
    with torch.no_grad():
        std = gain * (2 / (inputs + outputs)) ** 0.5
        layer.weight.copy_(torch.randn(layer.weight.shape, generator=draw) * std)
    return layer


PUBLISHED: Mapping[Protocol, Published] = {
    "base-to-novel": Published(
        config=Config(), rate=0.002, epochs=10, batch=1,
        note="The authors choose the ratio by data set and shots; sentences are their repository's gpt4_data/*.pt.",
    ),
}  # fmt: skip
