"""`polyprompt align`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from polyprompt.errors import ConfigError


def command(
    out: Annotated[Path, typer.Option(help="Folder for the run.")],
    data: Annotated[
        str | None,
        typer.Argument(
            help="Folder with a captions table, Karpathy JSON, tars, hf:NAME or openmoji.", show_default=False
        ),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file with settings; options and --set win.")] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", help="key=value, as loss.negation_columns=all; may come several times.")
    ] = None,
    text_tower: Annotated[str | None, typer.Option(help="smollm2-135m, a folder or a hub id.")] = None,
    text_depth: Annotated[int | None, typer.Option(help="Blocks of the LLM to keep.")] = None,
    last_n: Annotated[int | None, typer.Option(help="Trained blocks of the LLM.")] = None,
    image_tower: Annotated[str | None, typer.Option(help="efficientnet-lite0, any timm model, or a folder.")] = None,
    trained_blocks: Annotated[str | None, typer.Option(help="Trained blocks of a ViT: a number, or all.")] = None,
    new_blocks: Annotated[int | None, typer.Option(help="New blocks put on the image tower.")] = None,
    prompts: Annotated[int | None, typer.Option(help="K, prompts behind each caption.")] = None,
    dim: Annotated[int | None, typer.Option(help="D, numbers in an embedding.")] = None,
    template: Annotated[str | None, typer.Option(help="A prompt, with {} for its adaptive word.")] = None,
    negated_template: Annotated[str | None, typer.Option(help="Its negation.")] = None,
    adaptive: Annotated[str | None, typer.Option(help="words, late or input.")] = None,
    readout: Annotated[str | None, typer.Option(help="prompts, or a baseline: last, mean, tokens.")] = None,
    contrast: Annotated[str | None, typer.Option(help="softmax or sigmoid.")] = None,
    diversity: Annotated[float | None, typer.Option(help="Weight of this loss; 0 turns it off.")] = None,
    negation: Annotated[float | None, typer.Option(help="Weight of this loss; 0 turns it off.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the pictures.")] = None,
    batch: Annotated[int | None, typer.Option(help="Pictures in a batch, all processes together.")] = None,
    rate: Annotated[float | None, typer.Option(help="Learning rate of what is new.")] = None,
    tower_rate: Annotated[float | None, typer.Option(help="Learning rate of what is pretrained.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of everything that is drawn.")] = None,
    precision: Annotated[str | None, typer.Option(help="auto, fp32 or bf16.")] = None,
    train_split: Annotated[str | None, typer.Option(help="One split, or several: train+restval.")] = None,
    dev_split: Annotated[str | None, typer.Option(help="Scored after every epoch; none for no scores.")] = None,
    test_split: Annotated[str | None, typer.Option(help="Scored at the end; none for no scores.")] = None,
    max_bad: Annotated[int | None, typer.Option(help="Missing or unreadable pictures to list and leave out.")] = None,
    cache: Annotated[
        bool | None, typer.Option("--cache/--no-cache", help="Keep what the frozen parts make.", show_default=False)
    ] = None,
    cache_dtype: Annotated[str | None, typer.Option(help="fp32, bf16 or int8.")] = None,
    cache_gb: Annotated[float | None, typer.Option(help="Largest size of one cache, in GB.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the run stopped.")] = False,
) -> None:
    """Align an LLM and an image tower (CAMPE) on captioned pictures.

    Example: polyprompt align photos --prompts 6 --epochs 20 --out runs/photos
    """
    from polyprompt.cli.evaluate import show
    from polyprompt.cli.options import gather, read_yaml
    from polyprompt.cli.pictures import way_out
    from polyprompt.disk.files import read_json
    from polyprompt.runs.align import AlignSettings, align
    from polyprompt.settings import checked

    given: dict[str, Any] = {
        "data": data, "text.tower": text_tower, "text.depth": text_depth, "text.last_n": last_n,
        "image.tower": image_tower, "image.trained_blocks": trained_blocks, "image.new_blocks": new_blocks,
        "text.prompts": prompts, "dim": dim, "text.template": template, "text.negated_template": negated_template,
        "text.adaptive": adaptive, "text.readout": readout, "loss.contrast": contrast, "loss.diversity": diversity,
        "loss.negation": negation, "epochs": epochs, "batch": batch, "rate": rate, "tower_rate": tower_rate,
        "seed": seed, "precision": precision, "max_bad": max_bad, "cache": cache, "cache_dtype": cache_dtype,
        "cache_gb": cache_gb,
    }  # fmt: skip
    splits = {"train_split": train_split, "dev_split": dev_split, "test_split": test_split}
    if config:
        checked(AlignSettings, read_yaml(config), str(config))  # a mistake in the file is told with its name
    values = {"name": out.name} | gather(config, given | splits, assignments or [])
    for key in [key for key, split in splits.items() if split == "none"]:
        values[key] = None
    if "data" not in values:
        raise ConfigError("no captioned pictures were named; give DATA, or data: in the YAML file.")
    with way_out():
        align(checked(AlignSettings, values), out, resume=resume)
    for name, found in read_json(out / "results.json")["retrieval"].items():
        typer.echo(f"{name}: {found['captions']:,} captions, {found['images']:,} pictures")
        show(found)
    typer.echo(f"{out}: finished. Look at it with: polyprompt report {out}")
