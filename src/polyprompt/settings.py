"""Settings that check themselves: frozen, each field typed and described, unknown keys refused with near ones named."""

import difflib
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from polyprompt.errors import ConfigError


class Settings(BaseModel):
    """Base of all settings: frozen, and no key but the declared ones."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


S = TypeVar("S", bound=Settings)


def checked(kind: type[S], values: Any, where: str = "") -> S:
    """Settings from plain values, as YAML or JSON gives them; `where` is the file they stand in, for the error.

    Raises:
        ConfigError: the first wrong key or value, in one line; for an unknown key the near ones.
    """
    place = f"{where}: " if where else ""
    if not isinstance(values, Mapping):
        raise ConfigError(f"{place}holds {_shown(values)}; settings are keys with values, as in epochs: 20.")
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        wrong = error.errors()[0]
        key, known = ".".join(map(str, wrong["loc"])), setting_names(kind)
        if wrong["type"] in ("extra_forbidden", "invalid_key"):
            near = difflib.get_close_matches(key, known, n=3, cutoff=0.4)
            hint = f"Did you mean {' or '.join(near)}?" if near else f"Known: {', '.join(known)}."
            raise ConfigError(f"{place}no setting is called {key!r}. {hint}") from None
        if wrong["type"] == "model_type":
            why = f"it holds settings of its own: {', '.join(name for name in known if name.startswith(f'{key}.'))}"
        else:  # pydantic goes on behind the setting's name: which of several types, which item
            key = next((name for name in known if f"{key}.".startswith(f"{name}.")), key)
            said = (one["msg"] for one in error.errors() if ".".join(map(str, one["loc"])).startswith(key))
            why = " or ".join(said).replace("Input should", "it should")
        raise ConfigError(f"{place}{key} is {_shown(wrong['input'])}; {why}.") from None


def _shown(value: Any) -> str:
    return f"{value!r:.60}"


def setting_names(kind: type[Settings], prefix: str = "") -> list[str]:
    """Every setting, as --set and the errors name it: text.depth."""
    keys = []
    for name, field in kind.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Settings):
            keys += setting_names(inner, f"{prefix}{name}.")
        else:
            keys.append(prefix + name)
    return keys
