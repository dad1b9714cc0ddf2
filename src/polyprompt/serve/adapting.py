"""Marks on a few pictures, right and wrong, become a better query: `adapt` on the spot.

TaskRes (methods/taskres.py) learns a vector beside each of two classes, what is looked for and what is not. It changes
no picture's row, so that the whole collection is asked at once: the difference of the two classes' logits is the
product of a row with the difference of their unit vectors.
"""

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from fastapi import APIRouter
from jaxtyping import Float
from starlette.concurrency import run_in_threadpool
from torch import Tensor
from torch.nn import functional as F

from polyprompt.campe.encoder import CampeEncoder
from polyprompt.data.items import Labelled, Picture
from polyprompt.runs.adapt import resolved, train, untrained
from polyprompt.runs.settings import AdaptSettings
from polyprompt.search.models import AlignedEmbedder, PlainEmbedder
from polyprompt.serve.asked import Marks
from polyprompt.serve.errors import Refused
from polyprompt.serve.openai import Here
from polyprompt.serve.search import content, there
from polyprompt.serve.shop import Served, Shelf
from polyprompt.towers.encoder import Encoder
from polyprompt.values import Json

router = APIRouter(tags=["collections"])
OTHER = "something else"
"""The class of what was marked wrong."""
EPOCHS, RATE = 20, 0.1
"""Fewer and larger steps than published, for someone waits: a step is this share of the class vectors' own size."""


@router.post("/collections/{id}/adapt")
async def adapt(id: str, asked: Marks, shop: Here) -> Json:
    """Learns from marks; /search takes the `id` as `adapted`."""
    shelf = shop.shelf(id)
    if not shelf.adapts:
        raise Refused(400, f"{id}: its model was adapted before; marks teach models of align and plain encoders")
    if both := set(asked.right) & set(asked.wrong):
        raise Refused(400, f"row {min(both)} is marked right and wrong", "wrong")
    for row in (*asked.right, *asked.wrong):
        there(shelf, row)
    row = await run_in_threadpool(learned, shelf, asked)
    return {"id": shelf.keep(row), "text": asked.text, "marks": len(asked.right) + len(asked.wrong)}


def learned(shelf: Shelf, marks: Marks) -> Float[Tensor, "D"]:
    """The query that tells right from wrong."""
    rows = (*marks.right, *marks.wrong)
    pictures = tuple(Picture(str(row), partial(content, shelf, row)) for row in rows)
    names = (marks.text, OTHER if marks.text != OTHER else f"not {OTHER}")
    labels = (0,) * len(marks.right) + (1,) * len(marks.wrong)
    data = Labelled("marks", pictures, labels, names)
    served = shelf.served
    with served.lock, TemporaryDirectory() as folder:
        encoder = encoder_of(served)
        settings = resolved(
            AdaptSettings(data="marks", encoder=served.id, method={"name": "taskres"}, epochs=EPOCHS, precision="fp32")
        )
        method = untrained(settings, encoder, names)
        size = float(method.head().classes.square().mean().sqrt())
        train(method, data, settings.model_copy(update={"rate": RATE * size}), Path(folder), resume=False)
        right, wrong = F.normalize(method.eval().head().classes.float(), dim=-1).cpu()
    return right - wrong


def encoder_of(served: Served) -> Encoder:
    """The model as methods see it."""
    match served.model:
        case AlignedEmbedder(model=model):
            return CampeEncoder(model, served.id)
        case PlainEmbedder(encoder=encoder):
            return encoder
        case _:
            raise TypeError(type(served.model))
