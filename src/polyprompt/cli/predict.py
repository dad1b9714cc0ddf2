"""`polyprompt predict`."""

import json
from pathlib import Path
from typing import Annotated

import typer

TOGETHER = 64
"""Pictures classified at a time."""


def command(
    run: Annotated[Path, typer.Argument(help="A run folder, or a saved adapter's.")],
    images: Annotated[list[Path], typer.Argument(help="Pictures, and folders of them.")],
    classes: Annotated[str | None, typer.Option(help="cat,dog,... instead of those that were trained.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a picture, with all classes.")] = False,
    top: Annotated[int, typer.Option(min=1, help="Classes to show of each picture.")] = 3,
    encoder: Annotated[str | None, typer.Option(help="Where the encoder is, if it has moved.")] = None,
) -> None:
    """Class probabilities of pictures, for the classes of the run or any others.

    Example: polyprompt predict runs/pets cat.jpg photos --classes cat,dog,otter
    """
    from polyprompt.cli.options import names
    from polyprompt.data.files import pictures_in
    from polyprompt.errors import DataError, ImageError
    from polyprompt.media.pictures import open_picture
    from polyprompt.progress import say
    from polyprompt.runs.load import load_classifier, load_encoder

    files = [file for path in images for file in (pictures_in(path) if path.is_dir() else [path])]
    classifier = load_classifier(run, names(classes), load_encoder(encoder) if encoder else None)
    width, bad = max(len(str(file)) for file in files), 0
    for at in range(0, len(files), TOGETHER):
        batch = {}
        for file in files[at : at + TOGETHER]:
            try:
                batch[file] = open_picture(file)
            except ImageError as error:
                say(str(error))
                bad += 1
        rows = classifier(list(batch.values())).tolist() if batch else []
        for file, row in zip(batch, rows, strict=True):
            ranked = sorted(zip(row, classifier.class_names, strict=True), reverse=True)
            if as_json:
                probabilities = dict(zip(classifier.class_names, row, strict=True))
                typer.echo(json.dumps({"image": str(file), "class": ranked[0][1], "probabilities": probabilities}))
            else:
                typer.echo(f"{file!s:{width}}" + "".join(f"  {100 * p:5.1f} % {name}" for p, name in ranked[:top]))
    if bad:
        raise DataError(f"{bad} of {len(files)} pictures cannot be read; they are named above, the others were done.")
