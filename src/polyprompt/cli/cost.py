"""`polyprompt cost`."""

from typing import Annotated

import typer


def command(
    text_tower: Annotated[
        str, typer.Option(help="gemma-2b, smollm2-135m, clip-text, a folder or a hub id.")
    ] = "gemma-2b",
    image_tower: Annotated[str, typer.Option(help="Any timm model.")] = "vit_base_patch16_224",
    tokens: Annotated[int, typer.Option(min=1, help="Text tokens in all.")] = 64,
    prompts: Annotated[int, typer.Option(min=1, help="K.")] = 6,
    dim: Annotated[int, typer.Option(min=1, help="D.")] = 768,
) -> None:
    """Parameters, multiply-adds and memory for one pair, with and without caching; nothing is loaded.

    Example: polyprompt cost --text-tower gemma-2b --image-tower vit_base_patch16_224
    """
    from polyprompt.campe.cost import cost, open_text_config

    found = cost(open_text_config(text_tower), image_tower, tokens=tokens, prompts=prompts, dim=dim)
    rows = found.as_rows()
    for line in (rows[0].keys(), *(row.values() for row in rows)):
        cells = (f"{cell:,.2f}" if isinstance(cell, float) else str(cell) for cell in line)
        typer.echo("  ".join(f"{cell:>22}" for cell in cells))
