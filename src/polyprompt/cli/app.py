"""All commands, in the order of the help page; each is a file of its own. `data` has commands of its own."""

import importlib
import inspect
from typing import Any

import typer

import polyprompt

COMMANDS = {
    "demo": "demo",
    "align": "align",
    "adapt": "adapt",
    "run": "run",
    "predict": "predict",
    "index": "index",
    "search": "search",
    "serve": "serve",
    "check": "check",
    "evaluate": "evaluate",
    "explain": "explain",
    "report": "report",
    "methods": "methods",
    "cost": "cost",
    "import": "import_original",
    "export": "export",
    "export-original": "export_original",
    "export-peft": "export_peft",
    "export-lance": "export_lance",
    "push": "push",
}
"""Each command and its file."""

RESUMABLE: set[str] = set()
"""The commands that have --resume."""

UsageError: Any = typer.BadParameter.__base__
"""What typer raises for options that there are not, and the like; where its class lies changes with typer's version."""

app = typer.Typer(help=polyprompt.__doc__, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)
for name, file in COMMANDS.items():
    command = importlib.import_module(f"polyprompt.cli.{file}").command
    app.command(name)(command)
    if "resume" in inspect.signature(command).parameters:
        RESUMABLE.add(name)
app.add_typer(importlib.import_module("polyprompt.cli.data").app, name="data")
