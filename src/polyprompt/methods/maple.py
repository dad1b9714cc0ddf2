"""MaPLe: text prompts, and image prompts that are linear images of them (Khattak et al. 2023, arXiv:2210.03117).

Authors' code: muzairkhattak/multimodal-prompt-learning, trainers/maple.py. tests/test_golden.py compares logits,
losses, gradients and steps. Depth J counts the input: J text prompts, J couplings, section 3.2 of the paper. What
differs: the widths of the towers are read from them (theirs are 512 and 768), and prompts that no block reads are an
error. Prompts that only one tower is deep enough for learn through that tower, as theirs do.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from polyprompt.adapt.consistency import Consistency
from polyprompt.adapt.engine import Both, Prompted, Published
from polyprompt.adapt.wording import begun, check_counts, context_rows, context_start
from polyprompt.nn.prompts import normal
from polyprompt.towers.base import DualEncoder, Prompts, TextTower, check_prompts


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
    consistency: Consistency | None = None
    """PromptSRC's losses and averaging."""

    def __post_init__(self) -> None:
        check_counts("maple", context=self.context, depth=self.depth)

    def build(self, encoder: DualEncoder, class_names: Sequence[str], *, seed: int = 0) -> Prompted:
        """An untrained MaPLe; `seed` draws its random parts."""
        text_depth = min(self.depth, encoder.text.depth - self.text_start)
        image_depth = min(self.depth, encoder.image.depth - self.image_start)
        if self.depth > max(text_depth, image_depth):
            text_depth = image_depth = self.depth  # neither tower is deep enough: one of the checks below says so
        check_prompts(encoder.text, "text", text_depth, self.text_start)
        check_prompts(encoder.image, "image", image_depth, self.image_start)
        layout = Coupled(self, encoder, (text_depth, image_depth), torch.Generator().manual_seed(seed))
        return Prompted(self, encoder, class_names, layout, self.consistency)


class Coupled(nn.Module):
    """`text[i]` are the text prompts of the i-th block, `couplings[i](text[i])` the image prompts."""

    def __init__(self, config: Config, encoder: DualEncoder, depths: tuple[int, int], draw: torch.Generator) -> None:
        super().__init__()
        self.config, self.depths, self.image_start = config, depths, config.image_start
        widths = encoder.text.width, encoder.image.width
        self.text = nn.ParameterList([context_start(encoder.text, config.context, config.words, config.std, draw)])
        for _ in range(config.depth - 1):
            self.text.append(normal(config.context, encoder.text.width, config.std, draw))
        self.couplings = nn.ModuleList([linear(*widths, draw)])
        deeper = linear(*widths, draw)
        for _ in range(config.depth - 1):  # the deeper ones start as copies of one, like the authors'
            self.couplings.append(nn.Linear(*widths))
            self.couplings[-1].load_state_dict(deeper.state_dict())

    def rows(self, text: TextTower, class_names: Sequence[str]) -> list[list[int]]:
        """Context, the rest of its words, class name."""
        config = self.config
        return context_rows(text, begun(text, config.context, config.words, config.text_start), class_names)

    def prompts(self) -> Both:
        """Text prompts, and their images under the couplings; each tower gets as many as it is deep."""
        text, image = self.depths
        mapped = (couple(prompt) for couple, prompt in zip(self.couplings[:image], self.text, strict=False))
        return Both(
            Prompts(tuple(self.text[i] for i in range(text)), self.config.text_start),
            Prompts(tuple(mapped), self.config.image_start),
        )


def linear(inputs: int, outputs: int, draw: torch.Generator) -> nn.Linear:
    """torch's own start of a linear map, uniform within 1 / sqrt(inputs), from a generator."""
    layer = nn.Linear(inputs, outputs)
    with torch.no_grad():
        for parameter in (layer.weight, layer.bias):
            parameter.copy_((torch.rand(parameter.shape, generator=draw) * 2 - 1) * inputs**-0.5)
    return layer


PUBLISHED: Mapping[str, Published] = {
    "base-to-new": Published(config=Config(), rate=0.0035, epochs=5, batch=4),
    "cross-dataset": Published(config=replace(Config(), depth=3), rate=0.0026, epochs=2, batch=4),
    "few-shot": Published(config=Config(), rate=0.0035, epochs=50, batch=4),
}
"""The few-shot setting is from the Skip Tuning repository; MaPLe's own has none."""
