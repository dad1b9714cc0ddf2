"""`polyprompt check`."""

from pathlib import Path
from typing import Annotated

import typer


def command(
    collection: Annotated[Path, typer.Argument(metavar="COLLECTION", help="What `polyprompt index` made.")],
) -> None:
    """Read a collection to its last byte, and tell what is in it.

    Example: polyprompt check collections/pictures
    """
    from polyprompt.search.collection import Collection

    opened = Collection(collection)
    opened.check()
    counts = opened.items.counts()
    typer.echo(f"{collection}: whole. Pictures of {opened.about.root}, embedded by {opened.about.model}.")
    typer.echo(
        f"{counts['files']:,} files, {len(opened):,} rows; {counts['gone']:,} gone; {counts['bad']:,} unreadable"
    )
    for path, why in opened.items.bad():
        typer.echo(f"unreadable: {path}: {why}")
    if opened.shown.about:
        typer.echo("codes: " + ", ".join(f"{name} {value:g}" for name, value in opened.shown.about.items()))
