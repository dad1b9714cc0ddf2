"""Settings that check themselves: each field typed and described, unknown keys refused with near ones named.

Two kinds of class hold settings, and one function, `checked`, makes both from plain values as YAML and JSON give them:
`Settings` (pydantic), for whole runs, and frozen dataclasses, for what a method or a loss is made of. In both, a
field's type, default and the string under it are all there is to say; options, help pages and tables are made of them
(`settings_of`). Values are taken strictly: `true` is no number, and "3" is none.
"""

import ast
import dataclasses
import difflib
import inspect
import json
import numbers
import os
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal, TypeAlias, TypeVar, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from polyprompt.errors import ConfigError
from polyprompt.values import Json, Plain, Values


class Settings(BaseModel):
    """Base of the settings of runs: frozen, and no key but the declared ones."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    SHOWN: ClassVar[tuple[str, ...]] = ()
    """The settings that are options of their own on the command line; all others are set with --set."""

    FREE: ClassVar[tuple[str, ...]] = ()
    """The settings that may be others when a run goes on: they decide how far it comes, and nothing of its steps."""

    @classmethod
    def chosen(cls, values: Values) -> Mapping[str, type]:
        """Settings of settings that depend on what `values` choose, as a method's on its name, with their kinds."""
        return {}


S = TypeVar("S")

LIST = "it should be a list"
PYDANTIC = {
    "Input should": "it should",
    "a valid array": "a list",
    "an object": "settings, or a name",
    "String should have at least 1 character": "it is empty; give a value, or leave it out",
}
"""What pydantic says, and what is said here."""

LARGEST: dict[type, float] = {int: 2**32 - 1, float: 3.4e38}
"""No size is larger, and no seed that numpy takes; above it a float is infinite in single precision."""

Hint: TypeAlias = Any
"""A type as annotations have it, with its limits."""

MISSING: Plain = dataclasses.MISSING
"""The default of a setting that has none."""


@dataclass(frozen=True, eq=False)
class Setting:
    """One setting, as errors, help pages and tables show it."""

    name: str
    """As --set and the errors say it: text.depth."""
    hint: Hint
    """Its type, with its limits."""
    default: Plain
    """`MISSING` where it has to be given."""
    doc: str
    """The string under the field."""
    kind: type | None
    """The class of its own settings, if it has any; those follow it in `settings_of`."""


@cache
def settings_of(kind: type, prefix: str = "") -> tuple[Setting, ...]:
    """Every setting of a kind, in order; those inside others follow them, after a dot."""
    settings: list[Setting] = []
    for name, hint, default, doc in _model_fields(kind) if issubclass(kind, BaseModel) else _dataclass_fields(kind):
        inner = _kind_in(hint)
        settings.append(Setting(prefix + name, hint, default, doc, inner))
        if inner is not None:
            settings += settings_of(inner, f"{prefix}{name}.")
    return tuple(settings)


def setting_names(kind: type) -> list[str]:
    """The settings that hold a value and no settings of their own: text.depth, but not text."""
    return [one.name for one in settings_of(kind) if one.kind is None]


def checked(kind: type[S], values: object, where: str = "") -> S:
    """Settings from plain values.

    Args:
        kind: a class of `Settings`, or a dataclass.
        values: as YAML or JSON gives them; lists serve for tuples, whole numbers for floats.
        where: the file or option they stand in, for the error.

    Raises:
        ConfigError: the first wrong key or value, in one line; for an unknown key the near ones.
    """
    fields = check(kind, values, where)
    try:
        return _made(kind, fields)
    except ConfigError as error:
        message = str(error)
        raise ConfigError(
            f"{where}: {message}" if where and not message.startswith(f"{where}: ") else message
        ) from None


def check(kind: type, values: Plain, where: str = "", prefix: str = "") -> Json:
    """A part of some settings, each value as its field wants it; what is not there is not asked for.

    Args:
        prefix: what stands before these names in the errors, as "method.".

    Raises:
        ConfigError: as `checked`.
    """
    place = f"{where}: " if where else ""
    if not isinstance(values, Mapping):
        raise ConfigError(f"{place}holds {_shown(values)}; settings are keys with values, as in epochs: 20.")
    known = {one.name: one for one in settings_of(kind) if "." not in one.name}
    fields: Json = {}
    for key, value in values.items():
        name, setting = f"{prefix}{key}", known.get(str(key))
        if setting is None:
            raise ConfigError(f"{place}no setting is called {name!r}. {_hint(str(key), kind, prefix)}")
        if setting.kind is not None and isinstance(value, Mapping):
            fields[str(key)] = check(setting.kind, value, where, f"{name}.")
        else:
            fields[str(key)] = _value(setting, name, value, place)
    return fields


def merged(base: Values, over: Values) -> Json:
    """`base` with the values of `over`; where both hold settings of settings, these are merged as well."""
    both = dict(base)
    for key, value in over.items():
        inner = both.get(key)
        both[key] = merged(inner, value) if isinstance(inner, Mapping) and isinstance(value, Mapping) else value
    return both


def nested(name: str, value: Plain) -> Json:
    """One value where a dotted name says: {"text": {"depth": 3}}."""
    for part in reversed(name.split(".")):
        value = {part: value}
    return value


# Fields


def _model_fields(kind: type[BaseModel]) -> Iterable[tuple[str, Hint, Plain, str]]:
    for name, field in kind.model_fields.items():
        default = MISSING if field.is_required() else field.get_default(call_default_factory=True)
        hint = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
        yield name, hint, default, field.description or ""


def _dataclass_fields(kind: Any) -> Iterable[tuple[str, Hint, Plain, str]]:
    hints, docs = get_type_hints(kind, include_extras=True), _docs(kind)
    for field in dataclasses.fields(kind):
        made = field.default_factory is not MISSING
        default = field.default_factory() if made else field.default  # pyright: ignore[reportCallIssue]
        yield field.name, hints[field.name], default, docs.get(field.name, "")


def _docs(kind: type) -> dict[str, str]:
    """The string under each field of a class, its bases included."""
    docs: dict[str, str] = {}
    for base in reversed([one for one in kind.__mro__ if dataclasses.is_dataclass(one)]):
        try:
            (tree,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        except OSError:  # typed in by hand: there is no file
            continue
        for field, below in pairwise(getattr(tree, "body", [])):
            match field, below:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(doc))):
                    docs[name] = inspect.cleandoc(doc)
    return docs


def plain_hint(hint: Hint) -> tuple[Hint, ...]:
    """The types that a hint allows, without its limits: int and NoneType, for a number that may be None."""
    if get_origin(hint) is Annotated:
        return plain_hint(get_args(hint)[0])
    if get_origin(hint) in (None, tuple, list, dict, Literal):
        return (hint,)
    return tuple(one for part in get_args(hint) for one in plain_hint(part))


def _kind_in(hint: Hint) -> type | None:
    """The class of settings in a hint, alone or beside None."""
    types = (one for one in plain_hint(hint) if isinstance(one, type))
    return next((one for one in types if dataclasses.is_dataclass(one) or issubclass(one, BaseModel)), None)


# Values


def _made(kind: Any, values: Values, prefix: str = "") -> Any:
    """An object from checked values, those inside it first."""
    fields = dict(values)
    for one in settings_of(kind):
        if "." in one.name:
            continue
        if one.default is MISSING and one.name not in fields:
            raise ConfigError(f"{prefix}{one.name} is not given. {one.doc}".rstrip())
        if one.kind is not None and isinstance(fields.get(one.name), Mapping):
            fields[one.name] = _made(one.kind, fields[one.name], f"{prefix}{one.name}.")
    return kind(**fields)


def _value(setting: Setting, name: str, value: object, place: str) -> object:
    """A value as its field wants it."""
    if setting.kind is not None:
        if isinstance(value, setting.kind) or (value is None and type(None) in plain_hint(setting.hint)):
            return value
        inner = ", ".join(one.name for one in settings_of(setting.kind, f"{name}."))
        raise ConfigError(f"{place}{name} is {_shown(value)}; it holds settings of its own: {inner}.")
    try:
        converted = _adapter(setting).validate_json(_json(value))
        if _too_large(converted):
            raise OverflowError
        return converted
    except (TypeError, ValueError, RecursionError, OverflowError) as error:
        message = _message(error)
        if message.endswith(LIST) and not isinstance(value, list | tuple):
            message += f", as in {_list_like(setting, value)}"
        raise ConfigError(f"{place}{name} is {_shown(value)}; {message}.") from None


def _too_large(value: Plain) -> bool:
    """Whether a number, or one in a list, is beyond what there is room for."""
    if isinstance(value, tuple | list):
        return any(map(_too_large, value))
    return any(isinstance(value, kind) and abs(value) > most for kind, most in LARGEST.items())


def _list_like(setting: Setting, value: object) -> str:
    """A list that the setting would take, made of what was given where that can be."""
    guesses = [f"[{value}]", json.dumps([value])] if isinstance(value, str | int | float) else []
    if isinstance(setting.default, tuple | list) and setting.default:
        guesses += [json.dumps(part, ensure_ascii=False) for part in (setting.default[:2], setting.default)]
    for guess in (*(one for one in guesses if len(one) <= 60), "[3, 4]", '["one", "two"]', "[[1, 2]]"):
        try:
            _adapter(setting).validate_json(guess)
        except ValueError:
            continue
        return guess
    return "[...]"


@cache
def _adapter(setting: Setting) -> TypeAdapter:
    return TypeAdapter(setting.hint, config=ConfigDict(strict=True, allow_inf_nan=False))


def _json(value: object) -> bytes:
    """JSON, whose lists serve for tuples; names that are not UTF-8, and half characters, cannot be written so."""
    return json.dumps(value, ensure_ascii=False, default=_plain).encode("utf-8")


def _plain(value: object) -> object:
    """What Python code may give beside plain values: numpy's numbers, and paths."""
    match value:
        case numbers.Integral():
            return int(value)
        case numbers.Real():
            return float(value)
        case os.PathLike():
            return os.fspath(value)
    raise TypeError(value)


def _message(error: Exception) -> str:
    """What is wrong, as it goes on behind "epochs is x; "."""
    match error:
        case ValidationError():
            message = " or ".join(dict.fromkeys(one["msg"] for one in error.errors()))
            for theirs, ours in PYDANTIC.items():
                message = message.replace(theirs, ours)
            return message
        case OverflowError():
            return f"it should be at most {LARGEST[int]:,}, with a point at most {LARGEST[float]:g}"
        case UnicodeEncodeError():
            return "it holds half a character, or comes from a name that is not UTF-8"
        case RecursionError():
            return "it is nested too deeply"
    return "it should be a text, a number, true, false, null, a list or settings"


def _hint(key: str, kind: type, prefix: str) -> str:
    known = setting_names(kind)
    near = difflib.get_close_matches(key, known, n=2, cutoff=0.6) or difflib.get_close_matches(key, known, cutoff=0.4)
    names = [f"{prefix}{name}" for name in near or known]
    return f"Did you mean {' or '.join(names)}?" if near else f"Known: {', '.join(names)}."


def _shown(value: object) -> str:
    try:
        return f"{value!r:.60}"
    except (ValueError, RecursionError):  # more digits than Python prints; too deep
        return "too large to be shown"
