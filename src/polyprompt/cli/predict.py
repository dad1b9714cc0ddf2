"""`polyprompt predict`."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from polyprompt.cli.arguments import Classes, Encoder, ImageTower, Run, TextTower, TowerDtype, names


def command(
    run: Run,
    pictures: Annotated[list[Path], typer.Argument(metavar="PICTURES...", help="Pictures, and folders of them.")],
    classes: Classes = None,
    task: Annotated[str | None, typer.Option(help="Of a run on several tasks, the one at work.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a picture, with all classes.")] = False,
    top: Annotated[int, typer.Option(min=1, help="Classes to show of each picture.")] = 3,
    encoder: Encoder = None,
    text_tower: TextTower = None,
    image_tower: ImageTower = None,
    tower_dtype: TowerDtype = None,
) -> None:
    """Class probabilities of pictures, for the classes of the run or any others.

    Example: polyprompt predict runs/pets cat.jpg photos --classes cat,dog,otter
    """
    class_names = names(classes)
    from polyprompt.cli.pictures import opened, picture_at
    from polyprompt.data.files import pictures_in
    from polyprompt.disk.places import nearby
    from polyprompt.errors import DataError
    from polyprompt.runs.load import load_classifier

    if not any(map(os.path.exists, pictures)):
        raise DataError(f"{pictures[0]}: no such picture or folder.{nearby(pictures[0])}")
    files = [file for path in pictures for file in (pictures_in(path) if path.is_dir() else [path])]
    asked = [picture_at(file) for file in files]
    towers = {"text_tower": text_tower, "image_tower": image_tower, "tower_dtype": tower_dtype}
    classifier = load_classifier(run, class_names, encoder, task=task, **towers)
    width, done = max(len(one.key) for one in asked), 0
    for part, images in opened(asked, len(asked)):
        for picture, row in zip(part, classifier(images).tolist(), strict=True):
            shares = dict(zip(classifier.class_names, row, strict=True))
            typer.echo(as_object(picture.key, shares) if as_json else as_line(picture.key, shares, top, width))
        done += len(part)
    if done < len(asked):
        bad = len(asked) - done
        rest = "they are named above, the others were done" if done else "what is wrong with each stands above"
        raise DataError(f"{bad} of {len(asked)} pictures cannot be read; {rest}.")


def as_line(key: str, shares: Mapping[str, float], top: int, width: int) -> str:
    """A picture's name and its first classes."""
    ranked = sorted(shares.items(), key=lambda one: -one[1])[:top]
    return f"{key:{width}}" + "".join(f"  {100 * share:5.1f} % {name}" for name, share in ranked)


def as_object(key: str, shares: Mapping[str, float]) -> str:
    """JSON: the picture, its class, the probabilities of all classes."""
    return json.dumps({"image": key, "class": max(shares, key=lambda name: shares[name]), "probabilities": shares})
