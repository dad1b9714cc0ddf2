"""`polyprompt data`: the catalogue of data sets."""

from pathlib import Path
from typing import Annotated

import typer

from polyprompt.cli.arguments import Command

Name = Annotated[str, typer.Argument(help="One of `polyprompt data list`.")]
Root = Annotated[Path, typer.Argument(help="The folder with all data sets in it, or the set's own.")]

app = typer.Typer(help="The catalogue of data sets: list | show | check | fetch.", no_args_is_help=True)


@app.command("list", cls=Command)
def list_() -> None:
    """All published sets that polyprompt knows.

    Example: polyprompt data list
    """
    from polyprompt.data import catalog

    names = catalog.names()
    width = max(map(len, names))
    for name in names:
        entry = catalog.entry(name)
        typer.echo(f"{name:{width}}  {entry.holds:8}  {entry.title}")


@app.command(cls=Command)
def show(name: Name) -> None:
    """Splits, counts, prompt, class order, page and licence of a set, and what is odd about it.

    Example: polyprompt data show eurosat
    """
    from polyprompt.data import catalog
    from polyprompt.data.describe import lines

    for line in lines(catalog.entry_of(name)):
        typer.echo(line)


@app.command(cls=Command)
def check(
    name: Name,
    root: Root,
    sample: Annotated[int, typer.Option(min=0, help="Pictures of each split to open.")] = 50,
) -> None:
    """Whether a set is whole: layout, counts, a sample of its pictures.

    Example: polyprompt data check eurosat ~/data
    """
    from polyprompt.data.check import check
    from polyprompt.errors import DataError

    findings = check(name, root, sample=sample)
    for one in findings:
        typer.echo(f"{'whole ' if one.whole else 'FAULTY'}  {one.what}: {one.result}")
    if bad := [one for one in findings if not one.whole]:
        raise DataError(f"{name}: {len(bad)} of {len(findings)} are not as published; they are named above.")


@app.command(cls=Command)
def fetch(name: Name, root: Root) -> None:
    """Fetch a set, going on where it stopped; what cannot be fetched is said step by step.

    Example: polyprompt data fetch eurosat ~/data
    """
    from polyprompt.data.fetch import fetch

    for line in fetch(name, root):
        typer.echo(line)
    typer.echo(f"Then: polyprompt data check {name} {root}")
