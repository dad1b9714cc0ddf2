"""Settings from a YAML file, options and `--set`, the later ones over the earlier."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from polyprompt.errors import ConfigError


def gather(config: Path | None, given: Mapping[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """Nested settings.

    Args:
        config: a YAML file, or None.
        given: options by dotted key; None where one was not given.
        assignments: "key=value", the value as YAML reads it.

    Raises:
        ConfigError: no such file, not YAML, or an assignment without "=".
    """
    values = read_yaml(config) if config else {}
    if isinstance(values.get("method"), str):
        values["method"] = {"name": values["method"]}
    for key, value in given.items():
        if value is not None:
            put(values, key, value)
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals:
            raise ConfigError(f"--set {assignment!r}: write key=value, as in --set method.depth=9.")
        put(values, key, parsed(value))
    return values


def read_yaml(path: Path) -> dict[str, Any]:
    """What a YAML file holds; nothing at all are no settings.

    Raises:
        ConfigError: it cannot be read, or is not a list of settings.
    """
    import yaml

    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file. Give a YAML file with settings.") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}). Give a YAML file with settings.") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8.") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{path}{where}: not YAML ({getattr(error, 'problem', None) or error}).") from None
    if not isinstance(found or {}, dict):
        raise ConfigError(f"{path}: not settings; write one `key: value` a line.")
    return {str(key): value for key, value in (found or {}).items()}


def parsed(text: str) -> Any:
    """A value as YAML reads it, but "the {} of the image means:" is a text and no mapping; one in braces is."""
    import yaml

    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    return text if isinstance(found, dict) and not text.strip().startswith("{") else found


def put(values: dict[str, Any], key: str, value: Any) -> None:
    """Puts a value where "method.depth" says."""
    *outer, last = key.split(".")
    for name in outer:
        inner = values.get(name)
        values[name] = dict(inner) if isinstance(inner, dict) else {}
        values = values[name]
    values[last] = value


def names(text: str | None) -> list[str] | None:
    """Names with commas between, as --classes gives them."""
    return None if text is None else [name.strip() for name in text.split(",")]
