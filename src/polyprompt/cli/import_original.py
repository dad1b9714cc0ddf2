"""`polyprompt import`."""

from pathlib import Path
from typing import Annotated

import typer

from polyprompt.cli.arguments import Classes, names


def command(
    method: Annotated[str, typer.Argument(metavar="METHOD", help="A name from `polyprompt methods`.")],
    checkpoint: Annotated[
        Path, typer.Argument(metavar="CHECKPOINT", help="model.pth.tar-N, its folder, or the original run's folder.")
    ],
    encoder: Annotated[str, typer.Option(help="The CLIP it was trained on: ViT-B-16/openai.")],
    out: Annotated[Path, typer.Option(help="Folder for the adapter.")],
    classes: Classes = None,
    epoch: Annotated[int | None, typer.Option(help="Which N; the last if not given.")] = None,
    words: Annotated[str | None, typer.Option(help="CTX_INIT of the original run, if it was another.")] = None,
    position: Annotated[str, typer.Option(help="CLASS_TOKEN_POSITION of CoOp: end, middle or front.")] = "end",
) -> None:
    """Take over a checkpoint of the method's own authors; nothing in it is executed.

    Example: polyprompt import maple output/imagenet/seed1 --encoder ViT-B-16/openai --out adapters/maple
    """
    class_names = names(classes)
    from polyprompt.methods.originals import import_original
    from polyprompt.runs.load import load_encoder
    from polyprompt.runs.saved import save

    opened = load_encoder(encoder)
    taken = import_original(method, checkpoint, opened, class_names, epoch=epoch, words=words, position=position)
    save(taken, out)
    named = [*taken.class_names[:8], *["..."][: len(taken.class_names) > 8]]
    typer.echo(f"{out}: {len(taken.class_names)} classes, {', '.join(named)}")
