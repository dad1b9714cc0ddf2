"""Writes docs/cli.md from the program itself: .venv/bin/python docs/cli.py"""

from collections.abc import Sequence
from pathlib import Path

import typer
from typer.cli import get_docs_for_click

from polyprompt.cli.app import app
from polyprompt.cli.shown import default_text, limits, value_word
from polyprompt.runs.settings import AdaptSettings, AlignSettings
from polyprompt.settings import MISSING, Setting, Settings, settings_of

PAGE = Path(__file__).with_suffix(".md")
HEAD = """<!-- Written by docs/cli.py from the program's own help. -->

"""
SETTINGS = """## Settings of `{command}`

An option is called as its setting, with dashes: `{example}` is `{option}`; `data` is the argument DATA. Those without a
star have no option. Each can stand in a YAML file (`--config`) or behind `--set`, as `--set {example}={value}`. Options
win over the file, and `--set` wins over both. {more}

| setting | default | what it is |
| --- | --- | --- |
"""


def page() -> str:
    """All commands with their options, and all settings."""
    command = typer.main.get_command(app)
    text = get_docs_for_click(obj=command, ctx=typer.Context(command), name="polyprompt")
    align = SETTINGS.format(
        command="align", example="text.depth", option="--text-depth", value=24, more="`cost` takes those of the model."
    )
    more = "A method's own settings are listed by `polyprompt methods NAME`."
    adapt = SETTINGS.format(command="adapt", example="max_bad", option="--max-bad", value=10, more=more)
    return f"{HEAD}{text.strip()}\n\n{align}{table(AlignSettings)}\n{adapt}{table(AdaptSettings)}"


def table(kind: type[Settings]) -> str:
    """A row for each setting."""
    return "".join(row(one, kind.SHOWN) for one in settings_of(kind) if one.kind is None)


def row(one: Setting, shown: Sequence[str]) -> str:
    """Name, default and description; those that are options have a star."""
    star = " \\*" if one.name in shown else ""
    default = "to be given" if one.default is MISSING else f"`{text}`" if (text := default_text(one)) else ""
    said = limits(one.hint) or ([word] if "|" in (word := value_word(one)) and word.islower() else [])
    brackets = f" ({', '.join(said).replace('|', ', ')})" if said else ""
    return f"| `{one.name}`{star} | {default} | {one.doc}{brackets} |\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
