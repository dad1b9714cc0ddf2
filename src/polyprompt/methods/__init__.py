"""Ways to adapt a dual encoder with prompts: one file each, found by its name.

    config_of("maple")(depth=3).build(encoder, class_names)

A method's file holds `Config`, frozen and checking itself, whose `build` gives a `Method` (base.py), and `PUBLISHED`,
the settings its authors used per protocol.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from polyprompt.adapt.engine import Published
from polyprompt.errors import ConfigError, UnknownNameError

NAMES = ("zeroshot", "coop", "cocoop", "vpt", "language", "ivlp", "maple", "promptsrc")
"""The methods, in the order of their papers."""


def config_of(name: str) -> Any:
    """The config class of a method: "maple", or "my_lab.prompts" for a module of your own.

    Raises:
        UnknownNameError: `name` has no dot and is none of `NAMES`.
        ConfigError: the module cannot be imported, or has no `Config`.
    """
    if "." not in name and name not in NAMES:
        raise UnknownNameError("method", name, NAMES)
    try:
        return import_module(name if "." in name else f"{__name__}.{name}").Config
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"method {name}: {error}; a method of your own is a module with a class Config") from None


def published(name: str, protocol: str) -> Published:
    """The authors' settings of a method for one protocol: "base-to-new", "few-shot" or "cross-dataset".

    Raises:
        UnknownNameError: no such method, or its authors published nothing for the protocol.
    """
    config_of(name)
    known: Mapping[str, Published] = import_module(f"{__name__}.{name}").PUBLISHED
    if protocol not in known:
        raise UnknownNameError(f"published setting of {name}", protocol, known)
    return known[protocol]
