"""`polyprompt search`."""

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from polyprompt.cli.arguments import Encoder, ImageTower, MaxBad, TextTower, TowerDtype, query_text
from polyprompt.errors import ConfigError, DataError
from polyprompt.progress import say

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from polyprompt.search.collection import Collection
    from polyprompt.search.models import Embedder
    from polyprompt.search.query import Hit


def command(
    where_from: Annotated[
        str, typer.Argument(metavar="COLLECTION|RUN", help="What `polyprompt index` made; or a run, with --images.")
    ],
    text: Annotated[str | None, typer.Argument(metavar="TEXT", help="What to look for.")] = None,
    images: Annotated[
        str | None, typer.Option(metavar="DATA", help="For a run: a folder of pictures, or captioned or labelled ones.")
    ] = None,
    like: Annotated[
        list[Path] | None, typer.Option(metavar="PICTURE", help="A picture to look for; may come often.")
    ] = None,
    unwanted: Annotated[
        list[str] | None, typer.Option("--not", metavar="TEXT", help="What not to find; may come often.")
    ] = None,
    aspect_weights: Annotated[
        str | None, typer.Option(metavar="NUMBERS", help="One weight for each prompt: 1.25,1,1,1,1,0.75.")
    ] = None,
    where: Annotated[
        str | None, typer.Option(metavar="CONDITION", help="As in SQL: \"year >= 2020 and path like 'holidays/%'\".")
    ] = None,
    fold: Annotated[
        float | None, typer.Option(min=-1, max=1, help="Fold hits into better ones with a higher cosine: 0.95.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Results to show.")] = 10,
    exact: Annotated[bool, typer.Option("--exact", help="Score all rows, whatever codes there are.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a result, with all that is known.")] = False,
    grid: Annotated[Path | None, typer.Option(help="Write the results as a picture, too (.png).")] = None,
    max_bad: MaxBad = 10,
    encoder: Encoder = None,
    text_tower: TextTower = None,
    image_tower: ImageTower = None,
    tower_dtype: TowerDtype = None,
) -> None:
    """Find pictures and videos by text, by pictures, or by both.

    A run's pictures are embedded at the first question, and kept in the cache for the next ones.

    Example: polyprompt search collections/pictures "a dog on a beach" --not "people" --where "year >= 2020"
    """
    weights = numbers(aspect_weights)
    if not text and not like:
        raise ConfigError("there is nothing to look for: give a text, or a picture with --like.")
    from polyprompt.media.pictures import bytes_of
    from polyprompt.runs.folder import check_place
    from polyprompt.search.query import Query, ask

    examples = [(bytes_of(path), str(path)) for path in like or []]
    towers = {"text_tower": text_tower, "image_tower": image_tower, "tower_dtype": tower_dtype}
    model, collection, root = opened(where_from, images, max_bad, encoder, towers)
    if grid:
        check_place(grid, [images or collection.about.root])
    rows, places = query_rows(collection, model, text, examples)
    away = model.texts([query_text(one) for one in unwanted]) if unwanted else None
    query = Query(wanted=rows, unwanted=away, weights=weights, where=where, without=places, fold=fold, exact=exact)
    hits = ask(collection, query, top)
    if not hits:
        say(f"{where_from}: nothing found" + (f" with --where {where!r}." if where else "."))
    for line in objects(collection, hits, root) if as_json else lines(hits, root)[:top]:
        typer.echo(line)
    if grid:
        write_grid(grid, collection, hits, text or "")


def objects(collection: "Collection", hits: "Sequence[Hit]", root: str) -> list[str]:
    """Each hit as JSON."""
    from polyprompt.search.query import as_object

    records = [as_object(collection, hit) for hit in hits]
    return [json.dumps({"file": os.path.join(root, fields["path"])} | fields) for fields in records]


def lines(hits: "Sequence[Hit]", root: str) -> list[str]:
    """A line for each file, also of those that have the same content."""
    return [f"{hit.score:.4f}  {os.path.join(root, str(file.facts['path']))}" for hit in hits for file in hit.files]


def write_grid(out: Path, collection: "Collection", hits: "Sequence[Hit]", title: str) -> None:
    """The hits' thumbnails as one picture."""
    from polyprompt.media.pictures import open_picture
    from polyprompt.report import grids

    tiles = [
        grids.Hit(open_picture(collection.thumbnail(hit.row)), hit.score, str(hit.files[0].facts["name"]))
        for hit in hits
    ]
    grids.write_png(out, grids.grid([(title, tiles)]))


def opened(
    name: str, images: str | None, max_bad: int, encoder: str | None, towers: dict[str, str | None]
) -> tuple["Embedder", "Collection", str]:
    """A collection, or a run with its pictures: the model, the collection, and what its paths are below."""
    if images is None:
        return of_collection(name, encoder, towers)
    return of_run(name, images, max_bad, encoder, towers)


def of_collection(
    name: str, encoder: str | None, towers: dict[str, str | None]
) -> tuple["Embedder", "Collection", str]:
    """The model that a collection was made with, the collection, and what its paths are below.

    Raises:
        ConfigError: it is no collection, or the model has changed since.
    """
    from polyprompt.disk.places import nearby
    from polyprompt.search.collection import Collection, is_collection
    from polyprompt.search.models import check_model, open_model

    if not os.path.exists(name):
        raise ConfigError(f"{name}: no such folder.{nearby(name)} Give a collection's.")
    if not is_collection(name):
        raise ConfigError(f"{name}: is no collection. For a run say which pictures: --images FOLDER.")
    collection = Collection(name)
    model = open_model(collection.about.model, encoder, **towers)
    check_model(model, collection.about.model, collection.about.fingerprint, name)
    return model, collection, as_typed(collection.about.root)


def as_typed(root: str) -> str:
    """A whole path as one would type it: from the working folder, if it lies below."""
    below = os.path.relpath(root)
    return root if below.split(os.sep)[0] == os.pardir else "" if below == os.curdir else below


def of_run(
    run: str, data: str, max_bad: int, encoder: str | None, towers: dict[str, str | None]
) -> tuple["Embedder", "Collection", str]:
    """A run's model, its pictures as a collection in the cache, and what their paths are below.

    Raises:
        ConfigError: it is a collection.
        DataError: more than `max_bad` pictures cannot be read, or all.
    """
    from polyprompt.cli.pictures import pictures_of
    from polyprompt.search.candidates import in_folder, listed
    from polyprompt.search.collection import Collection, is_collection
    from polyprompt.search.fill import in_cache
    from polyprompt.search.models import open_model

    if is_collection(run):
        raise ConfigError(f"{run}: is a collection and has its own pictures; leave --images out.")
    folder = Path(data).is_dir()
    candidates = in_folder(Path(data)) if folder else listed(pictures_of(data))
    model = open_model(run, encoder, **towers)
    place, done = in_cache(model, candidates, os.path.abspath(data) if Path(data).exists() else data)
    if len(done.bad) > max_bad:
        raise DataError(
            f"{len(done.bad)} pictures cannot be read, and {max_bad} may be left out. Mend them, or raise --max-bad."
        )
    if len(done.bad) == len(candidates):
        raise DataError(f"{data}: none of its pictures can be read.")
    return model, Collection(place), data if folder else ""


def query_rows(
    collection: "Collection", model: "Embedder", text: str | None, examples: Sequence[tuple[bytes, str]]
) -> "tuple[Float[Tensor, 't D'], frozenset[int]]":
    """The rows of what is looked for, and the places of those pictures among them that the collection has itself.

    Args:
        examples: the bytes of pictures, and their names.

    Raises:
        ImageError: a picture that cannot be read. ConfigError, DataError: a text that cannot be embedded.
    """
    import torch

    from polyprompt.search.query import row_of_picture

    rows = [model.texts([query_text(text)])[0]] if text else []
    places = set[int]()
    for data, name in examples:
        row, place = row_of_picture(model, collection, data, name)
        rows.append(row)
        places |= set() if place is None else {place}
    return torch.stack(rows), frozenset(places)


def numbers(text: str | None) -> list[float] | None:
    """Weights with commas between.

    Raises:
        ConfigError: other things than numbers, or numbers too large.
    """
    from polyprompt.search.query import LARGEST_WEIGHT

    if text is None:
        return None
    try:
        weights = [float(number) for number in text.split(",")]
    except ValueError:
        weights = [math.nan]
    if not all(abs(weight) <= LARGEST_WEIGHT for weight in weights):
        raise ConfigError(
            f"--aspect-weights {text!r:.60}: write finite numbers with commas between, as 1.25,1,1,1,1,0.75."
        )
    return weights
