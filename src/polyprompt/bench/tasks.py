"""What a cell does: train and score a classifier, or score an encoder on captions or on sentences."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from polyprompt.adapt.view import KeptPictures
from polyprompt.data.items import Picture
from polyprompt.data.read import read_pairs, read_scored
from polyprompt.evaluate.retrieval import middle, ranks, shares
from polyprompt.evaluate.sentences import spearman
from polyprompt.media.frames import over_frames
from polyprompt.progress import track
from polyprompt.runs.adapt import adapt
from polyprompt.runs.cells import Cell
from polyprompt.runs.folder import read_results
from polyprompt.runs.settings import AdaptSettings
from polyprompt.runs.training import in_parts
from polyprompt.settings import checked
from polyprompt.towers.encoder import Encoder, unit

FRAMES = 12
"""Of a video, evenly spaced (CLIP4Clip's meanP: the mean of their unit vectors)."""
CACHE_GB = 20.0
"""The largest size of what is kept of one set's pictures."""

Figures = dict[str, object]


def classify(cell: Cell, encoder: Encoder, folder: Path) -> Figures:
    """A run of `adapt`; what was done of it before goes on."""
    settings = checked(AdaptSettings, cell.settings)
    adapt(settings, folder, resume=True, encoder=encoder)
    results = read_results(folder)
    kept = ("classification", "zero_shot", "harmonic_mean", "learned", "selected", "training_seconds")
    return {name: results[name] for name in kept if name in results}


def retrieve(cell: Cell, encoder: Encoder, folder: Path) -> Figures:
    """Recall, median and mean rank between pictures or videos and their captions."""
    max_bad = cast(int, cell.settings.get("max_bad", 0))  # which earlier versions did not write
    pairs = read_pairs(cell.data, cast(str, cell.settings["split"]), max_bad=max_bad)
    images, texts = picture_vectors(encoder, pairs.images), encoder.encode_text(pairs.captions)
    grouped = len(pairs.captions) > len(pairs.images)
    by_way = ranks(images, texts.to(images), torch.tensor(pairs.image_of), grouped=grouped)
    return {
        "retrieval": {way: shares(of) | middle(of) for way, of in by_way.items()},
        "images": len(pairs.images),
        "captions": len(pairs.captions),
    }


def compare(cell: Cell, encoder: Encoder, folder: Path) -> Figures:
    """Spearman's correlation on pairs of sentences."""
    scored = read_scored(cell.data, cast(str, cell.settings["split"]))
    texts = dict.fromkeys((*scored.first, *scored.second))
    vectors = dict(zip(texts, encoder.encode_text(list(texts)), strict=True))
    first, second = (torch.stack([vectors[text] for text in side]) for side in (scored.first, scored.second))
    return {"spearman": spearman(first, second, scored.scores), "pairs": len(scored.scores)}


TASKS: Mapping[str, Callable[[Cell, Encoder, Path], Figures]] = {
    "classify": classify,
    "retrieve": retrieve,
    "compare": compare,
}


@torch.no_grad()
def picture_vectors(encoder: Encoder, pictures: Sequence[Picture]) -> Float[Tensor, "n D"]:
    """Unit vectors of pictures, kept for other cells; of videos the unit mean over their frames'."""
    if not any(picture.moves for picture in pictures):
        kept = KeptPictures(encoder, pictures, CACHE_GB)
        return unit(torch.cat([kept.of(part).states(None) for part in in_parts(len(pictures))]))
    rows = []
    for picture in track(pictures, "Videos"):
        frames = encoder.encode_image(picture.frames(FRAMES))
        rows.append(over_frames(frames, [len(frames)]))
    return torch.cat(rows)
