"""`polyprompt index`."""

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from polyprompt.cli.arguments import Encoder, ImageTower, TextTower, TowerDtype, Where, Workers, executor_of


def command(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run folder, or an encoder's name, as for `adapt`.")],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Pictures and videos, with those in subfolders.")],
    out: Annotated[Path, typer.Option(metavar="COLLECTION", help="Folder for the collection.")],
    encoder: Encoder = None,
    text_tower: TextTower = None,
    image_tower: ImageTower = None,
    precision: Annotated[
        Literal["auto", "fp32", "bf16"], typer.Option(help="Of products; auto measures, and takes what is quicker.")
    ] = "auto",
    tower_dtype: TowerDtype = None,
    workers: Workers = 1,
    executor: Where = "local",
) -> None:
    """Embed a folder once, to be searched at any time; run again, it takes in what is new, changed, moved or gone.

    Example: polyprompt index runs/photos ~/Pictures --out collections/pictures
    """
    from polyprompt.runs.folder import check_place
    from polyprompt.search.candidates import in_folder
    from polyprompt.search.fill import index
    from polyprompt.search.models import open_model
    from polyprompt.search.shards import Opened, Spread

    where = executor_of(executor)
    check_place(out, [str(folder)])
    candidates = in_folder(folder)
    towers = {"text_tower": text_tower, "image_tower": image_tower, "tower_dtype": tower_dtype}
    model = open_model(run, encoder, **towers)
    model.precision = precision
    spread = None
    if (workers, where) != (1, "local"):
        opened = Opened(model.name, encoder, towers, precision)
        spread = Spread(executor=where, workers=workers, opened=opened)
    typer.echo(f"{out}: {index(model, candidates, os.path.abspath(folder), out, spread)}")
