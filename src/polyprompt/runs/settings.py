"""The settings of a whole run; nothing heavy is imported, since the command line makes its options of them."""

import re
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from polyprompt.campe.config import ModelSettings, TowerDtype
from polyprompt.settings import Settings
from polyprompt.values import Json, Values

Protocol = Literal["few-shot", "base-to-novel", "cross-dataset"]
"""As in adapt/published.py, which is not imported, for it is heavy."""


def _by_name(value: object) -> object:
    """A name alone stands for itself, with the settings that it has."""
    return {value: {}} if isinstance(value, str) else value


def seconds_in(value: object) -> object:
    """A time with its unit in seconds: 90s, 5m, 1h; a number as it is."""
    if not isinstance(value, str):
        return value
    if not (match := re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", value)):
        raise PydanticCustomError("time", "it should be a time, as in 90s, 5m or 1h")
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]]


class AlignSettings(ModelSettings):
    """A whole run of `align`."""

    SHOWN: ClassVar[tuple[str, ...]] = (
        "data", *ModelSettings.SHOWN, "epochs", "batch", "rate", "seed", "precision", "max_bad",
    )  # fmt: skip

    name: str = "campe"
    """What reports call the run; the name of its folder unless said otherwise."""
    data: str = Field(min_length=1)
    """Captioned pictures: folder with captions.csv, JSON, tars, hf:NAME, catalogue's name; or a table of sentences."""
    train_split: str | None = "train"
    """One split, or several: train+restval; none for all there is."""
    dev_split: str | None = "dev"
    """Scored after every epoch; none for no scores."""
    test_split: str | None = "test"
    """Scored once at the end; none for no scores."""
    start_from: str | None = Field(default=None, min_length=1)
    """A run of align on the same towers, whose learned tensors this one starts from."""
    max_bad: int = Field(default=0, ge=0)
    """Missing or unreadable pictures that are listed and left out."""
    epochs: int = Field(default=20, ge=1)
    """Passes over the pictures, each with one of its captions."""
    batch: int = Field(default=128, ge=2)
    """Pictures in a batch, all processes together."""
    rate: float = Field(default=1e-3, gt=0)
    """Of everything new: maps, adaptive tokens, updates, image blocks, pool; a fresh text tower."""
    tower_rate: float = Field(default=1e-4, gt=0)
    """Of pretrained blocks and norms that are trained."""
    norm_rate: float | None = Field(default=None, gt=0)
    """Of new norms on pretrained states, the fitted one and that on a CNN's tokens; rate if not given."""
    bias_rate: float | None = Field(default=None, gt=0)
    """Of the sigmoid loss's bias; 100 times rate if not given."""
    weight_decay: float = Field(default=0.05, ge=0)
    """Of everything but scale, bias and adaptive tokens."""
    mirrored: bool = False
    """Whether half of the pictures of a step are mirrored, left for right; kept as a second view of each."""
    dropped_words: float = Field(default=0.0, ge=0, lt=1)
    """Share of a caption's tokens that the trained blocks do not see in a step; the last one always stays."""
    dropped_patches: float = Field(default=0.0, ge=0, lt=1)
    """Share of a picture's tokens that are left out in a step."""
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


def _named(value: object) -> object:
    """A method's name alone will do."""
    return {"name": value} if isinstance(value, str) else value


class AdaptSettings(Settings):
    """A whole run of `adapt`."""

    SHOWN: ClassVar[tuple[str, ...]] = (
        "data", "method", "encoder", "protocol", "shots", "seed", "test", "also", "descriptions", "epochs", "rate",
        "budget", "max_bad",
    )  # fmt: skip
    FREE: ClassVar[tuple[str, ...]] = ("budget", "max_bad")

    name: str = "adapted"
    """What the run is called; its folder's name on the command line."""
    data: str = Field(min_length=1)
    """Pictures with classes: class folders, a table of path and label, CoOp's split file, a name of the catalogue."""
    task: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """More labelled sets to learn together with `data`, by a method for several tasks."""
    encoder: str = Field(min_length=1)
    """ViT-B-16/openai, a hub id, a file, a folder, or a run of align."""
    method: Annotated[Json, BeforeValidator(_named)]
    """A name from `polyprompt methods`, your.module, or auto; what is not --set (method.depth=3) is as published."""
    max_bad: int = Field(default=0, ge=0)
    """Missing or unreadable pictures of a set that are listed and left out; what else is drawn stays."""
    protocol: Protocol = "few-shot"
    """Which classes are trained and scored, and whose published settings fill the gaps."""
    shots: int | None = Field(default=16, ge=1)
    """Pictures a class that are drawn to train on; none: all of them."""
    take_fewer: bool = False
    """Whether a class with fewer pictures gives all it has, as in the authors' draw."""
    seed: int = Field(default=1, ge=0)
    """Of the draw, of the prompts' random start, of the order of batches."""
    train_split: str = "train"
    """Where `data` has splits: the one to draw from."""
    test_split: str = "test"
    """Where a set has splits: the one to score."""
    val_split: str = "val"
    """Where `data` has such a split: what `select` looks at, and where Tip-Adapter chooses its weights."""
    select: Literal["last", "val", "authors-test"] | None = None
    """The epoch that stays: the last, the best on val_split (usual for Tip-Adapter), or on test, as its authors do."""
    test: str | None = Field(default=None, min_length=1)
    """Other pictures of the same classes to score, instead of those of `data`."""
    held_out: float | None = Field(default=None, gt=0, lt=1)
    """Where `data` has no splits: the share of each class to hold out and score; else all that was not drawn."""
    domainbed: bool = False
    """Whether of domains (pacs:photo+sketch, test pacs:cartoon) DomainBed's parts are taken, drawn by the seed."""
    also: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """One more labelled set to score, among its own class names; may come often."""
    descriptions: str | None = Field(default=None, min_length=1)
    """Sentences about the classes, for a method that reads some: JSON, {"cat": ["A cat ..."]}; or random:15."""
    terms: Annotated[dict[str, Json], BeforeValidator(_by_name)] = Field(default_factory=dict)
    """Losses beside the method's own, by name, with their settings (adapt/terms/); a name alone will do."""
    epochs: int | None = Field(default=None, ge=1)
    """Passes over the drawn pictures; published, as all that follows, if not given."""
    steps: int | None = Field(default=None, ge=1)
    """Steps, rounded up to whole epochs, where epochs are not given."""
    batch: int | None = Field(default=None, ge=1)
    """Pictures a step, all processes together."""
    rate: float | None = Field(default=None, gt=0)
    """Peak learning rate."""
    optimizer: Literal["sgd", "adam", "adamw"] | None = None
    """SGD with momentum 0.9, Adam or AdamW with betas 0.9 and 0.999."""
    weight_decay: float | None = Field(default=None, ge=0)
    """Of everything that learns."""
    eps: float | None = Field(default=None, gt=0)
    """Of Adam and AdamW."""
    schedule: Literal["published", "by-epoch", "cosine", "constant"] | None = None
    """Of the rate: CoOp's (an epoch of warm-up, a cosine by epochs), that cosine alone, a cosine by steps, or none."""
    crop: float | None = Field(default=None, gt=0, le=1)
    """The smallest share of a picture that a random crop shows."""
    views: Literal["crops", "randaugment"] | None = None
    """What augment does: crops, mirrored half of the time; or two operations on the whole picture (CoPrompt's)."""
    budget: Annotated[Annotated[float, Field(gt=0)] | None, BeforeValidator(seconds_in)] = None
    """Time for the run, as 90s, 5m or 1h; then what stands is scored and saved. --resume may give another."""
    augment: bool = False
    """Pictures changed at random, as the authors do; the frozen part is then computed anew in each step."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Of training; scores are always computed in fp32."""
    tower_dtype: TowerDtype | None = None
    """Of the encoder's frozen blocks: of a run of align as it was trained, of others fp32, if not given."""
    cache_gb: float = Field(default=20.0, ge=0)
    """The largest size of the states of one set of pictures; larger ones are not kept."""

    @classmethod
    def chosen(cls, values: Values) -> Mapping[str, type]:
        """The settings of `method` are those of the method that is named, those of `terms` each term's own."""
        from polyprompt.adapt.terms import config_of as term_config
        from polyprompt.methods import config_of

        name = values.get("method", {}).get("name")
        kinds = {f"terms.{term}": term_config(term) for term in values.get("terms", {})}
        return kinds | ({"method": config_of(name)} if isinstance(name, str) and name != "auto" else {})
