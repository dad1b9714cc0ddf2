"""`polyprompt demo`."""

from pathlib import Path
from typing import Annotated

import typer

QUERIES = (
    "a sad cat", "something to eat", "a happy face", "weather", "a musical instrument", "a person working",
    "a vehicle", "an animal that swims", "a heart", "sports", "a tool", "a building",
)  # fmt: skip


def command(
    out: Annotated[Path, typer.Option(help="Folder for the runs and the page.")] = Path("runs/demo"),
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the pictures.")] = 12,
) -> None:
    """CAMPE and a single-prompt baseline on real weights and real pictures, ending in one HTML page."""
    from polyprompt.campe.config import TextSettings
    from polyprompt.data.read import read_pairs
    from polyprompt.disk.files import cache_folder
    from polyprompt.progress import say
    from polyprompt.report.page import write_page
    from polyprompt.report.samples import collect
    from polyprompt.runs.align import AlignSettings, align, embed, evaluate, prepare
    from polyprompt.runs.folder import add_scores

    runs = []
    for name, prompts in (("campe-6-prompts", 6), ("one-prompt", 1)):
        run = out / name
        settings = AlignSettings(name=name, data="openmoji", epochs=epochs, text=TextSettings(prompts=prompts))
        runs.append(run)
        if (run / "samples").is_dir():
            say(f"{run}: finished before; remove it to train again.")
            continue
        model = align(settings, run, resume=run.exists())
        drawn_in_lines = evaluate(model, read_pairs("openmoji:lines", "test"), settings)
        add_scores(run, "retrieval", "openmoji:lines test", drawn_in_lines, {"data": "openmoji:lines"})
        test = read_pairs("openmoji", "test")
        texts, images, _ = embed(prepare(model, test, settings), "Samples")
        collect(model, test, QUERIES, run / "samples", texts=texts, images=images)
    write_page(runs, out / "report.html")
    typer.echo(f"Open {out / 'report.html'}")
    drawings = cache_folder("openmoji") / "colour-*"
    typer.echo(f'Then: polyprompt search {runs[0]} "a sad cat" --images {drawings} --grid cats.png')
