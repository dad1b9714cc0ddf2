"""`polyprompt report`."""

from pathlib import Path
from typing import Annotated

import typer

from polyprompt.errors import ConfigError

PAGE = Path("report.html")


def command(
    runs: Annotated[list[Path], typer.Argument(metavar="RUNS...", help="Run folders side by side, or one grid's.")],
    out: Annotated[
        Path | None,
        typer.Option(help="Where to write it, report.html if not given; of a grid also .md, .csv or .tex."),
    ] = None,
) -> None:
    """One HTML page that needs no network; of a grid also its tables, which are shown without --out.

    Example: polyprompt report runs/photos runs/baseline --out report.html
    """
    if any((run / "cells").is_dir() for run in runs):
        if len(runs) > 1:
            raise ConfigError(f"report: {len(runs)} folders, a grid among them; give a grid by itself")
        from polyprompt.report.grid_page import write_report

        tables = write_report(runs[0], out or PAGE)
        if out is None:
            typer.echo(tables)
    else:
        from polyprompt.report.page import write_page

        write_page(runs, out or PAGE)
    typer.echo(f"Open {out or PAGE}")
