"""CoOp: learned context words around the class name (Zhou et al. 2022, arXiv:2109.01134).

Authors' code: KaiyangZhou/CoOp, trainers/coop.py. tests/test_golden.py compares logits, losses, gradients and steps.
What differs: words that are fewer tokens than `context` are an error, where the authors take `context` from the words.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from polyprompt.adapt.adapter import Adapter, Names, entering
from polyprompt.adapt.published import Protocol, Published
from polyprompt.adapt.view import FrozenView
from polyprompt.adapt.wording import check_counts, check_starts, context_ids, context_rows, context_start, in_prompt
from polyprompt.errors import ConfigError, DataError
from polyprompt.nn.prompts import slots
from polyprompt.towers.base import Change, DualEncoder, TextTower


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Settings of CoOp."""

    context: int = 16
    """Learned vectors (M in the paper)."""
    words: str = ""
    """What the context starts from; words beyond its length stay in the text. Without words it starts at random."""
    position: str = "end"
    """Where the class name stands: "end", "middle" or "front"."""
    per_class: bool = False
    """A context of its own for each class (CSC). It cannot be used for other classes."""
    std: float = 0.02
    """Standard deviation of a random start."""
    start: int = 0
    """The block of the text tower that the context enters; below a later one the words stand alone."""

    def __post_init__(self) -> None:
        check_counts("coop", context=self.context)
        check_starts("coop", self.std, start=self.start)
        if self.position not in ("end", "middle", "front"):
            raise ConfigError(f'coop: position is {self.position!r}; it is "end", "middle" or "front"')

    def build(self, encoder: DualEncoder, names: Names, draw: torch.Generator) -> "CoOp":
        """An untrained context: one for all of `names`, or one each."""
        return CoOp(self, encoder.text, names, draw)


class CoOp(Adapter):
    """One context for all classes [p d], or one each [c p d]."""

    def __init__(self, config: Config, text: TextTower, names: Names, draw: torch.Generator) -> None:
        super().__init__()
        self.config = config
        self.owners = tuple(in_prompt(name) for name in names) if config.per_class else ()
        copies = [context_start(text, config.context, config.words, config.std, draw) for _ in self.owners or [0]]
        self.context = nn.Parameter(torch.stack(copies) if config.per_class else copies[0])

    def rows(self, text: TextTower, names: Names) -> list[list[int]]:
        """Context and class name."""
        count, position = self.config.context, self.config.position
        context = context_ids(text, count, self.config.words, self.config.start)
        if not self.owners:
            return context_rows(text, context, names, position)
        rows = []
        for name in names:
            ids = slots(self.owners.index(in_prompt(name)) * count, count)
            rows += context_rows(text, ids + context[count:], [name], position)
        return rows

    def text_change(self, frozen: FrozenView) -> Change:
        """The context, at the text's input."""
        return entering([self.context.flatten(0, -2)], self.config.start)

    def for_names(self, names: Names) -> "CoOp":
        """Itself; contexts of each class's own go to no other class."""
        unknown = [name for name in names if self.owners and in_prompt(name) not in self.owners]
        if unknown:
            raise DataError(
                f"no context was learned for class {unknown[0]!r}; with per_class there is one for each of "
                f"{', '.join(self.owners[:5])}{', ...' if len(self.owners) > 5 else ''} and no other"
            )
        return self


PUBLISHED: Mapping[Protocol, Published] = {
    "few-shot": Published(
        config=Config(),
        rate=0.002,
        epochs=200,
        batch=32,
        fewer=((1, 50), (4, 100)),
        figures={"16 shots": 79.89, "8 shots": 76.98, "4 shots": 74.02, "2 shots": 70.65, "1 shot": 67.56},
        note="Fewer shots took fewer epochs: 100 with 4 or 2, 50 with 1 and for ImageNet.",
    ),
    "base-to-novel": Published(
        config=Config(context=4, words="a photo of a"),
        rate=0.002,
        epochs=200,
        batch=32,
        figures={
            "Caltech101 base": 98.0,
            "Caltech101 novel": 89.81,
            "base": 82.69,
            "novel": 63.22,
            "harmonic mean": 71.66,
        },
    ),
}
