"""IVLP: prompts in both towers that know nothing of each other (Rasheed et al. 2023; MaPLe's and PromptSRC's baseline).

Authors' code: muzairkhattak/multimodal-prompt-learning, trainers/independent_vlp.py. Deep language prompting
(language.py), VPT (vpt.py) and PromptSRC (promptsrc.py) are this layout with other settings; tests/test_golden.py
compares them all with the authors' code.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from polyprompt.adapt.consistency import Consistency
from polyprompt.adapt.engine import Both, Prompted, Published
from polyprompt.adapt.wording import begun, check_counts, context_rows, context_start, filled
from polyprompt.errors import ConfigError
from polyprompt.nn.prompts import normal
from polyprompt.towers.base import DualEncoder, Prompts, TextTower, check_prompts


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Settings of independent prompting; a depth of 0 leaves that tower without prompts."""

    text_context: int = 2
    """Learned vectors in front of the class name."""
    text_depth: int = 12
    """Blocks of the text tower with prompts of their own, the input included."""
    image_context: int = 2
    """Learned vectors behind the patches."""
    image_depth: int = 12
    """Blocks of the image tower with prompts of their own, the input included."""
    words: str = "a photo of a"
    """What the context starts from; words beyond its length stay in the text. Without words it starts at random."""
    template: str = "a photo of a {}."
    """What stands around the class name where the text has no prompts."""
    std: float = 0.02
    """Standard deviation of a random start."""
    text_start: int = 0
    """The block of the text tower that prompts enter; below a later one the words stand alone."""
    image_start: int = 0
    """The block of the image tower that prompts enter."""
    consistency: Consistency | None = None
    """PromptSRC's losses and averaging."""

    def __post_init__(self) -> None:
        check_counts("ivlp", text_context=self.text_context, image_context=self.image_context)
        if min(self.text_depth, self.image_depth) < 0 or not self.text_depth + self.image_depth:
            raise ConfigError(
                f"ivlp: text_depth is {self.text_depth}, image_depth {self.image_depth}; neither can be below 0, and "
                f"one must be at least 1"
            )

    def build(self, encoder: DualEncoder, class_names: Sequence[str], *, seed: int = 0) -> Prompted:
        """Untrained prompts; `seed` draws their random start."""
        if self.text_depth:
            check_prompts(encoder.text, "text", self.text_depth, self.text_start)
        if self.image_depth:
            check_prompts(encoder.image, "image", self.image_depth, self.image_start)
        layout = Independent(self, encoder, torch.Generator().manual_seed(seed))
        return Prompted(self, encoder, class_names, layout, self.consistency)


class Independent(nn.Module):
    """`text[i]` and `image[i]` are the prompts of the i-th block, counted from the start."""

    def __init__(self, config: Config, encoder: DualEncoder, draw: torch.Generator) -> None:
        super().__init__()
        self.config = config
        self.image_start = config.image_start if config.image_depth else None
        self.text = nn.ParameterList()
        if config.text_depth:
            self.text.append(context_start(encoder.text, config.text_context, config.words, config.std, draw))
        for _ in range(config.text_depth - 1):
            self.text.append(normal(config.text_context, encoder.text.width, config.std, draw))
        self.image = nn.ParameterList(
            normal(config.image_context, encoder.image.width, config.std, draw) for _ in range(config.image_depth)
        )

    def rows(self, text: TextTower, class_names: Sequence[str]) -> list[list[int]]:
        """Context, the rest of its words, class name; or the template."""
        if not len(self.text):
            return filled(text, [self.config.template], class_names)
        config = self.config
        return context_rows(text, begun(text, config.text_context, config.words, config.text_start), class_names)

    def prompts(self) -> Both:
        """The parameters as they are."""
        return Both(
            Prompts(tuple(self.text), self.config.text_start) if len(self.text) else None,
            Prompts(tuple(self.image), self.config.image_start) if len(self.image) else None,
        )


PUBLISHED: Mapping[str, Published] = {
    "base-to-new": Published(config=Config(), rate=0.0035, epochs=5, batch=4),
}
