"""`polyprompt export`."""

from pathlib import Path
from typing import Annotated

import typer


def command(
    run: Annotated[Path, typer.Argument(help="A run folder, or a saved adapter's.")],
    out: Annotated[Path, typer.Argument(help="The ONNX file to write.")],
    classes: Annotated[str | None, typer.Option(help="cat,dog,... instead of those that were trained.")] = None,
    encoder: Annotated[str | None, typer.Option(help="Where the encoder is, if it has moved.")] = None,
) -> None:
    """A classifier as an ONNX file, for any runtime: pixels in, logits and probabilities out.

    Example: polyprompt export runs/pets pets.onnx
    """
    from polyprompt.cli.options import names
    from polyprompt.runs.load import load_classifier, load_encoder
    from polyprompt.skins.onnx import export_onnx

    classifier = load_classifier(run, names(classes), load_encoder(encoder) if encoder else None)
    export_onnx(classifier, out)
    size, mb = classifier.preprocess.size, out.stat().st_size / 1e6
    typer.echo(f"{out}: {len(classifier.class_names)} classes, pictures of {size} x {size}, {mb:.1f} MB")
