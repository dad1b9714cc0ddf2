"""`polyprompt align`."""

from dataclasses import replace
from typing import Annotated

import typer

from polyprompt.cli.arguments import Out, Resume, run_name
from polyprompt.cli.options import Given, options_of
from polyprompt.runs.settings import AlignSettings


@options_of(AlignSettings)
def command(
    given: Given[AlignSettings],
    out: Out,
    start_from: Annotated[
        str | None,
        typer.Option("--from", metavar="RUN", help="Start from what this run on the same towers has learned."),
    ] = None,
    resume: Resume = False,
) -> None:
    """Align an LLM and an image tower (CAMPE) on captioned pictures, or its text side alone on scored sentences.

    Example: polyprompt align photos --text-prompts 6 --epochs 20 --out runs/photos
    """
    settings = replace(given, options={**given.options, "start_from": start_from}).settings(name=run_name(out))
    from polyprompt.cli.evaluate import show, show_sentences
    from polyprompt.cli.pictures import max_bad_advice
    from polyprompt.runs.align import align
    from polyprompt.runs.folder import read_results

    with max_bad_advice():
        align(settings, out, resume=resume)
    results = read_results(out)
    for name, scores in results.get("sentences", {}).items():
        show_sentences(name, scores)
    for name, scores in results["retrieval"].items():
        typer.echo(f"{name}: {scores['captions']:,} captions, {scores['images']:,} pictures")
        show(scores)
    typer.echo(f"{out}: finished. Look at it with: polyprompt report {out}")
