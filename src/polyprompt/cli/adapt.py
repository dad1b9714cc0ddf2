"""`polyprompt adapt`."""

import typer

from polyprompt.cli.arguments import Out, Resume, run_name
from polyprompt.cli.options import Given, options_of
from polyprompt.runs.settings import AdaptSettings

FIGURES = ("accuracy", "macro_f1", "calibration_error")
"""Of results.json, those that are printed."""


@options_of(AdaptSettings)
def command(given: Given[AdaptSettings], out: Out, resume: Resume = False) -> None:
    """Adapt a CLIP with prompts, from a few labelled pictures a class.

    Example: polyprompt adapt pets --method maple --encoder ViT-B-16/openai --shots 16 --out runs/pets
    """
    settings = given.settings(name=run_name(out))
    from polyprompt.disk.files import read_json
    from polyprompt.runs.adapt import adapt

    classifier = adapt(settings, out, resume=resume)
    typer.echo(f"{out}: {len(classifier.class_names)} classes. Use it with: polyprompt predict {out} PICTURES")
    results = read_json(out / "results.json")
    for name, scores in results["classification"].items():
        figures = "  ".join(f"{key.replace('_', ' ')} {100 * scores[key]:5.1f}" for key in FIGURES)
        typer.echo(f"{name:24}  {figures}  ({scores['pictures']} pictures, {scores['classes']} classes)")
    if "harmonic_mean" in results:
        typer.echo(f"{'harmonic mean':24}  accuracy {100 * results['harmonic_mean']:5.1f}")
