"""`polyprompt adapt`."""

from pathlib import Path
from typing import Annotated

import typer

SHOWN = ("accuracy", "macro_f1", "calibration_error")


def command(
    out: Annotated[Path, typer.Option(help="Folder for the run.")],
    images: Annotated[
        str | None, typer.Option(help="Folder with one folder per class, a table of path and label, or a CoOp split.")
    ] = None,
    method: Annotated[
        str | None, typer.Option(help="zeroshot, coop, cocoop, vpt, language, ivlp, maple, promptsrc, or your.module.")
    ] = None,
    encoder: Annotated[
        str | None, typer.Option(help="ViT-B-16/openai, a hub id, a file, a folder, or a run of align.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file with settings.")] = None,
    assignments: Annotated[list[str] | None, typer.Option("--set", help="key=value, as method.depth=9.")] = None,
    protocol: Annotated[str | None, typer.Option(help="few-shot, base-to-novel or cross-dataset.")] = None,
    shots: Annotated[int | None, typer.Option(help="Pictures a class; 16 if not given.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the draw and of training; 1 if not given.")] = None,
    test: Annotated[str | None, typer.Option(help="Other pictures of the same classes to score.")] = None,
    held_out: Annotated[float | None, typer.Option(help="Share of each class to hold out; else what is left.")] = None,
    also: Annotated[list[str] | None, typer.Option(help="One more set to score, with its own classes.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes; published if not given, as the next two.")] = None,
    batch: Annotated[int | None, typer.Option(help="Pictures in a step.")] = None,
    rate: Annotated[float | None, typer.Option(help="Peak learning rate.")] = None,
    augment: Annotated[bool | None, typer.Option("--augment", help="Random crops and flips, as published.")] = None,
    precision: Annotated[str | None, typer.Option(help="auto, fp32 or bf16.")] = None,
    cache_gb: Annotated[float | None, typer.Option(help="Largest set of pictures' states to keep; 0: none.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the run stopped.")] = False,
) -> None:
    """Adapt a CLIP with prompts, from a few labelled pictures a class.

    Example: polyprompt adapt --images pets --method maple --encoder ViT-B-16/openai --shots 16 --out runs/pets
    """
    from polyprompt.cli.options import gather
    from polyprompt.disk.files import read_json
    from polyprompt.runs.adapt import AdaptSettings, adapt
    from polyprompt.settings import checked

    given = {
        "data": images, "method.name": method, "encoder": encoder, "protocol": protocol, "shots": shots, "seed": seed,
        "test": test, "held_out": held_out, "also": also or None, "epochs": epochs, "batch": batch, "rate": rate,
        "augment": augment, "precision": precision, "cache_gb": cache_gb,
    }  # fmt: skip
    values = {"name": out.name} | gather(config, given, assignments or [])
    found = adapt(checked(AdaptSettings, values), out, resume=resume)
    typer.echo(f"{out}: {len(found.class_names)} classes. Use it with: polyprompt predict {out} PICTURES")
    results = read_json(out / "results.json")
    for name, scores in results["classification"].items():
        figures = "  ".join(f"{key.replace('_', ' ')} {100 * scores[key]:5.1f}" for key in SHOWN)
        typer.echo(f"{name:24}  {figures}  ({scores['pictures']} pictures, {scores['classes']} classes)")
    if "harmonic_mean" in results:
        typer.echo(f"{'harmonic mean':24}  accuracy {100 * results['harmonic_mean']:5.1f}")
