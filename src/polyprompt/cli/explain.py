"""`polyprompt explain`."""

from pathlib import Path
from typing import Annotated

import typer


def command(
    run: Annotated[Path, typer.Argument(help="A run folder, or a saved model's.")],
    image: Annotated[Path, typer.Argument(help="A picture.")],
    text: Annotated[str, typer.Argument(help="A caption or query.")],
    out: Annotated[Path, typer.Option(help="Where to write the picture (.png).")] = Path("explained.png"),
) -> None:
    """One picture: where each prompt's segment looks, and its share of the score.

    Example: polyprompt explain runs/photos cat.jpg "a sad cat" --out cat.png
    """
    from polyprompt.report.explain import explain
    from polyprompt.report.grids import write_png
    from polyprompt.runs.load import load_aligned

    write_png(out, explain(load_aligned(run), image, text))
    typer.echo(f"Open {out}")
