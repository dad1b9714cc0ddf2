"""`polyprompt explain`."""

from pathlib import Path
from typing import Annotated

import typer

from polyprompt.cli.arguments import ImageTower, Run, TextTower, TowerDtype, query_text


def command(
    run: Run,
    picture: Annotated[Path, typer.Argument(metavar="PICTURE", help="A picture.")],
    text: Annotated[str, typer.Argument(metavar="TEXT", help="A caption or query.")],
    out: Annotated[Path, typer.Option(help="Where to write the picture (.png).")] = Path("explained.png"),
    text_tower: TextTower = None,
    image_tower: ImageTower = None,
    tower_dtype: TowerDtype = None,
) -> None:
    """One picture: where each prompt's segment looks, and its share of the score.

    Example: polyprompt explain runs/photos cat.jpg "a sad cat" --out cat.png
    """
    from polyprompt.media.pictures import open_picture
    from polyprompt.report.explain import explain
    from polyprompt.report.grids import write_png
    from polyprompt.runs.folder import check_apart
    from polyprompt.runs.load import load_aligned

    check_apart(out, run)
    opened = open_picture(picture)
    model = load_aligned(run, text_tower=text_tower, image_tower=image_tower, tower_dtype=tower_dtype)
    write_png(out, explain(model, opened, query_text(text)))
    typer.echo(f"Open {out}")
