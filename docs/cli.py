"""Writes docs/cli.md from the program itself: .venv/bin/python docs/cli.py"""

from pathlib import Path

import typer
from typer.cli import get_docs_for_click

from polyprompt.cli.app import app
from polyprompt.runs.settings import AdaptSettings, AlignSettings
from polyprompt.settings import Settings, setting_names

PAGE = Path(__file__).with_suffix(".md")
HEAD = """<!-- Written by docs/cli.py from the program's own help. -->

"""
SETTINGS = """## Settings of `{command}`

Each can stand in a YAML file (`--config`) or behind `--set`, as `--set {example}`. Options win over the file,
and `--set` wins over both.

| setting | default | what it is |
| --- | --- | --- |
"""


def page() -> str:
    """All commands with their options, and all settings."""
    command = typer.main.get_command(app)
    text = get_docs_for_click(obj=command, ctx=typer.Context(command), name="polyprompt")
    align = SETTINGS.format(command="align", example="text.depth=24") + settings(AlignSettings)
    adapt = SETTINGS.format(command="adapt", example="method.depth=9") + settings(AdaptSettings)
    return f"{HEAD}{text.strip()}\n\n{align}\n{adapt}"


def settings(kind: type[Settings]) -> str:
    """A row of the table for each setting."""
    return "".join(f"| `{name}` | {default} | {what} |\n" for name, default, what in rows(kind))


def rows(kind: type[Settings]) -> list[tuple[str, str, str]]:
    """Name, default and description of each setting, those inside others after a dot."""
    found = []
    for name in setting_names(kind):
        *outer, last = name.split(".")
        inner: type[Settings] = kind
        for part in outer:
            inner = inner.model_fields[part].annotation  # pyright: ignore[reportAssignmentType]
        field = inner.model_fields[last]
        default = "to be given" if field.is_required() else "" if field.default is None else f"`{field.default}`"
        found.append((name, default, field.description or ""))
    return found


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
