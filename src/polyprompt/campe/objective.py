"""CAMPE's training loss: contrast, diversity of the prompts, negated prompts; each weighted and logged apart."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polyprompt.campe.model import CAMPE
from polyprompt.campe.text import TextSide, join
from polyprompt.media.frames import over_frames
from polyprompt.nn.losses import agreement, cosent, diversity, negation, sigmoid_contrast, softmax_contrast
from polyprompt.nn.tree import Sequences
from polyprompt.types import Hidden


@dataclass(frozen=True, slots=True)
class Batch:
    """Captions and what they describe, one row each; from a cache where `hidden` and `tokens` are given."""

    captions: Sequences
    hidden: Hidden | None
    tokens: Float[Tensor, "f m c"] | None
    pixels: Float[Tensor, "f 3 height width"] | None
    frames: Sequence[int] | None = None
    """How many rows of tokens or pixels belong to each caption: several where it describes a video; None: one each."""

    def to(self, device: torch.device) -> "Batch":
        """The same batch on another device."""
        hidden, tokens, pixels = (
            part if part is None else part.to(device) for part in (self.hidden, self.tokens, self.pixels)
        )
        return Batch(self.captions.to(device), hidden, tokens, pixels, self.frames)


class Objective(nn.Module):
    """Maps a batch to named losses; "loss" is their weighted sum.

    A cosine between segments behind maps of their own says nothing: they have no common coordinates. So diversity acts
    on how they score pairs, or on the centred readouts before the maps. docs/results.md has both: the readouts hardly
    move, since they share the words behind the adaptive token, while scores can differ and do.
    """

    def __init__(self, model: CAMPE, dropped_patches: float = 0.0) -> None:
        super().__init__()
        self.model, self.dropped_patches = model, dropped_patches

    def forward(self, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """The terms, before weighting, and their weighted sum."""
        model, weights = self.model, self.model.settings.loss
        text = model.text(batch.captions, batch.hidden)
        tokens = batch.tokens
        if tokens is None:
            assert batch.pixels is not None
            tokens = model.image.tower.trunk_tokens(batch.pixels)
        segments, _ = model.image.segments(tokens, self.dropped_patches if self.training else 0.0)
        texts, images, scale = join(text.segments), join(segments), model.scale
        if batch.frames is not None:
            images = over_frames(images, batch.frames)
        if weights.contrast == "sigmoid":
            terms = {"contrast": sigmoid_contrast(texts, images, scale, model.bias)}
        else:
            terms = {"contrast": softmax_contrast(texts, images, scale)}
        loss = terms["contrast"]
        if weights.diversity and (k := model.text.num_segments) > 1:
            if weights.diversity_of == "scores":
                terms["diversity"] = agreement(texts.unflatten(1, (k, -1)), images.unflatten(1, (k, -1)))
            else:
                terms["diversity"] = diversity(text.readouts)
            loss = loss + weights.diversity * terms["diversity"]
        if text.negated is not None:
            terms["negation"] = negation(images, texts, join(text.negated), scale, columns=weights.negation_columns)
            loss = loss + weights.negation * terms["negation"]
        return {"loss": loss, **terms, "scale": scale.detach()}


@dataclass(frozen=True, slots=True)
class ScoredBatch:
    """Pairs of sentences: r first ones, then their r second ones; from a cache where `hidden` is given."""

    sentences: Sequences
    hidden: Hidden | None
    scores: Float[Tensor, "r"]

    def to(self, device: torch.device) -> "ScoredBatch":
        """The same batch on another device."""
        hidden = None if self.hidden is None else self.hidden.to(device)
        return ScoredBatch(self.sentences.to(device), hidden, self.scores.to(device))


class Likeness(nn.Module):
    """Maps pairs of sentences to named losses: cosines shall rank pairs as people do (nn/losses.py, `cosent`).

    Diversity acts as in `Objective`, on how segments score pairs, here of two sentences.
    """

    def __init__(self, text: TextSide, diversity: float) -> None:
        super().__init__()
        self.text, self.diversity = text, diversity

    def forward(self, batch: ScoredBatch) -> dict[str, Float[Tensor, ""]]:
        """The terms, before weighting, and their weighted sum."""
        vectors = join(self.text(batch.sentences, batch.hidden).segments).float()
        first, second = vectors.chunk(2)
        terms = {"cosent": cosent((first * second).sum(dim=1), batch.scores)}
        loss = terms["cosent"]
        if self.diversity and (k := self.text.num_segments) > 1:
            terms["diversity"] = agreement(first.unflatten(1, (k, -1)), second.unflatten(1, (k, -1)))
            loss = loss + self.diversity * terms["diversity"]
        return {"loss": loss, **terms}
