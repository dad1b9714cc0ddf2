"""`polyprompt adapt`."""

import typer

from polyprompt.cli.arguments import Out, Resume, run_name
from polyprompt.cli.options import Given, options_of
from polyprompt.runs.settings import AdaptSettings


@options_of(AdaptSettings)
def command(given: Given[AdaptSettings], out: Out, resume: Resume = False) -> None:
    """Adapt a CLIP with prompts, from a few labelled pictures a class.

    Example: polyprompt adapt pets --method maple --encoder ViT-B-16/openai --shots 16 --out runs/pets
    """
    settings = given.settings(name=run_name(out))
    from polyprompt.cli.evaluate import show_classes
    from polyprompt.cli.pictures import max_bad_advice
    from polyprompt.runs.adapt import adapt
    from polyprompt.runs.folder import read_results

    with max_bad_advice():
        classifier = adapt(settings, out, resume=resume)
    typer.echo(f"{out}: {len(classifier.class_names)} classes. Use it with: polyprompt predict {out} PICTURES")
    results = read_results(out)
    if "auto" in results:
        from polyprompt.runs.auto import line

        for one in results["auto"]["candidates"]:
            typer.echo(f"{'*' if one['method'] == results['auto']['chosen'] else ' '} {line(one)}")
    for name, scores in results["classification"].items():
        show_classes(name, scores, results.get("zero_shot", {}).get(name))
    if "harmonic_mean" in results:
        typer.echo(f"{'harmonic mean':24}  accuracy {100 * results['harmonic_mean']:5.1f}")
