"""MaPLe: text prompts, and image prompts that are linear images of them (Khattak et al. 2023, arXiv:2210.03117).

Authors' code: muzairkhattak/multimodal-prompt-learning, trainers/maple.py. tests/test_golden.py compares logits,
losses, gradients and steps. Depth J counts the input: J text prompts, J couplings, section 3.2 of the paper. What
differs: the widths of the towers are read from them (theirs are 512 and 768), and prompts that no block reads are an
error. Prompts that only one tower is deep enough for learn through that tower, as theirs do.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import nn

from polyprompt.adapt.adapter import Adapter, Names, entering
from polyprompt.adapt.published import Protocol, Published
from polyprompt.adapt.view import FrozenView
from polyprompt.adapt.wording import check_counts, check_starts, context_ids, context_rows, context_start
from polyprompt.nn.linear import linear
from polyprompt.nn.prompts import normal
from polyprompt.towers.base import Change, DualEncoder, TextTower, check_depth


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Settings of MaPLe."""

    context: int = 2
    """Learned vectors per block (b in the paper)."""
    depth: int = 9
    """Blocks with prompts of their own, the input included (J in the paper)."""
    words: str = "a photo of a"
    """What the context starts from; words beyond its length stay in the text. Without words it starts at random."""
    std: float = 0.02
    """Standard deviation of the deeper prompts, and of a random context."""
    text_start: int = 0
    """The block of the text tower that prompts enter; below a later one the words stand alone."""
    image_start: int = 0
    """The block of the image tower that prompts enter."""

    def __post_init__(self) -> None:
        check_counts("maple", context=self.context, depth=self.depth)
        check_starts("maple", self.std, text_start=self.text_start, image_start=self.image_start)

    def build(self, encoder: DualEncoder, names: Names, draw: torch.Generator) -> "MaPLe":
        """Untrained text prompts, and the couplings that make the image prompts of them."""
        self.check_fits("maple", encoder)
        return MaPLe(self, encoder, draw)

    def check_fits(self, method: str, encoder: DualEncoder) -> None:
        """Refuses an encoder that takes no prompts, or neither of whose towers has so many blocks.

        Args:
            method: names itself.

        Raises:
            ConfigError: says which, and what to give.
        """
        towers = (encoder.text, "text", self.text_start), (encoder.image, "image", self.image_start)
        for tower, what, start in towers:
            check_depth(method, tower, what, 1, start)
        tower, what, start = max(towers, key=lambda one: one[0].depth - one[2])
        check_depth(method, tower, what, self.depth, start)  # else no tower would read the deepest prompts


class MaPLe(Adapter):
    """`text[i]` are the text prompts of the i-th block, `couplings[i](text[i])` the image prompts."""

    def __init__(self, config: Config, encoder: DualEncoder, draw: torch.Generator) -> None:
        super().__init__()
        self.config = config
        self.text_depth = min(config.depth, encoder.text.depth - config.text_start)
        self.image_depth = min(config.depth, encoder.image.depth - config.image_start)
        widths = encoder.text.width, encoder.image.width
        self.text = nn.ParameterList([context_start(encoder.text, config.context, config.words, config.std, draw)])
        for _ in range(config.depth - 1):
            self.text.append(normal(config.context, encoder.text.width, config.std, draw))
        self.couplings = nn.ModuleList([linear(*widths, draw)])
        deeper = linear(*widths, draw)
        for _ in range(config.depth - 1):  # the deeper ones start as copies of one, like the authors'
            self.couplings.append(nn.Linear(*widths))
            self.couplings[-1].load_state_dict(deeper.state_dict())

    def rows(self, text: TextTower, names: Names) -> list[list[int]]:
        """Context, the rest of its words, class name."""
        config = self.config
        return context_rows(text, context_ids(text, config.context, config.words, config.text_start), names)

    def text_change(self, frozen: FrozenView) -> Change:
        """The text prompts, each entering its own block."""
        return entering(tuple(self.text)[: self.text_depth], self.config.text_start)

    def image_change(self, frozen: FrozenView) -> Change:
        """Their images under the couplings."""
        pairs = zip(self.couplings[: self.image_depth], self.text, strict=False)
        return entering([couple(prompt) for couple, prompt in pairs], self.config.image_start)


PUBLISHED: Mapping[Protocol, Published] = {
    "base-to-novel": Published(
        config=Config(),
        rate=0.0035,
        epochs=5,
        batch=4,
        figures={
            "Caltech101 base": 97.74,
            "Caltech101 novel": 94.36,
            "base": 82.28,
            "novel": 75.14,
            "harmonic mean": 78.55,
        },
    ),
    "cross-dataset": Published(
        config=replace(Config(), depth=3),
        rate=0.0026,
        epochs=2,
        batch=4,
        figures={"ImageNet": 70.72, "ten others": 66.3},
    ),
    "few-shot": Published(
        config=Config(),
        rate=0.0035,
        epochs=50,
        batch=4,
        figures={"16 shots": 81.79, "8 shots": 78.89, "4 shots": 75.37, "2 shots": 72.58, "1 shot": 69.27},
        note="Its authors gave no few-shot settings; these are the Skip Tuning repository's, and may give others.",
    ),
}
