"""MmAP: text and image prompts are Kronecker products of one source prompt, for one task or several
(Xin et al. 2024, arXiv:2312.08636).

A *reconstruction*: the paper has no code, and only its abstract was read. Known: one source prompt and scaling
matrices give the prompts of both towers; a prompt is shared by tasks, and each task has one of its own. Our choices:
a source S [p g] for each of the first J blocks, where g divides both widths; text prompts kron(K_t, S), image prompts
kron(K_v, S) with K_t [1 d_t/g], K_v [1 d_v/g], which start at ones; the shared prompts stand in front of the task's
own; all tasks are one group, where the authors group them by their gradients. Where g is the text tower's width it is
MaPLe whose couplings are multiples of the identity side by side (tests/methods/test_mmap.py).

Several tasks, such as PACS's domains, share an encoder and train together (`adapt DATA --set task=[DATA,DATA]`):

    methods = build_tasks(Config(), encoder, {"photo": names, "sketch": names})  # adapt/tasks.py
    loss = sum(method.losses(method.see(pixels[task]), labels[task])["loss"] for task, method in methods.items())
"""

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polyprompt.adapt.adapter import Adapter, Names, entering
from polyprompt.adapt.published import Protocol, Published
from polyprompt.adapt.view import FrozenView
from polyprompt.adapt.wording import check_counts, check_starts, context_ids, context_rows, context_start
from polyprompt.errors import ConfigError, UnknownNameError
from polyprompt.nn.prompts import normal
from polyprompt.towers.base import Change, DualEncoder, TextTower, check_depths


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Settings of MmAP; all of them ours."""

    context: int = 2
    """Vectors per block; with tasks so many that are shared, and as many of the task's own."""
    depth: int = 9
    """Blocks with prompts of their own, the input included."""
    unit: int = 0
    """Width g of a source, which divides those of both towers; 0: the largest that does."""
    words: str = "a photo of a"
    """What the text says beyond its prompts; the shared source starts from it where g is the text tower's width."""
    std: float = 0.02
    """Standard deviation of the sources."""
    tasks: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Tasks that have prompts of their own beside the shared ones, and their classes; the setting task names them."""
    task: str = ""
    """The task at work; the first if not given."""

    def __post_init__(self) -> None:
        check_counts("mmap", context=self.context, depth=self.depth)
        check_starts("mmap", self.std)
        if self.task and self.task not in self.tasks:
            raise UnknownNameError("task of this MmAP", self.task, self.tasks)

    def build(self, encoder: DualEncoder, names: Names, draw: torch.Generator) -> "MmAP":
        """Untrained sources; of several tasks the first one's."""
        check_depths("mmap", encoder, self.depth)
        widths = encoder.text.width, encoder.image.width
        unit = self.unit or math.gcd(*widths)
        if unit < 1 or any(width % unit for width in widths):
            raise ConfigError(f"mmap: unit is {unit}; it must divide both towers' widths, {widths[0]} and {widths[1]}")
        return MmAP(self, encoder, unit, draw)


class Sources(nn.Module):
    """A source [p g] and two scaling rows for each block."""

    def __init__(self, config: Config, widths: tuple[int, int], unit: int, draw: torch.Generator) -> None:
        super().__init__()
        blocks = range(config.depth)
        self.source = nn.ParameterList([normal(config.context, unit, config.std, draw) for _ in blocks])
        self.text, self.image = (nn.ParameterList([torch.ones(1, width // unit) for _ in blocks]) for width in widths)

    def prompts(self, scales: nn.ParameterList) -> list[Float[Tensor, "p d"]]:
        """Kronecker products of a tower's scaling rows with the sources."""
        return [torch.kron(scale, source) for scale, source in zip(scales, self.source, strict=True)]


class MmAP(Adapter):
    """`shared` sources, and `own` ones by the task's number."""

    def __init__(self, config: Config, encoder: DualEncoder, unit: int, draw: torch.Generator) -> None:
        super().__init__()
        self.config = config
        widths = encoder.text.width, encoder.image.width
        self.shared = Sources(config, widths, unit, draw)
        self.own = nn.ModuleList([Sources(config, widths, unit, draw) for _ in config.tasks])
        if unit == encoder.text.width and config.words:
            start = context_start(encoder.text, config.context, config.words, config.std, draw)
            self.shared.source[0].data.copy_(start)

    def at_work(self) -> list[Sources]:
        """The shared sources, and the task's own."""
        config = self.config
        of_task = [self.own[list(config.tasks).index(config.task) if config.task else 0]] if config.tasks else []
        return [one for one in (self.shared, *of_task) if isinstance(one, Sources)]

    def rows(self, text: TextTower, names: Names) -> list[list[int]]:
        """Context, the rest of its words, class name."""
        return context_rows(
            text, context_ids(text, self.config.context * len(self.at_work()), self.config.words), names
        )

    def text_change(self, frozen: FrozenView) -> Change:
        """The text prompts, those of the task behind the shared ones."""
        return entering(joined([one.prompts(one.text) for one in self.at_work()]))

    def image_change(self, frozen: FrozenView) -> Change:
        """The image prompts, those of the task behind the shared ones."""
        return entering(joined([one.prompts(one.image) for one in self.at_work()]))

    @property
    def tasks(self) -> Mapping[str, Names]:
        """See `Adapter.tasks`."""
        return self.config.tasks

    def for_task(self, task: str) -> "MmAP":
        """The same sources at work on another task.

        Raises:
            UnknownNameError: there is no such task.
        """
        if not self.config.tasks:
            super().for_task(task)
        other = copy.copy(self)
        other.config = replace(self.config, task=task)
        return other


def joined(sets: list[list[Float[Tensor, "p d"]]]) -> list[Float[Tensor, "r d"]]:
    """The prompts of several sets, block by block."""
    return [torch.cat(prompts) for prompts in zip(*sets, strict=True)]


PUBLISHED: Mapping[Protocol, Published] = {}
