"""What a CAMPE model is made of, as a config that checks itself; unknown keys are refused with the near ones named."""

import difflib
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from polyprompt.campe.text import WORDS, Adaptive, ReadOut
from polyprompt.errors import ConfigError


class Settings(BaseModel):
    """Base of all settings: frozen, and no key but the declared ones."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TextSettings(Settings):
    """The text side (campe/text.py)."""

    tower: str = "smollm2-135m"
    depth: int | None = None
    read_out: ReadOut = "prompts"
    prompts: int = Field(default=6, ge=1)
    words: tuple[str, ...] | None = None
    template: str = "the {} of the image means:"
    negated_template: str = "the {} of the image does NOT mean:"
    adaptive: Adaptive = "late"
    last_n: int = 1
    shared_map: bool = False
    max_tokens: int = Field(default=64, ge=1)

    def adaptive_words(self) -> tuple[str, ...]:
        """The word each adaptive token starts from; "tokens" always takes sixteen.

        Raises:
            ConfigError: more prompts than known words, or words that are not as many as the prompts.
        """
        count = len(WORDS) if self.read_out == "tokens" else self.prompts
        words = self.words or WORDS[:count]
        if len(words) != count:
            raise ConfigError(
                f"text.prompts is {count} and there are {len(words)} words; give text.words, one a prompt."
            )
        return words


class ImageSettings(Settings):
    """The image side (campe/image.py)."""

    tower: str = "efficientnet-lite0"
    trained_blocks: int | Literal["all"] = 0
    new_blocks: int | None = None
    width: int = Field(default=384, ge=8)
    queries: int | None = Field(default=None, ge=1)
    """Attention maps; as many as prompts unless said otherwise."""


class LossSettings(Settings):
    """Losses and their weights; 0 turns one off (campe/objective.py)."""

    contrast: Literal["softmax", "sigmoid"] = "softmax"
    diversity: float = Field(default=0.1, ge=0)
    negation: float = Field(default=0.1, ge=0)
    negation_columns: Literal["own", "all", "hinge"] = "own"


class ModelSettings(Settings):
    """All that is needed to build a model anew."""

    dim: int = Field(default=384, ge=1)
    text: TextSettings = TextSettings()
    image: ImageSettings = ImageSettings()
    loss: LossSettings = LossSettings()


S = TypeVar("S", bound=Settings)


def checked(kind: type[S], values: Mapping[str, Any]) -> S:
    """Settings from plain values.

    Raises:
        ConfigError: the first wrong key or value, in one line; for an unknown key the near ones.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        wrong = error.errors()[0]
        key = ".".join(map(str, wrong["loc"]))
        if wrong["type"] == "extra_forbidden":
            known = _keys(kind)
            near = difflib.get_close_matches(key, known, n=3, cutoff=0.4)
            hint = f"Did you mean {' or '.join(near)}?" if near else f"Known: {', '.join(known)}."
            raise ConfigError(f"no setting is called {key!r}. {hint}") from None
        raise ConfigError(f"{key} is {wrong['input']!r}: {wrong['msg'][0].lower()}{wrong['msg'][1:]}.") from None


def _keys(kind: type[Settings], prefix: str = "") -> list[str]:
    keys = []
    for name, field in kind.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Settings):
            keys += _keys(inner, f"{prefix}{name}.")
        else:
            keys.append(prefix + name)
    return keys
