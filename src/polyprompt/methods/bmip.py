"""BMIP: text and image prompts are mixed with images of each other, pictures' by attention (Lv et al. 2025,
arXiv:2501.07769).

Bidirectional modality interaction. Authors' code: LAMDASZ-ML/BMIP, trainers/bmip.py and clip/model.py, with parameters
shared over blocks as it is set there; tests/test_golden.py compares logits, losses, gradients and steps. Text prompts
t_0 (words), t_1 .. t_{J-1}, image prompts v_1 .. v_{J-1}, three linear maps with biases:

    input      the text gets t_0, pictures P t_0
    block i    pictures  w v_i + (1 - w) T2V t_i    for 1 <= i < J
               text      u t_i + (1 - u) V2T v_i    for 1 <= i < J - 1: one block fewer, as in their code

w = sigmoid(a m + e) is a number a prompt, with a and e of the block, and m the attention that the block pays to it: the
mean over heads, over all tokens but the prompts and, as theirs, over the batch while training; no gradient goes through
m. In evaluation each picture is seen alone, where theirs depends on what else is in the batch. Their u looks at the
start token's attention to the prompts, which the causal mask makes 0, so it is sigmoid(e), whatever the tower; its
idle slope is left out, like maps and prompts that they build and never use. With several processes the mean is over the
pictures of one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polyprompt.adapt.adapter import Adapter, Names, entering
from polyprompt.adapt.published import Protocol, Published
from polyprompt.adapt.view import FrozenView
from polyprompt.adapt.wording import check_counts, check_starts, context_ids, context_rows, context_start
from polyprompt.nn.linear import linear
from polyprompt.nn.prompts import normal
from polyprompt.towers.base import Change, DualEncoder, Rows, TextTower, check_depths


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Settings of BMIP."""

    context: int = 2
    """Learned vectors per block and tower."""
    depth: int = 9
    """Blocks with prompts of their own, the input included (J)."""
    words: str = "a photo of a"
    """What the context starts from; words beyond its length stay in the text. Without words it starts at random."""
    std: float = 0.02
    """Standard deviation of the deeper prompts, and of a random context."""

    def __post_init__(self) -> None:
        check_counts("bmip", context=self.context, depth=self.depth)
        check_starts("bmip", self.std)

    def build(self, encoder: DualEncoder, names: Names, draw: torch.Generator) -> "BMIP":
        """Untrained prompts, maps and gates."""
        check_depths("bmip", encoder, self.depth)
        return BMIP(self, encoder, draw)


class BMIP(Adapter):
    """`text[i]`, `image[i - 1]`: prompts of block i; `first`, `to_image`, `to_text`: P, T2V, V2T.

    `image_gates[i - 1]`: a and e of block i; `text_gates[i - 1]`: its e.
    """

    def __init__(self, config: Config, encoder: DualEncoder, draw: torch.Generator) -> None:
        super().__init__()
        self.config = config
        text, image, count, deeper = encoder.text.width, encoder.image.width, config.context, config.depth - 1
        self.text = nn.ParameterList([context_start(encoder.text, count, config.words, config.std, draw)])
        self.text.extend([normal(count, text, config.std, draw) for _ in range(deeper)])
        start = normal(count, image, config.std, draw)
        self.image = nn.ParameterList([start.clone() for _ in range(deeper)])
        self.first = linear(text, image, draw)
        if deeper:
            self.to_image = linear(text, image, draw)
        if deeper > 1:
            self.to_text = linear(image, text, draw)
        self.image_gates = nn.ModuleList([linear(1, 1, draw) for _ in range(deeper)])
        self.text_gates = nn.ParameterList([torch.rand(1, generator=draw) * 2 - 1 for _ in range(deeper - 1)])

    def rows(self, text: TextTower, names: Names) -> list[list[int]]:
        """Context, the rest of its words, class name."""
        return context_rows(text, context_ids(text, self.config.context, self.config.words), names)

    def text_change(self, frozen: FrozenView) -> Change:
        """The text prompts, mixed with images of the image prompts."""
        deeper = zip(self.text_gates, self.text[1:], self.image, strict=False)
        return entering([self.text[0], *(mixed(gate.sigmoid(), text, self.to_text(v)) for gate, text, v in deeper)])

    def image_change(self, frozen: FrozenView) -> Change:
        """The image prompts, which a block mixes with images of the text prompts as it attends to those before."""
        deeper = zip(self.image_gates, self.image, self.text[1:], strict=True)
        prompts = {
            block: Rows(image, made=partial(attended, gate, image, self.to_image(text)))
            for block, (gate, image, text) in enumerate(deeper, 1)
        }
        return Change(Rows(self.first(self.text[0])), prompts)


def attended(
    gate: nn.Module, prompts: Float[Tensor, "p d"], other: Float[Tensor, "p d"], attention: Float[Tensor, "b p"]
) -> Float[Tensor, "p *b d"]:
    """The mixture that a gate makes of the attention: one for the batch while training, else one a picture."""
    seen = attention.mean(dim=0) if gate.training else attention
    rows = mixed(gate(seen[..., None]).sigmoid(), prompts, other)
    return rows if rows.ndim == 2 else rows.transpose(0, 1)


def mixed(share: Tensor, prompts: Float[Tensor, "p d"], other: Float[Tensor, "p d"]) -> Float[Tensor, "*b p d"]:
    """share prompts + (1 - share) other, for a share or one a row."""
    return share * prompts + (1 - share) * other


PUBLISHED: Mapping[Protocol, Published] = {
    "base-to-novel": Published(
        config=Config(),
        rate=0.002,
        epochs=10,
        batch=4,
        optimizer="adam",
        figures={"base": 83.47, "novel": 76.69, "harmonic mean": 79.04},
        note="Stops early on validation pictures and keeps the best epoch (here: select=val). The harmonic mean is "
        "their table's; that of its two averages is 79.94.",
    ),
}
