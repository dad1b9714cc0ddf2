"""/classify: pictures told apart by any words, as CLIP does it without training."""

import torch
from fastapi import APIRouter
from jaxtyping import Float
from torch import Tensor

from polyprompt.serve.openai import Here
from polyprompt.serve.pictures import bytes_of
from polyprompt.serve.requests import Classify
from polyprompt.serve.served import ServedModel
from polyprompt.values import Json

router = APIRouter(tags=["classes"])


@router.post("/classify")
async def classify(body: Classify, service: Here) -> Json:
    """The probability of each label for each picture, the most probable first.

    `cut` has the places of labels that the model read in part.
    """
    served = service.model(body.model)
    pictures = [bytes_of(uri, f"input.{at}") for at, uri in enumerate(body.input)]
    rows = await served.pictures(pictures, "input")
    shares = await probabilities(served, rows, body.labels)
    data = [ranked(row, body.labels) for row in shares.tolist()]
    return {"object": "classify", "model": body.model, "data": data, "cut": served.cut_labels(body.labels)}


async def probabilities(served: ServedModel, rows: Float[Tensor, "i D"], labels: list[str]) -> Float[Tensor, "i c"]:
    """Softmax over the labels."""
    classes = await served.classes(labels)
    return torch.softmax(served.scale * rows.float() @ classes.T, dim=1)


def ranked(shares: list[float], labels: list[str]) -> list[Json]:
    """Labels with their probabilities, the most probable first."""
    pairs = sorted(zip(shares, labels, strict=True), key=lambda pair: -pair[0])
    return [{"score": share, "label": label} for share, label in pairs]
