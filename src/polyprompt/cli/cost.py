"""`polyprompt cost`."""

from typing import Annotated

import typer

from polyprompt.campe.config import ModelSettings
from polyprompt.cli.options import Given, options_of


@options_of(ModelSettings)
def command(
    given: Given[ModelSettings],
    tokens: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="Text tokens in all, the caption's and the prompts'.")
    ] = 64,
) -> None:
    """Parameters, multiply-adds and memory for one pair, with and without caching; nothing is loaded.

    The text tower may also be gemma-2b or clip-text, known here without their files, or a fresh one: vanilla:384x6.

    Example: polyprompt cost --text-tower gemma-2b --image-tower vit_base_patch16_224 --dim 768
    """
    settings = given.settings()
    from polyprompt.campe.cost import cost, open_text_config

    rows = cost(open_text_config(settings.text.tower), settings, tokens=tokens).as_rows()
    for line in (rows[0].keys(), *(row.values() for row in rows)):
        cells = (f"{cell:,.2f}" if isinstance(cell, float) else str(cell) for cell in line)
        typer.echo("  ".join(f"{cell:>22}" for cell in cells))
