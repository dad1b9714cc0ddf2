"""All commands, in the order of the help page; each is a file of its own. `data` has commands of its own."""

import importlib
import inspect
import platform
from importlib.metadata import version
from typing import Annotated, Any

import typer

import polyprompt
from polyprompt.cli.arguments import Command

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
NoWordsError: Any = getattr(importlib.import_module(UsageError.__module__), "NoArgsIsHelpError", ())
"""What typer raises, with the help as its message, where a command was to be named."""

app = typer.Typer(help=polyprompt.__doc__, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)
for name, file in COMMANDS.items():
    command = importlib.import_module(f"polyprompt.cli.{file}").command
    app.command(name, cls=Command)(command)
    if "resume" in inspect.signature(command).parameters:
        RESUMABLE.add(name)
app.add_typer(importlib.import_module("polyprompt.cli.data").app, name="data")


def say_version(given: bool) -> bool:
    """The answer to --version, which is all that is then done."""
    if given:
        typer.echo(f"polyprompt {polyprompt.__version__}, torch {version('torch')}, Python {platform.python_version()}")
        raise typer.Exit
    return given


@app.callback()
def global_options(
    version: Annotated[
        bool, typer.Option("--version", callback=say_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Options of the program itself."""
