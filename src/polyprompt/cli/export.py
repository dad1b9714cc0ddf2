"""`polyprompt export`."""

from pathlib import Path
from typing import Annotated

import typer

from polyprompt.cli.arguments import Classes, Encoder, ImageTower, Run, TextTower, names


def command(
    run: Run,
    out: Annotated[Path, typer.Argument(metavar="FILE.onnx", help="The file to write.")],
    classes: Classes = None,
    encoder: Encoder = None,
    text_tower: TextTower = None,
    image_tower: ImageTower = None,
) -> None:
    """A classifier as an ONNX file, for any runtime: pixels in, logits and probabilities out.

    Example: polyprompt export runs/pets pets.onnx
    """
    class_names = names(classes)
    from polyprompt.runs.load import load_classifier
    from polyprompt.skins.onnx import export_onnx

    classifier = load_classifier(run, class_names, encoder, text_tower=text_tower, image_tower=image_tower)
    export_onnx(classifier, out)
    size, mb = classifier.preprocess.size, out.stat().st_size / 1e6
    typer.echo(f"{out}: {len(classifier.class_names)} classes, pictures of {size} x {size}, {mb:.1f} MB")
