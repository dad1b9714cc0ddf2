"""What a CAMPE model is made of."""

from typing import ClassVar, Literal

from pydantic import Field

from polyprompt.errors import ConfigError
from polyprompt.settings import Settings

LARGEST = 2**16
"""The most that a width may be: far above those in use, and small enough to try."""

WORDS = (
    "subject", "people", "action", "scene", "color", "background", "object", "mood",
    "place", "time", "size", "number", "shape", "material", "light", "style",
)  # fmt: skip
"""What the K adaptive tokens start from, unless the user says otherwise."""

Readout = Literal["prompts", "last", "mean", "tokens", "end"]
Adaptive = Literal["words", "late", "input"]
TowerDtype = Literal["auto", "fp32", "bf16"]


class TextSettings(Settings):
    """The text side (campe/text.py)."""

    tower: str = Field(default="smollm2-135m", min_length=1)
    """The packaged one, a folder in Hugging Face layout, a hub id; or vanilla:384x6, a fresh one of width x blocks."""
    depth: int | None = None
    """Blocks of the LLM that are kept, counted from its input; all of them if not given."""
    readout: Readout = "prompts"
    """What is read: K prompts, or a baseline: the last token, the mean, a row of adaptive tokens, an end token."""
    prompts: int = Field(default=6, ge=1)
    """K, prompts behind each caption."""
    words: tuple[str, ...] | None = None
    """The word each adaptive token starts from, one a prompt."""
    template: str = "the {} of the image means:"
    """A prompt; {} is where its adaptive token stands."""
    negated_template: str = "the {} of the image does NOT mean:"
    """Its negation, for the loss of that name."""
    adaptive: Adaptive = "late"
    """Where the adaptive tokens live: words, late or input (docs/design.md)."""
    last_n: int = 1
    """Trained blocks of the LLM, counted from its end; a fresh one is trained whole."""
    lora: int = Field(default=0, ge=0, le=LARGEST)
    """Rank of updates beside the trained blocks' attention, whose weights then stay; 0: the blocks themselves learn."""
    norm: Literal["fitted", "own"] = "fitted"
    """Behind them: each coordinate standardised as the first captions' readouts need it; or the LLM's own."""
    shared_map: bool = False
    """One map for all prompts, instead of one each."""
    max_tokens: int = Field(default=64, ge=1)
    """Longer captions are cut, and counted."""

    def adaptive_words(self) -> tuple[str, ...]:
        """The word each adaptive token starts from; "tokens" always takes sixteen.

        Raises:
            ConfigError: more prompts than known words, or words that are not as many as the prompts.
        """
        count = len(WORDS) if self.readout == "tokens" else self.prompts
        words = self.words or WORDS[:count]
        if len(words) != count:
            raise ConfigError(
                f"text.prompts is {count} and there are {len(words)} words; give text.words, one a prompt."
            )
        return words


class ImageSettings(Settings):
    """The image side (campe/image.py)."""

    tower: str = Field(default="efficientnet-lite0", min_length=1)
    """The packaged one, any of timm's names, or a folder as timm saves it."""
    trained_blocks: int | Literal["all"] = 0
    """Of a ViT's own blocks, counted from its end; all trains its embedding, too."""
    new_blocks: int | None = Field(default=None, le=1000)
    """Put on the tower; one, unless the tower trains blocks of its own."""
    width: int = Field(default=384, ge=8, le=LARGEST)
    """Numbers per token in new blocks."""
    queries: int | None = Field(default=None, ge=1)
    """Attention maps; as many as prompts unless said otherwise."""
    frames: int = Field(default=8, ge=1, le=LARGEST)
    """Evenly spaced frames that stand for a video (media/frames.py)."""


class LossSettings(Settings):
    """Losses and their weights; 0 turns one off (campe/objective.py)."""

    contrast: Literal["softmax", "sigmoid"] = "softmax"
    """CLIP's loss, or SigLIP's."""
    scale: float = Field(default=1 / 0.07, gt=0, le=100)
    """The factor on cosines at the start; it learns."""
    bias: float | None = None
    """Of SigLIP's loss, at the start; if not given, -log of the negatives in a batch, which balances it."""
    diversity: float = Field(default=0.1, ge=0)
    """Weight: prompts shall say different things."""
    diversity_of: Literal["scores", "readouts"] = "scores"
    """What shall differ: how segments score pairs (nn/losses.py, `agreement`), or their readouts (`diversity`)."""
    negation: float = Field(default=0.1, ge=0)
    """Weight: a caption's negation shall fit its picture less."""
    negation_columns: Literal["own", "all", "hinge"] = "own"
    """Which negations a picture meets: its own, all of the batch's, or its own in a hinge."""


class ModelSettings(Settings):
    """All that is needed to build a model anew."""

    SHOWN: ClassVar[tuple[str, ...]] = (
        "text.tower", "text.depth", "text.prompts", "image.tower", "dim", "tower_dtype",
    )  # fmt: skip

    dim: int = Field(default=384, ge=1, le=LARGEST)
    """D, numbers in an embedding; K divides it."""
    tower_dtype: TowerDtype = "auto"
    """Of the LLM's frozen blocks: as its checkpoint has them where this machine multiplies that well, or fp32, bf16."""
    text: TextSettings = TextSettings()
    image: ImageSettings = ImageSettings()
    loss: LossSettings = LossSettings()
