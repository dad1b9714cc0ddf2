"""PromptSRC: independent prompts (ivlp.py) that the frozen encoder holds back (Khattak et al. 2023, arXiv:2307.06948).

The losses and the average over epochs are in consistency.py, since they go with other layouts too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from polyprompt.adapt.consistency import Consistency
from polyprompt.adapt.engine import Prompted, Published
from polyprompt.adapt.wording import check_counts
from polyprompt.methods import ivlp
from polyprompt.towers.base import DualEncoder


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Settings of PromptSRC; the names are those of IVLP's."""

    text_context: int = 4
    """Learned vectors in front of the class name."""
    text_depth: int = 9
    """Blocks of the text tower with prompts of their own, the input included."""
    image_context: int = 4
    """Learned vectors behind the patches."""
    image_depth: int = 9
    """Blocks of the image tower with prompts of their own, the input included."""
    words: str = "a photo of a"
    """What the context starts from; see ivlp.py."""
    std: float = 0.02
    """Standard deviation of a random start."""
    text_start: int = 0
    """The block of the text tower that prompts enter; below a later one the words stand alone."""
    image_start: int = 0
    """The block of the image tower that prompts enter."""
    consistency: Consistency = field(default_factory=Consistency)
    """The losses that hold the prompts back, and their average over epochs."""

    def __post_init__(self) -> None:
        check_counts("promptsrc", text_context=self.text_context, image_context=self.image_context)
        check_counts("promptsrc", text_depth=self.text_depth, image_depth=self.image_depth)

    def build(self, encoder: DualEncoder, class_names: Sequence[str], *, seed: int = 0) -> Prompted:
        """Untrained prompts; `seed` draws their random start."""
        layout = ivlp.Config(
            text_context=self.text_context,
            text_depth=self.text_depth,
            image_context=self.image_context,
            image_depth=self.image_depth,
            words=self.words,
            std=self.std,
            text_start=self.text_start,
            image_start=self.image_start,
            consistency=self.consistency,
        )
        method = layout.build(encoder, class_names, seed=seed)
        method.config = self
        return method


CROSS_DATASET = replace(Config(), text_depth=3, image_depth=3, consistency=Consistency(mean=6.0, std=10.0))
FEW_SHOT = replace(Config(), consistency=Consistency(mean=30.0, std=30.0))

PUBLISHED: Mapping[str, Published] = {
    "base-to-new": Published(config=Config(), rate=0.0025, epochs=20, batch=4),
    "cross-dataset": Published(config=CROSS_DATASET, rate=0.0025, epochs=20, batch=4),
    "few-shot": Published(config=FEW_SHOT, rate=0.0025, epochs=50, batch=4),
}
"""Few-shot averaging (30, 30) is for ImageNet, Caltech101, Pets, Food101, UCF101 and SUN397; the authors use (45, 5)
for Cars, Flowers, Aircraft, DTD and EuroSAT."""
