"""`polyprompt align`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from polyprompt.errors import ConfigError


def command(
    data: Annotated[
        str, typer.Argument(help="Folder with a captions table, Karpathy JSON, tars, hf:NAME or openmoji.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the run.")],
    config: Annotated[Path | None, typer.Option(help="YAML file with settings.")] = None,
    assignments: Annotated[list[str] | None, typer.Option("--set", help="key=value, as text.template=...")] = None,
    text_tower: Annotated[str | None, typer.Option(help="smollm2-135m, a folder or a hub id.")] = None,
    text_depth: Annotated[int | None, typer.Option(help="Blocks of the LLM to keep.")] = None,
    image_tower: Annotated[str | None, typer.Option(help="efficientnet-lite0, or any timm model.")] = None,
    prompts: Annotated[int | None, typer.Option(help="K, prompts behind each caption.")] = None,
    dim: Annotated[int | None, typer.Option(help="D, numbers in an embedding.")] = None,
    adaptive: Annotated[str | None, typer.Option(help="words, late or input.")] = None,
    read_out: Annotated[str | None, typer.Option(help="prompts, or a baseline: last, mean, tokens.")] = None,
    last_n: Annotated[int | None, typer.Option(help="Trained blocks of the LLM.")] = None,
    epochs: Annotated[int | None, typer.Option()] = None,
    batch: Annotated[int | None, typer.Option(help="Pictures in a batch, all processes together.")] = None,
    rate: Annotated[float | None, typer.Option(help="Learning rate of what is new.")] = None,
    seed: Annotated[int | None, typer.Option()] = None,
    precision: Annotated[str | None, typer.Option(help="auto, fp32 or bf16.")] = None,
    cache_dtype: Annotated[str | None, typer.Option(help="fp32, bf16 or int8.")] = None,
    cache_gb: Annotated[float | None, typer.Option(help="Largest size of one cache.")] = None,
    max_bad: Annotated[int | None, typer.Option(help="Unreadable pictures to leave out.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the run stopped.")] = False,
) -> None:
    """Align an LLM and an image tower (CAMPE) on captioned pictures.

    Example: polyprompt align photos --prompts 6 --epochs 20 --out runs/photos
    """
    from polyprompt.campe.config import checked
    from polyprompt.train.align import AlignSettings, align

    given = {
        "text.tower": text_tower, "text.depth": text_depth, "image.tower": image_tower, "text.prompts": prompts,
        "dim": dim, "text.adaptive": adaptive, "text.read_out": read_out, "text.last_n": last_n, "epochs": epochs,
        "batch": batch, "rate": rate, "seed": seed, "precision": precision, "cache_dtype": cache_dtype,
        "cache_gb": cache_gb, "max_bad": max_bad,
    }  # fmt: skip
    values = _yaml(config.read_text(), str(config)) if config and config.is_file() else {}
    if config and not config.is_file():
        raise ConfigError(f"{config}: no such file. Give a YAML file with settings.")
    for assignment in assignments or []:
        key, equals, value = assignment.partition("=")
        if not equals:
            raise ConfigError(f"--set {assignment!r}: write key=value, as in --set text.depth=24.")
        found = _yaml(value, f"--set {key}")
        given[key] = value if isinstance(found, dict) else found  # "means:" is a text, not YAML's mapping
    for key, value in given.items():
        if value is not None:
            _put(values, key.split("."), value)
    align(checked(AlignSettings, values | {"data": data, "name": values.get("name", out.name)}), out, resume=resume)
    typer.echo(f"{out}: finished. Look at it with: polyprompt report {out}")


def _yaml(text: str, where: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{where}: not YAML ({str(error).splitlines()[0]}).") from None


def _put(values: dict[str, Any], keys: list[str], value: Any) -> None:
    for key in keys[:-1]:
        values = values.setdefault(key, {})
    values[keys[-1]] = value
