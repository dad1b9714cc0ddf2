"""`polyprompt search`."""

import math
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from polyprompt.errors import ConfigError, DataError


def command(
    run: Annotated[Path, typer.Argument(help="A run folder, or a saved model's.")],
    query: Annotated[str, typer.Argument(help="What to look for.")],
    images: Annotated[Path, typer.Option(help="Folder of pictures and videos, searched with its subfolders.")],
    aspect_weights: Annotated[str | None, typer.Option(help="One weight for each prompt: 1.25,1,1,1,1,0.75")] = None,
    top: Annotated[int, typer.Option(min=1, help="Results to show.")] = 10,
    grid: Annotated[Path | None, typer.Option(help="Write the results as a picture, too (.png).")] = None,
    max_bad: Annotated[int, typer.Option(min=0, help="Unreadable pictures to list and leave out.")] = 10,
) -> None:
    """Rank the pictures and videos of a folder by a text.

    Example: polyprompt search runs/demo/campe-6-prompts "a sad cat" --images photos
    """
    from polyprompt.cli.pictures import opened
    from polyprompt.data.files import pictures_in
    from polyprompt.media.frames import open_frames
    from polyprompt.media.pictures import open_picture
    from polyprompt.report.grids import Hit, write_png
    from polyprompt.report.grids import grid as picture_grid
    from polyprompt.runs.load import load_aligned

    weights = _weights(aspect_weights)
    files = pictures_in(images)
    model = load_aligned(run)
    import torch

    texts = model.weighted(model.encode_text([query]), weights)
    look = partial(open_frames, count=model.settings.image.frames)
    found = [(paths, model.encode_image(pictures)) for paths, pictures in opened(files, max_bad, look)]
    files = [path for paths, _ in found for path in paths]
    if not files:
        raise DataError(f"{images}: none of its pictures can be read.")
    scores = (texts @ torch.cat([rows for _, rows in found]).T)[0]
    best = scores.topk(min(top, len(files)))
    hits = list(zip(best.values.tolist(), best.indices.tolist(), strict=True))
    for score, i in hits:
        typer.echo(f"{score:.4f}  {files[i]}")
    if grid:
        write_png(grid, picture_grid([(query, [Hit(open_picture(files[i]), s, files[i].name) for s, i in hits])]))


def _weights(text: str | None) -> list[float] | None:
    if text is None:
        return None
    try:
        weights = [float(number) for number in text.split(",")]
        if not all(map(math.isfinite, weights)):
            raise ValueError
    except ValueError:
        raise ConfigError(
            f"--aspect-weights {text!r}: write numbers with commas between, as 1.25,1,1,1,1,0.75."
        ) from None
    return weights
