"""`polyprompt evaluate`."""

from pathlib import Path
from typing import Annotated

import typer


def command(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    data: Annotated[str, typer.Option(help="Captioned pictures, as for align.")],
    split: Annotated[str | None, typer.Option(help="test, or several: dev+test; all if not given.")] = None,
) -> None:
    """Recall at 1, 5 and 10 in both directions, printed and kept in the run's results.json.

    Example: polyprompt evaluate runs/photos --data more-photos --split test
    """
    from polyprompt.campe.config import checked
    from polyprompt.campe.model import load
    from polyprompt.data.captions import read_pairs
    from polyprompt.files import read_json, write_json
    from polyprompt.train.align import AlignSettings, evaluate

    model = load(run)
    settings = checked(AlignSettings, read_json(run / "config.json"))
    found = evaluate(model, read_pairs(data, split), settings)
    results = read_json(run / "results.json")
    results["retrieval"][f"{data} {split or 'all'}"] = found
    write_json(run / "results.json", results)
    for way in ("image_to_text", "text_to_image"):
        typer.echo(f"{way.replace('_', ' '):14}" + "".join(f"  {k} {100 * v:5.1f}" for k, v in found[way].items()))
