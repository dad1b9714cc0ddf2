"""The part of OpenAI's API that a model of pictures and texts can answer: /v1/models and /v1/embeddings."""

import base64
from typing import Annotated

import numpy as np
import torch
from fastapi import APIRouter, Depends, Request
from jaxtyping import Float
from torch import Tensor

from polyprompt.serve.errors import Refused
from polyprompt.serve.pictures import bytes_of
from polyprompt.serve.requests import LETTERS, PICTURES, Embed, ImageItem, TextItem, readable
from polyprompt.serve.served import ServedModel, Service
from polyprompt.values import Json

router = APIRouter(tags=["OpenAI"])


def service_of(request: Request) -> Service:
    """What the app serves."""
    return request.app.state.service


Here = Annotated[Service, Depends(service_of)]


@router.get("/v1/models")
async def models(service: Here) -> Json:
    """Every model that is served."""
    data = [
        {"id": one.id, "object": "model", "created": one.created, "owned_by": "polyprompt"}
        for one in service.models.values()
    ]
    return {"object": "list", "data": data}


@router.post("/v1/embeddings")
async def embeddings(body: Embed, service: Here) -> Json:
    """Unit rows of texts and pictures, in one space. `cut` has the places of texts that the model read in part."""
    served = service.model(body.model)
    texts, pictures = _sorted(body)
    rows = await _rows(served, texts, pictures)
    if body.dimensions not in (None, rows.shape[1]):
        raise Refused(400, f"dimensions: rows have {rows.shape[1]} numbers and are not cut short", "dimensions")
    made = [encoded(row) for row in rows] if body.encoding_format == "base64" else rows.tolist()
    data = [{"object": "embedding", "index": at, "embedding": row} for at, row in enumerate(made)]
    tokens = {at: served.tokens(text) for at, text in texts.items()}
    total = sum(number for number, _ in tokens.values())
    usage = {"prompt_tokens": total, "total_tokens": total}
    cut = [at for at, (_, more) in tokens.items() if more]
    return {"object": "list", "model": body.model, "data": data, "usage": usage, "cut": cut}


def encoded(row: Float[Tensor, "D"]) -> str:
    """A row as OpenAI's clients decode it."""
    return base64.b64encode(row.numpy().astype(np.dtype("<f4")).tobytes()).decode()


def _sorted(body: Embed) -> tuple[dict[int, str], dict[int, bytes]]:
    """Texts and pictures by their places in the request."""
    texts: dict[int, str] = {}
    pictures: dict[int, bytes] = {}
    for at, item in enumerate(body.input if isinstance(body.input, list) else [body.input]):
        param = f"input.{at}" if isinstance(body.input, list) else "input"
        match item:
            case TextItem(text=text):
                texts[at] = text
            case ImageItem(image=uri):
                pictures[at] = bytes_of(uri, param)
            case str() if body.modality == "image" or (body.modality is None and item.startswith("data:image/")):
                pictures[at] = bytes_of(item, param)
            case str():
                texts[at] = text_of(item, param)
        if len(pictures) > PICTURES:
            raise Refused(400, f"input: a request may have {PICTURES} pictures", "input")
    return texts, pictures


def text_of(text: str, param: str) -> str:
    """A text that can be read.

    Raises:
        Refused: it is empty, too long, or holds half a character.
    """
    if len(text) > LETTERS:
        raise Refused(400, f"{param}: a text may have {LETTERS:,} letters", param)
    try:
        return readable(text)
    except ValueError as error:
        raise Refused(400, f"{param}: {error}", param) from None


async def _rows(served: ServedModel, texts: dict[int, str], pictures: dict[int, bytes]) -> Float[Tensor, "b D"]:
    rows: dict[int, Tensor] = {}
    if pictures:
        rows |= zip(pictures, await served.pictures(list(pictures.values()), "input"), strict=True)
    if texts:
        rows |= zip(texts, await served.texts(list(texts.values())), strict=True)
    return torch.stack([rows[at] for at in sorted(rows)])
