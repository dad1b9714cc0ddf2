"""Arguments and options that several commands have, and what is made of them."""

import csv
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import typer
import typer.core

from polyprompt.disk.files import check_regular
from polyprompt.errors import ConfigError
from polyprompt.executors import Executor

Run = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, what was saved of one, or hf:OWNER/NAME.")]
Out = Annotated[Path, typer.Option(help="Folder for the run.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on where the run stopped.")]
Encoder = Annotated[str | None, typer.Option(help="Where the encoder is, if it has moved.")]
TextTower = Annotated[str | None, typer.Option(help="Where the run's text tower is, if it has moved.")]
ImageTower = Annotated[str | None, typer.Option(help="Where the run's image tower is, if it has moved.")]
TowerDtype = Annotated[
    Literal["auto", "fp32", "bf16"] | None,
    typer.Option(help="Of frozen blocks; as align's run was trained, or fp32, if not given."),
]
Workers = Annotated[int, typer.Option(min=1, help="How many work side by side.")]
Where = Annotated[str, typer.Option(help="local, ray or slurm.")]
MaxBad = Annotated[int, typer.Option(min=0, help="Missing or unreadable pictures to list and leave out.")]
Classes = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAMES",
        help="Names with commas between, cat,dog; one with a comma in double quotes, as in csv; @FILE has one a line. "
        "May come often.",
    ),
]


MAY_BE_EMPTY = ("words", "text", "unwanted", "where", "assignments")
"""What has a meaning where it is empty, or a line of its own that says more."""


class Command(typer.core.TyperCommand):
    """A command that takes no empty text: what an unset variable leaves would be read as the current folder."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As typer, which gets nothing that is empty.

        Raises:
            ConfigError: names the option or argument.
        """
        given, _, _ = self.make_parser(ctx).parse_args(list(args))
        for one in self.params:
            value = given.get(one.name)
            if "" in (value if isinstance(value, list | tuple) else [value]) and one.name not in MAY_BE_EMPTY:
                name = one.opts[0] if one.opts[0].startswith("-") else (one.metavar or one.name.upper()).strip("[].")
                raise ConfigError(f"{name} is empty; give a value. Is it a variable that is not set?")
        return super().parse_args(ctx, args)


def executor_of(executor_name: str) -> Executor:
    """Where work runs.

    Raises:
        ConfigError: nowhere that is known.
    """
    for executor in get_args(Executor):
        if executor_name == executor:
            return executor
    raise ConfigError(f"--executor is {executor_name!r}; choose from {', '.join(get_args(Executor))}")


def run_name(out: Path) -> str:
    """What a run is called: as its folder, in letters that can be written."""
    from polyprompt.data.files import readable

    return readable(out.resolve().name or "run")


def whole(text: str, what: str) -> str:
    """A text that can be tokenised and written.

    Raises:
        ConfigError: it holds what is not UTF-8, or more letters than anyone types.
    """
    from polyprompt.inputs import LETTERS

    if len(text) > LETTERS:
        raise ConfigError(f"{what} {text[:40]!r}... has {len(text):,} letters; give at most {LETTERS:,}.")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ConfigError(
            f"{what} {text!r:.60}: letter {error.start + 1} is not UTF-8, or half a character; write it whole."
        ) from None
    return text


def query_text(text: str) -> str:
    """A text that is looked for.

    Raises:
        ConfigError: it is empty, or see `whole`.
    """
    if not text.strip():
        raise ConfigError("the text is empty; write a few words.")
    return whole(text, "the text")


def names(given: Sequence[str] | None) -> list[str] | None:
    """The class names that --classes gives.

    Raises:
        ConfigError: a file that cannot be read, or quotes that do not end.
    """
    if not given:
        return None
    for one in given:
        if re.fullmatch(r"\s*(\[.*\]|'.*')\s*", one):
            raise ConfigError(f"--classes {one!r:.60} is written as in Python; write cat,dog with neither [ ] nor ' '.")
    entries = [name for one in given for name in (_lines(one[1:]) if one.startswith("@") else _cells(one))]
    return [whole(name.strip(), "--classes") for name in entries]


def _cells(text: str) -> list[str]:
    try:
        return next(csv.reader([text], skipinitialspace=True, strict=True), [])
    except csv.Error as error:
        raise ConfigError(f'--classes {text!r:.60}: {error}; write cat,dog,"tench, Tinca tinca".') from None


def _lines(path: str) -> list[str]:
    if not path:
        raise ConfigError("--classes @ names no file; write @FILE, which has a name a line.")
    try:
        check_regular(path)
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise ConfigError(f"--classes @{path}: cannot be read ({error.strerror}).") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"--classes @{path}: byte {error.start} is not UTF-8; save the file as UTF-8.") from None
    return [line for line in lines if line.strip()]
