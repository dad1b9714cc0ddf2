"""Settings as help pages and tables show them: what a value looks like, its default, its limits."""

from types import NoneType
from typing import Annotated, Literal, get_args, get_origin

from polyprompt.settings import MISSING, Setting, plain_hint

WORDS = {bool: "true|false", int: "INTEGER", float: "NUMBER"}
HUGE = 2**31
"""Limits that nobody meets are not shown."""
LIMITS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}


def value_word(setting: Setting) -> str:
    """What a value is called: NUMBER, or the choices that there are."""
    words: list[str] = []
    for one in plain_hint(setting.hint):
        if get_origin(one) is Literal:
            words += map(str, get_args(one))
        elif one is not NoneType:
            words.append(WORDS.get(one, "TEXT"))
    return "|".join(words)


def notes(setting: Setting) -> str:
    """Default and limits in brackets; nothing where there are none."""
    parts = [f"default: {default}"] if (default := default_text(setting)) else []
    parts += limits(setting.hint)
    return f"[{'; '.join(parts)}]" if parts else ""


def default_text(setting: Setting) -> str:
    """The default as one would write it behind --set; nothing where it is none, or has to be given."""
    value = setting.default
    if value is MISSING or value is None or value == () or setting.kind is not None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(str, value))}]"
    return str(value)


def limits(hint: object) -> list[str]:
    """How large and how small a number may be: "at least 1"."""
    if get_origin(hint) is not Annotated:
        return [limit for part in get_args(hint) for limit in limits(part)]
    texts = limits(get_args(hint)[0])
    for one in get_args(hint)[1:]:
        for part in getattr(one, "metadata", [one]):
            bounds = {words: getattr(part, key, None) for key, words in LIMITS.items()}
            texts += [f"{words} {most:g}" for words, most in bounds.items() if most is not None and most < HUGE]
    return texts
