"""`polyprompt evaluate`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from polyprompt.cli.arguments import MaxBad
from polyprompt.errors import FileError


def command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    data: Annotated[str, typer.Argument(metavar="DATA", help="Captioned pictures, as for align.")],
    split: Annotated[str | None, typer.Option(help="test, or several: dev+test; all if not given.")] = None,
    max_bad: MaxBad = 0,
) -> None:
    """Recall at 1, 5 and 10 in both directions, printed and kept in the run's results.json.

    Example: polyprompt evaluate runs/photos more-photos --split test
    """
    from polyprompt.cli.pictures import way_out
    from polyprompt.data.read import read_pairs
    from polyprompt.disk.files import read_json, write_json
    from polyprompt.report.checked import read_checked
    from polyprompt.runs.align import AlignSettings, evaluate
    from polyprompt.runs.load import load_aligned
    from polyprompt.settings import checked

    if not (run / "results.json").is_file():
        raise FileError(f"{run}: not a finished run, it has no results.json. Give the folder that align wrote.")
    results = read_checked(dict[str, Any], run / "results.json")
    settings = checked(AlignSettings, read_json(run / "config.json"), str(run / "config.json"))
    with way_out():
        found = evaluate(load_aligned(run), read_pairs(data, split, max_bad=max_bad), settings)
    results.setdefault("retrieval", {})[f"{data} {split or 'all'}"] = found
    write_json(run / "results.json", results)
    show(found)


def show(found: Mapping[str, Any]) -> None:
    """Prints recall in both directions, in percent."""
    for way in ("image_to_text", "text_to_image"):
        typer.echo(f"{way.replace('_', ' '):14}" + "".join(f"  {k} {100 * v:5.1f}" for k, v in found[way].items()))
