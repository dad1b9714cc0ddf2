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

    found = Collection(collection)
    found.check()
    counts = found.items.counts()
    typer.echo(f"{collection}: whole. Pictures of {found.about.root}, embedded by {found.about.model}.")
    typer.echo(f"{counts['files']:,} files, {len(found):,} rows; {counts['gone']:,} gone; {counts['bad']:,} unreadable")
    for path, why in found.items.bad():
        typer.echo(f"unreadable: {path}: {why}")
    if found.shown.about:
        typer.echo("codes: " + ", ".join(f"{name} {value:g}" for name, value in found.shown.about.items()))
