"""`polyprompt evaluate`."""

from pathlib import Path
from typing import Annotated

import typer

from polyprompt.cli.arguments import Classes, Encoder, ImageTower, MaxBad, TextTower, TowerDtype, names
from polyprompt.values import Values

FIGURES = ("accuracy", "macro_f1", "auc", "calibration_error")
"""Of a classifier's scores, those that are printed."""


def command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    data: Annotated[str, typer.Argument(metavar="DATA", help="Captioned or labelled pictures, or scored sentences.")],
    split: Annotated[str | None, typer.Option(help="test, or several: dev+test; all if not given.")] = None,
    classes: Classes = None,
    template: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", help="A sentence with {} for the class name; may come often.")
    ] = None,
    max_bad: MaxBad = 0,
    encoder: Encoder = None,
    text_tower: TextTower = None,
    image_tower: ImageTower = None,
    tower_dtype: TowerDtype = None,
) -> None:
    """Score a run on another set, and keep the scores in the run's results.json.

    Captions: recall at 1, 5 and 10 in both directions. Labels: accuracy; of a run of align zero-shot. Pairs of
    sentences (columns sentence1, sentence2, score): Spearman's correlation of their cosines with the scores.

    Example: polyprompt evaluate runs/photos more-photos --split test
    """
    class_names = names(classes)
    from polyprompt.cli.pictures import max_bad_advice
    from polyprompt.data.source import check_there
    from polyprompt.runs.evaluate import evaluate
    from polyprompt.runs.folder import read_results
    from polyprompt.runs.load import load

    read_results(run)
    check_there(data)
    model = load(run, encoder, text_tower=text_tower, image_tower=image_tower, tower_dtype=tower_dtype)
    with max_bad_advice():
        result = evaluate(
            run, data, split, class_names=class_names, templates=template or (), max_bad=max_bad, model=model
        )
    if result.kind == "retrieval":
        show(result.scores)
    elif result.kind == "sentences":
        show_sentences(result.name, result.scores)
    else:
        show_classes(result.name, result.scores)


def show(scores: Values) -> None:
    """Prints recall in both directions, in percent."""
    for way in ("image_to_text", "text_to_image"):
        typer.echo(f"{way.replace('_', ' '):14}" + "".join(f"  {k} {100 * v:5.1f}" for k, v in scores[way].items()))


def show_sentences(name: str, scores: Values) -> None:
    """Prints how well cosines rank pairs of sentences, in percent."""
    typer.echo(f"{name:24}  Spearman {100 * scores['spearman']:5.1f}  ({scores['pairs']} pairs)")


def show_classes(name: str, scores: Values, zero_shot: Values | None = None) -> None:
    """Prints how well classes are told apart, in percent, and what zero-shot gives."""
    known = [key for key in FIGURES if scores.get(key) is not None]
    figures = "  ".join(f"{key.replace('_', ' ')} {100 * scores[key]:5.1f}" for key in known)
    beside = f"  zero-shot accuracy {100 * zero_shot['accuracy']:5.1f}" if zero_shot else ""
    typer.echo(f"{name:24}  {figures}{beside}  ({scores['pictures']} pictures, {scores['classes']} classes)")
