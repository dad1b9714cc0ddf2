"""How a method's authors trained it, and what they report: one record per method and protocol.

Runs fill from it what a user leaves open, and recipes are written from it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

Protocol: TypeAlias = Literal["few-shot", "base-to-novel", "cross-dataset"]
"""Few-shot: all classes. Base-to-novel: trained on the first half of the classes, scored on both halves apart (Zhou et
al. 2022, arXiv:2203.05557). Cross-dataset: trained on all classes of one set, scored on others too."""

NEAREST: Mapping[Protocol, tuple[Protocol, ...]] = {
    "few-shot": ("few-shot", "base-to-novel", "cross-dataset"),
    "base-to-novel": ("base-to-novel", "few-shot", "cross-dataset"),
    "cross-dataset": ("cross-dataset", "base-to-novel", "few-shot"),
}
"""Whose settings a protocol takes: its own, or the nearest that the authors published."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """What the authors' programs do; on ViT-B/16 with 16 pictures a class, unless a method's file says otherwise."""

    config: Any
    """The method's settings."""
    rate: float
    """Peak learning rate."""
    epochs: int | None
    """Passes over the drawn pictures; None: counted in steps."""
    batch: int
    """Pictures a step."""
    fewer: tuple[tuple[int, int], ...] = ()
    """(shots, epochs), fewest first: with up to so many pictures a class, so many epochs instead."""
    steps_a_shot: int | None = None
    """Steps for each picture of a class, where epochs are not what the authors count."""
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    """SGD with momentum 0.9; Adam and AdamW with betas 0.9 and 0.999."""
    weight_decay: float = 5e-4
    """Decoupled in AdamW, else part of the gradient."""
    eps: float = 1e-8
    """Of Adam and AdamW."""
    schedule: Literal["published", "by-epoch", "cosine", "constant"] = "published"
    """An epoch at 1e-5, then a cosine by epochs (train/schedule.py); the cosine alone; a cosine by steps; none."""
    select: Literal["last", "val"] = "last"
    """Which epoch stays: the last one, or the one that scores best on validation pictures."""
    crop: float = 0.08
    """The smallest share of a picture that a random crop shows; crops are mirrored half of the time."""
    views: Literal["crops", "randaugment"] = "crops"
    """How training pictures are changed at random; RandAugment: two operations, magnitude 10 of 30."""
    precision: str = "fp16"
    """The authors'; runs here are fp32 or bf16."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """Accuracies in percent, mean of seeds 1 to 3, over the 11 data sets where none is named. Empty: none was read."""
    note: str = ""
    """What the record does not say: where it is from, what else the authors did."""

    def epochs_for(self, shots: int | None) -> int | None:
        """Epochs for so many pictures a class; None for all there are."""
        return next((epochs for most, epochs in self.fewer if shots is not None and shots <= most), self.epochs)

    def steps_for(self, shots: int | None) -> int | None:
        """Steps for so many pictures a class, where steps are counted; of all there are, as for 16."""
        return None if self.steps_a_shot is None else self.steps_a_shot * (shots or 16)


Records: TypeAlias = Mapping[Protocol, Published]
"""Of one method."""


class Untrained(dict[Protocol, Published]):
    """In place of records, for a method that nothing is trained of; `figures` as in a record of base-to-novel."""

    def __init__(self, figures: Mapping[str, float] | None = None) -> None:
        super().__init__()
        self.figures = figures or {}
