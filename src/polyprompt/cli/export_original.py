"""`polyprompt export-original`."""

from pathlib import Path
from typing import Annotated

import typer


def command(
    run: Annotated[Path, typer.Argument(help="A run of adapt, or a saved adapter's folder.")],
    out: Annotated[Path, typer.Argument(help="Folder for the checkpoint.")],
    epoch: Annotated[int, typer.Option(min=1, help="N of model.pth.tar-N.")] = 1,
    encoder: Annotated[str | None, typer.Option(help="Where the encoder is, if it has moved.")] = None,
) -> None:
    """Write an adapter as the method's own authors' program would, for their loader.

    Example: polyprompt export-original runs/pets output/pets --epoch 5
    """
    from polyprompt.adapt.classifier import Classifier
    from polyprompt.errors import ConfigError
    from polyprompt.methods.originals import export_original
    from polyprompt.runs.load import load, load_encoder

    found = load(run, load_encoder(encoder) if encoder else None)
    if not isinstance(found, Classifier):
        raise ConfigError(f"{run}: a CAMPE model, not an adapter; only what adapt or import made can be written so.")
    typer.echo(export_original(found.method, out, epoch))
