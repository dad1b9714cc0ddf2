"""Ways to adapt a dual encoder: one file each, found by its name.

    build(config_of("maple")(depth=3), encoder, class_names)

A method's file holds `Config`, frozen and checking itself, whose `build` gives an `Adapter` (adapt/adapter.py); and
`PUBLISHED`, what its authors did, by protocol (adapt/published.py). The first line of its docstring says what it is.
"""

import dataclasses
import os
import sys
import typing
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import runtime_checkable

from polyprompt.adapt.engine import MethodConfig
from polyprompt.adapt.published import Protocol, Published, Records
from polyprompt.adapt.tasks import takes_tasks
from polyprompt.errors import ConfigError, UnknownNameError
from polyprompt.values import Plain

ZERO_SHOT = "zeroshot"
"""Changes nothing: what all others are compared with."""
BASELINES = (ZERO_SHOT, "nearest_mean", "linear_probe")
"""What few pictures give without prompts; tables show them beside what was asked for."""
CANDIDATES = (ZERO_SHOT, "linear_probe", "tip_adapter", "maple", "promptsrc", "clip_lora")
"""What `auto` tries, the cheapest first."""
DEFAULT = "maple"
"""Where a library of others wants a value and a user gave none."""
OWN = "POLYPROMPT_METHODS"
"""The environment variable that names modules of one's own, with commas between, which files may then name, too."""


def check_own(method: Plain, where: str) -> None:
    """Refuses a module of one's own that nobody but a file names, alone or with settings: to import it is to run it.

    Raises:
        ConfigError: it is neither a method of ours, nor imported already, nor in `OWN`.
    """
    name = method.get("name") if isinstance(method, dict) else method
    named = os.environ.get(OWN, "").split(",")
    if isinstance(name, str) and "." in name and name not in sys.modules and name not in named:
        raise ConfigError(
            f"{where}: names the method {name!r:.80}, a module of its own, which is not imported because a file says "
            f"so. If you know it: {OWN}={name:.80} before the command, or import it first in Python."
        )


def names() -> tuple[str, ...]:
    """The methods of this folder."""
    return tuple(sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem != "__init__"))


def module_of(name: str) -> ModuleType:
    """The file of a method: "maple", or "my_lab.prompts" for a module of your own.

    Raises:
        UnknownNameError: `name` has no dot and no file here.
        ConfigError: the module cannot be imported, or has no `Config`.
    """
    if "." not in name and name not in names():
        raise UnknownNameError("method", name, names())
    try:
        module = import_module(name if "." in name else f"{__name__}.{name}")
        module.Config  # noqa: B018
    except (ImportError, AttributeError) as error:
        hint = "a method of your own is a module with a class Config on Python's path"
        if isinstance(error, ModuleNotFoundError) and error.name == name.partition(".")[0]:
            hint += "; if it lies in the current folder, put PYTHONPATH=. before the command"
        raise ConfigError(f"method {name}: {error}; {hint}") from None
    return module


def typical(name: str) -> MethodConfig:
    """A method's settings as published, or its usual ones; where it reads descriptions, with a sentence a class.

    Raises:
        UnknownNameError, ConfigError: as `module_of`.
    """
    kind: Plain = config_of(name)
    config = next((one.config for one in records(name).values()), None) or kind()
    if "descriptions" in {field.name for field in dataclasses.fields(config)}:
        config = dataclasses.replace(config, descriptions={"{}": ("a photo of a {}.",)})
    return config


def config_of(name: str) -> type[MethodConfig]:
    """The config class of a method.

    Raises:
        UnknownNameError, ConfigError: as `module_of`.
    """
    return module_of(name).Config


def for_several_tasks() -> tuple[str, ...]:
    """The methods of this folder that learn several tasks together."""
    return tuple(name for name in names() if takes_tasks(config_of(name)))


@runtime_checkable
class Recorded(typing.Protocol):
    """A method's file that says what its authors did; one of your own need not."""

    PUBLISHED: Records


def records(name: str) -> Records:
    """What is recorded of how a method's authors trained it; nothing, if its file does not say.

    Raises:
        UnknownNameError, ConfigError: as `module_of`.
    """
    module = module_of(name)
    return module.PUBLISHED if isinstance(module, Recorded) else {}


def published(name: str, protocol: Protocol) -> Published:
    """The authors' settings of a method for one protocol.

    Raises:
        UnknownNameError: no such method, or its authors published nothing for the protocol.
    """
    known = records(name)
    if protocol not in known:
        raise UnknownNameError(f"published setting of {name}", protocol, known)
    return known[protocol]
