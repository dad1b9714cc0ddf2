"""`polyprompt export`."""

from pathlib import Path
from typing import Annotated

import typer

from polyprompt.cli.arguments import Classes, Encoder, ImageTower, Run, TextTower, names


def command(
    run: Run,
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="The file FILE.onnx, or for two towers the folder, to write.")
    ],
    classes: Classes = None,
    encoder: Encoder = None,
    text_tower: TextTower = None,
    image_tower: ImageTower = None,
) -> None:
    """ONNX for any runtime: a classifier as one file, or both towers of a run of `align` in a folder.

    A classifier takes pixels and gives logits and probabilities. A run of `align` becomes one when --classes are named;
    without them, text.onnx and image.onnx give the vectors that a search compares, with the tokenizer beside them.

    Example: polyprompt export runs/pets pets.onnx
    """
    class_names = names(classes)
    from polyprompt.campe.model import CAMPE
    from polyprompt.runs.load import load, load_classifier

    found = load(run, encoder, text_tower=text_tower, image_tower=image_tower) if class_names is None else None
    if isinstance(found, CAMPE):
        from polyprompt.skins.onnx_towers import export_towers

        export_towers(found, out)
        mb = sum(file.stat().st_size for file in out.iterdir()) / 1e6
        typer.echo(f"{out}: text.onnx and image.onnx, vectors of {found.settings.dim} numbers, {mb:.1f} MB")
        return
    from polyprompt.skins.onnx import export_onnx

    classifier = found or load_classifier(run, class_names, encoder, text_tower=text_tower, image_tower=image_tower)
    export_onnx(classifier, out)
    size, mb = classifier.preprocess.size, out.stat().st_size / 1e6
    typer.echo(f"{out}: {len(classifier.class_names)} classes, pictures of {size} x {size}, {mb:.1f} MB")
