"""`polyprompt export-original`."""

from pathlib import Path
from typing import Annotated

import typer

from polyprompt.cli.arguments import Encoder, Run
from polyprompt.errors import ConfigError


def command(
    run: Run,
    out: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder for the checkpoint.")],
    epoch: Annotated[int, typer.Option(min=1, help="N of model.pth.tar-N.")] = 1,
    encoder: Encoder = None,
) -> None:
    """Write an adapter as the method's own authors' program would, for their loader.

    Example: polyprompt export-original runs/pets output/pets --epoch 5
    """
    from polyprompt.adapt.classifier import Classifier
    from polyprompt.methods.originals import export_original
    from polyprompt.runs.folder import check_apart
    from polyprompt.runs.load import load

    check_apart(out, run)
    adapted = load(run, encoder)
    if not isinstance(adapted, Classifier):
        raise ConfigError(f"{run}: a CAMPE model, not an adapter; only what adapt or import made can be written so.")
    typer.echo(export_original(adapted.method, out, epoch))
