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
    from polyprompt.disk.files import check_new
    from polyprompt.progress import step
    from polyprompt.runs.folder import check_apart
    from polyprompt.runs.load import load, load_classifier

    check_new(out)
    check_apart(out, run)
    towers = {"text_tower": text_tower, "image_tower": image_tower}
    with step(f"Opening {run}"):
        model = (
            load(run, encoder, **towers)
            if class_names is None
            else load_classifier(run, class_names, encoder, **towers)
        )
    if isinstance(model, CAMPE):
        from polyprompt.skins.onnx_towers import export_towers

        export_towers(model, out)
        files = sorted(out.iterdir())
        listed, mb = ", ".join(file.name for file in files), sum(file.stat().st_size for file in files) / 1e6
        typer.echo(f"Folder {out}: {listed}; vectors of {model.settings.dim} numbers, {mb:.1f} MB")
        return
    from polyprompt.skins.onnx import export_onnx

    export_onnx(model, out)
    size, mb = model.preprocess.size, out.stat().st_size / 1e6
    typer.echo(f"{out}: {len(model.class_names)} classes, pictures of {size} x {size}, {mb:.1f} MB")
