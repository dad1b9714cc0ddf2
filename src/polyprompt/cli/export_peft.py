"""`polyprompt export-peft`."""

from pathlib import Path
from typing import Annotated

import typer

from polyprompt.cli.arguments import Encoder, Run
from polyprompt.errors import ConfigError


def command(
    run: Run,
    out: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder for the two files; must not exist yet.")],
    encoder: Encoder = None,
) -> None:
    """Write a run of clip_lora as PEFT's two files, for transformers' CLIP or SigLIP.

    Example: polyprompt export-peft runs/lora adapters/lora
    """
    from polyprompt.adapt.classifier import Classifier
    from polyprompt.progress import step
    from polyprompt.runs.folder import check_apart
    from polyprompt.runs.load import load
    from polyprompt.skins.peft import export_peft

    check_apart(out, run)
    with step(f"Opening {run}"):
        model = load(run, encoder)
    if not isinstance(model, Classifier):
        raise ConfigError(
            f"{run}: a CAMPE model, not an adapter; PEFT's files hold what `adapt --method clip_lora` made."
        )
    export_peft(model, out)
    mb = (out / "adapter_model.safetensors").stat().st_size / 1e6
    typer.echo(f"{out}: adapter_config.json and adapter_model.safetensors, {mb:.2f} MB, for PEFT")
