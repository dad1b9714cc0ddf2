"""`polyprompt methods`."""

import re
from collections.abc import Sequence
from typing import Annotated

import typer

PAPER = re.compile(r" *\(([^()]*\d{4}[^()]*)\)")
"""Where the first line of a method's file names its paper."""


def command(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="One of them, or your.module.")] = None,
) -> None:
    """The methods that `adapt` knows; of one of them, its settings.

    Example: polyprompt methods maple
    """
    for line in table(settings_rows(name) if name else method_rows()):
        typer.echo(line)


def method_rows() -> list[tuple[str, str, str]]:
    """Name, paper and what it is, from the first lines of each method's file."""
    from polyprompt.methods import names

    return [("method", "paper", "what it is"), *((name, *described(name)) for name in names())]


def described(name: str) -> tuple[str, str]:
    """A method's paper, and what it is."""
    from polyprompt.methods import module_of

    head = " ".join((module_of(name).__doc__ or "").split("\n\n")[0].split())
    paper = PAPER.search(head)
    return (paper[1] if paper else ""), PAPER.sub("", head).removesuffix(".")


def settings_rows(name: str) -> list[tuple[str, str, str]]:
    """A method's settings, as --set takes them."""
    from polyprompt.cli.shown import default_text
    from polyprompt.methods import config_of
    from polyprompt.settings import settings_of

    settings = settings_of(config_of(name), "method.")
    return [("setting", "default", "what it is"), *((one.name, default_text(one), one.doc) for one in settings)]


def table(rows: Sequence[tuple[str, str, str]]) -> list[str]:
    """Rows in columns; a long default is cut."""
    cut = [(first, second if len(second) <= 44 else f"{second[:41]}...", third) for first, second, third in rows]
    first, second = (max(len(row[i]) for row in cut) for i in (0, 1))
    return [f"{row[0]:{first}}  {row[1]:{second}}  {row[2]}".rstrip() for row in cut]
