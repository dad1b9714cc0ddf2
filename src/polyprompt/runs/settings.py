"""The settings of a whole run; nothing heavy is imported, since the command line makes its options of them."""

from typing import Any, Literal

from pydantic import Field, field_validator

from polyprompt.campe.config import ModelSettings
from polyprompt.settings import Settings

Protocol = Literal["few-shot", "base-to-novel", "cross-dataset"]


class AlignSettings(ModelSettings):
    """A whole run; every field can stand in a YAML file or behind --set."""

    name: str = "campe"
    """What reports call the run; the name of its folder unless said otherwise."""
    data: str = "openmoji"
    """Captioned pictures: what DATA is on the command line."""
    train_split: str | None = "train"
    """One split, or several: train+restval; null for all there is."""
    dev_split: str | None = "dev"
    """Scored after every epoch; null for no scores."""
    test_split: str | None = "test"
    """Scored once at the end; null for no scores."""
    max_bad: int = Field(default=0, ge=0)
    """Missing or unreadable pictures that are listed and left out."""
    epochs: int = Field(default=20, ge=1)
    """Passes over the pictures, each with one of its captions."""
    batch: int = Field(default=128, ge=2)
    """Pictures in a batch, all processes together."""
    rate: float = Field(default=1e-3, gt=0)
    """Of everything new: maps, adaptive tokens, image blocks, pool."""
    tower_rate: float = Field(default=1e-4, gt=0)
    """Of pretrained blocks and norms that are trained."""
    norm_rate: float | None = Field(default=None, gt=0)
    """Of new norms on pretrained states, the fitted one and that on a CNN's tokens; tower_rate if not given."""
    weight_decay: float = Field(default=0.05, ge=0)
    """Of everything but scale, bias and adaptive tokens."""
    seed: int = Field(default=0, ge=0)
    """Of the random start and the order of the batches."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto measures the machine once and takes what is quicker."""
    cache: bool = True
    """Whether what the frozen parts make is kept on disk."""
    cache_dtype: Literal["fp32", "bf16", "int8"] = "bf16"
    """How it is kept: fp32, bf16 or int8."""
    cache_gb: float = Field(default=20.0, gt=0)
    """The largest size of one cache, in GB."""


class AdaptSettings(Settings):
    """A whole run; every field can stand in a YAML file or behind --set."""

    name: str = "adapted"
    """What the run is called; its folder's name on the command line."""
    data: str
    """Pictures with classes: class folders, a table of path and label, or a CoOp split file."""
    encoder: str
    """What `load_encoder` opens."""
    method: dict[str, Any]
    """`name`, and settings of that method; those left out are the published ones. A name alone will do."""
    protocol: Protocol = "few-shot"
    """few-shot, base-to-novel or cross-dataset: which classes are trained, and whose settings fill the gaps."""
    shots: int | None = Field(default=16, ge=1)
    """Pictures a class; None: all of them."""
    take_fewer: bool = False
    """Whether a class with fewer pictures gives all it has, as in the authors' draw."""
    seed: int = Field(default=1, ge=0)
    """Of the draw, of the prompts' random start, of the order of batches."""
    train_split: str = "train"
    """Where `data` has splits: the one to draw from."""
    test_split: str = "test"
    """Where a set has splits: the one to score."""
    test: str | None = None
    """Other pictures of the same classes to score, instead of those of `data`."""
    held_out: float | None = Field(default=None, gt=0, lt=1)
    """Where `data` has no splits: the share of each class that is held out; None: all that was not drawn."""
    also: tuple[str, ...] = ()
    """More labelled sets to score, each among its own class names."""
    epochs: int | None = Field(default=None, ge=1)
    """Passes over the drawn pictures; published, as batch and rate, if not given."""
    batch: int | None = Field(default=None, ge=1)
    """Pictures a step, all processes together."""
    rate: float | None = Field(default=None, gt=0)
    """Peak learning rate."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """SGD with momentum 0.9, as published, or AdamW."""
    weight_decay: float = Field(default=5e-4, ge=0)
    """Of everything that learns."""
    schedule: Literal["published", "cosine", "constant"] = "published"
    """Of the rate: the authors' (an epoch of warm-up, then a cosine by epochs), a cosine by steps, or none."""
    augment: bool = False
    """Random crops and flips, as published; the frozen part is then computed anew in each step."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Of training; scores are always computed in fp32."""
    cache_gb: float = Field(default=20.0, ge=0)
    """The largest size of the states of one set of pictures; larger ones are not kept."""

    @field_validator("method", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value
