"""/collections and /search: what there is, questions to it, its pictures, and where each aspect looks in one."""

import base64
import hashlib
import io
import math
from collections.abc import Sequence
from typing import Annotated

import numpy as np
import torch
from fastapi import APIRouter, Path, Response
from jaxtyping import Float
from PIL import Image
from starlette.concurrency import run_in_threadpool
from torch import Tensor

from polyprompt.disk.rows import item_key
from polyprompt.errors import ImageError
from polyprompt.media.pictures import file_bytes, open_picture
from polyprompt.report.explain import overlay, seen_by, shares
from polyprompt.search.items import COLUMNS
from polyprompt.search.models import AlignedEmbedder
from polyprompt.search.query import Hit, Query, as_object, ask, kept
from polyprompt.serve.classify import probabilities, ranked
from polyprompt.serve.errors import Refused
from polyprompt.serve.openai import Here
from polyprompt.serve.pictures import bytes_of
from polyprompt.serve.requests import Search, Sort
from polyprompt.serve.served import ServedCollection
from polyprompt.values import Json

router = APIRouter(tags=["collections"])
LARGE = 1600
"""Longer side of a picture that is shown large."""
KEPT = {"Cache-Control": "private, max-age=3600"}
"""A row's picture never changes while a server runs."""
IMAGE: dict[int | str, Json] = {200: {"content": {"image/jpeg": {}}}}
Place = Annotated[int, Path(ge=0, lt=2**31)]


@router.get("/collections")
async def collections(service: Here) -> Json:
    """The collections, with what can be asked of each."""
    return {"object": "list", "data": [about(served) for served in service.collections.values()]}


def about(served: ServedCollection) -> Json:
    """What is told of a collection."""
    counts = served.collection.items.counts()
    return {
        "id": served.id,
        "model": served.model.id,
        "pictures": len(served.collection),
        "files": counts["files"],
        "unreadable": counts["bad"],
        "gone": counts["gone"],
        "aspects": list(served.collection.about.prompts),
        "columns": list(COLUMNS),
        "attention": isinstance(served.model.embedder, AlignedEmbedder),
    }


@router.post("/search")
async def search(body: Search, service: Here) -> Json:
    """The best pictures of a collection, best first: by text, by pictures, by both; filters never lower recall.

    `cut` names the texts that the model read in part: `text`, `not.0` and so on.
    """
    served = service.collection(body.collection)
    if body.adapted is not None and body.text is not None:
        raise Refused(400, "give text or adapted, which was learned with its text; not both", "text")
    wanted, places = await _wanted(served, body)
    away = await served.model.texts(body.unwanted) if body.unwanted else None
    if not len(wanted):
        if away is not None or body.weights is not None:
            raise Refused(400, "nothing is wanted: give text, like or like_rows", "text")
        return await run_in_threadpool(_listed, served, body) | {"cut": []}
    query = Query(
        wanted=wanted,
        unwanted=away,
        weights=body.weights,
        where=body.where,
        without=frozenset(places),
        fold=body.fold,
        exact=body.exact,
    )
    texts = {} if body.text is None else {"text": body.text}
    texts |= {f"not.{at}": text for at, text in enumerate(body.unwanted)}
    return await run_in_threadpool(_hits, served, query, body.top) | {"cut": served.model.cut(texts)}


@router.get("/collections/{id}/thumbnails/{row}", response_class=Response, responses=IMAGE)
def thumbnail(id: str, row: Place, service: Here) -> Response:
    """A picture as JPEG, at most 256 pixels wide and high."""
    served = service.collection(id)
    return Response(served.collection.thumbnail(there(served, row)), media_type="image/jpeg", headers=KEPT)


@router.get("/collections/{id}/pictures/{row}", response_class=Response, responses=IMAGE)
def picture(id: str, row: Place, service: Here) -> Response:
    """A picture, large; its thumbnail where its file has changed or gone, or is a video."""
    served = service.collection(id)
    image = original(served, there(served, row))
    image.thumbnail((LARGE, LARGE))
    return Response(_jpeg(image), media_type="image/jpeg", headers=KEPT)


@router.get("/collections/{id}/attention/{row}")
def attention(id: str, row: Place, service: Here) -> Json:
    """Where each aspect looks in a picture: the picture as the model sees it, lit there."""
    served = service.collection(id)
    model = served.model.embedder
    if not isinstance(model, AlignedEmbedder):
        raise Refused(404, "attention maps are for models of align")
    image = original(served, there(served, row))
    with served.model.lock:
        maps = model.model.attention([image])[0].float().cpu().numpy()
    seen = seen_by(model.model, image)
    looks = [(prompt, _uri(overlay(seen, map_))) for prompt, map_ in zip(model.prompts, maps, strict=True)]
    return {"seen": _uri(seen), "data": [{"aspect": prompt, "image": uri} for prompt, uri in looks]}


@router.post("/collections/{id}/classify")
async def sort(id: str, body: Sort, service: Here) -> Json:
    """The probability of each label for pictures of a collection, the most probable first; `cut` as for /classify."""
    served = service.collection(id)
    rows = served.collection.vectors.take(np.array([there(served, row) for row in body.rows]))
    matrix = await probabilities(served.model, rows, body.labels)
    data = [ranked(row, body.labels) for row in matrix.tolist()]
    return {"object": "classify", "data": data, "cut": served.model.cut_labels(body.labels)}


def original(served: ServedCollection, row: int) -> Image.Image:
    """A row's picture, whole if its file can still be read."""
    try:
        return open_picture(content(served, row))
    except ImageError:
        return open_picture(served.collection.thumbnail(row))


def content(served: ServedCollection, row: int) -> bytes:
    """The file of a row, if one is still what was embedded; else its thumbnail."""
    collection = served.collection
    for file in collection.items.of_rows([row])[row]:
        try:
            data = file_bytes(collection.place(file))
        except (OSError, ValueError):
            continue
        if item_key(hashlib.sha256(data).hexdigest()) == collection.vectors.key(row):
            return data
    return collection.thumbnail(row)


async def _wanted(served: ServedCollection, body: Search) -> tuple[Float[Tensor, "t D"], list[int]]:
    """Rows of all that is wanted, and the places that the collection has of it itself."""
    vectors, places = served.collection.vectors, [*body.like_rows]
    parts = [torch.empty(0, vectors.dim)]
    if body.adapted is not None:
        parts.append(served.adapted_row(body.adapted)[None])
    elif body.text is not None:
        parts.append(await served.model.texts([body.text]))
    if body.like:
        data = [bytes_of(uri, f"like.{at}") for at, uri in enumerate(body.like)]
        keys = [item_key(hashlib.sha256(one).hexdigest()) for one in data]
        places += [place for key in keys if (place := vectors.find(key)) is not None]
        parts.append(await served.model.pictures(data, "like"))
    if body.like_rows:
        parts.append(vectors.take(np.array([there(served, row) for row in body.like_rows])))
    return torch.cat(parts), places


def _hits(served: ServedCollection, query: Query, top: int) -> Json:
    return _shown(served, ask(served.collection, query, top))


def _listed(served: ServedCollection, body: Search) -> Json:
    """Pictures of the collection, in the order of its rows."""
    rows = kept(served.collection, body.where)
    places = (np.arange(len(served.collection)) if rows is None else rows)[: body.top].tolist()
    files = served.collection.items.of_rows(places)
    return _shown(served, [Hit(place, math.nan, files[place]) for place in places])


def _shown(served: ServedCollection, hits: Sequence[Hit]) -> Json:
    data = []
    for hit in hits:
        values = as_object(served.collection, hit)
        data.append(
            {"row": hit.row, "thumbnail": f"/collections/{served.id}/thumbnails/{hit.row}"}
            | values
            | {"shares": dict(zip(values["aspects"], shares(hit.parts), strict=True)) if hit.parts else {}}
        )
    return {"object": "list", "collection": served.id, "data": data}


def there(served: ServedCollection, row: int) -> int:
    """A row that files have.

    Raises:
        Refused: there is none.
    """
    if row not in served.collection:
        raise Refused(404, f"{served.id} has no row {row}", "row")
    return row


def _jpeg(image: Image.Image) -> bytes:
    data = io.BytesIO()
    image.save(data, "JPEG", quality=88)
    return data.getvalue()


def _uri(image: Image.Image) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(_jpeg(image)).decode()}"
