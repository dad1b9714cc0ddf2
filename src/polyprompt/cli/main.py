"""The `polyprompt` command: arguments in, one call, result out; a user's mistake is one line and exit code 2."""

import importlib
import os
import sys

import typer

from polyprompt.errors import PolypromptError

COMMANDS = {
    "demo": "demo",
    "align": "align",
    "adapt": "adapt",
    "predict": "predict",
    "search": "search",
    "evaluate": "evaluate",
    "explain": "explain",
    "report": "report",
    "cost": "cost",
    "import": "import_original",
    "export": "export",
    "export-original": "export_original",
}
"""Each command and its file, in the order of the help page."""

app = typer.Typer(help=__import__("polyprompt").__doc__, no_args_is_help=True, pretty_exceptions_enable=False)
for name, file in COMMANDS.items():
    app.command(name)(importlib.import_module(f"polyprompt.cli.{file}").command)


def main() -> None:
    """Runs a command; 2 for bad input, 130 for Ctrl-C."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        app()
    except PolypromptError as error:
        print(f"polyprompt: {error}", file=sys.stderr)
        sys.exit(2)
    except SystemExit as end:
        if end.code == 130:  # what typer makes of Ctrl-C
            print("polyprompt: stopped; what was finished is kept. To go on: again, with --resume.", file=sys.stderr)
        raise
