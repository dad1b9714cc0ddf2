"""`polyprompt search`."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from polyprompt.cli.arguments import ImageTower, MaxBad, Run, TextTower, whole
from polyprompt.errors import ConfigError, DataError

if TYPE_CHECKING:
    from polyprompt.campe.model import CAMPE

LARGEST_WEIGHT = 1e30
"""Scores stay finite in single precision."""


def command(
    run: Run,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What to look for.")],
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="A folder, searched with its subfolders, or captioned pictures.")
    ],
    aspect_weights: Annotated[
        str | None, typer.Option(metavar="NUMBERS", help="One weight for each prompt: 1.25,1,1,1,1,0.75.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Results to show.")] = 10,
    grid: Annotated[Path | None, typer.Option(help="Write the results as a picture, too (.png).")] = None,
    max_bad: MaxBad = 10,
    text_tower: TextTower = None,
    image_tower: ImageTower = None,
) -> None:
    """Rank pictures and videos by a text.

    Example: polyprompt search runs/demo/campe-6-prompts "a sad cat" photos
    """
    weights = numbers(aspect_weights)
    from polyprompt.cli.pictures import opened, pictures_of
    from polyprompt.report.grids import Hit, write_png
    from polyprompt.report.grids import grid as picture_grid
    from polyprompt.runs.load import load_aligned

    pictures = pictures_of(data)
    model = load_aligned(run, text_tower=text_tower, image_tower=image_tower)
    query = model.weighted(model.encode_text([uncut(model, text)]), weights)
    count = model.settings.image.frames
    seen, scores = [], []
    for part, frames in opened(pictures, max_bad, lambda picture: picture.frames(count)):
        seen += part
        scores += (model.encode_image(frames) @ query[0]).tolist()
    if not seen:
        raise DataError(f"{data}: none of its pictures can be read.")
    best = sorted(range(len(seen)), key=lambda i: -scores[i])[:top]
    for i in best:
        typer.echo(f"{scores[i]:.4f}  {seen[i].key}")
    if grid:
        hits = [Hit(seen[i].open(), scores[i], Path(seen[i].key).name) for i in best]
        write_png(grid, picture_grid([(text, hits)]))


def uncut(model: "CAMPE", text: str) -> str:
    """The text; it is told if the model reads its beginning alone."""
    from polyprompt.progress import say

    most = model.settings.text.max_tokens
    _, cut = model.text.llm.tokens([whole(text, "the text")], most)
    if cut:
        say(f"the text {text!r:.60} is longer than the {most} tokens that the model reads; the rest was cut off.")
    return text


def numbers(text: str | None) -> list[float] | None:
    """Weights with commas between.

    Raises:
        ConfigError: other things than numbers, or numbers too large.
    """
    if text is None:
        return None
    try:
        weights = [float(number) for number in text.split(",")]
    except ValueError:
        weights = [math.nan]
    if not all(abs(weight) <= LARGEST_WEIGHT for weight in weights):
        raise ConfigError(
            f"--aspect-weights {text!r:.60}: write finite numbers with commas between, as 1.25,1,1,1,1,0.75."
        )
    return weights
