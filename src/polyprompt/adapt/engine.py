"""What a method is: prompts for the two towers, what learns, named losses; and the classifier they make of class names.

`Method` is the promise. `Layout` is the part that differs between most methods: which prompts there are and where they
stand. `Prompted` makes a method of a layout; the losses of PromptSRC (`Consistency`) go with any layout.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from polyprompt.adapt.consistency import Consistency, Teacher
from polyprompt.adapt.wording import check_names, prepare
from polyprompt.towers.base import DualEncoder, Prompts, TextTower
from polyprompt.types import Pixels

Frozen = dict[str, Tensor]
"""What no prompt can change about a batch of pictures, one row per picture: made once, cached, sliced."""

Stages = dict[str, int | None]
"""How far pictures go through the image tower on their own, for each part of `Frozen`: the block at whose input they
wait for prompts, or None for finished vectors. Nothing else decides what `Frozen` holds."""

Losses = dict[str, Float[Tensor, ""]]
"""Scalars by name; `loss` is minimised, the others are its parts."""


@runtime_checkable
class Method(Protocol):
    """An adapted classifier: frozen encoder, learned prompts, class names."""

    config: Any
    encoder: DualEncoder
    class_names: tuple[str, ...]

    def learned(self) -> dict[str, nn.Parameter]:
        """What learns, by name; all else is frozen."""
        ...

    def stages(self) -> Stages:
        """What `frozen` is made of."""
        ...

    def frozen(self, pixels: Pixels) -> Frozen:
        """The frozen part of the work on pictures. Can be cached."""
        ...

    def logits(self, frozen: Frozen) -> Float[Tensor, "b c"]:
        """One score per picture and class."""
        ...

    def loss(self, frozen: Frozen, labels: Int[Tensor, "b"]) -> Losses:
        """Named losses; labels index `class_names`."""
        ...

    def for_classes(self, class_names: Sequence[str]) -> "Method":
        """The same learned prompts over other classes."""
        ...

    def epoch_end(self, epoch: int, epochs: int) -> None:
        """Called after each epoch, counted from 1; the same epoch may be told twice."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """How a method's authors trained it: SGD with momentum 0.9, weight decay 5e-4, `published_rate`, fp16."""

    config: Any
    rate: float
    """Peak learning rate."""
    epochs: int
    batch: int
    """Images per step."""
    fewer: tuple[tuple[int, int], ...] = ()
    """(shots, epochs), fewest first: with up to so many images a class, so many epochs instead."""

    def epochs_for(self, shots: int | None) -> int:
        """Epochs for so many images a class; None for all there are."""
        return next((epochs for most, epochs in self.fewer if shots is not None and shots <= most), self.epochs)


class Both(NamedTuple):
    """Prompts for the two towers; None where there are none, and that tower is frozen as a whole."""

    text: Prompts | None
    image: Prompts | None


@runtime_checkable
class Layout(Protocol):
    """Which prompts there are and where they stand. A module: its parameters are what learns."""

    image_start: int | None
    """The first block of the image tower with prompts."""

    def rows(self, text: TextTower, class_names: Sequence[str]) -> list[list[int]]:
        """One row of token ids and slots per class."""
        ...

    def prompts(self) -> Both:
        """The tensors to hand to the towers."""
        ...


class Prompted(nn.Module):
    """A method made of a layout.

    Logits are exp(logit_scale) times the cosine of image and class vectors; the loss is cross-entropy, plus, with
    `consistency`, the three terms of PromptSRC.
    """

    def __init__(
        self, config: Any, encoder: Any, class_names: Sequence[str], layout: Any, consistency: Consistency | None = None
    ) -> None:
        super().__init__()
        self.config, self.encoder, self.consistency = config, encoder, consistency
        self.layout: Any = layout
        self.class_names = check_names(class_names)
        self.texts = prepare(encoder.text, layout.rows(encoder.text, self.class_names), self.class_names)
        self.teacher = None if consistency is None else Teacher(consistency, encoder, self.class_names, layout)
        self._kept: tuple[tuple[Any, ...], Tensor] | None = None

    def learned(self) -> dict[str, nn.Parameter]:
        """The layout's parameters, by name."""
        return dict(self.layout.named_parameters())

    def stages(self) -> Stages:
        """Image states below the first prompt; to train with consistency also the unprompted image vectors."""
        teaching = self.teacher is not None and self.training
        return {"states": self.layout.image_start} | ({"teacher": None} if teaching else {})

    def frozen(self, pixels: Pixels) -> Frozen:
        """The image states of each stage."""
        return run_stages(self.encoder, self.stages(), pixels)

    def class_features(self) -> Float[Tensor, "c D"]:
        """One vector per class, not normalised. Without gradients the last result is kept until a prompt changes."""
        text = self.layout.prompts().text
        if text is not None and torch.is_grad_enabled():
            return self.encoder.text.encode(self.texts, text)
        state = tuple((id(p), p._version, p.device, p.dtype) for p in self.layout.parameters() if text is not None)
        state += (self.encoder.logit_scale.device,)
        if self._kept is None or self._kept[0] != state:
            with torch.no_grad():
                self._kept = (state, self.encoder.text.encode(self.texts, text))
        return self._kept[1]

    def image_features(self, frozen: Frozen) -> Float[Tensor, "b D"]:
        """One vector per picture, not normalised."""
        image = self.layout.prompts().image
        return frozen["states"] if image is None else self.encoder.image.finish(frozen["states"], image)

    def logits(self, frozen: Frozen) -> Float[Tensor, "b c"]:
        """exp(logit_scale) * cosine."""
        return class_logits(self.image_features(frozen), self.class_features(), self.encoder.logit_scale.exp())

    def loss(self, frozen: Frozen, labels: Int[Tensor, "b"]) -> Losses:
        """Cross-entropy, and the consistency terms if there are any."""
        images, classes, scale = self.image_features(frozen), self.class_features(), self.encoder.logit_scale.exp()
        logits = class_logits(images, classes, scale)
        terms = {"cross_entropy": F.cross_entropy(logits, labels)}
        if self.teacher is not None:
            terms |= self.teacher.losses(images, classes, logits, frozen["teacher"], scale)
        return {"loss": sum(terms.values(), torch.zeros((), device=logits.device)), **terms}

    def forward(self, pixels: Pixels) -> Float[Tensor, "b c"]:
        """Pixels to logits."""
        return self.logits(self.frozen(pixels))

    def for_classes(self, class_names: Sequence[str]) -> "Prompted":
        """The same prompts, shared and not copied, over other classes."""
        return Prompted(self.config, self.encoder, class_names, self.layout, self.consistency)

    def epoch_end(self, epoch: int, epochs: int) -> None:
        """PromptSRC's Gaussian averaging; nothing for other losses."""
        if self.teacher is not None:
            self.teacher.epoch_end(self.layout, epoch, epochs)

    def train(self, mode: bool = True) -> "Prompted":
        """The encoder is frozen, statistics of its normalisation layers included."""
        super().train(mode)
        self.encoder.eval()
        return self


def run_stages(encoder: DualEncoder, stages: Stages, pixels: Pixels) -> Frozen:
    """Pictures through the image tower as far as they go on their own; equal stages once."""
    made = {block: encoder.image.until(pixels, block) for block in set(stages.values())}
    return {name: made[block] for name, block in stages.items()}


def class_logits(
    images: Float[Tensor, "b D"], classes: Float[Tensor, "c D"], scale: Float[Tensor, ""]
) -> Float[Tensor, "b c"]:
    """scale * cosine(image, class)."""
    return scale * F.normalize(images, dim=-1) @ F.normalize(classes, dim=-1).T
