"""Options made from settings: a command's options, their help and their checks come from the settings' fields.

    @options_of(AlignSettings)
    def command(given: Given[AlignSettings], out: Out) -> None:
        settings = given.settings(name=out.name)

An option is called as its setting, with dashes: `text.depth` is --text-depth, `max_bad` is --max-bad; the setting
`data` is the argument DATA. Those that a class lists in `SHOWN`, a dozen, are options of their own; --config FILE.yaml
and --set key=value reach all of them. Options win over the file, --set wins over both.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Annotated, Generic, Literal, TypeVar, get_args, get_origin

import typer

from polyprompt.cli.shown import notes, value_word
from polyprompt.errors import ConfigError
from polyprompt.settings import (
    MISSING,
    Hint,
    Setting,
    Settings,
    check,
    checked,
    merged,
    nested,
    plain_hint,
    settings_of,
)
from polyprompt.values import Json, Plain, Values

S = TypeVar("S", bound=Settings)
Command = Callable[..., None]

ARGUMENT = "data"
"""The setting that is an argument, DATA, and no option."""
KIND = "settings"
"""Where a command that was made by `options_of` says whose settings it takes."""

Config = Annotated[
    Path | None, typer.Option(metavar="FILE.yaml", help="Settings; options win over it, and --set over both.")
]
Assignments = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any setting (docs/cli.md); may come often.")
]


@dataclass(frozen=True)
class Given(Generic[S]):
    """What a user said about settings."""

    kind: type[S]
    config: Path | None
    options: Values
    """By the setting's name; None where one was not given."""
    assignments: Sequence[str]

    def settings(self, **defaults: Plain) -> S:
        """The settings; `defaults` hold where nothing was said.

        Raises:
            ConfigError: a wrong key or value, with the file or option that it comes from.
        """
        values, parts = defaults, [(where, check(self.kind, part, where)) for where, part in self._parts()]
        for _, part in parts:
            values = merged(values, part)
        for name, kind in self.kind.chosen(values).items():
            for where, part in parts:
                check(kind, _inside(part, name), where, f"{name}.")
        return checked(self.kind, values)

    def _parts(self) -> Iterator[tuple[str, Values]]:
        """The sources, the later ones over the earlier, each with what the errors call it."""
        from polyprompt.disk.yaml import read_yaml

        known = {one.name: one for one in settings_of(self.kind)}
        if self.config is not None:
            content = read_yaml(self.config)
            if "method" in content:
                from polyprompt.methods import check_own

                check_own(content["method"], str(self.config))
            yield str(self.config), content
        for name, value in self.options.items():
            if value is not None:
                yield option_of(name), nested(name, read(value, known[name]))
        for assignment in self.assignments:
            key, equals, value = assignment.partition("=")
            if not equals:
                raise ConfigError(f"--set {assignment!r}: write key=value, as in --set epochs=20.")
            yield "--set", nested(key, read(value, known.get(key)))


def options_of(kind: type[Settings]) -> Callable[[Command], Command]:
    """Makes a command of a function whose first parameter is what the user gave; its others stay as they are."""
    shown = {one.name: one for one in settings_of(kind) if one.name in kind.SHOWN}

    def made(command: Command) -> Command:
        def run(config: Config = None, assignments: Assignments = None, **words: Plain) -> None:
            options = {name: words.pop(name.replace(".", "_")) for name in kind.SHOWN}
            command(Given(kind, config, options, assignments or []), **words)

        others = list(inspect.signature(command).parameters.values())[1:]
        always = list(inspect.signature(run).parameters.values())[:2]
        parameters = [*others, *(_parameter(shown[name]) for name in kind.SHOWN), *always]
        signature = inspect.Signature([one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in parameters])
        run.__signature__ = signature  # pyright: ignore[reportFunctionMemberAccess]
        run.__name__, run.__doc__, run.__annotations__ = command.__name__, command.__doc__, {}
        vars(run)[KIND] = kind
        return run

    return made


def by_set(command: Command, option: str) -> str:
    """How to give a setting that was taken for an option; empty where there is none that would be called so."""
    settings = settings_of(kind) if (kind := vars(command).get(KIND)) else ()
    return next((f"Write --set {one.name}=VALUE." for one in settings if option_of(one.name) == option), "")


def _inside(part: Values, name: str) -> Json:
    """What a part says of settings in it; their own name aside."""
    inner: Plain = part
    for key in name.split("."):
        inner = inner.get(key, {}) if isinstance(inner, Mapping) else {}
    return {key: value for key, value in inner.items() if key != "name"}


def option_of(name: str) -> str:
    """What the option of a setting is called."""
    return "DATA" if name == ARGUMENT else "--" + name.replace(".", "-").replace("_", "-")


def _parameter(setting: Setting) -> inspect.Parameter:
    """A setting as a parameter that typer makes an option of; None where nothing was said."""
    types, option = plain_hint(setting.hint), option_of(setting.name)
    hint: Hint = bool if bool in types else list[str] if any(get_origin(one) is tuple for one in types) else str
    text = f"{setting.doc} {notes(setting)}".strip()
    if setting.name == ARGUMENT:
        shown = typer.Argument(metavar="DATA", help=text, show_default=False)
    elif hint is bool:
        shown = typer.Option(f"{option}/--no-{option[2:]}", help=text, show_default=False)
    else:
        shown = typer.Option(option, metavar=value_word(setting), help=text, show_default=False)
    return inspect.Parameter(
        setting.name.replace(".", "_"),
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[hint | None, shown],
    )


def read(given: Plain, setting: Setting | None) -> Plain:
    """What was said on the command line, as the setting's type has it, or as YAML where there is no such setting.

    A text stays what it is, whatever YAML would read in it. `none` is none, where there may be none.
    """
    if isinstance(given, list):
        return [read(one, setting and _item(setting)) for one in given]
    if not isinstance(given, str):
        return given
    types = plain_hint(setting.hint) if setting else ()
    if NoneType in types and given.lower() in ("none", "null"):
        return None
    words = any(one is str or get_origin(one) in (Literal, dict) for one in types)
    return given if words and not {int, float, bool} & set(types) else _yaml(given)


def _item(setting: Setting) -> Setting:
    """One of those that a tuple holds."""
    hint = next(get_args(one)[0] for one in plain_hint(setting.hint) if get_origin(one) is tuple)
    return Setting(setting.name, hint, MISSING, setting.doc, None)


def _yaml(text: str) -> Plain:
    """A value as YAML reads it; but "the {} of the image means:" is a text and no mapping, one in braces is."""
    from polyprompt.disk.yaml import parse_yaml

    try:
        value = parse_yaml(text)
    except ValueError:
        return text
    return text if isinstance(value, dict) and not text.strip().startswith("{") else value
