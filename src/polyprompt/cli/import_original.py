"""`polyprompt import`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from polyprompt.cli.arguments import Classes, names
from polyprompt.errors import ConfigError


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
    descriptions: Annotated[
        str | None, typer.Option(metavar="FILE", help="Sentences about the classes, for VDT-Adapter.")
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="An adapter's setting that its file does not hold: alpha=1."),
    ] = None,
) -> None:
    """Take over a checkpoint of the method's own authors; nothing in it is executed.

    Example: polyprompt import maple output/imagenet/seed1 --encoder ViT-B-16/openai --out adapters/maple
    """
    class_names = names(classes)
    from polyprompt.methods.originals import import_original, located
    from polyprompt.runs.load import load_encoder
    from polyprompt.runs.saved import save

    settings = read_settings(method, assignments or [])
    if descriptions is not None:
        from polyprompt.adapt.descriptions import read_descriptions

        settings["descriptions"] = read_descriptions(descriptions)
    located(method, checkpoint, class_names, epoch)
    opened = load_encoder(encoder)
    taken = import_original(
        method, checkpoint, opened, class_names, epoch=epoch, words=words, position=position, settings=settings
    )
    save(taken, out)
    named = [*taken.class_names[:8], *["..."][: len(taken.class_names) > 8]]
    typer.echo(f"{out}: {len(taken.class_names)} classes, {', '.join(named)}")


def read_settings(method: str, assignments: Sequence[str]) -> dict[str, object]:
    """What --set says of a method.

    Raises:
        ConfigError: no such method or setting.
    """
    from polyprompt.cli.options import read
    from polyprompt.methods import config_of
    from polyprompt.settings import check, settings_of

    kind = config_of(method)
    known = {one.name: one for one in settings_of(kind)}
    settings: dict[str, object] = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals:
            raise ConfigError(f"--set {assignment!r}: write key=value, as in --set alpha=1.")
        settings[key] = read(value, known.get(key))
    return check(kind, settings, "--set")
