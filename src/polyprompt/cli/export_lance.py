"""`polyprompt export-lance`."""

from pathlib import Path
from typing import Annotated

import typer


def command(
    collection: Annotated[Path, typer.Argument(metavar="COLLECTION", help="What `polyprompt index` made.")],
    out: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Folder of a LanceDB database; made if it is not there.")
    ],
) -> None:
    """Write a collection as a LanceDB table, for SQL, full text and other tools; again, to bring it up to date.

    Example: polyprompt export-lance collections/pictures tables
    """
    from polyprompt.runs.folder import check_place
    from polyprompt.search.collection import Collection
    from polyprompt.search.lance import TABLE, write_table

    opened = Collection(collection)
    check_place(out, [opened.about.root])
    written = write_table(opened, out)
    files = opened.items.counts()["files"]
    typer.echo(f"{out}: table {TABLE!r}, {files:,} files, {'written' if written else 'was up to date'}")
